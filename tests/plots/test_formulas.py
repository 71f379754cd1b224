"""A dollar sign in a title is a dollar sign; only where a figure says so, two of them enclose a formula."""

import re

import pytest
from matplotlib.lines import Line2D
from support.project import ROOT

from reweigh.plots import style
from reweigh.plots.axes import powers

TITLE = "from $5 to $9, 100% {x} \\alpha_i ^2 & <b>"


def test_a_title_is_shown_as_it_is():
    with style.alone():
        figure = style.sheet()
        axes = figure.subplots()
        axes.set_title(TITLE)
        axes.set_xticks([0], [TITLE])
        style.letter(axes, "a", TITLE)
        shown = [axes.title, *axes.get_xticklabels(), *axes.texts, figure.text(0, 0, TITLE)]
        figure.draw_without_rendering()
        assert len(shown) == 5 and not any(text.get_parse_math() for text in shown)
        assert axes.title._preprocess_math(TITLE) == (TITLE, False)


@pytest.mark.parametrize(("text", "is_formula"), [(TITLE, False), (style.Formula("$q^2$"), True)])
def test_a_legend_has_formulas_where_the_figure_has_written_them(text, is_formula):
    with style.alone():
        figure = style.sheet()
        style._legend(figure, [(Line2D([], []), text)], 0.1)
        (legend,) = figure.legends
        assert [shown.get_parse_math() for shown in legend.get_texts()] == [is_formula]


@pytest.mark.parametrize("limits", [(1, 1e4), (0.002, 0.009), (1e-13, 1e-3)])
@pytest.mark.parametrize("scale", ["log", "symlog"])
def test_powers_of_ten_are_in_letters(scale, limits):
    with style.alone():
        figure = style.sheet()
        axes = figure.subplots()
        axes.set_yscale(scale)
        powers(axes.yaxis)
        axes.set_ylim(*limits)
        figure.draw_without_rendering()
        labels = [label.get_text() for minor in (False, True) for label in axes.get_yticklabels(minor=minor)]
    assert any("10" in label or label == "0" for label in labels) and not any("$" in label for label in labels)


def test_no_figure_writes_formulas_at_its_ticks():
    """Each logarithmic axis of the package has a formatter of its own, or `powers`."""
    for path in sorted((ROOT / "src/reweigh/plots").rglob("*.py")):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            for axis in re.findall(r'set_([xy])scale\("(?:sym)?log"', line):
                near = "\n".join(lines[number : number + 9])
                own = rf"(powers|_only)\(\w+\.{axis}axis|{axis}axis\.set_major_formatter|set_{axis}ticks\("
                assert re.search(own, near), f"{path}:{number + 1}"
