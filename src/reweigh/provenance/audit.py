"""The audit: recompute what can be recomputed, and name every link of the chain that does not hold.

    report = audit(["paper"])
    show(report)                     # counts, and every link that is at fault
    report.exit_code                 # 0, or 1 where a link is broken, stale or missing

A link is `intact`; `attested` (the code has changed since, and an attestation says that it changed no number); `stale`
(sound, but today's config, code or data may give another); `broken` (altered since it was made); `missing` (named by
another link, and not there); or `unverifiable` (nothing here to check it against).
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from reweigh import attestations, record
from reweigh.config import Config, load
from reweigh.config.specs import SCALES
from reweigh.config.words import lookup
from reweigh.data.obtain import recipe_digest
from reweigh.digest import digest
from reweigh.errors import ConfigError, RecordError
from reweigh.provenance.drawn import check_figures, check_scorecard
from reweigh.provenance.sources import check_sources

STATES = ("intact", "attested", "stale", "broken", "missing", "unverifiable")
SOUND = ("intact", "attested")
FAILING = ("stale", "broken", "missing")
KINDS = ("record", "spec", "code", "recipe", "trace", "split", "raw", "figure", "scorecard", "attestation")


class Link(NamedTuple):
    """One link: what kind, which one, its state, and what is wrong with it or attested of it (empty if intact)."""

    kind: str
    name: str
    state: str
    detail: str = ""


@dataclass
class Report:
    """What an audit of one scale found. `absent` are runs of the grid that nobody has made: no link, so no fault."""

    scale: str
    links: list[Link] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """`{"record": {"intact": 80}, ...}`, in the order of the chain."""
        counted = {kind: Counter(link.state for link in self.links if link.kind == kind) for kind in KINDS}
        return {kind: {state: count[state] for state in STATES if count[state]} for kind, count in counted.items()}

    @property
    def faults(self) -> list[Link]:
        """Every link that is neither intact nor attested, in the order of the chain."""
        order = {kind: place for place, kind in enumerate(KINDS)}
        return sorted((link for link in self.links if link.state not in SOUND), key=lambda one: (order[one.kind], one))

    @property
    def exit_code(self) -> int:
        return int(any(link.state in FAILING for link in self.links))

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, the same bytes for the same state of the project."""
        return {
            "scale": self.scale,
            "verdict": "unbroken" if self.exit_code == 0 else "broken, stale or missing links",
            "counts": self.counts,
            "faults": [link._asdict() for link in self.faults],
            "runs_without_record": len(self.absent),
        }


def audit(scale: str, root: str | Path = ".", redraw: bool = True) -> Report:
    """Check every record of a scale, what it names, and every figure and the scorecard made from it.

    `redraw=False` leaves out drawing the splits again from the raw files, which need to be read for it.
    """
    lookup("scale", scale, SCALES)
    root = Path(root)
    config, attested = load(root), attestations.load(root)
    report = Report(scale)
    records: dict[str, dict[str, Any]] = {}
    for path in sorted((root / "results" / scale).glob("*/*/*/*/seed*.json")):
        run = path.relative_to(root / "results").with_suffix("").as_posix()
        try:
            records[run] = record.read(path)
        except RecordError as error:
            report.links.append(Link("record", run, "broken", str(error)))
            continue
        report.links.append(_named_rightly(run, records[run]))
        report.links += _record_links(config, run, records[run], root, attested)
    report.links += [Link(*found) for found in check_sources(records, root, redraw)]
    report.links += [Link(*found) for found in check_figures(config, scale, root, records)]
    report.links += [Link(*found) for found in check_scorecard(config, scale, root)]
    report.links += _attestations(attested, scale)
    grid = [run for paper in config.papers for run in config.runs(scale, paper)]
    report.absent = [run for run in grid if run not in records and not record.record_path(run, root).is_file()]
    return report


def write(report: Report, path: str | Path) -> Path:
    """Write a report as JSON, atomically; `results/{scale}/audit.json` is its usual place."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(report.as_dict(), indent=1, ensure_ascii=False) + "\n")
    os.replace(partial, path)
    return path


def main(scale: str, report: str | Path | None = None) -> int:
    """What the command line does: audit, print, write the report if asked to; the exit code."""
    found = audit(scale)
    show(found)
    if report is not None:
        write(found, report)
    return found.exit_code


def _named_rightly(run: str, body: dict[str, Any]) -> Link:
    """A record that was copied to another run's place says another name than its path."""
    if body["run"] == run and record.run_name(body["spec"]) == run:
        return Link("record", run, "intact")
    return Link("record", run, "broken", f"it is the record of {body['run']}, moved here")


def _record_links(
    config: Config, run: str, body: dict[str, Any], root: Path, attested: attestations.Attestations
) -> Iterator[Link]:
    """What one record states about its spec, code, split recipe and trace, against what is there now."""
    stated = digest(body["spec"])
    if stated != body["spec_digest"]:
        yield Link("spec", run, "broken", "spec_digest is not the digest of the spec")
    else:
        try:
            now = config.resolve(run)
            changed = _changes(body["spec"], now)
            detail = f"the config says otherwise now: {', '.join(changed)}" if changed else ""
        except ConfigError as error:
            changed, detail = ["run"], f"the config has no such run now ({error})"
        yield Link("spec", run, "stale" if changed else "intact", detail)
    yield _code(run, body, attested)
    try:
        recipe = recipe_digest(body["spec"], root / "data")
    except (OSError, ValueError, LookupError, ImportError) as error:
        yield Link("recipe", run, "unverifiable", f"{type(error).__name__}: {error}")
    else:
        then, why = body["split"]["recipe_digest"], "the split's recipe, its code or the manifest's promise has changed"
        step = attested.step(body["digest"], "split", then, recipe)
        yield Link("recipe", run, "intact") if recipe == then else _moved("recipe", run, why, step)
    if body["trace"] is not None:
        yield _trace(run, body, root)


def _code(run: str, body: dict[str, Any], attested: attestations.Attestations) -> Link:
    if digest(body["code"]["files"]) != body["code"]["digest"]:
        return Link("code", run, "broken", "code.digest is not the digest of code.files")
    try:
        now = record.code_files(body["spec"])
    except ModuleNotFoundError as error:
        return Link("code", run, "stale", str(error))
    changed = sorted(
        name for name in {*now, *body["code"]["files"]} if now.get(name) != body["code"]["files"].get(name)
    )
    if not changed:
        return Link("code", run, "intact")
    step = attested.step(body["digest"], "code", body["code"]["digest"], digest(now))
    return _moved("code", run, f"changed since: {', '.join(changed)}", step)


def _moved(kind: str, run: str, why: str, step: attestations.Step | None) -> Link:
    """A link whose digest is not today's: attested by a step that leads there, else stale."""
    return Link(kind, run, "attested", f"{why}; {step.text}") if step else Link(kind, run, "stale", why)


def _attestations(attested: attestations.Attestations, scale: str) -> Iterator[Link]:
    for name in attested.files:
        if name.split("/")[1] == scale:
            why = attested.refused.get(name, "")
            yield Link("attestation", name, "broken" if why else "intact", why)


def _trace(run: str, body: dict[str, Any], root: Path) -> Link:
    path = record.record_path(run, root)
    if not path.with_name(body["trace"]["file"]).is_file():
        return Link("trace", run, "missing", f"{body['trace']['file']} is not there")
    try:
        record.trace_path(path, body)
    except RecordError as error:
        return Link("trace", run, "broken", str(error))
    return Link("trace", run, "intact")


def _changes(then: Any, now: Any, path: str = "") -> list[str]:
    """Where two specs differ: `training.epochs 10 -> 20`."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = [*then, *(key for key in now if key not in then)]
        return [
            change
            for key in keys
            for change in _changes(then.get(key), now.get(key), f"{path}.{key}" if path else str(key))
        ]
    return [] if then == now and type(then) is type(now) else [f"{path} {then} -> {now}"]


# --- on the terminal -------------------------------------------------------------------------------------------------


def show(report: Report, most: int = 40) -> None:
    """Print the counts, and the first links that are at fault."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("link", *STATES, title=f"scale {report.scale}", title_justify="left")
    for kind, count in report.counts.items():
        table.add_row(kind, *(str(count.get(state, "")) for state in STATES))
    console.print(table)
    for link in report.faults[:most]:
        console.print(escape(f"{link.state}: {link.kind} {link.name}: {link.detail}"), soft_wrap=True)
    if len(report.faults) > most:
        console.print(f"... and {len(report.faults) - most} more, all in the report", soft_wrap=True)
    if report.absent:
        console.print(
            f"{len(report.absent)} runs of the grid have no record; nothing is claimed of them", soft_wrap=True
        )
    holds = "the chain is unbroken" if report.links else "there is nothing at this scale to audit"
    console.print(holds if report.exit_code == 0 else "the chain does not hold everywhere", soft_wrap=True)
