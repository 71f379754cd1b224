"""States on disk: whatever stands under a run's name that it did not write costs time, and changes no number."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import project
from support.prefixes import KEPT, locks, outcome, the_file, trained
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
    others = {"folder.pt": "directory", "list.pt": "list", renamed.name: "under this name"}
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


# --- of runs ---------------------------------------------------------------------------------------------------------


def plain(**options):
    """A run that shares nothing."""
    spec = spec_of("none", **options)
    spec["method_options"] = {"scale": "mean"}
    return spec


def begun(spec, step=3):
    """Train until `step` steps are taken, and the state is saved; the file."""
    clock = Clock()
    with pytest.raises(OutOfTime):
        Job(spec, CPU, clock).finish(lambda run: run.step == step and clock.stop())
    (path,) = [*CHECKPOINTS.rglob("*.pt"), *KEPT.glob("*.part")]
    return path


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
