"""Where a number comes from: from a field of a csv, through aggregation, runs and split, back to the raw files.

    tree = explain("figures/paper/tdr/table1.csv", row="TDR", column="0.05")
    show(tree)                                      # a tree in the terminal; json.dumps(tree) for machines

For a figure (.pdf, .png, .ipynb, or without ending) and a scorecard's page the csv beside them answers. A record, a
split and a raw file can be asked too. Only the records that feed the number are read, so it takes no longer where there
are thousands.

The tree, in JSON: `explain_version`; `kind` ("table", "record", "split" or "raw"); `file`, `sha256` (null where the
file itself is not there); `fault` ("", or what is wrong first and what to do). A table has its `receipt` (null, or what
`reweigh.receipt` says of its making) and `cells`, each with `number` (of the line in the file), `column` (if one was
asked for), `line` (its fields), `check` (a sentence), `fault`, `columns` (for each field `value`, `how` it is made,
`from` which parts of the cell, `check`) and those parts (see `evidence`), of which `runs` is a list of chains (see
`chain.of_run`). The other kinds are described in `others`.
"""

import csv
import json
import re
from pathlib import Path
from typing import Any

from reweigh import receipt
from reweigh.digest import file_digest
from reweigh.errors import RecordError, ReweighError
from reweigh.provenance import recompute
from reweigh.provenance.explain.columns import NAME, source
from reweigh.provenance.explain.evidence import Table, cell
from reweigh.provenance.explain.others import of_path
from reweigh.provenance.explain.tree import as_tree, show

__all__ = ["VERSION", "as_tree", "explain", "main", "read", "show"]

VERSION = 1
MOST = 24  # cells that one call explains; a narrower question gets a readable answer
OFFERED = 16  # values of a column that an answer to an unclear question names
DRAWN = (".pdf", ".png", ".ipynb", ".html", ".md", ".json", "")  # what answers for the csv of the same name
AUXILIARY = ("class_weight_density", "inverse_frequency")
NAMING = ("title", "id", "contender", "method", "metric", "panel", "class", "example", "seed", "epoch", "setting",
          "experiment")  # fmt: skip

Line = dict[str, str]
Numbered = tuple[int, Line]


def explain(
    path: str | Path,
    row: str | None = None,
    column: str | None = None,
    where: dict[str, str] | None = None,
    root: str | Path = ".",
    line: int | None = None,
) -> dict[str, Any]:
    """The chain behind the fields of a csv that match, or behind a record, a split or a raw file, as plain values.

    `row` names a method, experiment, metric, panel, class or scorecard id (or paper/id); several, divided by `/`, must
    all match (`ResNet-20/TDR`). `column` names a setting or its value, a column of the csv (`gain`), or both
    (`0.005/gain`). `where` compares columns exactly; `line` is the number of a line in the file. Unless asked, single
    seeds are left out and curves are explained at their last epoch. Raises ReweighError if nothing matches.
    """
    path, root = Path(path), Path(root)
    if other := of_path(path, root, column, (where or {}).get("epoch")):
        return {"explain_version": VERSION, **other}
    table, file = read(path, root)
    place, field = _column(table.lines, column)
    asked = table.lines
    if line is not None and not (asked := [one for one in asked if one[0] == line]):
        raise ReweighError(f"{table.shown}: no line {line}; it has lines 2 to {table.lines[-1][0]}")
    chosen = _choose(asked, row, place, where or {}, all_kinds=line is not None)
    chosen = [one for one in chosen if field and one[1][field]] or chosen  # lines that leave it empty say less
    if not chosen:
        raise ReweighError(f"{table.shown}: no line matches; {_offer(asked)}")
    if len(chosen) > MOST:
        raise ReweighError(
            f"{table.shown}: {len(chosen)} lines match; ask for fewer with --row, --column, --where or --line; "
            f"{_differing(chosen)}"
        )
    cells = [cell(number, one, table, field) for number, one in chosen]
    sha256 = file_digest(file)
    drawn, altered = _receipt(file, sha256, table)
    return {
        "explain_version": VERSION,
        "kind": "table",
        "file": table.shown.as_posix(),
        "sha256": sha256,
        "fault": next((one["fault"] for one in cells if one["fault"]), altered),
        "receipt": drawn,
        "cells": cells,
    }


def main(
    path: str | Path,
    row: str | None,
    column: str | None,
    where: list[str],
    as_json: bool = False,
    line: int | None = None,
) -> int:
    """What the command line does: explain, and print a tree or JSON; 1 if the thing is at fault, else 0.

    `where` holds `column=value` pairs.
    """
    pairs = [text.partition("=") for text in where]
    if wrong := next((text for text, (_, sign, _) in zip(where, pairs, strict=True) if not sign), None):
        raise ReweighError(f"--where {wrong!r}: write it as column=value, e.g. --where epoch=50")
    tree = explain(path, row, column, {name: value for name, _, value in pairs}, line=line)
    if as_json:
        print(json.dumps(tree, indent=1, ensure_ascii=False))
    else:
        show(tree)
    return int(bool(tree["fault"]))


# --- choosing lines --------------------------------------------------------------------------------------------------


def read(path: Path, root: Path) -> tuple[Table, Path]:
    """The csv that answers for a path, and where it lies. Raises ReweighError if it cannot be read."""
    shown = path.with_suffix(".csv") if path.suffix in DRAWN else path
    file = root / shown
    try:
        with open(file, newline="") as stream:
            reader = csv.DictReader(stream)
            lines = [(reader.line_num, {name: text or "" for name, text in row.items()}) for row in reader]
    except OSError:
        raise ReweighError(f"{shown}: no such file; make it with: snakemake {shown}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise ReweighError(f"{shown}: not a readable csv ({error}); restore it or make it again") from None
    if not lines or not {"runs", "contender"} & set(lines[0][1]):
        raise ReweighError(
            f"{shown}: has no column 'runs'; explain reads the csv of a figure, a table or a scorecard, a record, "
            "a split, a raw file"
        )
    return Table(shown if not shown.is_absolute() else _below(shown, root), lines, root), file


def _below(path: Path, root: Path) -> Path:
    try:
        return path.resolve().relative_to(root.resolve())
    except ValueError:
        return path


def _column(lines: list[Numbered], asked: str | None) -> tuple[str | None, str | None]:
    """A setting and a column of the csv, either or both, from what `--column` says."""
    if asked is None or any(_is_setting(line, asked) for _, line in lines):
        return asked, None
    place, _, field = asked.rpartition("/")
    if field in lines[0][1]:
        return place or None, field
    return asked, None


def _is_setting(line: Line, asked: str) -> bool:
    return any(_same(line.get(name, ""), asked) for name in ("setting", "value"))


def _choose(
    lines: list[Numbered], row: str | None, column: str | None, where: dict[str, str], all_kinds: bool
) -> list[Numbered]:
    """The lines that match. `all_kinds`: with single seeds, all epochs and what is drawn beside the numbers."""
    known = lines[0][1]
    if unknown := sorted(set(where) - set(known)):
        raise ReweighError(f"no column {unknown[0]!r}; known: {', '.join(known)}")
    chosen = [one for one in lines if all(_same(one[1][name], value) for name, value in where.items())]
    if row is not None:
        exact = [one for one in chosen if row in (one[1].get("id"), f"{one[1].get('paper')}/{one[1].get('id')}")]
        chosen = exact or [one for one in chosen if all(_names(one[1], part) for part in row.split("/"))]
    if column is not None:
        chosen = [one for one in chosen if _is_setting(one[1], column)]
    if all_kinds:
        return chosen
    if "seed" not in where:
        chosen = [one for one in chosen if not one[1].get("seed")]
    if "metric" not in where and row not in AUXILIARY:
        chosen = [one for one in chosen if one[1].get("metric") not in AUXILIARY]
    if "epoch" not in where and any(line.get("epoch") for _, line in chosen):
        last = max(recompute.number(line["epoch"]) or 0 for _, line in chosen)
        chosen = [one for one in chosen if (recompute.number(one[1]["epoch"]) or last) == last]
    return chosen


def _names(line: Line, part: str) -> bool:
    """Whether a word names the line: its method, metric, ... exactly, or a part of its experiment's name."""
    exact = ("method", "title", "metric", "panel", "class", "source", "kind", "id", "contender", "group")
    return any(_plain(line.get(name, "")) == _plain(part) for name in exact) or _plain(part) in _plain(
        line.get("experiment", "")
    )


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _same(found: str, wanted: str) -> bool:
    numbers = recompute.number(found), recompute.number(wanted)
    return found == wanted or (None not in numbers and numbers[0] == numbers[1])


def _offer(lines: list[Numbered]) -> str:
    """What can be asked for."""
    rows = [line.get("title") or line.get("id") or line.get("contender") or line.get("method", "") for _, line in lines]
    settings = [line.get("value") or line.get("setting", "") for _, line in lines]
    first = lines[0][1]
    fields = [name for name in first if source(first, name) != NAME and any(line[name] for _, line in lines)]
    columns = ", ".join(filter(None, (_some(settings), f"or of the csv {_some(fields, 30)}")))
    return f"rows: {_some(rows)}; columns: {columns}"


def _differing(lines: list[Numbered]) -> str:
    """Which columns tell the matching lines apart, and some of their values."""
    values = {name: dict.fromkeys(line.get(name, "") for _, line in lines) for name in NAMING}
    several = [f"{name} ({_some(list(known), 3)})" for name, known in values.items() if len(known) > 1]
    return f"they differ in {', '.join(several)}"


def _some(words: list[str], most: int = OFFERED) -> str:
    """Words, each once; of many the first ones."""
    known = [word for word in dict.fromkeys(words) if word]
    return ", ".join(known[:most]) + (f", ... ({len(known)})" if len(known) > most else "")


def _receipt(file: Path, sha256: str, table: Table) -> tuple[dict[str, Any] | None, str]:
    """What the receipt beside a csv says of its drawing, None without one; and what is wrong with the csv by it."""
    path = file.with_suffix(".json")
    if not path.is_file():
        return None, ""
    try:
        body = receipt.read(path)
    except RecordError as error:
        return None, f"{error}; make it again: {table.remedy}"
    kept = {name: body[name] for name in ("digest", "drawing", "environment", "lock_digest")}
    stated = str(body["files"].get("csv"))
    wrong = f"not the file that was made: its receipt says sha256 {stated[:12]}, it has {sha256[:12]}"
    remedy = f"restore it from git or make it again: {table.remedy}"
    return {
        "file": table.shown.with_suffix(".json").as_posix(),
        **kept,
    }, "" if stated == sha256 else f"{wrong}; {remedy}"
