"""The near end of the chain, as an audit checks it: figures and scorecard against their receipts and their records.

A csv is read line by line and computed again, by code of its own, from the records that it names; as a whole it is held
against what its notebook would write now. Every file is compared with the sha256 in its receipt. So a file that was
altered is `broken`, and one whose records, code or config have moved since is `stale`.
"""

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from reweigh import spreadsheets
from reweigh.analysis.tables import expand_runs, fingerprint, published
from reweigh.artifacts import receipt
from reweigh.artifacts.render import MADE
from reweigh.config.grid import Config
from reweigh.config.names import ArtifactName
from reweigh.digest import file_digest
from reweigh.errors import ConfigError, RecordError, ReweighError
from reweigh.listing import visible
from reweigh.os_errors import UnseenError, hides
from reweigh.provenance import recompute
from reweigh.provenance.audit.completeness import incompleteness
from reweigh.provenance.audit.links import SOUND, Link
from reweigh.provenance.audit.looking import looked, seen
from reweigh.provenance.audit.notebook_rows import unlike_its_notebook
from reweigh.provenance.audit.side_by_side import Check
from reweigh.records import record

Records = dict[str, dict[str, Any]]
Numbers = dict[tuple[str, ...], tuple[Any, Any]] | None  # None: they cannot be read
Verdict = tuple[str, str]  # state, detail
NOT_IN_GIT = ("pdf", "ipynb")
NOT_KEPT = "not kept in git"
BYTES_A_SECOND = 200_000  # of a csv that is checked
SIMULATION = 3.0  # seconds
UNREADABLE = (ReweighError, ValueError, LookupError, TypeError)  # what a damaged file of published numbers leads to
GOOD: Verdict = ("intact", "")


class Receipt:
    """The receipt of some files, and whether it is still what would be written."""

    def __init__(self, path: Path, basis: dict[str, Any] | str, records: Records) -> None:
        """`basis` is what the files would be made from now, or why nothing would make them."""
        self.files: dict[str, str] = {}
        self.runs: set[str] = set()
        self.state, self.detail = GOOD
        if not path.is_file():
            self.state, self.detail = "missing", "without it nothing says what was made"
            return
        try:
            body = receipt.read(path)
            self.state, self.detail = _moved(body, basis, records)
            self.files, self.runs = {**body["files"]}, {one["run"] for one in body["records"]}
        except receipt.OldReceiptError as error:
            self.state, self.detail = "stale", str(error)
        except UnseenError as error:
            self.state, self.detail = "unverifiable", str(error)
        except RecordError as error:
            self.state, self.detail = "broken", f"{error}; it was changed by hand"
        except (KeyError, TypeError) as error:
            self.state, self.detail = "broken", f"it is not what a receipt holds ({error!r})"

    def of(self, path: Path, ending: str) -> Verdict:
        """Whether a file is the one that was made; unverifiable where the receipt says nothing of it."""
        if (stated := self.files.get(ending)) is None:
            return "unverifiable", "no sound receipt says what it was"
        if (found := file_digest(path)) != stated:
            return "broken", f"its sha256 is {found[:12]}, its receipt says {stated[:12]}"
        return GOOD


def _moved(body: dict[str, Any], basis: dict[str, Any] | str, records: Records) -> Verdict:
    """What has changed since a receipt was written."""
    if isinstance(basis, str):
        return "stale", basis
    then = {one["run"]: one["digest"] for one in body["records"]}
    now = {one["run"]: one["digest"] for one in basis["records"]}
    if gone := sorted(run for run in then if run not in records):
        return "unverifiable", f"the record of {gone[0]} is not there or broken"
    if other := sorted(run for run in {*then, *now} if then.get(run) != now.get(run)):
        more = f" and {len(other) - 1} more" if len(other) > 1 else ""
        return "stale", f"made from other records than those that are there now: {other[0]}{more}"
    inputs = {**body["inputs"], **basis["inputs"]}
    if changed := sorted(name for name in inputs if body["inputs"].get(name) != basis["inputs"].get(name)):
        return "stale", f"changed since: {', '.join(changed)}"
    if body["rendering"] != basis["rendering"]:
        return "stale", "the code that makes it, or what the config says of it, has changed since"
    return GOOD


def named_runs(scale: str, root: Path) -> Iterator[tuple[str, str]]:
    """Every run that a sound receipt of a scale names, and the receipt."""
    paths = [*visible(root / "figures" / scale, "*/*.json"), root / "results" / scale / "scorecard.json"]
    for path in filter(Path.is_file, paths):
        try:
            runs = [one["run"] for one in receipt.read(path)["records"]]
        except (RecordError, KeyError, TypeError):
            continue
        yield from ((run, path.relative_to(root).as_posix()) for run in runs)


# --- figures ---------------------------------------------------------------------------------------------------------


def check_figures(config: Config, scale: str, root: Path, records: Records) -> Iterator[Link]:
    """Links of each artifact that is there: `figure` (its csv), `rendering` (pdf, png and notebook) and `receipt`."""
    for check in figure_checks(config, scale, root, records, artifacts_there(scale, root)):
        yield from check.links()


def artifacts_there(scale: str, root: Path) -> list[Path]:
    """The artifacts that have files, as paths without an ending, sorted."""
    files = [path for ending in (*MADE, "json") for path in visible(root / "figures" / scale, f"*/*.{ending}")]
    return sorted({path.with_suffix("") for path in files if not path.name.endswith(".failed.ipynb")})


def figure_checks(config: Config, scale: str, root: Path, records: Records, stems: Collection[Path]) -> list[Check]:
    """A check of each of some artifacts (see `artifacts_there`)."""
    papers = sorted({stem.parent.name for stem in stems})
    numbers = {paper: _published(config, paper) if paper in config.papers else {} for paper in papers}
    return [
        Check(
            partial(seen, "figure", _figure, config, stem, root, records, numbers[stem.parent.name]),
            _seconds(config, stem),
        )
        for stem in stems
    ]


def is_simulated(config: Config, stem: Path) -> bool:
    """Whether an artifact reads no record, so that its check can begin before there are any."""
    *_, paper, name = stem.parts
    entry = config.papers.get(paper)
    return entry is not None and name in entry.artifacts and not entry.artifacts[name].reads


def simulated_links(
    config: Config, scale: str, root: Path, records: Records, stems: Sequence[Path], found: Mapping[int, list[Link]]
) -> Iterator[Link]:
    """The links of simulated artifacts, of which some were `found` without records, by their place among `stems`.

    A file that is at fault may also name records where there should be none: with these it is looked at again.
    """
    for place, stem in enumerate(stems):
        links = found.get(place, [])
        if not links or any(link.state not in SOUND and link.detail != NOT_KEPT for link in links):
            (check,) = figure_checks(config, scale, root, records, [stem])
            links = list(check.links())
        yield from links


def _seconds(config: Config, stem: Path) -> float:
    """About how long an artifact takes to check: by the size of its csv, more where that is simulated anew."""
    table = Path(f"{stem}.csv")
    if not table.is_file():
        return 0.0
    return SIMULATION if is_simulated(config, stem) else table.stat().st_size / BYTES_A_SECOND


def _figure(config: Config, stem: Path, root: Path, records: Records, numbers: Numbers) -> Iterator[Link]:
    *_, scale, paper, name = stem.parts
    try:
        basis: dict[str, Any] | str = receipt.figure_basis(config, scale, paper, name, records)
    except ConfigError as error:
        basis = f"the config has no such artifact now ({error})"
    view = View(config, scale, paper, name, root, records, numbers)
    shown, there = stem.relative_to(root).as_posix(), {kind: Path(f"{stem}.{kind}") for kind in MADE}
    made = Receipt(Path(f"{stem}.json"), basis, records)
    absent = [kind for kind in NOT_IN_GIT if not there[kind].is_file()]
    for kind, path in there.items():
        link = "figure" if kind == "csv" else "rendering"
        if path.is_file():
            verdict = looked(_csv, path, made, view) if kind == "csv" else looked(made.of, path, kind)
        elif kind in NOT_IN_GIT and len(absent) == len(NOT_IN_GIT):
            verdict = "unverifiable", NOT_KEPT
        else:
            verdict = "missing", "it is not there, though other files of its figure are"
        yield Link(link, f"{shown}.{kind}", *verdict)
    yield Link("receipt", f"{shown}.json", made.state, made.detail)


class View(NamedTuple):
    """What the csv of one artifact is looked at with: config, records and published numbers of today."""

    config: Config
    scale: str
    paper: str
    name: str
    root: Path
    records: Records
    numbers: Numbers


def _csv(path: Path, made: Receipt, view: View) -> Verdict:
    """The state of a figure's csv: as a whole by its receipt, line by line by the records."""
    by_receipt = made.of(path, "csv")
    try:
        by_lines = _lines(path, view, made if by_receipt == GOOD else None)
    except RecordError as error:
        by_lines = "unverifiable", str(error)
    except (ReweighError, LookupError, TypeError, ValueError, ArithmeticError, csv.Error) as error:
        by_lines = "broken", f"not the csv of a figure ({error!r})"
    if by_receipt[0] == "broken":
        return "broken", by_lines[1] if by_lines[0] == "broken" else by_receipt[1]
    if by_lines[0] == "broken" and by_receipt == GOOD and made.state == "stale":
        return "stale", f"{by_lines[1]}; {made.detail}"
    if by_receipt != GOOD and by_lines == GOOD:
        return "unverifiable", "its lines are what the records give, but no sound receipt says that it is whole"
    return by_lines


def _lines(path: Path, view: View, made: Receipt | None) -> Verdict:
    """The state of the worst line of a figure's csv; of all together where a sound receipt (`made`) is for this csv."""
    with open(path, newline="", encoding="utf-8") as file:
        lines = spreadsheets.lines(csv.DictReader(file, restval="", strict=True))
    worst = GOOD
    order = ("intact", "stale", "unverifiable", "broken")
    for place, line in enumerate(lines, start=2):
        state, detail = _line(line, view)
        if order.index(state) > order.index(worst[0]):
            worst = state, f"line {place}: {detail}"
    if worst != GOOD or made is None or view.paper not in view.config.papers:
        return worst
    artifact = ArtifactName(view.scale, view.paper, view.name)
    wrong = incompleteness(lines, view.config, artifact, view.records, made.runs)
    if not wrong and made.state in ("intact", "stale"):
        wrong = unlike_its_notebook(lines, view.config, artifact, view.records)
    return ("broken", wrong) if wrong else GOOD


def _line(line: dict[str, str], view: View) -> Verdict:
    stated = recompute.number(line.get("published")), recompute.number(line.get("published_sd"))
    if stated[0] is not None:
        key = (line["experiment"], line["setting"], line["method"], line["metric"])
        if view.numbers is None:
            return "unverifiable", "the file of published numbers cannot be read"
        if view.numbers.get(key) != stated:
            return "broken", f"published {stated}, the file of published numbers says {view.numbers.get(key)}"
    runs = expand_runs(line.get("runs", ""))
    if not runs:
        unlike = recompute.unlike_its_runs(line, [], view.config, view.paper)
        unfed = "a number that no run feeds" if recompute.number(line.get("mean")) else unlike
        return ("broken", unfed) if unfed else GOOD
    if gone := [run for run in runs if run not in view.records]:
        return "unverifiable", f"the record of {gone[0]} is not there or broken"
    bodies = [view.records[run] for run in runs]
    if unlike := recompute.unlike_its_runs(line, bodies, view.config, view.paper):
        return "broken", unlike
    if fingerprint(body["digest"] for body in bodies) != line["records"]:
        return "stale", "made from other records than those that are there now"
    again = recompute.line(line, bodies, view.root)
    wrong = recompute.differences(line, again) if again else []
    return ("broken", "; ".join(wrong)) if wrong else GOOD


def _published(config: Config, paper: str) -> Numbers:
    """Published mean and sd by experiment, setting, method and metric."""
    try:
        rows = published(config, paper).to_dict("records")
    except UNREADABLE:
        return None
    return {
        (row["experiment"], row["setting_name"], row["method_name"], row["metric"]): (
            recompute.number(row["mean"]),
            recompute.number(row["std"]),
        )
        for row in rows
        if row["experiment"]
    }


# --- the scorecard ---------------------------------------------------------------------------------------------------


def check_scorecard(config: Config, scale: str, root: Path, records: Records) -> Iterator[Link]:
    """Links `scorecard` (its csv), `page` (the pages for readers) and `receipt`: the files, and what is scored now."""
    from reweigh import scorecard

    folder = root / "results" / scale
    if not visible(folder, "scorecard.*"):
        return
    now: dict[str, str | None] = dict.fromkeys(scorecard.ENDINGS)
    why_not = _broken_records(scale, root, records)
    if not why_not:
        try:
            scored = scorecard.scored_records(config, scale, known=records)
            now |= scorecard.texts(config, scale, scorecard.score(config, scale, records=scored), scored)
        except (*UNREADABLE, OSError) as error:
            if isinstance(error, OSError) and not hides(error):
                raise
            why_not = f"it cannot be made now ({error})"
    basis = scorecard.basis(config, scale, records)
    made = Receipt(folder / "scorecard.json", basis, records)
    for kind, should in now.items():
        link, path = "scorecard" if kind == "csv" else "page", folder / f"scorecard.{kind}"
        name = path.relative_to(root).as_posix()
        if path.is_file():
            yield Link(link, name, *looked(_scored, path, kind, made, should, why_not))
        else:
            yield Link(link, name, "missing", "it is not there, though other files of the scorecard are")
    yield Link("receipt", f"results/{scale}/scorecard.json", made.state, made.detail)


def _broken_records(scale: str, root: Path, records: Records) -> str:
    """Why nothing that is scored now is evidence: a record that is there and broken would be scored too."""
    broken = sorted(run for run in record.files_of(scale, root) if run not in records)
    return f"the record of {broken[0]} is broken" if broken else ""


def _scored(path: Path, kind: str, made: Receipt, now: str | None, why_not: str) -> Verdict:
    """The state of one file of the scorecard."""
    by_receipt, found = made.of(path, kind), path.read_text(errors="replace", encoding="utf-8")
    different = "" if now is None or found == now else _first_difference(found, now, kind)
    if by_receipt[0] == "broken":
        return "broken", different or by_receipt[1]
    if why_not:
        return "unverifiable", why_not
    if not different:
        return GOOD  # as a whole, byte for byte, what the records give
    return ("broken" if made.state == "intact" else "stale"), different


def _first_difference(found: str, now: str, kind: str) -> str:
    """The first line in which a file is not what it should be, and for a csv its column."""
    if kind == "csv":
        return _first_field(found, now)
    lines, expected = found.splitlines(), now.splitlines()
    for place, (one, other) in enumerate(zip(lines, expected, strict=False), start=1):
        if one != other:
            at = next(
                (k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
            )
            return f"line {place}: {_around(one, at)!r}, should be {_around(other, at)!r}"
    return f"{len(lines)} lines, should be {len(expected)}"


def _around(text: str, at: int, width: int = 30) -> str:
    return text[max(0, at - width // 2) : at + width]


def _first_field(found: str, now: str) -> str:
    lines, expected = (list(csv.DictReader(io.StringIO(text))) for text in (found, now))
    known: dict[tuple[Any, ...], int] = {_key(line): place for place, line in enumerate(expected, start=2)}
    for place, line in enumerate(lines, start=2):
        if (should := known.get(_key(line))) is None:
            return f"line {place}: {line.get('id')} should not be there"
        if should != place:
            return f"line {place}: {line.get('id')} should be in line {should}"
        if wrong := [name for name, value in expected[should - 2].items() if line.get(name) != value]:
            return f"line {place}: {wrong[0]} {line.get(wrong[0])}, should be {expected[should - 2][wrong[0]]}"
    return f"{len(lines)} lines, should be {len(expected)}"


def _key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return line.get("paper"), line.get("kind"), line.get("id")
