"""The splitter of LRWOpt: its losses against literal computations, how it divides the pool, what line 7 says to it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.lrw_runs import doubled
from support.splitter_arithmetic import DOUBLE, examples, loss_by_hand

from reweigh.config.methods.splitter import SPLITTER
from reweigh.hypergrad.lookahead import gradient
from reweigh.methods import splitter

# --- the losses of the splitter --------------------------------------------------------------------------------------


def test_the_ratio_loss_by_hand_in_both_directions():
    share, delta = torch.tensor(0.7, dtype=DOUBLE), 0.1
    forward = 0.9 * np.log(0.9 / 0.7) + 0.1 * np.log(0.1 / 0.3)
    backward = 0.7 * np.log(0.7 / 0.9) + 0.3 * np.log(0.3 / 0.1)
    assert float(splitter.ratio_loss(share, delta, "target_current")) == pytest.approx(forward, rel=1e-12)
    assert float(splitter.ratio_loss(share, delta, "current_target")) == pytest.approx(backward, rel=1e-12)


@given(st.floats(0.01, 0.99), st.floats(0.05, 0.45))
def test_the_ratio_loss_is_least_where_one_less_delta_are_training(share, delta):
    for kind in ("target_current", "current_target"):
        found = [float(splitter.ratio_loss(torch.tensor(q, dtype=DOUBLE), delta, kind)) for q in (share, 1 - delta)]
        assert found[0] >= found[1] - 1e-12 and abs(found[1]) < 1e-12


def test_near_the_target_both_directions_agree_to_second_order():
    for step in (1e-2, 1e-3):
        share = torch.tensor(0.9 + step, dtype=DOUBLE)
        one, other = (float(splitter.ratio_loss(share, 0.1, kind)) for kind in ("target_current", "current_target"))
        assert abs(one - other) < 100 * step * one


def balance_by_hand(shares, labels, classes):
    total = 0.0
    for side in (shares, [1 - q for q in shares]):
        for k in range(classes):
            everywhere = sum(label == k for label in labels) / len(labels)
            within = sum(q for q, label in zip(side, labels, strict=True) if label == k) / sum(side)
            if everywhere:
                total += everywhere * np.log(everywhere / max(within, 1e-6))
    return total


@given(st.lists(st.tuples(st.floats(0.05, 0.95), st.integers(0, 3)), min_size=2, max_size=30))
def test_the_balance_loss_equals_sums_over_classes_also_of_batches_that_lack_some(pairs):
    shares, labels = zip(*pairs, strict=True)
    found = splitter.balance_loss(torch.tensor(shares, dtype=DOUBLE), torch.tensor(labels), 6)
    assert float(found) == pytest.approx(balance_by_hand(shares, labels, 6), abs=1e-9)
    assert float(found) >= -1e-9


def test_the_balance_loss_has_a_gradient_where_a_class_is_missing():
    """The public code of learning to split gives NaN there, and falls back on a constant."""
    shares = torch.tensor([0.2, 0.6, 0.9], dtype=DOUBLE, requires_grad=True)
    splitter.balance_loss(shares, torch.tensor([0, 0, 5]), 100).backward()
    assert shares.grad.isfinite().all() and shares.grad.abs().max() > 1e-3


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"adversary": "soft_val"},
        {"ratio_kl": "current_target", "as_ls": True},
        {"ratio": 0.5, "balance": 2.0},
        {"ratio": 0.0, "balance": 0.0},
    ],
)
def test_the_loss_and_its_gradient_equal_a_literal_computation(changed):
    said, batch = {**SPLITTER, **changed}, examples()
    pool = (batch[0].flip(0) * 1.3, torch.tensor([0, 1, 2] * 4))
    theta = doubled(splitter.start(5, 3, 7, 1, torch.device("cpu")))
    found = splitter.loss(theta, said, batch, pool, 3)
    leaves = {name: value.clone().requires_grad_() for name, value in theta.items()}
    expected = loss_by_hand(leaves, said, batch, pool, 3)
    assert float(found) == pytest.approx(float(expected.detach()), rel=1e-10)
    slopes = torch.autograd.grad(expected, list(leaves.values()))
    own = gradient(lambda at: splitter.loss(at, said, batch, pool, 3), theta)
    for name, slope in zip(leaves, slopes, strict=True):
        torch.testing.assert_close(own[name], slope, rtol=1e-8, atol=1e-12)


def test_a_gradient_is_clipped_as_torch_does_it():
    slopes = {"a": torch.randn(3, 4), "b": torch.randn(5)}
    holders = [torch.zeros_like(value).requires_grad_() for value in slopes.values()]
    for limit in (0.5, 100.0):
        for holder, value in zip(holders, slopes.values(), strict=True):
            holder.grad = value.clone()
        torch.nn.utils.clip_grad_norm_(holders, limit)
        for holder, value in zip(holders, splitter.clipped(slopes, limit).values(), strict=True):
            torch.testing.assert_close(holder.grad, value)


def test_the_loss_of_a_validation_batch_says_nothing_to_the_splitter_as_printed():
    """Line 7 subtracts ℓ(y, f(x)) of the batch: whatever the losses are, the gradient is the same."""
    batch, theta = examples(), doubled(splitter.start(5, 3, 7, 1, torch.device("cpu")))
    found = [
        gradient(lambda at, one=one: splitter.loss(at, SPLITTER, one, batch[:2], 3), theta)
        for one in (batch, (*batch[:3], 100 * batch[3]))
    ]
    assert all(torch.equal(found[0][name], found[1][name]) for name in theta)


# --- the division ----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=60), st.sampled_from([0.1, 0.2, 0.45]),
    st.sampled_from([0.2, 0.5]), st.booleans(),
)  # fmt: skip
def test_a_division_has_constant_lengths_and_puts_the_least_into_validation(values, delta, threshold, fill):
    shares = np.array(values, np.float32)
    train, validation, below = splitter.divide(shares, delta, threshold, fill, 0.05)
    size = max(1, round(delta * len(shares)))
    assert (len(train), len(validation)) == (len(shares) - size, size)
    assert len(set(train)) == len(train) and not set(train) & set(validation)
    assert below == pytest.approx(np.mean(shares < threshold))
    assert max(shares[validation]) <= min(shares[train])
    if fill:
        assert len(set(validation)) == size
    else:
        fewest = min(size, max(1, round(0.05 * len(shares))))
        assert all(shares[row] < threshold for row in validation) or len(set(validation)) == fewest


def test_a_division_by_hand():
    shares = np.array([0.9, 0.1, 0.4, 0.15, 0.8, 0.7, 0.6, 0.95, 0.3, 0.55], np.float32)
    train, validation, below = splitter.divide(shares, 0.4, 0.5, fill=True, fewest=0.02)
    assert train.tolist() == [0, 4, 5, 6, 7, 9] and validation.tolist() == [1, 2, 3, 8] and below == 0.4
    train, validation, below = splitter.divide(shares, 0.4, 0.2, fill=False, fewest=0.02)
    assert train.tolist() == [0, 4, 5, 6, 7, 9] and validation.tolist() == [1, 3, 1, 3] and below == 0.2
    assert splitter.divide(shares, 0.4, 0.05, fill=False, fewest=0.3)[1].tolist() == [1, 3, 8, 1]
