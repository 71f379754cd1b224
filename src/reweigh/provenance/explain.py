"""Where a number comes from: from a line of a csv, through aggregation, runs and split, back to the raw files.

    tree = explain("figures/paper/tdr/table1.csv", row="TDR", column="0.05")
    show(tree)                                      # a tree in the terminal; json.dumps(tree) for machines

Only the records that feed the number are read, so it takes no longer where there are thousands.
"""

import csv
import json
import re
from pathlib import Path
from typing import Any

from reweigh import attestations, record
from reweigh.digest import file_digest
from reweigh.errors import RecordError, ReweighError
from reweigh.provenance import recompute
from reweigh.results import fingerprint, unpack

MOST = 24  # cells that one call explains; a narrower question gets a readable answer
EDITIONS = {
    "official": "the official files",
    "reconstruction": "a reconstruction, not the official files",
    "slice": "an exact slice of the official files",
}
AUXILIARY = ("class_weight_density", "inverse_frequency")


def explain(
    path: str | Path,
    row: str | None = None,
    column: str | None = None,
    where: dict[str, str] | None = None,
    root: str | Path = ".",
) -> dict[str, Any]:
    """The chain behind the cells of a csv that match, as plain nested values.

    `row` names a method, experiment, metric, panel, class or scorecard id; several, divided by `/`, must all match
    (`ResNet-20/TDR`). `column` names a setting or its value. `where` compares columns exactly. Unless asked,
    single seeds are left out and curves are explained at their last epoch. Raises ReweighError if nothing matches.
    """
    path, root = Path(path), Path(root)
    file = path if path.is_absolute() else root / path
    lines = _read(file, path)
    chosen = _choose(lines, row, column, where or {})
    if not chosen:
        raise ReweighError(f"{path}: no line matches; {_offer(lines)}")
    if len(chosen) > MOST:
        raise ReweighError(
            f"{path}: {len(chosen)} lines match; ask for fewer with --row, --column or --where; {_offer(lines)}"
        )
    cells = [_cell(line, root) for line in chosen]
    return {"file": path.as_posix(), "sha256": file_digest(file), "cells": cells}


def main(path: str | Path, row: str | None, column: str | None, where: list[str], as_json: bool = False) -> None:
    """What the command line does: explain, and print a tree or JSON. `where` holds `column=value` pairs."""
    pairs = [text.partition("=") for text in where]
    if wrong := next((text for text, (_, sign, _) in zip(where, pairs, strict=True) if not sign), None):
        raise ReweighError(f"--where {wrong!r}: write it as column=value, e.g. --where epoch=50")
    tree = explain(path, row, column, {name: value for name, _, value in pairs})
    if as_json:
        print(json.dumps(tree, indent=1, ensure_ascii=False))
    else:
        show(tree)


# --- choosing lines --------------------------------------------------------------------------------------------------


def _read(file: Path, shown: Path) -> list[dict[str, str]]:
    try:
        with open(file, newline="") as stream:
            lines = list(csv.DictReader(stream))
    except OSError:
        raise ReweighError(f"{shown}: no such file; make it with: snakemake {shown.with_suffix('.csv')}") from None
    if lines and "runs" not in lines[0]:
        raise ReweighError(f"{shown}: has no column 'runs'; explain reads the csv of a figure, a table or a scorecard")
    return lines


def _choose(
    lines: list[dict[str, str]], row: str | None, column: str | None, where: dict[str, str]
) -> list[dict[str, str]]:
    if lines and (unknown := sorted(set(where) - set(lines[0]))):
        raise ReweighError(f"no column {unknown[0]!r}; known: {', '.join(lines[0])}")
    chosen = [line for line in lines if all(_same(line[name], value) for name, value in where.items())]
    if row is not None:
        chosen = [
            line for line in chosen if all(_names(line, part) for part in row.split("/")) or line.get("id") == row
        ]
    if column is not None:
        chosen = [line for line in chosen if any(_same(line.get(name, ""), column) for name in ("setting", "value"))]
    if "seed" not in where:
        chosen = [line for line in chosen if not line.get("seed")]
    if "metric" not in where:
        chosen = [line for line in chosen if line["metric"] not in AUXILIARY]
    if "epoch" not in where and any(line.get("epoch") for line in chosen):
        last = max(recompute.number(line["epoch"]) or 0 for line in chosen)
        chosen = [line for line in chosen if (recompute.number(line["epoch"]) or last) == last]
    return chosen


def _names(line: dict[str, str], part: str) -> bool:
    """Whether a word names the line: its method, metric, ... exactly, or a part of its experiment's name."""
    exact = ("method", "title", "metric", "panel", "class", "source", "kind", "id")
    return any(_plain(line.get(name, "")) == _plain(part) for name in exact) or _plain(part) in _plain(
        line.get("experiment", "")
    )


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _same(found: str, wanted: str) -> bool:
    numbers = recompute.number(found), recompute.number(wanted)
    return found == wanted or (None not in numbers and numbers[0] == numbers[1])


def _offer(lines: list[dict[str, str]]) -> str:
    """What can be asked for."""
    rows = dict.fromkeys(line.get("title") or line.get("id") or line["method"] for line in lines)
    columns = dict.fromkeys(line.get("value") or line["setting"] for line in lines)
    return f"rows: {', '.join(rows)}; columns: {', '.join(columns)}"


# --- the chain -------------------------------------------------------------------------------------------------------


def _cell(line: dict[str, str], root: Path) -> dict[str, Any]:
    """One line of the csv: its numbers, whether they are what its records give, and the runs behind it."""
    kept = {
        name: value for name, value in line.items() if value and name not in ("runs", "records", "text", "scale_note")
    }
    runs = unpack(line["runs"])
    cell: dict[str, Any] = {"line": kept, "runs": [_run(run, line, root) for run in runs]}
    bodies = [one.pop("body") for one in cell["runs"]]
    if not runs:
        cell["check"] = f"not run: {line.get('note') or 'no record feeds this line'}"
    elif None in bodies:
        cell["check"] = "cannot be computed again: a record is missing or altered"
    elif fingerprint(body["digest"] for body in bodies) != line["records"]:
        cell["check"] = "made from other records than those that are there now; make it again"
    elif (again := recompute.line(line, bodies, root)) is None:
        cell["check"] = "made from exactly these records"
    elif wrong := recompute.differences(line, again):
        cell["check"] = f"NOT what the records give: {'; '.join(wrong)}"
    else:
        cell["check"] = "computed again from these records: the same"
    return cell


def _run(run: str, line: dict[str, str], root: Path) -> dict[str, Any]:
    """One run: its record, what it depended on, its split, and the raw files behind that."""
    path = record.record_path(run, root)
    shown = record.record_path(run).as_posix()
    try:
        body = record.read(path)
    except RecordError as error:
        return {"run": run, "record": shown, "state": str(error), "body": None}
    return {
        "run": run,
        "record": shown,
        "state": "intact: its content has the digest that it states",
        "digest": body["digest"],
        "value": recompute.value_of(body, line["metric"], recompute.number(line.get("epoch"))),
        "status": body["status"],
        "spec_digest": body["spec_digest"],
        "code": {
            "digest": body["code"]["digest"],
            "files": len(body["code"]["files"]),
            "changed_since": _changed(body),
            "attested": _attested(body, root),
        },
        "git": body["git"],
        "environment": body["environment"],
        "device": body["device"],
        "seconds": body["seconds"],
        "started": body["started"],
        "ended": body["ended"],
        "split": {**body["split"], "seed": body["spec"]["seed"], "recipe": body["spec"]["data"]["split"]},
        "raw": [{**file, "what": EDITIONS.get(file["edition"], file["edition"])} for file in body["raw"]],
        "body": body,
    }


def _changed(body: dict[str, Any]) -> list[str]:
    """The source files that are not what they were when the run was made."""
    try:
        now = record.code_files(body["spec"])
    except ModuleNotFoundError as error:
        return [str(error)]
    then = body["code"]["files"]
    return sorted(name for name in {*now, *then} if now.get(name) != then.get(name))


def _attested(body: dict[str, Any], root: Path) -> str:
    """What is attested of an edit of the run's code since; empty if nothing is."""
    try:
        now = record.code_digest(body["spec"])
    except ModuleNotFoundError:
        return ""
    step = attestations.load(root).step(body["digest"], "code", body["code"]["digest"], now)
    return step.text if step else ""


# --- on the terminal -------------------------------------------------------------------------------------------------


def show(tree: dict[str, Any]) -> None:
    """Print the chain as a tree. What several runs share is written out once."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 400  # a file or a pipe has no edge to break lines at
    console.print(as_tree(tree))


def as_tree(tree: dict[str, Any]) -> Any:
    """The chain as rich's tree."""
    from rich.markup import escape
    from rich.tree import Tree

    top = Tree(f"[bold]{escape(tree['file'])}[/] sha256 {tree['sha256'][:12]}")
    for cell in tree["cells"]:
        branch = top.add(escape(_headline(cell["line"])))
        branch.add(escape(cell["check"]))
        seen: set[str] = set()
        for run in cell["runs"]:
            _add_run(branch, run, seen)
    return top


def _headline(line: dict[str, str]) -> str:
    name = line.get("title") or line.get("id") or line.get("method", "")
    place = " ".join(filter(None, (line.get("experiment"), line.get("setting"))))
    epoch = f" after epoch {line['epoch']}" if line.get("epoch") else ""
    numbers = [
        f"{key} {line[key]}"
        for key in ("mean", "sd", "low", "high", "n", "effect", "p_holm", "published", "verdict")
        if key in line
    ]
    return f"{name}, {place}, {line['metric'].replace('_', ' ')}{epoch}: {', '.join(numbers)}"


def _add_run(branch: Any, run: dict[str, Any], seen: set[str]) -> None:
    from rich.markup import escape

    if "digest" not in run:
        branch.add(escape(f"{run['run']}: {run['state']}"))
        return
    value = "" if run["value"] is None else f" = {run['value']:.6g}"
    node = branch.add(escape(f"{run['run']}{value} ({run['status']})"))
    node.add(escape(f"record {run['record']}, intact, digest {run['digest'][:12]}, spec {run['spec_digest'][:12]}"))
    if (made := _made(run)) not in seen:
        node.add(escape(made))
    seen.add(made)
    split = run["split"]
    sizes = ", ".join(f"{part} {sum(counts)} {counts}" for part, counts in split["sizes"].items() if sum(counts))
    place = node.add(escape(f"split {split['path']}, digest {split['digest'][:12]}, seed {split['seed']}: {sizes}"))
    files = [_raw_file(file) for file in run["raw"]]
    if "".join(files) in seen:
        place.add("from the same raw files, read and trained as above")
    else:
        for text in files:
            place.add(escape(text))
    seen.add("".join(files))


def _raw_file(file: dict[str, Any]) -> str:
    address = file["url"] or "no public address"
    what = f"{file['name']} ({file['dataset']}, {file['what']})"
    return f"{what}, sha256 {file['sha256']}, taken from {file['source']}, {address}"


def _made(run: dict[str, Any]) -> str:
    """One line on what made the run: code, commit, versions, device."""
    commit, changed = run["git"]["commit"], run["code"]["changed_since"]
    since = run["code"]["attested"] or (f"changed since: {', '.join(changed)}" if changed else "as today")
    code = f"code {run['code']['digest'][:12]} ({run['code']['files']} files, {since})"
    git = f"commit {commit[:12]}{' with changes' if run['git']['dirty'] else ''}" if commit else "no commit"
    versions = f"Python {run['environment']['python']}, torch {run['environment']['torch']}"
    return f"{code}, {git}, {versions}, {run['device']['name']} ({run['device']['precision']})"
