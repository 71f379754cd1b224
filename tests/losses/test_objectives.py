"""Objectives of a set against means that are written out again; counts that do not fit are refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reweigh.data.batches import Batch
from reweigh.errors import ConfigError
from reweigh.losses import cross_entropy
from reweigh.losses.objectives import Objective, groups_of

CELLS = torch.tensor([3498.0, 184, 56, 1057]).double()  # landbird/land, landbird/water, waterbird/land, waterbird/water
CLASSES = CELLS.view(2, 2).sum(1)


def batch_of(cells):
    cells = torch.tensor(cells)
    return Batch(torch.zeros(len(cells), 1), cells // 2, cells, cells)


def drawn(seed, cells):
    return torch.tensor(2 * np.random.default_rng(seed).normal(size=(len(cells), 2))), batch_of(cells)


def objective(blend, cells=CELLS):
    return Objective(blend, cells.view(2, 2).sum(1), cells)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(0, 99))
def test_each_part_is_its_formula(cells, seed):
    logits, batch = drawn(seed, cells)
    losses = cross_entropy(logits, batch.labels).numpy()
    own, n, y = np.array(cells), CELLS.numpy(), batch.labels.numpy()
    by_class, by_cell = 1 / CLASSES.numpy()[y], 1 / n[own]
    means = [losses[own == cell].mean() if (own == cell).any() else None for cell in range(4)]
    gaps = [abs(means[k] - means[k + 1]) for k in (0, 2) if means[k] is not None and means[k + 1] is not None]
    shifted = logits.numpy() + np.array([[np.log(n[2 * k + g] / (n[g] + n[2 + g])) for k in (0, 1)] for g in own % 2])
    adjusted = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(own)), y]
    of_group = n.sum() / np.array([n[g] + n[2 + g] for g in own % 2])
    expected = {
        "ce": losses.mean(),
        "ce_bal": (by_class * losses).sum() / by_class.sum(),
        "ce_bal_g": (by_cell * losses).sum() / by_cell.sum(),
        "ce_deo": sum(gaps),
        "group_la": (of_group * adjusted).sum() / of_group.sum(),
    }
    for name, value in expected.items():
        assert float(objective({name: 1.0})(logits, batch)) == pytest.approx(value, rel=1e-10, abs=1e-12), name
    blend = {"ce": 0.1, "ce_deo": 0.9}
    assert float(objective(blend)(logits, batch)) == pytest.approx(0.1 * losses.mean() + 0.9 * sum(gaps), abs=1e-12)


def test_over_a_whole_set_balanced_means_are_means_of_means():
    counts = [5, 3, 2, 4]
    cells = [cell for cell, count in enumerate(counts) for _ in range(count)]
    logits, batch = drawn(3, cells)
    losses = cross_entropy(logits, batch.labels).numpy()
    means = [losses[np.array(cells) == cell].mean() for cell in range(4)]
    whole = torch.tensor(counts).double()
    assert float(objective({"ce_bal_g": 1.0}, whole)(logits, batch)) == pytest.approx(np.mean(means))
    of_class = [losses[:8].mean(), losses[8:].mean()]
    assert float(objective({"ce_bal": 1.0}, whole)(logits, batch)) == pytest.approx(np.mean(of_class))


def test_the_group_adjustment_has_the_numbers_of_waterbirds():
    """Weights 1.349 of land, 3.864 of water; offsets −0.0159, −4.150 and −1.909, −0.1605."""
    made = objective({"group_la": 1.0})
    assert made.group_weights.tolist() == pytest.approx([1.349, 3.864], abs=6e-4)
    assert made.offset.T.flatten().tolist() == pytest.approx([-0.0159, -4.150, -1.909, -0.1605], abs=6e-4)


def test_the_gap_has_no_slope_where_it_is_closed_and_a_plain_sign_elsewhere():
    logits = torch.zeros(4, 2, dtype=torch.float64, requires_grad=True)
    batch = batch_of([0, 1, 2, 3])
    objective({"ce_deo": 1.0})(logits, batch).backward()
    assert logits.grad.abs().max() == 0
    moved = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]).double().requires_grad_()
    objective({"ce_deo": 1.0})(moved, batch).backward()
    plain = torch.autograd.grad(cross_entropy(moved, batch.labels).sum(), moved)[0]
    assert torch.allclose(moved.grad[0], -plain[0]) and torch.allclose(moved.grad[1], plain[1])


def test_losses_may_be_errors_and_a_part_of_weight_0_is_not_looked_at():
    batch, wrong = batch_of([0, 0, 1, 2, 3]), torch.tensor([1.0, 0, 0, 1, 0]).double()
    assert float(objective({"ce_deo": 1.0, "group_la": 0.0}).of(wrong, batch)) == pytest.approx(0.5 + 1.0)
    assert float(objective({"ce": 1.0}).of(wrong, batch)) == pytest.approx(0.4)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="no part 'ce_bla'; known: ce, ce_bal"):
        objective({"ce_bla": 1.0})
    with pytest.raises(ConfigError, match="ce_bal_g needs groups, but the groups of this set are its classes"):
        Objective({"ce_bal_g": 1.0}, CLASSES, CLASSES)
    with pytest.raises(ConfigError, match="ce_deo compares two groups, and this set has 3"):
        Objective({"ce_deo": 1.0}, CLASSES, torch.ones(6))
    with pytest.raises(ConfigError, match="3 groups do not divide 2 classes into cells"):
        groups_of(torch.ones(2), torch.ones(3))
