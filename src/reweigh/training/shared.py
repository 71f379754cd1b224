"""What several runs have in common is trained once: its key, and the lock of the run that trains it.

The key is a digest of all that decides what is made. So a run's names (scale, paper, experiment, setting, method) are
not in it; nor, of shared stages, the arrays that are kept once the training is over (`records/identity.py`).

The lock is a `flock` on a file. Another process that comes to the same key waits until the result is there, or the lock
is free because its holder stopped or was killed (the kernel frees it); then it goes on itself. A process never waits
for a run of its own that stands still: it trains a second time, and says so.
"""

import contextlib
import os
import sys
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from reweigh import locks
from reweigh.digest import digest
from reweigh.errors import ReweighError
from reweigh.records import record
from reweigh.records.identity import decisive
from reweigh.terminal import printable
from reweigh.training import going_on
from reweigh.training.engine import Run

FORMAT = {"whole": 2, "stages": 3}  # of the files that are kept under a key
LOOK_SECONDS = 0.1
ALSO = "what several processes need may be trained by each of them"
STILL = 10  # looks at a run of this process that has taken no step meanwhile: nobody steps it


@dataclass(frozen=True)
class Surroundings:
    """What decides the result of a run beside its spec and its code."""

    split: str  # digest of its index sets and labels
    raw: tuple[str, ...]  # sha256 of each raw file
    device: str  # its kind
    device_name: str
    versions: Mapping[str, Any]  # of the libraries that compute


def key_of(spec: Mapping[str, Any], stages: int | None, around: Surroundings) -> str:
    """The digest of all that decides the state after the first `stages` stages of a spec; None: its whole record."""
    code = record.code_digest(dict(spec))
    place = [around.split, list(around.raw), around.device, around.device_name, dict(around.versions)]
    form = [FORMAT["whole"], record.RECORD_VERSION] if stages is None else [FORMAT["stages"], stages]
    return digest([form, decisive(spec, stages), code, *place])


WAITING: weakref.WeakSet[Run] = weakref.WeakSet()  # runs of this process that wait for another
HOLDERS: dict[Path, tuple[int, weakref.ref[Run]]] = {}  # of the locks of this process: its id, and the run


class Lock:
    """The right to train what has a key. `held`: whether it is this object's."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.file: IO[str] | None = None

    @property
    def held(self) -> bool:
        return self.file is not None

    def take(self, run: Run, name: str) -> bool:
        """Whether the lock is ours now. A file system without locks, or one that is full, has one for everybody."""
        while self.file is None:
            file = None
            with going_on.without(f"a lock: {ALSO}", name):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                file = locks.opened(self.path)
            if file is None:
                self.file = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - as long as the lock would be held
                break
            try:
                if not locks.take(file):
                    file.close()
                    return False
            except locks.NoLocks as missing:
                locks.without(str(missing), ALSO)
            if not locks.is_at(file, self.path):  # its last holder has removed it since it was opened
                file.close()
                continue
            locks.tell(file, f"{name} {os.getpid()}")
            self.file = file
        self.held_by(run)
        return True

    def held_by(self, run: Run) -> None:
        """The lock is ours, for this object of a run."""
        HOLDERS[self.path] = os.getpid(), weakref.ref(run)

    def release(self) -> None:
        """Let others have it; remove its file."""
        if self.file is not None:
            if locks.is_at(self.file, self.path):
                with contextlib.suppress(OSError):  # read-only by now
                    self.path.unlink()
            self.file.close()
            self.file = None
            HOLDERS.pop(self.path, None)

    def holder_here(self) -> Run | None:
        """The run of this process that holds the lock, if one does."""
        process, run = HOLDERS.get(self.path, (0, lambda: None))
        return run() if process == os.getpid() else None

    def holder(self) -> str:
        """Who holds the lock, in words."""
        try:
            with locks.opened(self.path, create=False) as file:
                name, process = locks.told(file).split()
        except (OSError, ValueError, locks.NotALock):
            return "another process"
        return printable(f"{name} (process {process})")


def is_free(path: Path) -> bool:
    """Whether nobody is at work on what is kept at `path`, as far as a look can tell."""
    try:
        with locks.opened(path.with_suffix(".lock"), create=False) as file:
            return locks.take(file, shared=True)
    except (OSError, ReweighError):
        return True


class Shared:
    """Something that one run makes, and that others with its key take over. Subclasses say how.

    `since`: what was made before then (seconds, as `time.time()` counts them) is not taken over, but made again.
    """

    what = ""  # it is, in words

    def __init__(self, run: Run, name: str, path: Path, since: float | None = None) -> None:
        self.run, self.name, self.path, self.since = run, name, path, since
        self.lock = Lock(path.with_suffix(".lock"))
        self.settled = False
        self.useless: record.Stamp | None = None  # the stamp of a file that cannot be taken over
        self.next_look, self.refused, self.step_seen, self.still = 0.0, 0, -1, 0

    def restart(self, run: Run) -> None:
        """Go on with another object of the run, which has the state that it had at first."""
        WAITING.discard(self.run)
        self.run = run
        if self.lock.held:
            self.lock.held_by(run)

    def take_over(self) -> bool:
        """Take over what another run has made; whether there is such a thing."""
        raise NotImplementedError

    def settle(self) -> bool:
        """Whether the run may go on: it has taken over what another made, or is the one to make it."""
        if not self.settled and self._is_time():
            self._look()
        (WAITING.discard if self.settled else WAITING.add)(self.run)
        return self.settled

    def _look(self) -> None:
        for _ in range(2):  # the second time with the lock: what was not there may have been made meanwhile
            if self.is_there() and (stamp := record.stamp(self.path)) != self.useless:
                if self.take_over():
                    self.lock.release()
                    break
                self.useless = stamp
            if self.lock.held or self.still >= STILL:
                break
            if not self.lock.take(self.run, self.name):
                self.refused += 1
                if self.refused == 2:  # said once, and not of a run that is put off at the first look
                    print(f"{self.name}: waiting for {self.lock.holder()} to train {self.what}", file=sys.stderr)
                return
        if self.lock.held:
            self.begin()
        self.settled = True

    def begin(self) -> None:
        """This run has the lock and is the one to make it."""

    def is_there(self) -> bool:
        """Whether there is a file to read, young enough."""
        try:
            made = self.path.stat().st_mtime
        except FileNotFoundError:
            return False
        return self.since is None or made >= self.since

    def release(self) -> None:
        """Let another run have it, now that this one has made it or cannot."""
        self.lock.release()

    def _is_time(self) -> bool:
        """Whether to look at the files again. A run of this process that holds the lock is watched instead."""
        if (holder := self.lock.holder_here()) is not None and not self.lock.held:
            self.still = self.still + 1 if holder.step == self.step_seen and holder not in WAITING else 0
            self.step_seen = holder.step
            if self.still < STILL:
                return False
            print(f"{self.name}: {self.lock.holder()} stands still with {self.what}; training it here", file=sys.stderr)
            return True
        if (now := time.monotonic()) < self.next_look:
            return False
        self.next_look = now + LOOK_SECONDS
        return True
