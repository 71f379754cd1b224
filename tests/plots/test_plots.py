"""Figures: what they draw is what the records say, every number is in the csv, and text stays where it can be read."""

import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import synthetic_records
from support.drawing import draw_artifact
from support.project import ROOT

from reweigh import stats
from reweigh.analysis import tables
from reweigh.analysis.rows import CORE
from reweigh.config.loading import load
from reweigh.digest import file_digest
from reweigh.errors import ConfigError
from reweigh.plots import by_setting, curves, ridges, style
from reweigh.plots import tables as table_figures
from reweigh.plots.figure import Figure


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with made-up records at scale smoke, and of some figures at scale paper; two methods left out."""
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    for artifact in ("fig5", "fig6", "fig9", "table1", "table3", "loss-scale", "er-collapse"):
        synthetic_records.fill(root, "smoke", "tdr", artifact)
    for run in load(root).runs("paper", "tdr", "mnist-4v9"):
        if "/none/" not in run and "rho0.02/er" not in run:
            synthetic_records.make(root, run)
    return root


# The artifacts of TDR at the two kinds of call: those that train are drawn from made-up records.
KINDS = ("fig3", "fig4", "fig5", "fig6", "fig8", "fig9", "table1", "table2", "table3", "loss-scale", "er-collapse")
EMPTY = ("fig8", "table2")  # no record of theirs is made up here


def drawn(root: Path, artifact: str, scale: str = "smoke") -> Figure:
    """An artifact of TDR as its notebook draws it."""
    return draw_artifact(root, scale, "tdr", artifact)


def texts(figure: Figure) -> str:
    """All that is written in a figure."""
    return " ".join(text.get_text() for text in figure.picture.findobj(lambda artist: hasattr(artist, "get_text")))


@pytest.mark.parametrize("artifact", KINDS)
def test_every_figure_says_its_scale_and_n(root: Path, artifact: str) -> None:
    figure = drawn(root, artifact)
    written = texts(figure)
    assert "scale: smoke" in written
    assert "not comparable with the paper" in written
    if artifact not in EMPTY:
        assert "n = " in written
        assert "interval" in written


@pytest.mark.parametrize("artifact", KINDS)
def test_every_number_in_the_csv_can_be_traced(root: Path, artifact: str, tmp_path: Path) -> None:
    figure = drawn(root, artifact).save(tmp_path / artifact)
    data = pd.read_csv(tmp_path / f"{artifact}.csv", keep_default_na=False, dtype=str)
    assert set(data) >= set(CORE)
    assert len(data) == len(figure.rows)
    numbers = data[data["mean"] != ""]
    assert (numbers["runs"] != "").all()
    assert (numbers["records"].str.len() == 12).all()
    assert (data[data["mean"] == ""]["status"] == "not run").all()


def test_lines_of_a_curve_are_means_of_the_records(root: Path) -> None:
    material = tables.of_artifact("paper", "tdr", "fig3", root)
    data = curves.rows(material)
    line = data[(data["method"] == "tdr") & data["seed"].isna() & (data["epoch"] == 7)].iloc[0]
    bodies = [material.records[run] for run in tables.expand_runs(line["runs"])]
    values = [body["curves"]["test_accuracy"][body["curves"]["epoch"].index(7)] for body in bodies]
    assert len(values) == 5
    expected = stats.summarise(values)
    assert (line["mean"], line["sd"], line["low"], line["high"]) == pytest.approx(
        (expected.mean, expected.sd, expected.low, expected.high)
    )
    assert line["minutes"] == pytest.approx(np.mean([body["curves"]["train_seconds"][6] for body in bodies]) / 60)


def test_what_was_not_run_says_so_and_nothing_stands_in(root: Path) -> None:
    figure = drawn(root, "fig5", "paper")
    gap = figure.rows[(figure.rows["method"] == "er") & (figure.rows["setting"] == "rho0.02")]
    assert gap["n"].tolist() == [0]
    assert gap["mean"].isna().all()
    assert "Example reweighting (code) (0.02)" in texts(figure)
    assert "none" not in set(figure.rows["method"])  # optional, without records: not drawn, not claimed


def test_settings_stand_in_the_papers_order(root: Path) -> None:
    data = by_setting.rows(tables.of_artifact("paper", "tdr", "fig5", root))
    mine = data[(data["method"] == "tdr") & data["seed"].isna()]
    assert mine["value"].tolist() == ["0.1", "0.05", "0.02", "0.005"]


def test_ridges_show_the_weights_and_what_inverse_frequency_would_give(root: Path) -> None:
    material = tables.of_artifact("smoke", "tdr", "fig6", root)
    data = ridges.rows(material, "rho0.02", ["tdr"])
    inverse = data[data["metric"] == "inverse_frequency"]["mean"]
    body = next(body for run, body in material.records.items() if "rho0.02/tdr" in run)
    counts = np.array(body["split"]["sizes"]["train"])
    assert inverse.to_numpy() * counts == pytest.approx(inverse.iloc[0] * counts[0])
    assert inverse.sum() == pytest.approx(1, abs=1e-5)
    weights = data[(data["metric"] == "class_weight") & data["seed"].isna()]
    assert len(weights) == 10
    assert weights["mean"].sum() == pytest.approx(1, abs=1e-5)
    densities = data[data["metric"] == "class_weight_density"]
    assert densities["seed"].notna().all()
    assert (densities.groupby(["seed", "class"])["mean"].max() == 1).all()


def test_tables_hold_the_papers_numbers_beside_ours_and_tell_gaps_apart(root: Path) -> None:
    data = table_figures.rows(tables.of_artifact("smoke", "tdr", "table1", root))
    cell = data[(data["experiment"] == "cifar10-4v9-convnet") & (data["method"] == "tdr")].set_index("value")
    assert cell.loc["0.05", "published"] == 0.9025
    assert cell.loc["0.3", "status"] == "run"
    assert cell.loc["0.05", "note"] == "not part of scale smoke"
    written = texts(drawn(root, "table1"))
    assert "not reported" in written  # example reweighting on ResNet-20
    assert "not run" in written


def test_the_panel_of_an_artifact_that_cannot_be_run_gives_reason_and_published_numbers(root: Path) -> None:
    figure = drawn(root, "fig8")
    assert load(root).artifact("tdr", "fig8").reason.split()[0] in texts(figure)
    assert figure.rows["published"].tolist() == [0.8605, 0.855]
    assert (figure.rows["status"] == "not run").all()
    assert figure.rows["mean"].isna().all()


def test_diverged_runs_count_and_are_named(root: Path) -> None:
    run = "smoke/tdr/mnist-4v9/rho0.005/er/seed0"
    before = tables.record.read(tables.record.record_path(run, root))["metrics"]["test_accuracy"]
    synthetic_records.make(root, run, status="diverged", test_accuracy=0.5)
    try:
        figure = drawn(root, "fig5")
        line = figure.rows[(figure.rows["method"] == "er") & (figure.rows["setting"] == "rho0.005")]
        assert line[line["seed"].isna()]["status"].tolist() == ["1 diverged"]
        assert "diverged, which have no score" in texts(figure)
    finally:
        synthetic_records.make(root, run, test_accuracy=before)


def test_the_same_records_give_the_same_bytes(root: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        drawn(root, "fig9").save(tmp_path / name)
    for ending in ("pdf", "png", "csv"):
        assert file_digest(tmp_path / f"one.{ending}") == file_digest(tmp_path / f"two.{ending}")


def test_fonts_are_embedded_as_type_42_and_no_time_is_stored(root: Path, tmp_path: Path) -> None:
    drawn(root, "fig8").save(tmp_path / "fig8")
    content = (tmp_path / "fig8.pdf").read_bytes()
    assert b"/Type3" not in content
    assert b"CreationDate" not in content


@pytest.mark.parametrize("artifact", KINDS)
def test_nothing_is_written_outside_the_page_or_over_a_panel(root: Path, artifact: str) -> None:
    figure = drawn(root, artifact).picture
    figure.draw_without_rendering()
    page = figure.bbox
    for text in figure.texts:
        box = text.get_window_extent()
        assert page.x0 - 1 <= box.x0, text.get_text()
        assert box.x1 <= page.x1 + 1, text.get_text()
        assert page.y0 - 1 <= box.y0, text.get_text()
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes), text.get_text()
    boxes = [text.get_window_extent() for text in figure.texts] + [one.get_window_extent() for one in figure.legends]
    assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])


def test_methods_look_the_same_everywhere_and_unlike_each_other() -> None:
    """Variants of a method share its colour; what a card has no look for, or has given away, gets a spare one."""
    methods = load(ROOT).papers["tdr"].methods
    looks = style.looks(methods)
    assert len(set(looks.values())) == len(looks)
    assert looks["tdr"] == style.look_of("tdr") == looks["tdr_p"]._replace(hollow=False)
    assert looks["er_ren"] in style.SPARE and looks["er"] not in style.SPARE
    more = style.looks({**methods, "seventh": methods["tdr"], "eighth": methods["tdr"]})
    assert more["seventh"] != more["eighth"] and {more["seventh"], more["eighth"]} <= set(style.SPARE)


def test_a_png_is_shown_in_notebooks(root: Path) -> None:
    picture = drawn(root, "fig8")._repr_png_()
    assert struct.unpack(">II", picture[16:24])[0] > 500


def test_runs_pack_into_a_text_and_back() -> None:
    runs = ["quick/a/b/c/d/seed0", "quick/a/b/c/d/seed1", "quick/a/b/c/e/seed7"]
    assert tables.join_runs(runs) == "quick/a/b/c/d/seed{0,1} quick/a/b/c/e/seed7"
    assert tables.expand_runs(tables.join_runs(runs)) == runs


@pytest.mark.parametrize("text", ["nonsense", "quick/a/b/c/d", "quick/a/b/c/d/seed{}", "a/b/seed{0,1}", "seed1"])
def test_what_is_no_packed_run_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not the name of a"):
        tables.expand_runs(text)


def test_the_project_is_found_from_below_and_its_absence_is_said(root: Path, tmp_path: Path) -> None:
    assert tables.find_root(root / "notebooks/tdr") == root.resolve()
    with pytest.raises(ConfigError, match=r"no config/config.yaml"):
        tables.find_root(tmp_path)


def test_records_that_the_config_does_not_ask_for_are_not_counted(root: Path) -> None:
    config = load(root)
    cell = "smoke/tdr/mnist-4v9/rho0.1/tdr"
    synthetic_records.make(root, f"{cell}/seed9")
    frame = tables.load_cells(config, [cell])
    assert sorted(frame["seed"]) == config.seeds("smoke", "tdr", "mnist-4v9")
    tables.record.record_path(f"{cell}/seed9", root).unlink()
