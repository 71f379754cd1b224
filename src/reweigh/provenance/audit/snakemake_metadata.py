"""Snakemake's own memory as a witness: does what it remembers of its jobs agree with what the project's files say?

Snakemake keeps a JSON for each file that a job of it made, in `.snakemake/metadata`: the params of the job, its times,
and the sha256 of what it read. Nothing here writes there, so that a record altered with its digests is found out by it:

- `.snakemake/incomplete` names files whose job did not end: `unverifiable`, until Snakemake makes them again;
- a record that says it ended within its job's time must be of the spec, code and split that Snakemake asked for, and
  none can have ended after Snakemake saw it finished, if nothing was written since: else `broken`;
- a split, if it is as its job left it, must be of the recipe that Snakemake asked for: else `broken`;
- a figure or scorecard, if it is as its job left it, read the bytes that are there now, and was drawn as it would be
  today: else `stale`, or `missing`; `broken` where a record is another than was read and yet says that it is older,
  unless it is the one that git has checked out.

It is a witness, no judge. It says nothing of what another process made or a job found current and kept (times of
before the job, which is what a failed update leaves too), nor in a clone, where it is not; `--cleanup-metadata` makes
it forget, and files that were touched are no longer as the job left them. No link stands where it says nothing.
"""

import base64
import binascii
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from reweigh.config.grid import Config
from reweigh.digest import digest, file_digest
from reweigh.errors import ReweighError
from reweigh.planning.jobs import ArtifactJob, Flow
from reweigh.provenance.audit.links import Link
from reweigh.records.staleness import drawn_by

FORMAT = 6  # of Snakemake's records, that of Snakemake 9
CLOCKS_SECONDS = 60  # by which the clocks of two machines, and of a file server, may differ
ROUNDING_SECONDS = 1  # records state whole seconds
STORE = ".snakemake/metadata"
UNFINISHED = ("unverifiable", "Snakemake began to make it anew, and that job did not end")

Records = dict[str, dict[str, Any]]


def check_witness(config: Config, records: Records, root: Path) -> Iterator[Link]:
    """Links of kind `witness`, for what Snakemake remembers of the scales of `records` (sound ones, by run)."""
    scales = {run.partition("/")[0] for run in records}
    memory = Memory(root, tuple(f"{top}/{scale}/" for top in ("results", "figures", "data/splits") for scale in scales))
    for name, why in memory.unread:
        yield Link("witness", name, "unverifiable", why)
    for run in records:
        if verdict := _record(run, records, memory):
            yield Link("witness", run, *verdict)
    for path in sorted({*memory.jobs, *memory.unfinished}):
        verdict = None
        if path.startswith("data/splits/") and path.endswith(".npz"):
            verdict = _split(path, memory)
        elif path.endswith(".csv"):
            verdict = _drawn(path, memory, records, config)
        if verdict:
            yield Link("witness", path, *verdict)


# --- what Snakemake remembers ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What Snakemake remembers of the job that made a file. Times are seconds since 1970; `ended`: the file's time."""

    params: tuple[str, ...]  # reprs, without names
    command: str
    started: float
    ended: float
    checksums: dict[str, str]

    def arguments(self, command: str) -> list[str]:
        """What the job's command asked for: the names after `reweigh train`, or `reweigh split`."""
        words = self.command.partition(f"reweigh {command} ")[2].partition(" > ")[0].split()
        return [word for word in words if "/" in word]

    def asked_for(self, digests: list[str]) -> bool:
        """Whether the digest of some digests was among the job's params."""
        return repr(digest(digests)) in self.params


class Memory:
    """The part of Snakemake's memory of a project that is about files below some folders (`results/paper/`, ...).

    `unfinished` are files whose job has begun and not ended; `unread` names what is not understood here, and says why.
    """

    def __init__(self, root: Path, below: tuple[str, ...]) -> None:
        self.root, self.below = root, below
        self.jobs: dict[str, Job] = {}
        self.unfinished = set(self._files(root / ".snakemake/incomplete"))
        self.unread: list[tuple[str, str]] = []
        self._digests: dict[str, str] = {}
        reasons: Counter[str] = Counter()
        found = self._files(root / STORE)
        for path, file in found.items():
            try:
                said = json.loads(file.read_bytes())
                self.jobs[path] = _job(said)
                if said["incomplete"]:
                    self.unfinished.add(path)
            except OSError:
                continue  # Snakemake is at work, and has just forgotten it
            except (ValueError, KeyError, TypeError) as error:
                reasons[str(error) if isinstance(error, _UnknownFormat) else "they cannot be read"] += 1
        for why, count in reasons.items():
            self.unread.append((STORE, f"{count} of {len(found)} files are no witness: {why}"))
        if not found and (root / f"{STORE}.db").is_file():
            self.unread.append((f"{STORE}.db", "Snakemake keeps its memory in a database, which is not read here"))

    def as_left(self, path: str) -> bool:
        """Whether a file was not written, nor touched, since its job ended."""
        try:
            return abs((self.root / path).stat().st_mtime - self.jobs[path].ended) < 1e-3
        except (FileNotFoundError, KeyError):
            return False

    def digest_of(self, path: str) -> str:
        """The sha256 of a file, worked out once; empty if it is not there."""
        if path not in self._digests:
            there = self.root / path
            self._digests[path] = file_digest(there) if there.is_file() else ""
        return self._digests[path]

    def _files(self, folder: Path) -> dict[str, Path]:
        """Snakemake's files in a folder by what they are about; long names are cut into folders that begin with @."""
        found = {}
        for file in folder.rglob("*"):
            try:
                name = "".join(part.removeprefix("@") for part in file.relative_to(folder).parts)
                path = base64.urlsafe_b64decode(name).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue
            if path.startswith(self.below) and file.is_file():
                found[path] = file
        return found


class _UnknownFormat(ValueError):
    pass


def _job(said: dict[str, Any]) -> Job:
    if said["record_format_version"] != FORMAT:
        version = said["record_format_version"]
        raise _UnknownFormat(f"they have Snakemake's record format {version}, known here is {FORMAT}")
    return Job(
        params=tuple(said["params"]),
        command=said["shellcmd"] or "",
        started=float(said["starttime"]),
        ended=float(said["endtime"]),
        checksums=dict(said["input_checksums"] or {}),
    )


# --- what the files say ----------------------------------------------------------------------------------------------


def _record(run: str, records: Records, memory: Memory) -> tuple[str, str] | None:
    """What the witness says of a record; None if nothing."""
    path = f"results/{run}.json"
    if path in memory.unfinished:
        return UNFINISHED
    if (job := memory.jobs.get(path)) is None:
        return None
    ended, seen = _ended(records[run]), _date(job.ended)
    if ended > job.ended + (CLOCKS_SECONDS if memory.as_left(path) else ROUNDING_SECONDS):
        says = f"it says that it ended at {records[run]['ended']}; Snakemake saw it finished at {seen}"
        if memory.as_left(path):
            return "broken", f"{says}, and nothing was written since"
        return "unverifiable", f"{says}: something else has written it since"
    if _before(records[run], job):
        return None
    runs = job.arguments("train")
    if run not in runs:
        return "broken", f"the job that made it, ended at {seen}, trained other runs"
    if any(one not in records for one in runs):
        return "intact", ""
    wrong = [part for part, of in PARTS.items() if not job.asked_for([of(records[one]) for one in runs])]
    if not wrong:
        return "intact", ""
    if any(_before(records[one], job) or _ended(records[one]) > job.ended + ROUNDING_SECONDS for one in runs):
        return None  # it asked for something else of a record that it kept, or that was made since
    others = f" (or one of the {len(runs)} of its job)" if len(runs) > 1 else ""
    return "broken", (
        f"it{others} is of another {' and '.join(wrong)} than Snakemake asked the job for that ended at {seen}; "
        "if that was edited while Snakemake ran, call Snakemake again, else train it again"
    )


PARTS = {
    "spec": lambda body: body["spec_digest"],
    "code": lambda body: body["code"]["digest"],
    "split": lambda body: body["split"]["recipe_digest"],
}


def _split(path: str, memory: Memory) -> tuple[str, str] | None:
    """What the witness says of a split: of its .json, which says by which recipe it was drawn."""
    if path in memory.unfinished:
        return UNFINISHED if (memory.root / path).is_file() else None
    job = memory.jobs[path]
    reports = [f"data/splits/{name}.json" for name in job.arguments("split")]
    if not all(memory.as_left(report) for report in reports):
        return None
    if job.asked_for([drawn_by(memory.root / report) for report in reports]):
        return "intact", ""
    others = f" (or one of the {len(reports)} of its job)" if len(reports) > 1 else ""
    return "broken", f"it{others} is of another recipe than Snakemake asked for; delete it, and it is drawn again"


def _drawn(path: str, memory: Memory, records: Records, config: Config) -> tuple[str, str] | None:
    """What the witness says of a figure or the scorecard, by its csv."""
    if path in memory.unfinished:
        return UNFINISHED if (memory.root / path).is_file() else None
    job = memory.jobs[path]
    if not memory.as_left(path):
        return None
    moved = []
    for read, stated in job.checksums.items():
        algorithm, _, seen = stated.rpartition(":")
        now = memory.digest_of(read)
        if algorithm not in ("", "sha256") or now == seen:
            continue
        moved.append(read)
        run = read.removeprefix("results/").removesuffix(".json")
        if now and run in records and _ended(records[run]) <= job.started and not _of_the_commit(read, memory.root):
            says = f"with sha256 {seen[:12]} at {_date(job.started)}; now it is {now[:12]}, and says that it is older"
            return "broken", f"made from {read} {says}: that record was altered, or is another's"
    if gone := [read for read in moved if not memory.digest_of(read)]:
        return "missing", f"made from {gone[0]}, which is not there"
    if moved:
        more = f" and {len(moved) - 1} more" if len(moved) > 1 else ""
        return "stale", f"made from other bytes of {moved[0]}{more} than those there now; make it again"
    if path.startswith("figures/") and not _drawn_as_today(path, job, config):
        return "stale", "Snakemake had it drawn by other code, config or records than today's; make it again"
    return "intact", ""


def _drawn_as_today(path: str, job: Job, config: Config) -> bool:
    """Whether a figure's job was asked to draw as Snakemake would ask today. (What a scorecard is asked for depends on
    the settings of that call.)"""
    _, scale, paper, name = path.removesuffix(".csv").split("/")
    try:
        today = ArtifactJob(Flow(config), paper, name).rendering_digest(SimpleNamespace(scale=scale))
    except ReweighError:
        return False
    return repr(today) in job.params


def _of_the_commit(path: str, root: Path) -> bool:
    """Whether a file is as the checked out commit has it: then git put back an older one, and answers for it."""
    blobs = []
    for command in (("rev-parse", "--verify", "--quiet", f"HEAD:./{path}"), ("hash-object", "--", path)):
        try:
            done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.SubprocessError):
            return False
        blobs.append(done.stdout.strip())
    return blobs[0] != "" and blobs[0] == blobs[1]


def _before(body: dict[str, Any], job: Job) -> bool:
    """Whether a record is older than the job, which then kept it (or, failing, was given it back)."""
    return _ended(body) < job.started - ROUNDING_SECONDS


def _ended(body: dict[str, Any]) -> float:
    """When a record says that it ended."""
    return datetime.strptime(body["ended"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
