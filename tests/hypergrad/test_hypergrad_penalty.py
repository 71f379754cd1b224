"""The gradient-norm penalty against values by hand and central differences, in float64 with batch norm and dropout."""

import math

import pytest
import torch
from support.small_nets import NeverWaits, trained_on
from torch import nn
from torch.func import functional_call

from reweigh.hypergrad import penalty
from reweigh.hypergrad.penalty import Hidden
from reweigh.losses import cross_entropy
from reweigh.models.layers import Dropout, hold_dropout, without_trace


class Affine(nn.Module):
    """What batch norm does after it has normalised."""

    def __init__(self, channels):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.rand(channels) + 0.5), nn.Parameter(torch.randn(channels))

    def forward(self, inputs):
        return inputs * self.scale[:, None, None] + self.shift[:, None, None]


class Net(nn.Module):
    """Two normalised layers whose output before the affine part is exposed, one convolutional and one flat."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.affine = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, affine=False), Affine(3)
        self.drop, self.middle = Dropout(0.3), nn.Linear(3 * 4, 5)
        self.flat_norm, self.head = nn.BatchNorm1d(5, affine=False), nn.Linear(5, 3)

    def forward(self, images):
        hidden = self.drop(torch.tanh(self.affine(self.norm(self.conv(images))))).flatten(1)
        return self.head(torch.tanh(self.flat_norm(self.middle(hidden))))


LAYERS = ["norm", "flat_norm"]
STRENGTHS = torch.tensor([1.0, 0.2, 0.0, 0.7, 0.4, 0.9]).double()


@pytest.fixture
def net():
    torch.manual_seed(6)
    model = Net().double()
    trained_on(model, (2, 4, 4))
    return model, torch.randn(6, 2, 4, 4).double(), torch.tensor([0, 1, 2, 0, 1, 2])


def passed(model, images, labels, at=None, scale=1.0):
    """The batch-mean loss, times `scale`, and the hidden outputs."""
    hold_dropout(model, torch.tensor(8), "train")
    with without_trace(model, True), penalty.hidden_outputs(model, LAYERS) as hidden:
        logits = functional_call(model, at or dict(model.named_parameters()), (images,))
    return scale * cross_entropy(logits, labels).mean(), hidden


def nudged(model, images, labels, layer, nudge):
    """The batch-mean loss when `nudge` is added to the output of one layer."""
    handle = getattr(model, layer).register_forward_hook(lambda _module, _inputs, output: output + nudge)
    with torch.no_grad():
        loss, _ = passed(model, images, labels)
    handle.remove()
    return loss.item()


def shapes_of(loss, hidden):
    return [tuple(one.shape) for one in torch.autograd.grad(loss, [one.output for one in hidden], retain_graph=True)]


@pytest.mark.parametrize("aggregate", ["sum", "rss"])
def test_the_norms_are_those_of_the_central_differences_by_hidden_output(net, aggregate):
    loss, hidden = passed(*net)
    shapes = shapes_of(loss, hidden)
    assert shapes == [(6, 3, 2, 2), (6, 5)]
    squares = torch.zeros(2, 6).double()
    for row, (layer, shape) in enumerate(zip(LAYERS, shapes, strict=True)):
        size = math.prod(shape)
        for k in range(size):
            nudge = torch.zeros(size).double()
            nudge[k] = 1e-5
            above, below = (nudged(*net, layer, s * nudge.view(shape)) for s in (1, -1))
            squares[row, k // (size // 6)] += ((above - below) / 2e-5) ** 2
    expected = squares.sqrt().sum(0) if aggregate == "sum" else squares.sum(0).sqrt()
    found = penalty.gradient_norms(loss, hidden, aggregate)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-10)
    total = penalty.gradient_norm_penalty(loss, hidden, STRENGTHS, aggregate)
    assert total.item() == pytest.approx(sum((STRENGTHS * found).tolist()) / 6, rel=1e-12)


@pytest.mark.parametrize("aggregate", ["sum", "rss"])
def test_its_gradient_is_that_of_central_differences(net, aggregate):
    model, images, labels = net
    loss, hidden = passed(*net)
    (loss + 10 * penalty.gradient_norm_penalty(loss, hidden, STRENGTHS, aggregate)).backward()
    gradients = {name: value.grad for name, value in model.named_parameters()}

    def objective(at):
        at = {name: value.requires_grad_() for name, value in at.items()}
        loss, hidden = passed(model, images, labels, at)
        return (loss + 10 * penalty.gradient_norm_penalty(loss, hidden, STRENGTHS, aggregate)).item()

    for seed in range(5):
        torch.manual_seed(seed)
        along = {name: torch.randn_like(value) for name, value in gradients.items()}
        above, below = (
            objective({name: v.detach() + s * 1e-5 * along[name] for name, v in model.named_parameters()})
            for s in (1, -1)
        )
        slope = sum(float((gradients[name] * along[name]).sum()) for name in along)
        assert slope == pytest.approx((above - below) / 2e-5, rel=1e-6, abs=1e-9)


def test_by_hand():
    """L = mean of a_i h_i² + (b·k_i): gradients 2 a_i h_i / B and b / B."""
    h = torch.tensor([[3.0], [-1.0]]).double().requires_grad_()
    k = torch.ones(2, 2, 1, 1).double().requires_grad_()
    loss = (
        torch.tensor([2.0, 5.0]).double() * h.squeeze(1) ** 2 + k.flatten(1) @ torch.tensor([3.0, 4.0]).double()
    ).mean()
    norms = penalty.gradient_norms(loss, [Hidden(h), Hidden(k)])
    assert norms.tolist() == pytest.approx([12 / 2 + 5 / 2, 10 / 2 + 5 / 2])
    assert penalty.gradient_norms(loss, [Hidden(h), Hidden(k)], "rss").tolist() == pytest.approx(
        [6.5, (25 + 6.25) ** 0.5]
    )
    total = penalty.gradient_norm_penalty(loss, [Hidden(h), Hidden(k)], torch.tensor([1.0, 0.5]).double())
    assert total.item() == pytest.approx((8.5 + 0.5 * 7.5) / 2)
    total.backward()  # ∂J_i/∂h_i = 2 a_i sign(h_i) / B, then r_i / B
    assert h.grad.flatten().tolist() == pytest.approx([2 * 2 / 2 / 2, -0.5 * 2 * 5 / 2 / 2])


def test_a_loss_b_times_as_large_has_a_penalty_b_times_as_large(net):
    small, large = (penalty.gradient_norms(*passed(*net, scale=scale)) for scale in (1.0, 6.0))
    torch.testing.assert_close(large, 6 * small, rtol=1e-12, atol=0)


@pytest.mark.parametrize("aggregate", ["sum", "rss"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gradient_of_exactly_zero_gives_a_finite_gradient(aggregate, dtype):
    """Example 0 is at its optimum in both layers, example 1 in one of them, example 2 in none."""
    h = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 2.0]], dtype=dtype, requires_grad=True)
    k = torch.tensor([[0.0], [3.0], [4.0]], dtype=dtype, requires_grad=True)
    loss = (h.square().sum(1) + k.square().sum(1)).mean()
    total = penalty.gradient_norm_penalty(loss, [Hidden(h), Hidden(k)], torch.ones(3, dtype=dtype), aggregate)
    total.backward()
    assert torch.isfinite(h.grad).all() and torch.isfinite(k.grad).all()
    assert h.grad[:2].abs().sum() == 0 and k.grad[0] == 0 and k.grad[1] > 0 and (h.grad[2] > 0).all()


def test_an_example_that_is_fitted_perfectly_in_float32():
    logits = torch.tensor([[200.0, 0.0], [0.5, 0.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([0, 0])).mean()
    total = penalty.gradient_norm_penalty(loss, [Hidden(logits)], torch.ones(2))
    total.backward()
    assert torch.isfinite(logits.grad).all() and logits.grad[1].abs().sum() > 0


def test_outputs_are_collected_by_name_or_module_in_the_order_of_the_pass(net):
    model, images, _ = net
    hold_dropout(model, torch.tensor(8), "train")
    with penalty.hidden_outputs(model, [model.flat_norm, "norm"]) as hidden:
        logits = model(images)
    assert shapes_of(logits.sum(), hidden) == [(6, 3, 2, 2), (6, 5)]
    model(images)
    assert len(hidden) == 2 and not model.norm._forward_hooks
    with pytest.raises(AttributeError, match="absent"), penalty.hidden_outputs(model, ["absent"]):
        pass


def test_hooks_go_when_the_pass_fails(net):
    with pytest.raises(RuntimeError), penalty.hidden_outputs(net[0], LAYERS):
        net[0](torch.randn(2, 7))
    assert not net[0].norm._forward_hooks


class Twin(nn.Module):
    """The same function as `Net`, by an ordinary batch norm, and in place."""

    def __init__(self, net):
        super().__init__()
        self.net, self.norm = net, nn.BatchNorm2d(3)
        self.norm.weight, self.norm.bias = net.affine.scale, net.affine.shift

    def forward(self, images):
        hidden = self.net.drop(self.norm(self.net.conv(images)).tanh_()).flatten(1)
        return self.net.head(self.net.flat_norm(self.net.middle(hidden)).tanh_())


@pytest.mark.parametrize("aggregate", ["sum", "rss"])
def test_an_ordinary_batch_norm_is_penalised_before_its_affine_part(net, aggregate):
    """Value and gradient, that by γ included, are those of a net that exposes the part; work in place does no harm."""
    model, images, labels = net
    with torch.no_grad():
        model.affine.scale[1] *= -1
    found = []
    for twin, layers in ((model, LAYERS), (Twin(model).double(), ["norm", "net.flat_norm"])):
        hold_dropout(twin, torch.tensor(8), "train")
        with without_trace(twin, True), penalty.hidden_outputs(twin, layers) as hidden:
            loss = cross_entropy(twin(images), labels).mean()
        total = penalty.gradient_norm_penalty(loss, hidden, STRENGTHS, aggregate)
        found.append([total, *torch.autograd.grad(loss + total, list(model.parameters()))])
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-14)


def test_an_unknown_aggregate_is_refused(net):
    with pytest.raises(ValueError, match="rss"):
        penalty.gradient_norms(*passed(*net), "mean")


def test_no_value_is_waited_for(net):
    with NeverWaits():
        loss, hidden = passed(*net)
        penalty.gradient_norm_penalty(loss, hidden, STRENGTHS).backward()
