"""Features that are no numbers are refused with data set, part, column and rows; images are not looked at."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reweigh.data import finite, load
from reweigh.data.arrays import RawData
from reweigh.data.standardise import standardised
from reweigh.errors import DataError


def raw_of(train, test=None):
    test = np.zeros_like(train[:2]) if test is None else test
    zeros = [np.zeros(len(one), np.int64) for one in (train, test)]
    return RawData(train, zeros[0], test, zeros[1], class_names=("a", "b"))


def broken(places, shape=(20, 6), value=np.nan):
    features = np.ones(shape, np.float32)
    for place in places:
        features[place] = value
    return features


@pytest.mark.parametrize(
    ("train", "test", "says"),
    [
        (broken([(3, 2)]), None, "column 2 of the training part is nan in row 3"),
        (broken([(3, 2), (7, 2)], value=-np.inf), None, "column 2 of the training part is -inf in rows 3, 7"),
        (broken([(4, 1), (0, 5)]), None, "column 1 of the training part is nan in row 4, and 1 more column too"),
        (
            broken([]),
            broken([(0, 0), (1, 3), (1, 4)]),
            "column 0 of the test part is nan in row 0, and 2 more columns too",
        ),
        (
            broken([(row, 0) for row in range(9)]),
            None,
            "column 0 of the training part is nan in rows 0, 1, 2, 3, 4, ... (9 in all)",
        ),
        (np.array([[np.nan], [np.inf]], np.float32), None, "column 0 of the training part is inf or nan in rows 0, 1"),
    ],
)
def test_what_is_not_finite_is_named(train, test, says):
    with pytest.raises(DataError) as refused:
        finite.check(raw_of(train, test), "somebody-s")
    assert str(refused.value) == f"somebody-s: {says}; mend these values, or leave out their rows"


@settings(max_examples=60, derandomize=True)
@given(st.sets(st.tuples(st.integers(0, 19), st.integers(0, 5)), max_size=12))
def test_it_names_the_first_column_and_its_rows(places):
    raw = raw_of(broken(places))
    if not places:
        assert finite.check(raw, "d") is raw
        return
    column = min(column for _, column in places)
    rows = sorted(row for row, of in places if of == column)
    with pytest.raises(DataError) as refused:
        finite.check(raw, "d")
    assert f"column {column} of" in str(refused.value)
    assert ("rows " if len(rows) > 1 else "row ") + ", ".join(map(str, rows[:5])) in str(refused.value)


def test_images_and_what_stays_on_disk_are_not_looked_at():
    pictures = np.zeros((4, 1, 2, 2), np.uint8)
    assert finite.check(raw_of(pictures), "d").train_inputs is pictures
    assert finite.check(raw_of(np.full((2, 1, 2, 2), 2.0, np.float32)), "d")


def test_a_data_set_with_a_nan_is_refused_as_it_is_read(monkeypatch, raw_root):
    """Before a split is drawn and before a first step, where it would end as a run that diverged."""
    from reweigh.data.readers import adult

    read = adult.read

    def with_nan(raw, drop_sex=False):
        found = read(raw, drop_sex)
        found.train_inputs[17, 4] = np.nan
        return found

    monkeypatch.setattr(adult, "read", with_nan)
    with pytest.raises(DataError, match=r"^adult: column 4 of the training part is nan in row 17; mend these values"):
        load.read("adult", root=raw_root)


def test_a_constant_column_is_standardised_to_0_and_what_leaves_float32_is_refused():
    train = np.array([[1.0, 5.0], [3.0, 5.0]], np.float32)
    found = standardised(raw_of(train, np.array([[2.0, 7.0]], np.float32)), np.array([0, 1]))
    assert found.train_inputs.tolist() == [[-1.0, 0.0], [1.0, 0.0]] and found.test_inputs.tolist() == [[0.0, 0.0]]
    close = np.array([[1.0], [1.0 + 2**-23]], np.float32)  # as near as float32 numbers can be
    with pytest.raises(DataError, match=r"^standardised features: column 0 of the test part is inf in row 0; mend"):
        standardised(raw_of(close, np.array([[3e38]], np.float32)), np.array([0, 1]))
