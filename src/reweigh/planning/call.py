"""One call of Snakemake: the lock that a killed one left, what was asked for, what it will cost, how it was stopped.

The Snakefile makes a `Call` when it is read, and tells it when the jobs start and when they did not all succeed.
"""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from reweigh import locks, os_errors
from reweigh.config.grid import Config
from reweigh.config.names import ARTIFACT_ENDINGS, RunName
from reweigh.errors import ConfigError
from reweigh.planning import attempts, plan
from reweigh.planning.jobs import Flow, flow
from reweigh.records import record
from reweigh.terminal import printable

ASKED = "REWEIGH_ASKED_RUNS"  # tells the processes of a call's jobs which records alone it was asked for
LOCK = Path(".reweigh/snakemake.lock")
HOUR = 3600.0
RECORD_PARTS = 7  # of a record's path: results, scale, paper, experiment, setting, method, seed
SHOWN = 8  # lines of the log of a job that failed
LESS = "for less: one figure or record as a target, or --config scale=quick or missing=skip"


@dataclass
class Call:
    """A call of Snakemake in the folder of a project; `workflow` is Snakemake's object."""

    flow: Flow
    workflow: Any
    started_at: float = field(default_factory=time.time)
    interrupted: bool = False
    pending: list[str] = field(default_factory=list)  # the runs that it was to train

    def starts(self) -> None:
        """Say what is to be trained if that takes more than an hour, and ask first where the config says so."""
        if self.workflow.touch:
            return
        if self.flow.config.project.time_budget:
            attempts.allow_only_useful()
        jobs = [job for job in self.workflow.dag.needrun_jobs() if job.rule.name.startswith("train_")]
        runs = [run for job in jobs for path in job.output if (run := _run(path))]
        self.pending = [run for run in runs if not self.flow.dependencies.current(run)]
        if not self.pending or self.flow.scale == "smoke":
            return
        seconds = sum(run.seconds for run in plan.of_runs(self.flow.config, self.pending))
        side_by_side = min(len(jobs), self._devices() or self.workflow.cores or 1)
        if seconds / side_by_side > HOUR:
            self._tell(len(self.pending), seconds, side_by_side)

    def _devices(self) -> int:
        """How many GPUs the jobs of training may hold together; 0 if they ask for none."""
        wants = any(batch.gpus(None) for batch in self.flow.training_batches()[:1])
        return int(self.workflow.global_resources.get("gpu", 1)) if wants else 0

    def _tell(self, runs: int, seconds: float, side_by_side: int) -> None:
        whole = plan.duration(seconds)
        took = f"about {plan.duration(seconds / side_by_side)}"
        took += f" ({whole} on {side_by_side} cores or devices)" if side_by_side > 1 else ""
        say(f"{runs} runs to train: {took}; {LESS}; Ctrl-C at any time, the same command goes on")
        if self.flow.config.project.confirm == "ask" and not _confirmed():
            raise SystemExit("reweigh: nothing was run")

    def failed(self) -> None:
        """Some jobs failed: show the last lines of their logs. Or the call was interrupted: say what is saved."""
        if self.interrupted:
            paths = [record.record_path(run, self.flow.config.root) for run in self.pending]
            saved = sum(path.is_file() and path.stat().st_mtime >= self.started_at for path in paths)
            runs = f"{saved} of {len(paths)} runs finished and saved, " if paths else ""
            say(f"stopped: {runs}what was begun is kept; the same command goes on")
            return
        for job in self.workflow.scheduler.failed:
            for log in map(str, job.log):
                say(f"{job.rule.name} failed; the last lines of {log}:")
                for line in _last_lines(Path(log)):
                    print(f"    {line}", file=sys.stderr, flush=True)

    def watch_for_ctrl_c(self) -> None:
        """Have Ctrl-C end the call as ever, but without an error for each job that it stops: `failed` sums them up."""

        def interrupt(number: int, frame: Any) -> None:
            self.interrupted = True
            logging.getLogger("snakemake.logging").disabled = True
            say("stopping; what is at work is saved first")
            signal.default_int_handler(number, frame)

        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, interrupt)


def _last_lines(log: Path) -> list[str]:
    """The end of a log, at most `SHOWN` lines."""
    try:
        return log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-SHOWN:]
    except OSError:
        return []


def call(overrides: dict[str, Any], workflow: Any, root: str | Path = ".") -> Call:
    """The call of Snakemake that reads the Snakefile now: `overrides` is its `config`.

    In the main process it sees whether anything can be written, removes the lock of a killed call, tells the processes
    of jobs what was asked for, and ends in one line if that cannot be.
    """
    targets: list[str] = []
    if workflow.is_main_process:
        check_disk(Path(root))
        unlock(Path(root))
        targets = _targets(sys.argv[1:])
        os.environ[ASKED] = " ".join(asked_for(targets))
    this = Call(flow(overrides, root, tuple(os.environ.get(ASKED, "").split()), workflow), workflow)
    if workflow.is_main_process:
        try:
            for target in targets:
                check_target(this.flow.config, target)
        except ConfigError as error:
            raise SystemExit(f"reweigh: {printable(str(error))}") from None
        this.watch_for_ctrl_c()
    return this


def check_target(config: Config, target: str) -> None:
    """Raise ConfigError for a record or a figure that there cannot be, with the nearest that can; not for other files.

    Snakemake knows no nearest word, and says that it has no rule, or where in our code it came to nothing.
    """
    path = PurePath(target)
    if (config.root / path).exists():
        return
    if path.parts[:1] == ("results",) and len(path.parts) == RECORD_PARTS and path.suffix == ".json":
        config.check_seed(config.run_name("/".join(path.with_suffix("").parts[1:])))
    elif path.parts[:1] == ("figures",) and "+" not in path.name:
        plan.artifact_of(config, target)
        if path.suffix.removeprefix(".") not in ARTIFACT_ENDINGS:
            raise ConfigError(f"{target}: an artifact's files end in {', '.join(ARTIFACT_ENDINGS)}; name one of them")


def asked_for(targets: Any) -> list[str]:
    """The runs whose records are the targets of a call, if these are all; none if there is any other target.

    >>> asked_for(["results/paper/tdr/adult/sex/tdr/seed0.json"])
    ['paper/tdr/adult/sex/tdr/seed0']
    >>> asked_for(["results/paper/tdr/adult/sex/tdr/seed0.json", "figures/paper/tdr/fig5.pdf"])
    []
    """
    runs = [_run(target) for target in targets]
    return sorted(filter(None, runs)) if all(runs) else []


def _targets(arguments: list[str]) -> list[str]:
    """The targets on a command line of Snakemake that names a record or a figure; empty for any other.

    Snakemake itself has its targets only when the Snakefile was read. Its parser takes longer than a look at the words.
    """
    if not any(word.startswith(("results/", "figures/")) for word in arguments):
        return []
    from snakemake.cli import get_argument_parser

    end = arguments.index("--") if "--" in arguments else len(arguments)
    known, _ = get_argument_parser().parse_known_args(arguments[:end])
    return [*known.targets, *arguments[end + 1 :]]


def _run(path: Any) -> str:
    """The run whose record a file is; empty for another file."""
    text = str(path)
    if not (text.startswith("results/") and text.endswith(".json")):
        return ""
    with contextlib.suppress(ConfigError):
        return str(RunName.parse(text.removeprefix("results/").removesuffix(".json")))
    return ""


def say(line: str) -> None:
    """Print a line of ours among those of Snakemake."""
    print(f"reweigh: {line}", file=sys.stderr, flush=True)


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise SystemExit("reweigh: --config confirm=ask needs a terminal to ask on; to go on: --config confirm=tell")
    print("reweigh: go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def check_disk(root: Path) -> None:
    """End in one line if nothing can be written in a folder: Snakemake would end in tracebacks."""
    try:
        (root / LOCK).parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=(root / LOCK).parent) as file:
            file.write(b"anything")
    except OSError as error:
        error.filename = os.path.abspath(root)
        raise SystemExit(f"reweigh: {os_errors.in_words(error) or error}") from None


_held: list[Any] = []  # the open lock file of this process: the system unlocks it when the process ends, however


def unlock(root: Path) -> None:
    """Remove the locks that Snakemake left in a folder if no call that could have set them is alive.

    Each call holds a shared lock of the system on a file, which dies with its process. Where the file system has no
    such locks nothing is removed, and Snakemake says how to unlock.
    """
    left = root / ".snakemake/locks"
    try:
        file = locks.opened(root / LOCK)
        _held.append(file)
        if locks.take(file) and (stale := [path for path in left.glob("*") if path.is_file()]):
            for path in stale:
                path.unlink(missing_ok=True)
            say("an earlier call was killed and left this folder locked; unlocked, and going on from there")
        locks.take(file, wait=True, shared=True)
    except (OSError, locks.NoLocks, locks.NotALock):
        return
