"""`python -m reweigh.training.gpu_check`: check a GPU, then train with the time that is left. See docs/gpu.md."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reweigh.data.packed import ENVIRONMENT, INDEX
from reweigh.errors import ConfigError, ReweighError
from reweigh.training.__main__ import seconds
from reweigh.training.gpu_check import folder, parent
from reweigh.training.gpu_check.checks import Context
from reweigh.training.gpu_check.homeward import Homeward
from reweigh.training.gpu_check.report import Report, complain

CASES = "cases.json"
HERE = "reweigh.training.gpu_check"
STAGES = [
    parent.Stage("machine", f"{HERE}.machine", 90, failures=1000),  # as many as experiments: each is to be known
    parent.Stage("equality", f"{HERE}.equality", 60),
    parent.Stage("capture", f"{HERE}.capture", 150),
    parent.Stage("lanes", f"{HERE}.lanes", 60),
    parent.Stage("throughput", f"{HERE}.throughput", 100),
    parent.Stage("training", f"{HERE}.missing", 0, trains=True),  # what is left
]


def main(arguments: list[str] | None = None, cases: Path | None = None) -> int:
    """Run the command line; the exit code: 0, 1 if a check failed or nothing was checked, 2 for a mistake.

    SIGTERM, SIGHUP and Ctrl-C have the processes of the stages save and end; the exit code is then 128 and the signal.
    """
    options = _parser().parse_args(arguments)
    try:
        chosen, budget = parent.stages_of(options.only, STAGES), seconds(options.time)
        if options.specs is not None:
            folder.listed(options.specs)
            cases = _travelled(options.specs / "packed") or cases
        if cases is None:
            raise ConfigError("nothing to check with; give the folder that `reweigh pack DIR` completed: --specs DIR")
        folder.cases(str(cases))
        log = options.log or parent.log_path()
        context = Context(options.device, options.specs and str(options.specs), str(cases))
        report, home = Report(log), None
        if options.home is not None:
            home = Homeward(options.home, log)
        with _ended_by_signals():
            try:
                return parent.check(chosen, context, report, budget, home.update if home else None)
            finally:
                if home is not None:
                    home.update(now=True)
    except ReweighError as error:
        complain(str(error))
        return 2 if isinstance(error, ConfigError) else 1


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """In this context signals raise SystemExit, so that no process is left behind. What was ignored stays so: nohup."""

    def end(number: int, frame: Any) -> None:
        sys.exit(128 + number)

    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    heeded = [number for number, handler in previous.items() if handler != signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, previous[number])


def _travelled(packed: Path) -> Path | None:
    """Have training look into the folder that `reweigh pack` made; its case file, if there is one."""
    if (packed / INDEX).is_file():
        os.environ.setdefault(ENVIRONMENT, str(packed))
    return packed / CASES if (packed / CASES).is_file() else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="reweigh gpu-check", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--specs", type=Path, metavar="DIR", help="specs to train, and what `reweigh pack` put there")
    parser.add_argument("--for", dest="time", metavar="T", default="10m", help="how long in all, e.g. 10m (10m)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal of a few seconds")
    parser.add_argument("--log", type=Path, metavar="FILE", help="by default results/bench/gpu-check-DATE.log")
    parser.add_argument("--home", type=Path, metavar="DIR", help="write archives of the log and the new records to DIR")
    names = [stage.name for stage in STAGES]
    parser.add_argument("--only", nargs="+", choices=names, default=[], metavar="STAGE", help=", ".join(names))
    return parser


if __name__ == "__main__":
    sys.exit(main())
