"""Where a number comes from: from a field of a csv, through aggregation, runs and split, back to the raw files.

    tree = explain("figures/paper/tdr/table1.csv", row="TDR", column="0.05")
    show(tree)                                      # a tree in the terminal; json.dumps(tree) for machines

For a figure (.pdf, .png, .ipynb, or without ending) and a scorecard's page the csv beside them answers. A record, a
split, a raw file, the published numbers and the measured speeds can be asked too. Only the records that feed the number
are read, so it takes no longer where there are thousands.

The tree, in JSON: `explain_version`; `kind` ("table", "record", "split" or "raw"); `file`, `sha256` (null where the
file itself is not there); `fault` ("", or what is wrong first and what to do). A table has its `receipt` (null, or what
`artifacts.receipt` says of its making) and `cells`, each with `number` (of the line in the file), `column` (if one was
asked for), `line` (its fields), `check` (a sentence), `fault`, `columns` (for each field `value`, `how` it is made,
`from` which parts of the cell, `check`) and those parts (see `evidence`), of which `runs` is a list of chains (see
`lineage.of_run`). The other kinds are described in `files`.
"""

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

from reweigh.artifacts import receipt
from reweigh.digest import file_digest
from reweigh.errors import ConfigError, RecordError
from reweigh.provenance import recompute
from reweigh.provenance.explain.columns import NAME, source
from reweigh.provenance.explain.evidence import Table, cell
from reweigh.provenance.explain.files import READS, of_path
from reweigh.provenance.explain.tree import as_tree, show

__all__ = ["VERSION", "as_tree", "explain", "main", "read", "show"]

VERSION = 1
MOST = 24  # cells that one call explains; a narrower question gets a readable answer
OFFERED = 16  # values of a column that an answer to an unclear question names
DRAWN = (".pdf", ".png", ".ipynb", ".html", ".md", ".json", "")  # what answers for the csv of the same name
AUXILIARY = ("class_weight_density", "inverse_frequency")
# What a csv that explain reads has at least: a figure's or scorecard's, that of the bench, published numbers.
KINDS = ({"runs", "records", "metric", "method"}, {"contender"}, {"table_or_figure", "metric", "mean"})
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
    seeds are left out and curves are explained at their last epoch. Raises ConfigError if nothing matches, or if an
    option does not apply to what is asked; RecordError if the file that answers cannot be read.
    """
    root = Path(root)
    path, asked_of = below(path, root), {"row": row, "column": column, "line": line, **(where or {})}
    if other := of_path(path, root, {name: str(value) for name, value in asked_of.items() if value is not None}):
        return {"explain_version": VERSION, **other}
    table, file = read(path, root)
    place, field = _column(table.lines, column)
    asked = table.lines
    if line is not None and not (asked := [one for one in asked if one[0] == line]):
        raise ConfigError(f"{table.shown}: no line {line}; it has lines 2 to {table.lines[-1][0]}")
    chosen = _choose(asked, row, place, where or {}, all_kinds=line is not None)
    chosen = [one for one in chosen if field and one[1][field]] or chosen  # lines that leave it empty say less
    if not chosen:
        raise ConfigError(f"{table.shown}: no line matches; {_offer(asked)}")
    if len(chosen) > MOST and "contender" not in chosen[0][1]:  # of a measurement there is little to say a line
        raise ConfigError(
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
        raise ConfigError(f"--where {wrong!r}: write it as column=value, e.g. --where epoch=50")
    tree = explain(path, row, column, {name: value for name, _, value in pairs}, line=line)
    if as_json:
        print(json.dumps(tree, indent=1, ensure_ascii=False))
    else:
        show(tree)
    return int(bool(tree["fault"]))


# --- choosing lines --------------------------------------------------------------------------------------------------


def below(path: str | Path, root: Path) -> Path:
    """A path as it is written below the root. Raises ConfigError for a folder, or what lies elsewhere."""
    home = os.path.abspath(root)
    full = os.path.abspath(os.path.join(home, path))
    for there, start in ((full, home), (os.path.realpath(full), os.path.realpath(home))):
        shown = os.path.relpath(there, start)
        if shown.split(os.sep)[0] != os.pardir:
            break
    else:
        raise ConfigError(f"{path}: outside of the project; explain reads {READS}")
    if os.path.isdir(full) and not os.path.isfile(f"{full}.csv"):
        raise ConfigError(f"{path or '.'}: a folder; explain reads {READS}")
    return Path(shown)


def read(path: Path, root: Path) -> tuple[Table, Path]:
    """The csv that answers for a path below the root, and where it lies.

    Raises ConfigError if it is not there or not one that explain reads, RecordError if it is damaged.
    """
    shown = path.with_suffix(".csv") if path.suffix in DRAWN else path
    file, home, again = root / shown, shown.parts[0], f"restore {shown} from git or make it again"
    try:
        with open(file, newline="") as stream:
            reader = csv.DictReader(stream)
            lines = [(reader.line_num, {name: text or "" for name, text in row.items()}) for row in reader]
    except OSError:
        raise ConfigError(_absent(path, shown, root)) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise RecordError(f"{shown}: not a readable csv ({error}); {again}") from None
    fields = set(lines[0][1]) if lines else set()
    if not any(kind <= fields for kind in KINDS) or (home == "data") != (KINDS[-1] <= fields):
        if home in ("figures", "results"):
            raise RecordError(f"{shown}: it has not the columns of such a csv, or no line; {again}")
        raise ConfigError(f"{shown}: not something that leads to runs; explain reads {READS}")
    if torn := next((number for number, line in lines if set(line) != fields or None in line), 0):
        raise RecordError(f"{shown}: line {torn} has more fields than the header; {again}")
    return Table(shown, lines, root), file


def _absent(path: Path, shown: Path, root: Path) -> str:
    """What to do where no csv answers for a path: only artifacts of the config and scorecards can be made."""
    from reweigh.config.grid import load
    from reweigh.config.specs import SCALES
    from reweigh.config.validation import lookup

    match shown.with_suffix("").parts:
        case ("figures", scale, paper, name):
            lookup("scale", scale, SCALES)
            load(root).artifact(paper, name)  # or it says what there is
        case ("results", scale, "scorecard"):
            lookup("scale", scale, SCALES)
        case _:
            return f"{path}: not something that leads to runs; explain reads {READS}"
    return f"{shown}: no such file; make it with: snakemake {shown}"


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
        raise ConfigError(f"no column {unknown[0]!r}; known: {', '.join(known)}")
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
    exact = ("method", "title", "metric", "panel", "class", "source", "kind", "id", "contender", "group",
             "table_or_figure", "dataset")  # fmt: skip
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
    """What the receipt beside a csv says of its making, None without one; and what is wrong with the csv by it."""
    path = file.with_suffix(".json")
    if not path.is_file():
        return None, ""
    try:
        body = receipt.read(path)
    except RecordError as error:
        return None, f"{error}; make it again: {table.remedy}"
    kept = {name: body[name] for name in ("digest", "rendering", "environment", "lock_digest")}
    stated = str(body["files"].get("csv"))
    wrong = f"not the file that was made: its receipt says sha256 {stated[:12]}, it has {sha256[:12]}"
    remedy = f"restore it from git or make it again: {table.remedy}"
    return {
        "file": table.shown.with_suffix(".json").as_posix(),
        **kept,
    }, "" if stated == sha256 else f"{wrong}; {remedy}"
