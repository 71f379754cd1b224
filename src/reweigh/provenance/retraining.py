"""Making again what a record says: its split from the raw bytes, its training in a folder of its own; and comparing.

    with scratch(root, "attest") as place:  # a folder of its own
        code = place.train(specs)  # 0 if all are trained
        differences(outcome(then), outcome(place.record(run)))  # [] if it is the same, bit for bit

A place that was left in the middle is gone on from.
"""

import contextlib
import fcntl
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reweigh.config.names import RunName
from reweigh.data import load, manifest
from reweigh.data.arrays import RawData
from reweigh.data.split import draw
from reweigh.digest import PACKAGE, digest
from reweigh.errors import DataError, TrainingError
from reweigh.records import record

TRY_AGAIN = 75  # the exit code of a training that was stopped and goes on if called again
# What must be the same, bit for bit. Times, memory and who else was on the device may differ.
COMPARED = ("status", "diverged_at_step", "steps", "parameters", "metrics", "curves", "trace", "split")
PROBE = (
    "import json; from reweigh.training import run; device = run.pick_device(); "
    "found = run.device_facts(device, {'training': {'threads': None, 'precision': None}}); "
    "print(json.dumps({**run.environment(), 'kind': found['kind'], 'name': found['name'], 'git': run.git_state()}))"
)


# --- device and libraries --------------------------------------------------------------------------------------------


@functools.cache
def here() -> dict[str, Any]:
    """The device that training would take now (kind, name), the versions of its libraries, git's state.

    Asked in a process of its own: CUDA reads the visible devices once, and training takes its lease later.
    """
    done = subprocess.run([sys.executable, "-c", PROBE], env=_environment(), capture_output=True, text=True)
    if done.returncode:
        raise TrainingError(f"training cannot start here: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def maker(body: dict[str, Any]) -> dict[str, Any]:
    """The device and the libraries that made a record: what its bits depend on beside spec, code and data."""
    return _maker({**body["environment"], **body["device"]})


def maker_here() -> dict[str, Any]:
    """The device and the libraries that would make a record now."""
    return _maker(here())


def _maker(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: facts[key] for key in ("kind", "name", "torch", "numpy")}


def described(one: dict[str, Any]) -> str:
    return f"{one['name']} ({one['kind']}) with torch {one['torch']}, numpy {one['numpy']}"


# --- splits ----------------------------------------------------------------------------------------------------------


def check_raw(files: list[dict[str, Any]], dataset: str, root: Path) -> None:
    """Put a data set in place, and check that its files are those that a record was made from; DataError if not."""
    receipt = manifest.ensure(dataset, root / "data/raw", manifest=root / "data/manifest.yaml")
    found = {(receipt["edition"], file["name"], file["sha256"]) for file in receipt["files"]}
    named = {(file["edition"], file["name"], file["sha256"]) for file in files}
    if found != named:
        raise DataError(f"it came from other raw files of {dataset} than those in data/raw; train it again")


def read(spec: dict[str, Any], root: Path) -> RawData:
    """The raw data of a run."""
    return load.read(spec["data"]["dataset"], spec["data"]["options"], root / "data/raw")


def split_digest(raw: RawData, spec: dict[str, Any]) -> str:
    """The digest of a run's split, drawn from raw data now."""
    return draw(raw, spec["data"]["split"], spec["seed"]).digest()


# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A folder in which runs are trained again, away from the project's own records, splits and checkpoints."""

    folder: Path
    lock: int

    def train(self, specs: list[dict[str, Any]]) -> int:
        """Train the runs that are not finished here yet: 0, or 75 if it was asked to stop and its state is saved.

        Raises TrainingError if it fails otherwise; what it said is on stderr.
        """
        paths = [self.folder / "specs" / f"{str(RunName.of_spec(spec)).replace('/', '__')}.json" for spec in specs]
        for path, spec in zip(paths, specs, strict=True):
            path.write_text(json.dumps(spec))
        command = [sys.executable, "-m", "reweigh.training", "--at-once", "auto", *map(str, paths)]
        # The lock goes along: if this process is killed, the next one waits for what is left of it.
        process = subprocess.Popen(command, cwd=self.folder, env=_environment(), pass_fds=[self.lock])
        with _stopping(process):
            code = process.wait()
        if code not in (0, TRY_AGAIN):
            raise TrainingError(f"training again ended with code {code}; the same command goes on from its checkpoints")
        return code

    def record(self, run: str) -> dict[str, Any]:
        """The record of a run that was trained again."""
        return record.read(record.record_path(run, self.folder))

    def remove(self) -> None:
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def scratch(root: Path, purpose: str = "attest", about: Any = None) -> Iterator[Place]:
    """The place below `root` for this device, these libraries and what it is `about`; what is there is gone on from.

    Of one purpose, one process at a time trains with a device and libraries.
    """
    above = (root / ".reweigh" / purpose).absolute()
    above.mkdir(parents=True, exist_ok=True)
    maker = digest(maker_here())[:12]
    with open(above / f"{maker}.lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another {purpose} that trains in {above}", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        folder = above / (maker if about is None else f"{maker}-{digest(about)[:12]}")
        _furnish(folder, root.absolute())
        yield Place(folder, lock.fileno())


def _furnish(folder: Path, root: Path) -> None:
    """What training reads, but for splits: they are drawn again too."""
    (folder / "specs").mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    (root / "data/raw").mkdir(parents=True, exist_ok=True)
    links = [(folder / "data" / path.name, path) for path in (root / "data").iterdir() if path.name != "splits"]
    for link, target in [*links, (folder / "envs", root / "envs")]:
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def _environment() -> dict[str, str]:
    """This process's environment for a child in another folder, with this very package."""
    path = os.pathsep.join((str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])))
    found = {**os.environ, "PYTHONPATH": path}
    if (mirror := found.get("REWEIGH_MIRROR")) and Path(mirror).is_dir():
        found["REWEIGH_MIRROR"] = str(Path(mirror).absolute())
    return found


@contextlib.contextmanager
def _stopping(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """While this lasts, SIGTERM and Ctrl-C ask the child to save and end, and are not heard here."""
    asked = (signal.SIGTERM, signal.SIGINT)
    previous = {number: signal.signal(number, lambda *_: process.terminate()) for number in asked}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


# --- comparing -------------------------------------------------------------------------------------------------------


def outcome(body: dict[str, Any]) -> dict[str, Any]:
    """What a record says that must come out again, bit for bit."""
    said = {key: body[key] for key in COMPARED}
    said["curves"] = {name: values for name, values in said["curves"].items() if name != "train_seconds"}
    said["split"] = body["split"]["digest"]
    said["trace"] = body["trace"] and {key: body["trace"][key] for key in ("sha256", "arrays")}
    return said


def differences(then: Any, now: Any, path: str = "") -> list[str]:
    """Where two outcomes differ: `metrics.test_accuracy 0.9 -> 0.91`; of a list the first place only."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = [*then, *(key for key in now if key not in then)]
        nothing = "nothing"
        return [
            where
            for key in keys
            for where in differences(then.get(key, nothing), now.get(key, nothing), f"{path}.{key}" if path else key)
        ]
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        pairs = enumerate(zip(then, now, strict=True))
        found = (differences(a, b, f"{path}[{place}]") for place, (a, b) in pairs)
        return next((some for some in found if some), [])
    return [] if _same(then, now) else [f"{path} {_short(then)} -> {_short(now)}"]


def _same(then: Any, now: Any) -> bool:
    """As JSON writes them: 1 is not 1.0, 0.0 is not -0.0."""
    return json.dumps(then, sort_keys=True) == json.dumps(now, sort_keys=True)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 24 else f"{text[:20]}..."
