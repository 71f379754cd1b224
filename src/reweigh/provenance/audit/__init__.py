"""The audit: recompute what can be recomputed, and name every link of the chain that does not hold.

    report = audit("paper")
    show(report)                     # counts, and every link that is at fault
    report.exit_code                 # 0, or 1 where a link is broken, stale or missing

A link is `intact`; `attested` (the code has changed since, and an attestation says that it changed no number); `stale`
(sound, but today's config, code or data may give another); `broken` (altered since it was made, or at odds with
itself); `missing` (named by another link, and not there); or `unverifiable` (nothing here to check it against). What
rests on a broken or missing record is unverifiable, not broken: it is the record that must be mended. The kinds:

- record, spec, code, recipe, trace: what a run left; what the config asks for now; the code and the drawing of splits;
- commit: the code that records say they executed, against git's at the commit that they name;
- lock: the versions of torch and NumPy, against what the lock file pinned then and pins now;
- split, raw, embedded: drawn again from raw files; raw files and their receipts; what the project brings along;
- figure, rendering, receipt: a csv line by line; pdf, png and notebook; what was made from what, by what;
- scorecard, page: its csv, and the pages made from it, byte by byte;
- attestation, witness, rerun: that it fits its records; what Snakemake remembers; runs that were trained again.
"""

from pathlib import Path
from typing import Any

from reweigh.config.grid import Config, load
from reweigh.config.specs import SCALES
from reweigh.config.validation import lookup
from reweigh.provenance.audit.commits import check_commits
from reweigh.provenance.audit.figures import check_figures, check_scorecard, named_runs
from reweigh.provenance.audit.links import FAILING, KINDS, SOUND, STATES, Link
from reweigh.provenance.audit.lockfile import check_lock
from reweigh.provenance.audit.records import check_attestations, check_records
from reweigh.provenance.audit.report import Report, show, write
from reweigh.provenance.audit.sources import check_sources
from reweigh.records import attestations, record

__all__ = ["FAILING", "KINDS", "SOUND", "STATES", "Link", "Report", "audit", "main", "show", "write"]


def audit(scale: str, root: str | Path = ".", redraw: bool = True) -> Report:
    """Check every record of a scale, what it names, and every figure and the scorecard made from it.

    `redraw=False` leaves out what needs raw files to be read: drawing splits again, unpacking what is embedded.
    Puts raw files that need no download into data/raw; nothing else is written.
    Raises ConfigError for a scale that does not exist.
    """
    lookup("scale", scale, SCALES)
    root = Path(root)
    config, attested = load(root), attestations.load(root)
    records, links = check_records(config, scale, root, attested)
    grid = [run for paper in config.papers for run in config.runs(scale, paper)]
    links += _missing(scale, root, attested, set(grid))
    links += check_commits(records, root)
    links += check_lock(records, root)
    links += check_sources(records, root, redraw)
    links += check_attestations(attested, scale, root, records)
    links += check_figures(config, scale, root, records)
    links += check_scorecard(config, scale, root, records)
    links += _witness(config, records, root)
    known = {link.name for link in links if link.kind == "record"}
    absent = [run for run in grid if run not in known]
    return Report(scale, links, absent, _not_drawn(config, scale, root, records))


def main(scale: str, report: str | Path | None = None, rerun: int | None = None, seed: int | None = None) -> int:
    """What the command line does: audit, train `rerun` runs again, print, write the report if asked to.

    The exit code: 0; 1 if a link is stale, broken or missing; 75 if training was stopped, and goes on if called again.
    """
    found = audit(scale)
    stopped = 0
    if rerun:
        from reweigh.provenance.audit import rerun as room

        stopped = room.rerun(found, ".", rerun, seed)
    show(found)
    if report is not None:
        write(found, report)
    return stopped or found.exit_code


def _missing(scale: str, root: Path, attested: attestations.Attestations, grid: set[str]) -> list[Link]:
    """Records that receipts name, or attestations of runs that the config still has, and that are not there."""
    named: dict[str, str] = {}
    for run, name in named_runs(scale, root):
        named.setdefault(run, name)
    for name in attested.files:
        if name.split("/")[1] == scale and name not in attested.refused:
            covers = [edit["covers"] for part in attestations.PARTS for edit in attestations.read(root / name)[part]]
            for run in grid & {run for covered in covers for run in covered}:
                named.setdefault(run, name)
    gone = sorted(run for run in named if not record.record_path(run, root).exists())
    return [Link("record", run, "missing", f"it is not there, and {named[run]} names it") for run in gone]


def _not_drawn(config: Config, scale: str, root: Path, records: dict[str, dict[str, Any]]) -> list[str]:
    """Figures and tables of the config that have records to show, and no file."""
    cells = {run.rpartition("/")[0] for run in records}
    return [
        f"{paper}/{name}"
        for paper, one in config.papers.items()
        for name in one.artifacts
        if not cells.isdisjoint(config.cells_of(scale, paper, name))
        and not any((root / "figures" / scale / paper).glob(f"{name}.*"))
    ]


def _witness(config: Config, records: dict[str, dict[str, Any]], root: Path) -> list[Link]:
    """What Snakemake remembers of the records."""
    from reweigh.provenance.audit.snakemake_metadata import check_witness

    return [Link(*found) for found in check_witness(config, records, root)]
