"""Kill a replication again and again, at random moments and in every way, then let it end: nothing may differ.

A small grid is trained on real data by real Snakemake in a folder of its own, on two devices that do not exist, so that
leases are taken and everything runs on the CPU. Some of its records are stale at the start. Meanwhile each record,
array file and split is read whenever it changes. At the end every record must say what an undisturbed replication says.
"""

import contextlib
import math
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
from support import project

from reweigh.digest import digest
from reweigh.records import record
from stress.failures import Failure
from stress.replication import CORES, PATIENCE_SECONDS, Replication, children, wait_for
from stress.small_project import IMAGES
from stress.watch import Watch

DEVICES = "fake0,fake1"
BUDGETS = (None, None, 0.6, 0.8)  # of the time that a job takes undisturbed
LEAST_WRONG = 60.0  # seconds by which a clock is set forward or back, at least
# At most, back and forward. A record of more than a day from now is broken to an audit, as an invented one would be.
MOST_WRONG = (-2 * 86_400.0, 20 * 3600.0)

WAYS = {
    "training killed": "SIGKILL to a process that trains",
    "worker killed": "SIGKILL to one that trains beside others for it",
    "training ended": "SIGTERM to a process that trains",
    "all killed": "SIGKILL to Snakemake and all that it started",
    "Snakemake killed": "SIGKILL to Snakemake alone; what it started goes on beside the next call",
    "ended at a rename": "SIGKILL to a process that trains, just before or after it gives a file its name",
    "clock wrong": "the clock set forward, by up to 20 hours, or back, by up to two days",
    "no room to save": "the disk of .reweigh full for a while",
    "no room for results": "the disk of results full for a while",
    "no room in TMPDIR": "that of temporary files full for a while",
}
FULL = {"no room to save": ".reweigh", "no room for results": "results", "no room in TMPDIR": "tmp"}

# The grid at scale smoke: changes to the scale's block. A run takes some seconds, so that kills land in the middle.
SMALL = {
    "mnist-4v9": {**IMAGES, "methods": ["tdr"], "seeds": 2, "training": {"epochs": 80}},
    "adult": {"methods": ["tdr"], "seeds": 2, "training": {"epochs": 3}},
}
LARGE = {
    "mnist-4v9": {**IMAGES, "methods": ["tdr", "er", "none", "hard"], "seeds": 3, "training": {"epochs": 200}},
    "adult": {"methods": ["tdr", "none", "constant"], "seeds": 3, "training": {"epochs": 8}},
}

Tell = Callable[[str], object]


def strike(replication: Replication, way: str, chance: random.Random) -> bool:
    """Disturb the replication in one way; whether there was something to disturb."""
    training = replication.training()
    if not training:
        return False
    one = chance.choice(training)
    if way == "training killed":
        _send(signal.SIGKILL, one)
    elif way == "worker killed":
        _send(signal.SIGKILL, chance.choice(children(one) or [one]))
    elif way == "training ended":
        _send(signal.SIGTERM, one)
    elif way == "all killed":
        _send(signal.SIGSTOP, replication.process)  # so that it starts nothing more
        everything = [replication.process, *children(replication.process, recursive=True)]
        _send(signal.SIGKILL, *everything)
        psutil.wait_procs(everything, timeout=PATIENCE_SECONDS)
    elif way in FULL:
        fill(replication, FULL[way], chance)
    elif way == "clock wrong":
        most = chance.choice(MOST_WRONG)
        seconds = math.copysign(chance.uniform(LEAST_WRONG, abs(most)), most)
        replication.faults.set_clock(seconds, replication.folder / ".reweigh/checkpoints")
    elif way == "ended at a rename":
        return end_at_rename(replication, chance)
    else:
        replication.orphans += children(replication.process, recursive=True)
        _send(signal.SIGKILL, replication.process)
        replication.process.wait()
    return True


def fill(replication: Replication, folder: str, chance: random.Random) -> None:
    """Let the disk of a folder be full for a while."""
    with replication.faults.full(replication.folder / folder, chance.choice(["open", "fsync"])):
        until = time.monotonic() + chance.uniform(0.3, max(replication.job_seconds / 6, 1.0))
        replication.wait_for(lambda: time.monotonic() > until, "a moment")


def end_at_rename(replication: Replication, chance: random.Random) -> bool:
    """Have the next process that trains and gives a file its name end then; whether there was one."""
    replication.faults.end_at_rename(chance.choice(["before", "after"]))
    replication.wait_for(replication.faults.has_ended_one, "a renaming")
    ended = replication.faults.has_ended_one()
    replication.faults.forget_rename()
    return ended


def _send(number: int, *processes: psutil.Process) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):  # it ended by itself
            process.send_signal(number)


def wait_for_the_moment(replication: Replication, chance: random.Random) -> None:
    """Wait for a training process, two times out of three for a checkpoint too, and then for a while."""
    replication.wait_for(replication.training, "the start of a training process")
    if chance.random() < 2 / 3:
        before = replication.last_saved()
        replication.wait_for(lambda: replication.last_saved() > before, "a checkpoint")
    moment = time.monotonic() + chance.uniform(0, replication.job_seconds / 6)
    replication.wait_for(lambda: time.monotonic() > moment, "a moment")


def disturb(
    replication: Replication, kills: int, chance: random.Random, tell: Tell, watch: Watch, done: Counter[str]
) -> None:
    """Train the whole grid, disturbed until `done`, which counts the ways of all rounds, has `kills` kills in all."""
    while not replication.is_finished():
        if not replication.is_running():
            replication.start(*_settings(replication, chance))
        if done.total() == kills:
            wait_for(lambda: not replication.is_running(), "what is left to train")
        else:
            wait_for_the_moment(replication, chance)
            way = chance.choice(list(WAYS))
            if strike(replication, way, chance):
                done[way] += 1
                records = sum(path.is_file() for path in replication.paths.values())
                state = f"{records:3} records, {len(replication.checkpoints())} checkpoints"
                tell(f"{done.total():4}/{kills} {way:18} {state}")
        watch.check()


def _settings(replication: Replication, chance: random.Random) -> list[str]:
    """How a call of Snakemake trains, which must not matter: runs side by side, and a time budget for some calls."""
    settings = [f"runs_at_once={chance.choice(['auto', 1, 2])}"]
    share = chance.choice(BUDGETS) if replication.process else BUDGETS[-1]
    return settings + ([f"time_budget={share * replication.job_seconds:.1f}s"] if share else [])


# --- the whole -------------------------------------------------------------------------------------------------------


def leave_stale(replication: Replication, reference: Replication) -> None:
    """Put records of an older spec in the place of the first cell's, as an edit of the config makes them."""
    for run in replication.config.runs_of(replication.config.cells("smoke", "tdr")[0]):
        source, target = reference.paths[run], replication.paths[run]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source.with_suffix(".npz"), target.with_suffix(".npz"))
        record.write(target, record.read(source) | {"spec_digest": digest("of an older config")})


def check_end(replication: Replication, reference: Replication) -> None:
    """Raise Failure unless everything is as if nothing had happened."""
    psutil.wait_procs(replication.orphans, timeout=PATIENCE_SECONDS)
    for run, path in replication.paths.items():
        found, expected = project.outcome(path), project.outcome(reference.paths[run])
        if differ := [name for name in expected if found[name] != expected[name]]:
            raise Failure(f"{path} differs from the record of an undisturbed run in: {', '.join(differ)}")
        record.trace_path(path, record.read(path))
    holders = "from reweigh.training.device import holders; print([pid for _, pid in holders() if pid is not None])"
    if (held := replication.call(sys.executable, "-c", holders)).strip() != "[]":  # without a GPU there is no lease
        raise Failure(f"devices are still leased: {held}")
    if left := replication.checkpoints():
        raise Failure(f"checkpoints are left: {left}")
    if "Nothing to be done" not in (planned := replication.call(*replication.command("--dry-run"))):
        raise Failure(f"there is still something to do:\n{planned}")
    if faults := replication.audit():
        raise Failure("an audit finds fault:\n" + "\n".join(faults[:5]))
    if "Traceback" in (said := replication.said()):
        raise Failure(f"a process failed by itself:\n{said[max(said.index('Traceback') - 500, 0) :][:3000]}")


def stress(folder: Path, raw_root: Path, kills: int, seed: int, grid: dict, tell: Tell = print) -> Counter[str]:
    """Replicate a grid undisturbed, then disturbed, as often as it takes for all kills; how often in which way.

    Raises Failure at the first thing that must not happen.
    """
    chance, done, rounds = random.Random(seed), Counter(), 0
    reference = Replication.make(folder / "undisturbed", raw_root, grid)
    started, jobs = time.monotonic(), len(reference.config.cells("smoke", "tdr"))
    reference.call(*reference.command("runs_at_once=1"))
    job_seconds = CORES * (time.monotonic() - started) / jobs
    tell(f"{len(reference.paths)} runs trained undisturbed, {job_seconds:.0f} s a job; random seed {seed}")
    while done.total() < kills:
        rounds += 1
        replication = Replication.make(folder / f"round{rounds}", raw_root, grid, DEVICES)
        replication.job_seconds = job_seconds
        leave_stale(replication, reference)
        watch = Watch(replication)
        watch.start()
        try:
            disturb(replication, kills, chance, tell, watch, done)
            check_end(replication, reference)
        finally:
            if replication.is_running():
                _send(signal.SIGKILL, *children(replication.process, recursive=True), replication.process)
            watch.stop()
        watch.check()
        budgets = replication.said().count("time is up with")
        tell(f"round {rounds} ended as if nothing had happened; {watch.reads} files read, {budgets} time budgets spent")
    return done
