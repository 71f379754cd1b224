"""Stages that runs share, at the same time: processes, workers, lanes, and the lock between them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.prefixes import KEPT, counted, locks, outcome, start_counted, trained
from support.processes import children, state, wait_for
from support.two_stages import CPU, spec_of

from reweigh.config.names import RunName
from reweigh.records import record
from reweigh.training import interleave
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.run import Job
from reweigh.training.shared import Lock


def started(folder, *methods, **options):
    """The training command on some methods, in a process of its own."""
    return start_counted(folder, *map(spec_of, methods), name="_".join(methods), **options)


def steps_taken(stage):
    return [(method, step) for method, number, step in counted() if number == stage]


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
    assert not locks()


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
    process = start_counted(folder, *specs, at_once="2")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    steps = [step[:2] for step in counted()]
    (owner,) = {method for method, stage in steps if stage == 0} - {"ncm"}
    last_of_stage_one = max(number for number, step in enumerate(steps) if step == (owner, 0))
    assert ("ncm", 0) in steps[:last_of_stage_one]
    reused = {
        spec["method"]: record.read(record.record_path(str(RunName.of_spec(spec))))["prefix"]["reused"]
        for spec in specs
    }
    assert reused == {"crt": owner == "lws", "lws": owner == "crt", "ncm": False} and not locks()
    assert errors.count("waiting for") <= 1  # by the worker that has nothing else to do


def test_workers_take_up_each_run_as_soon_as_its_stages_are_there(folder):
    """Two prefixes, a long one and a short one: nobody stays with a run of the long one while another could go on."""
    long, short = {"seed": 0, "epochs": 300, "evaluate_every": 300}, {"seed": 1, "evaluate_every": 60}
    specs = [spec_of("joint", **long), spec_of("crt", **short), spec_of("ncm", **long), spec_of("lws", **short)]
    for spec in (specs[1], specs[3]):
        spec["method_options"]["second_stage"]["epochs"] = 60
    process = start_counted(folder, *specs, at_once="3")
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    second = [method for method, stage, _ in counted() if stage == 1]
    first, last = min(second.index("crt"), second.index("lws")), max(second.index("crt"), second.index("lws"))
    assert second[first] in second[last:], "one after the other, though both could go on"


def test_a_signal_while_runs_are_put_off_ends_at_once(folder):
    process = started(folder, "joint", "ncm", at_once="2", REWEIGH_CHECKPOINT_SECONDS="0", SLOWLY="0.1")
    wait_for(lambda: list(KEPT.glob("*.part")), "a checkpoint", process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 75 and "2 of 2 runs left" in errors and not locks(), errors


def test_the_last_worker_killed_while_it_waits_for_work_ends_the_call(alone, folder):
    """Another process has the lock, so that all there is to do has been put off."""
    holder = a_lock_of_another_process(KEPT / f"{alone['crt'][0]['prefix']['key']}.lock")
    try:
        process = started(folder, "crt", "lws", at_once="2")
        wait_for(lambda: list(Path("data/splits").rglob("*.npz")), "a split", process)
        time.sleep(1)
        for pid in children(process.pid):
            os.kill(pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1 and "the process that was training ended" in errors, errors
    finally:
        holder.kill()
        holder.wait()


def test_a_process_takes_over_from_one_that_is_killed_while_it_waits(alone, folder):
    first = started(folder, "crt", STANDS_STILL="1")
    wait_for(lambda: state(first.pid) == "stopped", "it standing still", first)
    assert pid_of_the_holder() == first.pid
    second = started(folder, "lws")
    time.sleep(3)  # long enough to have begun, were it not for the lock
    assert {method for method, _ in steps_taken(0)} == {"crt"}
    first.kill()
    first.communicate(timeout=120)
    _, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert outcome(ended("lws")) == alone["lws"][1] and ended("lws")["prefix"]["reused"] is False


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


def test_a_run_that_waits_says_so_and_stops_when_its_time_is_up(alone, folder, capsys):
    path = KEPT / f"{alone['crt'][0]['prefix']['key']}.lock"
    process = a_lock_of_another_process(path)
    said = ""

    class Patient(Clock):
        """Its time is up a second after the run has said that it waits, however long it took to begin."""

        def is_up(self):
            nonlocal said
            said += capsys.readouterr().err
            if "waiting" in said and self.deadline is None:
                self.deadline = time.monotonic() + 1
            return super().is_up()

    try:
        with pytest.raises(OutOfTime):
            trained("crt", Patient())
        assert locks() == [path]  # its own, of the whole run, is free
        said += capsys.readouterr().err
        assert said.count("waiting for another process to train stages that they share") == 1
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
