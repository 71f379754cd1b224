"""Numbers that no run feeds: a toy computed from the config, class sizes by formula or by list, measured speeds."""

import functools
import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reweigh.analysis.gains import MEASURED_TIMES, PRINTED, PRINTED_GAIN, PRINTED_TIMES
from reweigh.analysis.rows import BY_COUNT, CLASS_SIZE, DECISION_LINE, EXAMPLE, LAW_SIZE, OF_DRAWS, WEIGHT, Row
from reweigh.config.grid import Config
from reweigh.data.catalogue import Edition, Manifest, Source
from reweigh.digest import PACKAGE, source_digest
from reweigh.provenance.recompute import number
from reweigh.records import lineage, record
from reweigh.records.lineage import EDITIONS

OF_OPTIONS = (EXAMPLE, WEIGHT, DECISION_LINE)  # metrics of what the options of an artifact decide


@dataclass
class Formula:
    """What a line was computed from. `again`: its numbers, computed anew; `unchecked`: why that was not done."""

    how: str
    keys: tuple[str, ...]  # where the config says what it depends on
    code: str  # the file that computes it, below src/reweigh
    again: dict[str, Any] = field(default_factory=dict)
    raw: list[dict[str, Any]] = field(default_factory=list)
    unchecked: str = ""

    def fact(self) -> dict[str, Any]:
        """As plain values; the digest of the code is today's."""
        where = {"file": f"src/reweigh/{self.code}", "digest": _code_digest(self.code)}
        return {"how": self.how, "key": ".".join(self.keys), "code": where, "raw": self.raw}


def of_line(config: Config, scale: str, paper: str, name: str, line: dict[str, str]) -> Formula | None:
    """How a figure's line that names no runs was computed; None for one that is not computed at all."""
    if line.get("status") != "computed" or paper not in config.papers:
        return None
    if found := _of_own_options(config, paper, name, line) or _of_molere(config, paper, name, line):
        return found
    if line["metric"] == MEASURED_TIMES:
        return _of_bench(config, paper, name, line)
    if (
        line["metric"] in OF_OPTIONS
        or line["metric"] in OF_DRAWS
        or "inner_rate" in config.artifact(paper, name).options
    ):
        return _toy(config, paper, name, line)
    if line["metric"] == LAW_SIZE:
        return Formula(
            "Pareto's law through what the config states of the data set",
            ("artifacts", name, "options", "laws"),
            "plots/sizes.py",
            {"y": _by_law(config.artifact(paper, name).options["laws"], line)},
        )
    return _sizes(config, paper, line) if line["metric"] == CLASS_SIZE else None


# Kinds of figures whose `toy_rows` make lines of an artifact's options, by an option that only they have.
BY_OPTION = {
    "cells": "autobalance.cells",
    "multipliers": "autobalance.margins",
    "summands": "autobalance.sign",
    "gammas": "har.toy_rows",
}


def _of_own_options(config: Config, paper: str, name: str, line: dict[str, str]) -> Formula | None:
    """How a line that only AutoBalance's and HAR's figures have was computed; None for any other."""
    options = config.artifact(paper, name).options
    how, keys = "computed from the config's options alone", ("artifacts", name, "options")
    kind = next((BY_OPTION[option] for option in BY_OPTION if option in options), "")
    raw: list[dict[str, Any]] = []
    if kind:
        rows = _rows(kind, "toy_rows", options)
    elif line["metric"] == "examples_of_rank":
        from reweigh.plots.papers.autobalance.clusters import size_rows

        kind, how = "autobalance.clusters", "the formula of the split"
        keys = ("experiments", line["experiment"], "settings")
        rows = size_rows(config, paper, line["experiment"], line["setting"])
        raw = _drawn_from(config, config.experiment(paper, line["experiment"]).dataset or "")
    elif line["metric"] == "product_in_plain_steps":
        from reweigh.plots.papers.autobalance.cost import product_rows

        kind, how = "autobalance.cost", "a ratio that reweigh bench measured"
        rows = product_rows(config.root, options)
    else:
        return None
    return Formula(how, keys, f"plots/papers/{kind.replace('.', '/')}.py", _like(rows, line), raw)


def _of_molere(config: Config, paper: str, name: str, line: dict[str, str]) -> Formula | None:
    """How a line of MOLERE's was made of printed numbers; None for any other."""
    metric, options = line["metric"], config.artifact(paper, name).options
    if metric not in (PRINTED, PRINTED_GAIN, PRINTED_TIMES):
        return None
    from reweigh.plots.papers.molere import cost, gains, variants

    kind, how = "cost", "as the paper states it"
    if metric == PRINTED_TIMES:
        rows = cost.printed_rows(config, paper)
    elif metric == PRINTED_GAIN:
        kind, rows = "variants", variants.printed_rows(config, paper, name, line["method"])
    else:
        kind, how = "gains", "two numbers of the paper divided, less 1, or what its text says of that"
        rows = gains.printed_rows(config, paper, options.get("in_text", []), line["against"])
    return Formula(how, ("published", "file"), f"plots/papers/molere/{kind}.py", _like(_of_cell(rows, line), line))


def _of_bench(config: Config, paper: str, name: str, line: dict[str, str]) -> Formula:
    """How a line of the bench's ratios was made."""
    from reweigh.plots.costs import bench_rows

    rows = bench_rows(config.root, config.artifact(paper, name).options)
    how, keys = "a ratio that reweigh bench measured", ("artifacts", name, "options")
    return Formula(how, keys, "plots/costs.py", _like(_of_cell(rows, line), line))


def _of_cell(rows: Sequence[Row], line: dict[str, str]) -> list[Row]:
    """The rows of the cell of a line."""
    cell = ("experiment", "setting", "method", "against")
    return [row for row in rows if all((row.get(key) or "") == (line.get(key) or "") for key in cell)]


def _like(rows: Sequence[Mapping[str, Any]], line: dict[str, str]) -> dict[str, Any]:
    """Where the row lies that has the names of a line; of several, the one that is nearest by x, then by y."""
    words, places = ("metric", "title", "note"), ("class", "example")
    shown = [
        row
        for row in rows
        if all((row.get(key) or "") == (line.get(key) or "") for key in words)
        and all(row.get(key) == number(line.get(key)) for key in places)
        and (row.get("panel") or line.get("panel")) == line.get("panel")
    ]
    if not shown:
        raise ValueError(f"no line of metric {line['metric']} is like it")
    nearest = min(shown, key=lambda row: [_apart(row, line, axis) for axis in "xy"])
    return {key: nearest[key] for key in ("x", "y", "n", "low", "high") if nearest.get(key) is not None}


def _apart(row: Mapping[str, Any], line: dict[str, str], axis: str) -> float:
    """How far a row lies from a line along an axis; what rounding makes of one place is the same place."""
    return round(abs((row.get(axis) or 0.0) - (number(line.get(axis)) or 0.0)), 6)


def _rows(module: str, function: str, options: Mapping[str, Any]) -> list[Row]:
    """What a figure's own function makes of its options."""
    return _made(module, function, json.dumps(options))


@functools.lru_cache(maxsize=8)
def _made(module: str, function: str, options: str) -> list[Row]:
    """The same, once a process: a figure has a thousand lines, and some train a toy."""
    made = importlib.import_module(f"reweigh.plots.papers.{module}")
    return list(getattr(made, function)(json.loads(options)))


def _toy(config: Config, paper: str, name: str, line: dict[str, str]) -> Formula:
    """How a line of a toy was computed, which needs nothing but the options of its artifact."""
    options = config.artifact(paper, name).options
    how = f"random points by seed {options['seed']}"
    if "inner_rate" in options:
        file, values = "plots/papers/tdr/boundary.py", _of_boundary(options, line)
    elif line["metric"] in OF_DRAWS:
        how = f"over {options['draws']:,} draws of random points, seeds from 0"
        file, values = "plots/papers/absgd/toy_draws.py", _of_draws(options, line)
    else:
        file, values = "plots/papers/absgd/toy.py", _of_options(options, line)
    return Formula(f"computed from the config's options alone, {how}", ("artifacts", name, "options"), file, values)


def _of_options(options: dict[str, Any], line: dict[str, str]) -> dict[str, Any]:
    """What the figure's own rows say of an example, its side and weight, or of an end of a decision line."""
    made = _rows("absgd.toy", "step_rows", options)
    rows = [row for row in made if all(row.get(key, "") == line[key] for key in ("metric", "method"))]
    if line["metric"] == DECISION_LINE:
        ends = [row for row in rows if row["note"] == line["note"]]
        if not ends:
            raise ValueError(f"{line['note']!r} is no time of a decision line")
        nearest = min(ends, key=lambda row: abs((row["x"] or 0.0) - (number(line["x"]) or 0.0)))
        return {"x": nearest["x"], "y": nearest["y"]}
    place = _whole(line["example"], sum(options[side]["count"] for side in ("positives", "negatives")))
    shown = [row for row in rows if row["example"] == place]
    if not shown:
        raise ValueError(f"example {place} has no line of metric {line['metric']}")
    return {key: value for key, value in shown[0].items() if key in ("class", "x", "y", "weight")}


def _of_boundary(options: dict[str, Any], line: dict[str, str]) -> dict[str, Any]:
    """What the figure's own rows say of a point, an end of a line, or a class's weight at an outer step."""
    keys = ("panel", "metric", "method", "class", "example")
    made = _rows("tdr.boundary", "toy_rows", options)
    shown = [row for row in made if all(str(row.get(key, "")) == line[key] for key in keys)]
    if not shown:
        raise ValueError(f"no line of metric {line['metric']} is like it")
    nearest = min(shown, key=lambda row: abs((row.get("x") or 0.0) - (number(line["x"]) or 0.0)))
    return {key: nearest[key] for key in ("x", "y") if key in nearest}


def _of_draws(options: dict[str, Any], line: dict[str, str]) -> dict[str, Any]:
    """What the figure's own rows say of a line over many draws, at its count (`x`) if it is one of the histogram."""
    made = _rows("absgd.toy_draws", "rows", options)
    shown = [row for row in made if all(row.get(key, "") == line[key] for key in ("metric", "method"))]
    if line["metric"] == BY_COUNT:
        shown = [row for row in shown if row["x"] == number(line["x"])]
    if not shown:
        raise ValueError(f"no draw has {line['x']} positives right")
    return {key: value for key, value in shown[0].items() if key in ("x", "y", "n", "low", "high")}


def _sizes(config: Config, paper: str, line: dict[str, str]) -> Formula:
    """Training examples of the class of a rank: by the split's formula, or counted in the training list."""
    from reweigh.plots.sizes import follows_formula, is_training_list, sizes_by_formula

    experiment, setting = line["experiment"], line["setting"]
    method = config.experiment(paper, experiment).methods[0]
    data = config.resolve(f"paper/{paper}/{experiment}/{setting}/{method}/seed0")["data"]
    manifest, split = _manifest(config.root / "data/manifest.yaml"), data["split"]
    if follows_formula(data):
        how = f"the formula of the split, {split['kind']}; what it is drawn from:"
        raw = _drawn_from(config, data["dataset"])
        keys = ("experiments", experiment, "settings", setting)
        return Formula(how, keys, "data/imbalance.py", {"y": _of_rank(sizes_by_formula(data), line)}, raw)
    raw = _raw(manifest, data["dataset"], lambda file: is_training_list(file.name) and bool(file.sha256))
    found = Formula("counted in the training list", ("experiments", experiment), "plots/sizes.py", raw=raw)
    if (sizes := _counted(config.root, data["dataset"])) is None:
        found.unchecked = f"not computed again: the training list is not at hand: reweigh fetch {data['dataset']}"
    else:
        found.again = {"y": _of_rank(sizes, line)}
    return found


def _by_law(laws: dict[str, Any], line: dict[str, str]) -> float:
    """The size of the class of a line's rank by the law of its data set."""
    from reweigh.plots.sizes import sizes_by_law

    if line["experiment"] not in laws:
        raise ValueError(f"no law of {line['experiment']!r} is stated")
    sizes = sizes_by_law(laws[line["experiment"]])
    place = _whole(line["x"], len(sizes) + 1)
    return float(sizes[place - 1]) if place else 0.0


@functools.lru_cache(maxsize=8)
def _counted(root: Path, dataset: str) -> np.ndarray | None:
    """`sizes_by_list`, once a process: a figure has a line for every class."""
    from reweigh.plots.sizes import sizes_by_list

    return sizes_by_list(dataset, root)


def _of_rank(sizes: np.ndarray, line: dict[str, str]) -> int:
    """The size of the class of a line's rank, counted from 1, the largest first."""
    return int([0, *sorted(sizes, reverse=True)][_whole(line["x"], len(sizes) + 1)])


def _whole(text: str, end: int) -> int:
    """A place from 0 in a csv field. Raises ValueError for what is no whole number below `end`."""
    value = number(text)
    if value is None or value not in range(end):
        raise ValueError(f"{text!r} is no whole number below {end}")
    return int(value)


@functools.lru_cache(maxsize=2)
def _manifest(path: Path) -> Manifest:
    return Manifest.load(path)


@functools.cache
def _code_digest(file: str) -> str:
    return source_digest((PACKAGE / file).read_text(encoding="utf-8"))


def _drawn_from(config: Config, dataset: str) -> list[dict[str, Any]]:
    """The files that a split by formula draws its examples from."""
    return _raw(_manifest(config.root / "data/manifest.yaml"), dataset, lambda file: bool(file.sha256))


def _raw(manifest: Manifest, dataset: str, wanted: Any) -> list[dict[str, Any]]:
    """The files of a data set that a number depends on, as the manifest states them, in the shape of a record's."""
    for edition in manifest[dataset].editions:
        if files := [file for file in edition.files if wanted(file)]:
            return [stated(dataset, edition, file) for file in files]
    return []


def chain_of(
    run: str, root: Path, metric: str | None = None, epoch: float | None = None
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """`lineage.of_run` with homepages; a record that has not the shape of one counts as one that cannot be read."""
    try:
        facts, body = lineage.of_run(run, root, metric, epoch)
        return with_homepages(facts, root), body
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        file = record.record_path(run).as_posix()
        state = f"{file}: not what a record holds ({error!r}); restore it from git or train it again"
        return {"run": run, "record": file, "state": state}, None


def with_homepages(facts: dict[str, Any], root: Path) -> dict[str, Any]:
    """A run's chain in which each raw file without an address of its own (a slice) has its data set's `homepage`."""
    if all(file["url"] for file in facts.get("raw", ())):
        return facts
    path = root / "data/manifest.yaml"
    known = _manifest(path).datasets if path.is_file() else {}
    pages = {name: dataset.homepage for name, dataset in known.items()}
    raw = [file if file["url"] else {**file, "homepage": pages.get(file["dataset"])} for file in facts["raw"]]
    return {**facts, "raw": raw}


def stated(dataset: str, edition: Edition, file: Source) -> dict[str, Any]:
    """What the manifest says of a raw file, in the shape of a record's; the address of its archive if it has none."""
    urls = file.urls or (edition.archives[file.archive].urls if file.archive else ())
    return {
        "dataset": dataset,
        "edition": edition.name,
        "name": file.name,
        "bytes": file.bytes,
        "sha256": file.sha256,
        "source": "data/manifest.yaml",
        "url": urls[0] if urls else None,
        "what": EDITIONS.get(edition.name, edition.name),
    }
