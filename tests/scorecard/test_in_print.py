"""What a paper's own tables say of orders and ranks: by hand, with ties, with gaps, and as a claim's note."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats as scipy_stats
from support import synthetic_records
from support.config_files import replace

from reweigh import scorecard
from reweigh.config.claim import Claim, InPrint
from reweigh.config.loading import load
from reweigh.errors import ConfigError
from reweigh.scorecard.in_print import ranks, rows_of, strict

# Three rows of three methods and a fourth that one row lacks, in per cent; of a second table errors.
TABLES = {
    ("One", "X", "top1_acc_pct"): {"a": 80.0, "b": 81.0, "c": 82.0, "d": 79.0},
    ("One", "Y", "top1_acc_pct"): {"a": 70.0, "b": 70.0, "c": 71.0, "d": 72.0},
    ("One", "Z", "top1_acc_pct"): {"a": 60.0, "b": 61.0, "c": 60.5},
    ("Two", "X", "balanced_error_pct"): {"a": 30.0, "b": 20.0, "c": 10.0},
}


def printed(tables=TABLES):
    """Rows as `config.published.read` gives them."""
    return [
        {"table_or_figure": table, "dataset": dataset, "setting": "s", "method": method, "metric": metric, "mean": mean}
        for (table, dataset, metric), row in tables.items()
        for method, mean in row.items()
    ]


def test_an_order_is_strict_in_a_row_or_it_is_not():
    """X: 80 < 81 < 82. Y: two are level. Z: 61 > 60.5."""
    held, other = strict(rows_of(printed(), ["One"]), ["a", "b", "c"])
    assert [place[1] for place in held] == ["X"] and [place[1] for place in other] == ["Y", "Z"]
    held, other = strict(rows_of(printed(), ["One"]), ["d", "a"])  # a row without a method says nothing of it
    assert ([place[1] for place in held], [place[1] for place in other]) == (["X"], ["Y"])


def test_of_errors_the_lower_is_better():
    assert strict(rows_of(printed(), ["Two"]), ["a", "b", "c"])[1] == []


def test_ranks_by_hand():
    """a: 3rd of four, level with b at 3.5, last of three; d: last of four, first of four."""
    rows = rows_of(printed(), ["One"])
    a, d = ranks(rows, ["a", "d"])
    assert (a.mean, a.rows) == (pytest.approx((3 + 3.5 + 3) / 3), 3)
    assert (d.mean, d.rows) == (2.5, 2)
    (without,) = ranks(rows, ["a"], without=["b", "c"])
    assert without.mean == pytest.approx((1 + 2 + 1) / 3)


def test_against_another_method_rows_are_counted():
    b, d = ranks(rows_of(printed(), ["One"]), ["b", "d"], against="a")
    assert (b.above, b.level, b.below, b.gap) == (2, 1, 0, pytest.approx(0.02 / 3))
    assert (d.above, d.level, d.below, d.gap) == (1, 0, 1, pytest.approx(0.005))


def test_a_method_that_no_row_has_has_no_rank():
    (none,) = ranks(rows_of(printed(), ["One"]), ["x"], against="a")
    assert (none.rows, none.mean, none.gap) == (0, None, None)


NUMBERS = st.lists(st.integers(0, 40), min_size=2, max_size=6)


@given(NUMBERS)
def test_ranks_are_scipys_of_the_negated_numbers(values):
    tables = {("One", "X", "top1_acc_pct"): {str(place): float(value) for place, value in enumerate(values)}}
    found = ranks(rows_of(printed(tables), ["One"]), [str(place) for place in range(len(values))])
    assert [one.mean for one in found] == scipy_stats.rankdata([-value for value in values]).tolist()


# --- as claims -------------------------------------------------------------------------------------------------------

CLAIM = """
claims:
  - id: order-in-print
    text: TDR is ahead.
    source: Table 1
    test: not_by_runs
    experiment: mnist-4v9
    better: tdr
    worse: [none]
    reason: it speaks of the paper's tables
    in_print: {}
    rule: counted
"""


def scored(root: Path, asked: str) -> str:
    root = synthetic_records.project(root)
    replace(root, "claims:\n", CLAIM.format(asked).lstrip())
    lines = scorecard.score(load(root), "paper", ["tdr"]).set_index("id")
    assert lines.loc["order-in-print", "verdict"] == "not run"
    return str(lines.loc["order-in-print", "note"])


def test_a_claim_says_what_the_tables_say(tmp_path):
    note = scored(tmp_path / "a", "{ tables: [Table1], order: [NoReweighting, TDR] }")
    assert note == ("it speaks of the paper's tables; in print (Table1): NoReweighting < TDR in 8 of 8 rows")
    note = scored(tmp_path / "b", "{ tables: [Table1], ranks: [TDR, RandomWeights], against: NoReweighting }")
    assert note.startswith("it speaks of the paper's tables; in print (Table1: 8 rows, mean rank, 1 is best): TDR 1.")
    assert "RandomWeights" in note and "above NoReweighting in" in note


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("{ tables: [Table9], order: [TDR, NoReweighting] }", "unknown table in print 'Table9'"),
        ("{ tables: [Table1], order: [TDR, Plain] }", "unknown method in print 'Plain'"),
        ("{ tables: [Table1], order: [TDR] }", "in_print has either order, of two methods or more, or ranks"),
        ("{ tables: [Table1], order: [TDR, NoReweighting], ranks: [TDR] }", "in_print has either order"),
        ("{ tables: [Table1], order: [TDR, NoReweighting], against: TDR }", "in_print.without and in_print.against"),
    ],
)
def test_what_the_tables_do_not_print_is_refused(tmp_path, asked, message):
    with pytest.raises(ConfigError, match=message):
        scored(tmp_path, asked)


def test_only_a_claim_that_no_run_decides_asks_the_tables():
    known = {"id": "a", "text": "a", "source": "s", "experiment": "e", "rule": "r", "better": "a", "worse": ["b"]}
    asked = InPrint(tables=["One"], ranks=["a"])
    assert Claim(**known, test="not_by_runs", reason="why", in_print=asked).in_print == asked
    with pytest.raises(ValidationError, match="not_by_runs, and no other test, may have in_print"):
        Claim(**known, test="greater", in_print=asked)
