"""The near end of the chain, as an audit checks it: figures and scorecard against the records they were made from."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reweigh.config import Config
from reweigh.provenance import recompute
from reweigh.results import fingerprint, published, unpack

Found = tuple[str, str, str, str]  # kind, name, state, detail: a link
ENDINGS = ("pdf", "png", "ipynb")


def check_figures(config: Config, scale: str, root: Path, records: dict[str, dict[str, Any]]) -> Iterator[Found]:
    """One link for each artifact that was drawn: its csv, line by line, computed again from the records."""
    for path in sorted((root / "figures" / scale).glob("*/*.csv")):
        name = path.relative_to(root).as_posix()
        gone = [ending for ending in ENDINGS if not path.with_suffix(f".{ending}").is_file()]
        if gone:
            yield "figure", name, "missing", f"its .{', .'.join(gone)} is not there; draw it again"
            continue
        paper = path.parent.name
        numbers = _published(config, paper) if paper in config.papers else {}
        state, detail = _figure(path, root, records, numbers)
        yield "figure", name, state, detail


def _figure(
    path: Path, root: Path, records: dict[str, dict[str, Any]], numbers: dict[tuple[str, ...], tuple[Any, Any]]
) -> tuple[str, str]:
    """The state of a figure's csv: that of its worst line."""
    with open(path, newline="") as file:
        lines = list(csv.DictReader(file))
    stale = ""
    for place, line in enumerate(lines, start=2):
        state, detail = _line(line, root, records, numbers)
        if state in ("broken", "missing"):
            return state, f"line {place}: {detail}"
        if state == "stale" and not stale:
            stale = f"line {place}: {detail}"
    return ("stale", stale) if stale else ("intact", "")


def _line(
    line: dict[str, str],
    root: Path,
    records: dict[str, dict[str, Any]],
    numbers: dict[tuple[str, ...], tuple[Any, Any]],
) -> tuple[str, str]:
    stated = recompute.number(line.get("published")), recompute.number(line.get("published_sd"))
    if stated[0] is not None:
        key = (line["experiment"], line["setting"], line["method"], line["metric"])
        if numbers.get(key) != stated:
            return "broken", f"published {stated}, the file of published numbers says {numbers.get(key)}"
    runs = unpack(line.get("runs", ""))
    if not runs:
        return ("intact", "") if not recompute.number(line.get("mean")) else ("broken", "a number that no run feeds")
    if gone := [run for run in runs if run not in records]:
        return "missing", f"the record of {gone[0]} is not there or broken"
    bodies = [records[run] for run in runs]
    if fingerprint(body["digest"] for body in bodies) != line["records"]:
        return "stale", "drawn from other records than those that are there now"
    again = recompute.line(line, bodies, root)
    wrong = recompute.differences(line, again) if again else []
    return ("broken", "; ".join(wrong)) if wrong else ("intact", "")


def _published(config: Config, paper: str) -> dict[tuple[str, ...], tuple[Any, Any]]:
    """Published mean and sd by experiment, setting, method and metric."""
    rows = published(config, paper).to_dict("records")
    return {
        (row["experiment"], row["setting_name"], row["method_name"], row["metric"]): (
            recompute.number(row["mean"]),
            recompute.number(row["std"]),
        )
        for row in rows
        if row["experiment"]
    }


def check_scorecard(config: Config, scale: str, root: Path) -> Iterator[Found]:
    """One link: the scorecard's csv, scored again. Lines from the same records that differ were altered."""
    from reweigh.errors import ReweighError
    from reweigh.scorecard import score, text_of

    path = root / "results" / scale / "scorecard.csv"
    if not path.is_file():
        return
    name = path.relative_to(root).as_posix()
    try:
        again = list(csv.DictReader(io.StringIO(text_of(score(config, scale)))))
    except ReweighError as error:
        yield "scorecard", name, "unverifiable", str(error)
        return
    with open(path, newline="") as file:
        lines = list(csv.DictReader(file))
    yield ("scorecard", name, *_scored(lines, again))


def _scored(lines: list[dict[str, str]], again: list[dict[str, str]]) -> tuple[str, str]:
    if lines == again:
        return "intact", ""
    expected = {(line["paper"], line["kind"], line["id"]): line for line in again}
    for place, line in enumerate(lines, start=2):
        same = expected.get((line.get("paper", ""), line.get("kind", ""), line.get("id", "")))
        if same and same["records"] == line.get("records"):
            names = [name for name in same if same[name] != line.get(name) and recompute.number(same[name]) is not None]
            if names and same["p_holm"] == line.get("p_holm"):
                return "broken", f"line {place}: {names[0]} {line.get(names[0])}, should be {same[names[0]]}"
    return "stale", "made from other records, claims or rules than today's; make it again"
