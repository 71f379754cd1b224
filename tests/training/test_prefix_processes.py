"""Stages that runs share, at the same time: processes, workers, lanes, and the lock between them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import project
from support.prefixes import KEPT, locks, outcome, trained
from support.two_stages import CPU, spec_of

from reweigh.config.names import RunName
from reweigh.records import record
from reweigh.training import interleave
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.run import Job
from reweigh.training.shared import Lock

COUNTED = """
import os, sys
from reweigh.training import run
from reweigh.training.__main__ import main

advance = run.Run.advance

def counted(self):
    with open("steps.log", "a") as log:
        log.write(f"{self.spec['method']} {self.stage} {self.step}\\n")
    advance(self)

run.Run.advance = counted
sys.exit(main(sys.argv[1:]))
"""


def started(folder, *methods, at_once="1", **changes):
    """The training command on some methods, in a process of its own that logs every step."""
    paths = []
    for method in methods:
        paths.append(folder / f"{method}.json")
        paths[-1].write_text(json.dumps(spec_of(method)))
    return project.start(folder, *paths, "--at-once", at_once, code=COUNTED, **changes)


def steps_taken(stage):
    rows = [line.split() for line in Path("steps.log").read_text().splitlines()]
    return [(method, int(step)) for method, number, step in rows if int(number) == stage]


def ended(method):
    return record.read(record.record_path(str(RunName.of_spec(spec_of(method)))))


def test_two_processes_at_the_same_time_train_a_prefix_once(alone, folder):
    processes = [started(folder, method) for method in ("crt", "lws")]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert len(steps_taken(0)) == alone["joint"][0]["steps"] and {method for method, _ in steps_taken(1)} == {
        "crt",
        "lws",
    }
    bodies = {method: ended(method) for method in ("crt", "lws")}
    assert {method: outcome(body) for method, body in bodies.items()} == {m: alone[m][1] for m in bodies}
    assert sorted(body["prefix"]["reused"] for body in bodies.values()) == [False, True]
    assert len({json.dumps({**body["prefix"], "reused": None}) for body in bodies.values()}) == 1
    assert any("to train stages that they share" in text for text in errors) and not locks()


def test_workers_train_a_prefix_once(alone, folder):
    process = started(folder, "joint", "ncm", "crt", at_once="3")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert len(steps_taken(0)) == alone["joint"][0]["steps"]
    for method in ("joint", "ncm", "crt"):
        assert outcome(ended(method)) == alone[method][1]


def test_a_worker_trains_something_else_before_it_waits(alone, folder):
    """One worker has stage one of `crt`; `lws` would wait for it, so the other first takes what comes after."""
    specs = [
        spec_of("crt", evaluate_every=40, epochs=40),
        spec_of("lws", evaluate_every=40, epochs=40),
        spec_of("ncm", seed=1),
    ]
    paths = [folder / f"{number}.json" for number in range(3)]
    for path, spec in zip(paths, specs, strict=True):
        path.write_text(json.dumps(spec))
    process = project.start(folder, *paths, "--at-once", "2", code=COUNTED)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    steps = [line.split()[:2] for line in Path("steps.log").read_text().splitlines()]
    last_of_stage_one = max(number for number, step in enumerate(steps) if step == ["crt", "0"])
    assert ["ncm", "0"] in steps[:last_of_stage_one] and ["lws", "0"] not in steps
    assert errors.count("waiting for") == 1  # when nothing else was left
    assert record.read(record.record_path(str(RunName.of_spec(specs[1]))))["prefix"]["reused"] and not locks()


def test_a_process_takes_over_from_one_that_is_killed_while_it_waits(alone, folder):
    first = started(folder, "crt")
    wait_for(lambda: Path("steps.log").exists() and len(steps_taken(0)) >= 2)
    os.kill(pid_of_the_holder(), signal.SIGSTOP)
    second = started(folder, "lws")
    wait_for(lambda: list(Path("data/splits").rglob("*.npz")))
    time.sleep(2)  # long enough to have begun, were it not for the lock
    assert {method for method, _ in steps_taken(0)} == {"crt"}
    os.kill(pid_of_the_holder(), signal.SIGKILL)
    first.communicate(timeout=60)
    _, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert outcome(ended("lws")) == alone["lws"][1] and ended("lws")["prefix"]["reused"] is False


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def pid_of_the_holder():
    (path,) = KEPT.glob("*.lock")
    return int(path.read_text().split()[1])


def a_lock_of_another_process(path):
    """Hold a lock from a process that sleeps; the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    code = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def test_a_run_that_waits_stops_when_its_time_is_up(alone, folder):
    path = KEPT / f"{alone['crt'][0]['prefix']['key']}.lock"
    process = a_lock_of_another_process(path)
    try:
        with pytest.raises(OutOfTime):
            trained("crt", Clock(time.monotonic() + 1))
        assert locks() == [path]  # its own, of the whole run, is free
        clock = Clock()
        clock.stop()
        with pytest.raises(OutOfTime):
            trained("crt", clock)
    finally:
        process.kill()
        process.wait()
    body, steps = trained("crt")
    assert outcome(body) == alone["crt"][1] and steps == body["steps"] and not locks()


def test_runs_in_turns_wait_for_a_neighbour(alone, folder):
    bodies, taken, alive = {}, [], []

    def make(spec):
        alive.append(job := Job(spec, CPU, Clock()))
        advance = job.run.advance
        job.run.advance = lambda: (taken.append((job.run.stage, job.name)), advance())
        return job

    specs = [spec_of(method) for method in ("crt", "lws", "ncm")]
    interleave.train(specs, 3, CPU, make, lambda body: bodies.update({body["spec"]["method"]: body}))
    assert {method: outcome(body) for method, body in bodies.items()} == {m: alone[m][1] for m in bodies}
    assert len([name for stage, name in taken if stage == 0]) == alone["joint"][0]["steps"] and not locks()


def test_a_run_of_this_process_that_nobody_steps_is_not_waited_for(alone, folder, capsys):
    abandoned = Job(spec_of("crt"), CPU)
    abandoned.run.advance()
    body, steps = trained("lws")
    assert outcome(body) == alone["lws"][1] and steps == body["steps"] and body["prefix"]["reused"] is False
    assert "stands still" in capsys.readouterr().err
    abandoned.release()


def test_a_lock_is_one_processes_and_leaves_no_file(folder):
    run = Job(spec_of("joint"), CPU).run
    first, second = (Lock(Path("a/b.lock")) for _ in range(2))
    assert first.take(run, "one") and first.take(run, "one") and not second.take(run, "two")
    assert first.holder() == f"one (process {os.getpid()})" and second.holder_here() is run
    opened = open(first.path)  # noqa: SIM115 - as a process that has opened it and not yet locked it
    first.release()
    assert not first.path.exists() and second.take(run, "two") and not first.take(run, "one")
    opened.close()
    second.release()
    assert first.take(run, "one")
    first.release()
