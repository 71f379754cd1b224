"""The library's classes by themselves: their formulas, state, devices and types, and what they refuse."""

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import reweigh.torch as library
from reweigh.errors import ConfigError, ReweighError
from reweigh.torch import (
    ABSGDWeights,
    ArgumentError,
    AutoBalanceLoss,
    FocalLoss,
    HARPenalty,
    LDAMLoss,
    LogitAdjustedLoss,
    TDRWeights,
    VSLoss,
    alone,
    har_strengths,
)

COUNTS = [500, 50, 5]


def net(*between):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), *between, nn.ReLU(), nn.Linear(8, 3))


def examples(size=12, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 4, generator=generator), torch.arange(size) % 3


def reloaded(module, fresh):
    """Another module with the saved state of this one."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    fresh.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    return fresh


def test_what_is_public_is_there_with_a_docstring():
    assert all(getattr(library, name).__doc__ for name in library.__all__)
    assert len(set(library.__all__)) == len(library.__all__)


# --- ABSGD -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_a_loss_that_is_nan_spoils_its_batch_and_the_average_after_it(gamma):
    absgd, losses = ABSGDWeights(gamma=gamma), torch.tensor([1.0, 2.0, 3.0])
    absgd(losses)
    before = copy.deepcopy(absgd.state_dict())
    assert absgd(torch.tensor([1.0, math.nan, 3.0])).isnan().all() and absgd.log_s.isnan()
    assert bool(absgd(losses).isnan().all()) == (gamma < 1)
    absgd.load_state_dict(before)
    assert absgd(losses).isfinite().all() and absgd.log_s.isfinite()


def test_what_cannot_be_an_argument_says_what_to_pass():
    labels = torch.tensor([0, 1])
    given_batch = alone.Given(alone.batch_of(torch.zeros(2, 1), labels))
    with pytest.raises(ArgumentError, match=r"no examples to choose among; pass \(inputs, labels\) of those"):
        given_batch.follow(np.array([0]))
    for counts in ("many", [None], [[1], [1, 2]]):
        with pytest.raises(ArgumentError, match=r"class_counts: one number for each class, as \[900, 100\], not"):
            alone.counts_of(counts)
    for number in (math.inf, math.nan, 1.5, 0):
        with pytest.raises(ArgumentError, match="a whole number from 1 on"):
            alone.above_zero("every", number)


@given(
    st.lists(st.lists(st.floats(0, 20), min_size=1, max_size=6), min_size=1, max_size=5),
    st.sampled_from([-2.0, -0.5, 1.0, 5.0]),
    st.floats(0.05, 1),
    st.sampled_from([0.3, 1.0]),
)
def test_absgd_is_its_formula(batches, lam, gamma, alpha):
    absgd, s = ABSGDWeights(lam, gamma, alpha=alpha), 0.0
    for losses in batches:
        tilted = [math.exp(loss / lam) for loss in losses]
        s = (1 - gamma) * s + gamma * alpha * sum(tilted) / len(losses)
        found = absgd(torch.tensor(losses, dtype=torch.float64))
        assert found.tolist() == pytest.approx([value / s / len(losses) for value in tilted], rel=1e-9)
    assert float(absgd.log_s) == pytest.approx(math.log(s), abs=1e-9)


def test_absgd_goes_on_from_its_state_and_has_no_graph():
    absgd, losses = ABSGDWeights(1.0, 0.5), torch.tensor([0.1, 3.0], requires_grad=True)
    absgd(losses)
    other, copied = reloaded(absgd, ABSGDWeights(1.0, 0.5)), copy.deepcopy(absgd)
    expected = absgd(losses)
    assert not expected.requires_grad and expected.dtype == torch.float32
    assert torch.equal(other(losses), expected) and torch.equal(copied(losses), expected)
    assert not torch.equal(ABSGDWeights(1.0, 0.5)(losses), expected)


@pytest.mark.parametrize("lam", [None, math.inf, -math.inf])
def test_absgd_without_lambda_is_plain_until_it_has_one(lam):
    absgd = ABSGDWeights(lam)
    assert absgd(torch.tensor([1.0, 2.0])).tolist() == [0.5, 0.5] and absgd.log_s == -math.inf
    absgd.lam = 1.0
    assert absgd(torch.tensor([1.0, 2.0]))[1] > 0.5


# --- losses ----------------------------------------------------------------------------------------------------------


def by_hand(name, logits, label):
    """One example's loss in NumPy, from the formulas of the papers."""
    counts = np.array(COUNTS, float)
    if name == "ldam":
        margins = 0.5 * counts**-0.25 / (counts**-0.25).max()
        logits = 30.0 * (logits - margins * (np.arange(3) == label))
    elif name == "la":
        logits = logits + 1.5 * np.log(counts / counts.sum())
    elif name == "vs":
        logits = (counts / counts.max()) ** 0.2 * logits + np.log(counts / counts.sum())
    elif name == "autobalance":
        logits = logits / (1 + np.exp(-1.0)) + np.log(counts / counts.sum())
    entropy = np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label]
    return (1 - np.exp(-entropy)) ** 2 * entropy if name == "focal" else entropy


MADE = {
    "ldam": lambda **said: LDAMLoss(COUNTS, **said),
    "focal": lambda **said: FocalLoss(2.0, **said),
    "la": lambda **said: LogitAdjustedLoss(COUNTS, tau=1.5, **said),
    "vs": lambda **said: VSLoss(COUNTS, gamma=0.2, **said),
    "autobalance": lambda **said: AutoBalanceLoss(COUNTS, **said),
}


@pytest.mark.parametrize("name", MADE)
def test_a_loss_is_its_formula_and_reduces(name):
    logits, labels = examples()[0][:, :3], examples()[1]
    expected = [by_hand(name, row, int(label)) for row, label in zip(logits.double().numpy(), labels, strict=True)]
    assert MADE[name]()(logits, labels).tolist() == pytest.approx(expected, rel=2e-5)
    assert float(MADE[name](reduction="sum")(logits, labels)) == pytest.approx(sum(expected), rel=2e-5)
    assert float(MADE[name](reduction="mean")(logits, labels)) == pytest.approx(np.mean(expected), rel=2e-5)


@pytest.mark.parametrize("name", ["ldam", "la", "vs", "focal"])
def test_class_weights_average_as_the_public_code_does(name):
    logits, labels, weight = examples()[0][:, :3], examples()[1], torch.tensor([1.0, 2.0, 7.0])
    plain = MADE[name]()(logits, labels)
    assert torch.equal(MADE[name](weight=weight)(logits, labels), plain * weight[labels])
    total = len(labels) if name == "focal" else float(weight[labels].sum())
    found = float(MADE[name](weight=weight, reduction="mean")(logits, labels))
    assert found == pytest.approx(float((plain * weight[labels]).sum()) / total)


@pytest.mark.parametrize("name", MADE)
def test_a_loss_is_moved_copied_and_kept(name):
    logits, labels = examples()[0][:, :3], examples()[1]
    loss = MADE[name]()
    expected = loss(logits, labels)
    for other in (reloaded(loss, MADE[name]()), copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(other(logits, labels), expected)
    doubled = loss.double()(logits.double(), labels)
    assert doubled.dtype == torch.float64 and torch.allclose(doubled, expected.double(), rtol=1e-4)
    assert loss.to("meta")(logits.to("meta"), labels.to("meta")).shape == (12,)


# --- TDR -------------------------------------------------------------------------------------------------------------


def test_tdr_moves_against_the_derivative_of_the_target_loss(monkeypatch):
    """By finite differences: one plain step with the weights, then the mean loss on the target batch."""
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)  # logits are taken in single precision
    model, batch, target = net().double(), examples(), examples(9, seed=2)
    batch, target = ((inputs.double(), labels) for inputs, labels in (batch, target))
    tdr = TDRWeights(3, every=1, learning_rate=0.2, outer_learning_rate=1e-3, weight_decay=0.01).double()

    def target_loss(weights):
        twin = copy.deepcopy(model)
        losses = F.cross_entropy(twin(batch[0]), batch[1], reduction="none")
        ((weights / len(losses))[batch[1]] @ losses).backward()
        with torch.no_grad():
            for value in twin.parameters():
                value.sub_(0.2 * (value.grad + 0.01 * value))
            decayed = sum(value.square().sum() for value in twin.parameters()) * 0.005
            return F.cross_entropy(twin(target[0]), target[1]) + decayed

    start, eye = torch.full((3,), 1 / 3).double(), 1e-4 * torch.eye(3).double()
    slope = torch.stack([(target_loss(start + one) - target_loss(start - one)) / 2e-4 for one in eye])
    before = copy.deepcopy(model.state_dict())
    assert tdr.update(model, batch, target)
    moved = start - 1e-3 * slope
    assert torch.allclose(tdr.weights, moved / moved.sum(), rtol=0, atol=1e-11)
    assert (tdr.weights - start).abs().max() > 1e-7
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_tdr_counts_its_calls_and_goes_on_from_its_state():
    model, batch, target = net(), examples(), examples(9, seed=2)

    def fresh():
        return TDRWeights(COUNTS, every=3, outer_learning_rate=10.0)

    tdr = fresh()
    assert [tdr.update(model, batch, target) for _ in range(5)] == [True, False, False, True, False]
    other = reloaded(tdr, fresh())
    for _ in range(3):
        assert tdr.update(model, batch, target) == other.update(model, batch, target)
    assert torch.equal(tdr.weights, other.weights) and tdr.calls == other.calls == 8


def test_tdr_holds_dropout_and_leaves_batch_norm_and_the_random_numbers_alone():
    batch, target = examples(), examples(9, seed=2)
    model = net(nn.BatchNorm1d(8), nn.Dropout(0.5)).train()
    buffers, found = copy.deepcopy(model.state_dict()), []
    for _ in range(2):
        torch.rand(1)  # the masks are those of the update, wherever the random numbers stand
        tdr, state = TDRWeights(3, outer_learning_rate=10.0), torch.random.get_rng_state()
        tdr.update(model, batch, target)
        assert torch.equal(state, torch.random.get_rng_state())
        found.append(tdr.weights)
    assert torch.equal(*found) and model.training
    assert all(torch.equal(value, buffers[name]) for name, value in model.state_dict().items())


def test_tdr_with_groups_and_a_loss_of_ones_own():
    inputs, labels = examples()
    sex = torch.arange(12) % 2
    tdr = TDRWeights(2, outer_learning_rate=10.0, loss=FocalLoss(1.0))
    assert tdr.update(net(), (inputs, labels, sex), (inputs, labels, sex)) and tdr(sex).shape == (12,)
    plain = TDRWeights(2, outer_learning_rate=10.0)
    plain.update(net(), (inputs, labels, sex), (inputs, labels, sex))
    assert not torch.equal(plain.weights, tdr.weights)


def test_a_group_without_examples_weighs_nothing():
    assert TDRWeights([10, 0, 30]).weights.tolist() == [0.5, 0.0, 0.5]


# --- HAR -------------------------------------------------------------------------------------------------------------


def test_hars_penalty_is_the_norm_of_a_plain_gradient():
    """The layer's output as a leaf: its gradient by a plain backward pass, example by example."""
    model, (inputs, labels) = net(), examples()
    strengths = har_strengths([0.5, 0.2, 0.4], COUNTS)
    hidden = model[0](inputs).detach().requires_grad_()
    F.cross_entropy(model[2](F.relu(hidden)), labels).backward()
    expected = 0.7 * (strengths[labels] * hidden.grad.norm(dim=1)).mean()
    har = HARPenalty(strengths, ["0"], lam=0.7)
    with har.watch(model):
        loss = F.cross_entropy(model(inputs), labels)
    penalty = har(loss, labels)
    assert float(penalty.detach()) == pytest.approx(float(expected), rel=1e-5) and penalty.requires_grad
    with pytest.raises(ArgumentError, match="no pass was watched"):
        har(loss, labels)


def test_strengths_by_hand():
    errors, counts = np.array([0.5, 0.0, 0.4]), np.array(COUNTS)
    raw = errors**0.6 / counts**0.4
    assert har_strengths(errors, counts).tolist() == pytest.approx(raw / raw.max())
    assert har_strengths(errors, counts, floor=True)[1] > 0


# --- what is refused -------------------------------------------------------------------------------------------------

REFUSED = {
    "gamma: above 0": lambda: ABSGDWeights(gamma=0.0),
    "alpha: a finite number": lambda: ABSGDWeights(alpha=-1.0),
    "lam: a number other than 0": lambda: ABSGDWeights(0.0)(torch.ones(2)),
    "losses: one for each example": lambda: ABSGDWeights()(torch.ones(())),
    "reduction: none or mean or sum": lambda: LDAMLoss(COUNTS, "average"),
    "class_counts: numbers of examples": lambda: LDAMLoss([3, -1]),
    "class_counts: one number for each class": lambda: LogitAdjustedLoss([[3, 1]]),
    "class_counts has 3 classes": lambda: VSLoss(COUNTS)(torch.ones(2, 4), torch.tensor([0, 1])),
    "weight has 2 classes": lambda: FocalLoss(weight=[1, 2])(torch.ones(2, 4), torch.tensor([0, 1])),
    "gamma: a finite number from 0 on": lambda: FocalLoss(-1.0),
    "searched: some of l and delta": lambda: AutoBalanceLoss(COUNTS, searched=["tau", "l"]),
    "start: la or zeros": lambda: AutoBalanceLoss(COUNTS, start="ones"),
    "cluster_size: from 1 on": lambda: AutoBalanceLoss([[3, 1], [2, 2]], cluster_size=2),
    "groups: this loss is by class and group": lambda: AutoBalanceLoss([[3, 1], [2, 2]])(*examples(2)),
    "search: at least one batch": lambda: AutoBalanceLoss(COUNTS).search(net(), [], [examples()]),
    "groups: a whole number": lambda: TDRWeights(0),
    "every: a whole number": lambda: TDRWeights(2, every=0),
    "normalisation: class or batch": lambda: TDRWeights(2, normalisation="sum"),
    "learning_rate: a finite number": lambda: TDRWeights(2, learning_rate=0.0),
    "layers: a list of names": lambda: HARPenalty([1.0], "fc1"),
    "aggregate: sum or rss": lambda: HARPenalty([1.0], ["fc1"], aggregate="mean"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_an_argument_that_cannot_be_is_refused_in_one_line(text):
    with pytest.raises(ArgumentError, match=text) as caught:
        REFUSED[text]()
    assert isinstance(caught.value, ReweighError) and isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_a_layer_that_the_model_has_not_is_named():
    with (
        pytest.raises(ConfigError, match="no layer of the model matches 'fc9'"),
        HARPenalty([1.0], ["fc9"]).watch(net()),
    ):
        pass
