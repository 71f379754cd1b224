"""Going on in a fresh process where this one is spoiled: every run is saved, and the program starts again.

After a capture that failed, torch refuses every later capture of the process (see `graph`); after an error in a kernel,
CUDA refuses every later call. `interleave.train` then raises `Afresh`, and the program executes itself again with the
same arguments. What the fresh process must know is in a file, which the environment names:

    which programs it is to run eagerly, and why        for the record, `device.graph.eager`
    which runs cannot be trained, and why               their errors are printed again when all others are over
    which of these by a mistake in their config         the exit code is then 2
    which runs are finished                             `--again` would train them once more
    how many runs may share the device, and until when
"""

import functools
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from reweigh import canonical_json
from reweigh.digest import digest
from reweigh.errors import ConfigError, ReweighError, TrainingError

VARIABLE = "REWEIGH_AFRESH"
Reasons = Mapping[str, str]


@dataclass(frozen=True)
class Start:
    """What a process was told by the one that it replaces; nothing, if it replaces none."""

    eager: Mapping[str, Reasons] = field(default_factory=dict)  # kind of run (`kind_of`) -> program -> why
    failed: Reasons = field(default_factory=dict)  # run -> error
    finished: tuple[str, ...] = ()
    at_once: int | None = None
    deadline: float | None = None  # a value of time.monotonic(), which all processes of a machine share
    since: float | None = None  # when `--again` began, a value of time.time()
    mistaken: tuple[str, ...] = ()  # of those that failed: runs whose error is one of their config

    def and_then(
        self, stop: "Afresh", finished: Iterable[str], deadline: float | None = None, since: float | None = None
    ) -> "Start":
        """What the next process must know, when this one stopped for a reason of its own."""
        kinds = {**self.eager, **stop.eager}
        return Start(
            eager={kind: {**self.eager.get(kind, {}), **stop.eager.get(kind, {})} for kind in kinds},
            failed={**self.failed, **stop.failed},
            finished=(*self.finished, *finished),
            at_once=stop.at_once or self.at_once,
            deadline=deadline,
            since=since,
            mistaken=tuple(dict.fromkeys((*self.mistaken, *stop.mistaken))),
        )

    def errors(self) -> dict[str, ReweighError]:
        """The errors of the runs that cannot be trained, of the kinds that they had."""
        return {
            run: (ConfigError if run in self.mistaken else TrainingError)(error) for run, error in self.failed.items()
        }


class Afresh(Exception):
    """This process is spoiled, and every run saved: go on in another one. Its fields are as those of `Start`."""

    def __init__(
        self,
        reason: str,
        eager: Mapping[str, Reasons] | None = None,
        failed: Reasons | None = None,
        at_once: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.eager, self.failed, self.at_once = eager or {}, failed or {}, at_once
        self.mistaken: tuple[str, ...] = ()

    def add_failed(self, errors: Mapping[str, Exception]) -> None:
        """Errors of this process that the next one must know; one that is known already stays as it is."""
        self.failed = {**{run: str(error) for run, error in errors.items()}, **self.failed}
        self.mistaken = tuple(run for run, error in errors.items() if isinstance(error, ConfigError))


@functools.cache
def start() -> Start:
    """What this process was told. Its own children are told nothing. Raises ConfigError if that cannot be read."""
    path = os.environ.pop(VARIABLE, None)
    if not path:
        return Start()
    try:
        told = canonical_json.parse(Path(path).read_bytes())
        start = Start(**{**told, "finished": tuple(told["finished"]), "mistaken": tuple(told.get("mistaken", ()))})
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{VARIABLE}={path}: cannot be read ({error}); unset it, it is not for users") from None
    Path(path).unlink()
    return start


def kind_of(spec: Mapping[str, Any]) -> str:
    """A key that is the same for runs whose programs are the same work: the seeds of a cell, for one."""
    parts = {key: spec[key] for key in ("uses", "method_options", "model")}
    return f"{spec['uses']} {digest({**parts, 'precision': spec['training']['precision']})[:12]}"


def failure(failed: Reasons) -> TrainingError:
    """The error that reports the runs which could not be trained."""
    lines = "; ".join(f"{run}: {error}" for run, error in failed.items())
    return TrainingError(lines if len(failed) == 1 else f"{len(failed)} runs could not be trained; {lines}")


def start_again(told: Start, environment: Mapping[str, str | None]) -> NoReturn:
    """Replace this process by one of the same program and arguments, in another environment (None: unset).

    Everything that is open is closed first: the lease of the device, and the device itself, which the driver then
    frees with all its memory.
    """
    with tempfile.NamedTemporaryFile(
        "w", prefix="reweigh-afresh-", suffix=".json", delete=False, encoding="utf-8"
    ) as file:
        json.dump(asdict(told), file)
    os.environ[VARIABLE] = file.name
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.closerange(3, max(2**16, os.sysconf("SC_OPEN_MAX")))  # -1: no limit
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
