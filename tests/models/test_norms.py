"""The forward mode of our batch norm against PyTorch's, and against finite differences."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call

from reweigh.models.layers import without_trace
from reweigh.models.norms import BatchNorm2d


def pair(seed=0, dtype=torch.float64):
    """Our norm and PyTorch's with the same parameters and running statistics that are not those of the batch."""
    generator = torch.Generator().manual_seed(seed)
    ours = BatchNorm2d(3).to(dtype)
    with torch.no_grad():
        for tensor in (ours.weight, ours.bias, ours.running_mean):
            tensor.copy_(torch.randn(3, generator=generator, dtype=dtype))
        ours.running_var.copy_(torch.rand(3, generator=generator, dtype=dtype) + 0.5)
    theirs = nn.BatchNorm2d(3).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(5, 3, 4, 6, generator=generator, dtype=dtype).to(memory_format=torch.channels_last) * 2 + 1
    directions = [torch.randn(shape, generator=generator, dtype=dtype) for shape in (images.shape, (3,), (3,))]
    return ours, theirs, images, directions


def derivative(norm, images, directions, along):
    """The output and its derivative along those of the inputs, weight and bias that are named."""
    with torch.no_grad(), forward_ad.dual_level():
        values = {"inputs": images, "weight": norm.weight.detach(), "bias": norm.bias.detach()}
        for (name, value), direction in zip(list(values.items()), directions, strict=True):
            if name in along:
                values[name] = forward_ad.make_dual(value, direction)
        inputs = values.pop("inputs")
        return forward_ad.unpack_dual(functional_call(norm, values, (inputs,)))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("along", [("inputs",), ("weight", "bias"), ("bias",), ("inputs", "weight", "bias")])
def test_the_tangent_is_pytorchs(along, training):
    ours, theirs, images, directions = pair()
    ours.train(training), theirs.train(training)
    found, expected = (derivative(norm, images, directions, along) for norm in (ours, theirs))
    assert torch.equal(found.primal, expected.primal)
    torch.testing.assert_close(found.tangent, expected.tangent, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("batch_norm", ["batch", "running"])
def test_the_tangent_is_a_finite_difference_and_no_buffer_moves_without_trace(batch_norm):
    ours, _, images, directions = pair(1)
    before = copy.deepcopy(ours.state_dict())
    step = 1e-6

    def moved(sign):
        images_, weight, bias = (
            value.detach() + sign * step * direction
            for value, direction in zip((images, ours.weight, ours.bias), directions, strict=True)
        )
        with torch.no_grad():
            return functional_call(ours, {"weight": weight, "bias": bias}, (images_,))

    with without_trace(ours, True, batch_norm):
        found = derivative(ours, images, directions, ("inputs", "weight", "bias")).tangent
        expected = (moved(1) - moved(-1)) / (2 * step)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_with_a_graph_or_without_duals_it_is_pytorchs_norm():
    ours, theirs, images, _ = pair(2)
    leaf, other = images.clone().requires_grad_(), images.clone().requires_grad_()
    ours(leaf).square().sum().backward()
    theirs(other).square().sum().backward()
    assert torch.equal(leaf.grad, other.grad) and torch.equal(ours.weight.grad, theirs.weight.grad)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))
    assert torch.equal(ours.running_mean, theirs.running_mean)


def test_mixed_precision_keeps_the_type_of_the_output():
    ours, _, images, directions = pair(3, torch.float32)
    half = images.to(torch.bfloat16)
    with torch.no_grad(), forward_ad.dual_level():
        dual = forward_ad.make_dual(half, directions[0].to(torch.bfloat16))
        out = forward_ad.unpack_dual(ours(dual))
    exact = derivative(ours, half.float(), [directions[0].to(torch.bfloat16).float(), *directions[1:]], ("inputs",))
    assert out.primal.dtype == out.tangent.dtype == torch.bfloat16
    torch.testing.assert_close(out.tangent.float(), exact.tangent, rtol=0.05, atol=0.05)
