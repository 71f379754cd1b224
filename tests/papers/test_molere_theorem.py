"""Theorem 1 of MOLERE on toys: where its two supports overlap, reweighted training is training on the validation set.

The classifier is a table, a probability for each input and label, and so is φ(x, y): the richest that there are. Then
the inner problem has a closed form, θ*(y | x; φ) ∝ Σ_{i in T: x_i = x, y_i = y} φ(x, y), and nothing is left to chance.
"""

import itertools

import pytest
import torch

DOUBLE = torch.float64


def counts(examples, inputs, classes):
    """How often each (x, y) occurs. -> (inputs, classes)."""
    table = torch.zeros(inputs, classes, dtype=DOUBLE)
    for x, y in examples:
        table[x, y] += 1
    return table


def trained(table, phi):
    """θ*(φ) of a training set: probabilities of labels by input; uniform for inputs that it has not."""
    weighed = phi * table
    total = weighed.sum(1, keepdim=True)
    uniform = torch.full_like(weighed, 1 / weighed.shape[1])
    return torch.where(total > 0, weighed / total.clamp(min=1e-300), uniform)


def loss(table, shares):
    """The summed cross-entropy of a set, given by its counts."""
    return -(table * torch.where(table > 0, shares.clamp(min=1e-300).log(), 0.0)).sum()


def least(table):
    """min_θ of the summed cross-entropy of a set: the labels' shares for each input."""
    return loss(table, trained(table, torch.ones_like(table)))


def solved(train, validation, steps=4000):
    """The bilevel optimum by gradient descent on log φ, from equal weights: its validation loss, and φ."""
    log_phi = torch.zeros_like(train, requires_grad=True)
    optimiser = torch.optim.Adam([log_phi], 0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss(validation, trained(train, log_phi.exp()))
        if not value.requires_grad:
            break
        value.backward()
        optimiser.step()
    return float(loss(validation, trained(train, log_phi.detach().exp()))), log_phi.detach().exp()


TRAIN = torch.tensor([[5.0, 2.0, 1.0], [1.0, 6.0, 3.0], [2.0, 2.0, 9.0]], dtype=DOUBLE)
VALIDATION = torch.tensor([[1.0, 3.0, 1.0], [2.0, 1.0, 2.0], [3.0, 1.0, 1.0]], dtype=DOUBLE)


def test_weights_in_the_ratio_of_both_shares_make_training_that_on_the_validation_set():
    """The proof's φ = Q_val / Q_tr."""
    shares = trained(TRAIN, VALIDATION / TRAIN)
    torch.testing.assert_close(shares, VALIDATION / VALIDATION.sum(1, keepdim=True))
    assert float(loss(VALIDATION, shares)) == pytest.approx(float(least(VALIDATION)))


def test_the_bilevel_optimum_is_empirical_risk_minimisation_on_the_validation_set():
    value, phi = solved(TRAIN, VALIDATION)
    assert value == pytest.approx(float(least(VALIDATION)), abs=1e-6)
    torch.testing.assert_close(trained(TRAIN, phi), VALIDATION / VALIDATION.sum(1, keepdim=True), atol=1e-3, rtol=1e-3)
    assert float(loss(VALIDATION, trained(TRAIN, torch.ones_like(TRAIN)))) > value + 1  # equal weights are far off


def test_of_labels_that_training_lacks_no_weight_can_speak():
    """Where the supports differ it is not: an input with another label in training is lost, whatever φ says."""
    train = torch.tensor([[4.0, 0.0]], dtype=DOUBLE)
    validation = torch.tensor([[1.0, 1.0]], dtype=DOUBLE)
    assert torch.equal(trained(train, torch.tensor([[7.0, 3.0]], dtype=DOUBLE)), trained(train, torch.ones_like(train)))
    assert float(loss(validation, trained(train, torch.ones_like(train)))) > float(least(validation)) + 100


def test_with_disjoint_inputs_the_weights_have_no_effect_at_all():
    """The proof then sets φ = 1 and lets θ be right on both: φ plays no part."""
    train = torch.tensor([[3.0, 1.0], [0.0, 0.0]], dtype=DOUBLE)
    validation = torch.tensor([[0.0, 0.0], [2.0, 5.0]], dtype=DOUBLE)
    log_phi = torch.zeros_like(train, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(validation, trained(train, log_phi.exp())), log_phi)
    assert torch.equal(slope, torch.zeros_like(slope))


def test_the_hardest_split_of_the_trilevel_problem_is_that_of_the_theorem():
    """Over all splits of twelve examples whose supports overlap, by brute force: both objectives choose the same."""
    pool = [(0, 0)] * 4 + [(0, 1)] * 3 + [(1, 0)] * 3 + [(1, 1)] * 2
    whole = counts(pool, 2, 2)
    found = {}
    for rows in itertools.combinations(range(len(pool)), 4):
        validation = counts([pool[row] for row in rows], 2, 2)
        train = whole - validation
        if ((train > 0) == (whole > 0)).all():
            found[tuple(validation.flatten().tolist())] = (train, validation)
    values = {}
    for key, (train, validation) in found.items():
        bilevel = float(loss(validation, trained(train, (validation + 1e-12) / train)))
        values[key] = bilevel, float(least(validation))
        assert bilevel == pytest.approx(values[key][1], abs=1e-6)
    hardest = [max(values, key=lambda key: values[key][place]) for place in (0, 1)]
    assert values[hardest[0]][0] == pytest.approx(values[hardest[1]][1], abs=1e-6)
    assert values[hardest[1]][1] == pytest.approx(4 * torch.log(torch.tensor(2.0)).item())  # labels as even as can be
