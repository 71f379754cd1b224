"""The check of a GPU, rehearsed on a CPU: every stage on a bare machine, and what it takes to get there and back."""

import json
import os
import shutil
import subprocess
import sys
import tarfile

import pytest
from support.gpu_runs import fields
from support.project import ROOT

from reweigh.planning import pack
from reweigh.provenance.record_schema import faults
from reweigh.records import commit

BLOCKED = ("pydantic", "typer", "snakemake", "rich", "pandas", "PIL", "scipy", "matplotlib", "torchvision")
STAGES = ("machine", "equality", "capture", "lanes", "throughput", "training")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
RUNS = ("smoke/tdr/mnist-4v9/rho0.1/none/seed0", "smoke/tdr/cifar10-4v9-convnet/rho0.3/none/seed0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, raw_root):
    """A folder of specs that `reweigh pack` completed in a project, and the project's records of the same runs."""
    home = tmp_path_factory.mktemp("home")
    for name in ("config", "src"):
        (home / name).symlink_to(ROOT / name)
    (home / "data").mkdir()
    (home / "data" / "manifest.yaml").symlink_to(ROOT / "data" / "manifest.yaml")
    (home / "data" / "raw").symlink_to(raw_root)
    code = "import sys; from reweigh.cli import main; main()"
    run(home, "-c", code, "plan", *RUNS, "--specs", "specs")
    run(home, "-c", code, "pack", "specs")
    state = {"commit": COMMIT, "dirty": True, "source_digest": commit.source_digest()}  # the home here has no git
    (home / "specs/commit.json").write_text(json.dumps(state))
    run(home, "-m", "reweigh.training", *(f"specs/{name.replace('/', '__')}.json" for name in RUNS))
    return home


def run(folder, *arguments, expected=0, **changes):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": "", **changes}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=580
    )
    assert done.returncode == expected, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def bare(tmp_path_factory, folder):
    """A machine with torch, numpy and yaml alone, no network and no git, with the project and the specs."""
    place = tmp_path_factory.mktemp("bare")
    for name in BLOCKED:
        (place / "blocked" / name).mkdir(parents=True)
        (place / "blocked" / name / "__init__.py").write_text(f"raise ModuleNotFoundError({name!r})\n")
    shutil.copytree(ROOT / "src", place / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (place / "data" / "embedded").mkdir(parents=True)
    shutil.copy(ROOT / "data" / "manifest.yaml", place / "data")
    shutil.copytree(ROOT / "data" / "embedded" / "mnist", place / "data" / "embedded" / "mnist")
    shutil.copytree(folder / "specs", place / "specs")
    arguments = ("--device", "cpu", "--specs", "specs", "--for", "9m", "--home", "out", "--log", "out/check.log")
    path = os.pathsep.join((str(place / "blocked"), str(place / "src")))
    run(place, "-m", "reweigh.training.gpu_check", *arguments, PYTHONPATH=path, REWEIGH_MIRROR="")
    return place


@pytest.mark.slow
def test_all_stages_run_on_a_bare_machine(bare):
    lines = fields((bare / "out/check.log").read_text())
    assert list(dict.fromkeys(line[0] for line in lines)) == [*STAGES, "all"]
    assert {line[2] for line in lines} <= {"ok", "skipped", "note"}
    by_name = {(line[0], line[1]): line for line in lines}
    assert by_name["machine", "splits smoke/tdr/mnist-4v9"][4] == "1 splits equal home's"
    assert by_name["machine", "splits smoke/tdr/cifar10-4v9-convnet"][4] == "1 splits equal home's"
    assert by_name["machine", "code"][2] == "ok"
    assert by_name["machine", "specs"][4] == "2 specs"
    assert all(" a step takes " in by_name["throughput", f"{net} floor"][4] for net in ("lenet", "resnet32"))
    assert by_name["training", "call 1"][4] == "1 of 1 runs ended, 1 side by side"
    assert by_name["training", "call 2"][4] == "1 of 1 runs ended, 1 side by side"
    assert by_name["training", "left"][4].startswith("0 runs left")
    assert by_name["training", RUNS[0]][2] == "ok"
    with tarfile.open(bare / "out/gpu-check-0.tar.gz") as archive:
        assert {f"results/{name}.json" for name in RUNS} <= {*archive.getnames()}


@pytest.mark.slow
def test_packed_rows_give_the_record_that_the_whole_data_set_gives(bare, folder):
    """The same but for where the raw files came from, and for what a machine and a clock say."""
    for name in RUNS:
        here, there = (json.loads((place / f"results/{name}.json").read_bytes()) for place in (folder, bare))
        for body in (here, there):
            sources = {file["source"] for file in body["raw"]}
            raw = body["raw"]
            body["raw"] = [{**file, "source": ""} for file in body["raw"]]
        assert sources == ({"packed"} if "cifar10" in name else {"embedded"})
        kept = ("spec_digest", "code", "split", "raw", "stages", "metrics", "status", "steps", "trace")
        assert {key: here[key] for key in kept} == {key: there[key] for key in kept}
        assert {**here["curves"], "train_seconds": 0} == {**there["curves"], "train_seconds": 0}
        there["raw"] = raw
        assert faults(there) == []
        assert there["git"] == {"commit": COMMIT, "dirty": True}


def test_without_a_folder_a_machine_trains_its_own_missing_runs_in_the_declared_order(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    folder = pack.own_specs(tmp_path / "specs", "paper")
    names = (folder / "order.txt").read_text().split()
    assert len(names) > 10 and all((folder / name).is_file() for name in names)
    assert names[0].startswith("paper__")


def test_a_folder_without_specs_says_how_to_write_them(tmp_path):
    from reweigh.errors import ConfigError

    with pytest.raises(ConfigError, match="reweigh plan TARGET --specs"):
        pack.pack(tmp_path)
    for text, size in (("40M", 40 * 2**20), ("1.5G", 3 * 2**29), ("12", 12), ("8 KiB", 2**13)):
        assert pack.size(text) == size
    with pytest.raises(ConfigError, match="--limit"):
        pack.size("much")
