"""A derivative beside a forward pass: it is that of a pass of its own, and the pass is as ever."""

import pytest
import torch
from support.mnist_runs import run_of, spec_of
from support.small_nets import Net, NeverWaits, state_bytes, trained_on
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call

from reweigh.hypergrad.lookahead import directional_derivatives, example_hypergradient
from reweigh.hypergrad.shared_pass import along
from reweigh.losses import cross_entropy
from reweigh.methods import base, er
from reweigh.models import build
from reweigh.models.layers import hold_dropout, without_trace
from reweigh.weights import rectified_share


def small_net():
    torch.manual_seed(0)
    model = Net(norm=True, dropout=True).double().train()
    trained_on(model, (2, 6, 6))
    hold_dropout(model, torch.tensor(3), "train")
    return model, torch.randn(7, 2, 6, 6).double(), torch.tensor([0, 1, 2, 0, 1, 2, 0])


def resnet(dtype=torch.float64, **options):
    torch.manual_seed(1)
    model = build("resnet32", (3, 32, 32), 3, 0, blocks=1, width=0.25, **options).to(dtype).train()
    images = torch.randn(6, 3, 32, 32, dtype=dtype).to(memory_format=torch.channels_last)
    return model, images, torch.tensor([0, 1, 2, 0, 1, 2])


def direction_of(model):
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
        for name, value in model.named_parameters()
    }


def shared(model, images, labels):
    """Outputs, gradients of the mean loss, and the derivatives of the outputs, by one pass."""
    with along(model, direction_of(model)) as passes:
        outputs = model(images)
    gradients = torch.autograd.grad(cross_entropy(outputs, labels).mean(), list(model.parameters()))
    ((kept, slopes),) = passes
    assert torch.equal(kept, outputs) and not kept.requires_grad and not slopes.requires_grad
    return outputs, gradients, slopes


NETS = [small_net, resnet, lambda: resnet(shortcut="B")]


@pytest.mark.parametrize("net", NETS)
def test_the_derivative_is_that_of_a_pass_of_its_own_and_a_difference(net):
    model, images, labels = net()
    parameters, direction = base.parameters_of(model), direction_of(model)
    with without_trace(model, True):
        expected = directional_derivatives(lambda at: functional_call(model, at, (images,)), parameters, direction)
        with torch.no_grad():
            above, below = (
                functional_call(
                    model,
                    {name: value + sign * 1e-7 * direction[name] for name, value in parameters.items()},
                    (images,),
                )
                for sign in (1, -1)
            )
    _, _, slopes = shared(model, images, labels)
    torch.testing.assert_close(slopes, expected, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(slopes, (above - below) / 2e-7, rtol=1e-4, atol=1e-4)
    assert slopes.abs().min() > 0


@pytest.mark.parametrize("net", NETS)
def test_values_gradients_and_running_statistics_are_those_of_an_ordinary_pass(net):
    model, images, labels = net()
    twin, _, _ = net()
    outputs, gradients, _ = shared(model, images, labels)
    expected = twin(images)
    assert torch.equal(outputs, expected)
    same = torch.autograd.grad(cross_entropy(expected, labels).mean(), list(twin.parameters()))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(gradients, same, strict=True))
    assert state_bytes(model) == state_bytes(twin)


def test_the_model_is_itself_again_even_after_a_failure():
    model, images, labels = small_net()
    before = dict(model.named_parameters())
    shared(model, images, labels)
    with pytest.raises(RuntimeError), along(model, direction_of(model)):
        model(images[:, :1])
    after = dict(model.named_parameters())
    assert all(after[name] is value for name, value in before.items()) and not model._forward_hooks
    assert model(images).requires_grad


def test_outputs_that_ignore_the_parameters_are_refused():
    model = nn.Sequential(nn.Linear(2, 2))
    model.forward = lambda inputs: inputs
    with pytest.raises(ValueError, match="do not depend"), along(model, direction_of(model)):
        model(torch.ones(1, 2))


def test_under_autocast_the_derivative_is_near_that_in_full_precision():
    model, images, labels = resnet(torch.float32)
    _, _, expected = shared(model, images, labels)
    model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)
    outputs, gradients, slopes = shared(model, images, labels)
    assert outputs.dtype == slopes.dtype == torch.bfloat16 and all(value.isfinite().all() for value in gradients)
    assert (slopes.float() - expected).norm() < 0.2 * expected.norm()


def nodes_of(outputs):
    """Every node of the graph of `outputs`."""
    found, waiting = set(), [outputs.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [following for following, _ in node.next_functions]
    return found


@pytest.mark.parametrize("autocast", [False, True])
def test_the_graph_holds_no_tangent(autocast):
    model, images, _ = resnet(torch.float32)
    with along(model, direction_of(model)), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        outputs = model(images)
        held = [value for node in nodes_of(outputs) for value in getattr(node, "saved_tensors", ())]
        assert len(held) > 40
        assert all(forward_ad.unpack_dual(value).tangent is None for value in held)


def test_no_value_is_waited_for():
    with NeverWaits():
        shared(*resnet(torch.float32))


class OfItsOwn(er.Method):
    """Example reweighting whose derivative has a pass of its own."""

    def learn(self, step):
        target = self.context.target.current()
        derivatives = example_hypergradient(
            losses=lambda at: self.losses_at(step, step.batch, at, training=True, name="train"),
            outer_loss=lambda at: self.losses_at(step, target, at, training=True, name="target").mean(),
            parameters=base.parameters_of(step.model),
            weights=None,
            step_size=1.0,
        )
        self.weights = rectified_share(-derivatives)

    def watch(self, model):
        return base.Method.watch(self, model)

    def example_weights(self, step, losses):
        return self.weights / len(losses) if self.options["scale"] == "mean" else self.weights


@pytest.mark.parametrize("scale", ["sum", "mean"])
def test_on_lenet_example_reweighting_is_the_same_to_the_bit(scale, mnist):
    ends = []
    for method in (er.Method, OfItsOwn):
        spec = spec_of("er")
        spec["method_options"] = {"scale": scale}
        run = run_of(spec, mnist)
        run.method = method(run.method.options, run.method.context)
        run.finish()
        ends.append(state_bytes(run.model))
    assert ends[0] == ends[1]
