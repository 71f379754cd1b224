"""Where a number comes from: from a field of a csv, through aggregation, runs and split, back to the raw files.

    tree = explain("figures/paper/tdr/table1.csv", row="tdr", column="0.05")
    show(tree)                                      # a tree in the terminal; json.dumps(tree) for machines

A figure (.pdf, .png, .ipynb, or without ending) or a page of the scorecard is explained by the csv beside it. A record,
a split, a raw file, the published numbers and the measured speeds can be explained too. Only the records that feed the
number are read, so the time does not grow with the number of records.

The tree, in JSON: `explain_version`; `kind` ("table", "record", "split" or "raw"); `file`, `sha256` (null if the file
itself does not exist); `fault` ("", or the first fault and what to do). A table has its `receipt` (null, or what
`artifacts.receipt` says of its making) and `cells`, each with `number` (of the line in the file), `column` (if one was
asked for), `line` (its fields), `check` (a sentence), `fault`, `columns` (for each field its `value`, `how` it is made,
`from` which parts of the cell, and its `check`) and those parts (see `evidence`), of which `runs` is a list of chains
(see `lineage.of_run`). `files` describes the other kinds.
"""

import csv
import json
import os
import unicodedata
from pathlib import Path
from typing import Any

from reweigh import spreadsheets
from reweigh.artifacts import receipt
from reweigh.digest import file_digest
from reweigh.errors import ConfigError, RecordError
from reweigh.listing import visible
from reweigh.nearest import nearest
from reweigh.provenance import recompute
from reweigh.provenance.explain.columns import NAME, source
from reweigh.provenance.explain.evidence import Table, cell
from reweigh.provenance.explain.files import READS, of_path
from reweigh.provenance.explain.tree import as_tree, show

__all__ = ["VERSION", "as_tree", "explain", "main", "read", "show"]

VERSION = 1
MOST = 24  # lines that one call explains; more would not be readable
OFFERED = 16  # values of a column that an error message names
BESIDE_CSV = (".pdf", ".png", ".ipynb", ".html", ".md", ".json", "")  # files that are explained by the csv beside them
EXPLAINED = ("figures/*/*/*.csv", "results/*/scorecard.csv", "results/bench/*.csv", "data/published/*.csv")
OF_PAGES = ("results", "local")  # where `reweigh compare` writes its pages
AUXILIARY = ("class_weight_density", "inverse_frequency")
# The columns that a csv must have at least: a figure's or scorecard's, that of the bench, published numbers.
KINDS = ({"runs", "records", "metric", "method"}, {"contender"}, {"table_or_figure", "metric", "mean"})
DISTINGUISHING = ("title", "id", "contender", "method", "metric", "panel", "class", "example", "seed", "epoch",
                  "setting", "experiment")  # fmt: skip

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

    `row` names a method, experiment, metric, panel, class or scorecard id (or paper/id); several, separated by `/`,
    must all match (`ResNet-20/TDR`). `column` names a setting or its value, a column of the csv (`gain`), or both
    (`0.005/gain`). `where` compares columns exactly; `line` is the number of a line in the file. Unless asked for,
    single seeds are left out and curves are explained at their last epoch. Raises ConfigError if nothing matches, or if
    an option does not apply to the file; RecordError if a file cannot be read.
    """
    root = Path(root)
    path, options = below(path, root), {"row": row, "column": column, "line": line, **(where or {})}
    if answer := of_path(path, root, {name: str(value) for name, value in options.items() if value is not None}):
        return {"explain_version": VERSION, **answer}
    table, file = read(path, root)
    setting, field = _column(table.lines, column)
    candidates = table.lines
    if line is not None and not (candidates := [numbered for numbered in table.lines if numbered[0] == line]):
        raise ConfigError(f"{table.shown}: no line {line}; it has lines 2 to {table.lines[-1][0]}")
    chosen = _choose(candidates, row, setting, where or {}, all_kinds=line is not None)
    chosen = [numbered for numbered in chosen if field and numbered[1][field]] or chosen  # prefer lines that have it
    if not chosen:
        raise ConfigError(f"{table.shown}: no line matches; {_offer(candidates)}")
    if len(chosen) > MOST and "contender" not in chosen[0][1]:  # the answer to a line of the bench is short
        raise ConfigError(
            f"{table.shown}: {len(chosen)} lines match; ask for fewer with --row, --column, --where or --line; "
            f"{_differing(chosen)}"
        )
    cells = [cell(number, fields, table, field) for number, fields in chosen]
    sha256 = file_digest(file)
    made, altered = _receipt(file, sha256, table)
    return {
        "explain_version": VERSION,
        "kind": "table",
        "file": table.shown.as_posix(),
        "sha256": sha256,
        "fault": next((one_cell["fault"] for one_cell in cells if one_cell["fault"]), altered),
        "receipt": made,
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
    """The command `reweigh explain`: print a tree or JSON. The exit code is 1 if there is a fault, else 0.

    `where` holds `column=value` pairs.
    """
    pairs = [text.partition("=") for text in where]
    if malformed := next((text for text, (_, sign, _) in zip(where, pairs, strict=True) if not sign), None):
        raise ConfigError(f"--where {malformed!r}: write it as column=value, e.g. --where epoch=50")
    tree = explain(path, row, column, {name: value for name, _, value in pairs}, line=line)
    if as_json:
        print(json.dumps(tree, indent=1, ensure_ascii=False))
    else:
        show(tree)
    return int(bool(tree["fault"]))


# --- choosing lines --------------------------------------------------------------------------------------------------


def below(path: str | Path, root: Path) -> Path:
    """A path relative to the root. Raises ConfigError for a folder, or for a path outside of the root."""
    home = os.path.abspath(root)
    full = os.path.abspath(os.path.join(home, path))
    for target, start in ((full, home), (os.path.realpath(full), os.path.realpath(home))):
        shown = os.path.relpath(target, start)
        if shown.split(os.sep)[0] != os.pardir:
            break
    else:
        raise ConfigError(f"{path}: outside of the project; explain reads {READS}")
    if os.path.isdir(full) and not os.path.isfile(f"{full}.csv"):
        raise ConfigError(f"{path or '.'}: a folder; explain reads {READS}")
    return Path(shown)


def read(path: Path, root: Path) -> tuple[Table, Path]:
    """The csv that explains a path below the root, and its file.

    Raises ConfigError if it does not exist or is not one that explain reads, RecordError if it is damaged.
    """
    shown = path.with_suffix(".csv") if path.suffix in BESIDE_CSV else path
    if shown.parts[:2] == OF_PAGES and len(shown.parts) == 4:  # the page of a comparison has the figure's numbers
        shown = Path("figures", *shown.parts[1:])
    file, home, action = root / shown, shown.parts[0], f"restore {shown} from git or make it again"
    try:
        with open(file, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            numbered = ((reader.line_num, row) for row in reader)
            lines = [(number, {name: _text(text, home) for name, text in row.items()}) for number, row in numbered]
    except OSError:
        raise ConfigError(_absent(path, shown, root)) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise RecordError(f"{shown}: not a readable csv ({error}); {action}") from None
    fields = set(lines[0][1]) if lines else set()
    if not any(kind <= fields for kind in KINDS) or (home == "data") != (KINDS[-1] <= fields):
        if home in ("figures", "results"):
            raise RecordError(f"{shown}: it lacks columns that such a csv has, or it has no line; {action}")
        raise ConfigError(f"{shown}: cannot be explained; explain reads {READS}")
    if torn := next((number for number, line in lines if set(line) != fields or None in line), 0):
        raise RecordError(f"{shown}: line {torn} has more fields than the header; {action}")
    return Table(shown, lines, root), file


def _text(cell: Any, home: str) -> Any:
    """What a cell says, empty where the line has none; the published numbers were typed by hand, as they are."""
    return spreadsheets.plain(cell) if isinstance(cell, str) and home != "data" else cell or ""


def _absent(path: Path, shown: Path, root: Path) -> str:
    """What to do if there is no csv for a path: only artifacts of the config and scorecards can be made."""
    from reweigh.config.loading import load
    from reweigh.config.specs import SCALES
    from reweigh.config.validation import lookup

    match shown.with_suffix("").parts:
        case ("figures", scale, paper, name) if shown.suffix in (".csv", *BESIDE_CSV):
            lookup("scale", scale, SCALES)
            load(root).artifact(paper, name)  # or it raises an error that names those that exist
        case ("results", scale, "scorecard"):
            lookup("scale", scale, SCALES)
        case _ if (root / path).exists():
            return f"{path}: cannot be explained; explain reads {READS}"
        case _:
            return f"{path}: no such file{_nearest_file(path, root)}"
    return f"{shown}: no such file; make it with: snakemake {shown}"


def _nearest_file(path: Path, root: Path) -> str:
    """The csv that was meant, to end an error with: one of the same name elsewhere, or one with a similar name."""
    known = [file.relative_to(root) for pattern in EXPLAINED for file in visible(root, pattern)]
    same = [file.as_posix() for file in known if f"/{file.with_suffix('')}".endswith(f"/{path.with_suffix('')}")]
    if same:
        return f"; did you mean {' or '.join(same[:OFFERED])}?"
    near = nearest(path.as_posix(), [file.as_posix() for file in known])
    return f"; did you mean {near}?" if near else f"; explain reads {READS}"


def _column(lines: list[Numbered], asked: str | None) -> tuple[str | None, str | None]:
    """A setting and a column of the csv, either or both, from the value of `--column`."""
    if asked is None or any(_is_setting(line, asked) for _, line in lines):
        return asked, None
    setting, _, field = asked.rpartition("/")
    if field in lines[0][1]:
        return setting or None, field
    return asked, None


def _is_setting(line: Line, asked: str) -> bool:
    return any(_same(line.get(name, ""), asked) for name in ("setting", "value"))


def _choose(
    lines: list[Numbered], row: str | None, column: str | None, where: dict[str, str], all_kinds: bool
) -> list[Numbered]:
    """The lines that match. With `all_kinds`, also single seeds, all epochs and auxiliary metrics."""
    columns = lines[0][1]
    if unknown := sorted(set(where) - set(columns)):
        raise ConfigError(f"no column {unknown[0]!r}; known: {', '.join(columns)}")
    chosen = [(number, line) for number, line in lines if all(_same(line[name], where[name]) for name in where)]
    if row is not None:
        by_id = [
            (number, line)
            for number, line in chosen
            if row in (line.get("id"), f"{line.get('paper')}/{line.get('id')}")
        ]
        words = row.split("/")
        chosen = by_id or [(number, line) for number, line in chosen if all(_names(line, word) for word in words)]
    if column is not None:
        chosen = [(number, line) for number, line in chosen if _is_setting(line, column)]
    if all_kinds:
        return chosen
    if "seed" not in where:
        chosen = [(number, line) for number, line in chosen if not line.get("seed")]
    if "metric" not in where and row not in AUXILIARY:
        chosen = [(number, line) for number, line in chosen if line.get("metric") not in AUXILIARY]
    if "epoch" not in where and any(line.get("epoch") for _, line in chosen):
        last = max(recompute.number(line["epoch"]) or 0 for _, line in chosen)
        chosen = [(number, line) for number, line in chosen if (recompute.number(line["epoch"]) or last) == last]
    return chosen


def _names(line: Line, word: str) -> bool:
    """Whether a word names the line: its method, metric, ... exactly, or a part of its experiment's name.

    One without a letter or digit names nothing, but for what is called so to the letter.
    """
    exact = ("method", "title", "metric", "panel", "class", "source", "kind", "id", "contender", "group",
             "table_or_figure", "dataset")  # fmt: skip
    if not (plain := _plain(word)):
        return bool(word) and word in [line.get(name) for name in exact]
    return any(_plain(line.get(name, "")) == plain for name in exact) or plain in _plain(line.get("experiment", ""))


def _plain(text: str) -> str:
    """The letters and digits of a text, of any script, in small letters; accents and vowel signs are part of them.

    >>> _plain("LDAM-DRW (ours)"), _plain("Été № 1"), _plain("हिन्दी") == _plain("हन्द"), _plain("(–)")
    ('ldamdrwours', 'éténo1', False, '')
    """
    letters = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in letters if unicodedata.category(letter)[0] in "LNM")


def _same(text: str, wanted: str) -> bool:
    numbers = recompute.number(text), recompute.number(wanted)
    return text == wanted or (None not in numbers and numbers[0] == numbers[1])


def _offer(lines: list[Numbered]) -> str:
    """The rows and columns that can be asked for."""
    rows = [line.get("title") or line.get("id") or line.get("contender") or line.get("method", "") for _, line in lines]
    settings = [line.get("value") or line.get("setting", "") for _, line in lines]
    first = lines[0][1]
    fields = [name for name in first if source(first, name) != NAME and any(line[name] for _, line in lines)]
    columns = ", ".join(filter(None, (_some(settings), f"or of the csv {_some(fields, 30)}")))
    return f"rows: {_some(rows)}; columns: {columns}"


def _differing(lines: list[Numbered]) -> str:
    """The columns in which the matching lines differ, with some of their values."""
    values_of = {name: dict.fromkeys(line.get(name, "") for _, line in lines) for name in DISTINGUISHING}
    several = [f"{name} ({_some(list(values), 3)})" for name, values in values_of.items() if len(values) > 1]
    return f"they differ in {', '.join(several)}"


def _some(words: list[str], most: int = OFFERED) -> str:
    """The first words, each once, and how many there are if they are more."""
    unique = [word for word in dict.fromkeys(words) if word]
    return ", ".join(unique[:most]) + (f", ... ({len(unique)})" if len(unique) > most else "")


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
    altered = f"not the file that was made: its receipt says sha256 {stated[:12]}, it has {sha256[:12]}"
    remedy = f"restore it from git or make it again: {table.remedy}"
    return {
        "file": table.shown.with_suffix(".json").as_posix(),
        **kept,
    }, "" if stated == sha256 else f"{altered}; {remedy}"
