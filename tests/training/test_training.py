"""`python -m reweigh.training` in processes of its own: kills, budgets, current records, a bare environment."""

import importlib.metadata
import json
import re
import shutil
import signal
import subprocess
import venv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support import processes, project

from reweigh.config.names import RunName
from reweigh.errors import ConfigError
from reweigh.records import record
from reweigh.training import sealed
from reweigh.training.__main__ import NOT_SPECS, ORDER, at_once_of, seconds, spec_paths
from reweigh.training.checkpoint import Clock, Keeper

RUN = "smoke/tdr/mnist-4v9/rho0.1/tdr/seed0"
RECORD = Path("results") / f"{RUN}.json"
EPOCHS = 20


@pytest.fixture
def folder(tmp_path, raw_root):
    return project.make(tmp_path, raw_root)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, raw_root):
    """The outcome of the run when nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    project.make(folder, raw_root)
    done = project.train_from_command_line(folder, project.spec_file(folder, RUN, epochs=EPOCHS))
    assert done.returncode == 0, done.stderr
    return project.outcome(folder / RECORD)


def step_of_checkpoint(folder):
    """The step at which the only checkpoint in the folder was taken."""
    (path,) = project.checkpoints(folder)
    return sealed.read(path, torch.device("cpu"))[0]["position"][-1]


def start_and_wait_for_a_checkpoint(folder, spec):
    process = project.start_slowly(folder, spec, REWEIGH_CHECKPOINT_SECONDS="0")
    processes.wait_for(lambda: project.checkpoints(folder), "a checkpoint", process)
    return process


def test_killed_with_sigkill_and_started_again_ends_identical(folder, undisturbed):
    spec = project.spec_file(folder, RUN, epochs=EPOCHS)
    process = start_and_wait_for_a_checkpoint(folder, spec)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (folder / RECORD).exists()
    done = project.train(folder, spec)
    assert done.returncode == 0, done.stderr
    assert project.outcome(folder / RECORD) == undisturbed
    assert not project.checkpoints(folder)


def test_sigterm_saves_and_asks_to_be_started_again(folder, undisturbed):
    spec = project.spec_file(folder, RUN, epochs=EPOCHS)
    process = start_and_wait_for_a_checkpoint(folder, spec)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75 and "the same command resumes from here" in said
    assert project.train(folder, spec).returncode == 0
    assert project.outcome(folder / RECORD) == undisturbed


def test_a_time_budget_stops_at_a_checkpoint_and_the_next_call_goes_on(folder, undisturbed):
    spec = project.spec_file(folder, RUN, epochs=EPOCHS)
    steps = [0]
    for _ in range(2):  # less than the start takes: each call still gets one step further
        done = project.train(folder, spec, "--time-budget", "0.001s")
        assert done.returncode == 75 and "1 of 1 runs left" in done.stderr
        steps.append(step_of_checkpoint(folder))
    assert steps == [0, 1, 2]  # the second call went on from the first one's step, it did not begin again
    assert project.train(folder, spec, "--time-budget", "1h").returncode == 0
    assert project.outcome(folder / RECORD) == undisturbed


def test_a_current_record_is_left_alone_and_a_stale_or_altered_one_is_not(folder):
    spec = project.spec_file(folder, RUN)
    assert project.train(folder, spec).returncode == 0
    path = folder / RECORD
    first = path.read_text()
    assert "1 of 1 records are current" in project.train(folder, spec).stderr
    assert path.read_text() == first
    path.write_text(re.sub(r'"test_accuracy":\d\.\d', '"test_accuracy":0.9', first))
    assert project.train(folder, spec).returncode == 0
    assert json.loads(path.read_text())["metrics"] == json.loads(first)["metrics"]
    longer = project.spec_file(folder, RUN, epochs=2)
    assert project.train(folder, longer).returncode == 0
    assert json.loads(path.read_text())["spec"]["training"]["epochs"] == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such spec"),
        ("{", "not JSON"),
        ("[]", "not an object"),
        ('{"spec_version": 2}', "version 1"),
    ],
)
def test_bad_specs_are_refused_in_one_line(tmp_path, content, says):
    path = tmp_path / "spec.json"
    if content is not None:
        path.write_text(content)
    done = project.train(tmp_path, path)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr and not (tmp_path / "results").exists()


def test_a_wrong_byte_in_a_raw_file_stops_before_training_even_if_the_split_is_there(tmp_path, raw_root):
    project.make(tmp_path, raw_root)
    (tmp_path / "data" / "raw").unlink()
    shutil.copytree(raw_root / "adult", tmp_path / "data" / "raw" / "adult")
    run = "smoke/tdr/adult/sex/constant/seed0"
    spec = project.spec_file(tmp_path, run)
    assert project.train(tmp_path, spec).returncode == 0
    (tmp_path / "results" / f"{run}.json").unlink()
    raw = tmp_path / "data" / "raw" / "adult" / "adult.data"
    altered = raw.read_bytes().replace(b"39, State-gov", b"38, State-gov", 1)
    raw.write_bytes(altered)
    done = project.train(tmp_path, spec)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "adult.data" in done.stderr and "sha256" in done.stderr and "delete" in done.stderr
    assert raw.read_bytes() == altered and not (tmp_path / "results" / f"{run}.json").exists()


@pytest.mark.parametrize("at_once", ["1", "2"])
@pytest.mark.parametrize("damage", ["split", "code"])
def test_a_run_that_cannot_be_trained_does_not_stop_the_others(folder, damage, at_once):
    first, bad, last = (RUN[:-1] + seed for seed in "012")
    specs = [project.spec_file(folder, run) for run in (first, bad, last)]
    if damage == "split":
        assert project.train(folder, specs[1]).returncode == 0
        (folder / f"data/splits/{RunName.parse(bad).split}.npz").write_bytes(b"altered")
        (folder / "results" / f"{bad}.json").unlink()
    else:  # an error that nobody has thought of
        specs[1] = project.spec_file(folder, bad)
        spec = json.loads(specs[1].read_text())
        spec["data"]["scale_inputs"] = {"mean": [0.5] * 3, "std": [0.5] * 3}  # of images with one channel
        specs[1].write_text(json.dumps(spec))
    done = project.train(folder, *specs, "--at-once", at_once)
    assert done.returncode == 1 and f"reweigh: {bad}: " in done.stderr
    assert ("Traceback" in done.stderr) == (damage == "code")
    assert done.stderr.splitlines()[-1] == f"1 of 3 runs failed: {bad}"
    assert [(folder / "results" / f"{run}.json").is_file() for run in (first, bad, last)] == [True, False, True]
    assert len(re.findall(r"^[123]/3 ", done.stderr, re.MULTILINE)) == 3


def test_a_folder_stands_for_its_specs_in_their_order(folder):
    specs = folder / "specs"
    specs.mkdir()
    names = []
    for seed in "102":
        names.append(project.spec_file(folder, RUN[:-1] + seed).replace(specs / f"{seed}.json").name)
    for other in NOT_SPECS:
        (specs / other).write_text("{}")
    assert [path.name for path in spec_paths([str(specs)])] == sorted(names)
    (specs / ORDER).write_text("\n".join(names))
    assert [path.name for path in spec_paths([str(specs)])] == names
    assert {path.name for path in spec_paths([str(path) for path in specs.glob("*.json")])} == set(names)
    done = project.train(folder, "specs", "--at-once", "1")
    assert done.returncode == 0 and re.findall(r"/seed(\d): finished", done.stderr) == list("102")


def test_durations():
    assert [seconds(text) for text in ("90", "90s", "9m", "1.5h")] == [90, 90, 540, 5400]
    with pytest.raises(Exception, match="is not a duration"):
        seconds("soon")


@pytest.mark.parametrize("text", ["0", "²", "-1", "1.0", "", "9" * 5000])
def test_runs_side_by_side_are_a_whole_number(text):
    with pytest.raises(ConfigError, match="write auto or a whole number from 1"):
        at_once_of(text)


def needed_by(*names):
    """The distributions that the named ones need to run, themselves included."""
    found, waiting = {}, list(names)
    while waiting:
        name = re.split(r"[ ;<>=!~\[(]", waiting.pop(), maxsplit=1)[0].lower().replace("_", "-")
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        waiting += [need for need in found[name].requires or [] if "extra ==" not in need]
    return found


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """An interpreter with nothing but torch, numpy, pyyaml and what they need: links into this one's packages."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    for found in needed_by("torch", "numpy", "pyyaml").values():
        for top in {
            Path(file).parts[0] for file in found.files or [] if Path(file).parts[0] not in ("..", "__pycache__")
        }:
            target = Path(found.locate_file(top))
            if target.exists() and not (packages / top).exists():
                (packages / top).symlink_to(target)
    return folder / "bin" / "python"


def test_torch_numpy_and_pyyaml_are_enough(folder, undisturbed, bare_python):
    absent = "for name in ('pydantic', 'snakemake', 'pooch', 'pandas', 'scipy', 'typer', 'tqdm'):\n" + (
        "    assert not importlib.util.find_spec(name), name"
    )
    subprocess.run([bare_python, "-c", f"import importlib.util\n{absent}"], check=True)
    spec = project.spec_file(folder, RUN, epochs=EPOCHS)
    done = project.train_from_command_line(folder, spec, python=bare_python)
    assert done.returncode == 0, done.stderr
    assert project.outcome(folder / RECORD) == undisturbed


def test_a_run_that_another_process_has_finished_meanwhile_leaves_no_checkpoint(tmp_path):
    path = tmp_path / "record.json"
    path.write_text("stale")
    keeper = Keeper("a/b/seed0", "key", Clock(), tmp_path / "checkpoints", path, record.stamp(path))
    run = SimpleNamespace(state=lambda: {"step": 3})
    keeper.save(run)
    assert keeper.path.is_file()
    written = tmp_path / ".record"
    written.write_text("finished")
    written.replace(path)
    keeper.save(run)
    assert not list((tmp_path / "checkpoints").rglob("*.pt"))


def test_a_run_that_diverged_is_told_without_an_accuracy(tmp_path, raw_root):
    folder = project.make(tmp_path, raw_root)
    done = project.train(folder, project.spec_file(folder, RUN, learning_rate=1e6))
    assert done.returncode == 0, done.stderr
    assert re.search(rf"{RUN}: diverged at step \d+ \(.+\), \d+ steps in ", done.stderr)


@pytest.mark.parametrize("text", ["x", "nan", "inf", "-1"])
def test_a_time_between_checkpoints_that_is_none_is_refused(text, monkeypatch):
    monkeypatch.setenv("REWEIGH_CHECKPOINT_SECONDS", text)
    with pytest.raises(ConfigError, match=f"REWEIGH_CHECKPOINT_SECONDS={text}: write seconds"):
        Keeper("a/b/seed0", "key")
    monkeypatch.setenv("REWEIGH_CHECKPOINT_SECONDS", "")
    assert Keeper("a/b/seed0", "key").every_seconds == 60
