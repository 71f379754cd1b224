"""What MOLERE's figures say of the paper: its names of methods, its digits, and no number of ours under them."""

import json
from pathlib import Path

import pytest
from support import molere_records, synthetic_records
from support.drawing import draw_artifact
from support.molere_records import PAPER, texts

from reweigh.analysis import tables
from reweigh.config.loading import load
from reweigh.plots import printed
from reweigh.plots.papers.molere import common, gains, margins

SEEDS = 2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with made-up records of three settings of MNIST, in one of which MBR fails."""
    root = synthetic_records.project(tmp_path_factory.mktemp("molere"))
    config = load(root)
    for setting in ("clean", "sym0.1", "sym0.2"):
        for method in ("erm", "lrw_easy", "lrw_random", "lrw_hard", "lrwopt"):
            for run in config.runs_of(f"{PAPER}/mnist-ordering/{setting}/{method}")[:SEEDS]:
                molere_records.make(root, run)
    for run in config.runs_of(f"{PAPER}/mnist-ordering/sym0.2/mbr")[:SEEDS]:
        synthetic_records.make(root, run, test_accuracy=0.75)
    return root


def written(root: Path, name: str) -> str:
    return texts(draw_artifact(root, "paper", "molere", name)).replace("\n", " ").replace("\u00a0", " ")


@pytest.mark.parametrize("name", ["table3", "table5", "table6", "fig1", "fig2"])
def test_the_papers_numbers_stand_under_the_papers_name_of_a_method(root, name):
    words = written(root, name)
    assert "MAPLE" in words and "MAPLE-lite" not in words and "L2RW" not in words


def test_where_ours_was_run_and_is_called_otherwise_both_names_stand_there(root, tmp_path):
    material = tables.of_artifact("paper", "molere", "table5", root)
    assert printed.head(material, "maple", run=True) == "MAPLE (ours: MAPLE-lite)"
    assert printed.head(material, "maple", run=False) == "MAPLE"
    assert printed.head(material, "lrw_hard", run=True) == "LRW-Hard"


def test_table4_names_its_rows_as_the_paper_does(root):
    words = written(root, "table4")
    assert all(name in words for name in ("LRWOpt + OOD val", "ERM (IN1K)", "ERM (IN1K+OOD val data)"))
    assert "LRW + OOD val" not in words and "49.1 " in f"{words} " and "49.10" not in words


@pytest.mark.parametrize(
    ("name", "shown", "padded"),
    [("table6", ("5.3", "86.1", "71.40"), ("5.30", "86.10")), ("table7", ("+0.8", "+1.5"), ("+0.80", "+1.50"))],
)
def test_published_numbers_have_as_many_digits_as_the_paper_prints(root, name, shown, padded):
    words = written(root, name).split()
    assert set(shown) <= set(words) and not set(padded) & set(words)


def test_a_dash_is_not_said_to_be_no_cell_where_it_is_one_that_was_not_run(root):
    words = written(root, "table3")
    assert "–: not in the paper, and not run here" in words and "no such cell" not in words


def test_table7_says_what_its_variants_are_and_that_lrwopt_was_run(root):
    words = written(root, "table7")
    assert "No difference of ours: LRWOpt was run, none of its variants" in words and "Nothing of ours" not in words
    assert "Variant 2: LRWOpt with only the hardest examples" in words
    assert "Ours, not run: MNIST, clean; MNIST, a tenth of the labels wrong" in words
    caption = " ".join((root / "workflow/report/molere/table7.rst").read_text().split())
    assert "Variant 1 is LRW-Hard" in caption and "variant 3 LRW-Hard" in caption


def test_a_gain_far_beyond_the_others_is_an_arrow_with_its_value_in_fig1_too(root):
    figure = draw_artifact(root, "paper", "molere", "fig1")
    rows = figure.rows[figure.rows["panel"] == "b"]
    low, high = gains._limits(rows)
    (mean,) = 100 * rows[(rows["method"] == "mbr") & (rows["n"] > 0)]["mean"]
    assert mean < 2 * low and high > 2.5
    assert f"{mean:+.1f}".replace("-", "−") in [text.get_text() for text in figure.picture.axes[1].texts]
    assert "Arrow: beyond the axis" in texts(figure).replace("\n", " ")


def test_a_method_has_one_colour_in_all_figures_and_no_other_has_it(root):
    assert len(set(common.OF_METHOD.values())) == len(common.OF_METHOD)
    legends = {}
    for name in ("fig1", "fig2"):
        (legend,) = draw_artifact(root, "paper", "molere", name).picture.legends
        pairs = zip(legend.get_texts(), legend.legend_handles, strict=True)
        legends[name] = {text.get_text(): handle.get_facecolor() for text, handle in pairs}
    assert all(
        legends["fig1"][title] == colour for title, colour in legends["fig2"].items() if title in legends["fig1"]
    )
    assert set(legends["fig2"]) - set(legends["fig1"]) == {"StableNet"}  # in the table of shifted sets alone
    assert set(legends["fig1"]) - set(legends["fig2"]) == {"BiLAW"}
    assert "printed, beside ours" not in legends["fig1"]  # nothing is


def test_fig2_has_shifted_sets_alone(root):
    assert {*draw_artifact(root, "paper", "molere", "fig2").rows["experiment"]} == {
        "camelyon17", "iwildcam", "imagenet-a", "dr-ood",
    }  # fmt: skip


def test_fig3_calls_another_seed_an_upper_bound_and_has_its_bars_in_the_legend(root):
    figure = draw_artifact(root, "paper", "molere", "fig3")
    (legend,) = figure.picture.legends
    assert "LRWOpt − ERM" in [text.get_text() for text in legend.get_texts()]
    words = texts(figure).replace("\n", " ")
    assert "an upper bound on that" in words and "only the regression" not in words
    assert "0.0000" not in words
    assert margins._signed(-2.04e-6) == "−2.0·10⁻⁶" and margins._signed(0.0068) == "+0.0068"


def test_cost_leaves_out_methods_without_a_number_and_says_so(root):
    figure = draw_artifact(root, "paper", "molere", "cost")
    rows = [label.get_text() for label in figure.picture.axes[0].get_yticklabels()]
    assert rows == ["LRWOpt", "LRW-Hard", "MWN", "L2RW"]
    assert "Neither printed nor timed here: FSR, GDW" in texts(figure)


def test_curves_and_sensitivity_say_what_they_show(root):
    cells = [json.loads(path.read_text())["cells"] for path in (root / "notebooks/molere").glob("sensitivity.ipynb")]
    source = "".join(line for cell in cells[0] for line in cell["source"])
    assert "δ = 0.05 against 0.1" in source and "0.05 − 0.1" not in source
    assert written(root, "sensitivity").count("MNIST, clean; ") == 1
    assert "full: test, dotted: training" in written(root, "curves")
