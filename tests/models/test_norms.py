"""Our batch norm against PyTorch's: values, statistics, derivatives of both orders; its forward mode; no cuDNN."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call

from reweigh.models import build
from reweigh.models.layers import without_trace
from reweigh.models.norms import BatchNorm1d, BatchNorm2d

MODELS = {
    "resnet20": {},
    "resnet32": {},
    "sce_cnn": {},
    "resnet_cifar": {"depth": 18},
    "wrn": {"depth": 10, "width": 0.5},
    "torchvision_resnet": {"depth": 18},
}
SHAPES = {"2d": (5, 3, 4, 6), "1d": (7, 3), "sequences": (4, 3, 6)}
KINDS = {"2d": (BatchNorm2d, nn.BatchNorm2d), "1d": (BatchNorm1d, nn.BatchNorm1d)}
KINDS["sequences"] = KINDS["1d"]


def pair(seed=0, dtype=torch.float64, kind="2d"):
    """Our norm and PyTorch's with the same parameters and running statistics that are not those of the batch."""
    generator = torch.Generator().manual_seed(seed)
    ours, theirs = (norm(3).to(dtype) for norm in KINDS[kind])
    with torch.no_grad():
        for tensor in (ours.weight, ours.bias, ours.running_mean):
            tensor.copy_(torch.randn(3, generator=generator, dtype=dtype))
        ours.running_var.copy_(torch.rand(3, generator=generator, dtype=dtype) + 0.5)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(SHAPES[kind], generator=generator, dtype=dtype) * 2 + 1
    if kind == "2d":
        images = images.to(memory_format=torch.channels_last)
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
@pytest.mark.parametrize("kind", KINDS)
def test_the_tangent_is_pytorchs(along, training, kind):
    ours, theirs, images, directions = pair(kind=kind)
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


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_values_statistics_and_both_derivatives_are_pytorchs(kind, training):
    found = []
    for norm, images in zip(pair(2, kind=kind)[:2], [pair(2, kind=kind)[2]] * 2, strict=True):
        norm.train(training)
        leaf = images.clone().requires_grad_()
        out = norm(leaf)
        leaves = (leaf, norm.weight, norm.bias)
        first = torch.autograd.grad(out.pow(3).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(part.square().sum() for part in first), leaves)
        with torch.no_grad():
            again = norm(images)
        found.append((out, *first, *second, again, norm.running_mean, norm.running_var, norm.num_batches_tracked))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))
    assert found[0][-1] == 2 * training and all(derivative.any() for derivative in found[0][1:7])


def test_both_derivatives_are_finite_differences():
    norm, images = pair(4)[0], pair(4)[2].requires_grad_()
    arguments = (images, norm.weight, norm.bias)

    def normalised(inputs, weight, bias):
        with without_trace(norm, True):
            return functional_call(norm, {"weight": weight, "bias": bias}, (inputs,))

    assert torch.autograd.gradcheck(normalised, arguments) and torch.autograd.gradgradcheck(normalised, arguments)


@pytest.mark.parametrize("name", MODELS)
def test_no_model_leaves_its_batch_norms_to_cudnn(name):
    """`F.batch_norm` is where PyTorch chooses cuDNN on a GPU."""
    model, calls = build(name, (3, 32, 32), 2, 0, **MODELS[name]), []
    norms = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(isinstance(norm, BatchNorm1d | BatchNorm2d) for norm in norms)

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), keywords=None):
            calls.append(function)
            return function(*arguments, **(keywords or {}))

    for training in (True, False):
        with Watch():
            model.train(training)(torch.rand(2, 3, 32, 32))
    assert calls.count(torch.native_batch_norm) == 2 * len(norms)
    assert not {nn.functional.batch_norm, torch.batch_norm} & set(calls)


@pytest.mark.parametrize("kind", ["1d", "2d"])
def test_a_batch_of_one_value_a_channel_is_refused_in_training(kind):
    ours, _, images, _ = pair(5, kind=kind)
    one = images[:1] if kind == "1d" else images[:1, :, :1, :1]
    with pytest.raises(ValueError, match="more than one value a channel"):
        ours(one)
    assert ours.num_batches_tracked == 0 and ours.eval()(one).isfinite().all()


def test_mixed_precision_keeps_the_type_of_the_output():
    ours, _, images, directions = pair(3, torch.float32)
    half = images.to(torch.bfloat16)
    with torch.no_grad(), forward_ad.dual_level():
        dual = forward_ad.make_dual(half, directions[0].to(torch.bfloat16))
        out = forward_ad.unpack_dual(ours(dual))
    exact = derivative(ours, half.float(), [directions[0].to(torch.bfloat16).float(), *directions[1:]], ("inputs",))
    assert out.primal.dtype == out.tangent.dtype == torch.bfloat16
    torch.testing.assert_close(out.tangent.float(), exact.tangent, rtol=0.05, atol=0.05)
