"""Each loss against its formula, spelled out for single examples in float64; its gradients; its published tables."""

import math
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.absgd_methods import GCE, batch_of, part
from support.config_files import replace
from support.project import ROOT

from reweigh import losses
from reweigh.config import loading as config
from reweigh.config.cards import check_loss
from reweigh.errors import ConfigError
from reweigh.losses import cross_entropy, ldam, sce
from reweigh.weights import effective_number

COUNTS = torch.tensor([50.0, 20.0, 9.0, 2.0], dtype=torch.float64)
SAID = {
    "cross_entropy": {},
    "focal": {"gamma": 2.0, "weight_leaks": False},
    "ldam": {"max_margin": 0.5, "scale": 30.0},
    "sce": {"alpha": 0.3, "beta": 2.0},
    "gce": {"q": 0.7, "truncation": 0.4, "refresh_from": 2, "refresh_every": 3},
}


def built(name, counts=COUNTS, examples=24, **options):
    return losses.build({"name": name, **SAID[name], **options}, counts, examples)


def logits_and_labels(seed=0, size=24, spread=3.0):
    rng = np.random.default_rng(seed)
    return torch.tensor(spread * rng.normal(size=(size, 4)), requires_grad=True), torch.tensor(rng.integers(0, 4, size))


def softmax(row):
    exponentials = [math.exp(value - max(row)) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def by_hand(name, row, label, **options):
    """The loss of one example by its formula, in Python's floats."""
    said = SAID[name] | options
    p = softmax(row)
    if name == "cross_entropy":
        return -math.log(p[label])
    if name == "focal":
        return -((1 - p[label]) ** said["gamma"]) * math.log(p[label])
    if name == "ldam":
        margin = 0.5 * float(COUNTS[label]) ** -0.25 / float(COUNTS.min()) ** -0.25
        return -math.log(softmax([30 * (value - margin * (k == label)) for k, value in enumerate(row)])[label])
    if name == "sce":
        onehot = [float(k == label) for k in range(len(row))]
        reverse = -sum(min(max(q, 1e-7), 1) * math.log(min(max(y, 1e-4), 1)) for q, y in zip(p, onehot, strict=True))
        return said["alpha"] * -math.log(p[label]) + said["beta"] * reverse
    if said["truncation"] is None:
        return (1 - p[label] ** said["q"]) / said["q"]
    return (1 - p[label] ** said["q"]) / said["q"] - (1 - said["truncation"] ** said["q"]) / said["q"]


# --- values and gradients --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAID)
def test_every_loss_is_its_formula(name):
    logits, labels = logits_and_labels()
    found = built(name)(logits, batch_of(labels))
    expected = [by_hand(name, row, label) for row, label in zip(logits.tolist(), labels.tolist(), strict=True)]
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-10, atol=1e-12)
    weights = torch.tensor([0.1, 0.5, 1.0, 2.4], dtype=torch.float64)
    weighted = built(name)(logits, batch_of(labels), weights)
    np.testing.assert_allclose(weighted.detach(), weights[labels].numpy() * expected, rtol=1e-10, atol=1e-12)


def test_normalised_logits_are_those_over_their_length():
    logits, labels = logits_and_labels()
    loss = built("cross_entropy", normalise_logits=True)
    rows = (logits / logits.square().sum(1, keepdim=True).sqrt()).tolist()
    expected = [by_hand("cross_entropy", row, label) for row, label in zip(rows, labels.tolist(), strict=True)]
    np.testing.assert_allclose(loss(logits, batch_of(labels)).detach(), expected, rtol=1e-12)
    zero = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    loss(zero, batch_of([1])).sum().backward()
    assert zero.grad.isfinite().all()


def test_focal_with_gamma_0_is_cross_entropy():
    logits, labels = logits_and_labels()
    found = built("focal", gamma=0.0)(logits, batch_of(labels))
    torch.testing.assert_close(found, cross_entropy(logits, labels), rtol=1e-12, atol=0)


# --- class weights ---------------------------------------------------------------------------------------------------

WEIGHTS = torch.tensor([0.05, 0.35, 0.9, 2.7], dtype=torch.float64)


def test_a_leaking_class_weight_enters_the_focal_factor_as_in_the_public_code():
    logits, labels = logits_and_labels()
    entropy = F.cross_entropy(logits, labels, weight=WEIGHTS, reduction="none")
    public = (1 - torch.exp(-entropy)) ** 1.5 * entropy
    found = built("focal", gamma=1.5, weight_leaks=True)(logits, batch_of(labels), WEIGHTS)
    torch.testing.assert_close(found, public, rtol=1e-12, atol=1e-14)
    correct = built("focal", gamma=1.5)(logits, batch_of(labels), WEIGHTS)
    plain = built("focal", gamma=1.5, weight_leaks=True)(logits, batch_of(labels))
    torch.testing.assert_close(correct, plain * WEIGHTS[labels], rtol=1e-12, atol=0)
    assert (correct - found).abs().max() > 0.01


def tail_sizes(largest, classes, ratio):
    return [int(largest * (1 / ratio) ** (label / (classes - 1))) for label in range(classes)]


def step_sizes(largest, classes, ratio):
    return [largest] * (classes // 2) + [largest // ratio] * (classes // 2)


# The sheet's §4.1: sizes, total, class-balanced weight of head and tail, margin of the head.
TABLE = {
    "C10-LT-100": (tail_sizes(5000, 10, 100), 12_406, 0.0506, 3.9927, 0.158),
    "C10-LT-10": (tail_sizes(5000, 10, 10), 20_431, 0.2923, 2.3585, 0.281),
    "C10-ST-100": (step_sizes(5000, 10, 100), 25_250, 0.0250, 1.9750, None),
    "C10-ST-10": (step_sizes(5000, 10, 10), 27_500, 0.2206, 1.7794, None),
    "C100-LT-100": (tail_sizes(500, 100, 100), 10_847, 0.0449, 4.3783, 0.158),
    "C100-LT-10": (tail_sizes(500, 100, 10), 19_573, 0.2582, 2.5247, 0.281),
    "C100-ST-100": (step_sizes(500, 100, 100), 25_250, 0.0203, 1.9797, None),
    "C100-ST-10": (step_sizes(500, 100, 10), 27_500, 0.1856, 1.8144, None),
}


@pytest.mark.parametrize("row", TABLE)
def test_class_weights_and_margins_are_those_of_the_worked_table(row):
    sizes, total, head, tail, margin = TABLE[row]
    assert sum(sizes) == total
    weights = effective_number(torch.tensor(sizes, dtype=torch.float32), 0.9999)
    assert round(weights[0].item(), 4) == head and round(weights[-1].item(), 4) == tail
    assert weights.sum().item() == pytest.approx(len(sizes), rel=1e-6)
    margins = ldam.margins(torch.tensor(sizes, dtype=torch.float32), 0.5)
    assert margins.max().item() == margins[-1].item() == 0.5
    if margin is not None:
        assert round(margins[0].item(), 3) == margin


def test_effective_numbers_in_float64_by_their_sum():
    """E_n = Σ_{j<n} β^j, summed term by term; small classes are where 1 − β^n loses digits."""
    sizes = [1, 2, 5, 500]
    inverse = [1 / math.fsum(0.9999**j for j in range(n)) for n in sizes]
    expected = [4 * value / math.fsum(inverse) for value in inverse]
    np.testing.assert_allclose(effective_number(torch.tensor(sizes).double(), 0.9999), expected, rtol=1e-11)


# --- symmetric cross-entropy -----------------------------------------------------------------------------------------


def test_reverse_cross_entropy_is_about_a_multiple_of_the_missing_probability():
    logits, labels = logits_and_labels(spread=0.5)
    missing = 1 - torch.softmax(logits, 1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(sce.reverse_cross_entropy(logits, labels), 9.2103 * missing, rtol=1e-4, atol=1e-3)


def test_no_gradient_passes_a_clamped_probability():
    """Against the public formula, one-hot label and all: the second class is below 1e-7, for it the loss is flat."""
    logits = torch.tensor([[2.0, -20.0, 0.5, 0.1]], dtype=torch.float64, requires_grad=True)
    p = torch.softmax(logits, 1).clamp(1e-7, 1)
    onehot = torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64).clamp(1e-4, 1)
    (expected,) = torch.autograd.grad(-(p * onehot.log()).sum(), logits)
    found = sce.reverse_cross_entropy(logits, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)
    q = torch.softmax(logits, 1).detach()[0]
    by_rule = 9.210340371976182 * (q[2] + q[3]) * -q[1]  # only the unclamped classes pull at the second logit
    assert gradient[0, 1].item() == pytest.approx(by_rule.item(), rel=1e-9)


# --- generalised cross-entropy ---------------------------------------------------------------------------------------


def test_without_truncation_nothing_is_taken_off_and_nothing_pruned():
    logits, labels = logits_and_labels()
    loss = built("gce", truncation=None, refresh_from=None, refresh_every=None)
    loss.refresh(5, lambda inputs: pytest.fail("nothing to ask"), part(24, 0))
    expected = [
        by_hand("gce", row, label, truncation=None) for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    np.testing.assert_allclose(loss(logits, batch_of(labels)).detach(), expected, rtol=1e-12)


def test_pruning_keeps_what_is_likely_enough_and_asks_at_its_epochs_only():
    train = part(24, 3)
    matrix = torch.tensor(np.random.default_rng(5).normal(size=(4, 3)))
    probabilities = torch.softmax((train.inputs @ matrix).float(), 1)
    likely = probabilities.gather(1, train.labels[:, None])[:, 0] > 0.4
    assert 3 < likely.sum() < 21
    loss, asked = built("gce"), []  # refresh_from 2, refresh_every 3

    def logits_of(inputs):
        asked.append(len(inputs))
        return inputs @ matrix

    for epoch in range(9):
        before = len(asked)
        loss.refresh(epoch, logits_of, train)
        assert (len(asked) > before) == (epoch in (2, 5, 8)), epoch
        assert torch.equal(loss.kept, likely if epoch >= 2 else torch.ones(24, dtype=torch.bool))
    rows = torch.tensor([7, 0, 23, 11])
    labels = train.labels[rows]
    logits = (train.inputs[rows] @ matrix).detach().requires_grad_()
    found = loss(logits, batch_of(labels, rows))
    expected = [
        by_hand("gce", row, label) if likely[place] else 0.0
        for row, label, place in zip(logits.tolist(), labels.tolist(), rows.tolist(), strict=True)
    ]
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-10)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert torch.equal((gradient != 0).any(1), likely[rows])


# --- names and options -----------------------------------------------------------------------------------------------


def test_no_loss_named_is_cross_entropy_and_an_unknown_one_is_refused():
    logits, labels = logits_and_labels()
    plain = losses.build(None, COUNTS, 24)
    assert torch.equal(plain(logits, batch_of(labels)), F.cross_entropy(logits, labels, reduction="none"))
    with pytest.raises(ConfigError, match=r"no loss 'focl'.*losses/focl\.py"):
        losses.build({"name": "focl"}, COUNTS, 24)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"gamma": 1.0}, "has no name; known: cross_entropy, focal"),
        ({"name": "focl"}, "unknown loss 'focl'; did you mean 'focal'?"),
        ({"name": "focal", "gama": 1.0}, "unknown key 'gama'; did you mean 'gamma'?"),
        ({"name": "focal", "gamma": 1.0}, "'weight_leaks' is missing"),
        ({"name": "focal", "gamma": "1", "weight_leaks": True}, "gamma: must be a valid number, is '1'"),
        ({"name": "focal", "gamma": True, "weight_leaks": True}, "gamma: must be a valid number, is True"),
        ({**GCE, "refresh_every": 0.5}, "refresh_every: must be a valid integer, is 0.5"),
    ],
)
def test_a_loss_that_cannot_be_is_refused_with_the_nearest_word(said, says):
    with pytest.raises(ConfigError) as refused:
        check_loss(said, "here")
    assert str(refused.value).startswith("here") and says in str(refused.value)


def test_a_loss_in_the_config_is_checked_before_anything_runs(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    options = "{ loss: { name: focal, gama: 1.0 }, class_balance: null, sampling: uniform, rate_factor: null }"
    said = f"title: Focal\n    uses: sgd\n    options: {{ value: {options}, source: ours }}\n"
    entry = f"methods:\n  sgd_focal:\n    {said}"
    replace(tmp_path, "methods:\n", entry, "config/papers/tdr/methods.yaml")
    with pytest.raises(
        ConfigError, match=r"tdr/methods\.yaml:\d+: methods\.sgd_focal\.options\.loss: .*did you mean 'gamma'"
    ):
        config.load(tmp_path)
