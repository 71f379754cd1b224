"""ABSGD's figures and tables: what is drawn is what records, formulas and the paper say; what is missing is named."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import synthetic_records
from support.absgd_figures import MAPPED, NOTEBOOKS, cell, clusters, drawn_by_notebook, texts, weights_of, with_arrays
from support.pages import layout_faults

from reweigh import stats
from reweigh.analysis import tables
from reweigh.analysis.rows import CORE, paired_row
from reweigh.config.loading import load
from reweigh.plots import features
from reweigh.plots import tables as table_figures
from reweigh.plots.figure import Figure
from reweigh.plots.style import WARNING
from reweigh.records import record


@pytest.fixture(scope="module")
def root(absgd_project):
    return absgd_project


@pytest.fixture(scope="module")
def rendered(absgd_rendered):
    return absgd_rendered


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
    assert layout_faults(rendered[name].picture, table=name.startswith("table")) == []


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


def test_tables_at_scale_quick_say_what_their_numbers_are(root: Path) -> None:
    """Each number of ours in the colour of the badge, the legend says so; every cell without one says why."""
    config = load(root)
    cells_of = config.cells_of("quick", "absgd", "table2")[:3]
    for run in (run for one in cells_of for run in config.runs_of(one)):
        synthetic_records.make(root, run, test_accuracy=0.4)
    material = tables.of_artifact("quick", "absgd", "table2", root)
    figure = table_figures.draw(material, table_figures.rows(material), percent=True)
    cells = [text for axes in figure.picture.axes for text in axes.texts]
    assert [text.get_color() for text in cells if text.get_text().startswith("40.00")] == [WARNING] * len(cells_of)
    written = texts(figure)
    assert "one seed has neither sd nor interval; orange: ours at scale quick, not to be compared" in written
    absent = [text.get_text() for text in cells].count("–")
    assert absent == 2 * 3 * 2  # META on steps, for three losses, of both data sets
    assert "such cell, here or in the paper" in written
    lines = len(figure.rows)
    assert sum(text.get_text() == "not run" or text.get_text().startswith("40.00") for text in cells) == lines


def test_at_scale_paper_ours_are_not_orange(rendered: dict[str, Figure]) -> None:
    colours = {text.get_color() for axes in rendered["table1"].picture.axes for text in axes.texts}
    assert WARNING not in colours and "not to be compared" not in texts(rendered["table1"])


def test_a_stand_in_is_called_one(rendered: dict[str, Figure]) -> None:
    assert "decides a claim and never one of the paper's numbers" in texts(rendered["table3"])


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
