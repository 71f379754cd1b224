"""Training runs again to compare them with their records: from raw bytes, in a folder of their own.

    with workspace(root, "attest") as place:
        code = place.train(specs)  # 0 if all are trained
        differences(outcome(then), outcome(place.record(run)))  # [] if it is the same, bit for bit

If it is stopped, the same call continues from what the workspace holds. Not so in a `fresh_workspace`, which is for
whoever does not trust what lies in the project's folder: nothing that was trained before is in it.
"""

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reweigh import locks
from reweigh.artifacts.work_folders import work_folder
from reweigh.config.names import RunName
from reweigh.data import load, manifest
from reweigh.data.arrays import RawData
from reweigh.data.split import draw
from reweigh.digest import PACKAGE, digest
from reweigh.errors import DataError, TrainingError
from reweigh.records import record

STOPPED = 75  # the exit code of a training that was stopped; the same call continues it
# What must be the same, bit for bit. Times, memory and the other runs on the device may differ.
COMPARED = ("status", "diverged_at_step", "steps", "parameters", "metrics", "curves", "trace", "split")
HARDWARE, INSTRUCTIONS = ("kind", "name", "torch", "numpy"), ("capability", "settings")  # what a platform is told by
# Variables that lead training to what was made before: rows that travelled, the checkpoints of a replaced process.
LEADING_OUTSIDE = ("REWEIGH_AFRESH", "REWEIGH_PACKED")
PROBE = (
    "import json; from reweigh.training import run; device = run.pick_device(); "
    "print(json.dumps({**run.environment(), **run.arithmetic(device), 'git': run.git_state()}))"
)


# --- device and libraries --------------------------------------------------------------------------------------------


@functools.cache
def here() -> dict[str, Any]:
    """The device that training would take now (kind, name), the versions of its libraries, and git's state.

    A process of its own finds out, because CUDA reads the visible devices only once and training takes its lease later.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=_environment(), capture_output=True, text=True, encoding="utf-8"
    )
    if done.returncode:
        raise TrainingError(f"training cannot start here: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def platform(body: dict[str, Any]) -> dict[str, Any]:
    """The device and the libraries that made a record: what its bits depend on besides spec, code and data."""
    return _platform({**body["environment"], **body["device"]})


def platform_here() -> dict[str, Any]:
    """The device and the libraries that would make a record now."""
    return _platform(here())


def _platform(facts: dict[str, Any]) -> dict[str, Any]:
    return {**{key: facts[key] for key in HARDWARE}, **{key: facts.get(key) for key in INSTRUCTIONS}}


def is_same(then: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two platforms round in the same way, bit for bit.

    An older record does not say which instructions it was made by: it counts as made by those that are used where
    nobody has set others.
    """
    if None in (then["settings"], now["settings"]):
        return is_same_hardware(then, now) and not (then["settings"] or now["settings"])
    return then == now


def is_same_hardware(then: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two platforms are the same but for the instructions that are used."""
    return all(then[key] == now[key] for key in HARDWARE)


def described(platform: dict[str, Any]) -> str:
    """A platform in words."""
    settings = [f"{name}={value}" for name, value in (platform["settings"] or {}).items()]
    what = ", ".join(filter(None, (platform["kind"], platform["capability"], *settings)))
    return f"{platform['name']} ({what}) with torch {platform['torch']}, numpy {platform['numpy']}"


# --- splits ----------------------------------------------------------------------------------------------------------


def check_raw(files: list[dict[str, Any]], dataset: str, root: Path) -> None:
    """Put a data set in place. Raises DataError if its files are not those that a record was made from."""
    source = manifest.ensure(dataset, root / "data/raw", manifest=root / "data/manifest.yaml")
    present = {(source["edition"], file["name"], file["sha256"]) for file in source["files"]}
    recorded = {(file["edition"], file["name"], file["sha256"]) for file in files}
    if present != recorded:
        raise DataError(f"it came from other raw files of {dataset} than those in data/raw; train it again")


def read(spec: dict[str, Any], root: Path) -> RawData:
    """The raw data of a run."""
    return load.read(spec["data"]["dataset"], spec["data"]["options"], root / "data/raw")


def split_digest(raw: RawData, spec: dict[str, Any]) -> str:
    """The digest of a run's split, drawn from raw data now."""
    return draw(raw, spec["data"]["split"], spec["seed"]).digest()


# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workspace:
    """A folder in which runs are trained again, apart from the project's own records, splits and checkpoints.

    `lock` is the descriptor of a locked file: only one process uses the folder at a time. A workspace without one is
    fresh: it is used once.
    """

    folder: Path
    lock: int | None = None

    def train(self, specs: list[dict[str, Any]]) -> int:
        """Train the runs that are not finished here yet. Returns 0, or 75 if it was stopped and its state is saved.

        Raises TrainingError if it fails otherwise; its messages are on stderr.
        """
        paths = [self.folder / "specs" / f"{str(RunName.of_spec(spec)).replace('/', '__')}.json" for spec in specs]
        for path, spec in zip(paths, specs, strict=True):
            path.write_text(json.dumps(spec), encoding="utf-8")
        command = [sys.executable, "-m", "reweigh.training", "--at-once", "auto", *map(str, paths)]
        # The child inherits the lock: if this process is killed, the next one waits until the child has ended too.
        locks_held, left_out = ([], LEADING_OUTSIDE) if self.lock is None else ([self.lock], ())
        process = subprocess.Popen(command, cwd=self.folder, env=_environment(left_out), pass_fds=locks_held)
        with _signals_to(process) as was_asked:
            code = process.wait()
        if code == -signal.SIGTERM and was_asked():
            return STOPPED  # before it could have heard, or when all was done: there is nothing that is not saved
        if code not in (0, STOPPED):
            again = "what it says is above" if self.lock is None else "the same command continues from its checkpoints"
            raise TrainingError(f"training ended with code {code}; {again}")
        return code

    def record(self, run: str) -> dict[str, Any]:
        """The record of a run that was trained again."""
        return record.read(record.record_path(run, self.folder))

    def remove(self) -> None:
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def workspace(root: Path, purpose: str = "attest") -> Iterator[Workspace]:
    """The workspace below `root` for a purpose, this device and these libraries, with what it holds already.

    For one purpose, device and set of libraries, one process trains at a time; others wait.
    """
    parent = (root / ".reweigh" / purpose).absolute()
    parent.mkdir(parents=True, exist_ok=True)
    name = digest(platform_here())[:12]
    with locks.opened(parent / f"{name}.lock") as lock:
        try:
            if not locks.take(lock):
                print(f"waiting for another `reweigh {purpose}` that trains in {parent}", file=sys.stderr)
                locks.take(lock, wait=True)
        except locks.NoLocks as missing:
            locks.without(str(missing), f"start no second `reweigh {purpose}` here, it would train the same runs")
        folder = parent / name
        _link_inputs(folder, root.absolute())
        yield Workspace(folder, lock.fileno())


@contextlib.contextmanager
def fresh_workspace(root: Path, purpose: str) -> Iterator[Workspace]:
    """A workspace for one use: an empty folder below `root` of a random name, its owner's alone, removed at the end.

    Nobody can have prepared it. Those of calls that were killed are removed.
    """
    parent = (root / ".reweigh" / purpose).absolute()
    parent.mkdir(parents=True, exist_ok=True)
    with work_folder(f"{purpose}-", parent) as folder:
        _link_inputs(folder, root.absolute())
        yield Workspace(folder)


def _link_inputs(folder: Path, root: Path) -> None:
    """Link all that training reads, except splits: they are drawn again too."""
    (folder / "specs").mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    (root / "data/raw").mkdir(parents=True, exist_ok=True)
    links = [(folder / "data" / path.name, path) for path in (root / "data").iterdir() if path.name != "splits"]
    for link, target in [*links, (folder / "envs", root / "envs")]:
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def _environment(left_out: Collection[str] = ()) -> dict[str, str]:
    """This process's environment for a child in another folder, with this very package, but for variables `left_out`.

    Python files that lie in that folder are none of its modules.
    """
    path = os.pathsep.join((str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])))
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    environment = {**kept, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    if (mirror := environment.get("REWEIGH_MIRROR")) and Path(mirror).is_dir():
        environment["REWEIGH_MIRROR"] = str(Path(mirror).absolute())
    return environment


@contextlib.contextmanager
def _signals_to(process: "subprocess.Popen[bytes]") -> Iterator[Callable[[], bool]]:
    """Within this context SIGTERM and Ctrl-C stop the child, which saves its state, and not this process.

    The context is given a function that says whether one of them has come.
    """
    asked = []

    def hand_on(number: int, frame: Any) -> None:
        asked.append(number)
        process.terminate()

    previous = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


# --- comparing -------------------------------------------------------------------------------------------------------


def outcome(body: dict[str, Any]) -> dict[str, Any]:
    """The part of a record that must come out again, bit for bit."""
    compared = {key: body[key] for key in COMPARED}
    apart = ("train_seconds", "stage")  # `stage` says of each epoch what `stages` says too; older records lack it
    compared["curves"] = {name: values for name, values in compared["curves"].items() if name not in apart}
    compared["split"] = body["split"]["digest"]
    compared["trace"] = body["trace"] and {key: body["trace"][key] for key in ("sha256", "arrays")}
    return compared


def differences(then: Any, now: Any, path: str = "") -> list[str]:
    """Where two outcomes differ: `metrics.test_accuracy 0.9 -> 0.91`; in a list, only the first place."""
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
        by_place = (differences(a, b, f"{path}[{place}]") for place, (a, b) in pairs)
        return next((lines for lines in by_place if lines), [])
    return [] if _same(then, now) else [f"{path} {_short(then)} -> {_short(now)}"]


def _same(then: Any, now: Any) -> bool:
    """Whether JSON writes both in the same way: 1 is not 1.0, and 0.0 is not -0.0."""
    return json.dumps(then, sort_keys=True) == json.dumps(now, sort_keys=True)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 24 else f"{text[:20]}..."
