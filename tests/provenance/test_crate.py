"""`reweigh crate`: what is packed, what is said of it, and when nothing is packed."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile

import pytest
from support import synthetic_records, tampering
from support.crates import CONTEXT, ROOT, graph, many, names, of_type, project, words
from typer.testing import CliRunner

from reweigh import cli
from reweigh.config.loading import load
from reweigh.data.obtain import describe
from reweigh.errors import ConfigError, ReweighError
from reweigh.provenance import crate
from reweigh.provenance.audit import audit
from reweigh.records import record

LABELS = "t10k-labels-idx1-ubyte"


@pytest.fixture(scope="module")
def packed_project(sound_project, tmp_path_factory):
    return project(sound_project, tmp_path_factory.mktemp("crate") / "project")


@pytest.fixture(scope="module")
def packed(packed_project, tmp_path_factory):
    """The crate of the small project."""
    place, _ = crate.write("smoke", tmp_path_factory.mktemp("crates") / "smoke", packed_project)
    return place


@pytest.fixture
def root(packed_project, tmp_path):
    """A copy of the small project, to be changed."""
    return tampering.copy(packed_project, tmp_path / "project")


def files_in(place):
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def action(entities, run):
    return entities[f"#train/{run}"]


def test_every_file_is_described_by_its_bytes(packed):
    entities, files = graph(packed), files_in(packed)
    files.pop("ro-crate-metadata.json")
    assert len(files) > 100
    for name, content in files.items():
        said = entities[name]
        assert said["sha256"] == hashlib.sha256(content).hexdigest()
        assert said["contentSize"] == str(len(content))
    local = {one["@id"] for one in of_type(entities, "File") if not one["@id"].startswith(("#", "http"))}
    assert local == set(files)
    assert {*local} <= {*names(entities["./"]["hasPart"])}


def test_what_a_stranger_needs_is_there_and_nothing_else(packed):
    files = files_in(packed)
    figure = {f"{tampering.FIGURE}.{ending}" for ending in ("pdf", "png", "csv", "ipynb", "json")}
    scorecard = {f"{tampering.SCORECARD}.{ending}" for ending in ("csv", "md", "html", "json")}
    needed = {"workflow/Snakefile", "config/config.yaml", "data/manifest.yaml", "data/published/tdr.csv"}
    needed |= {tampering.LOCK, "src/reweigh/methods/tdr.py", "notebooks/tdr/fig3.ipynb", f"results/{tampering.TDR}.npz"}
    assert figure | scorecard | needed <= set(files)
    assert any(name.startswith("results/smoke/attestations/") for name in files)
    assert f"{tampering.SPLIT}.npz" in files  # it lies there, and is the one that records name
    assert not [name for name in files if "raw" in name.split("/") or "embedded" in name or "__pycache__" in name]


def test_every_name_that_is_referred_to_is_known(packed):
    entities = graph(packed)
    wanted = {
        one["@id"]
        for body in entities.values()
        for value in body.values()
        for one in many(value)
        if isinstance(one, dict)
    }
    assert {name for name in wanted - set(entities) if not name.startswith("http")} == set()


def test_every_word_is_one_of_the_profile(packed):
    assert words(packed) <= set(CONTEXT)


def test_every_run_has_its_action_with_all_that_its_record_says(packed, packed_project):
    entities = graph(packed)
    runs = list((packed_project / "results/smoke").glob("*/*/*/*/seed*.json"))
    assert len(runs) == 4
    assert len([name for name in entities if name.startswith("#train/")]) == 4
    for path in runs:
        body = json.loads(path.read_text())
        done = action(entities, body["run"])
        assert f"results/{body['run']}.json" in names(done["result"])
        assert (done["startTime"], done["endTime"]) == ("2024-01-01T00:00:00+00:00", "2024-01-01T00:10:00+00:00")
        assert done["identifier"] == body["digest"]
        program = entities[done["instrument"]["@id"]]
        assert program["identifier"] == body["code"]["digest"]
        assert {f"src/reweigh/{name}" for name in body["code"]["files"]} == {*names(program["hasPart"])}
        given = [entities[name] for name in names(done["object"])]
        assert [one["identifier"] for one in of_type({one["@id"]: one for one in given}, "Dataset")] == [
            body["split"]["digest"]
        ]
        (spec,) = (one for one in given if one.get("name") == "spec")
        assert json.loads(spec["value"]) == body["spec"]
        assert {one["sha256"] for one in given if one["@type"] == "File"} >= {file["sha256"] for file in body["raw"]}
        usage = {entities[name]["propertyID"]: entities[name]["value"] for name in names(done["resourceUsage"])}
        assert usage == {field: body[field] for field in ("seconds", "gpu_seconds", "peak_bytes")}
        assert done["@id"] in names(entities["./"]["mentions"])


def test_raw_files_are_named_by_digest_and_address(packed):
    entities = graph(packed)
    (labels,) = (one for name, one in entities.items() if name.startswith(f"#raw/mnist/{LABELS}/"))
    assert labels["sha256"] == "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    download = entities[labels["isBasedOn"]["@id"]]
    assert download["@id"] == f"https://ossci-datasets.s3.amazonaws.com/mnist/{LABELS}.gz"
    assert (download["contentSize"], labels["contentSize"]) == ("4542", "10008")  # packed and unpacked
    assert "sha256" not in download  # that of the compressed file is not known
    assert entities[labels["license"]["@id"]]["name"] == "CC BY-SA 3.0"


def test_a_figure_names_its_records_and_the_scorecard_too(packed):
    entities = graph(packed)
    rendering = entities[f"#render/{tampering.FIGURE}"]
    drawn_from = {name for name in names(rendering["object"]) if name.startswith("results/")}
    assert drawn_from == {name for name in entities if name.startswith("results/smoke/tdr/") and name.endswith(".json")}
    assert "notebooks/tdr/fig3.ipynb" in names(rendering["object"])
    assert "endTime" not in rendering  # nothing that is kept says when
    assert entities[rendering["instrument"]["@id"]]["softwareVersion"].startswith("rendering ")
    assert {*names(entities["#score/smoke"]["result"])} == {
        f"{tampering.SCORECARD}.{ending}" for ending in ("csv", "html", "json", "md")
    }


def test_steps_order_every_action_of_a_tool(packed):
    entities = graph(packed)
    done = {one["@id"] for one in of_type(entities, "CreateAction")}
    ordered = [one["object"]["@id"] for one in of_type(entities, "ControlAction")]
    assert sorted(ordered) == sorted(done - {"#workflow-run/smoke"})
    (engine,) = of_type(entities, "OrganizeAction")
    assert entities[engine["instrument"]["@id"]]["softwareVersion"] == "9.19.0"  # what the lock says


def test_a_run_that_diverged_is_a_result(root, tmp_path):
    split = describe(load(root).resolve(tampering.ER), root / "data")
    synthetic_records.make(root, tampering.ER, status="diverged", split=split)
    place, _ = crate.write("smoke", tmp_path / "crate", root)
    done = action(graph(place), tampering.ER)
    assert done["actionStatus"].endswith("CompletedActionStatus")
    assert "not finite at step" in done["description"] and "without a score" in done["description"]


def test_the_same_state_gives_the_same_bytes(root, tmp_path):
    first, _ = crate.write("smoke", tmp_path / "a.zip", root)
    for path in root.rglob("*.json"):
        tampering.write(path, path.read_bytes())  # a file of its own, whose time is no other's
        os.utime(path, (10**9, 10**9))
    second, _ = crate.write("smoke", tmp_path / "b.zip", root)
    assert first.read_bytes() == second.read_bytes()
    folder, _ = crate.write("smoke", tmp_path / "c", root)
    with zipfile.ZipFile(first) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files_in(folder)


def test_a_method_that_changed_since_is_said_to_have(root, tmp_path):
    tampering.replace(root / "src/reweigh/methods/tdr.py", "import torch", "import torch\n\nMORE = 1")
    entities = graph(crate.write("smoke", tmp_path / "crate", root)[0])
    program = entities[action(entities, tampering.TDR)["instrument"]["@id"]]
    assert program["description"].endswith("Changed since, apart from comments: methods/tdr.py.")
    assert "src/reweigh/methods/tdr.py" not in names(program["hasPart"])
    other = entities[action(entities, tampering.ER)["instrument"]["@id"]]
    assert other["description"].endswith("all packed and unchanged.")


def test_a_figure_of_other_records_claims_none(root, tmp_path):
    record.record_path(tampering.ER, root).unlink()
    entities = graph(crate.write("smoke", tmp_path / "crate", root)[0])
    rendering = entities[f"#render/{tampering.FIGURE}"]
    assert rendering["description"].startswith("Made from other records")
    assert not [name for name in names(rendering["object"]) if name.startswith("results/")]


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (lambda root: tampering.flip(root / f"results/{tampering.TDR}.json"), "seed0.json"),
        (lambda root: tampering.flip(root / f"results/{tampering.TDR}.npz"), "seed0.npz"),
        (lambda root: tampering.flip(root / f"{tampering.FIGURE}.png"), "fig3.png is not what its receipt says"),
        (lambda root: tampering.write(root / f"{tampering.FIGURE}.json", "{}"), "not a readable receipt"),
    ],
)
def test_what_is_broken_is_not_packed(root, tmp_path, tamper, said):
    tamper(root)
    with pytest.raises(ReweighError, match="reweigh audit --scale smoke") as raised:
        crate.write("smoke", tmp_path / "crate", root)
    assert said in str(raised.value)
    assert not (tmp_path / "crate").exists()


def test_no_records_no_scale_no_project(root, tmp_path):
    with pytest.raises(ReweighError, match="no records at scale quick"):
        crate.write("quick", tmp_path / "crate", root)
    with pytest.raises(ConfigError, match="smoke"):
        crate.write("smok", tmp_path / "crate", root)
    with pytest.raises(ReweighError, match="project's own folder"):
        crate.write("smoke", tmp_path / "crate", tmp_path)


def test_an_earlier_crate_is_replaced_and_nothing_else(root, tmp_path):
    place, _ = crate.write("smoke", tmp_path / "crate", root)
    (place / "stray.txt").write_text("mine")
    crate.write("smoke", place, root)
    assert not (place / "stray.txt").exists()
    (tmp_path / "thesis").mkdir()
    for mine in (tmp_path / "thesis/chapter.tex", tmp_path / "thesis.zip"):
        mine.write_text("mine")
    for taken in ("thesis", "thesis.zip"):
        with pytest.raises(ReweighError, match="no crate of this project"):
            crate.write("smoke", tmp_path / taken, root)
    assert (tmp_path / "thesis/chapter.tex").read_text() == (tmp_path / "thesis.zip").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crate", "project", "thesis", "thesis.zip"]


def test_a_write_that_fails_leaves_what_was_there(root, tmp_path, monkeypatch):
    place, _ = crate.write("smoke", tmp_path / "crate", root)
    before = files_in(place)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rocrate.model.file.File.write", full)
    with pytest.raises(ReweighError, match="the disk is full"):
        crate.write("smoke", place, root)
    assert files_in(place) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crate", "project"]


def test_the_command_says_what_it_packed(packed_project, tmp_path, monkeypatch):
    monkeypatch.chdir(packed_project)
    place = tmp_path / "crate.zip"
    result = CliRunner().invoke(cli.app, ["crate", "--scale", "smoke", "--to", str(place)])
    assert result.exit_code == 0, result.output
    assert f"{place}: 4 runs, 1 figures and tables" in result.output


def test_snakemake_packs_the_configured_scale(packed_project):
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--printshellcmds", "crate", "--config", "scale=smoke"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=packed_project, env=environment, capture_output=True, text=True, timeout=120)
    assert "reweigh crate --scale smoke --to crates/smoke.zip" in done.stdout + done.stderr
    assert done.returncode == 0


def test_an_unpacked_crate_is_audited_and_holds(packed_project, tmp_path, monkeypatch):
    monkeypatch.setenv("REWEIGH_MIRROR", "")
    place, _ = crate.write("smoke", tmp_path / "smoke.zip", packed_project)
    with zipfile.ZipFile(place) as archive:
        names_in = archive.namelist()
        archive.extractall(tmp_path / "unpacked")
    splits = {name for name in names_in if name.startswith("data/splits/")}
    assert splits and splits == {name.replace(".npz", ".json") for name in splits} | {
        name.replace(".json", ".npz") for name in splits
    }
    report = audit("smoke", tmp_path / "unpacked")
    assert report.exit_code == 0, report.faults
    embedded = [link for link in report.links if link.kind == "embedded"]
    assert embedded and {link.state for link in embedded} == {"unverifiable"}
    assert all(link.detail.startswith("data/embedded is not part of this copy") for link in embedded)
