"""The parts of attesting: sample, comparison, chain, the place to train in; and edits of real code, really trained."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support import project, workflow
from support.processes import wait_for

from reweigh.digest import digest
from reweigh.errors import TrainingError
from reweigh.provenance import attest, retraining
from reweigh.records import attestations

CELL = workflow.PAIR
RECORD = f"results/{CELL}/seed0.json"


def test_reading_attestations_needs_nothing_heavy():
    heavy = ("torch", "numpy", "pydantic")
    code = f"import sys, reweigh.records.attestations; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=project.environment())
    assert done.stdout == "[]\n"


# --- the sample, and what is compared ---


def stale_run(number, edit):
    return attest.StaleRun(f"run{number}", {}, {}, {"code": edit})


def test_a_sample_takes_every_edit_and_the_same_runs_for_the_same_seed():
    edits = [("a", "b"), ("c", "d"), ("a", "e")]
    stale = [stale_run(number, edits[number % 3 if number < 6 else 0]) for number in range(60)]
    names = {}
    for asked, expected in ((1, 3), (3, 3), (12, 12), (99, 60)):
        chosen = attest.choose(stale, asked, 0)
        names[asked] = [one.run for one in chosen]
        assert len(set(names[asked])) == len(chosen) == expected
        assert {one.moved["code"] for one in chosen} == set(edits)
        assert names[asked] == [one.run for one in attest.choose(stale[::-1], asked, 0)]
    assert set(names[3]) < set(names[12])  # a larger sample keeps what a smaller one trained
    assert len({tuple(one.run for one in attest.choose(stale, 12, seed)) for seed in range(20)}) == 20
    counts = dict.fromkeys((one.run for one in stale), 0)
    for seed in range(600):
        for one in attest.choose(stale, 12, seed):
            counts[one.run] += 1
    rest = [counts[f"run{number}"] for number in range(6, 60)]
    assert min(rest) > 60 and max(rest) < 170  # 10 of 56 of this edit each time: 107 on average, sd 9.4


def test_the_stated_order_gives_the_sample():
    stale = [stale_run(number, ("a", "b")) for number in range(9)]
    by_hand = sorted(stale, key=lambda one: digest([4, "a", "b", one.run]))[:3]
    assert attest.choose(stale, 3, 4) == by_hand


@pytest.mark.parametrize(
    ("then", "now", "found"),
    [
        ({"a": 1.0, "b": [1, 2]}, {"a": 1.0, "b": [1, 2]}, []),
        ({"a": 0.1}, {"a": 0.1 + 2**-56}, ["a 0.1 -> 0.10000000000000002"]),
        ({"a": 0.0}, {"a": -0.0}, ["a 0.0 -> -0.0"]),
        ({"a": 1}, {"a": 1.0}, ["a 1 -> 1.0"]),
        ({"a": [0, 1, 5]}, {"a": [0, 2, 6]}, ["a[1] 1 -> 2"]),
        ({"a": [0, 1]}, {"a": [0]}, ["a [0, 1] -> [0]"]),
        ({"a": {"b": None}}, {"a": {}}, ['a.b null -> "nothing"']),
        ({"a": None}, {"a": {"b": 1}}, ['a null -> {"b": 1}']),
    ],
)
def test_differences_are_exact_and_named(then, now, found):
    assert retraining.differences(then, now) == found


def test_steps_lead_on_only_from_what_was_reached():
    found = attestations.Attestations([])
    for then, now in (("b", "c"), ("a", "b"), ("b", "d"), ("x", "e")):
        covers = {"smoke/run": "record"}
        body = {"code": [{"then": then, "now": now, "covers": covers}], "split": [], "date": "d"}
        found._add(f"results/smoke/attestations/{then}{now}", {**body, "sample": {"runs": 1, "of": 2}})
    assert [step.now for step in found.chain("record", "code", "a")] == ["b", "c", "d"]
    assert [step.now for step in found.chain("record", "code", "b")] == ["c", "d"]
    assert found.step("record", "code", "a", "d").file == "results/smoke/attestations/bd"
    assert found.step("record", "code", "a", "e") is None
    assert found.step("record", "split", "a", "b") is None and found.step("other", "code", "a", "b") is None


# --- a place to train in ---


def test_one_at_a_time_and_what_is_left_there_stays(tmp_path, raw_root, monkeypatch, capsys):
    monkeypatch.setattr(retraining, "here", lambda: dict.fromkeys(("kind", "name", "torch", "numpy"), ""))
    root, order = project.make(tmp_path, raw_root), []

    def second():
        with retraining.workspace(root) as place:
            order.append(("second", (place.folder / "left").exists()))

    with retraining.workspace(root) as place:
        (place.folder / "left").touch()
        assert sorted(path.name for path in (place.folder / "data").iterdir()) == ["manifest.yaml", "raw"]
        other = threading.Thread(target=second)
        other.start()
        wait_for(lambda: "waiting for another `reweigh attest`" in capsys.readouterr().err, "the other")
        time.sleep(0.2)
        order.append(("first", True))
    other.join(timeout=60)
    assert order == [("first", True), ("second", True)]


def test_a_wish_to_stop_is_handed_on():
    trains = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); print(); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-u", "-c", trains], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with retraining._signals_to(process):
            os.kill(os.getpid(), signal.SIGTERM)
            assert process.wait(timeout=30) == 75
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("asked", [True, False])
def test_training_that_a_wish_to_stop_ended_is_stopped_and_has_not_failed(tmp_path, monkeypatch, asked):
    """It came before the child could handle it, or when its runs were over."""

    class Child:
        def __init__(self, *command, **options):
            self.asked = False

        def terminate(self):
            self.asked = True

        def wait(self):
            if asked:
                os.kill(os.getpid(), signal.SIGTERM)
            assert self.asked == asked
            return -signal.SIGTERM

    (tmp_path / "specs").mkdir()
    monkeypatch.setattr(retraining.subprocess, "Popen", Child)
    place = retraining.Workspace(tmp_path, 0)
    if asked:
        assert place.train([]) == retraining.STOPPED
    else:
        with pytest.raises(TrainingError, match="training ended with code -15"):
            place.train([])


# --- for real: another text of a file, processes, Snakemake ---

SLIGHTLY_OTHER = """
_weights = Method.example_weights
Method.example_weights = lambda self, step, losses: _weights(self, step, losses) * (1 + 1e-6)
"""
ONLY_A_NAME = "\nADDED = True\n"


def reweigh(folder, *arguments, before=(), **changes):
    """Start a command with the folder's own code, and what is in the folders `before` it."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return subprocess.Popen(
        [sys.executable, "-m", "reweigh.cli", *arguments],
        cwd=folder,
        env=project.environment(PYTHONPATH=os.pathsep.join(map(str, (*before, folder / "src"))), PATH=path, **changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(process):
    """The exit code of a command, and what it said."""
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


@pytest.fixture(scope="module")
def made(table3_project, tmp_path_factory):
    """A copy of the project, in which Snakemake trained TDR's two seeds, without what else was made in it."""
    folder = Path(shutil.copytree(table3_project, tmp_path_factory.mktemp("made") / "project", symlinks=True))
    for name in ("figures", "results/smoke/tdr/adult"):
        shutil.rmtree(folder / name)
    return folder


@pytest.fixture
def method(made):
    """The source of TDR, to be edited; put back afterwards, and what was attested of it forgotten."""
    path = made / "src/reweigh/methods/tdr.py"
    text = path.read_text()
    yield path
    path.write_text(text)
    shutil.rmtree(made / "results/smoke/attestations", ignore_errors=True)


@pytest.mark.slow
def test_edits_of_real_code(made, method):
    """One that changes a weight by a millionth is refused; one that only adds a name is accepted, by Snakemake too."""
    target = ("--config", "scale=smoke", "--", RECORD)
    text, before = method.read_text(), (made / RECORD).read_bytes()
    method.write_text(text + SLIGHTLY_OTHER)
    code, said = ended(reweigh(made, "attest", CELL, "--sample", "1"))
    assert code == 1 and "refused: 1 of 1 runs, trained again, came out differently" in said, said
    assert re.search(rf"  {CELL}/seed[01]: curves.effective_weight\[0\] 0\.\d+ -> 0\.\d+", said)
    method.write_text(text + ONLY_A_NAME)
    assert workflow.planned(made, *target)["train"] == 1
    code, said = ended(reweigh(made, "attest", CELL, "--sample", "1"))
    assert code == 0 and "2 records attested in results/smoke/attestations/" in said, said
    assert "train" not in workflow.planned(made, *target)
    code, said = ended(reweigh(made, "train", CELL))
    assert code == 0 and "2 of 2 records are current: not trained again" in said
    code, said = ended(reweigh(made, "audit", "--scale", "smoke"))
    assert code == 0 and "the chain is unbroken" in said, said
    assert (made / RECORD).read_bytes() == before


@pytest.mark.slow
def test_killed_in_the_middle_and_called_again(made, method, tmp_path):
    method.write_text(method.read_text() + ONLY_A_NAME)
    slowly = project.saves_slowly(tmp_path)
    process = reweigh(made, "attest", CELL, before=[slowly], REWEIGH_CHECKPOINT_SECONDS="0")
    wait_for(lambda: any(map(project.checkpoints, made.glob(".reweigh/attest/*/"))), "a checkpoint", process)
    os.killpg(process.pid, signal.SIGKILL)
    ended(process)
    assert not list(made.glob("results/smoke/attestations/*"))
    code, said = ended(reweigh(made, "attest", CELL))
    assert code == 0 and "2 records attested" in said, said
    assert not list(made.glob(".reweigh/attest/*/"))
