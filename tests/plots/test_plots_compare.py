"""The figures of all methods on one ground: their numbers by hand, and what is drawn where nothing was run."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from support import synthetic_records
from support.drawing import check_csv, check_without_records, draw_all, draw_artifact
from support.molere_records import texts
from support.pages import layout_faults
from support.project import ROOT

from reweigh import metrics
from reweigh.analysis import tables
from reweigh.analysis.gains import TIMES
from reweigh.analysis.rows import MEAN_GAIN_BY_SEED, P_VALUES, frame
from reweigh.analysis.tables import Material
from reweigh.config.loading import load
from reweigh.plots.figure import Figure
from reweigh.plots.papers.compare import elsewhere, front, grounds, heatmap
from reweigh.plots.papers.compare.front import Point
from reweigh.provenance.audit.completeness import incompleteness
from reweigh.provenance.explain import explain
from reweigh.provenance.explain.evidence import ArtifactName
from reweigh.records import record

ARTIFACTS = ["table1", "fig1", "fig2", "fig3", "fig4", "fig5"]
CELLS = {
    "mnist": (["lt100", "lt10", "sym40"], ["erm", "erm_2x", "erm_3x", "la", "group_dro", "tdr", "har"]),
    "adult": (["sex"], ["erm", "erm_2x", "la", "group_dro", "tdr"]),
}
SEEDS = 3
DIVERGED = ("mnist", "sym40", "tdr")
ONE_CLASS = ("mnist", "lt10", "group_dro")  # in one run
LOST = {DIVERGED: "1 of 3 runs of tdr diverged", ONE_CLASS: "1 of 3 runs of group_dro predict one class"}

TIMES_AS_LONG = {"tdr": 1.7, "har": 5.0}


def slow(root: Path, body: dict[str, Any], times: float) -> None:
    """Write a record again, of a run that took so many times as long."""
    curves = body["curves"]
    body = {**body, "curves": {**curves, "train_seconds": [times * second for second in curves["train_seconds"]]}}
    record.write(record.record_path(body["run"], root), {key: of for key, of in body.items() if key != "digest"})


def one_class(body: dict[str, Any]) -> dict[str, Any]:
    """A record of a run that names the first class for every example."""
    table = [[sum(row), *[0] * (len(row) - 1)] for row in body["metrics"]["confusion"]]
    return {**body, "metrics": {**body["metrics"], "confusion": table}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = synthetic_records.project(tmp_path_factory.mktemp("compare"))
    random = np.random.default_rng(0)
    for experiment, (settings, methods) in CELLS.items():
        for setting in settings:
            level, shared = random.uniform(0.6, 0.8), random.normal(0, 0.004, SEEDS)
            for place, method in enumerate(methods):
                for seed in range(SEEDS):
                    run = f"paper/compare/{experiment}/{setting}/{method}/seed{seed}"
                    accuracy = level + shared[seed] + 0.02 * (place % 3) + random.normal(0, 0.003)
                    lost = (experiment, setting, method) == DIVERGED and seed == 0
                    status = "diverged" if lost else "finished"
                    body = synthetic_records.make(root, run, status, test_accuracy=float(accuracy))
                    if (experiment, setting, method) == ONE_CLASS and seed == 1:
                        body = one_class(body)
                    slow(root, body, TIMES_AS_LONG.get(method, 1.0))
    return root


@pytest.fixture(scope="module")
def figures(root: Path) -> dict[str, Figure]:
    return draw_all(root, "compare", ARTIFACTS)


@pytest.fixture(scope="module")
def material(root: Path) -> Material:
    return tables.of_artifact("paper", "compare", "fig4", root)


def bodies(root: Path, experiment: str, setting: str, method: str) -> list[dict[str, Any]]:
    folder = root / f"results/paper/compare/{experiment}/{setting}/{method}"
    return [record.read(folder / f"seed{seed}.json") for seed in range(SEEDS)]


def groups_of(body: dict[str, Any]) -> list[float]:
    """Accuracies of classes, or of cells, from the counts."""
    counts = body["metrics"].get("group_confusion")
    if not counts:
        return [row[label] / sum(row) for label, row in enumerate(body["metrics"]["confusion"])]
    return [row[label] / sum(row) for of in counts for label, row in enumerate(of) if sum(row)]


def line_of(rows: pd.DataFrame, **names: str) -> pd.Series:
    found = rows[np.logical_and.reduce([rows[name] == value for name, value in names.items()])]
    assert len(found) == 1, (names, len(found))
    return found.iloc[0]


@pytest.mark.parametrize("name", ARTIFACTS)
def test_every_figure_has_its_csv_and_a_sound_layout(figures: dict[str, Figure], tmp_path: Path, name: str) -> None:
    check_csv(figures[name], tmp_path / name)
    assert layout_faults(figures[name].picture, table=name in ("table1", "fig2")) == []


@pytest.mark.parametrize("name", ARTIFACTS)
def test_without_records_a_figure_says_so(tmp_path: Path, name: str) -> None:
    root = synthetic_records.project(tmp_path)
    check_without_records(draw_artifact(root, "paper", "compare", name), table=name in ("table1", "fig2"))


def test_gains_are_those_of_groups_counted_alike(root: Path, figures: dict[str, Figure]) -> None:
    for experiment, setting, method in (("mnist", "lt100", "la"), ("adult", "sex", "tdr")):
        ours, plain = (
            [np.mean(groups_of(body)) for body in bodies(root, experiment, setting, one)] for one in (method, "erm")
        )
        test = scipy_stats.ttest_rel(ours, plain)
        line = line_of(figures["fig3"].rows, experiment=experiment, setting=setting, method=method)
        assert (line["mean"], line["p"]) == pytest.approx((np.subtract(ours, plain).mean(), test.pvalue))
        assert [line["low"], line["high"]] == pytest.approx(list(test.confidence_interval(0.95)))
        body = bodies(root, experiment, setting, method)[0]
        assert metrics.of_record(body)["worst_cell_accuracy"] == pytest.approx(min(groups_of(body)))


def test_worst_groups_are_averaged_seed_by_seed(root: Path, figures: dict[str, Figure]) -> None:
    by_seed = [
        np.mean([
            min(groups_of(bodies(root, "mnist", setting, "har")[seed]))
            - min(groups_of(bodies(root, "mnist", setting, "erm")[seed]))
            for setting in ("lt100", "lt10")
        ])
        for seed in range(SEEDS)
    ]  # fmt: skip
    metric = f"worst_cell_accuracy{MEAN_GAIN_BY_SEED}"
    line = line_of(figures["table1"].rows, method="har", panel="rare classes", metric=metric)
    low, high = scipy_stats.t.interval(0.95, SEEDS - 1, np.mean(by_seed), scipy_stats.sem(by_seed))
    assert (line["mean"], line["low"], line["high"]) == pytest.approx((np.mean(by_seed), low, high))
    assert line["settings"] == 2 and "step, ρ = 100" in line["note"]
    lost = line_of(figures["table1"].rows, method="tdr", panel="wrong labels", metric=metric)
    assert pd.isna(lost["mean"]) and "diverged" in lost["note"]


def test_an_average_with_a_collapsed_run_is_marked_where_it_has_one_and_nowhere_else(
    figures: dict[str, Figure],
) -> None:
    rows = figures["table1"].rows
    names = {"metric": f"worst_cell_accuracy{MEAN_GAIN_BY_SEED}", "method": "group_dro"}
    notes = {panel: line_of(rows, **names, panel=panel)["note"] for panel in ("rare classes", "wrong labels", "groups")}
    assert notes["rare classes"].endswith("; 1 of 6 runs of group_dro predict one class")
    assert "one class" not in notes["wrong labels"] + notes["groups"]
    words = [text.get_text() for text in figures["table1"].picture.axes[0].texts]
    assert f"{grounds.points(line_of(rows, **names, panel='rare classes')['mean'])}†" in words
    assert "Ranked with runs that decide nothing: Group DRO (1 of " in footer(figures["fig2"])


def test_a_gain_of_a_cell_that_diverged_decides_nothing(figures: dict[str, Figure]) -> None:
    line = line_of(figures["fig3"].rows, experiment="mnist", setting="sym40", method="tdr")
    assert line["status"] == "1 diverged" and line["n"] == SEEDS - 1
    assert "sym40" not in texts(figures["fig3"])


def footer(figure: Figure) -> str:
    """What stands below a figure, as one line."""
    return " ".join(" ".join(text.get_text() for text in reversed(figure.picture.texts)).split())


@pytest.mark.parametrize("name", ["table1", "fig2", "fig5"])
def test_data_that_stand_in_for_others_are_named(name: str) -> None:
    """Of the committed runs: the synthetic ones have the official editions."""
    assert "Waterbirds is a stand-in: EfficientNet-Lite0" in footer(draw_artifact(ROOT, "paper", "compare", name))


@pytest.mark.parametrize("cell", LOST)
def test_one_lost_run_is_enough_for_a_gain_to_decide_nothing(
    root: Path, figures: dict[str, Figure], cell: tuple[str, str, str]
) -> None:
    """No p, not counted by Holm, on no front, hatched, marked in the table; and the audit says the same."""
    names = dict(zip(("experiment", "setting", "method"), cell, strict=True))
    for name in ("fig1", "fig3", "table1"):
        lines = grounds.gains_in(figures[name].rows)
        line = line_of(lines, **names)
        assert line["n"] >= 2 and line[list(P_VALUES)].isna().all() and line["note"] == LOST[cell]
        here = lines[(lines["experiment"] == cell[0]) & (lines["setting"] == cell[1])]
        tested = here["p"].dropna()
        assert len(tested) == len(CELLS[cell[0]][1]) - 2  # plain training, and the one that decides nothing
        assert here["p_holm"].min() == pytest.approx(min(1, len(tested) * tested.min()))
        assert f"Decides nothing, {LOST[cell].replace(f' of {cell[2]} ', ' ')}: " in footer(figures[name])
    shown = "figures/paper/compare/fig3.csv"
    for column in P_VALUES:
        found = explain(shown, column=column, where=names, root=root)["cells"][0]
        assert not found["fault"]
    path = root / shown
    text = path.read_text()
    frame = pd.read_csv(path, keep_default_na=False, dtype=str)
    frame.loc[np.logical_and.reduce([frame[key] == value for key, value in names.items()]), "p"] = "0.01"
    try:
        frame.to_csv(path, index=False, lineterminator="\n")
        assert explain(shown, column="p", where=names, root=root)["cells"][0]["columns"]["p"]["check"].startswith("NOT")
    finally:
        path.write_text(text)


@pytest.mark.parametrize("lost_side", ["tdr", "erm"])
def test_runs_of_either_side_count_as_lost(material: Material, lost_side: str) -> None:
    """By hand: where plain training itself is lost no method gains over it."""
    runs = material.runs.copy()
    here = (runs["experiment"] == "mnist") & (runs["setting"] == "lt100") & (runs["method"] == lost_side)
    runs.loc[runs.index[here][0], "lost"] = "predict one class"
    rows = frame(grounds.gain_rows(dataclasses.replace(material, runs=runs)))
    lines = rows[(rows["setting"] == "lt100") & (rows["n"] > 0)].set_index("method")
    expected = set(lines.index) if lost_side == "erm" else {"tdr"}
    assert set(lines.index[lines["p"].isna()]) == expected
    assert {grounds.lost(line) for line in lines.loc[list(expected)].to_dict("records")} <= {
        f"1 of 3 runs of {lost_side} predict one class"
    }


def test_a_lost_gain_is_hatched_marked_and_crossed_out(figures: dict[str, Figure], root: Path) -> None:
    hatched = [one for one in figures["fig3"].picture.axes[0].patches if one.get_hatch()]
    assert len(hatched) == len(LOST)
    words = [text.get_text() for text in figures["table1"].picture.axes[0].texts]
    assert sum(word.endswith("†") for word in words) == len(LOST) + 1  # and an average over settings with one of them
    material = tables.of_artifact("paper", "compare", "fig1", root)
    for experiment, setting, method in LOST:
        points = front.points_of(material, figures["fig1"].rows, grounds.Place(experiment, setting))
        assert [point.method for point in points if point.lost] == [method]
        assert method not in {point.method for point in front.front(points)}


def test_a_cell_without_any_gain_since_all_diverged_is_hatched_and_not_called_not_run(material: Material) -> None:
    line = {"metric": "mean_group_accuracy_difference", "n": 0, "mean": math.nan, "status": "3 diverged",
            "note": "3 of 3 runs of tdr diverged"}  # fmt: skip
    assert grounds.lost(line) == "3 of 3 runs of tdr diverged" and grounds.has_pairs(line)
    assert not grounds.lost({**line, "status": "not run", "note": "not trained yet"})


@pytest.mark.parametrize(
    ("mean", "p", "note", "word"),
    [
        (0.02, 0.01, "", "holds"),
        (-0.02, 0.01, "", "fails"),
        (0.02, 0.01, grounds.BEYOND, "beyond"),
        (-0.02, 0.01, grounds.BEYOND, "fails"),
        (0.02, 0.2, grounds.BEYOND, ""),
        (0.02, math.nan, "1 of 3 runs of tdr diverged", ""),
    ],
)
def test_no_gain_holds_beyond_the_longest_plain_training(mean: float, p: float, note: str, word: str) -> None:
    assert elsewhere.verdict({"mean": mean, "p_holm_all": p, "note": note}) == word
    assert grounds.BEYOND == "beyond the longest ERM"


def test_the_front_is_what_nothing_beats() -> None:
    random = np.random.default_rng(1)
    for _ in range(50):
        of = [Point(str(one), *random.integers(0, 6, 2).astype(float), 0.0, 0.0) for one in range(7)]
        kept = front.front(of)
        for point in of:
            beaten = any(
                (one.cost <= point.cost and one.gain > point.gain) or (one.cost < point.cost and one.gain >= point.gain)
                for one in of
            )
            same = any((one.cost, one.gain) == (point.cost, point.gain) for one in kept)
            assert same != beaten


@pytest.mark.parametrize(
    ("cost", "known", "times"),
    [(0.8, 4, 1), (1.1, 4, 1), (1.11, 4, 2), (2.1, 4, 2), (2.2, 4, 3), (3.9, 4, 4), (7.0, 4, 4), (3.9, 2, 2)],
)
def test_equal_compute_is_the_fewest_epochs_that_take_as_long(cost: float, known: int, times: int) -> None:
    plain = dict(list({1: "a", 2: "b", 3: "c", 4: "d"}.items())[:known])
    assert grounds.times_as_long(plain, cost) == times


def test_each_method_is_held_against_plain_training_of_its_own_cost(root: Path, material: Material) -> None:
    rows = elsewhere.rows(material)
    costs = {
        (line.experiment, line.setting, line.method): line.mean for line in rows[rows["metric"] == TIMES].itertuples()
    }
    seen = set()
    for line in rows[rows["metric"] != TIMES].dropna(subset="mean").itertuples():
        seconds = [body["curves"]["train_seconds"] for body in bodies(root, line.experiment, line.setting, line.method)]
        plain = [body["curves"]["train_seconds"] for body in bodies(root, line.experiment, line.setting, "erm")]
        known = [(a[-1] / b[-1]) for a, b in zip(seconds, plain, strict=True) if a and b]
        cost = costs[line.experiment, line.setting, line.method]
        if (line.experiment, line.setting, line.method) != DIVERGED:
            assert cost == pytest.approx(np.mean(known))
        run = [1, 2, 3] if line.experiment == "mnist" else [1, 2]
        times = next((one for one in run if one >= cost - 0.1), run[-1])
        assert line.against == ("erm" if times == 1 else f"erm_{times}x")
        seen.add(times)
    p = rows["p"].dropna()
    assert seen == {2, 3} and (rows.loc[p.index, "p_holm_all"] >= p - 1e-12).all()


def test_marks_are_those_of_corrected_p_values() -> None:
    assert (
        grounds.decides({"mean": 0.1, "p_holm": 0.049}) == 1 and grounds.decides({"mean": -0.1, "p_holm": 0.01}) == -1
    )
    assert grounds.decides({"mean": 0.1, "p_holm": 0.05}) == 0 == grounds.decides({"mean": 0.1, "p_holm": math.nan})


def test_what_was_not_run_is_named_once(root: Path) -> None:
    material = tables.of_artifact("paper", "compare", "fig3", root)
    settings, methods, *single = grounds.missing(material, heatmap.rows(material))
    assert settings.startswith("Settings not run: step, ρ\u00a0=\u00a0100; ") and settings.count(";") == 4
    assert methods.startswith("Methods not run: ") and "LRWOpt" in methods and "TDR" not in methods
    assert single == ["No gain (not trained yet): HAR (Adult: income by sex); ERM, 3 × epochs (Adult: income by sex)"]


@pytest.mark.parametrize("name", ARTIFACTS)
def test_no_line_of_a_csv_is_missing(root: Path, figures: dict[str, Figure], name: str) -> None:
    import csv

    config = load(root)
    with open(root / f"figures/paper/compare/{name}.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    records = tables.of_artifact("paper", "compare", name, root).records
    assert incompleteness(lines, config, ArtifactName("paper", "compare", name), records, set(records)) == ""


@pytest.mark.parametrize(
    ("name", "where", "how"),
    [
        ("table1", {"method": "har", "metric": f"worst_cell_accuracy{MEAN_GAIN_BY_SEED}", "panel": "rare classes"},
         "mean over seeds of their mean gain over the settings"),
        ("fig2", {"method": "la", "metric": "mean_group_accuracy_average_rank"}, "mean over settings of the rank"),
        ("fig3", {"method": "la", "setting": "lt100"}, "mean of the differences of two methods"),
        ("fig5", {"method": "la", "metric": "mean_group_accuracy_probability_of_improvement"}, "pairs of runs"),
        ("fig5", {"method": "la", "metric": "mean_group_accuracy_interquartile_mean_gain"}, "interquartile mean"),
    ],
)  # fmt: skip
def test_explain_computes_each_kind_of_line_again(
    root: Path, figures: dict[str, Figure], name: str, where: dict[str, str], how: str
) -> None:
    path = root / f"figures/paper/compare/{name}.csv"
    shown = f"figures/paper/compare/{name}.csv"
    for column in ("mean", *(("p", "p_holm", "p_holm_all") if name == "fig3" else ())):
        cell = explain(shown, column=column, where=where, root=root)["cells"][0]
        assert cell["columns"][column]["check"] == "computed again: the same" and not cell["fault"]
        assert column != "mean" or how in cell["columns"]["mean"]["how"]
    text = path.read_text()
    frame = pd.read_csv(path, keep_default_na=False, dtype=str)
    here = np.logical_and.reduce([frame[key] == value for key, value in where.items()])
    column = "p_holm" if name == "fig3" else "mean"
    frame.loc[here, column] = "0.123456"
    try:
        frame.to_csv(path, index=False, lineterminator="\n")
        cell = explain(shown, column=column, where=where, root=root)["cells"][0]
        assert cell["columns"][column]["check"].startswith("NOT 0.123456, should be")
    finally:
        path.write_text(text)
