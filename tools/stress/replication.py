"""A replication of a small grid by real Snakemake, in a folder of its own, and what may be seen of it from outside."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from support import project

from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.records import record
from stress import small_project
from stress.failures import Failure
from stress.faults import Faults

CORES = 2
PATIENCE_SECONDS = 900.0


@dataclass
class Replication:
    """A project folder whose grid is trained by Snakemake."""

    folder: Path
    environment: dict[str, str]
    config: Config
    faults: Faults  # of the machine
    job_seconds: float = 0.0  # what a job takes undisturbed, on this machine as loaded as it is
    process: psutil.Popen | None = None
    orphans: list[psutil.Process] = field(default_factory=list)

    @classmethod
    def make(cls, folder: Path, raw_root: Path, grid: dict, devices: str = "") -> "Replication":
        """A folder with the workflow, and a config that is cut down to the grid."""
        small_project.make(folder, raw_root, grid)
        (folder / "data/embedded").symlink_to(project.ROOT / "data/embedded")
        for name in ("Snakefile", "workflow", "profiles", "notebooks", "data/published", "envs"):
            source = project.ROOT / name
            shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
        (folder / "tmp").mkdir()  # the lock files of leases
        faults = Faults(folder / "faults")
        changes = {"TMPDIR": f"{folder}/tmp", "REWEIGH_CHECKPOINT_SECONDS": "0.2", "CUDA_VISIBLE_DEVICES": devices}
        changes |= faults.environment(project.environment()["PYTHONPATH"])
        return cls(folder, project.environment(**changes), load(folder), faults)

    @property
    def paths(self) -> dict[str, Path]:
        """Every run of the grid -> its record."""
        return {run: record.record_path(run, self.folder) for run in self.config.runs("smoke", "tdr")}

    def command(self, *arguments: str) -> list[str]:
        """The call of Snakemake that trains the whole grid."""
        targets = [str(path.relative_to(self.folder)) for path in self.paths.values()]
        command = [sys.executable, "-m", "snakemake", "--cores", str(CORES), "--resources", "gpu=2", "--quiet", "rules"]
        return [*command, "--config", "scale=smoke", "seeds_per_job=3", *arguments, "--", *targets]

    def call(self, *command: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run a command in the folder to its end; what it printed. Raises Failure if it ends with another code."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, encoding="utf-8"
        )
        if done.returncode not in codes:
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
        found = [process for process in children(self.process, recursive=True) if _trains(process)]
        workers = {worker.pid for process in found for worker in children(process)}
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

    def audit(self) -> list[str]:
        """What an audit finds broken, stale or missing."""
        report = self.folder / "audit.json"
        words = ("-m", "reweigh", "audit", "--scale", "smoke", "--report", str(report))
        self.call(sys.executable, *words, codes=(0, 1))
        faults = json.loads(report.read_bytes())["faults"]
        return [str(fault) for fault in faults if fault["state"] in ("broken", "stale", "missing")]

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait until `condition()` holds or Snakemake has ended; Failure if that takes too long."""
        wait_for(lambda: condition() or not self.is_running(), what)

    def said(self) -> str:
        """All that Snakemake printed, and its jobs, as far as their logs are kept."""
        logs = [self.folder / "output", *sorted((self.folder / "logs").rglob("*.log"))]
        return "\n".join(log.read_text(errors="replace", encoding="utf-8") for log in logs)


def children(process: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return process.children(recursive)
    return []


def _trains(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        words = process.cmdline()
        return "train" in words and any(word.endswith("/reweigh") for word in words)
    return False


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until `condition()` holds; Failure if that takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"{what} took more than {PATIENCE_SECONDS:.0f} s")
        time.sleep(0.01)
