"""Records and attestations: whether each agrees with itself, with today's config and with today's code."""

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from reweigh.config.grid import Config
from reweigh.config.names import RunName
from reweigh.data.obtain import recipe_digest
from reweigh.digest import digest
from reweigh.errors import ConfigError, RecordError, ReweighError
from reweigh.os_errors import UnseenError
from reweigh.provenance import record_schema, retraining
from reweigh.provenance.audit import attestation_facts, traces
from reweigh.provenance.audit.committed import unlike_git
from reweigh.provenance.audit.duplicates import duplicate_results
from reweigh.provenance.audit.links import Link, with_progress
from reweigh.provenance.audit.seconds import out_of_time
from reweigh.provenance.audit.side_by_side import Check, answers
from reweigh.provenance.consistency import CLOCK_SKEW, contradictions, doubts
from reweigh.records import attestations, record
from reweigh.records.history import History
from reweigh.terminal import printable

Records = dict[str, dict[str, Any]]
Faults = dict[str, tuple[str, str]]  # by run: a state, and what is wrong
RECORDS_A_CHECK, RECORDS_A_SECOND = 200, 700
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def check_records(
    config: Config, scale: str, root: Path, attested: attestations.Attestations, git_has: History | None = None
) -> tuple[Records, list[Link]]:
    """The sound records of a scale by run, and the links of all. A broken record cannot show that others are sound."""
    bodies: Records = {}
    links: list[Link] = []
    files = record.files_of(scale, root)
    linked = _linked(files)
    for run, path in with_progress(files.items(), "records"):
        if run in linked:
            links.append(Link("record", run, "broken", linked[run]))
            continue
        try:
            bodies[run] = record.read(path)
        except RecordError as error:
            state = "unverifiable" if isinstance(error, UnseenError) else "broken"
            links.append(Link("record", run, state, str(error)))
    links += answers(_checks(config, bodies, root, attested), "records")
    contradictory = {link.name for link in links if link.kind == "record" and link.state == "broken"}
    sound = {run: body for run, body in bodies.items() if run not in contradictory}
    intact = {link.name for link in links if link.kind == "trace" and link.state == "intact"}
    among = {"record": _among(sound, root, git_has), "trace": _broken(traces.duplicate_traces(sound, root, intact))}
    links = [_unless_at_fault(link, among.get(link.kind, {})) for link in links]
    links += traces.without_record(scale, root)
    broken = {run for run, (state, _) in among["record"].items() if state == "broken"}
    return {run: body for run, body in sound.items() if run not in broken}, links


def _checks(config: Config, bodies: Records, root: Path, attested: attestations.Attestations) -> list[Check]:
    """A check of every so many records, each by itself."""
    for body in bodies.values():
        with contextlib.suppress(Exception):  # the file may hold anything; its own check says what is wrong
            record.code_files(body["spec"])  # digested here, once for all processes that will be forked
    runs = list(bodies)
    parts = [runs[start : start + RECORDS_A_CHECK] for start in range(0, len(runs), RECORDS_A_CHECK)]

    def links(part: list[str]) -> Iterator[Link]:
        for run in part:
            yield from _links(config, run, bodies[run], root, attested)

    return [Check(partial(links, part), len(part) / RECORDS_A_SECOND) for part in parts]


def _links(
    config: Config, run: str, body: dict[str, Any], root: Path, attested: attestations.Attestations
) -> list[Link]:
    """The links of one record; a broken one has no others."""
    try:
        fault = _misplaced(run, body) or "; ".join(contradictions(body) or record_schema.faults(body))
        doubt = "" if fault else "; ".join(doubts(body))
        parts = [] if fault else list(_parts(config, run, body, root, attested))
    except Exception as error:  # the file may hold anything; the audit must go on
        fault, doubt, parts = f"it does not have the form of a record ({error!r})", "", []
    state = "broken" if fault else "unverifiable" if doubt else "intact"
    return [Link("record", run, state, fault or doubt), *parts]


def _among(records: Records, root: Path, git_has: History | None) -> Faults:
    """What is wrong with records that agree with themselves: beside each other, and beside those that git has."""
    unlike = unlike_git(records, root, git_has) if git_has else {}
    slow = {run: ("unverifiable", doubt) for run, doubt in out_of_time(records).items()}
    return {**slow, **unlike, **_broken(duplicate_results(records))}


def _broken(faults: dict[str, str]) -> Faults:
    return {name: ("broken", fault) for name, fault in faults.items()}


def _unless_at_fault(link: Link, faults: Faults) -> Link:
    """The link, or the same in the worse state that a comparison with others gives it."""
    order = ("intact", "unverifiable", "broken")
    state, detail = faults.get(link.name, ("intact", ""))
    if link.state not in order or order.index(state) <= order.index(link.state):
        return link
    return link._replace(state=state, detail=detail)


def _linked(files: Mapping[str, Path]) -> dict[str, str]:
    """The runs whose record is no file of its own, each with what it is: its content is that of another place."""
    first: dict[tuple[int, int], str] = {}
    found = {}
    for run, path in files.items():
        try:
            about = path.lstat()
        except OSError:  # gone, or hidden: reading it says why
            continue
        if stat.S_ISLNK(about.st_mode):
            found[run] = f"it is a link to {printable(os.readlink(path))}, and not a file of its own"
        elif about.st_nlink > 1 and (other := first.setdefault((about.st_dev, about.st_ino), run)) != run:
            found[run] = f"it is the same file as the record of {other}, under a second name"
    return found


def _misplaced(run: str, body: dict[str, Any]) -> str:
    """What is wrong with a record that states another run than its path does; empty if it is where it belongs."""
    same = body["run"] == run and str(RunName.of_spec(body["spec"])) == run
    return "" if same else f"it is the record of {body['run']}, moved here"


def _parts(
    config: Config, run: str, body: dict[str, Any], root: Path, attested: attestations.Attestations
) -> Iterator[Link]:
    """What one record states about its spec, code, split recipe and trace, against those of today."""
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
        return Link("spec", run, "stale", f"the config has changed: {', '.join(changed)}")
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
    return _moved("code", run, f"changed since: {', '.join(changed)}", step, attested)


def _recipe(run: str, body: dict[str, Any], root: Path, attested: attestations.Attestations) -> Link:
    try:
        now = recipe_digest(body["spec"], root / "data")
    except (ReweighError, OSError, ValueError, LookupError, ImportError) as error:
        return Link("recipe", run, "unverifiable", f"{type(error).__name__}: {error}")
    then = body["split"]["recipe_digest"]
    if now == then:
        return Link("recipe", run, "intact")
    reason = "the split's recipe, the code that draws it or the raw files' digests in the manifest have changed"
    return _moved("recipe", run, reason, attested.step(body["digest"], "split", then, now), attested)


def _moved(
    kind: str, run: str, reason: str, step: attestations.Step | None, attested: attestations.Attestations
) -> Link:
    """A link whose digest is not today's: attested if an attestation leads from it to today's, else stale.

    It is unverifiable while there are attestations that cannot be looked at.
    """
    if step:
        return Link(kind, run, "attested", f"{reason}; {step.text}")
    if hidden := next(iter(attested.unseen.values()), ""):
        return Link(kind, run, "unverifiable", f"{reason}; an attestation might cover it: {hidden}")
    return Link(kind, run, "stale", reason)


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
    """One link for each attestation of a scale: whether it is unaltered, and agrees with itself and its records."""
    for name in attested.of_scale(scale):
        if name in attested.refused:
            state = "unverifiable" if name in attested.unseen else "broken"
            yield Link("attestation", name, state, attested.refused[name])
            continue
        try:
            body = attestations.read(root / name)
            faults = [*_contradicts_itself(name, body), *_contradicts_records(body, records, attested)]
            faults += attestation_facts.contradictions(name, body, records)
            contradicted, unshown = ([], []) if faults else attestation_facts.against_git(body, records, root)
            faults += contradicted
            outdated = [] if faults else _other_records(body, records)
        except (RecordError, ConfigError, *UNREADABLE) as error:
            faults, outdated, unshown = [f"it does not have the form of an attestation ({error!r})"], [], []
        state = "broken" if faults else "stale" if outdated else "unverifiable" if unshown else "intact"
        yield Link("attestation", name, state, "; ".join(faults + outdated + unshown))


def _contradicts_itself(name: str, body: dict[str, Any]) -> Iterator[str]:
    """What in an attestation contradicts the rest of it."""
    expected = f"{body['date'][:10]}-{body['digest'][:12]}.json"
    if Path(name).name != expected:
        yield f"by its date and digest its name should be {expected}"
    if datetime.fromisoformat(body["date"]) > datetime.now(UTC) + CLOCK_SKEW:
        yield f"its date, {body['date']}, is in the future"
    if same := [edit["then"][:12] for part in attestations.PARTS for edit in body[part] if edit["then"] == edit["now"]]:
        yield f"it names an edit that did not change the digest {same[0]}"
    sample = body["sample"]
    covered = {run for edit in body["code"] for run in edit["covers"]}
    retrained = {run for edit in body["code"] for run in edit["again"]}
    if uncovered := sorted(retrained - covered):
        yield f"{uncovered[0]} was trained again, but is not covered"
    if len(retrained) != sample["runs"]:
        yield f"it states a sample of {sample['runs']} runs and names {len(retrained)}"
    if len(covered) != sample["of"]:
        yield f"it states {sample['of']} records stale by code and covers {len(covered)}"
    if sample["runs"] < min(sample["asked"], sample["of"]) or sample["runs"] > sample["of"]:
        yield f"a sample of {sample['runs']} of {sample['of']} where {sample['asked']} were asked for"
    if any(not edit["again"] for edit in body["code"]):
        yield "it accepts an edit of which no run was trained again"
    if sample["outcome"] != "bit-equal":
        yield f"its outcome is {sample['outcome']!r}"


def _contradicts_records(body: dict[str, Any], records: Records, attested: attestations.Attestations) -> Iterator[str]:
    """What in an attestation contradicts the records that it covers, as far as these exist."""
    date = datetime.fromisoformat(body["date"])
    for part, edits in (("code", body["code"]), ("split", body["split"])):
        for edit in edits:
            for run, stated in edit["covers"].items():
                if run not in records or records[run]["digest"] != stated:
                    continue
                then = records[run]["code"]["digest"] if part == "code" else records[run]["split"]["recipe_digest"]
                reached = {then, *(step.now for step in attested.chain(stated, part, then))}
                if edit["then"] not in reached:
                    yield f"{run} was not made by the {part} that it names"
                if datetime.fromisoformat(records[run]["ended"]) > date:
                    yield f"it is older than the record of {run}"
                outcome = digest(retraining.outcome(records[run]))
                if part == "code" and edit["again"].get(run, outcome) != outcome:
                    yield f"{run} did not come out as its record says"


def _other_records(body: dict[str, Any], records: Records) -> list[str]:
    """What is wrong if it covers other records than those that exist and are older than it."""
    others = [
        run
        for part in ("code", "split")
        for edit in body[part]
        for run, stated in edit["covers"].items()
        if run in records and records[run]["digest"] != stated and records[run]["ended"] <= body["date"]
    ]
    return [f"it covers another record of {others[0]} than the one that exists"] if others else []
