"""Kill a replication again and again, at random moments and in every way, then let it end: nothing may differ.

    PYTHONPATH=src:tests python tools/stress.py --kills 50      # prints its random seed; --seed N draws them again

A small grid is trained on real data by real Snakemake in a folder of its own, on two devices that do not exist, so that
leases are taken and everything runs on the CPU. Some of its records are stale at the start. Meanwhile each record,
array file and split is read whenever it changes. At the end every record must say what an undisturbed replication says.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import yaml
from support import project

from reweigh import canonical_json
from reweigh.config import files
from reweigh.config.grid import Config
from reweigh.config.loading import load, written_out
from reweigh.data import manifest
from reweigh.digest import digest
from reweigh.errors import RecordError
from reweigh.records import record

CORES, DEVICES = 2, "fake0,fake1"
BUDGETS = (None, None, 0.6, 0.8)  # of the time that a job takes undisturbed
PATIENCE_SECONDS = 900.0

WAYS = {
    "training killed": "SIGKILL to a process that trains",
    "worker killed": "SIGKILL to one that trains beside others for it",
    "training ended": "SIGTERM to a process that trains",
    "all killed": "SIGKILL to Snakemake and all that it started",
    "Snakemake killed": "SIGKILL to Snakemake alone; what it started goes on beside the next call",
}

# The grid at scale smoke: changes to the scale's block. A run takes some seconds, so that kills land in the middle.
IMAGES = {"split": {"total": 300, "target_size": 20, "test_size": 100}, "settings": ["rho0.1"]}
SMALL = {
    "mnist-4v9": {**IMAGES, "methods": ["tdr"], "seeds": 2, "training": {"epochs": 80}},
    "adult": {"methods": ["tdr"], "seeds": 2, "training": {"epochs": 3}},
}
LARGE = {
    "mnist-4v9": {**IMAGES, "methods": ["tdr", "er", "none", "hard"], "seeds": 3, "training": {"epochs": 200}},
    "adult": {"methods": ["tdr", "none", "constant"], "seeds": 3, "training": {"epochs": 8}},
}

Tell = Callable[[str], object]


class Failure(Exception):
    """Something that must not happen did."""


@dataclass
class Replication:
    """A project folder whose grid is trained by Snakemake."""

    folder: Path
    environment: dict[str, str]
    config: Config
    job_seconds: float = 0.0  # what a job takes undisturbed, on this machine as loaded as it is
    process: psutil.Popen | None = None
    orphans: list[psutil.Process] = field(default_factory=list)

    @classmethod
    def make(cls, folder: Path, raw_root: Path, grid: dict, devices: str = "") -> "Replication":
        """A folder with the workflow, and a config that is cut down to the grid."""
        folder.mkdir(parents=True)
        project.make(folder, raw_root)
        for name in ("Snakefile", "workflow", "profiles", "notebooks", "data/published"):
            source = project.ROOT / name
            shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
        paper = files.with_sources(written_out(folder.resolve(), "tdr"))
        for name, experiment in paper["experiments"].items():
            experiment["scales"] = {"smoke": {**grid[name], "cut": "as the test needs"}} if name in grid else {}
        shutil.rmtree(folder / files.PAPERS / "tdr")
        text = yaml.safe_dump(paper, allow_unicode=True, sort_keys=False)
        canonical_json.write(folder / files.PAPERS / "tdr/paper.yaml", text)
        (folder / "tmp").mkdir()  # the lock files of leases
        changes = {"TMPDIR": f"{folder}/tmp", "REWEIGH_CHECKPOINT_SECONDS": "0.2", "CUDA_VISIBLE_DEVICES": devices}
        return cls(folder, project.environment(**changes), load(folder))

    @property
    def paths(self) -> dict[str, Path]:
        """Every run of the grid -> its record."""
        return {run: record.record_path(run, self.folder) for run in self.config.runs("smoke", "tdr")}

    def command(self, *arguments: str) -> list[str]:
        """The call of Snakemake that trains the whole grid."""
        targets = [str(path.relative_to(self.folder)) for path in self.paths.values()]
        command = [sys.executable, "-m", "snakemake", "--cores", str(CORES), "--resources", "gpu=2", "--quiet", "rules"]
        return [*command, "--config", "scale=smoke", "seeds_per_job=3", *arguments, "--", *targets]

    def call(self, *command: str) -> str:
        """Run a command in the folder to its end; what it printed. Raises Failure if it fails."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, encoding="utf-8"
        )
        if done.returncode:
            raise Failure(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def start(self, *settings: str) -> None:
        """Start Snakemake, which unlocks by itself a folder that a killed one left locked."""
        with open(self.folder / "output", "ab") as output:
            self.process = psutil.Popen(
                self.command(*settings), cwd=self.folder, env=self.environment, stdout=output, stderr=output
            )

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def is_finished(self) -> bool:
        return self.process is not None and self.process.poll() == 0

    def training(self) -> list[psutil.Process]:
        """The processes that run `reweigh train` below Snakemake, without their workers."""
        found = [process for process in _children(self.process, recursive=True) if _trains(process)]
        workers = {worker.pid for process in found for worker in _children(process)}
        return [process for process in found if process.pid not in workers]

    def checkpoints(self) -> list[Path]:
        found = os.walk(self.folder / ".reweigh/checkpoints")  # unlike rglob it bears folders that vanish
        return [Path(folder, name) for folder, _, names in found for name in names if name.endswith(".pt")]

    def last_saved(self) -> float:
        """When the newest checkpoint was written; 0 if there is none."""
        times = [0.0]
        for path in self.checkpoints():
            with contextlib.suppress(FileNotFoundError):  # its run has just ended
                times.append(path.stat().st_mtime)
        return max(times)

    def said(self) -> str:
        """All that Snakemake printed, with the logs of the jobs that failed."""
        return (self.folder / "output").read_text(errors="replace", encoding="utf-8")


def _children(process: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return process.children(recursive)
    return []


def _trains(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        words = process.cmdline()
        return "train" in words and any(word.endswith("/reweigh") for word in words)
    return False


# --- what is watched -------------------------------------------------------------------------------------------------


class Watch(threading.Thread):
    """Reads every result as soon as it changes. `faults` says what was not whole, or was whole and went back."""

    def __init__(self, replication: Replication) -> None:
        super().__init__(daemon=True)
        config = replication.config
        self.wanted = {path: digest(config.resolve(run)) for run, path in replication.paths.items()}
        splits = {replication.folder / "data/splits" / _split(run) for run in replication.paths}
        self.files = [*self.wanted, *(path.with_suffix(".npz") for path in self.wanted), *splits]
        self.files += [path.with_suffix(".npz") for path in splits]
        self.seen: dict[Path, tuple[int, int, int]] = {}
        self.current: set[Path] = set()
        self.faults: list[str] = []
        self.reads, self.stopping = 0, False

    def run(self) -> None:
        while not self.stopping:
            for path in self.files:
                self._look(path)
            time.sleep(0.003)

    def _look(self, path: Path) -> None:
        try:
            found = path.stat()
            if (stamp := (found.st_mtime_ns, found.st_ino, found.st_size)) == self.seen.get(path):
                return
            self._read(path)
            self.seen[path] = stamp
            self.reads += 1
        except FileNotFoundError:
            if path in self.current:
                self.faults.append(f"{path} was current and is gone")
        except Exception as error:
            self.faults.append(f"{path}: {error!r}")

    def _read(self, path: Path) -> None:
        """Read a file in full; any error is a fault. A record of today's spec may be followed by no other."""
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                _ = [arrays[name] for name in arrays.files]
        elif path not in self.wanted:
            json.loads(path.read_bytes())
        else:
            body = record.read(path)
            if body["spec_digest"] == self.wanted[path]:
                self.current.add(path)
                record.trace_path(path, body)
            elif path in self.current:
                raise RecordError("was current and is stale again")

    def check(self) -> None:
        """Raise Failure if there was a fault."""
        if self.faults:
            raise Failure("\n".join(self.faults[:5]))

    def stop(self) -> None:
        self.stopping = True
        self.join()


def _split(run: str) -> str:
    """Where the report of a run's split lies, below data/splits."""
    setting, _, seed = run.rsplit("/", 2)
    return f"{setting}/{seed}.json"


# --- kills -----------------------------------------------------------------------------------------------------------


def strike(replication: Replication, way: str, chance: random.Random) -> bool:
    """Disturb the replication in one way; whether there was something to disturb."""
    training = replication.training()
    if not training:
        return False
    one = chance.choice(training)
    if way == "training killed":
        _send(signal.SIGKILL, one)
    elif way == "worker killed":
        _send(signal.SIGKILL, chance.choice(_children(one) or [one]))
    elif way == "training ended":
        _send(signal.SIGTERM, one)
    elif way == "all killed":
        _send(signal.SIGSTOP, replication.process)  # so that it starts nothing more
        everything = [replication.process, *_children(replication.process, recursive=True)]
        _send(signal.SIGKILL, *everything)
        psutil.wait_procs(everything, timeout=PATIENCE_SECONDS)
    else:
        replication.orphans += _children(replication.process, recursive=True)
        _send(signal.SIGKILL, replication.process)
        replication.process.wait()
    return True


def _send(number: int, *processes: psutil.Process) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):  # it ended by itself
            process.send_signal(number)


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until `condition()` holds; Failure if that takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"{what} took more than {PATIENCE_SECONDS:.0f} s")
        time.sleep(0.01)


def wait_for_the_moment(replication: Replication, chance: random.Random) -> None:
    """Wait for a training process, two times out of three for a checkpoint too, and then for a while."""
    wait_for(lambda: replication.training() or not replication.is_running(), "the start of a training process")
    if chance.random() < 2 / 3:
        before = replication.last_saved()
        wait_for(lambda: replication.last_saved() > before or not replication.is_running(), "a checkpoint")
    moment = time.monotonic() + chance.uniform(0, replication.job_seconds / 6)
    wait_for(lambda: time.monotonic() > moment or not replication.is_running(), "a moment")


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
    if "Traceback" in (said := replication.said()):
        raise Failure(f"a process failed by itself:\n{said[said.index('Traceback') - 500 :][:3000]}")


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
                _send(signal.SIGKILL, *_children(replication.process, recursive=True), replication.process)
            watch.stop()
        watch.check()
        budgets = replication.said().count("time is up with")
        tell(f"round {rounds} ended as if nothing had happened; {watch.reads} files read, {budgets} time budgets spent")
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="how many times (50)")
    parser.add_argument("--seed", type=int, default=None, help="draw the kills of an earlier call again")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="reweigh-stress-"))
    for dataset in ("mnist", "adult"):
        manifest.ensure(dataset, folder / "raw", mirror="", manifest=project.ROOT / "data/manifest.yaml")
    try:
        done = stress(folder, folder / "raw", options.kills, seed, LARGE, lambda line: print(line, flush=True))
    except Failure as failure:
        print(f"FAILED with random seed {seed}: {failure}\neverything is kept in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print("\n".join(f"{done[way]:4} x {way:18} {what}" for way, what in WAYS.items()))
    print(f"{done.total():4} kills, and every record as of an undisturbed run (random seed {seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
