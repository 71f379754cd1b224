"""What a scale leaves out of a paper has no empty panel there."""

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from support import synthetic_records
from support.drawing import draw_artifact, texts

from reweigh.analysis import tables
from reweigh.config.loading import load
from reweigh.plots import by_setting, left_out

PANELS = [("printed", ["tdr_p", "er_p"]), ("code", ["tdr", "er"])]


def recorded(root: Path, paper: str, artifact: str) -> Path:
    """A project with records of all runs that an artifact reads at scale quick."""
    config = load(root)
    for cell in config.cells_of("quick", paper, artifact):
        for run in config.runs_of(cell):
            synthetic_records.make(root, run)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    for artifact in ("fig3", "fig5", "fig6", "er-collapse"):
        recorded(root, "tdr", artifact)
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


def lines(**changed: object) -> pd.DataFrame:
    """A table of two experiments with two methods and two settings; some lines are another."""
    cells = itertools.product(("a", "b"), ("x", "y"), ("1", "2"))
    base: dict[str, object] = {"n": 3, "note": "", "listed": False}
    table = pd.DataFrame([{"experiment": e, "method": m, "value": v, **base} for e, m, v in cells])
    for place, values in changed.items():
        for name, value in values.items():  # type: ignore[attr-defined]
            table.loc[(table["experiment"] + table["method"] + table["value"]).str.startswith(place), name] = value
    return table


OUTSIDE: dict[str, object] = {"n": 0, "note": "not part of scale quick"}
QUICK: Any = SimpleNamespace(scale="quick")


def test_a_side_is_left_out_where_the_scale_has_no_cell_of_it_and_the_paper_no_number() -> None:
    def kept(table: pd.DataFrame) -> str:
        return " ".join(dict.fromkeys(left_out.of_scale(QUICK, table, "experiment", "method").apply(
            lambda line: line["experiment"] + line["method"], axis=1
        )))  # fmt: skip

    assert kept(lines()) == "ax ay bx by"
    assert kept(lines(ay=OUTSIDE)) == "ax bx by"
    assert kept(lines(ay1=OUTSIDE)) == "ax ay bx by"  # of one setting only
    assert kept(lines(ay={**OUTSIDE, "listed": True})) == "ax ay bx by"
    assert kept(lines(ay={"n": 0, "note": "not trained yet"})) == "ax ay bx by"
    assert kept(lines(ay1=OUTSIDE, ay2={"n": 0, "note": tables.NEVER})) == "ax bx by"
    assert kept(lines(ay={"n": 0, "note": tables.NEVER})) == "ax ay bx by"  # that is not the scale's doing
    assert kept(lines(a=OUTSIDE, b=OUTSIDE)) == "ax ay bx by"  # a table without a line says nothing
    assert kept(lines().iloc[:0].assign(experiment="", method="")) == ""


def test_what_is_left_out_and_what_was_not_run_are_told_apart() -> None:
    named = [("A", True), ("B", False), ("C", True), ("A", True)]
    assert left_out.absent_notes(QUICK, named) == ["Not part of scale quick: A; C", "Not run: B"]
    assert left_out.absent_notes(QUICK, named[1:2], "Methods") == ["Methods not run: B"]
    assert left_out.absent_notes(QUICK, []) == []


def test_tables_of_a_smaller_scale_have_no_line_and_no_column_of_nothing(tmp_path: Path) -> None:
    """At quick, Table 2 of MOLERE had ten lines `not run` of an experiment that the scale does not have."""
    root = recorded(synthetic_records.project(tmp_path), "molere", "table2")
    figure = draw_artifact(root, "quick", "molere", "table2")
    said = texts(figure).replace("\n", " ").replace("\u00a0", " ")
    assert "meta set, ResNet-32" in said.partition("Not part of scale quick: ")[2]
    assert "authors' settings" not in said and "skew 200" in said  # the paper has a number there
    assert set(figure.rows["experiment"]) == {"cifar100-skew", "cifar100-skew-meta"}  # its csv has all


def test_the_comparison_shows_the_methods_and_settings_of_the_scale(tmp_path: Path) -> None:
    root = recorded(synthetic_records.project(tmp_path), "compare", "fig3")
    for name in ("fig3", "table1"):
        figure = draw_artifact(root, "quick", "compare", name)
        everything = texts(figure).replace("\n", " ")
        below = " ".join(text.get_text() for text in figure.picture.texts)
        assert "long tail" in everything and "Group DRO" in everything
        for left in ("Focal", "ERM on all", "two fifths"):
            assert everything.count(left) == below.count(left) == 1  # in the footer alone
        assert "Settings not part of scale quick: " in below and "Methods not part of scale quick: Focal; " in below
