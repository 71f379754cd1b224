"""The audit: recompute what can be recomputed, and name every link of the chain that does not hold.

    report = audit("paper")
    show(report)                     # counts, and every link that is at fault
    report.exit_code                 # 0, or 1 where a link is broken, stale or missing

A link is `intact`; `attested` (the code has changed since, and an attestation says that this changed no number);
`stale` (sound, but today's config, code or data may give another result); `broken` (altered since it was made, or it
contradicts itself); `missing` (another link names it, and it does not exist); or `unverifiable` (there is nothing to
check it against). What was made from a broken or missing record is unverifiable, not broken: the fault lies with the
record. The kinds:

- record, trace: the JSON that a run left, and the arrays that it logged;
- spec, code, recipe: what the record was made by, against the config, the code and the drawing of splits of today;
- commit: the code that records say they executed, against git's at the commit that they name;
- declared: claims, published numbers, seeds and rules, against what they were at the commits that records name;
- lock: the versions of torch and NumPy, against those that the lock file pinned then and pins now;
- split, raw, embedded: splits drawn again from raw files; raw files and their source files; packed data in the project;
- figure, rendering, receipt: a csv, line by line; its pdf, png and notebook; what they were made from, and by what;
- scorecard, page: the scorecard's csv, and the pages made from it, byte by byte; what README and docs say of it;
- bench, unlisted: whether the bench agrees with itself; files that nothing names;
- attestation: whether it agrees with itself and its records;
- snakemake: what Snakemake's metadata say of the files that its jobs made;
- rerun, redraw: runs that were trained again, artifacts that were rendered again.
"""

import contextlib
import gc
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.config.names import RunName
from reweigh.config.specs import SCALES
from reweigh.config.validation import lookup
from reweigh.errors import ConfigError
from reweigh.listing import visible
from reweigh.provenance.audit.commits import check_commits
from reweigh.provenance.audit.committed import absence, removed
from reweigh.provenance.audit.declared import check_declared
from reweigh.provenance.audit.documents import check_bench, check_documents
from reweigh.provenance.audit.figures import (
    artifacts_there,
    check_scorecard,
    figure_checks,
    is_simulated,
    named_runs,
    simulated_links,
)
from reweigh.provenance.audit.links import FAILING, KINDS, SOUND, STATES, Link
from reweigh.provenance.audit.lockfile import check_lock, check_rendering_lock
from reweigh.provenance.audit.looking import seen
from reweigh.provenance.audit.records import Records, check_attestations, check_records
from reweigh.provenance.audit.redraw import redraw as render_again
from reweigh.provenance.audit.report import Report, show, write
from reweigh.provenance.audit.rerun import rerun as train_again
from reweigh.provenance.audit.side_by_side import Check, answers, begun
from reweigh.provenance.audit.snakemake_metadata import check_snakemake_metadata
from reweigh.provenance.audit.sources import source_checks
from reweigh.provenance.audit.unlisted import check_unlisted
from reweigh.records import attestations, history
from reweigh.records.history import History

__all__ = ["FAILING", "KINDS", "SOUND", "STATES", "Link", "Report", "audit", "main", "show", "write"]


def audit(scale: str, root: str | Path = ".", from_raw: bool = True) -> Report:
    """Check every record of a scale, what it names, and all figures and the scorecard.

    `from_raw=False` leaves out what needs raw files: drawing splits again and unpacking embedded data. Otherwise, raw
    files that need no download are put into data/raw; nothing else is written.
    Raises ConfigError for a scale that does not exist.
    """
    lookup("scale", scale, SCALES)
    with _uncollected():
        return _audited(scale, Path(root), from_raw)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage: thousands of records are held to the end, and each search looks through all of them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _audited(scale: str, root: Path, from_raw: bool) -> Report:
    config, attested = load(root), attestations.load(root)
    artifacts = artifacts_there(scale, root)
    simulated = [stem for stem in artifacts if is_simulated(config, stem)]
    with begun(figure_checks(config, scale, root, {}, simulated)) as found:
        records, links = _checked(config, scale, root, from_raw, attested, set(artifacts) - set(simulated))
        links += simulated_links(config, scale, root, records, simulated, found())
    with_record = {link.name for link in links if link.kind == "record"}
    absent = [run for paper in config.papers for run in config.runs(scale, paper) if run not in with_record]
    return Report(scale, links, absent, _not_rendered(config, scale, root, records))


def _checked(
    config: Config,
    scale: str,
    root: Path,
    from_raw: bool,
    attested: attestations.Attestations,
    artifacts: Collection[Path],
) -> tuple[Records, list[Link]]:
    """The sound records, and all links but those of other artifacts."""
    git_has = history.of_scale(scale, root)
    records, links = check_records(config, scale, root, attested, git_has)
    grid = [run for paper in config.papers for run in config.runs(scale, paper)]
    links += answers([
        Check(partial(seen, "record", _missing_records, config, scale, root, attested, set(grid), git_has)),
        Check(partial(check_commits, records, root), len(records) / 1000),
        Check(partial(seen, "declared", check_declared, records, scale, root), len(records) / 1000),
        Check(partial(check_lock, records, root)),
        Check(partial(seen, "lock", check_rendering_lock, scale, root)),
        *source_checks(records, root, from_raw),
        Check(partial(check_attestations, attested, scale, root, records), len(records) / 3000),
        *figure_checks(config, scale, root, records, sorted(artifacts)),
        Check(partial(seen, "scorecard", check_scorecard, config, scale, root, records), len(records) / 300),
        Check(partial(seen, "page", check_documents, config, scale, root, records), len(records) / 1000),
        Check(partial(seen, "bench", check_bench, root)),
        Check(partial(seen, "unlisted", check_unlisted, config, scale, root)),
        Check(partial(seen, "snakemake", check_snakemake_metadata, config, records, root)),
    ])  # fmt: skip
    return records, links


def main(
    scale: str | None,
    report: str | Path | None = None,
    rerun: int | None = None,
    seed: int | None = None,
    redraw: bool = False,
) -> int:
    """The command `reweigh audit`: audit, train `rerun` runs again, print, and write the report if asked to.

    `redraw` renders every artifact again.

    Without a scale every one is audited that has results. The exit code: 0; 1 if a link is stale, broken or missing; 75
    if training was stopped, of which nothing is kept. Raises ConfigError (exit code 2) where there is nothing to
    audit, for options that mean nothing together, and for a report that cannot be written.
    """
    if seed is not None and rerun is None:
        raise ConfigError("--seed chooses the runs of --rerun; without --rerun N it does nothing")
    if report is not None and (Path(report).is_dir() or not _nearest(Path(report).parent).is_dir()):
        raise ConfigError(f"--report {report}: a report is a file, in a folder that exists or can be made")
    there = scales_with_results()
    scales = _asked(scale, there)
    if len(scales) > 1 and (report is not None or rerun is not None):
        option = "--report" if rerun is None else "--rerun"
        raise ConfigError(
            f"{option} is about one scale, and {' and '.join(there)} have results; add --scale {there[-1]}"
        )
    codes = [_audit_one(one, report, rerun, seed, redraw) for one in scales]
    return max(codes)


def scales_with_results(root: str | Path = ".") -> list[str]:
    """The scales that have anything to audit: records, figures, a scorecard or attestations."""
    kinds = ("results/{}/*/*/*/*/seed*", "results/{}/attestations/*.json", "results/{}/scorecard.*", "figures/{}/*/*.*")
    return [scale for scale in SCALES if any(visible(Path(root), kind.format(scale)) for kind in kinds)]


def _asked(scale: str | None, there: list[str]) -> list[str]:
    """The scales to audit. Raises ConfigError where there is nothing: such an audit would find no fault."""
    if there and (scale is None or scale in there):
        return there if scale is None else [scale]
    if not there:
        raise ConfigError("there is nothing to audit: no scale has results; make some: snakemake --cores all")
    others = f"{' and '.join(there)} {'has' if len(there) == 1 else 'have'} results"
    raise ConfigError(f"there is nothing at scale {scale} to audit; {others}: reweigh audit --scale {there[-1]}")


def _audit_one(scale: str, report: str | Path | None, rerun: int | None, seed: int | None, redraw: bool) -> int:
    result = audit(scale)
    if redraw:
        result.links += seen("redraw", render_again, scale)
    stopped = train_again(result, ".", rerun, seed) if rerun else 0
    if report is not None:
        write(result, report)  # first: whoever reads what is printed may stop reading
    show(result)
    return stopped or result.exit_code


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest path above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _missing_records(
    config: Config, scale: str, root: Path, attested: attestations.Attestations, grid: set[str], git_has: History | None
) -> Iterator[Link]:
    """Records that do not exist, though something that is here says that they did: a receipt names them, or an
    attestation of a run that the config still has, or git.
    """
    named_by: dict[str, str] = {}
    for run, receipt in named_runs(scale, root):
        named_by.setdefault(run, receipt)
    for name in attested.of_scale(scale):
        if name not in attested.refused:
            covers = [edit["covers"] for part in attestations.PARTS for edit in attestations.read(root / name)[part]]
            for run in grid & {run for covered in covers for run in covered}:
                named_by.setdefault(run, name)
    for run in sorted(named_by):
        if verdict := absence(run, root):
            yield Link("record", run, verdict[0], f"{verdict[1]}, but {named_by[run]} names it")
    if git_has is not None:
        yield from removed(config, root, git_has, grid - named_by.keys())


def _not_rendered(config: Config, scale: str, root: Path, records: dict[str, dict[str, Any]]) -> list[str]:
    """Figures and tables of the config that have records to show, and no file."""
    cells = {str(RunName.parse(run).cell) for run in records}
    return [
        f"{paper}/{name}"
        for paper, entry in config.papers.items()
        for name in entry.artifacts
        if not cells.isdisjoint(config.cells_of(scale, paper, name))
        and not any((root / "figures" / scale / paper).glob(f"{name}.*"))
    ]
