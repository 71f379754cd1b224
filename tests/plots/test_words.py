"""What figures say of themselves where nothing was run, where runs diverged, and where lines meet words."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from support import synthetic_records
from support.absgd_figures import drawn_by_notebook, texts
from support.drawing import draw_artifact

from reweigh.analysis import tables
from reweigh.config.loading import load
from reweigh.plots.axes import chance_line
from reweigh.plots.figure import Figure


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without records."""
    return synthetic_records.project(tmp_path_factory.mktemp("project"))


@pytest.mark.parametrize(
    ("paper", "name", "said"),
    [
        ("tdr", "table1", "grey: the paper's numbers"),
        ("tdr", "fig9", "diamonds: the paper's mean ± sd"),
        ("absgd", "table2", "grey: the paper's numbers, all in %"),
        ("absgd", "fig4", "nothing of ours was run"),
    ],
)
def test_where_nothing_was_run_the_papers_numbers_are_still_explained(
    untrained: Path, paper: str, name: str, said: str
) -> None:
    written = " ".join(texts(draw_artifact(untrained, "paper", paper, name)).split())
    assert said in written and "n = 0" not in written


def test_a_stand_in_without_runs_is_not_said_to_be_run(untrained: Path, absgd_rendered: dict[str, Figure]) -> None:
    assert "run here" not in texts(draw_artifact(untrained, "paper", "absgd", "table3"))
    assert "run here" in texts(absgd_rendered["table3"])


def test_only_what_is_not_counted_is_dotted(absgd_rendered: dict[str, Figure]) -> None:
    (axes,) = absgd_rendered["fig2"].picture.axes
    dashes = {str(line.get_label()).splitlines()[0]: line._unscaled_dash_pattern[1] for line in axes.lines}  # type: ignore[attr-defined]
    dotted = {title for title, lengths in dashes.items() if lengths and max(lengths) < 2}
    assert dotted and dotted == {title for title in dashes if "by its law" in title}


def diverge(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """All runs with `part` in their name have diverged."""
    known = tables.records_of

    def changed(*arguments: object) -> dict[str, dict[str, object]]:
        found = known(*arguments)  # type: ignore[arg-type]
        return {run: {**body, "status": "diverged"} if part in run else body for run, body in found.items()}

    monkeypatch.setattr(tables, "records_of", changed)


def test_fig4_says_of_a_sweep_that_all_its_runs_diverged(absgd_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diverge(monkeypatch, "/gamma-")
    assert "diverged" in texts(drawn_by_notebook(absgd_project, "fig4"))


@pytest.mark.parametrize(("name", "part"), [("fig4", "/absgd_gamma0.5/"), ("ablation", "/sgd_ce_norm/")])
def test_what_diverged_is_not_called_not_run(
    name: str, part: str, absgd_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = texts(drawn_by_notebook(absgd_project, name)).count("γ = 0.5 in")
    diverge(monkeypatch, part)
    written = texts(drawn_by_notebook(absgd_project, name))
    assert "diverged" in written and written.count("γ = 0.5 in") == before
    assert "(, " not in written and ", , " not in written and "()" not in written


def test_a_cell_that_is_missing_in_a_panel_of_one_method_says_so_at_its_tick(tmp_path: Path) -> None:
    root = synthetic_records.project(tmp_path / "project")
    synthetic_records.make(root, load(root).runs_of("paper/tdr/mnist-4v9/rho0.1/er")[0])
    first = draw_artifact(root, "paper", "tdr", "er-collapse").picture.axes[0]
    assert [text.xy[0] for text in first.texts if text.get_text() == "not run"] == [1, 2, 3]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("busy", "side"), [("right", "left"), ("left", "right")])
def test_the_word_chance_stands_where_no_point_is(busy: str, side: str) -> None:
    class Known:
        def __init__(self) -> None:
            self.runs = pd.DataFrame({"experiment": ["e"], "status": ["finished"], "run": ["r"]})
            self.records = {"r": {"metrics": {"confusion": [[1, 0], [0, 1]]}}}

    axes = plt.figure().add_subplot()
    places = np.array([2.95, 3.0]) if busy == "right" else np.array([0.0, 0.05])
    axes.plot(places, [0.52, 0.53], "o")
    axes.plot([places[0]] * 2, [0.4, 0.9])
    axes.set(xlim=(-0.1, 3.1), ylim=(0.4, 1))
    chance_line(axes, Known(), "e")  # type: ignore[arg-type]
    (word,) = axes.texts
    assert word.get_text() == "chance" and word.get_horizontalalignment() == side


def test_a_dash_has_one_meaning_in_a_table(tmp_path: Path) -> None:
    root = synthetic_records.project(tmp_path / "project")
    synthetic_records.fill(root, "paper", "tdr", "table3", seeds=2)
    written = " ".join(texts(draw_artifact(root, "paper", "tdr", "table3")).split())
    assert written.count("–: ") == 1 and "dash:" not in written and "Empty:" not in written
