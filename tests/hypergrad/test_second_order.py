"""Convolution and batch norm that are differentiated twice, against PyTorch's and central differences."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

from reweigh.hypergrad.second_order import SecondOrder
from reweigh.hypergrad.shared_pass import along
from reweigh.losses import cross_entropy
from reweigh.models import build

LAYOUTS = [torch.channels_last, torch.contiguous_format]


class Calls(TorchDispatchMode):
    """Lists the operations that run within, with their arguments."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.append((function.overloadpacket.__name__, args))
        return function(*args, **(kwargs or {}))

    def of(self, name):
        return [args for called, args in self.seen if called == name]


def resnet(layout, dtype=torch.float64, shortcut="A"):
    """A small ResNet, images and labels for it."""
    torch.manual_seed(3)
    model = build("resnet32", (3, 32, 32), 3, 0, blocks=1, width=0.25, shortcut=shortcut)
    images = torch.randn(5, 3, 32, 32, dtype=dtype)
    return (
        model.to(dtype).to(memory_format=layout),
        images.contiguous(memory_format=layout),
        torch.tensor([0, 1, 2, 0, 1]),
    )


def twice(model, images, labels, fast):
    """Loss, gradient, and Hessian-vector product along a random direction, by a double backward pass."""
    parameters = list(model.parameters())
    generator = torch.Generator().manual_seed(1)
    along = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    if fast:
        with SecondOrder():
            loss = cross_entropy(model(images), labels).mean()
    else:
        loss = cross_entropy(model(images), labels).mean()
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    return loss, gradients, torch.autograd.grad(gradients, parameters, along)


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_hessian_vector_product_is_pytorchs(layout, shortcut):
    problem = resnet(layout, shortcut=shortcut)
    loss, gradients, products = twice(*problem, fast=True)
    same_loss, same_gradients, expected = twice(*problem, fast=False)
    assert torch.equal(loss, same_loss)
    for ours, theirs in zip(gradients, same_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-14)
    for ours, theirs in zip(products, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


class AsOnAGpu(TorchDispatchMode):
    """Batch norm's backward kernel without a γ, as CUDA has it: no sums in channels-last, and refused in NCHW order."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.native_batch_norm_backward.default and args[2] is None:
            if not args[0].is_contiguous(memory_format=torch.channels_last):
                raise RuntimeError("tensor does not have a device")
            return found[0], args[5].new_empty(0), args[5].new_empty(0)
        return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_kernel_is_asked_for_what_a_gpus_does_not_give(layout):
    problem = resnet(layout)
    *_, expected = twice(*problem, fast=True)
    with AsOnAGpu():
        *_, products = twice(*problem, fast=True)
        with along(problem[0], dict(problem[0].named_parameters())) as passes:
            problem[0](problem[1])
    assert all(map(torch.equal, products, expected)) and passes[0][1].isfinite().all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_plain_gradient_is_the_same_to_the_bit(layout):
    model, images, labels = resnet(layout, torch.float32)
    found = []
    for fast in (True, False):
        loss, gradients, _ = twice(model, images, labels, fast)
        found.append([loss, *gradients])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))


def test_running_statistics_move_as_ever():
    found = []
    for fast in (True, False):
        model, images, labels = resnet(torch.channels_last)
        twice(model, images, labels, fast)
        found.append(model.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    assert found[0]["norm.running_mean"].abs().sum() > 0


GEOMETRIES = [
    {},
    {"stride": 2},
    {"padding": 1, "stride": (2, 1)},
    {"padding": (0, 2), "dilation": 2},
    {"groups": 2, "padding": 1},
]


@pytest.mark.parametrize("by", [(0, 1, 2), (1,), (0,), (0, 1)])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_both_derivatives_of_a_convolution_are_differences(geometry, by):
    torch.manual_seed(0)
    values = [torch.randn(2, 2, 5, 6), torch.randn(4, 2 // geometry.get("groups", 1), 2, 3), torch.randn(4)]
    values = [value.double().requires_grad_(place in by) for place, value in enumerate(values)]

    def convolved(*inputs):
        with SecondOrder():
            return F.conv2d(*inputs, **geometry).sin()

    torch.testing.assert_close(convolved(*values), F.conv2d(*values, **geometry).sin(), rtol=1e-13, atol=1e-13)
    assert torch.autograd.gradcheck(convolved, values) and torch.autograd.gradgradcheck(convolved, values)


@pytest.mark.parametrize("by", [(0, 1, 2), (0,), (1,), (2,), (0, 2)])
@pytest.mark.parametrize("native", [True, False])
def test_both_derivatives_of_batch_norm_are_differences(by, native):
    torch.manual_seed(0)
    values = [torch.randn(3, 2, 2, 3) * 2 + 1, torch.randn(2), torch.randn(2)]
    values = [value.double().requires_grad_(place in by) for place, value in enumerate(values)]

    def normalised(inputs, weight, bias):
        with SecondOrder():
            if native:
                return torch.native_batch_norm(inputs, weight, bias, None, None, True, 0.1, 1e-3)[0].sin()
            return F.batch_norm(inputs, None, None, weight, bias, True, 0.1, 1e-3).sin()

    assert torch.equal(normalised(*values), F.batch_norm(values[0], None, None, *values[1:], True, 0.1, 1e-3).sin())
    assert torch.autograd.gradcheck(normalised, values) and torch.autograd.gradgradcheck(normalised, values)


@pytest.mark.parametrize("asked", [(0,), (1,), (2,), (1, 2)])
def test_each_derivative_of_batch_norm_can_be_differentiated_alone(asked):
    torch.manual_seed(0)
    shapes = ((3, 2, 2, 3), (2,), (2,))
    values = [torch.randn(shape).double().requires_grad_() for shape in shapes]

    def gradients(fast):
        def of(*at):
            if fast:
                with SecondOrder():
                    outputs = F.batch_norm(at[0], None, None, at[1], at[2], True)
            else:
                outputs = F.batch_norm(at[0], None, None, at[1], at[2], True)
            return torch.autograd.grad(outputs.sin().sum(), [at[place] for place in asked], create_graph=True)

        return of

    seconds = [
        torch.autograd.grad(
            [value.cos().sum() for value in gradients(fast)(*values)], values, allow_unused=True, materialize_grads=True
        )
        for fast in (True, False)
    ]
    for ours, theirs in zip(*seconds, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_double_backward_pass_has_no_kernel_larger_than_the_nets():
    """PyTorch's own convolves with kernels as large as images: that is where its time goes."""
    sizes = []
    for fast in (True, False):
        with Calls() as calls:
            twice(*resnet(torch.channels_last), fast)
        sizes.append(max(args[1].shape[-1] for args in calls.of("convolution")))
    assert sizes[0] == 3 < sizes[1]


def test_a_gradient_by_inputs_alone_skips_the_weights():
    model, images, labels = resnet(torch.channels_last)
    with SecondOrder():
        hidden = model.conv(images)
        loss = cross_entropy(model.head(model.blocks(hidden).mean((2, 3))), labels).mean()
    with Calls() as calls:
        torch.autograd.grad(loss, [hidden], create_graph=True)
    masks = [args[-1] for args in calls.of("convolution_backward")]
    assert len(masks) == 6 and all(mask == [True, False, False] for mask in masks)


def test_the_rest_is_left_to_pytorch():
    """A pass without a graph, autocast, running statistics, no affine part, a padding by name: no function of ours."""
    images, kernel = torch.randn(2, 3, 5, 5), torch.randn(4, 3, 3, 3, requires_grad=True)
    norm, plain = nn.BatchNorm2d(3).eval(), nn.BatchNorm2d(3, affine=False)
    leaf = images.clone().requires_grad_()
    with SecondOrder():
        with torch.no_grad():
            assert F.conv2d(images, kernel).grad_fn is None
        with torch.autocast("cpu", torch.bfloat16):
            found = [F.conv2d(images, kernel), nn.BatchNorm2d(3)(images)]
        found += [F.conv2d(images, kernel, padding="same"), norm(leaf), plain(leaf)]
        ours = [F.conv2d(images, kernel), nn.BatchNorm2d(3)(leaf)]
    ours_are = ("_ConvolutionBackward", "NormBackward")
    assert not any(type(value.grad_fn).__name__ in ours_are for value in found)
    assert [type(value.grad_fn).__name__ for value in ours] == list(ours_are)
    assert found[0].dtype == torch.bfloat16


def test_a_pass_of_dual_numbers_is_refused():
    kernel = torch.randn(4, 3, 3, 3, requires_grad=True)
    with SecondOrder(), forward_ad.dual_level(), pytest.raises(RuntimeError, match="jvp"):
        F.conv2d(torch.randn(2, 3, 5, 5), forward_ad.make_dual(kernel, torch.ones_like(kernel)))
