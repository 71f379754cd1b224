"""One run from its resolved spec to its record on disk: all that surrounds the engine and decides no number."""

import functools
import importlib.metadata
import json
import os
import platform
import re
import socket
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reweigh import plugins
from reweigh.config.names import RunName
from reweigh.data import load, manifest, packed
from reweigh.data.arrays import RawData
from reweigh.data.local_cards import is_local
from reweigh.data.obtain import describe, obtain, recipe_digest, split_path
from reweigh.digest import canonical, digest, file_digest
from reweigh.records import record
from reweigh.records.commit import git_state
from reweigh.training import afresh, shared, slurm, snakemake_backups
from reweigh.training.checkpoint import Clock, Keeper, OutOfTime
from reweigh.training.energy import EnergyMeter, driver_version
from reweigh.training.engine import Run, eagerly
from reweigh.training.facts import group_sizes, peak_bytes, write_trace
from reweigh.training.graph import CapturedSteps, told_to_run_eagerly
from reweigh.training.memory import keep_freed_memory
from reweigh.training.prefix import SharedPrefix, key_of
from reweigh.training.sealed import Unusable
from reweigh.training.shared import Surroundings
from reweigh.training.stints import TIME, in_time
from reweigh.training.twins import Twin

LOCK = Path("envs/requirements.lock")
DECIDING = ("torch", "numpy")  # the libraries by which an audit compares a record with its lock
AT_ONCE = "runs_at_once"  # of the facts that a checkpoint carries
# Variables by which the libraries compute otherwise: with other instructions, other precision, fewer threads.
ARITHMETIC = (
    "ATEN_CPU_CAPABILITY", "DNNL_DEFAULT_FPMATH_MODE", "DNNL_MAX_CPU_ISA", "GLIBC_TUNABLES", "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES", "NVIDIA_TF32_OVERRIDE", "OMP_THREAD_LIMIT",
    "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)  # fmt: skip
COMPUTE = ("torch", "numpy", "pillow", "cuda", "cudnn")  # of `environment`: the libraries that decide numbers


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime(TIME)


@functools.lru_cache(maxsize=1)
def _raw(dataset: str, options: str, place: Path) -> RawData:
    """A data set, kept for the next run. `place` is where it is looked for: elsewhere there may be other rows of it."""
    if (travelled := packed.read(dataset, json.loads(options))) is not None:
        return travelled
    if not is_local(dataset):  # whose reader checks its file
        manifest.ensure(dataset)  # checks the raw bytes, which an existing split does not
    return load.read(dataset, json.loads(options))


def environment() -> dict[str, Any]:
    """Versions of the software that computed the numbers, and the digest of the lock file that they are from."""
    on_gpu = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "python_implementation": platform.python_implementation(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": _version("pillow"),
        "cuda": torch.version.cuda if on_gpu else None,
        "cudnn": torch.backends.cudnn.version() if on_gpu else None,
        "driver": driver_version() if on_gpu else None,
        "platform": platform.platform(),
        "lock_digest": file_digest(LOCK) if _is_installed(LOCK) else None,
    }


def _is_installed(lock: Path) -> bool:
    """Whether the libraries that decide a record's bits are here in versions that the lock file pins.

    A bare GPU machine has its own: its records name no lock.
    """
    try:
        pins = re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return False
    return all((name, str(_version(name)).partition("+")[0]) in pins for name in DECIDING)


@functools.cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def place() -> dict[str, Any]:
    """Where a run ends, for whoever looks for its log: the host, and Slurm's job if there is one."""
    job, restarts = slurm.job(), slurm.restarts()
    return {
        "host": socket.gethostname(),
        "slurm_job": job,
        "slurm_attempt": None if job is None or restarts is None else 1 + restarts,
    }


def device_facts(device: torch.device, spec: dict[str, Any]) -> dict[str, Any]:
    """The device, for the record. `threads` and `precision` are from the spec: they change results."""
    return {
        **arithmetic(device),
        "threads": spec["training"]["threads"],
        "precision": spec["training"]["precision"],
    }


def arithmetic(device: torch.device) -> dict[str, Any]:
    """What decides how a device rounds: its name, the instructions that torch takes of it, and what someone has set."""
    on_gpu = device.type == "cuda"
    return {
        "kind": device.type,
        "name": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "capability": None if on_gpu else torch.backends.cpu.get_cpu_capability(),
        "settings": {name: os.environ[name] for name in ARITHMETIC if os.environ.get(name)},
    }


@functools.cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def pick_device() -> torch.device:
    """The GPU that the lease made visible, else the CPU. cuDNN is restricted to deterministic algorithms."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    return torch.device("cuda")


def run_key(spec: dict[str, Any], split_digest: str, device: torch.device) -> str:
    """The name of a run's checkpoint: a digest of all that its arithmetic and its record depend on.

    On another processor, or with other instructions, the run begins again: else it would end with the bits of neither.
    """
    made_by = [arithmetic(device), _versions(), record.RECORD_VERSION]
    return digest([digest(spec), record.code_digest(spec), split_digest, *made_by])


class Job:
    """A run with its split, its checkpoint and its record. It resumes from a checkpoint if there is one.

    `at_once` runs share the device now; the record states the most that did in any part of what it charges the run for.
    `before` has the stamps of the records, by run, from when they were seen not to be current. What other runs made
    before `since` (as `time.time()` counts; None: ever) is not taken over. Raises the errors of `obtain` and of the
    readers, before the first step.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        device: torch.device,
        clock: Clock | None = None,
        at_once: int = 1,
        before: Mapping[str, record.Stamp | None] | None = None,
        since: float | None = None,
    ) -> None:
        self.spec, self.device, self.at_once = spec, device, at_once
        self.name = str(RunName.of_spec(spec))
        self.started, self.git = now(), git_state()
        if device.type == "cpu":
            torch.set_num_threads(spec["training"]["threads"])
            keep_freed_memory()
        plugins.place(spec)
        packed.place_split(split_path(spec))
        self.split = obtain(spec)
        place = (packed.folder() or Path("data/raw")).resolve()
        self.data = _raw(spec["data"]["dataset"], canonical(spec["data"]["options"]).decode(), place)
        eager = afresh.start().eager.get(afresh.kind_of(spec))
        self.uncaptured = told_to_run_eagerly(spec) if device.type == "cuda" else None
        self.graphs = CapturedSteps(eager) if device.type == "cuda" and not self.uncaptured else None
        key, path = run_key(spec, self.split.digest(), device), record.record_path(self.name)
        stamp = record.stamp(path) if before is None else before[self.name]
        self.keeper = Keeper(self.name, key, clock, record=path, before=stamp)
        self.run = self._resumed()
        self.meter = EnergyMeter.of(device, self.keeper.facts["energy_joules"])
        self.keeper.measured = self._measured
        self.since = since
        self._share(stamp)

    def _resumed(self) -> Run:
        """The run as its own checkpoint says, or at its beginning."""
        while True:
            run = Run(self.spec, self.data, self.split, self.device, self.graphs or eagerly)
            facts = {"started": self.started, "resumed": 0, "energy_joules": 0.0, "prefix": None}
            self.keeper.start({**facts, AT_ONCE: self.at_once})
            try:
                self.keeper.resume(run)
                return run
            except Unusable as error:  # which will not be tried again
                print(error, file=sys.stderr)

    def _share(self, before: record.Stamp | None) -> None:
        """Find out what the run has in common with others: all of it, or the first stages if its method shares them."""
        around, since = surroundings(self.spec, self.split.digest(), self.device), self.since
        self.prefix: SharedPrefix | None = None
        self.keeper.whole = shared.key_of(self.spec, None, around)
        self.twin = Twin(self.run, self.name, self.keeper.whole, before, since)
        if prefix := self.run.method.prefix():
            key, peak = key_of(self.spec, prefix, around), lambda: peak_bytes(self.device)
            self.prefix = SharedPrefix(self.run, self.keeper, prefix, key, peak, self.meter.joules, since)
            self.prefix.at_once = self.most_at_once
            self.keeper.elsewhere = self.prefix.unfinished
        self.keeper.saved = self.twin.announce
        try:
            self.ready()
        except BaseException:
            self.release()  # nobody else will
            raise

    def _measured(self) -> dict[str, Any]:
        """What the record says of the run and its state does not, as of now."""
        prefix = self.prefix.facts if self.prefix else None
        return {"energy_joules": self.meter.joules(), "prefix": prefix, AT_ONCE: self.most_at_once()}

    def most_at_once(self) -> int:
        """The most runs that shared the device, this one included, in any part of what its record charges it for."""
        taken = self.prefix.taken_at_once if self.prefix else 1
        return max(self.at_once, self.keeper.facts.get(AT_ONCE, 1), taken)

    def ready(self) -> bool:
        """Whether the run can take its next step; not while another trains the same run, or the same first stages."""
        while True:
            try:
                return self._settled()
            except Unusable as error:  # which will not be tried again
                print(error, file=sys.stderr)
                self._start_over()

    def _settled(self) -> bool:
        if not self.twin.settled and self.twin.settle():
            self._go_on_from_twin()
        if not self.twin.settled:
            return False
        if self.twin.theirs is not None:
            self.run.stage = len(self.run.courses)  # nothing is left to train
        elif self.prefix and not self.prefix.settled:
            if not self.prefix.settle():
                return False
            if self.prefix.facts or self.keeper.take_up(self.run, self.prefix.part, self.since):
                self.meter.add((self.prefix.facts or self.keeper.facts)["energy_joules"])
        return True

    def _go_on_from_twin(self) -> None:
        """Go on from where another run that is the same training was stopped or killed, if it came further."""
        path = self.twin.begun()
        if path and self.keeper.take_up(self.run, path, self.since, self.run.step, self.twin.key):
            self.meter.before = self.keeper.facts["energy_joules"]  # of the state that this run has now
            if self.prefix:
                self.prefix.go_on(self.keeper.facts["prefix"])

    def _start_over(self) -> None:
        """Go on with a new object of the run, from its own checkpoint or the beginning: this one is half changed."""
        clock, self.run = self.run.clock, self._resumed()
        self.run.clock = clock
        self.meter.before = self.keeper.facts["energy_joules"]
        for part in (self.twin, self.prefix):
            if part is not None:
                part.restart(self.run)

    @property
    def awaited(self) -> Path:
        """What a run that is not ready waits for: `shared.is_free` says when it is worth another look."""
        return self.prefix.path if self.prefix and self.twin.settled else self.twin.path

    def release(self) -> None:
        """Let others have what this run has begun, and the card: it does not go on in this object."""
        self.meter.stop()
        for part in (self.twin, self.prefix):
            if part is not None:
                part.release()

    def finish(self, progress: Any = None) -> dict[str, Any]:
        """Train to the end and write the record, which is returned. `progress(run)` is called after each step.

        Raises OutOfTime, with the state saved, if the clock is up first.
        """

        def tick(run: Run) -> None:
            if progress:
                progress(run)
            self.keeper(run)

        try:
            while not self.ready():
                if self.keeper.clock.is_up():
                    raise OutOfTime  # its state is as its last checkpoint says
                time.sleep(shared.LOOK_SECONDS / 2)
            self.run.finish(tick)
            return self.write()
        finally:
            self.release()

    def write(self) -> dict[str, Any]:
        """Write the record of the finished run, and remove its checkpoint."""
        self.keeper.measure()
        self.meter.stop()
        path = record.record_path(self.name)
        if self.twin.theirs and self.twin.theirs["run"] == self.name:
            written = self.twin.theirs  # another process has trained this run meanwhile
        else:
            written = record.write(path, {**self._body(), **self._results(path)})
            snakemake_backups.replace_backup(path)  # before the checkpoint goes: a kill in between costs nothing
        if self.run.courses and not self.twin.theirs:
            self.twin.keep(written)
        self.keeper.done()
        if self.prefix and self.prefix.lock.held:  # it diverged in these stages
            self.prefix.abandon()
        self.release()
        return written

    def _body(self) -> dict[str, Any]:
        """The part of the record that is this run's own, also where another trained the same."""
        run, spec, ended = self.run, self.spec, now()
        described = describe(spec)
        return {
            "run": self.name,
            "spec": spec,
            "spec_digest": digest(spec),
            "code": {"digest": record.code_digest(spec), "files": record.code_files(spec)},
            "split": {
                "path": split_path(spec).as_posix(),
                "digest": self.split.digest(),
                "recipe_digest": recipe_digest(spec),
                "sizes": self.split.sizes(),
            },
            "group_sizes": group_sizes(run),
            "raw": packed.sources(described["raw"], spec["data"]["dataset"], spec["data"]["options"]),
            "ended": ended,
            "begun_by": [] if self.twin.theirs else self.keeper.begun_by(self.keeper.facts["prefix"]),
            **{name: fact for name, fact in self.keeper.facts.items() if name != AT_ONCE},
            "started": in_time(self.keeper.facts["started"], ended, self._own_seconds()),
        }

    def _own_seconds(self) -> float:
        """The seconds that this run at least took itself, by the clock on the wall."""
        if self.twin.theirs:
            return 0.0
        prefix = self.keeper.facts["prefix"]
        taken = prefix["seconds"] if prefix and prefix["reused"] else 0.0
        own = self.run.seconds - taken - sum(part["seconds"] for part in self.keeper.begun_by(prefix))
        return own / (self.spec["training"]["threads"] if self.device.type == "cpu" else 1)

    def _results(self, path: Path) -> dict[str, Any]:
        """The rest of the record: what was computed, on what, at what cost."""
        if self.twin.theirs:
            return self.twin.results(path)
        run = self.run
        before = (self.keeper.facts["prefix"] or {}).get("peak_bytes", 0)
        return {
            "git": self.git,
            "environment": {**environment(), **place()},
            "device": {
                **device_facts(self.device, self.spec),
                "runs_at_once": self.most_at_once(),
                "graph": self.graphs.report() if self.graphs else self.uncaptured,
            },
            "gpu_seconds": run.seconds if self.device.type == "cuda" else 0.0,
            "peak_bytes": max(peak_bytes(self.device), before),
            "trace": write_trace(path, {**run.trace(), **run.arrays()}),
            **run.results(),
        }


def surroundings(spec: dict[str, Any], split_digest: str, device: torch.device) -> Surroundings:
    """What decides the result of a run beside its spec and its code."""
    raw = tuple(file["sha256"] for file in describe(spec)["raw"])
    by = arithmetic(device)
    chosen = {name: by[name] for name in ("capability", "settings") if by[name]}
    return Surroundings(split_digest, raw, device.type, by["name"], {**_versions(), **chosen})


def _versions() -> dict[str, Any]:
    """The versions of the libraries that decide numbers."""
    return {name: version for name, version in environment().items() if name in COMPUTE}
