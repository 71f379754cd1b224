"""Before training, what was kept for runs that are no more is removed; what today's runs can take over is not."""

import json
import os
import time

import pytest
from support import project as projects
from support.two_stages import CPU
from typer.testing import CliRunner

from reweigh.cli import app
from reweigh.config.loading import load
from reweigh.planning import tidy
from reweigh.records import kept
from reweigh.training.run import Job

SETTING = "smoke/absgd/two-stage/lt-rho100"


@pytest.fixture
def folder(tmp_path, raw_root, monkeypatch):
    monkeypatch.chdir(projects.make(tmp_path, raw_root))
    monkeypatch.delenv("REWEIGH_FILL_UNTIL", raising=False)
    return tmp_path


def aged(*paths):
    """These files, two days old."""
    for path in paths:
        os.utime(path, (time.time() - 2 * kept.AGE_SECONDS,) * 2)


def a_stage(key, note=None):
    """A file as of a shared stage, two days old."""
    kept.FOLDER.mkdir(parents=True, exist_ok=True)
    (path := kept.FOLDER / f"{key}.pt").write_bytes(b"x" * 1_234_567)
    if note is not None:
        kept.note(path.with_suffix(".json"), "a/run", note)
        aged(path.with_suffix(".json"))
    aged(path)
    return path


def test_what_training_notes_is_what_the_plan_wants(folder):
    """The one asks the method, the other its card; the one in its folder, the other by the project's root."""
    config = load(folder)
    for method in ("joint", "crt", "absgd_head"):
        job = Job(config.resolve(f"{SETTING}/{method}/seed0"), CPU)
        (note,) = kept.FOLDER.glob("*.json")
        assert note.stem == job.prefix.key and json.loads(note.read_text())["run"] == job.name
        assert kept.noted(note) in tidy.wanted(config)
        job.release()
        note.unlink()


@pytest.mark.parametrize("change", ["code", "recipe", "spec"])
def test_what_another_code_or_spec_made_is_not_wanted(change, folder, monkeypatch):
    spec = load(folder).resolve(f"{SETTING}/joint/seed0")
    before = tidy.wanted(load(folder), [spec])
    if change == "spec":
        spec["training"]["learning_rate"] *= 2
        assert len(tidy.wanted(load(folder), [spec]) - before) == 1
        return
    name = {"code": "reweigh.records.record.code_digest", "recipe": "reweigh.records.kept.recipe_digest"}[change]
    monkeypatch.setattr(name, lambda *spec: "another")
    assert not before & tidy.wanted(load(folder), [spec])


def test_a_run_of_the_config_wants_its_stages_at_any_scale_with_a_record_or_not(folder):
    config = load(folder)
    path = config.root / "config/config.yaml"
    every = "papers: [tdr, absgd, autobalance, molere, har, compare]"
    path.write_text(path.read_text().replace(every, "papers: [tdr]"))
    assert load(folder).project.papers == ["tdr"]
    for run in (f"{SETTING}/crt/seed0", "paper/absgd/two-stage/lt-rho100/lws/seed0"):
        assert tidy.wanted(load(folder)) >= tidy.wanted(config, [config.resolve(run)]) > set()


def test_the_training_command_removes_what_is_of_older_code_and_says_so_in_a_line(folder):
    config = load(folder)
    old, nobodys = a_stage("0" * 64), a_stage("1" * 64, "of older code")
    own = a_stage("2" * 64, next(iter(tidy.wanted(config))))
    done = CliRunner().invoke(app, ["train", "smoke/tdr/mnist-4v9/rho0.1/none/seed0"])
    assert done.exit_code == 0, done.output
    assert not old.exists() and not nobodys.exists() and own.exists()
    assert done.stderr.count("removed") == 1
    assert "removed 2.5 MB of .reweigh/prefixes: 2 shared stages of older code or config\n" in done.stderr
    again = CliRunner().invoke(app, ["train", "smoke/tdr/mnist-4v9/rho0.1/none/seed0"])
    assert "removed" not in again.stderr


def test_it_takes_no_time_where_there_is_nothing(folder, monkeypatch):
    monkeypatch.setattr(tidy, "wanted", None)
    assert tidy.remove_unwanted(load(folder)) == 0
    (kept.FOLDER / "whole").mkdir(parents=True)
    assert tidy.remove_unwanted(load(folder)) == 0


def test_nothing_is_removed_where_it_cannot_be_told_what_runs_want(folder):
    old = a_stage("0" * 64)
    (folder / "data/manifest.yaml").unlink()
    assert tidy.remove_unwanted(load(folder)) == 0 and old.exists()
