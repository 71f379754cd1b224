"""The parametric cross-entropy: its members, clusters and expansions, each against a formula written out again."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reweigh import losses
from reweigh.data.batches import Batch
from reweigh.losses import parametric
from reweigh.losses.design import Design

COUNTS = torch.tensor([50.0, 20.0, 9.0, 2.0], dtype=torch.float64)


def batch_of(labels, groups=None):
    labels = torch.tensor(labels)
    return Batch(torch.zeros(len(labels), 1), labels, labels if groups is None else torch.tensor(groups), labels)


def logits_of(rows, classes=4, seed=0):
    return torch.tensor(3 * np.random.default_rng(seed).normal(size=(rows, classes)))


def softmax_loss(row, label):
    return -row[label] + math.log(sum(math.exp(value) for value in row))


@pytest.mark.parametrize(("tau", "gamma"), [(1.0, 0.0), (0.0, 0.3), (1.2, 0.2), (0.0, 0.0)])
def test_logit_adjustment_cdt_and_vs_by_their_formulas(tau, gamma):
    logits, batch = logits_of(6), batch_of([0, 1, 2, 3, 3, 1])
    found = losses.build({"name": "parametric", "tau": tau, "gamma": gamma}, COUNTS, 6)(logits, batch)
    for row, label, loss in zip(logits.tolist(), batch.labels.tolist(), found.tolist(), strict=True):
        seen = [(n / 50) ** gamma * f + tau * math.log(n / 81) for n, f in zip(COUNTS.tolist(), row, strict=True)]
        assert loss == pytest.approx(softmax_loss(seen, label), rel=1e-12)


def test_it_equals_the_form_of_eq_2_1_with_exponentials_of_differences():
    """w log(1 + Σ_{k≠y} e^{l_k − l_y} e^{Δ_k f_k − Δ_y f_y}), with Δ as the plain multiplier."""
    logits, labels = logits_of(5), [0, 1, 2, 3, 2]
    delta, offset = torch.tensor([0.3, 1.0, 2.0, 0.7]).double(), torch.tensor([-1.0, 0.5, 0.0, 2.0]).double()
    found = losses.cross_entropy(parametric.adjusted(logits, delta, offset), torch.tensor(labels))
    for f, y, loss in zip(logits, labels, found.tolist(), strict=True):
        others = [math.exp(offset[k] - offset[y]) * math.exp(delta[k] * f[k] - delta[y] * f[y])
                  for k in range(4) if k != y]  # fmt: skip
        assert loss == pytest.approx(math.log(1 + sum(others)), rel=1e-12)


def test_equal_multipliers_are_a_temperature():
    logits, labels = logits_of(5), torch.tensor([0, 1, 2, 3, 2])
    same = parametric.adjusted(logits, torch.full((4,), 0.25).double(), torch.zeros(4).double())
    assert torch.allclose(losses.cross_entropy(same, labels), losses.cross_entropy(logits / 4, labels))


def test_the_weighted_mean_is_torchs():
    logits, labels, weights = logits_of(7), torch.tensor([0, 1, 2, 3, 2, 0, 0]), torch.tensor([1.0, 2, 5, 9]).double()
    expected = torch.nn.functional.cross_entropy(logits, labels, weight=weights)
    plain = losses.cross_entropy(logits, labels)
    assert torch.allclose(parametric.weighted_mean(plain, weights[labels]), expected)
    design = Design(90 / weights, ["l"], "zeros", "plain")
    assert torch.allclose(design.weights(batch_of(labels.tolist()), "inverse") @ plain, expected)


def test_an_example_of_a_group_has_that_column_for_all_its_logits():
    delta, offset = torch.randn(2, 2).double(), torch.randn(2, 2).double()
    logits, cells = logits_of(4, classes=2), [0, 3, 2, 1]  # class * 2 + group
    design = Design(torch.tensor([[30.0, 3], [1, 10]]).double(), ["l", "delta"], "zeros", "sigmoid")
    batch = batch_of([cell // 2 for cell in cells], cells)
    tables = design.tables({"delta": delta, "l": offset})
    for row, cell, loss in zip(logits.tolist(), cells, design.losses(logits, batch, *tables).tolist(), strict=True):
        label, group = divmod(cell, 2)
        seen = [row[k] / (1 + math.exp(-delta[k, group])) + float(offset[k, group]) for k in range(2)]
        assert loss == pytest.approx(softmax_loss(seen, label), rel=1e-12)
    assert torch.allclose(design.weights(batch, "inverse"), torch.tensor([1 / 30, 1 / 10, 1, 1 / 3]).double() /
                          (1 / 30 + 1 / 10 + 1 + 1 / 3))  # fmt: skip


@pytest.mark.parametrize("name", ["l", "delta", "tau"])
def test_the_gradient_by_the_design_is_that_of_differences(name):
    design = Design(COUNTS, [name], "zeros", "sigmoid", cluster_size=2)
    logits, batch = logits_of(6), batch_of([0, 1, 2, 3, 3, 1])

    def total(values):
        return (design.weights(batch, "inverse") @ design.losses(logits, batch, *design.tables({name: values}))).sum()

    at = design.values[name].clone().requires_grad_()
    assert torch.autograd.gradcheck(total, (at,))


# --- starts and clusters ---------------------------------------------------------------------------------------------


def test_the_start_of_a_cluster_is_the_prior_of_its_middle_class():
    counts = torch.tensor([100.0, 70, 50, 30, 20, 10, 5]).double()
    design = Design(counts, ["l"], "la", "sigmoid", cluster_size=3)  # middles: ranks 1, 4 and, of a short last one, 6
    expected = [math.log(n / 285) for n in (70, 20, 5)]
    assert design.values["l"].tolist() == pytest.approx(expected)
    assert Design(counts, ["tau"], "la", "sigmoid", 3).values["tau"].tolist() == [1.0]
    assert Design(counts, ["tau"], "zeros", "sigmoid", 3).values["tau"].tolist() == [0.0]


def test_what_is_not_searched_keeps_its_start():
    multiplier, offset = Design(COUNTS, ["l"], "zeros", "sigmoid").tables()
    assert multiplier.tolist() == pytest.approx([1 / (1 + math.exp(-1))] * 4) and offset.tolist() == [0] * 4
    multiplier, offset = Design(COUNTS, ["tau"], "la", "plain").tables()
    assert multiplier.tolist() == [1] * 4
    assert offset.tolist() == pytest.approx([math.log(n / 81) for n in (50, 20, 9, 2)])


def test_a_start_by_cell_is_the_share_of_a_class_in_its_group():
    """The sheet's numbers for Waterbirds: land −0.0159, −4.150; water −1.909, −0.1605."""
    cells = torch.tensor([[3498.0, 184], [56, 1057]]).double()
    offset = Design(cells, ["l"], "la", "sigmoid").values["l"]
    assert offset.flatten().tolist() == pytest.approx([-0.0159, -1.909, -4.150, -0.1605], abs=6e-4)


def test_piecewise_repeats_a_cluster_and_cuts_the_last_one():
    """The authors' code repeats 20 × 408 = 8,160 values for 8,142 classes, and fails."""
    counts = torch.arange(8142, 0, -1).double()
    table = parametric.expansion(counts, 20, "piecewise")
    assert table.shape == (8142, 408)
    values = parametric.expand(torch.arange(408.0).double(), table)
    assert values.tolist() == [rank // 20 for rank in range(8142)]


def test_interpolation_has_its_knots_at_the_middle_ranks():
    """CIFAR-100 with clusters of 10: knots at ranks 5, 15, …, 95, linear in between and beyond (numpy's, extended)."""
    counts = torch.arange(100, 0, -1).double()
    values = torch.tensor(np.random.default_rng(0).normal(size=10))
    found = parametric.expand(values, parametric.expansion(counts, 10, "interpolated")).numpy()
    knots, known = np.arange(5, 100, 10), values.numpy()
    between = np.interp(np.arange(5, 96), knots, known)
    assert found[5:96] == pytest.approx(between)
    assert found[0] == pytest.approx(known[0] - 5 * (known[1] - known[0]) / 10)
    assert found[99] == pytest.approx(known[-1] + 4 * (known[-1] - known[-2]) / 10)


@given(st.lists(st.integers(0, 500), min_size=2, max_size=30).filter(any), st.integers(1, 12), st.booleans())
def test_any_expansion_keeps_constants_and_follows_frequency(counts, size, piecewise):
    counts = torch.tensor(counts).double()
    table = parametric.expansion(counts, size, "piecewise" if piecewise else "interpolated")
    assert torch.allclose(table.sum(1), torch.ones(len(counts)).double())
    ordered = parametric.expand(torch.arange(table.shape[1]).double(), table)[parametric.by_frequency(counts)]
    assert (ordered.diff() >= -1e-9).all()
    if size == 1:
        assert torch.equal(ordered, torch.arange(len(counts)).double())


@given(st.lists(st.integers(1, 500), min_size=2, max_size=30), st.integers(0, 99))
def test_a_line_is_numpys_least_squares(counts, seed):
    shares = parametric.log_shares(torch.tensor(counts).double())
    values = torch.tensor(np.random.default_rng(seed).normal(size=len(counts)))
    slope, found = parametric.line(values, shares)
    if len(set(counts)) == 1:
        assert float(slope) == 0 and found.numpy() == pytest.approx(float(values.mean()))
        return
    fit = np.polynomial.Polynomial.fit(shares.numpy(), values.numpy(), 1).convert().coef
    assert float(slope) == pytest.approx(fit[1], rel=1e-6, abs=1e-9)
    assert found.numpy() == pytest.approx(fit[0] + fit[1] * shares.numpy(), rel=1e-6, abs=1e-9)


def test_a_class_without_examples_has_a_finite_offset():
    loss = losses.build({"name": "parametric", "tau": 1.0, "gamma": 0.5}, torch.tensor([9.0, 0.0]).double(), 9)
    assert loss.offset.tolist() == pytest.approx([0.0, math.log(1 / 9)]) and loss.multiplier.tolist() == [1, 1 / 3]
