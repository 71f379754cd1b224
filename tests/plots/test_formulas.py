"""A dollar sign in a title is a dollar sign; only where a figure says so, two of them enclose a formula."""

import pytest
from matplotlib.lines import Line2D

from reweigh.plots import style

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
