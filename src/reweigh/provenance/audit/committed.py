"""Records against those that git has: what was removed, written anew, or is older than the code that it names.

The digest in a record shows that it is whole, and not that it is the one that was left. Git has what was committed, and
a commit cannot be changed without its name. Without git, or with a shallow clone, less is found.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.config.grid import Config
from reweigh.digest import digest
from reweigh.errors import ConfigError
from reweigh.provenance import retraining
from reweigh.provenance.audit.commits import commit_times
from reweigh.provenance.audit.links import Link
from reweigh.provenance.audit.looking import looked
from reweigh.provenance.consistency import CLOCK_SKEW
from reweigh.records import record
from reweigh.records.history import History, blob_of, contents

Body = dict[str, Any]
Records = dict[str, Body]
Fault = tuple[str, str]  # a state, and what is wrong
# What two records of the same training on the same platform have in common.
TRAINING = (("spec_digest",), ("code", "digest"), ("split", "digest"))


def unlike_git(records: Records, root: Path, history: History) -> dict[str, Fault]:
    """The runs whose record is not what git knows of it, each with the state of its link and what is wrong."""
    made = commit_times({body["git"]["commit"] for body in records.values() if body["git"]["commit"]}, root)
    here = {run: _blob(run, root, history.blobs(run)) for run in records}
    others = {run: [blob for blob in history.blobs(run) if blob != here[run]] for run in records}
    bodies = {
        blob: _parsed(text)
        for blob, (_, text) in contents(root, [blob for blobs in others.values() for blob in blobs]).items()
    }
    found = {}
    for run, body in records.items():
        before = [(blob, other) for blob in others[run] if (other := bodies.get(blob))]
        fault = _older(body, made) or _younger(run, body, here[run], history)
        if fault := fault or _rewritten(run, body, before, history):
            found[run] = fault
    return found


def removed(config: Config, root: Path, history: History, grid: Collection[str]) -> Iterator[Link]:
    """A link for each run of the grid that git has a record of, and the project none.

    One whose spec the config has changed since was rightly removed: it is no answer to what is asked now.
    """
    absent = {run: verdict for run in grid if history.blobs(run) and (verdict := absence(run, root))}
    yield from (Link("record", run, *verdict) for run, verdict in sorted(absent.items()) if verdict[0] != "missing")
    gone = {run: history.blobs(run)[0] for run, (state, _) in absent.items() if state == "missing"}
    bodies = contents(root, list(gone.values()))
    for run, blob in sorted(gone.items()):
        body = _parsed(bodies[blob][1]) if blob in bodies else None
        try:
            asked_again = body is None or body["spec_digest"] == digest(config.resolve(run))
        except (ConfigError, LookupError, TypeError):
            continue
        if asked_again:
            where = "HEAD has it" if run in history.head else f"commit {_remover(history, run)} removed it"
            yield Link("record", run, "missing", f"it does not exist, but {where}")


def _remover(history: History, run: str) -> str:
    """The latest commit without the run's record whose parent had it."""
    versions = history.versions[run]
    return next((version.commit for version in versions if version.blob is None), versions[0].commit)[:12]


def absence(run: str, root: Path) -> Fault | None:
    """Whether a run's record is missing, or in a folder that the system hides; None if it is there."""

    def check() -> Fault | None:
        try:
            record.record_path(run, root).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return "missing", "it does not exist"
        return None

    return looked(check)


def _blob(run: str, root: Path, known: list[str]) -> str:
    """The id that git would give to a run's record; empty where it knows none of it, or the record is gone by now."""
    try:
        return blob_of(record.record_path(run, root).read_bytes(), known[0]) if known else ""
    except OSError:
        return ""


def _parsed(content: bytes) -> Body | None:
    """A record of an earlier commit; None if it is none that can be read."""
    try:
        body = canonical_json.parse(content)
        return body if body.keys() >= record.KEYS else None
    except ValueError:
        return None


# --- times -----------------------------------------------------------------------------------------------------------


def _seconds(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _older(body: Body, made: dict[str, int]) -> Fault | None:
    """A run that names a commit younger than itself. One that was stopped names that of its last part."""
    commit, key = body["git"]["commit"], "ended" if body.get("resumed") else "started"
    if commit in made and _seconds(body[key]) < made[commit] - CLOCK_SKEW.total_seconds():
        return "broken", f"{key} {body[key]}, but its commit {commit[:12]} was made at {_text(made[commit])}"
    return None


def _younger(run: str, body: Body, blob: str, history: History) -> Fault | None:
    """A run that ended after a commit that has its record."""
    first = min((version for version in history.versions.get(run, ()) if version.blob == blob),
                key=lambda version: version.time, default=None)  # fmt: skip
    if first and _seconds(body["ended"]) > first.time + CLOCK_SKEW.total_seconds():
        return "broken", f"ended {body['ended']}, but commit {first.commit[:12]} has it since {_text(first.time)}"
    return None


# --- other versions --------------------------------------------------------------------------------------------------


def _rewritten(run: str, body: Body, before: list[tuple[str, Body]], history: History) -> Fault | None:
    """A record that says other things than another version of it, which is of the same training."""
    for blob, other in before:
        try:
            if other["ended"] == body["ended"]:
                if different := _differences(other, body):
                    return "broken", f"it is not the record that {_where(blob, run, history)} has: {different[0]}"
            elif _same_training(other, body) and (
                different := retraining.differences(retraining.outcome(other), retraining.outcome(body))
            ):
                said = f"the same training came out otherwise in {_where(blob, run, history)}: {different[0]}"
                return ("broken" if _knows_its_instructions(body) else "unverifiable"), said
        except (LookupError, TypeError, AttributeError):  # an earlier version may be anything
            continue
    return None


def _differences(then: Body, now: Body) -> list[str]:
    """Where two records differ; if they are of two versions of the form, in what was computed and took how long."""
    if then["record_version"] == now["record_version"]:
        one, two = ({key: value for key, value in body.items() if key != "digest"} for body in (then, now))
    else:
        one, two = ({**retraining.outcome(body), "seconds": body["seconds"]} for body in (then, now))
    return retraining.differences(one, two)


def _same_training(then: Body, now: Body) -> bool:
    """Whether two records are of one spec, code and split, on platforms that round alike."""
    alike = all(_at(then, *keys) == _at(now, *keys) for keys in TRAINING)
    return alike and retraining.is_same(retraining.platform(then), retraining.platform(now))


def _knows_its_instructions(body: Body) -> bool:
    """Whether a record tells enough of its platform that another result on the same one is none of rounding."""
    return body["device"]["kind"] == "cpu" and body["device"].get("capability") is not None


def _at(body: Body, *keys: str) -> Any:
    for key in keys:
        body = body[key]
    return body


def _where(blob: str, run: str, history: History) -> str:
    if history.head.get(run) == blob:
        return "HEAD"
    oldest = [version.commit for version in history.versions[run] if version.blob == blob][-1]
    return f"commit {oldest[:12]}"
