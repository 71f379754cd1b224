"""The runs of a cell, looked up in a table that is grouped once."""

import pandas as pd

from reweigh.analysis.by_cell import runs_of

TABLE = pd.DataFrame(
    {"setting": ["a", "b", "a", "a"], "method": ["er", "er", "tdr", "er"], "seed": [2, 0, 0, 1], "lost": [""] * 4}
)


def test_rows_are_those_of_a_mask_in_their_order():
    for setting in ("a", "b", "c"):
        for method in ("er", "tdr"):
            expected = TABLE[(TABLE["setting"] == setting) & (TABLE["method"] == method)]
            pd.testing.assert_frame_equal(runs_of(TABLE, setting=setting, method=method), expected)
    assert runs_of(TABLE, method="er")["seed"].tolist() == [2, 0, 1]


def test_who_changes_the_rows_changes_them_for_nobody_else():
    mine = runs_of(TABLE, setting="a", method="er")
    mine["seed"] = -1
    mine.loc[:, "lost"] = "changed"
    again = runs_of(TABLE, setting="a", method="er")
    assert again["seed"].tolist() == [2, 1]
    assert again["lost"].tolist() == ["", ""]
    assert TABLE["lost"].tolist() == [""] * 4


def test_another_table_has_rows_of_its_own():
    runs_of(TABLE, method="er")
    assert runs_of(TABLE.iloc[:1].copy(), method="er")["seed"].tolist() == [2]
