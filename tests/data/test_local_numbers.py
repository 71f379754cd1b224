"""How numbers of a user's own table may be written: with a decimal point or comma. What looks like one is named."""

import numpy as np
import pytest
from support import own_data
from support.own_data import card_of, read, table

from reweigh.errors import DataError


@pytest.fixture
def project(tmp_path, monkeypatch):
    return own_data.project(tmp_path / "project", monkeypatch)


@pytest.mark.parametrize(("separator", "quote"), [(";", ""), ("\t", ""), (",", '"')])
def test_numbers_may_have_a_decimal_comma(project, separator, quote):
    """In a column of their own right: another one keeps its point, and a point that strays is named."""

    def lines(mark):
        return [separator.join([f"{quote}{k % 7}{mark}{k % 10}5{quote}", "ab"[k % 2], f"{k / 4}"]) for k in range(200)]

    header = separator.join(["gewicht", "label", "amount"])
    with_comma, with_point = (card_of(table(project / f"{name}.csv", lines(mark), header))
                              for name, mark in (("comma", ","), ("point", ".")))  # fmt: skip
    assert [(one["type"], one.get("decimal")) for one in with_comma["columns"]] == [("number", ","), ("number", None)]
    np.testing.assert_array_equal(read(with_comma).train_inputs, read(with_point).train_inputs)
    rows = [*lines(","), separator.join(["3.5", "a", "1"])]
    with pytest.raises(
        DataError, match=r"'gewicht' is a column of numbers, but '3.5' is no number \(1 row, line 202\)"
    ):
        card_of(table(project / "mixed.csv", rows, header))


@pytest.mark.parametrize("text", ["{k}.{k},5", "{k} %", "€{k},5", "{k}'{k}.5", "{k} 000"])
def test_numbers_written_in_another_way_are_never_categories_unasked(project, text):
    rows = [f"{text.format(k=100 + k)};{'ab'[k % 2]};{k / 4}" for k in range(60)]
    path = table(project / "a.csv", rows, "betrag;label;amount")
    with pytest.raises(DataError, match=r"'betrag' has numbers that are not read as they are written") as said:
        card_of(path)
    assert "\n" not in str(said.value) and str(said.value).endswith("or say --category or --drop")
    assert card_of(path, category=("betrag",))["columns"][0]["type"] == "category"


def test_dates_and_thousands_are_no_decimal_commas(project):
    rows = [f'"{1 + k % 5},{100 + k}",{"ab"[k % 2]},{1 + k % 28:02d}.05.2024,{k / 4}' for k in range(150)]
    path = table(project / "a.csv", rows, "amount,label,day,x")
    with pytest.raises(DataError, match="'amount' has numbers that are not read as they are written, such as '1,100'"):
        card_of(path)
    assert [one["type"] for one in card_of(path, drop=("amount",))["columns"]] == ["category", "number"]
