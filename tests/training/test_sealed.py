"""States on disk: whatever stands under a run's name that it did not write costs time, and changes no number."""

import contextlib
import hashlib
import io
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import project
from support.prefixes import KEPT, locks, outcome, the_file, trained
from support.project import ROOT
from support.two_stages import CPU, spec_of

from reweigh.training import sealed
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.run import Job

STATE = {"model": {"weight": torch.arange(9.0)}, "position": (0, 1, 2)}
CHECKPOINTS = Path(".reweigh/checkpoints")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("sealed") / f"{'a' * 64}.pt"
    digest = sealed.write(path, STATE)
    return path, path.read_bytes(), digest


def test_what_was_written_is_read(written):
    path, _, digest = written
    state, found = sealed.read(path, CPU)
    assert torch.equal(state["model"]["weight"], STATE["model"]["weight"]) and found == digest
    assert state["position"] == (0, 1, 2)


@given(st.data())
def test_any_changed_byte_or_length_is_damage(written, data):
    path, content, _ = written
    place, change = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(1, 255))
    cut = data.draw(st.sampled_from((content[:place], content[place + 1 :], content + bytes([change]))))
    for damaged in (content[:place] + bytes([content[place] ^ change]) + content[place + 1 :], cut):
        other = path.with_suffix(".part")
        other.write_bytes(damaged)
        with pytest.raises(sealed.Damaged, match="not what was written"):
            sealed.read(other, CPU)


def test_what_else_may_stand_there(written, tmp_path, monkeypatch):
    path, content, _ = written
    renamed = tmp_path / f"{'b' * 64}.pt"
    renamed.write_bytes(content)
    sealed.write(tmp_path / "list.pt", [1])
    (tmp_path / "folder.pt").mkdir()
    others = {"folder.pt": "not a file", "list.pt": "list", renamed.name: "under this name"}
    for name, says in others.items():
        with pytest.raises(sealed.Damaged, match=says):
            sealed.read(tmp_path / name, CPU)
    with pytest.raises(FileNotFoundError):
        sealed.read(tmp_path / "none.pt", CPU)
    for error in (torch.OutOfMemoryError, MemoryError):

        def load(*_, error=error, **__):
            raise error

        monkeypatch.setattr(torch, "load", load)
        with pytest.raises(error):  # no fault of the file
            sealed.read(path, CPU)


ARRAYS = [
    *(np.arange(6).astype(kind).reshape(2, 3) for kind in "?bBhHiIlLefd"),
    *(np.array(["a", "b"]), np.zeros((0, 2), np.float32), np.asfortranarray(np.ones((2, 3))), np.float64(0.5)),
]


def test_arrays_and_plain_values_are_what_they_were(tmp_path):
    state = {"arrays": ARRAYS, "plain": [None, True, 2**70, 1.5, "é", b"\0", (1, (2,))], "nan": float("nan")}
    sealed.write(tmp_path / "a.pt", state)
    found, _ = sealed.read(tmp_path / "a.pt", CPU)
    for one, other in zip(ARRAYS, found["arrays"], strict=True):
        assert type(one) is type(other) and one.dtype == other.dtype and np.array_equal(one, other)
    assert found["plain"] == state["plain"] and np.isnan(found["nan"])


class Hostile:
    """A pickle of it makes a file when it is read."""

    def __init__(self, made):
        self.made = made

    def __reduce__(self):
        return open, (str(self.made), "w")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_state_that_would_run_code_is_damage_and_runs_none(how, tmp_path):
    """With a digest as it should be: whoever writes code into a file can also compute that."""
    made, path, saved = tmp_path / "made", tmp_path / f"{'a' * 64}.pt", io.BytesIO()
    if how == "torch":
        torch.save({**STATE, "more": Hostile(made)}, saved)
    else:
        pickle.dump(Hostile(made), saved)
    told = hashlib.sha256(path.stem.encode() + saved.getvalue()).hexdigest()
    path.write_bytes(f"reweigh state 1 of {path.stem}, sha256 {told}\n".encode() + saved.getvalue())
    with pytest.raises(sealed.Damaged, match="something else than tensors"):
        sealed.read(path, CPU)
    assert not made.exists()


def test_nothing_in_the_project_is_unpickled_without_restriction():
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "weights_only=False" not in text and "allow_pickle=True" not in text, path
        for call in ("pickle.load", "torch.load(", "joblib.load"):
            lines = [line for line in text.splitlines() if call in line]
            assert all("weights_only=True" in line for line in lines), path


# --- of runs ---------------------------------------------------------------------------------------------------------


def plain(**options):
    """A run that shares nothing."""
    spec = spec_of("none", **options)
    spec["method_options"] = {"scale": "mean"}
    return spec


def begun(spec, step=3):
    """Train until `step` steps are taken, and the state is saved; the file."""
    clock = Clock()
    job = Job(spec, CPU, clock)
    with pytest.raises(OutOfTime):
        job.finish(lambda run: run.step == step and clock.stop())
    kept = job.keeper.elsewhere(job.run) or job.keeper.path
    assert kept.is_file()
    return kept


def ended(spec):
    """Its record, and the number of steps that it took here."""
    taken, job = [], Job(spec, CPU)
    return job.finish(lambda run: taken.append(run.step)), len(taken)


def other_content(path, content):
    sealed.write(path, {"a": 1})


def a_list(path, content):
    torch.save([1], path)


def without_beside(path, content):
    """As an older version wrote it."""
    state, _ = sealed.read(path, CPU)
    torch.save({name: value for name, value in state.items() if name not in ("run", "whole", "stints")}, path)


DAMAGE = {
    "a flipped bit": lambda path, content: path.write_bytes(
        content[: len(content) // 3] + bytes([content[len(content) // 3] ^ 1]) + content[len(content) // 3 + 1 :]
    ),
    "empty": lambda path, content: path.write_bytes(b""),
    "cut short": lambda path, content: path.write_bytes(content[:1000]),
    "something else that is sound": other_content,
    "a list": a_list,
    "of an older version": without_beside,
}


@pytest.fixture(scope="module")
def plain_alone(tmp_path_factory, raw_root):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.make(tmp_path_factory.mktemp("plain"), raw_root))
        return outcome(ended(plain())[0])


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_checkpoint_costs_only_time(what, plain_alone, folder, capsys):
    path = begun(plain())
    DAMAGE[what](path, path.read_bytes())
    body, steps = ended(plain())
    assert outcome(body) == plain_alone and (steps, body["resumed"]) == (body["steps"], 0)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}: damaged") and line.endswith("going on without it")
    assert not list(CHECKPOINTS.glob("*"))


@pytest.mark.parametrize("damaged", [("last",), ("before",), ("last", "before"), ("gone",)], ids=" and ".join)
def test_a_run_goes_on_from_the_last_checkpoint_that_is_whole(damaged, plain_alone, folder, capsys, monkeypatch):
    """`gone`: killed while the last one was given its name, when there is only the one before."""
    monkeypatch.setenv("REWEIGH_CHECKPOINT_SECONDS", "0")
    path = begun(plain(), 5)
    before = sealed.previous_of(path)
    if "gone" in damaged:
        path.unlink()
    for name in damaged:
        flip = {"last": path, "before": before}.get(name)
        if flip:
            content = flip.read_bytes()
            flip.write_bytes(content[:-300] + bytes([content[-300] ^ 4]) + content[-299:])
    monkeypatch.delenv("REWEIGH_CHECKPOINT_SECONDS")
    left = {("before",): 5, ("last", "before"): 0}.get(damaged, 4)
    job = Job(plain(), CPU)
    assert job.run.step == left
    aside = [one.name for one in path.parent.glob("*.damaged")]
    lines = capsys.readouterr().err.splitlines()
    if "last" in damaged:
        assert aside == [f"{path.name}.damaged"] and lines[0].startswith(f"{path}: damaged")
        assert f"set aside as {aside[0]}; going on " in lines[0] and len(lines) == len(damaged)
        assert lines[-1].endswith("going on from the one before" if left else "going on without it")
    else:
        assert aside == [] == lines
    assert outcome(job.finish()) == plain_alone and not list(CHECKPOINTS.glob("*"))


@pytest.mark.parametrize("what", ["last", "gone"])
def test_another_run_goes_on_from_the_last_beginning_that_is_whole(what, alone, folder, monkeypatch, capsys):
    """Of stages that they share, and of the whole of a run that has another name."""
    monkeypatch.setenv("REWEIGH_CHECKPOINT_SECONDS", "0")
    part = begun(spec_of("crt"), 5)
    path = begun(plain(), 5)
    for one in (part, path):
        one.unlink() if what == "gone" else one.write_bytes(one.read_bytes()[:-100])
    monkeypatch.delenv("REWEIGH_CHECKPOINT_SECONDS")
    body, steps = trained("lws")
    assert outcome(body) == alone["lws"][1] and steps == body["steps"] - 4
    body, steps = ended({**plain(), "experiment": "again"})
    assert steps == body["steps"] - 4 and body["begun_by"][0]["steps"] == 4
    assert capsys.readouterr().err.count("going on from the one before") == (0 if what == "gone" else 2)
    assert not list(KEPT.glob("*.part*")) or what == "last"


def test_at_every_kill_while_a_checkpoint_is_written_one_is_whole(tmp_path, monkeypatch):
    """Before and after each change of the folder, the last or the one before can be read."""
    path, seen = tmp_path / f"{'a' * 64}.pt", []
    replace, fsync = os.replace, os.fsync

    def look():
        for one in (path, sealed.previous_of(path)):
            with contextlib.suppress(FileNotFoundError):
                seen.append(sealed.read(one, CPU)[0]["number"])
                return
        seen.append(None)

    def looked(action):
        def call(*arguments):
            look()
            action(*arguments)
            look()

        return call

    sealed.write(path, {"number": 0}, keep_previous=True)
    monkeypatch.setattr(os, "replace", looked(replace))
    monkeypatch.setattr(os, "fsync", looked(fsync))
    for number in (1, 2, 3):
        seen.clear()
        sealed.write(path, {"number": number}, keep_previous=True)
        assert set(seen) == {number - 1, number}
        assert sealed.read(sealed.previous_of(path), CPU)[0]["number"] == number - 1


@pytest.mark.parametrize("method", ["crt", "lws"], ids=["by the same run", "by another"])
@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_beginning_of_shared_stages_costs_only_time(what, method, alone, folder, capsys):
    path = begun(spec_of("crt"))
    DAMAGE[what](path, path.read_bytes())
    body, steps = trained(method)
    assert outcome(body) == alone[method][1] and (steps, body["resumed"]) == (body["steps"], 0)
    assert body["begun_by"] == body["prefix"]["begun_by"] == [] and not list(KEPT.glob("*.part"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}: damaged") and line.endswith("going on without it")


def test_a_checkpoint_of_another_seed_under_this_ones_name_is_not_resumed(plain_alone, folder):
    path = begun(plain())
    path.replace("own.pt")
    other = begun(plain(seed=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(other, path)
    body, steps = ended(plain())
    assert outcome(body) == plain_alone and steps == body["steps"]


def test_a_beginning_of_other_stages_under_this_ones_name_is_not_taken(alone, folder):
    path = begun(spec_of("crt"))
    path.unlink()
    begun(spec_of("crt", seed=1)).rename(path)
    body, steps = trained("crt")
    assert outcome(body) == alone["crt"][1] and steps == body["steps"]


# --- what is sound, and of no use ------------------------------------------------------------------------------------


def spoil(path):
    """Make of a file one that is sound, and fails when half of it is loaded."""
    state, _ = sealed.read(path, CPU)
    inner = state.get("state", state)
    inner["curves"] = None
    sealed.write(path, state)


@pytest.mark.parametrize("kind", ["checkpoint", "part", "end"])
def test_a_state_that_fails_half_loaded_leaves_nothing_of_itself(kind, alone, plain_alone, folder, capsys):
    if kind == "end":
        trained("joint")
        path = the_file()
    else:
        path = begun(plain() if kind == "checkpoint" else spec_of("crt"))
    spoil(path)
    capsys.readouterr()
    body, steps = ended(plain()) if kind == "checkpoint" else trained("crt")
    assert outcome(body) == (plain_alone if kind == "checkpoint" else alone["crt"][1])
    assert (steps, body["resumed"], body["begun_by"]) == (body["steps"], 0, []) and not locks()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}: the run cannot go on from it (") and line.endswith("going on without it")


def test_a_twin_that_cannot_go_on_from_another_goes_on_from_its_own(plain_alone, folder, capsys):
    twin = {**plain(), "experiment": "again"}
    begun(twin)
    shutil.move(CHECKPOINTS, "own")
    shutil.rmtree(".reweigh")
    spoil(begun(plain(), 6))
    shutil.copytree("own", CHECKPOINTS, dirs_exist_ok=True)
    body, steps = ended(twin)
    assert {**outcome(body), "run": 0, "spec_digest": 0} == {**plain_alone, "run": 0, "spec_digest": 0}
    assert (steps, body["resumed"], body["begun_by"]) == (body["steps"] - 3, 1, [])
    assert "cannot go on from it" in capsys.readouterr().err


def test_a_run_that_starts_over_keeps_its_clock(alone, folder):
    """That of its lane: on a GPU it shares the seconds with others."""
    first, second = Job(spec_of("joint"), CPU), Job(spec_of("crt"), CPU)
    seconds = iter(range(10**6))
    second.run.clock, before = lambda: float(next(seconds)), second.run
    assert not second.ready()
    first.finish()
    spoil(the_file())
    body = second.finish()
    assert second.run is not before and second.run.clock is before.clock
    assert outcome(body) == alone["crt"][1] and not locks()


def test_want_of_memory_leaves_the_checkpoint_and_is_told(plain_alone, folder, monkeypatch):
    begun(plain())
    with monkeypatch.context() as patch:

        def load_state(self, state):
            raise torch.OutOfMemoryError("CUDA out of memory")

        patch.setattr("reweigh.training.engine.Run.load_state", load_state)
        with pytest.raises(torch.OutOfMemoryError):
            Job(plain(), CPU)
    body, steps = ended(plain())
    assert outcome(body) == plain_alone and steps == body["steps"] - 3
