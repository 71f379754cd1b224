"""Figures over all settings under audit: each line is computed again, and what was altered is seen."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import many_methods, synthetic_records
from support.drawing import draw_all

from reweigh.analysis import tables
from reweigh.config.loading import load
from reweigh.plots.figure import Figure
from reweigh.provenance import recompute, recompute_across
from reweigh.provenance.audit.figures import check_figures
from reweigh.provenance.explain.columns import source

METHODS = [many_methods.BASELINE, "absgd_ce", "sgd_ldam"]
EXPERIMENTS = {"cifar10": METHODS, "cifar100": METHODS}
CALLS = {
    "ranks-all": ("critical_differences", 'metric="test_accuracy"'),
    "each-setting": ("gains_at_settings", f'against="{many_methods.BASELINE}", metric="test_accuracy"'),
    "gains-all": ("improvement", f'against="{many_methods.BASELINE}", metric="test_accuracy"'),
}
ENTRY = """
  {name}:
    title: All methods on one ground
    kind: figure
    notebook: notebooks/absgd/{name}.ipynb
    caption: workflow/report/absgd/ablation.rst
    reads:
      - {{ grid: {{ experiment: [cifar10, cifar100] }}, experiment: "{{experiment}}", methods: {methods} }}
"""


def notebook(kind: str, options: str) -> dict[str, Any]:
    first = f"from reweigh.analysis.tables import of_artifact\nfrom reweigh.plots import {kind}\n"
    first += "material = of_artifact(scale, paper, artifact)"
    drawn = 'draw(material, rows, "test_accuracy")' if kind == "critical_differences" else "draw(material, rows)"
    last = f"rows = {kind}.rows(material, {options})\nfigure = {kind}.{drawn}\nfigure.save(out)"
    cells = [("parameters", 'scale = "paper"'), ("material", first), ("draw", last)]
    return {"cells": [{"cell_type": "code", "id": name, "source": [text]} for name, text in cells]}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two artifacts over all settings, and made-up records; a run of one method diverged."""
    root = synthetic_records.project(tmp_path_factory.mktemp("across"))
    with open(root / "config/papers/absgd/artifacts.yaml", "a") as file:
        for name, (kind, options) in CALLS.items():
            file.write(ENTRY.format(name=name, methods=METHODS))
            (root / f"notebooks/absgd/{name}.ipynb").write_text(json.dumps(notebook(kind, options)))
    many_methods.fill(root, EXPERIMENTS)
    setting = load(root).settings_of("paper", "absgd", "cifar10")[0]
    synthetic_records.make(root, f"paper/absgd/cifar10/{setting}/sgd_ldam/seed1", status="diverged")
    return root


@pytest.fixture(scope="module")
def drawn(root: Path) -> dict[str, Figure]:
    return draw_all(root, "absgd", CALLS)


def faults(root: Path) -> list[str]:
    runs = [
        path.relative_to(root / "results").with_suffix("").as_posix() for path in root.rglob("results/**/seed*.json")
    ]
    links = list(check_figures(load(root), "paper", root, tables.records_of(sorted(runs), root)))
    assert len(links) == 5 * len(CALLS)
    return [f"{link.state} {link.name}: {link.detail}" for link in links if link.state != "intact"]


def test_an_audit_finds_them_intact(root: Path, drawn: dict[str, Figure]) -> None:
    assert faults(root) == []
    gains = drawn["gains-all"].rows
    mine = gains[gains["method"] == "sgd_ldam"]
    assert mine["settings"].tolist() == [7, 7, 8] and "left out" in mine["note"].iloc[0]


@pytest.mark.parametrize(
    ("name", "line", "column", "value", "told"),
    [
        ("gains-all", 0, "mean", "0.5", "mean 0.5, should be"),
        ("gains-all", 1, "high", "0.5", "high 0.5, should be"),
        ("gains-all", 2, "mean", "0.01", "mean 0.01, should be"),
        ("gains-all", 0, "low", "-0.5", "low -0.5, should be"),  # of the bootstrap: by the notebook
        ("gains-all", 0, "settings", "4", "settings 4, should be 8"),
        ("gains-all", 0, "method", "sgd_ldam", "title"),
        ("each-setting", 3, "p_holm", "0.001", "p_holm 0.001, should be"),  # by the notebook
        ("ranks-all", 0, "mean", "1.01", "mean 1.01, should be"),  # by the notebook
        ("ranks-all", 0, "bars", "z", "bars z, should be"),
        ("ranks-all", 0, "n", "3", "n 3, should be 24"),
    ],
)
def test_what_was_altered_is_seen(
    root: Path, drawn: dict[str, Figure], name: str, line: int, column: str, value: str, told: str
) -> None:
    """Though the receipt was written anew to match."""
    from reweigh.artifacts import receipt
    from reweigh.artifacts.render import MADE

    path = root / f"figures/paper/absgd/{name}.csv"
    kept, sealed = path.read_text(), path.with_suffix(".json").read_text()
    data = pd.read_csv(path, keep_default_na=False, dtype=str)
    data.loc[line, column] = value
    data.to_csv(path, index=False, lineterminator="\n")
    made = {ending: path.with_suffix(f".{ending}") for ending in MADE}
    receipt.write(path.with_suffix(".json"), receipt.figure_basis(load(root), "paper", "absgd", name), made, root)
    found = faults(root)
    path.write_text(kept)
    path.with_suffix(".json").write_text(sealed)
    assert len(found) == 1 and f"broken figures/paper/absgd/{name}.csv" in found[0] and told in found[0]


def test_a_line_that_speaks_of_other_runs_is_refused(root: Path, drawn: dict[str, Figure]) -> None:
    config = load(root)
    row = {name: value for name, value in drawn["gains-all"].rows.iloc[0].items() if pd.notna(value)}
    records = tables.records_of(tables.expand_runs(row["runs"]), root)
    bodies = list(records.values())
    assert recompute.unlike_its_runs(row, bodies, config, "absgd") == ""
    for change, told in (
        ({"method": "none"}, "the config has no method none"),
        ({"against": ""}, "against nothing"),
        ({"experiment": "cifar10"}, "it is over all settings, and names cifar10"),
        ({"metric": "luck_interquartile_mean_gain"}, "no record has a metric luck"),
        ({"status": "not run"}, "status not run, its runs say run"),
        ({"against": "sgd_ldam"}, "its runs are of absgd_ce, sgd_ce, or no pairs"),
    ):
        assert told in recompute.unlike_its_runs(row | change, bodies, config, "absgd")
    assert "or no pairs" in recompute.unlike_its_runs(row, bodies[1:], config, "absgd")
    assert "paper tdr, but its runs are of absgd" in recompute_across.unlike(row, bodies, config.paper("absgd"), "tdr")


def test_columns_say_what_they_are() -> None:
    line = {"metric": "test_accuracy_probability_of_improvement", "mean": "0.6", "low": "0.5", "high": "0.7"}
    assert "probability that a run" in source(line, "mean").how
    assert "resamples of seeds" in source(line, "low").how
    by_seed = line | {"metric": "test_accuracy_interquartile_mean_gain_by_seed"}
    assert "Student" in source(by_seed, "low").how and "each one's interquartile mean" in source(by_seed, "mean").how
    assert "Holm" in source({"metric": "test_accuracy_difference"}, "p_holm").how
    assert "rank of the mean score" in source({"metric": "test_accuracy_average_rank"}, "mean").how
