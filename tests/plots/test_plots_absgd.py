"""ABSGD's figures and tables: what is drawn is what records, formulas and the paper say; what is missing is named."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.absgd_figures import MAPPED, NOTEBOOKS, cell, clusters, drawn_by_notebook, weights_of, with_arrays

from reweigh import stats
from reweigh.analysis import tables
from reweigh.analysis.rows import CORE, paired_row
from reweigh.config.loading import load
from reweigh.plots import features, sizes
from reweigh.plots.figure import Figure
from reweigh.plots.papers.absgd import toy_draws, toy_step
from reweigh.records import record


@pytest.fixture(scope="module")
def root(absgd_project):
    return absgd_project


@pytest.fixture(scope="module")
def rendered(absgd_rendered):
    return absgd_rendered


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.picture.findobj(lambda artist: hasattr(artist, "get_text")))


# --- all of them -----------------------------------------------------------------------------------------------------


def test_every_artifact_of_the_config_has_a_notebook_and_a_caption(root: Path) -> None:
    artifacts = load(root).paper("absgd").artifacts
    assert set(artifacts) == set(NOTEBOOKS)
    for name, artifact in artifacts.items():
        assert artifact.notebook == f"notebooks/absgd/{name}.ipynb"
        assert artifact.caption == f"workflow/report/absgd/{name}.rst"
        assert (root / artifact.caption).read_text().strip()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_csv_holds_what_was_drawn(rendered: dict[str, Figure], root: Path, name: str) -> None:
    data, file = rendered[name].rows, pd.read_csv(root / f"figures/paper/absgd/{name}.csv")
    assert len(file) == len(data)
    assert set(file) >= set(CORE)
    for column in ("x", "y", "weight", "mean", "low", "high", "published"):
        if column in data and data[column].notna().any():
            assert file[column].to_numpy(float) == pytest.approx(data[column].to_numpy(float), rel=1e-5, nan_ok=True)
    numbers = file[file["mean"].notna()]
    assert numbers["runs"].notna().all()  # no number without the runs that feed it
    assert (numbers["records"].astype(str).str.len() == 12).all()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_nothing_is_written_outside_the_page_or_over_something_else(rendered: dict[str, Figure], name: str) -> None:
    figure = rendered[name].picture
    figure.draw_without_rendering()
    page = figure.bbox
    boxes = [text.get_window_extent() for text in figure.texts] + [one.get_window_extent() for one in figure.legends]
    for box in boxes:
        assert page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1 and page.y0 - 1 <= box.y0
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
    assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])
    for axes in figure.axes:
        for text in axes.texts:
            assert text.get_window_extent().x1 <= page.x1 + 1, text.get_text()
        words = [(text.get_window_extent(), text.get_text()) for text in axes.texts if name.startswith("table")]
        clash = [(a, b) for place, (one, a) in enumerate(words) for other, b in words[:place] if one.overlaps(other)]
        assert not [pair for pair in clash if all(pair)]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_without_any_record_it_is_drawn_and_says_so(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "records_of", lambda *_: {})
    figure = drawn_by_notebook(root, name)
    written = texts(figure)
    if name in ("fig1", "fig2"):
        assert "the same at every scale" in written
    else:
        assert "not run" in written
        assert figure.rows.get("mean", pd.Series(dtype=float)).isna().all()
        assert (figure.rows["status"] == "not run").all()


# --- figure 1 --------------------------------------------------------------------------------------------------------

PAPER = {"lambda_": 0.2, "rate": 0.1, "start": (5.993, 6.140, -8.033),
         "batch": (46, 107, 11, 119, 1, 32, 68, 4, 110, 83, 115, 62, 56, 9, 14, 100)}  # fmt: skip


def test_fig1_draws_one_step_of_both(rendered: dict[str, Figure]) -> None:
    data = rendered["fig1"].rows
    for method, panel in data[data["panel"] != "c"].groupby("method"):
        batch = panel[panel["metric"] == "weight"].set_index("example").loc[list(PAPER["batch"])]
        assert len(panel[panel["metric"] == "example"]) == 120 - 16
        assert (batch["class"] == np.where(batch.index < 20, 1, -1)).all()
        w, gradient = PAPER["start"], [0.0, 0.0, 0.0]
        margins = [w[0] * x + w[1] * y + w[2] for x, y in zip(batch["x"], batch["y"], strict=True)]
        losses = [math.log1p(math.exp(-y * m)) for y, m in zip(batch["class"], margins, strict=True)]
        raised = [math.exp(loss / PAPER["lambda_"]) if method == "absgd_ce" else 1.0 for loss in losses]
        assert batch["weight"].tolist() == pytest.approx([one / sum(raised) for one in raised], rel=1e-10)
        for p, x, y, label, margin in zip(
            batch["weight"], batch["x"], batch["y"], batch["class"], margins, strict=True
        ):
            slope = -p * label / (1 + math.exp(label * margin))
            gradient = [g + slope * c for g, c in zip(gradient, (x, y, 1.0), strict=True)]
        lines = panel[panel["metric"] == "decision_line"].groupby("note")
        moved = [a - PAPER["rate"] * g for a, g in zip(w, gradient, strict=True)]
        for when, line in (("before", w), ("after", moved)):
            ends = lines.get_group(when)
            heights = line[0] * ends["x"] + line[1] * ends["y"] + line[2]
            assert heights.tolist() == pytest.approx((0, 0), abs=1e-12)
    assert "drawn anew" in texts(rendered["fig1"])


def test_fig1_measures_its_claim_over_many_draws(rendered: dict[str, Figure], root: Path) -> None:
    """How many positives are right after one step, by loops, draw by draw: one draw cannot say it."""
    data = rendered["fig1"].rows
    draws = data[data["panel"] == "c"]
    options = load(root).artifact("absgd", "fig1").options
    assert options["draws"] == 1000 and (draws["n"] == 1000).all()
    right = [positives_right(options, seed) for seed in range(60)]
    known = toy_draws.outcomes(json.dumps({**options, "draws": 60}, sort_keys=True))
    for method in ("", "sgd_ce", "absgd_ce"):
        assert known[method]["positives"].tolist() == [one[method] for one in right]
    everything = toy_draws.outcomes(json.dumps(options, sort_keys=True))
    for method, title in (("", "before the step"), ("sgd_ce", "SGD"), ("absgd_ce", "ABSGD")):
        counts = everything[method]["positives"]
        row = draws[(draws["metric"] == "positives_right") & (draws["method"] == method)].iloc[0]
        ours = stats.summarise(counts / 20)
        assert (row["x"], row["low"], row["high"]) == pytest.approx((ours.mean, ours.low, ours.high))
        assert f"{title}: {100 * ours.mean:.1f} % of the positives right" in texts(rendered["fig1"])
        bars = draws[(draws["metric"] == "draws_by_positives_right") & (draws["method"] == method)].set_index("x")["y"]
        assert bars.loc[2] == pytest.approx((counts == 2).mean()) and bars.sum() == pytest.approx(1)
    more = everything["absgd_ce"]["positives"] > everything["sgd_ce"]["positives"]
    assert draws[draws["metric"] == "draws_with_more_positives_right"]["x"].item() == more.mean()
    assert f"in {100 * more.mean():.1f} % of the draws" in texts(rendered["fig1"])


def positives_right(options: dict[str, Any], seed: int) -> dict[str, int]:
    """Positives on the right side before the step, after SGD's and after ABSGD's, in one draw."""
    inputs, labels = toy_step.examples(options["positives"], options["negatives"], options["divisor"], seed)
    start, found = options["start"], {}
    batch = [(inputs[i].tolist(), labels[i]) for i in options["batch"]]
    losses = [math.log1p(math.exp(-y * sum(a * b for a, b in zip(start, x, strict=True)))) for x, y in batch]
    raised = [math.exp(loss / options["lambda_"]) for loss in losses]
    for method, weights in (
        ("", [0.0] * 16),
        ("sgd_ce", [1 / 16] * 16),
        ("absgd_ce", [r / sum(raised) for r in raised]),
    ):
        w = list(start)
        for p, (x, y) in zip(weights, batch, strict=True):
            slope = -y / (1 + math.exp(y * sum(a * b for a, b in zip(start, x, strict=True))))
            w = [one - options["learning_rate"] * p * slope * c for one, c in zip(w, x, strict=True)]
        found[method] = sum(sum(a * b for a, b in zip(w, x, strict=True)) > 0 for x in inputs[:20].tolist())
    return found


# --- figure 2 --------------------------------------------------------------------------------------------------------


def test_fig2_draws_the_class_sizes_of_the_protocols(rendered: dict[str, Figure]) -> None:
    data = rendered["fig2"].rows
    known = {title: rows["y"].tolist() for title, rows in data[data["y"].notna()].groupby("title")}
    tail = next(counts for title, counts in known.items() if title.startswith("CIFAR-100"))
    step = next(counts for title, counts in known.items() if title.startswith("CIFAR-10, ST"))
    assert (tail[:5], tail[-4:], sum(tail)) == ([500, 477, 455, 434, 415], [5, 5, 5, 5], 10_847)
    assert (step, sum(step)) == ([5000] * 5 + [500] * 5, 27_500)
    absent = data[data["status"] == "not run"]
    assert {title.split()[0] for title in absent["title"]} >= {"ImageNet-LT", "iNaturalist"}
    assert "not drawn" in texts(rendered["fig2"])


def test_fig2_draws_by_its_law_what_cannot_be_counted(rendered: dict[str, Figure], root: Path) -> None:
    data, written = rendered["fig2"].rows, texts(rendered["fig2"])
    laws = data[data["metric"] == "training_examples_by_law"]
    for experiment, law in load(root).artifact("absgd", "fig2").options["laws"].items():
        curve = laws[laws["experiment"] == experiment]["y"].to_numpy()
        assert len(curve) == law["classes"] and curve.sum() == pytest.approx(law["examples"])
        assert curve.max() <= law["largest"] and curve.min() == law["smallest"]
        assert (np.diff(curve) <= 0).all()
        inside = curve[(curve < law["largest"]) & (curve > law["smallest"])]  # where nothing is cut off
        ranks = (np.flatnonzero(curve == inside[0])[0] + 0.5 + np.arange(len(inside))) / law["classes"]
        scale = inside / (ranks ** (-1 / law["shape"]) - 1)
        assert scale == pytest.approx(np.full(len(inside), scale[0]))  # one scale: a Pareto law of the second kind
    assert "ImageNet-LT: drawn by its law alone" in written and "iNaturalist 2018: not drawn" in written
    assert "Dotted: not counted" in written


def test_fig2_says_how_far_the_law_is_from_a_list_that_is_at_hand() -> None:
    law = np.array([80.0, 10.0, 4.0])
    assert sizes._miss("Places-LT", np.array([200, 12, 4]), law) == (
        "off by a factor of 1.2 in the median class of Places-LT, of 2.5 in its largest"
    )


# --- figure 3 --------------------------------------------------------------------------------------------------------


def test_fig3_draws_every_example_with_its_label(rendered: dict[str, Figure]) -> None:
    data = rendered["fig3"].rows
    points = data[(data["metric"] == "tsne") & (data["status"] == "run")]
    for panel, (_, labels) in (("a", clusters(0)), ("b", clusters(1))):
        mine = points[points["panel"] == panel]
        assert mine["class"].tolist() == labels.tolist()
        assert mine[["x", "y"]].notna().all(axis=None)
    assert set(points["runs"]) == {f"{MAPPED}/seed0"}
    agreement = data[data["metric"] == "nearest_neighbour_agreement"]
    assert agreement["mean"].tolist() == [1, 1]
    missing = data[data["status"] == "not run"]
    assert set(missing["method"]) == {"absgd_fixed"}
    assert "(n = 1)" in texts(rendered["fig3"])


def test_features_that_do_not_vary_are_not_mapped(root: Path) -> None:
    run = f"{MAPPED}/seed0"
    body = record.read(record.record_path(run, root))
    dead = {"train_features": np.ones((9, 4), np.float16), "train_labels": np.arange(9) % 2}
    arrays = dict(np.load(record.trace_path(record.record_path(run, root), body)))
    with_arrays(root, run, **{**arrays, **dead})
    try:
        material = tables.of_artifact("paper", "absgd", "fig3", root)
        figure = features.draw(material, features.rows(material))
    finally:
        with_arrays(root, run, **arrays)
    assert "all features are the same" in texts(figure)


# --- figure 4 --------------------------------------------------------------------------------------------------------


def accuracies(root: Path, name: str) -> list[float]:
    paths = sorted((root / "results" / name).glob("seed*.json"))
    return [record.read(path)["metrics"]["test_accuracy"] for path in paths]


def test_fig4_draws_means_and_intervals_at_each_gamma(rendered: dict[str, Figure], root: Path) -> None:
    data = rendered["fig4"].rows
    swept = data[(data["experiment"] == "gamma-cifar10") & data["seed"].isna()].set_index("method")
    for method, gamma in (("absgd_gamma0.1", 0.1), ("absgd_gamma0.5", 0.5), ("sgd_ce", None)):
        ours = stats.summarise(accuracies(root, cell("gamma-cifar10", "lt-rho100", method)))
        row = swept.loc[method]
        assert ours.n == row["n"] == 3
        assert (row["mean"], row["low"], row["high"]) == pytest.approx((ours.mean, ours.low, ours.high))
        assert pd.isna(row["x"]) if gamma is None else row["x"] == gamma
    assert swept.loc["absgd_gamma0.9", "status"] == "not run"
    assert "Not run: " in texts(rendered["fig4"])


def test_fig4_draws_mean_weights_of_both_halves_of_the_classes(rendered: dict[str, Figure]) -> None:
    data = rendered["fig4"].rows
    rows = data[(data["experiment"] == "weights") & (data["setting"] == "st-rho100")]
    for metric, half in (("majority_weight", slice(0, 50)), ("minority_weight", slice(50, 100))):
        mine = rows[rows["metric"] == metric].set_index("epoch")
        assert mine.index.tolist() == [1, 2, 3, 4, 5, 6]
        assert (mine["n"] == 2).all()
        assert mine.loc[1:4, "mean"].tolist() == pytest.approx([1] * 4)
        for epoch in (5, 6):
            values = []
            for seed in range(2):
                means, counts = (one.astype(float)[epoch - 1, half] for one in weights_of(seed))
                values.append((means * counts).sum() / counts.sum())
            ours = stats.summarise(values)
            assert (mine.loc[epoch, "mean"], mine.loc[epoch, "low"]) == pytest.approx((ours.mean, ours.low))
    assert data[(data["experiment"] == "weights") & (data["setting"] == "lt-rho100")]["status"].eq("not run").all()


# --- tables ----------------------------------------------------------------------------------------------------------


def test_published_numbers_are_fractions_under_our_metric(root: Path) -> None:
    known = tables.published(load(root), "absgd")
    assert len(known) == 207
    row = known[(known["table_or_figure"] == "Table1") & (known["setting_name"] == "lt-rho100")
                & (known["experiment"] == "cifar10") & (known["method_name"] == "absgd_ce")]  # fmt: skip
    assert row[["metric", "mean", "std"]].values.tolist() == [["test_accuracy", 0.7243, 0.0031]]
    plain = tables.published(load(root), "tdr")
    assert plain["excluded"].isna().all()
    assert plain["mean"].max() <= 1


def test_tables_hold_ours_and_the_papers(rendered: dict[str, Figure], root: Path) -> None:
    data = rendered["table1"].rows.set_index(["experiment", "setting", "method"])
    row = data.loc[("cifar10", "st-rho10", "absgd_ce")]
    ours = stats.summarise(accuracies(root, cell("cifar10", "st-rho10", "absgd_ce")))
    assert (row["mean"], row["sd"], row["published"], row["published_sd"]) == pytest.approx(
        (ours.mean, ours.sd, 0.8584, 0.0027)
    )
    written = texts(rendered["table1"])
    assert f"{100 * ours.mean:.2f} ± {100 * ours.sd:.2f}" in written
    assert "85.84 ± 0.27" in written
    assert data.loc[("cifar100", "lt-rho100", "sgd_ce"), "note"] == "not trained yet"
    methods = set(data.index.get_level_values("method"))
    assert methods == {"sgd_ce", "sgd_focal", "absgd_ce", "absgd_focal", "absgd_ce_code"}  # the last is optional


def test_a_number_that_is_not_judged_is_marked(rendered: dict[str, Figure]) -> None:
    written = texts(rendered["table6"])
    assert "0.45 ± 0.34 †" in written
    assert written.count("†") == 2  # the number, and why
    assert "† not judged" in written


@pytest.mark.parametrize(("name", "number"), [("table3", "46.70"), ("table4", "37.90"), ("table5", "72.50")])
def test_large_sets_stand_beside_the_surrogate(rendered: dict[str, Figure], root: Path, name: str, number: str) -> None:
    figure = rendered[name]
    ours = figure.rows[figure.rows["experiment"] == "two-stage"].set_index("method")
    assert ours.loc["ncm", "mean"] == pytest.approx(np.mean(accuracies(root, cell("two-stage", "lt-rho100", "ncm"))))
    assert ours["published"].isna().all()
    paper = figure.rows[figure.rows["experiment"] != "two-stage"]
    assert paper["mean"].isna().all()
    assert paper["note"].str.len().gt(0).all()
    reason = load(root).experiment("absgd", paper["experiment"].iloc[0]).reason
    assert " ".join(reason.split()[:4]) in texts(figure)
    assert number in texts(figure)


def test_table7_gives_the_reason_and_the_papers_numbers(rendered: dict[str, Figure], root: Path) -> None:
    written, data = texts(rendered["table7"]), rendered["table7"].rows
    assert load(root).artifact("absgd", "table7").reason.split()[0] in written
    assert sorted(data["published"].dropna()) == [0.6828, 0.6866, 0.6869, 0.6931, 0.6932, 0.6942, 0.6993]
    assert "no number" in written
    assert data["mean"].isna().all()


# --- ablation --------------------------------------------------------------------------------------------------------


def test_paired_differences_are_taken_seed_by_seed(rendered: dict[str, Figure], root: Path) -> None:
    data = rendered["ablation"].rows.set_index(["experiment", "setting", "method", "against"])
    for experiment, setting, treated, control in (
        ("normalised-logits", "sym0.4", "sgd_ce_norm", "sgd_ce"),
        ("cifar10", "lt-rho100", "sgd_cbce", "sgd_ce"),
        ("cifar10", "lt-rho100", "absgd_cbce", "sgd_cbce"),
    ):
        mine, other = (accuracies(root, cell(experiment, setting, one)) for one in (treated, control))
        ours = stats.summarise([a - b for a, b in zip(mine, other, strict=True)])
        row = data.loc[(experiment, setting, treated, control)]
        assert (row["n"], row["status"], row["metric"]) == (3, "run", "test_accuracy_difference")
        assert (row["mean"], row["low"], row["high"]) == pytest.approx((ours.mean, ours.low, ours.high))
        assert f"{100 * ours.mean:+.2f}".replace("-", "−") in texts(rendered["ablation"])
    gap = data.loc[("normalised-logits", "sym0.2", "sgd_ce_norm", "sgd_ce")]
    assert (gap["n"], gap["note"]) == (0, "not trained yet")


def test_only_seeds_that_both_have_are_paired(root: Path) -> None:
    material = tables.of_artifact("paper", "absgd", "ablation", root)
    ours = material.of("cifar10", "lt-rho100", "sgd_cbce")
    others = material.of("cifar10", "lt-rho100", "sgd_ce")
    row = paired_row(ours[ours["seed"] != 0], others[others["seed"] != 1], "test_accuracy")
    assert row["n"] == 1
    assert row["low"] is None
    expected = [f"{cell('cifar10', 'lt-rho100', one)}/seed2" for one in ("sgd_cbce", "sgd_ce")]
    assert tables.expand_runs(row["runs"]) == expected
    lost = paired_row(ours.assign(status="diverged"), others, "test_accuracy")
    assert (lost["n"], lost["status"]) == (3, "3 diverged")
    empty = paired_row(ours.iloc[:0], others, "test_accuracy")
    assert (empty["n"], empty["status"], empty["runs"]) == (0, "not run", "")


def test_every_pair_of_the_notebook_exists(rendered: dict[str, Figure], root: Path) -> None:
    material = tables.of_artifact("paper", "absgd", "ablation", root)
    data = rendered["ablation"].rows
    for row in data[["experiment", "method", "against"]].drop_duplicates().itertuples():
        assert {row.method, row.against} <= set(material.experiment(row.experiment).with_extensions), row
