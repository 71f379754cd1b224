"""The lines of figures against a second, plain computation from records and formulas, without the figures' own code."""

import io
import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as scipy_stats
from support.project import ROOT

from reweigh.analysis import rows, tables
from reweigh.analysis.ridges import BINS, bin_edges
from reweigh.config.loading import load
from reweigh.plots import by_setting, curves, forest, ridges, sizes
from reweigh.plots import tables as table_figures
from reweigh.provenance.audit.notebook_rows import call_of

COMMITTED = sorted((ROOT / "figures/paper").glob("*/*.csv"))
TOLERANCE = {"rel": 1e-9, "abs": 1e-12}


def bodies(root: Path, cell: str) -> dict[int, dict[str, Any]]:
    """The records of a cell by seed, as plain JSON."""
    found = sorted((root / "results" / cell).glob("seed*.json"))
    return {int(path.stem.removeprefix("seed")): json.loads(path.read_text()) for path in found}


def plain_summary(values: list[float], shares: bool = True) -> dict[str, float | None]:
    """Mean, sample sd and Student's interval, by the standard library and SciPy.

    Where that of shares leaves 0 to 1 it is Wilson's, by its definition: where the score test, with as many examples as
    have this standard error, comes to the same quantile.
    """
    mean = statistics.fmean(values)
    if len(values) == 1:
        return {"mean": mean, "sd": None, "low": None, "high": None}
    sd = statistics.stdev(values)
    half = scipy_stats.t.ppf(0.975, len(values) - 1) * sd / math.sqrt(len(values))
    low, high = mean - half, mean + half
    if shares and (low < 0 or high > 1):
        if mean in (0, 1):
            return {"mean": mean, "sd": sd, "low": max(low, 0.0), "high": min(high, 1.0)}

        def beyond(end: float) -> float:
            return (mean - end) ** 2 * mean * (1 - mean) - half**2 * end * (1 - end)

        low, high = (optimize.brentq(beyond, *bracket, xtol=1e-14) for bracket in ((0.0, mean), (mean, 1.0)))
    return {"mean": mean, "sd": sd, "low": low, "high": high}


def assert_is(line: Any, expected: dict[str, float | None]) -> None:
    for name, value in expected.items():
        assert pd.isna(line[name]) if value is None else line[name] == pytest.approx(value, **TOLERANCE), name


# --- committed figures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_committed_figures_come_out_byte_for_byte(path: Path, tmp_path: Path) -> None:
    """But for data sets whose training list is not at hand here."""
    config, (paper, name) = load(ROOT), (path.parent.name, path.stem)
    call = call_of(ROOT / config.artifact(paper, name).notebook)
    assert call is not None
    module = __import__(call.module, fromlist=["rows"])
    made = module.rows(tables.of_artifact("paper", paper, name, ROOT), *call.arguments, **call.options)
    rows.write_csv(made, tmp_path / "made.csv")
    ours, theirs = ((tmp_path / "made.csv").read_text().splitlines(), path.read_text().splitlines())
    if name == "fig2" and len(ours) < len(theirs):
        theirs = [line for line in theirs if "places-lt" not in line]
        ours = [line for line in ours if "places-lt" not in line]
    assert ours == theirs


# --- means over seeds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fig5", "fig6", "table3"])
def test_means_and_intervals_of_committed_records(name: str) -> None:
    material = tables.of_artifact("paper", "tdr", name, ROOT)
    made = table_figures.rows(material) if name == "table3" else by_setting.rows(material)
    cells = [line for line in rows.of_cells(made).to_dict("records") if line["n"]]
    assert len(cells) >= 3
    for line in cells:
        of_cell = bodies(ROOT, f"paper/tdr/{line['experiment']}/{line['setting']}/{line['method']}")
        scores = {
            seed: body["metrics"]["test_accuracy"] for seed, body in of_cell.items() if body["status"] == "finished"
        }
        values = list(scores.values())
        assert line["n"] == len(values) and tables.expand_runs(line["runs"]) == [
            body["run"] for body in of_cell.values()
        ]
        assert_is(line, plain_summary(values))
        singles = rows.of_seeds(made)
        if len(singles):
            mine = singles[(singles["setting"] == line["setting"]) & (singles["method"] == line["method"])]
            assert list(mine["seed"]) == list(of_cell), "one that diverged has a line too"
            mine = mine[mine["n"] > 0]
            assert dict(zip(mine["seed"], mine["mean"], strict=True)) == scores


@pytest.mark.parametrize(("name", "metric"), [("fig3", "test_accuracy"), ("fig4", "minority_recall")])
def test_curves_of_committed_records(name: str, metric: str) -> None:
    made = curves.rows(tables.of_artifact("paper", "tdr", name, ROOT), metric)
    means = rows.of_cells(made)
    for method, of_method in means[means["n"] > 0].groupby("method"):
        cell = f"paper/tdr/{of_method['experiment'].iloc[0]}/{of_method['setting'].iloc[0]}/{method}"
        of_cell = [body["curves"] for body in bodies(ROOT, cell).values()]
        assert of_method["epoch"].tolist() == of_cell[0]["epoch"]
        for place, line in enumerate(of_method.to_dict("records")):
            assert_is(line, plain_summary([curve[metric][place] for curve in of_cell]))
            seconds = [curve["train_seconds"][place] for curve in of_cell]
            assert line["minutes"] == pytest.approx(statistics.fmean(seconds) / 60, **TOLERANCE)


def table_of(values: list[float | None], first_seed: int = 0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": [f"a/b/c/d/e/seed{first_seed + place}" for place in range(len(values))],
            "seed": range(first_seed, first_seed + len(values)),
            "status": "finished",
            "accuracy": np.array(values, float),
            "digest": [f"{place:064x}" for place in range(len(values))],
        }
    )


VALUES = st.lists(st.none() | st.floats(-1e3, 1e3, width=32), max_size=8)


@given(VALUES)
def test_a_cell_is_summarised_over_the_values_that_are_there(values: list[float | None]) -> None:
    line, known = rows.summary_row(table_of(values), "accuracy"), [value for value in values if value is not None]
    assert line["n"] == len(known) == len(tables.expand_runs(line["runs"]))
    assert line["status"] == ("run" if known else "not run")
    if known:
        for name, value in plain_summary(known, shares=False).items():
            assert line[name] is None if value is None else line[name] == pytest.approx(value, rel=1e-6, abs=1e-6)


@given(VALUES, VALUES, st.integers(0, 3))
def test_pairs_are_of_the_seeds_that_both_sides_have(
    ours: list[float | None], others: list[float | None], shift: int
) -> None:
    line = rows.paired_row(table_of(ours), table_of(others, shift), "accuracy")
    theirs = {shift + place: value for place, value in enumerate(others) if value is not None}
    pairs = {seed: value - theirs[seed] for seed, value in enumerate(ours) if value is not None and seed in theirs}
    assert line["n"] == len(pairs)
    assert tables.expand_runs(line["runs"]) == 2 * [f"a/b/c/d/e/seed{seed}" for seed in pairs]
    if pairs:
        assert line["mean"] == pytest.approx(statistics.fmean(pairs.values()), rel=1e-6, abs=1e-6)


# --- class weights ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The lines of the committed ridges, the weights of all steps of all seeds, and the sizes of the classes."""
    made = ridges.rows(tables.of_artifact("paper", "tdr", "fig6", ROOT), "rho0.02", ["tdr"])
    mine = made[made["metric"].isin(rows.RIDGES)]
    cell = "/".join(("paper/tdr", mine["experiment"].iloc[0], "rho0.02/tdr"))
    found = sorted((ROOT / "results" / cell).glob("seed*.npz"))
    traces = [np.load(path)["class_weights"].astype(float) for path in found]
    return mine, np.vstack(traces), np.array(bodies(ROOT, cell)[0]["split"]["sizes"]["train"])


def test_ridges_hold_mean_sd_and_quantiles_of_all_steps(weights: tuple[pd.DataFrame, np.ndarray, np.ndarray]) -> None:
    made, samples, sizes = weights
    lines, inverse = (rows.of_cells(made[made["metric"] == metric]) for metric in ("class_weight", "inverse_frequency"))
    assert len(lines) == len(inverse) == samples.shape[1]
    per_step = sum(map(sum, samples.tolist())) / len(samples)
    total = sum(1 / size for size in sizes)
    for label, (line, rare) in enumerate(zip(lines.to_dict("records"), inverse["mean"], strict=True)):
        column = sorted(samples[:, label].tolist())
        assert line["mean"] == pytest.approx(statistics.fmean(column), rel=1e-9)
        assert line["sd"] == pytest.approx(statistics.stdev(column), rel=1e-9)
        for name, share in (("low", 0.05), ("high", 0.95)):  # linear between the two nearest steps
            below, part = divmod(share * (len(column) - 1), 1)
            ends = column[int(below)], column[min(int(below) + 1, len(column) - 1)]
            assert line[name] == pytest.approx(ends[0] + part * (ends[1] - ends[0]), rel=1e-9)
        assert rare == pytest.approx(per_step / sizes[label] / total, rel=1e-9)


def test_densities_count_the_steps_of_each_bin_of_each_seed(
    weights: tuple[pd.DataFrame, np.ndarray, np.ndarray],
) -> None:
    made, samples, sizes = weights
    traces = np.split(samples, made["seed"].nunique())
    for seed, trace in enumerate(traces):
        inverse = 1 / sizes / (1 / sizes).sum() * trace.sum(1).mean()
        edges = bin_edges(trace, inverse).tolist()
        of_seed = made[made["seed"] == seed]
        for label, lines in of_seed[of_seed["metric"] == "class_weight_density"].groupby("class"):
            counts = [0] * BINS
            for value in trace[:, int(label)].tolist():
                counts[max(place for place in range(BINS) if edges[place] <= value)] += 1
            shown = {place: count / max(counts) for place, count in enumerate(counts) if count}
            assert lines["x"].tolist() == pytest.approx([(edges[place] + edges[place + 1]) / 2 for place in shown])
            assert lines["mean"].tolist() == pytest.approx(list(shown.values()))
        for label, lines in of_seed[of_seed["metric"] == "class_weight"].groupby("class"):
            assert lines["mean"].tolist() == pytest.approx([statistics.fmean(trace[:, int(label)].tolist())])


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=40))
def test_bins_hold_all_that_they_are_for(values: list[float]) -> None:
    samples = np.array(values)[:, None]
    edges = bin_edges(samples, samples.mean(0))
    assert len(edges) == BINS + 1 and (np.diff(edges) > 0).all() and edges[0] >= 0
    assert np.histogram(samples, edges)[0].sum() == len(values)


# --- class sizes -----------------------------------------------------------------------------------------------------


@given(st.integers(200, 5000), st.integers(1, 100), st.sampled_from(["long-tail", "exact", "step"]))
def test_class_sizes_follow_the_formula_of_the_imbalance(largest: int, ratio: int, kind: str) -> None:
    split = {"kind": kind.replace("exact", "long-tail"), "largest_class": largest, "imbalance_ratio": ratio}
    data = {"dataset": "cifar10", "split": split | ({"rounding": "exact"} if kind == "exact" else {})}
    share = 1 / ratio
    expected = {
        "step": [largest if label < 5 else int(largest * share) for label in range(10)],
        "exact": [int(largest * share ** (label / 9)) for label in range(10)],
        "long-tail": [int(largest * (share ** (1 / 9)) ** label) for label in range(10)],  # rounded elsewhere
    }
    assert sizes.sizes_by_formula(data).tolist() == expected[kind]


# --- the columns -----------------------------------------------------------------------------------------------------


def test_a_csv_has_its_columns_in_their_order_and_the_core_even_if_empty(tmp_path: Path) -> None:
    rows.write_csv(pd.DataFrame([{"y": 1 / 3, "method": "m", "label": "of the picture only"}]), tmp_path / "one.csv")
    head, line = (tmp_path / "one.csv").read_text().splitlines()
    assert head.split(",") == [name for name in rows.COLUMNS if name in rows.CORE or name == "y"]
    assert "0.333333" in line.split(",") and "label" not in head


def test_a_line_of_a_pair_says_what_it_is_of(absgd_project: Path) -> None:
    material = tables.of_artifact("paper", "absgd", "ablation", absgd_project)
    pair = ("DRW", "SGD (CE)", "cifar10", "sgd_cbce", "sgd_ce", ["lt-rho100"])
    (line,) = forest.rows(material, [pair]).to_dict("records")
    ours, others = (
        bodies(absgd_project, f"paper/absgd/cifar10/lt-rho100/{method}") for method in ("sgd_cbce", "sgd_ce")
    )
    metrics = [
        body["metrics"]["test_accuracy"] - others[seed]["metrics"]["test_accuracy"] for seed, body in ours.items()
    ]
    assert (line["panel"], line["against"], line["n"]) == ("DRW", "sgd_ce", 3)
    assert_is(line, plain_summary(metrics))


def test_lines_are_a_frame_of_numbers_also_where_there_is_none() -> None:
    empty = rows.frame([])
    assert list(empty.columns) == list(rows.COLUMNS) and empty.empty and empty["mean"].dtype == float
    told = rows.frame([{"panel": "a", "mean": None, "p": 0.5}, {"panel": "b", "x": None}])
    assert list(told.columns[:4]) == ["panel", "mean", "p", "x"]
    assert (
        all(told[name].dtype == float for name in ("mean", "low", "p", "p_holm", "x")) and told["p"].isna().sum() == 1
    )
    buffer = io.StringIO()
    rows.write_csv(empty, buffer)
    assert buffer.getvalue() == ",".join(rows.CORE) + "\n"
