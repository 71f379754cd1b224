"""Wide ResNets: their sizes by arithmetic, their values by PyTorch's own layers, and dropout that look-aheads hold."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from reweigh.hypergrad import lookahead
from reweigh.models import build, parameter_count
from reweigh.models.layers import Dropout, dropout_layers, hold_dropout, without_trace

COLOUR = (3, 32, 32)
SMALL = {"depth": 10, "width": 0.25}


def counted(depth, width, classes):
    """Parameters, and multiply-adds of a 32×32 image, of WRN-depth-width: every layer by its formula."""
    parameters, products, before, side = 3 * 16 * 9, 3 * 16 * 9 * 32**2, 16, 32
    for stage, after in enumerate((16 * width, 32 * width, 64 * width)):
        side = side // 2 if stage else side
        for _ in range((depth - 4) // 6):
            kernels = 9 * before * after + 9 * after * after + (before * after if before != after else 0)
            parameters += kernels + 2 * before + 2 * after
            products += kernels * side**2
            before = after
    return parameters + 2 * before + before * classes + classes, products + before * classes


@pytest.mark.parametrize(
    ("depth", "width", "classes", "count"),
    [(16, 4, 10, 2_748_890), (16, 4, 100, 2_772_020), (28, 10, 10, 36_479_194), (28, 10, 100, 36_536_884)],
)
def test_parameters_and_multiply_adds(depth, width, classes, count):
    with torch.device("meta"):  # sizes alone: nothing is drawn
        model = build("wrn", COLOUR, classes, 0, depth=depth, width=width, dropout=0.25)
    with FlopCounterMode(display=False) as counter:
        logits = model.eval()(torch.empty(2, *COLOUR, device="meta"))
    assert logits.shape == (2, classes)
    assert counted(depth, width, classes) == (parameter_count(model), counter.get_total_flops() / 4)
    assert parameter_count(model) == count
    assert (depth, classes) != (28, 100) or counter.get_total_flops() / 4 == pytest.approx(5.24e9, rel=1e-3)


def parts(channels, filters, stride, drop):
    """The branches of a pre-activation block by PyTorch's layers: what both share, the residual one, the shortcut."""
    first = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
    convs = nn.Sequential(
        nn.Conv2d(channels, filters, 3, stride, 1, bias=False),
        nn.BatchNorm2d(filters),
        nn.ReLU(),
        drop,
        nn.Conv2d(filters, filters, 3, 1, 1, bias=False),
    )
    same = channels == filters and stride == 1
    return first, convs, None if same else nn.Conv2d(channels, filters, 1, stride, bias=False)


class Plain(nn.Module):
    """WRN-16-0.25 written down from the authors' Lua code: blocks of two kinds, by whether channels change."""

    def __init__(self, classes, drop):
        super().__init__()
        self.stem, self.blocks, before = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.ModuleList(), 16
        for after, stride in ((4, 1), (8, 2), (16, 2)):
            for number in range(2):
                block = parts(before, after, stride if number == 0 else 1, drop)
                self.blocks.append(nn.ModuleList([one for one in block if one is not None]))
                before = after
        self.end = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(16, classes))

    def forward(self, images):
        hidden = self.stem(images)
        for block in self.blocks:
            if len(block) == 3:  # preactivation of both branches
                active = block[0](hidden)
                hidden = block[1](active) + block[2](active)
            else:
                hidden = block[1](block[0](hidden)) + hidden
        return self.end(hidden)


class Masked(nn.Module):
    """Dropout by given masks, one after the other."""

    def __init__(self):
        super().__init__()
        self.masks = []

    def forward(self, inputs):
        return inputs * self.masks.pop(0) / 0.75 if self.training else inputs


@pytest.mark.parametrize("training", [True, False])
def test_values_and_gradients_are_those_of_the_layers_written_down_one_by_one(training):
    ours = build("wrn", COLOUR, 10, 0, depth=16, width=0.25, dropout=0.25).double().train(training)
    masked = Masked()
    theirs = Plain(10, masked).double().train(training)
    generator = torch.Generator().manual_seed(1)
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    for kernel in (1, 3, 0):  # in the order in which they are built, kind by kind
        for kind in kinds:
            pair = [
                [layer for layer in net.modules() if isinstance(layer, kind) and size(layer) == kernel]
                for net in (ours, theirs)
            ]
            assert len(pair[0]) == len(pair[1])
            for own, other in zip(*pair, strict=True):
                for value in own.state_dict().values():
                    if value.is_floating_point():
                        value.copy_(torch.rand(value.shape, generator=generator, dtype=value.dtype) + 0.1)
                if kind is nn.Conv2d:
                    own.weight.data.sub_(0.6)
                other.load_state_dict(own.state_dict())
    kept = []
    for layer in dropout_layers(ours):
        layer.register_forward_hook(lambda layer, given, out: kept.append(((out == 0) & (given[0] != 0), given[0])))
    hold_dropout(ours, torch.tensor(4), "train")
    images, labels = torch.randn(6, *COLOUR, generator=generator, dtype=torch.float64), torch.arange(6)
    found = gradients(ours, images, labels, ours.conv.weight, ours.head.weight)
    masked.masks = [(~dropped).double() for dropped, _ in kept]
    assert not training or sum(int((mask == 0).sum()) for mask in masked.masks) > 1000
    expected = gradients(theirs, images, labels, theirs.stem.weight, theirs.end[-1].weight)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-11)
    assert training or torch.equal(ours.head(ours.features(images)), ours(images))


def size(layer):
    return layer.kernel_size[0] if isinstance(layer, nn.Conv2d) else 0


def gradients(net, images, labels, *leaves):
    loss = cross_entropy(net(images), labels)
    return [loss, *torch.autograd.grad(loss, leaves)]


def test_first_weights_are_normal_by_fan_out_and_the_head_has_no_bias_yet():
    model = build("wrn", COLOUR, 100, 0, depth=16, width=4)
    assert model.blocks[2].conv1.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.02)
    assert model.blocks[2].project.weight.std().item() == pytest.approx(math.sqrt(2 / 128), rel=0.05)
    bound = 1 / math.sqrt(256)
    assert bound * 0.99 < model.head.weight.abs().max() <= bound and not model.head.bias.any()
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 13 and all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)


def test_dropout_lies_in_every_block_and_only_if_asked_for():
    assert len(dropout_layers(build("wrn", COLOUR, 10, 0, **SMALL, dropout=0.25))) == 3
    assert dropout_layers(build("wrn", COLOUR, 10, 0, **SMALL)) == []
    assert dropout_layers(build("resnet32", COLOUR, 10, 0)) == []
    with torch.device("meta"):
        assert len(dropout_layers(build("wrn", COLOUR, 10, 0, depth=28, width=10, dropout=0.25))) == 12


DROPPING = [
    ("wrn", COLOUR, SMALL),
    ("resnet32", COLOUR, {"width": 0.25, "blocks": 1}),
    ("lenet_dropout", (1, 28, 28), {}),
    ("torchvision_resnet", COLOUR, {"depth": 18}),
]


@pytest.mark.parametrize(("name", "shape", "options"), DROPPING)
def test_passes_of_one_name_drop_the_same_units(name, shape, options):
    model = build(name, shape, 10, 0, **options, dropout=0.25)
    images, at = torch.randn(4, *shape), dict(model.named_parameters())

    def logits(seed, name):
        hold_dropout(model, torch.tensor(seed), name)
        with torch.no_grad(), without_trace(model, training=True):
            return functional_call(model, at, (images,))

    first = logits(1, "train")
    assert torch.equal(first, logits(1, "train"))
    assert not torch.equal(first, logits(2, "train")) and not torch.equal(first, logits(1, "target"))
    hold_dropout(model, None, "train")
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize(("name", "shape", "options"), DROPPING[:3])
def test_a_hypergradient_through_dropout_is_a_finite_difference_of_the_look_ahead(name, shape, options):
    """In float64: a pass that dropped other units than the step's would be far off."""
    model = build(name, shape, 10, 0, **options, dropout=0.25).double()
    generator = torch.Generator().manual_seed(2)
    batch, target = (torch.randn(5, *shape, generator=generator, dtype=torch.float64) for _ in range(2))
    labels, weights, at = torch.tensor([1, 0, 7, 7, 3]), torch.full((5,), 0.2, dtype=torch.float64), {}
    at = {name: value.detach() for name, value in model.named_parameters()}

    def losses(images, name, at):
        hold_dropout(model, torch.tensor(9), name)
        with without_trace(model, training=True):
            return cross_entropy(functional_call(model, at, (images,)), labels, reduction="none")

    def outer(weights):
        ahead = lookahead.look_ahead(lambda at: losses(batch, "train", at), at, weights, 0.01)
        with torch.no_grad():
            return losses(target, "target", ahead).mean()

    found = lookahead.example_hypergradient(
        lambda at: losses(batch, "train", at), lambda at: losses(target, "target", at).mean(), at, weights, 0.01
    )
    step = 1e-5 * torch.eye(5, dtype=torch.float64)
    expected = torch.stack([(outer(weights + one) - outer(weights - one)) / 2e-5 for one in step])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)


def test_lenet_dropout_is_lenet_but_for_its_masks():
    plain, ours = build("lenet", (1, 28, 28), 10, 3), build("lenet_dropout", (1, 28, 28), 10, 3)
    assert list(plain.state_dict()) == list(ours.state_dict())
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in plain.state_dict().items())
    images = torch.randn(4, 1, 28, 28)
    assert torch.equal(ours.eval()(images), plain(images))
    assert torch.equal(ours.head(ours.features(images)), plain(images))
    seen = []
    ours.head.register_forward_hook(lambda layer, given, out: seen.append(given[0]))
    hold_dropout(ours.train(), torch.tensor(1), "train")
    ours(images)
    features = ours.features(images)
    dropped = (seen[0] == 0) & (features > 0)
    assert 0.1 < (dropped.sum() / (features > 0).sum()).item() < 0.4
    torch.testing.assert_close(seen[0][~dropped], features[~dropped] / 0.75)
    assert isinstance(ours.drop, Dropout) and ours.drop.p == 0.25


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_resnet32_with_dropout_is_resnet32_but_for_its_masks(shortcut, head):
    options = {"shortcut": shortcut, "head": head, "blocks": 1}
    plain, ours = build("resnet32", COLOUR, 10, 3, **options), build("resnet32", COLOUR, 10, 3, **options, dropout=0.25)
    assert list(plain.state_dict()) == list(ours.state_dict())
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in plain.state_dict().items())
    images = torch.randn(2, *COLOUR)
    assert torch.equal(ours.eval()(images), plain.eval()(images))
    hold_dropout(ours.train(), torch.tensor(1), "train")
    assert not torch.equal(ours(images), plain.train()(images))
