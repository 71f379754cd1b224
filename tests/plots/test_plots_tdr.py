"""TDR's figures: each value set in a panel of its own, nothing squeezed, and all numbers those of the records."""

import io
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.figure import Figure as MatplotlibFigure
from support import synthetic_records
from support.drawing import draw_artifact
from support.project import ROOT

from reweigh import stats
from reweigh.analysis import ridges as definitions
from reweigh.analysis import tables
from reweigh.analysis.rows import of_cells, of_seeds, write_csv
from reweigh.config.loading import load
from reweigh.config.names import ArtifactName
from reweigh.plots import by_setting, facets
from reweigh.plots import tables as table_figures
from reweigh.plots.axes import LEAST_ERROR, error_axis
from reweigh.plots.figure import Figure
from reweigh.plots.papers.tdr import by_group
from reweigh.provenance import recompute
from reweigh.provenance.audit import completeness
from reweigh.provenance.audit.notebook_rows import call_of
from reweigh.records import record

LAST = "rho0.005"
PRINTED, CODE = ["tdr_p", "er_p", "none_p", "hard_p"], ["tdr", "er", "none", "hard"]
PANELS = [("printed", PRINTED), ("code", CODE)]
TRAINED = ("fig3", "fig4", "fig5", "fig6", "table3", "loss-scale", "er-collapse", "ablation")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with made-up records at scale paper of all that these artifacts draw, two seeds each, fewer epochs."""
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    for path in (root / "config/papers/tdr").rglob("*.yaml"):
        path.write_text(path.read_text().replace("epochs: { value: 100,", "epochs: { value: 8,"))
    for artifact in TRAINED:
        synthetic_records.fill(root, "paper", "tdr", artifact, optional=True, seeds=2)
    for run in load(root).runs_of("paper/tdr/adult/sex/tdr")[:2]:
        counts = [[[90, 10], [4, 6]], [[50, 10], [10, 30]]]
        synthetic_records.make(root, run, group_confusion=counts, per_group_accuracy=[96 / 110, 0.8])
    return root


@pytest.fixture(scope="module")
def figures(root: Path) -> dict[str, Figure]:
    return {name: draw_artifact(root, "paper", "tdr", name) for name in TRAINED}


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.picture.findobj(lambda artist: hasattr(artist, "get_text")))


def bodies_of(root: Path, cell: str) -> list[dict[str, Any]]:
    found = [record.record_path(run, root) for run in load(root).runs_of(cell)]
    return [record.read(path) for path in found if path.is_file()]


# --- the list of artifacts -------------------------------------------------------------------------------------------


def test_every_figure_and_table_of_the_paper_is_an_artifact_with_notebook_and_caption() -> None:
    artifacts = load(ROOT).paper("tdr").artifacts
    assert {*(f"fig{number}" for number in range(1, 10)), "table1", "table2", "table3"} <= set(artifacts)
    for name, artifact in artifacts.items():
        assert (ROOT / artifact.notebook).is_file() and artifact.notebook == f"notebooks/tdr/{name}.ipynb"
        assert (ROOT / artifact.caption).read_text().strip()
        assert artifact.status == "ready" or artifact.reason
    assert {path.stem for path in (ROOT / "notebooks/tdr").glob("*.ipynb")} == set(artifacts)


def test_every_extension_of_the_grid_is_shown_by_an_artifact() -> None:
    paper = load(ROOT).paper("tdr")
    shown = {
        (reads.experiment, method)
        for artifact in paper.artifacts.values()
        for reads in artifact.reads
        for method in [*reads.methods, *reads.optional]
    }
    asked = {
        (name, method)
        for name, experiment in paper.experiments.items()
        for method in (
            experiment.methods if experiment.extension else [m for one in experiment.extensions for m in one.methods]
        )
    }
    missing = {(name, method) for name, method in asked - shown if name != "mnist-lt"}  # mnist-4v9 shows these
    assert not missing
    assert all(("mnist-4v9", method) in shown for name, method in asked - shown)


@pytest.mark.parametrize("name", ["fig3", "fig4", "fig5", "fig6"])
def test_the_panels_of_a_notebook_hold_every_method_that_its_artifact_reads(name: str) -> None:
    artifact = load(ROOT).artifact("tdr", name)
    call = call_of(ROOT / artifact.notebook)
    assert call is not None
    panels = next(value for value in [*call.options.values(), *call.arguments] if isinstance(value, list)
                  and isinstance(value[0], tuple))  # fmt: skip
    read = {method for reads in artifact.reads for method in [*reads.methods, *reads.optional]}
    assert {method for _, methods in panels for method in methods} == read


@pytest.mark.parametrize("name", ["fig2", "fig7", "fig8"])
def test_what_is_not_drawn_says_why(name: str) -> None:
    figure = draw_artifact(ROOT, "paper", "tdr", name)
    reason = load(ROOT).artifact("tdr", name).reason
    assert reason and reason.split()[0] in texts(figure)
    assert ("not drawn" in texts(figure)) == (name != "fig8")


# --- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRAINED)
def test_every_line_is_what_its_runs_say_and_none_is_missing(root: Path, figures: dict[str, Figure], name: str) -> None:
    """As the audit does it: recomputed from the records, by code of its own."""
    text = io.StringIO()
    write_csv(figures[name].rows, text)
    lines = pd.read_csv(io.StringIO(text.getvalue()), keep_default_na=False, dtype=str).to_dict("records")
    material, config = tables.of_artifact("paper", "tdr", name, root), load(root)
    cell = ArtifactName("paper", "tdr", name)
    assert completeness.incompleteness(lines, config, cell, material.records, [*material.records]) == ""
    checked = 0
    for line in lines:
        bodies = [material.records[run] for run in tables.expand_runs(line["runs"])]
        assert recompute.unlike_its_runs(line, bodies, config, "tdr") == ""
        if bodies:
            again = recompute.line(line, bodies, root)
            assert again is not None and recompute.differences(line, again) == []
            checked += 1
    assert checked > 10


@pytest.mark.parametrize("name", TRAINED)
def test_nothing_is_written_outside_the_page_or_over_something_else(figures: dict[str, Figure], name: str) -> None:
    picture = figures[name].picture
    picture.draw_without_rendering()
    page = picture.bbox
    boxes = [text.get_window_extent() for text in picture.texts] + [one.get_window_extent() for one in picture.legends]
    assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])
    for axes in (one for one in picture.axes if one.axison):
        frame = axes.get_window_extent()
        for text in [axes.xaxis.label, axes.yaxis.label]:
            box = text.get_window_extent()
            assert not text.get_text() or (page.x0 <= box.x0 and box.x1 <= page.x1), text.get_text()
        boxes = [tick.get_window_extent() for tick in axes.get_xticklabels() if tick.get_text()]
        shown = [box for box in boxes if frame.x0 - 1 <= (box.x0 + box.x1) / 2 <= frame.x1 + 1]
        assert not any(a.overlaps(b) for a, b in pairwise(shown)), name


@pytest.mark.parametrize("name", ["fig3", "fig4", "fig5", "fig6"])
def test_a_panel_says_which_values_it_shows(figures: dict[str, Figure], name: str) -> None:
    written = texts(figures[name])
    assert "values as printed" in written and "values of the authors' code" in written
    assert set(figures[name].rows["method"]) >= {"tdr_p", "er_p", "tdr", "er"}


# --- Figure 5 --------------------------------------------------------------------------------------------------------


def test_methods_stand_close_about_their_tick_and_a_seed_at_its_method(figures: dict[str, Figure]) -> None:
    """They stood up to a quarter off it on one side, and the seeds' dots further off."""
    for axes in figures["fig5"].picture.axes:
        means = [line for line in axes.lines if line.get_linestyle() == "None" and line.get_marker() != "."]
        dots = [line for line in axes.lines if line.get_marker() == "."]
        shifts = np.array([line.get_xdata() - np.round(line.get_xdata().astype(float)) for line in means], float)
        assert shifts.shape == (4, 4) and np.abs(shifts).max() <= 0.2
        assert shifts.sum(0) == pytest.approx(0)
        at = {round(float(x), 6) for line in means for x in line.get_xdata()}
        assert dots and {round(float(x), 6) for line in dots for x in line.get_xdata()} <= at


def fig5_where(root: Path, tmp_path: Path, method: str, accuracy: float) -> Any:
    """Fig. 5 after two runs of a method at the last ratio ended with this accuracy."""
    copy = tmp_path / "project"
    shutil.copytree(root, copy, symlinks=True)
    for run in load(copy).runs_of(f"paper/tdr/mnist-4v9/{LAST}/{method}")[:2]:
        synthetic_records.make(copy, run, test_accuracy=accuracy)
    material = tables.of_artifact("paper", "tdr", "fig5", copy)
    picture = by_setting.draw(material, by_setting.rows(material, panels=PANELS), panels=PANELS).picture
    picture.draw_without_rendering()
    return picture


def test_what_matters_is_not_squeezed_by_a_method_at_chance(root: Path, tmp_path: Path) -> None:
    """On the old linear axis .95 to .99 had a fifteenth of the height as soon as a method stood at .5."""
    picture = fig5_where(root, tmp_path, "er", 0.5)
    axes = picture.axes[0]
    bottom, low, high, top = axes.transData.transform([(0, axes.get_ylim()[0]), (0, 0.95), (0, 0.99),
                                                       (0, axes.get_ylim()[1])])[:, 1]  # fmt: skip
    assert axes.get_ylim()[0] < 0.5 and bottom < low < high
    assert high - low > 0.2 * (top - bottom)
    assert "chance" in texts(Figure(picture, pd.DataFrame()))


def test_the_axis_of_errors_has_room_for_an_accuracy_of_one(root: Path, tmp_path: Path) -> None:
    picture = fig5_where(root, tmp_path, "tdr", 1.0)
    assert picture.axes[0].get_ylim()[1] == pytest.approx(1 - LEAST_ERROR)


# --- Figures 3 and 4 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fig3", "fig4"])
def test_all_curves_have_bands_and_these_lie_between_0_and_1(figures: dict[str, Figure], name: str) -> None:
    """Optional methods had none, and Student's interval left the scale."""
    for axes in figures[name].picture.axes:
        bands = [one for one in axes.collections if isinstance(one, FillBetweenPolyCollection)]
        assert len(bands) == 4
        ends = np.concatenate([path.vertices[:, 1] for band in bands for path in band.get_paths()])
        assert ends.min() >= 0 and ends.max() <= 1


def test_time_is_on_a_logarithmic_axis_and_epochs_are_not(figures: dict[str, Figure]) -> None:
    axes = figures["fig3"].picture.axes
    assert [one.get_xscale() for one in axes] == ["linear", "log", "linear", "log"]
    drawn = figures["fig3"].rows["minutes"].dropna().astype(float)
    assert axes[1].get_xlim()[0] < drawn[drawn > 0].min() and drawn.max() < axes[1].get_xlim()[1]


# --- Figure 6 --------------------------------------------------------------------------------------------------------


def test_weights_are_shown_seed_by_seed(root: Path, figures: dict[str, Figure]) -> None:
    """They were pooled over seeds: modes of two seeds looked like two modes of a run."""
    rows = figures["fig6"].rows
    mine = of_seeds(rows[(rows["metric"] == "class_weight") & (rows["method"] == "tdr")])
    for body in bodies_of(root, "paper/tdr/mnist-lt/rho0.02/tdr"):
        of_seed = mine[mine["seed"] == body["spec"]["seed"]]
        weights = tables.class_weights(body, root)
        assert weights is not None and len(of_seed) == 10
        assert of_seed["mean"].tolist() == pytest.approx(weights.mean(0).tolist())
        assert of_seed["high"].tolist() == pytest.approx(np.quantile(weights, 0.95, axis=0).tolist())
        assert (of_seed["runs"] == body["run"]).all()


def test_long_tails_have_a_chance_line_at_a_tenth(figures: dict[str, Figure]) -> None:
    axes = figures["fig6"].picture.axes[0]
    levels = [
        line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1 and len(line.get_xdata()) == 2
    ]
    assert 0.1 in levels or axes.get_ylim()[0] > 0.1


def test_weights_that_a_method_does_not_normalise_count_as_they_are_used() -> None:
    raw = np.array([[0.5, 0.5], [1.5, 0.5], [-0.2, 0.4]])
    assert definitions.shares(raw).tolist() == [[0.5, 0.5], [0.75, 0.25], [0.0, 1.0]]
    simplex = np.array([[0.25, 0.75]], np.float32).astype(float)
    assert definitions.shares(simplex) is simplex


# --- Table 3 ---------------------------------------------------------------------------------------------------------


def test_the_table_of_adult_has_accuracy_and_true_positive_rate_of_each_sex(figures: dict[str, Figure]) -> None:
    rows = figures["table3"].rows
    mine = rows[rows["method"] == "tdr"].set_index(["metric", "class"])["mean"]
    assert mine["per_group_recall", 0] == pytest.approx(6 / 10)
    assert mine["per_group_recall", 1] == pytest.approx(30 / 40)
    assert mine["per_group_accuracy", 0] == pytest.approx(96 / 110)
    other = rows[(rows["method"] == "none") & (rows["metric"] == "per_group_recall")]
    assert other["n"].tolist() == [0, 0] and by_group.NONE in texts(figures["table3"])


def test_the_table_of_adult_shows_what_tdr_weighs_women(root: Path, figures: dict[str, Figure]) -> None:
    rows = figures["table3"].rows
    line = rows[(rows["method"] == "tdr") & (rows["metric"] == "class_weight") & (rows["class"] == 0)].iloc[0]
    weights = [tables.class_weights(body, root) for body in bodies_of(root, "paper/tdr/adult/sex/tdr")]
    pooled = np.concatenate([one for one in weights if one is not None])[:, 0]
    assert line["mean"] == pytest.approx(pooled.mean())
    assert f"{line['low']:.3f} to {line['high']:.3f}" in texts(figures["table3"])


# --- figures of ours -------------------------------------------------------------------------------------------------


def test_the_weight_of_a_batch_is_that_of_the_last_epoch(root: Path, figures: dict[str, Figure]) -> None:
    cells = of_cells(figures["loss-scale"].rows)
    assert set(cells["method"]) == {"tdr", "none", "hard", "tdr_batch", "none_1c", "none_v", "hard_mean"}
    assert set(cells["experiment"]) == {"mnist-4v9", "mnist-lt"}
    for metric in ("effective_weight", "train_loss"):
        line = cells[(cells["metric"] == metric) & (cells["method"] == "tdr") & (cells["setting"] == LAST)].iloc[0]
        values = [body["curves"][metric][-1] for body in bodies_of(root, f"paper/tdr/mnist-4v9/{LAST}/tdr")]
        assert line["mean"] == pytest.approx(np.mean(values)) and line["n"] == 2
    panels = figures["loss-scale"].picture.axes
    assert panels[0].get_ylim() == panels[3].get_ylim()  # one metric, one scale


def test_rate_and_decay_of_example_reweighting_are_crossed(root: Path, figures: dict[str, Figure]) -> None:
    """The titles of the panels, which stand in the notebook, are what the runs were trained with."""
    rows = figures["er-collapse"].rows
    letters = [text.get_text() for axes in figures["er-collapse"].picture.axes[:4] for text in axes.texts]
    for name, lines in rows[rows["metric"] == "test_accuracy"].groupby("panel"):
        (method,) = set(lines["method"])
        training = bodies_of(root, f"paper/tdr/mnist-4v9/{LAST}/{method}")[0]["spec"]["training"]
        decay = f"decay {training['weight_decay']:g}" if training["weight_decay"] else "no decay"
        assert letters[letters.index(str(name)) + 1] == f"rate {training['learning_rate']:g}, {decay}"
        assert training["momentum"] == 0.9
    assert len(of_seeds(rows[rows["metric"] == "test_accuracy"])) == 4 * 4 * 2


def test_options_of_tdr_stand_in_two_panels(figures: dict[str, Figure]) -> None:
    cells = of_cells(figures["ablation"].rows)
    assert cells.groupby("panel")["value"].agg(list).to_dict() == {
        "a": ["t_in = 1", "t_in = 10", "t_in = 100"],
        "b": ["|V| = 10", "|V| = 20", "|V| = 50", "|V| = 200"],
    }


@pytest.mark.parametrize(
    "name", ["ablation", "scrambled", "loss-scale", "er-collapse", "fig3", "fig5", "fig6", "table3"]
)
def test_without_any_record_a_figure_says_so_cell_by_cell(tmp_path: Path, name: str) -> None:
    figure = draw_artifact(synthetic_records.project(tmp_path / "project"), "paper", "tdr", name)
    assert len(figure.rows) and (figure.rows["n"] == 0).all()
    assert "not run" in texts(figure)
    figure.picture.draw_without_rendering()


def test_scrambled_pixels_stand_beside_pixels_in_their_places() -> None:
    rows = table_figures.rows(tables.of_artifact("paper", "tdr", "scrambled", ROOT))
    assert set(rows["method"]) == {"tdr", "none"} and set(rows["value"]) == {"0.3", "0.05"}
    assert rows.groupby("experiment").size().tolist() == [4, 4, 4, 4]


# --- what may go wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fig3", "fig5", "fig6", "table3", "loss-scale", "er-collapse"])
@pytest.mark.parametrize("fault", ["one diverged", "all diverged", "one seed", "one setting"])
def test_figures_survive(tmp_path: Path, name: str, fault: str) -> None:
    root = synthetic_records.project(tmp_path / "project")
    for path in (root / "config/papers/tdr").rglob("*.yaml"):
        path.write_text(path.read_text().replace("epochs: { value: 100,", "epochs: { value: 4,"))
    runs = synthetic_records.fill(root, "paper", "tdr", name, seeds=1 if fault == "one seed" else 2)
    for place, run in enumerate(runs):
        if fault == "all diverged" or (fault == "one diverged" and place == 0):
            synthetic_records.make(root, run, status="diverged")
        if fault == "one setting" and f"/{LAST}/" not in run and "/sex/" not in run and "/rho0.02/" not in run:
            record.record_path(run, root).unlink()
    figure = draw_artifact(root, "paper", "tdr", name)
    figure.save(tmp_path / "figure")
    means = figure.rows["mean"].dropna().astype(float)
    assert np.isfinite(means).all()
    if fault == "all diverged" and name not in ("fig6", "table3"):
        assert of_cells(figure.rows)["mean"].isna().all() or name == "fig3"


# --- the rest --------------------------------------------------------------------------------------------------------


def test_facets_without_methods_show_those_of_the_artifact(root: Path) -> None:
    material = tables.of_artifact("paper", "tdr", "loss-scale", root)
    rows = facets.rows(material, [("", "mnist-4v9", "test_accuracy")])
    summary = stats.summarise([body["metrics"]["test_accuracy"] for body in
                               bodies_of(root, f"paper/tdr/mnist-4v9/{LAST}/none_1c")])  # fmt: skip
    line = of_cells(rows)[(of_cells(rows)["method"] == "none_1c") & (of_cells(rows)["setting"] == LAST)].iloc[0]
    assert (line["mean"], line["low"]) == pytest.approx((summary.mean, summary.low))


# --- axes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [[0.5, 0.99], [0.1, 0.98], [0.92, 0.925], [0.9999, 1.0], [0.985], [], [0.0, 1.0]])
def test_an_axis_of_errors_has_ticks_that_tell_its_accuracies(shown: list[float]) -> None:
    axes = MatplotlibFigure().subplots()
    error_axis(axes, pd.Series(shown, dtype=float))
    axes.figure.draw_without_rendering()
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
    assert len(ticks) >= 2 and len(ticks) == len(set(ticks)) and all(np.isfinite([low, high]))
    assert all(low <= value <= max(high, 1 - LEAST_ERROR) or value == 1.0 for value in shown)


def test_lines_are_dashed_where_the_paper_has_no_such_method(figures: dict[str, Figure]) -> None:
    """And not where it has it with other values."""
    picture = figures["fig6"].picture
    entries = zip(picture.legends[0].get_texts(), picture.legends[0].get_lines(), strict=True)
    dashed = {text.get_text(): line.get_linestyle() != "-" for text, line in entries}
    assert dashed == {
        "TDR": False, "Example reweighting": False, "No reweighting": True, "Hard weighting": True,
    }  # fmt: skip
