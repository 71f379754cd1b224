"""Snakemake's metadata, compared with the project's files: a second account of each job, which reweigh never writes.

For each file that a job made, Snakemake keeps a JSON in `.snakemake/metadata` with the job's params, its times, and the
sha256 of its inputs. So a record that was altered together with its own digests still contradicts the metadata:

- a file that `.snakemake/incomplete` names is `unverifiable`: its job has not ended;
- a record that ended during its job must have the spec, code and split of the job's params, or it is `broken`; one that
  says that it ended after Snakemake saw it finished was written again since, or a clock was wrong, or its time is made
  up: it is `unverifiable`;
- a split that is as its job left it must have the recipe of the job's params, or it is `broken`;
- a figure or scorecard that is as its job left it must have been made from the bytes that its inputs have now, and by
  today's code and config. Otherwise it is `stale`, or `missing` if an input is. It is `broken` if a record has changed
  but states that it is older than the job, unless the record is the one that git has at the checked-out commit.

The metadata cover only what Snakemake did. There is no link for a file that another process made, or that a job found
current and kept; nor in a clone, which has no metadata; nor after `--cleanup-metadata`. A file that was touched no
longer counts as its job left it.
"""

import base64
import binascii
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from reweigh import canonical_json
from reweigh.config.grid import Config
from reweigh.config.names import ArtifactName, RunName
from reweigh.digest import digest, file_digest
from reweigh.errors import ReweighError
from reweigh.planning import notes
from reweigh.planning.jobs import ArtifactJob, Flow
from reweigh.provenance.audit.links import Link
from reweigh.records.commit import git
from reweigh.records.staleness import drawn_by

FORMAT = 6  # `record_format_version` of the metadata that Snakemake 9 writes
CLOCKS_SECONDS = 60  # the clocks of two machines, or of a file server, may differ by this much
ROUNDING_SECONDS = 1  # records state whole seconds
STORE = ".snakemake/metadata"
NOTES = f"{notes.FOLDER}/"  # inputs that only say why a job ran
UNFINISHED = ("unverifiable", "Snakemake started to make it again, and that job has not ended")

Records = dict[str, dict[str, Any]]


def check_snakemake_metadata(config: Config, records: Records, root: Path) -> Iterator[Link]:
    """Links of kind `snakemake`, for the files of the scales of `records` (the sound ones, by run)."""
    scales = {RunName.parse(run).scale for run in records}
    folders = tuple(f"{top}/{scale}/" for top in ("results", "figures", "data/splits") for scale in scales)
    metadata = Metadata(root, folders)
    for name, reason in metadata.unread:
        yield Link("snakemake", name, "unverifiable", reason)
    for run in records:
        if verdict := _record(run, records, metadata):
            yield Link("snakemake", run, *verdict)
    for path in sorted({*metadata.jobs, *metadata.unfinished}):
        verdict = None
        if path.startswith("data/splits/") and path.endswith(".npz"):
            verdict = _split(path, metadata)
        elif path.endswith(".csv"):
            verdict = _rendered(path, metadata, records, config)
        if verdict:
            yield Link("snakemake", path, *verdict)


# --- reading the metadata --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """The job that made a file. Times are seconds since 1970; `ended` is the file's time of modification."""

    params: tuple[str, ...]  # reprs, without names
    command: str
    started: float
    ended: float
    checksums: dict[str, str]

    def arguments(self, command: str) -> list[str]:
        """The names of runs or splits after `reweigh train` or `reweigh split` in the job's shell command."""
        words = self.command.partition(f"reweigh {command} ")[2].partition(" > ")[0].split()
        return [word for before, word in zip(["", *words], words, strict=False) if "/" in word and before != "--log"]

    def asked_for(self, digests: list[str]) -> bool:
        """Whether the digest of these digests is among the job's params."""
        return repr(digest(digests)) in self.params


class Metadata:
    """Snakemake's metadata of a project, for the files below some folders (`results/paper/`, ...).

    `jobs` are by file. `unfinished` are files whose job has started and not ended; `unread` names metadata that could
    not be read, each with the reason.
    """

    def __init__(self, root: Path, below: tuple[str, ...]) -> None:
        self.root, self.below = root, below
        self.jobs: dict[str, Job] = {}
        self.unfinished = set(self._files(root / ".snakemake/incomplete"))
        self.unread: list[tuple[str, str]] = []
        self._digests: dict[str, str] = {}
        reasons: Counter[str] = Counter()
        files = self._files(root / STORE)
        for path, file in files.items():
            try:
                entry = canonical_json.read(file)
                self.jobs[path] = _job(entry)
                if entry["incomplete"]:
                    self.unfinished.add(path)
            except OSError:
                continue  # Snakemake is running and has just deleted it
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                reasons[str(error) if isinstance(error, _UnknownFormat) else "they are damaged"] += 1
        for reason, count in reasons.items():
            self.unread.append((STORE, f"{count} of {len(files)} files cannot be used: {reason}"))
        if not files and (root / f"{STORE}.db").is_file():
            self.unread.append(
                (f"{STORE}.db", "Snakemake keeps its metadata in a database, which the audit cannot read")
            )

    def as_left(self, path: str) -> bool:
        """Whether a file was neither written nor touched since its job ended."""
        try:
            return abs((self.root / path).stat().st_mtime - self.jobs[path].ended) < 1e-3
        except (FileNotFoundError, KeyError):
            return False

    def digest_of(self, path: str) -> str:
        """The sha256 of a file, computed once; empty if it does not exist."""
        if path not in self._digests:
            file = self.root / path
            self._digests[path] = file_digest(file) if file.is_file() else ""
        return self._digests[path]

    def _files(self, folder: Path) -> dict[str, Path]:
        """The metadata files in a folder, by the file that each is about.

        Their names are that file's path in base64; long ones are cut into folders whose names begin with @.
        """
        files = {}
        for file in folder.rglob("*"):
            try:
                name = "".join(part.removeprefix("@") for part in file.relative_to(folder).parts)
                path = base64.urlsafe_b64decode(name).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue
            if path.startswith(self.below) and file.is_file():
                files[path] = file
        return files


class _UnknownFormat(ValueError):
    """Metadata of a version of Snakemake that this module cannot read."""


def _job(entry: dict[str, Any]) -> Job:
    if entry["record_format_version"] != FORMAT:
        version = entry["record_format_version"]
        raise _UnknownFormat(f"they have Snakemake's record format {version}; the audit reads format {FORMAT}")
    return Job(
        params=tuple(entry["params"]),
        command=entry["shellcmd"] or "",
        started=float(entry["starttime"]),
        ended=float(entry["endtime"]),
        checksums={path: one for path, one in (entry["input_checksums"] or {}).items() if not path.startswith(NOTES)},
    )


# --- comparing it with the files -------------------------------------------------------------------------------------


def _record(run: str, records: Records, metadata: Metadata) -> tuple[str, str] | None:
    """Whether a record agrees with the metadata: state and detail; None if they do not cover it."""
    path = f"results/{run}.json"
    if path in metadata.unfinished:
        return UNFINISHED
    if (job := metadata.jobs.get(path)) is None:
        return None
    ended, job_ended = _ended(records[run]), _date(job.ended)
    if ended > job.ended + (CLOCKS_SECONDS if metadata.as_left(path) else ROUNDING_SECONDS):
        times = f"it says that it ended at {records[run]['ended']}; Snakemake saw it finished at {job_ended}"
        if metadata.as_left(path):
            times += ", and nothing has written it since"
            return "unverifiable", f"{times}: the clock of the machine that trained it was wrong, or it was altered"
        return "unverifiable", f"{times}: something else has written it since"
    if _is_older(records[run], job):
        return None
    runs = job.arguments("train")
    if run not in runs:
        return "broken", f"the job that made it, which ended at {job_ended}, trained other runs"
    if any(name not in records for name in runs):
        return "intact", ""
    different = [part for part, of in PARTS.items() if not job.asked_for([of(records[name]) for name in runs])]
    if not different:
        return "intact", ""
    if any(_is_older(records[name], job) or _ended(records[name]) > job.ended + ROUNDING_SECONDS for name in runs):
        return None  # the job kept one of these records, or one was made since: the params are not about them all
    others = f" (or one of the {len(runs)} records of its job)" if len(runs) > 1 else ""
    return "broken", (
        f"it{others} has another {' and '.join(different)} than the job that made it, which ended at {job_ended}; "
        "if something was edited while Snakemake ran, call Snakemake again, else train it again"
    )


PARTS = {
    "spec": lambda body: body["spec_digest"],
    "code": lambda body: body["code"]["digest"],
    "split": lambda body: body["split"]["recipe_digest"],
}


def _split(path: str, metadata: Metadata) -> tuple[str, str] | None:
    """Whether a split's .json, which names the recipe that it was drawn by, agrees with the metadata."""
    if path in metadata.unfinished:
        return UNFINISHED if (metadata.root / path).is_file() else None
    job = metadata.jobs[path]
    reports = [f"data/splits/{name}.json" for name in job.arguments("split")]
    if not all(metadata.as_left(report) for report in reports):
        return None
    if job.asked_for([drawn_by(metadata.root / report) for report in reports]):
        return "intact", ""
    others = f" (or one of the {len(reports)} splits of its job)" if len(reports) > 1 else ""
    return "broken", f"it{others} has another recipe than the job that made it"


def _rendered(path: str, metadata: Metadata, records: Records, config: Config) -> tuple[str, str] | None:
    """Whether a figure or the scorecard, by its csv, agrees with the metadata."""
    if path in metadata.unfinished:
        return UNFINISHED if (metadata.root / path).is_file() else None
    job = metadata.jobs[path]
    if not metadata.as_left(path):
        return None
    changed = []
    for input_path, checksum in job.checksums.items():
        algorithm, _, then = checksum.rpartition(":")
        now = metadata.digest_of(input_path)
        if algorithm not in ("", "sha256") or now == then:
            continue
        changed.append(input_path)
        run = input_path.removeprefix("results/").removesuffix(".json")
        if now and run in records and _ended(records[run]) <= job.started and not _committed(input_path, metadata.root):
            digests = f"which had sha256 {then[:12]} at {_date(job.started)} and now has {now[:12]}"
            return "broken", f"made from {input_path}, {digests}, though it states that it is older: it was altered"
    if absent := [input_path for input_path in changed if not metadata.digest_of(input_path)]:
        return "missing", f"made from {absent[0]}, which does not exist"
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        return "stale", f"changed since it was made: {changed[0]}{more}"
    if path.startswith("figures/") and not _rendered_as_today(path, job, config):
        return "stale", "Snakemake had it rendered by other code, config or records than today's"
    return "intact", ""


def _rendered_as_today(path: str, job: Job, config: Config) -> bool:
    """Whether the params of a figure's job are those of today. (A scorecard's depend on the options of the call.)"""
    artifact = ArtifactName.parse(path)
    try:
        job_today = ArtifactJob(Flow(config), artifact.paper, artifact.name)
        today = job_today.rendering_digest(SimpleNamespace(scale=artifact.scale))
    except ReweighError:
        return False
    return repr(today) in job.params


def _committed(path: str, root: Path) -> bool:
    """Whether a file is the one in the checked-out commit: then git may have restored an older one."""
    committed = git(root, "rev-parse", "--verify", "--quiet", f"HEAD:./{path}")
    return bool(committed) and committed == git(root, "hash-object", "--", path)


def _is_older(body: dict[str, Any], job: Job) -> bool:
    """Whether a record is older than the job: the job kept it, or failed and Snakemake restored it."""
    return _ended(body) < job.started - ROUNDING_SECONDS


def _ended(body: dict[str, Any]) -> float:
    """When a run ended, by its record: seconds since 1970."""
    return datetime.strptime(body["ended"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
