"""The penalised step: its value and gradient against a plain float64 computation that exposes γ and β."""

import copy

import pytest
import torch
import torch.nn.functional as F
from support.absgd_methods import spec_of
from support.mnist_runs import run_of
from support.small_nets import state_bytes
from torch import nn
from torch.func import functional_call

from reweigh.config import checks
from reweigh.config.methods.penalised import DIFFERENCE, PENALTY, RESNET32
from reweigh.config.methods.uniform_penalty import BALANCE, CARD
from reweigh.config.validation import validated
from reweigh.data.batches import Batch
from reweigh.errors import ConfigError
from reweigh.methods import base, uniform_penalty
from reweigh.methods.penalised import layers_named
from reweigh.models import build
from reweigh.models.layers import without_trace
from reweigh.weights import effective_number

CLASSES, COUNTS = 3, torch.tensor([500.0, 50.0, 5.0])
OPTIONS = {**PENALTY, "layers": RESNET32, "lambda_": 10.0}


def context(counts=COUNTS):
    part = range(int(counts.sum()))
    rest = {"batch_size": 8, "epochs": 3, "learning_rate": 0.1, "weight_decay": 0.0}
    nothing = {"target": None, "fresh": None, "train": part, "validation": None}
    return base.RunContext(0, len(counts), counts, counts.clone(), **rest, **nothing)


class Problem:
    """A narrow ResNet-32 of three blocks in float64 whose γ and β have moved, and a batch."""

    def __init__(self, size=7):
        torch.manual_seed(1)
        self.model = build("resnet32", (3, 32, 32), CLASSES, 0, "channels-last", blocks=1, width=0.25).double()
        with torch.no_grad():
            for name, value in self.model.named_parameters():
                if "norm" in name:
                    value.add_(torch.randn_like(value) * 0.5)
        self.images = torch.randn(size, 3, 32, 32).double()
        self.labels = torch.arange(size) % CLASSES
        self.batch = Batch(self.images, self.labels, self.labels, torch.arange(size))
        self.parameters = {name: value.detach() for name, value in self.model.named_parameters()}

    def step(self, options, strengths=None, epoch=0):
        """The method's scalar and its gradient, as the engine asks for them, and the method."""
        method = uniform_penalty.Method(options, context())
        stage = method.stages(3)[0]
        method.begin(stage, self.model)
        if strengths is not None:
            method.strengths = strengths
        with torch.no_grad():
            method.begin_epoch(base.Position(epoch, epoch, stage, epoch, 1, 0.1), self.model)
        step = base.Step(torch.tensor(0), "step", self.model, self.batch, None)
        with without_trace(self.model, True), method.watch(self.model):
            logits = self.model(method.inputs(step, self.batch))
        losses = method.example_losses(logits, self.batch)
        total = method.objective(step, logits, losses, method.example_weights(step, losses.detach()))
        self.model.zero_grad()
        total.backward()
        return total.item(), {name: value.grad for name, value in self.model.named_parameters()}, method


def resnet(parameters, images, blocks=3):
    """The narrow net written out: logits, and what each norm of a block gives before γ and β."""
    hidden = []

    def norm(name, values, keeps=True):
        plain = F.batch_norm(values, None, None, training=True)
        if keeps:
            hidden.append(plain)
        scale, shift = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
        return scale[:, None, None] * plain + shift[:, None, None]

    values = F.relu(norm("norm", F.conv2d(images, parameters["conv.weight"], padding=1), keeps=False))
    for block in range(blocks):
        stride = 1 if block == 0 else 2
        shortcut = values
        if stride == 2:
            more = parameters[f"blocks.{block}.conv1.weight"].shape[0] - values.shape[1]
            shortcut = F.pad(values[:, :, ::2, ::2], (0, 0, 0, 0, more // 2, more // 2))
        inner = F.conv2d(values, parameters[f"blocks.{block}.conv1.weight"], stride=stride, padding=1)
        inner = F.relu(norm(f"blocks.{block}.norm1", inner))
        inner = norm(f"blocks.{block}.norm2", F.conv2d(inner, parameters[f"blocks.{block}.conv2.weight"], padding=1))
        values = F.relu(inner + shortcut)
    return F.linear(values.mean((2, 3)), parameters["head.weight"], parameters["head.bias"]), hidden


def by_hand(problem, strengths, class_weights=None, aggregate="sum", lambda_=10.0, at=None):
    """L + λ (1/B) Σ_i r_{y_i} J_i with PyTorch's own functions, J_i by layer, and the leaves of the total."""
    leaves = {name: value.clone().requires_grad_() for name, value in (at or problem.parameters).items()}
    logits, hidden = resnet(leaves, problem.images)
    loss = F.cross_entropy(logits, problem.labels, weight=class_weights)
    slopes = torch.autograd.grad(loss, hidden, create_graph=True)
    by_layer = torch.stack([slope.flatten(1).norm(dim=1) for slope in slopes])
    norms = by_layer.sum(0) if aggregate == "sum" else by_layer.square().sum(0).sqrt()
    return loss + lambda_ * (strengths[problem.labels] * norms).mean(), by_layer.detach(), leaves


def gradient_by_hand(*known, **more):
    total, _, leaves = by_hand(*known, **more)
    return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))


@pytest.fixture(scope="module")
def problem():
    return Problem()


STRENGTHS = torch.tensor([0.2, 0.0, 1.0]).double()


def test_the_net_by_hand_is_the_model(problem):
    with without_trace(problem.model, True):
        expected = functional_call(problem.model, problem.parameters, (problem.images,))
    torch.testing.assert_close(resnet(problem.parameters, problem.images)[0], expected)


@pytest.mark.parametrize("aggregate", ["sum", "rss"])
@pytest.mark.parametrize("strengths", [torch.ones(3).double(), STRENGTHS], ids=["uniform", "by class"])
def test_value_and_gradient_are_those_by_hand(problem, aggregate, strengths):
    total, gradient, method = problem.step({**OPTIONS, "aggregate": aggregate}, strengths)
    expected, by_layer, _ = by_hand(problem, strengths, aggregate=aggregate)
    assert total == pytest.approx(expected.item(), rel=1e-12)
    assert len(method.layers) == len(by_layer) == 6
    torch.testing.assert_close(
        gradient, gradient_by_hand(problem, strengths, aggregate=aggregate), rtol=1e-8, atol=1e-11
    )


def test_j_of_each_layer_is_that_by_hand(problem):
    _, by_layer, _ = by_hand(problem, STRENGTHS)
    for number, layer in enumerate(layers_named(RESNET32, problem.model)):
        _, _, method = problem.step({**OPTIONS, "layers": [layer]})
        norms, examples = method.norm_sums
        for label in range(CLASSES):
            own = by_layer[number][problem.labels == label]
            assert examples[label] == len(own) and norms[label].item() == pytest.approx(own.sum().item(), rel=1e-6)


def test_with_class_weights_their_mean_is_penalised_too(problem):
    """Deferred: before its epoch weights are 1, from it on L and the norms are those of the weighted mean."""
    options = {**OPTIONS, "class_balance": {"beta": 0.999, "from_epoch": 2}}
    weights = effective_number(COUNTS, 0.999).double()
    assert weights.max() > 5 * weights.min()
    for epoch, class_weights in ((0, None), (1, None), (2, weights)):
        total, gradient, _ = problem.step(options, STRENGTHS, epoch)
        expected = by_hand(problem, STRENGTHS, class_weights)[0].item()
        assert total == pytest.approx(expected, rel=1e-6)
        torch.testing.assert_close(gradient, gradient_by_hand(problem, STRENGTHS, class_weights), rtol=1e-5, atol=1e-7)


def test_its_gradient_is_that_of_finite_differences(problem):
    """Along random directions, short enough that few units cross 0: of double backward those count as flat."""
    _, gradient, _ = problem.step(OPTIONS, STRENGTHS)
    for seed in range(3):
        torch.manual_seed(seed)
        along = {name: torch.randn_like(value) for name, value in gradient.items()}
        above, below = (
            by_hand(problem, STRENGTHS, at={k: v + sign * 1e-8 * along[k] for k, v in problem.parameters.items()})[0]
            for sign in (1, -1)
        )
        slope = sum(float((gradient[name] * along[name]).sum()) for name in along)
        assert slope == pytest.approx((above - below).item() / 2e-8, rel=1e-4)


def test_gamma_is_trained_by_the_penalty_itself(problem, monkeypatch):
    """∂L/∂h = γ ∂L/∂y: were γ held there, its gradient would be another."""
    expected = gradient_by_hand(problem, STRENGTHS)["blocks.1.norm1.weight"]
    _, gradient, _ = problem.step(OPTIONS, STRENGTHS)
    torch.testing.assert_close(gradient["blocks.1.norm1.weight"], expected, rtol=1e-8, atol=1e-11)
    from reweigh.hypergrad import penalty

    known = penalty.Hidden
    monkeypatch.setattr(penalty, "Hidden", lambda output, scale: known(output, scale.detach()))
    _, gradient, _ = problem.step(OPTIONS, STRENGTHS)
    assert (gradient["blocks.1.norm1.weight"] - expected).abs().max() > 0.05 * expected.abs().max()


def test_norms_have_the_factor_of_the_mean_so_a_short_batch_counts_more():
    """Of two batches with the same examples, one has them twice: batch norm and the mean are the same, B is not."""
    whole = Problem(6)
    twice = copy.copy(whole)
    twice.images, twice.labels = whole.images.repeat(2, 1, 1, 1), whole.labels.repeat(2)
    twice.batch = Batch(twice.images, twice.labels, twice.labels, torch.arange(12))
    (short, _, _), (long, _, _) = (one.step(OPTIONS) for one in (whole, twice))
    loss = F.cross_entropy(resnet(whole.parameters, whole.images)[0], whole.labels).item()
    assert short - loss == pytest.approx(2 * (long - loss), rel=1e-9)


def test_the_difference_has_the_same_value_and_nearly_the_same_gradient(problem, single_as_double):
    options = {**OPTIONS, **DIFFERENCE, "class_balance": {"beta": 0.999, "from_epoch": 0}}
    exact = {**options, "route": "double-backward", "epsilon": None}
    before = state_bytes(problem.model)
    (value, near, method), (expected, gradient, other) = (problem.step(one, STRENGTHS) for one in (options, exact))
    assert value == pytest.approx(expected, rel=1e-9)
    ours, theirs = (torch.cat([one.flatten() for one in found.values()]) for found in (near, gradient))
    assert 0 < (ours - theirs).norm() < 0.01 * theirs.norm()
    torch.testing.assert_close(method.norm_sums, other.norm_sums)
    assert state_bytes(problem.model) == before


def test_the_second_pass_of_a_difference_drops_the_units_that_the_first_one_did(mnist):
    found = []
    for changed in ({}, DIFFERENCE):
        spec = spec_of("uniform_penalty", {**PENALTY, **changed, "lambda_": 100.0})
        spec["model"] = {"name": "lenet_dropout", "options": {"dropout": 0.5}}
        run = run_of(spec, mnist)
        run.advance()
        found.append(torch.cat([value.grad.flatten() for value in run.model.parameters()]))
    assert 0 < (found[1] - found[0]).norm() < 0.02 * found[0].norm()


# --- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "parameters"), [(10, 464_154), (100, 470_004)])
def test_of_resnet_32_it_penalises_the_30_norms_in_blocks(classes, parameters):
    model = build("resnet32", (3, 32, 32), classes, 0, "channels-last")
    assert sum(value.numel() for value in model.parameters()) == parameters
    layers = layers_named(RESNET32, model)
    norms = [name for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(layers) == 30 and set(norms) - set(layers) == {"norm"}


def test_layers_come_once_in_the_order_of_the_model():
    model = build("lenet", (1, 28, 28), 2, 0, "channels-last")
    assert layers_named(["fc1", "conv*", "conv1"], model) == ["conv1", "conv2", "fc1"]


def test_a_pattern_that_matches_nothing_is_refused_with_the_layers_before_the_first_step(mnist):
    said = r"layers: no layer of the model matches 'blocks\.\*'; it has: conv1, conv2, fc1, fc2, head"
    with pytest.raises(ConfigError, match=said):
        run_of(spec_of("uniform_penalty", {**PENALTY, "layers": ["conv1", "blocks.*"]}), mnist)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"epsilon": 0.01}, "epsilon: route difference, and no other, needs it"),
        ({"route": "difference"}, "epsilon: route difference, and no other, needs it"),
        ({"lambda_": 0.0}, "lambda_"),
        ({"layers": []}, "layers"),
        ({"layers": [""]}, "layers"),
        ({"aggregate": "mean"}, "aggregate"),
    ],
)
def test_options_that_cannot_be_are_refused(changed, said):
    with pytest.raises(ConfigError, match=said):
        validated(CARD.options, {**PENALTY, **changed}, "here")


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_other_precisions_are_refused(precision):
    spec = spec_of("uniform_penalty", PENALTY, precision=precision)
    with pytest.raises(ConfigError, match=f"^here: uniform_penalty is not for precision {precision}; use fp32"):
        checks._check_run(spec, False, "here")
    checks._check_run(spec_of("uniform_penalty", PENALTY), False, "here")


# --- the trace -------------------------------------------------------------------------------------------------------


def test_the_trace_has_means_over_each_epoch(mnist, monkeypatch):
    """Of runs of one step an epoch, by hand: its loss, its penalty, its norms by class."""
    kept = []
    count = uniform_penalty.Method._count

    def counted(self, labels, loss, norms, strengths):
        kept.append((labels.clone(), loss, norms))
        count(self, labels, loss, norms, strengths)

    monkeypatch.setattr(uniform_penalty.Method, "_count", counted)
    run = run_of(spec_of("uniform_penalty", {**PENALTY, "class_balance": BALANCE}, drop_last=False), mnist)
    run.finish()
    trace, epochs = run.trace(), 4
    each = len(kept) // epochs
    assert {name: rows.shape for name, rows in trace.items()} == {
        "batch_loss": (epochs,), "penalty": (epochs,), "class_norms": (epochs, 2),
    }  # fmt: skip
    for epoch in range(epochs):
        steps = kept[epoch * each : (epoch + 1) * each]
        assert trace["batch_loss"][epoch] == pytest.approx(sum(float(loss) for _, loss, _ in steps) / each, rel=1e-5)
        assert trace["penalty"][epoch] == pytest.approx(sum(float(n.mean()) for _, _, n in steps) / each, rel=1e-5)
        labels, norms = torch.cat([one[0] for one in steps]), torch.cat([one[2] for one in steps])
        for label in (0, 1):
            assert trace["class_norms"][epoch, label] == pytest.approx(float(norms[labels == label].mean()), rel=1e-5)
