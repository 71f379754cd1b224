"""The middle of the chain, as an audit checks it: what each record says of itself, and what it was made by."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reweigh.config.grid import Config
from reweigh.config.names import RunName
from reweigh.data.obtain import recipe_digest
from reweigh.digest import digest
from reweigh.errors import ConfigError, RecordError, ReweighError
from reweigh.provenance import record_schema, retraining
from reweigh.provenance.audit import traces
from reweigh.provenance.audit.duplicates import copies
from reweigh.provenance.audit.links import Link, watched
from reweigh.provenance.consistency import CLOCK_SKEW, contradictions
from reweigh.records import attestations, record

Records = dict[str, dict[str, Any]]
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def check_records(
    config: Config, scale: str, root: Path, attested: attestations.Attestations
) -> tuple[Records, list[Link]]:
    """The sound records of a scale by run, and the links of all of them. A broken record is no evidence of anything."""
    sound: Records = {}
    links: list[Link] = []
    for path in watched(sorted((root / "results" / scale).glob("*/*/*/*/seed*.json")), "records"):
        run = path.relative_to(root / "results").with_suffix("").as_posix()
        try:
            body = record.read(path)
        except RecordError as error:
            links.append(Link("record", run, "broken", str(error)))
            continue
        try:
            wrong = _moved_here(run, body) or "; ".join(contradictions(body) or record_schema.faults(body))
            found = [] if wrong else list(_of_one(config, run, body, root, attested))
        except Exception as error:  # of a file that is no record, whatever it holds: no end of the audit
            wrong, found = f"it is not what a record holds ({error!r})", []
        if not wrong:
            sound[run] = body
        links += [Link("record", run, "broken" if wrong else "intact", wrong), *found]
    copied = {"record": copies(sound), "trace": traces.copies(sound, root)}
    links = [_unless_copied(link, copied) for link in links]
    links += traces.left_over(scale, root)
    return {run: body for run, body in sound.items() if run not in copied["record"]}, links


def _unless_copied(link: Link, copied: dict[str, dict[str, str]]) -> Link:
    why = copied.get(link.kind, {}).get(link.name)
    return link._replace(state="broken", detail=why) if why and link.state == "intact" else link


def _moved_here(run: str, body: dict[str, Any]) -> str:
    """A record that was copied to another run's place says another name than its path."""
    same = body["run"] == run and str(RunName.of_spec(body["spec"])) == run
    return "" if same else f"it is the record of {body['run']}, moved here"


def _of_one(
    config: Config, run: str, body: dict[str, Any], root: Path, attested: attestations.Attestations
) -> Iterator[Link]:
    """What one record states about its spec, code, split recipe and trace, against what is there now."""
    yield _spec(config, run, body)
    yield _code(run, body, attested)
    yield _recipe(run, body, root, attested)
    yield from traces.check_trace(run, body, root)


def _spec(config: Config, run: str, body: dict[str, Any]) -> Link:
    try:
        changed = changes(body["spec"], config.resolve(run))
    except ConfigError as error:
        return Link("spec", run, "stale", f"the config has no such run now ({error})")
    if changed:
        return Link("spec", run, "stale", f"the config says otherwise now: {', '.join(changed)}")
    return Link("spec", run, "intact")


def _code(run: str, body: dict[str, Any], attested: attestations.Attestations) -> Link:
    then = body["code"]["files"]
    try:
        now = record.code_files(body["spec"])
    except ModuleNotFoundError as error:
        return Link("code", run, "stale", str(error))
    changed = sorted(name for name in {*now, *then} if now.get(name) != then.get(name))
    if not changed:
        return Link("code", run, "intact")
    step = attested.step(body["digest"], "code", body["code"]["digest"], digest(now))
    return _moved("code", run, f"changed since: {', '.join(changed)}", step)


def _recipe(run: str, body: dict[str, Any], root: Path, attested: attestations.Attestations) -> Link:
    try:
        now = recipe_digest(body["spec"], root / "data")
    except (ReweighError, OSError, ValueError, LookupError, ImportError) as error:
        return Link("recipe", run, "unverifiable", f"{type(error).__name__}: {error}")
    then, why = body["split"]["recipe_digest"], "the split's recipe, its code or the manifest's promise has changed"
    if now == then:
        return Link("recipe", run, "intact")
    return _moved("recipe", run, why, attested.step(body["digest"], "split", then, now))


def _moved(kind: str, run: str, why: str, step: attestations.Step | None) -> Link:
    """A link whose digest is not today's: attested by a step that leads there, else stale."""
    return Link(kind, run, "attested", f"{why}; {step.text}") if step else Link(kind, run, "stale", why)


def changes(then: Any, now: Any, path: str = "") -> list[str]:
    """Where two specs differ: `training.epochs 10 -> 20`."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = [*then, *(key for key in now if key not in then)]
        return [
            change
            for key in keys
            for change in changes(then.get(key), now.get(key), f"{path}.{key}" if path else str(key))
        ]
    return [] if then == now and type(then) is type(now) else [f"{path} {then} -> {now}"]


# --- attestations ----------------------------------------------------------------------------------------------------


def check_attestations(attested: attestations.Attestations, scale: str, root: Path, records: Records) -> Iterator[Link]:
    """One link for each attestation of a scale: that it is what was written, and fits itself and its records."""
    for name in attested.files:
        if name.split("/")[1] != scale:
            continue
        if name in attested.refused:
            yield Link("attestation", name, "broken", attested.refused[name])
            continue
        try:
            body = attestations.read(root / name)
            wrong = [*_unlike_itself(name, body), *_unlike_its_records(body, records, attested)]
            stale = [] if wrong else _older_records(body, records)
        except (RecordError, *UNREADABLE) as error:
            wrong, stale = [f"it is not what an attestation holds ({error!r})"], []
        yield Link("attestation", name, "broken" if wrong else "stale" if stale else "intact", "; ".join(wrong + stale))


def _unlike_itself(name: str, body: dict[str, Any]) -> Iterator[str]:
    """What in an attestation contradicts the rest of it."""
    expected = f"{body['date'][:10]}-{body['digest'][:12]}.json"
    if name.rpartition("/")[2] != expected:
        yield f"by its date and digest it should be called {expected}"
    if datetime.fromisoformat(body["date"]) > datetime.now(UTC) + CLOCK_SKEW:
        yield f"its date, {body['date']}, is in the future"
    if same := [edit["then"][:12] for part in attestations.PARTS for edit in body[part] if edit["then"] == edit["now"]]:
        yield f"it speaks of an edit that left the digest {same[0]} as it was"
    sample = body["sample"]
    covered = {run for edit in body["code"] for run in edit["covers"]}
    again_ = {run for edit in body["code"] for run in edit["again"]}
    if other := sorted(again_ - covered):
        yield f"{other[0]} was trained again, but is not covered"
    if len(again_) != sample["runs"]:
        yield f"it states a sample of {sample['runs']} runs and names {len(again_)}"
    if len(covered) != sample["of"]:
        yield f"it states {sample['of']} records stale by code and covers {len(covered)}"
    if sample["runs"] < min(sample["asked"], sample["of"]) or sample["runs"] > sample["of"]:
        yield f"a sample of {sample['runs']} of {sample['of']} where {sample['asked']} were asked for"
    if any(not edit["again"] for edit in body["code"]):
        yield "it accepts an edit of which no run was trained again"
    if sample["outcome"] != "bit-equal":
        yield f"its outcome is {sample['outcome']!r}"


def _unlike_its_records(body: dict[str, Any], records: Records, attested: attestations.Attestations) -> Iterator[str]:
    """What in an attestation contradicts the records that it covers, as far as they are there."""
    date = datetime.fromisoformat(body["date"])
    for part, edits in (("code", body["code"]), ("split", body["split"])):
        for edit in edits:
            for run, stated in edit["covers"].items():
                if run not in records or records[run]["digest"] != stated:
                    continue
                then = records[run]["code"]["digest"] if part == "code" else records[run]["split"]["recipe_digest"]
                reached = {then, *(step.now for step in attested.chain(stated, part, then))}
                if edit["then"] not in reached:
                    yield f"{run} was not made by the {part} that it speaks of"
                if datetime.fromisoformat(records[run]["ended"]) > date:
                    yield f"it is older than the record of {run}"
                if (
                    part == "code"
                    and edit["again"].get(run, outcome := digest(retraining.outcome(records[run]))) != outcome
                ):
                    yield f"{run} did not come out as its record says"


def _older_records(body: dict[str, Any], records: Records) -> list[str]:
    """Records that were there when it was written, and are not those that it covers."""
    others = [
        run
        for part in ("code", "split")
        for edit in body[part]
        for run, stated in edit["covers"].items()
        if run in records and records[run]["digest"] != stated and records[run]["ended"] <= body["date"]
    ]
    return [f"it covers another record of {others[0]} than the one that is there"] if others else []
