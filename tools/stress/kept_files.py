"""A project with a file of each kind that the program reads again, and what the program makes of it.

Two runs are finished, two stopped half way; shared stages are at their end for two seeds, and half way for two others.
Every question is asked in this process, of a folder that is as it was but for one change.
"""

import contextlib
import copy
import io
import os
import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from support.two_stages import OPTIONS

from reweigh.config import loading
from reweigh.data import load, manifest
from reweigh.data.arrays import RawData
from reweigh.digest import file_digest
from reweigh.planning import attempts, plan
from reweigh.provenance.audit.records import check_records
from reweigh.records import attestations, kept, record
from reweigh.training import device
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.run import Job
from stress import small_project

CPU = torch.device("cpu")
CELL = "smoke/tdr/mnist-4v9/rho0.1"
GRID = {
    "mnist-4v9": {
        "split": {"total": 60, "target_size": 10, "test_size": 40},
        "settings": ["rho0.1", "rho0.05"],
        "methods": ["none", "tdr", "er"],
        "seeds": 2,
        "training": {"epochs": 4, "batch_size": 20},
    }
}
STOP = 3  # steps after which a run is stopped
DATASETS = ("adult", "mnist")  # whose raw files are changed
LOG = "logs/train.log"  # of a job whose attempts are noted
MUTABLE = ("results", ".reweigh", "data/splits", "leases")  # folders that are put back after each change
DAY = 86_400
_READ = load.read


class Kept:
    """The project, in the folder that the process is in."""

    def __init__(self, folder: Path, raw_root: Path) -> None:
        self.folder, self.raw_root = folder, raw_root
        self.read: dict[str, RawData] = {}
        small_project.make(folder, raw_root, GRID)
        (folder / "data/raw").unlink()
        for dataset in DATASETS:  # whose files share their bytes with the originals until one is changed
            shutil.copytree(raw_root / dataset, folder / "data/raw" / dataset, copy_function=os.link)
        (folder / "leases").mkdir(mode=0o700)
        self.wanted_by: dict[Path, dict[str, Any]] = {}  # which run would go on with a file
        with self.inside():
            self.config = loading.load(folder)
            self._fill()
            self.wanted = {kept.noted(path) for path in kept.FOLDER.glob("*.json")}
            self.files = {path: path.read_bytes() for path in self._mutable()}
            self.stamps = {path: _stamp(path) for path in self.files}
            self.raw = {path: _stamp(path) for path in Path("data/raw").glob("*/*") if path.name != ".lock"}

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """In this context the process is in the folder, and two devices that do not exist can be leased there."""
        with (
            contextlib.chdir(self.folder),
            mock.patch.object(device, "visible_devices", return_value=["0", "1"]),
            mock.patch.object(device, "lock_folder", return_value=Path("leases")),
            mock.patch.object(load, "read", self._read),
            mock.patch.dict(os.environ, {"REWEIGH_MIRROR": ""}),
        ):
            yield

    def _read(self, dataset: str, options: dict[str, Any], root: Any = None) -> RawData:
        """The raw data of a data set, read once: to draw a split again takes a moment then."""
        if dataset not in self.read:
            self.read[dataset] = _READ(dataset, options, self.raw_root)
        return self.read[dataset]

    # --- what is there ------------------------------------------------------------------------------------------------

    def spec(self, method: str, seed: int, setting: str = "rho0.1") -> dict[str, Any]:
        """The spec of a run of the grid, or of one with shared stages, which the grid has not."""
        uses = method if method in OPTIONS else None
        run = f"{CELL.rpartition('/')[0]}/{setting}/{'none' if uses else method}/seed{seed}"
        spec = copy.deepcopy(self.config.resolve(run))
        if uses:
            options = copy.deepcopy({"stage_one": {"sampling": "uniform"}, **OPTIONS[uses]})
            options["second_stage"]["epochs"] = 1
            spec.update(method=uses, uses=uses, method_options=options)
        return spec

    def _fill(self) -> None:
        for seed in (0, 1):
            self.train(self.spec("tdr", seed), twin := {**self.spec("tdr", seed), "experiment": "again"})
            self._wants(twin)
            _stopped(self.spec("none", seed))
            self._wants(self.spec("none", seed))
            self.train(self.spec("crt", seed))
            self._wants(self.spec("crt", seed))
            _stopped(other := self.spec("crt", seed, "rho0.05"))
            self._wants(other)
        for made in ("crt", "again"):  # what is wanted of them lies elsewhere
            for folder in Path("results").rglob(made):
                shutil.rmtree(folder)
        for note in kept.FOLDER.glob("*.json"):
            note.with_suffix(".lock").write_text(f"{CELL}/crt/seed0 4194304\n", encoding="utf-8")
            self.wanted_by[note.with_suffix(".lock")] = self.wanted_by[note]
        notes = attempts.FOLDER / LOG
        notes.parent.mkdir(parents=True)
        notes.write_text(f"{attempts.TIME_IS_UP}\n" * 2, encoding="utf-8")
        for slot in "01":
            Path("leases", f"{slot}.0").write_text("4194304\n", encoding="utf-8")

    def _wants(self, spec: dict[str, Any]) -> None:
        """What has come since is wanted by this run."""
        for path in self._mutable():
            self.wanted_by.setdefault(path, spec)

    def _mutable(self) -> list[Path]:
        return [path for name in MUTABLE for path in Path(name).rglob("*") if path.is_file()]

    def restore(self) -> None:
        """Put back every file that was changed, and remove what was not there."""
        for path in self._mutable():
            if path not in self.files:
                path.unlink()
        for path, content in self.files.items():
            if _stamp(path) != self.stamps[path]:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                path.write_bytes(content)
                self.stamps[path] = _stamp(path)
        for path, stamp in self.raw.items():
            if _stamp(path) != stamp:
                path.unlink(missing_ok=True)
                os.link(self.raw_root / path.relative_to("data/raw"), path)
                self.raw[path] = _stamp(path)

    def original(self, path: Path) -> bytes:
        """The content of a file as it was before any change."""
        if path in self.files:
            return self.files[path]
        return (self.raw_root / path.relative_to("data/raw")).read_bytes()

    # --- what the program makes of it ---------------------------------------------------------------------------------

    def train(self, *specs: dict[str, Any]) -> list[dict[str, Any]]:
        """Train runs, or go on with them; what their records say that no interruption may change."""
        return [_outcome(Job(spec, CPU).finish()) for spec in specs]

    def go_on(self, path: Path) -> list[dict[str, Any]]:
        """The outcome of the run that wants a file."""
        return self.train(self.wanted_by[path])

    def go_on_later(self, path: Path) -> list[dict[str, Any]]:
        """The same, once what nobody seems to want was removed."""
        with contextlib.redirect_stderr(io.StringIO()):
            kept.remove_unwanted(self.wanted, now=time.time() + 2 * DAY)
        return self.go_on(path)

    def begin(self, path: Path) -> list[dict[str, Any]]:
        """The outcome of another run of the same split."""
        setting, seed = path.parts[-2], path.stem.removeprefix("seed")
        return self.train(self.spec("er", int(seed), setting))

    def fetch(self, path: Path) -> dict[str, Any]:
        """What is known of the raw files of a data set, once they are in place.

        But for when that was found out; and once that is lost, nobody knows whence a file came that is already there.
        """
        known = manifest.ensure(path.parts[-2])
        for file in known["files"]:
            file["source"] = file["source"] in ("embedded", "present")
        return {**known, "fetched": bool(datetime.fromisoformat(known["fetched"]))}

    def plan(self) -> dict[str, str]:
        """What a plan says of each run of the grid."""
        return {run.run: run.state for run in plan.make(["smoke/tdr"], "smoke", ".")}

    def audit(self) -> list[tuple[str, ...]]:
        """The links of all records."""
        _, links = check_records(self.config, "smoke", Path(), attestations.load(Path()))
        return [tuple(link) for link in links]

    def traces(self) -> list[str | None]:
        """The digests of the traces that records name, as whoever draws them finds them."""
        found = [record.trace_path(path, record.read(path)) for path in record.files_of("smoke").values()]
        return [path and file_digest(path) for path in found]

    def devices(self) -> list[tuple[str, bool]]:
        """Which devices are free, once one was leased and released."""
        lease = device.take_lease(5)
        assert lease
        lease.release()
        lease.take_back()
        return [(name, process is None) for name, process in device.holders()]

    def starts(self) -> bool:
        """Whether a job whose attempts were noted may be started again at all."""
        return attempts.starts_left([LOG], 100) > 0


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Tells one state of a file from another; None if there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _stopped(spec: dict[str, Any]) -> None:
    """Train a run until its state is saved after some steps."""
    clock = Clock()
    with contextlib.suppress(OutOfTime):
        Job(spec, CPU, clock).finish(lambda run: run.step == STOP and clock.stop())


def _outcome(body: dict[str, Any]) -> dict[str, Any]:
    body = {**body, "curves": {name: curve for name, curve in body["curves"].items() if name != "train_seconds"}}
    names = ("run", "spec", "spec_digest", "code", "split", "raw", "group_sizes", "metrics", "curves", "stages",
             "steps", "status", "trace", "parameters")  # fmt: skip
    return {name: body[name] for name in names}
