"""Ctrl-C is a pause: a step that takes long, of a large net on a CPU, is not waited for."""

import math
import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from support.lanes import specs

from reweigh.training import patience, sealed, workers
from reweigh.training.checkpoint import Clock, Keeper, OutOfTime

# What stands for a step: one call of torch, in which Python runs no handler of a signal.
PROGRAM = """
import os, signal, sys, threading, time, torch
from reweigh.training import patience
from reweigh.training.__main__ import stopped_by_signals
from reweigh.training.checkpoint import Clock

torch.set_num_threads(1)
patience.SECONDS, clock = float(sys.argv[1]), Clock()

def step(size):
    torch.linalg.svdvals(torch.rand(size, size, dtype=torch.float64))

def saved(seconds):
    clock.saving = True
    time.sleep(seconds)
    clock.saving = False
    print("saved", flush=True)

with stopped_by_signals(clock), patience.limited(clock, 75):
    step(10)
    threading.Timer(0.1, os.kill, (os.getpid(), getattr(signal, sys.argv[2]))).start()
    exec(sys.argv[3])
    print("step is over", clock.stopping, flush=True)
print("left")
"""


def stepped(seconds, number, what):
    """Run the program, which gets a signal within a step; its exit code, what it printed, and its errors."""
    command = [sys.executable, "-c", PROGRAM, str(seconds), number, what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout.splitlines(), done.stderr


LONG = "step(6000)"  # minutes


def test_a_step_that_takes_long_is_not_waited_for():
    assert stepped(0.5, "SIGINT", LONG) == (
        75,
        [],
        "reweigh: stopped within a step that takes long; the same command goes on from where it was last saved\n",
    )


def test_one_that_is_over_in_time_is():
    assert stepped(60, "SIGINT", "step(1500)") == (0, ["step is over True", "left"], "")


def test_a_machine_that_ends_processes_waits_longer_and_so_do_they():
    assert stepped(0.1, "SIGTERM", "time.sleep(0.3); step(1500)") == (0, ["step is over True", "left"], "")


def test_a_checkpoint_that_is_being_written_is_waited_for():
    code, said, _ = stepped(0.3, "SIGINT", f"saved(1.0); {LONG}")
    assert (code, said) == (75, ["saved"])


def test_what_was_there_before_is_there_again():
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    before = signal.set_wakeup_fd(tell)
    try:
        count = threading.active_count()
        with patience.limited(Clock(), 75):
            assert threading.active_count() == count + 1
        assert threading.active_count() == count and signal.set_wakeup_fd(tell) == tell
    finally:
        signal.set_wakeup_fd(before)
        os.close(told)
        os.close(tell)


def test_outside_of_the_main_thread_nothing_is_done():
    def other():
        with patience.limited(Clock(), 75):
            done.append(threading.active_count())

    done = []
    count = threading.active_count()
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert done == [count + 1]


def test_the_clock_knows_until_when():
    clock = Clock()
    assert not clock.is_overdue()
    clock.stop()
    assert clock.stopping and not clock.is_overdue()
    clock.stop(patience=1e6)
    assert not clock.is_overdue()
    clock.stop(patience=0.0)
    clock.stop(patience=math.inf)  # a later signal makes nobody more patient
    assert clock.is_overdue()


class Endless:
    """A job whose step never ends, and hears of no signal."""

    def ready(self):
        return True

    def finish(self, progress):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        progress(None)
        threading.Event().wait()

    def release(self):
        pass


def test_workers_that_are_within_a_step_are_ended():
    clock = Clock()
    threading.Timer(1.0, clock.stop, (0.5,)).start()
    with pytest.raises(OutOfTime):
        workers.train(specs("tdr", seeds=2), 2, lambda spec, clock: Endless(), clock, pytest.fail)


def test_who_is_stopped_while_it_saves_stops_at_once_and_the_others_are_saved_next(tmp_path, monkeypatch):
    """A checkpoint that was due is that of the stop, too; and until all are saved, nobody may end the process."""
    clock, seen = Clock(), []
    first, second = (Keeper(f"run{number}", "key", clock, tmp_path) for number in (1, 2))
    first.every_seconds = 0.0

    def write(path, state, keep_previous):
        assert keep_previous
        seen.append((path.parent.name, clock.saving))
        clock.stop(patience=60)

    monkeypatch.setattr(sealed, "write", write)
    for keeper in (first, second):
        with pytest.raises(OutOfTime):
            keeper(SimpleNamespace(state=dict))
        assert clock.saving
    assert seen == [("run1", True), ("run2", True)]


def test_a_checkpoint_that_stops_nobody_is_over_when_it_is_written(tmp_path):
    keeper = Keeper("run", "key", folder=tmp_path)
    keeper.every_seconds = 0.0
    keeper(SimpleNamespace(state=dict))
    assert not keeper.clock.saving and keeper.path.is_file()
