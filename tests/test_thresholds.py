"""Thresholds against brute force in float64, over many inputs."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import cells

from reweigh.methods.thresholded import wanted_of
from reweigh.thresholds import BEYOND, TIE, Threshold, adjusted, choose

BLENDS = [
    {"ce": 1.0},
    {"ce_bal": 1.0},
    {"ce_bal_g": 1.0},
    {"ce_deo": 1.0},
    {"ce": 0.1, "ce_deo": 0.9},
    {"ce_bal": 0.5, "ce_bal_g": 0.2, "ce_deo": 0.3},
]
SMOOTH = [{"ce": 1.0}, {"ce_bal": 0.5, "ce_bal_g": 0.5}]  # convex in the offset
# Whole numbers, so that some margins are equal, and some are 0; and others of so few digits that none nearly are.
logit = st.integers(-3, 3).map(float) | st.integers(-384, 384).map(lambda number: number / 64)
examples = st.lists(st.tuples(st.integers(0, 3), logit, logit), min_size=2, max_size=14)


def by_hand(blend, values, groups):
    """A blend of one value an example (N,), straight from its definition; what has no example has no say."""
    labels = groups // 2
    means = {group: values[groups == group].mean() for group in set(groups.tolist())}
    of_class = [values[labels == label].mean() for label in set(labels.tolist())]
    parts = {
        "ce": values.mean(),
        "ce_bal": np.mean(of_class),
        "ce_bal_g": np.mean(list(means.values())),
        "ce_deo": sum(abs(means[a] - means[b]) for a, b in ((0, 1), (2, 3)) if {a, b} <= means.keys()),
    }
    return sum(share * parts[name] for name, share in blend.items())


def problem(rows, blend):
    """Groups (N,), logits (N, 2) float64, and what `choose` is told of them."""
    groups = np.array([row[0] for row in rows])
    logits = np.array([row[1:] for row in rows])
    part = cells.part(groups, 0)
    context = cells.context()
    return groups, logits, (torch.from_numpy(logits), part.labels, wanted_of(part, blend, context))


def errors(logits, labels, offset):
    return ((logits[:, 1] + offset > logits[:, 0]) != labels).astype(float)


def losses(logits, labels, offset, temperature=1.0):
    seen = logits / temperature + [0.0, offset]
    return cells.losses_and_slopes(seen, labels)[0]


@settings(max_examples=80, deadline=None)
@given(examples, st.sampled_from(BLENDS))
@example(  # −2 and 3 are equally good, but for the last digit of a sum
    [(2, 0.0, -1.0), (1, -3.0, -3.0), (0, 1.0, 1.0), (1, 1.0, 2.0), (1, -2.0, -1.0), (3, 0.0, -2.0)], {"ce_bal_g": 1.0}
)
@example([(0, 0.0, 0.0), (2, 0.0, 0.0), (0, 1.0, 0.0), (2, 0.0, 1.0)], {"ce": 1.0})
def test_by_errors_no_offset_is_better_and_none_as_good_is_nearer_to_0(rows, blend):
    groups, logits, told = problem(rows, blend)
    found = choose(*told, "errors")
    flips = np.unique(logits[:, 0] - logits[:, 1])
    tried = [0.0, flips[0] - 1, flips[-1] + 1, *((a + b) / 2 for a, b in itertools.pairwise(flips))]
    reached = [by_hand(blend, errors(logits, groups // 2, offset), groups) for offset in tried]
    best = min(reached)
    nearest = min(abs(offset) for offset, value in zip(tried, reached, strict=True) if value <= best + TIE)
    assert found.reached == pytest.approx(best, abs=1e-12) and abs(found.offset) == nearest
    assert found.temperature == 1.0
    assert by_hand(blend, errors(logits, groups // 2, found.offset), groups) == pytest.approx(best, abs=1e-12)
    anywhere = np.linspace(flips[0] - 2, flips[-1] + 2, 57)
    assert all(by_hand(blend, errors(logits, groups // 2, one), groups) >= best - 1e-12 for one in anywhere)


@settings(max_examples=25, deadline=None)
@given(examples, st.sampled_from(BLENDS))
def test_by_losses_no_offset_on_a_fine_grid_is_better(rows, blend):
    groups, logits, told = problem(rows, blend)
    found = choose(*told, "losses", [1.0, 2.0])
    labels = groups // 2
    value = by_hand(blend, losses(logits, labels, found.offset, found.temperature), groups)
    assert found.reached == pytest.approx(value, abs=1e-9)
    for temperature in (1.0, 2.0):
        margins = (logits[:, 0] - logits[:, 1]) / temperature
        for offset in np.linspace(margins.min() - 9, margins.max() + 9, 301):
            assert by_hand(blend, losses(logits, labels, offset, temperature), groups) >= found.reached - 2e-3
        inside = margins.min() - BEYOND + 0.1 < found.offset < margins.max() + BEYOND - 0.1
        if temperature == found.temperature and inside:  # else it falls on and on, as of one class alone
            near = found.offset + np.linspace(-1e-3, 1e-3, 41)
            assert all(by_hand(blend, losses(logits, labels, one, temperature), groups) >= value - 1e-9 for one in near)


@settings(max_examples=40, deadline=None)
@given(examples.filter(lambda rows: {row[0] // 2 for row in rows} == {0, 1}), st.sampled_from(SMOOTH))
def test_by_losses_the_offset_is_where_the_slope_is_0(rows, blend):
    """Of these blends there is one best offset, which bisection of the slope finds in float64."""
    groups, logits, told = problem(rows, blend)
    labels = groups // 2
    weights = np.array([by_hand(blend, np.eye(len(rows))[place], groups) for place in range(len(rows))])

    def slope(offset):
        shares = 1 / (1 + np.exp(-(logits[:, 1] - logits[:, 0] + offset)))
        return weights @ (shares - labels)

    low, high = -30.0, 30.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    assert choose(*told, "losses").offset == pytest.approx(low, abs=1e-5)


def test_an_offset_that_nothing_beats_by_hand():
    """Of four examples at margins −2, −1, 1, 3 the last two are of class 1, one of which is far from the boundary."""
    rows = [(0, 2.0, 0.0), (1, 1.0, 0.0), (2, 1.0, 0.0), (3, 0.0, 3.0)]
    _, _, told = problem(rows, {"ce": 1.0})
    assert choose(*told, "errors") == Threshold(0.0, 1.0, 0.25)
    _, _, told = problem([(0, 2.0, 0.0), (0, 3.0, 0.0), (2, 1.0, 0.0), (2, 0.0, 3.0)], {"ce": 1.0})
    assert choose(*told, "errors") == Threshold(1.5, 1.0, 0.0)


def test_a_temperature_is_taken_only_where_it_helps():
    rows = [(0, 9.0, 0.0), (2, 0.0, 9.0), (0, 0.0, 9.0), (2, 9.0, 0.0)]  # half of them are wrong, with confidence
    _, _, told = problem(rows, {"ce": 1.0})
    assert choose(*told, "losses", [1.0, 8.0, 2.0]).temperature == 8.0
    rows = [(0, 0.0, 0.0), (2, 0.0, 0.0)]
    _, _, told = problem(rows, {"ce": 1.0})
    assert choose(*told, "losses", [2.0, 1.0]) == Threshold(0.0, 2.0, pytest.approx(math.log(2)))


def test_predictions_with_the_offset_are_the_ones_that_were_counted():
    """In float32 an offset of a tenth of the last place of a logit would be rounded away."""
    logits = torch.tensor([[1000.0, 1000.0001], [1000.0001, 1000.0]])
    seen = adjusted(logits, torch.tensor(1e-5, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
    assert seen.dtype == torch.float64 and seen.argmax(1).tolist() == [1, 0]
    tie = adjusted(torch.zeros(1, 2), torch.tensor(1e-9, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64))
    assert tie.argmax(1).tolist() == [1]


@pytest.mark.parametrize("by", ["errors", "losses"])
def test_logits_that_are_not_finite_have_no_threshold(by):
    _, _, (logits, *told) = problem([(0, 1.0, 0.0), (3, 0.0, 1.0)], {"ce": 1.0})
    logits[1, 0] = torch.nan
    assert all(math.isnan(value) for value in choose(logits, *told, by))
