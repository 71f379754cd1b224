"""What a scale leaves out of a paper has no empty panel there."""

from dataclasses import replace
from pathlib import Path

import pytest
from support import synthetic_records
from support.drawing import draw_artifact, texts

from reweigh.analysis import tables
from reweigh.config.loading import load
from reweigh.plots import by_setting

PANELS = [("printed", ["tdr_p", "er_p"]), ("code", ["tdr", "er"])]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    config = load(root)
    for artifact in ("fig3", "fig5", "fig6", "er-collapse"):
        for cell in config.cells_of("quick", "tdr", artifact):
            for run in config.runs_of(cell):
                synthetic_records.make(root, run)
    return root


@pytest.mark.parametrize("name", ["fig3", "fig5", "fig6", "er-collapse"])
def test_no_panel_is_empty_because_the_scale_leaves_out_its_methods(root: Path, name: str) -> None:
    """At quick, which has the values of TDR's code alone, half of Fig. 5 said `not run`."""
    figure = draw_artifact(root, "quick", "tdr", name)
    kept = load(root).methods_of("quick", "tdr", figure.rows["experiment"].iloc[0])
    assert set(figure.rows["method"]) <= set(kept)
    assert (figure.rows.groupby("panel")["n"].sum() > 0).all()
    assert "not part of scale" not in texts(figure)
    figure.picture.draw_without_rendering()
    for axes in figure.picture.axes:
        assert axes.get_xlabel() != "epoch" or all(tick == int(tick) for tick in axes.get_xticks())


def test_what_somebody_ran_all_the_same_is_shown(tmp_path: Path) -> None:
    root = synthetic_records.project(tmp_path)
    material = tables.of_artifact("quick", "tdr", "fig5", root)
    assert material.left_out("mnist-4v9", "tdr_p") and not material.left_out("mnist-4v9", "tdr")
    assert set(by_setting.rows(material, panels=PANELS)["method"]) == {"tdr", "er"}
    recorded = replace(material, runs=material.runs.reindex([0]).assign(experiment="mnist-4v9", method="tdr_p"))
    assert not recorded.left_out("mnist-4v9", "tdr_p") and recorded.left_out("mnist-4v9", "er_p")


def test_at_scale_paper_nothing_is_left_out(tmp_path: Path) -> None:
    material = tables.of_artifact("paper", "tdr", "fig5", synthetic_records.project(tmp_path))
    assert set(by_setting.rows(material, panels=PANELS)["method"]) == {"tdr_p", "er_p", "tdr", "er"}


def test_a_figure_that_a_scale_does_not_have_says_so(tmp_path: Path) -> None:
    """At quick the ablation of TDR, which only scale paper has, looked like one that failed."""
    root = synthetic_records.project(tmp_path)
    assert "not part of scale quick" in texts(draw_artifact(root, "quick", "tdr", "ablation"))
    assert "not part of scale" not in texts(draw_artifact(root, "paper", "tdr", "ablation"))
