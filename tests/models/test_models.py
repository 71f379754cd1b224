"""Models against the parameter counts of the papers' sheets (§5), and their initial weights against distributions."""

import copy
import math

import pytest
import torch
import torchvision
from torch import nn

from reweigh.config.modules import modules
from reweigh.digest import file_digest
from reweigh.errors import ConfigError, DataError
from reweigh.models import build, parameter_count
from reweigh.models.layers import without_trace

GREY, COLOUR = (1, 28, 28), (3, 32, 32)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "options", "count"),
    [
        ("lenet", GREY, 2, {}, 43_746),
        ("lenet", GREY, 10, {}, 44_426),
        ("convnet", COLOUR, 2, {}, 768_194),
        ("convnet", COLOUR, 10, {}, 776_394),
        ("resnet20", COLOUR, 2, {}, 272_018),
        ("resnet20", COLOUR, 10, {}, 272_538),
        ("resnet20", COLOUR, 2, {"shortcut": "A"}, 269_202),
        ("resnet20", COLOUR, 10, {"shortcut": "A"}, 269_722),
        ("resnet32", COLOUR, 10, {}, 464_154),
        ("resnet32", COLOUR, 100, {}, 470_004),
        ("resnet32", COLOUR, 10, {"shortcut": "B"}, 466_906),
        ("resnet32", COLOUR, 100, {"shortcut": "B"}, 472_756),
        ("resnet32", COLOUR, 10, {"head": "cosine"}, 464_144),
        ("resnet32", COLOUR, 100, {"head": "cosine"}, 469_904),
        # Of a block a stage, by hand: (432 + 32) + (4,608 + 64) + (13,824 + 128) + (55,296 + 256) + 650.
        ("resnet32", COLOUR, 10, {"blocks": 1}, 75_290),
        ("mlp", (104,), 2, {}, 22_934),
        ("linear", (512,), 2, {}, 1_026),
        ("linear", (1280,), 2, {}, 2_562),
        ("linear", (256,), 2, {}, 514),
        ("mlp_head", (512,), 2, {}, 263_682),
        ("mlp_head", (1280,), 2, {}, 656_898),
        ("mlp_head", (512,), 2, {"width": 64}, 32_962),
        ("sce_cnn", COLOUR, 10, {}, 1_639_794),
        ("resnet_cifar", COLOUR, 100, {"depth": 18}, 11_220_132),
        ("resnet_cifar", COLOUR, 100, {"depth": 34}, 21_328_292),
        ("resnet_cifar", COLOUR, 10, {"depth": 18}, 11_173_962),
        ("resnet_cifar", COLOUR, 10, {"depth": 34}, 21_282_122),
        ("resnet32", COLOUR, 100, {"dropout": 0.25}, 470_004),
        ("lenet_dropout", GREY, 10, {}, 44_426),
        ("torchvision_resnet", COLOUR, 1000, {"depth": 34}, 21_797_672),
        ("torchvision_resnet", COLOUR, 1000, {"depth": 50, "dropout": 0.25}, 25_557_032),
        ("torchvision_resnet", COLOUR, 1000, {"depth": 152}, 60_192_808),
    ],
)
def test_parameter_counts(name, shape, classes, options, count):
    model = build(name, shape, classes, 0, **options)
    assert parameter_count(model) == count
    assert model.eval()(torch.zeros(2, *shape)).shape == (2, classes)


def test_width_scales_the_hidden_sizes():
    assert parameter_count(build("convnet", COLOUR, 2, 0, width=0.25)) < 768_194 / 14
    assert build("resnet20", COLOUR, 2, 0, width=0.5)(torch.zeros(2, *COLOUR)).shape == (2, 2)
    assert parameter_count(build("sce_cnn", COLOUR, 10, 0, width=0.25)) < 1_639_794 / 14
    assert parameter_count(build("resnet_cifar", COLOUR, 100, 0, depth=18, width=0.25)) < 11_220_132 / 14


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lenet", {}),
        ("lenet_dropout", {}),
        ("convnet", {}),
        ("resnet20", {}),
        ("resnet32", {}),
        ("wrn", {"depth": 10, "width": 0.5}),
        ("mlp", {}),
        ("linear", {}),
        ("mlp_head", {}),
        ("sce_cnn", {}),
        ("resnet_cifar", {"depth": 18}),
        ("torchvision_resnet", {"depth": 18}),
    ],
)
def test_the_seed_alone_decides_the_initial_weights(name, options):
    shape = {"lenet": GREY, "lenet_dropout": GREY, "mlp": (104,), "linear": (512,), "mlp_head": (512,)}.get(
        name, COLOUR
    )
    torch.manual_seed(1)
    first = build(name, shape, 2, seed=3, **options).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, other = (build(name, shape, 2, seed=seed, **options) for seed in (3, 4))
    assert all(torch.equal(value, first[key]) for key, value in again.state_dict().items())
    # Batch norm starts alike; everything else is drawn.
    drawn = [key for key, value in first.items() if value.ndim > 1]
    assert "head.weight" in drawn and not any(torch.equal(first[key], other.state_dict()[key]) for key in drawn)
    assert name != "torchvision_resnet" or torch.equal(torch.get_rng_state(), before)


def copied(ours, theirs):
    """Our net with the numbers of another one whose layers are built in the same order, both in inference mode."""
    values = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(values))
    return ours.eval(), theirs.eval()


def randomised(net):
    """Running statistics that are not 0 and 1, so that an exchanged layer would show."""
    torch.manual_seed(0)
    for name, value in net.named_buffers():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + ("var" in name))
    return net


def test_resnet_cifar_is_torchvisions_behind_another_stem():
    theirs = torchvision.models.resnet18(num_classes=100)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    ours, theirs = copied(build("resnet_cifar", COLOUR, 100, 0, depth=18), randomised(theirs))
    images = torch.randn(2, *COLOUR)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)
    assert torch.equal(ours.head(ours.features(images)), ours(images))


def test_sce_cnn_is_the_plain_sequence_of_its_layers():
    sizes, layers = (3, 64, 64, 128, 128, 196, 196), []
    for number in range(6):
        layers += [nn.Conv2d(sizes[number], sizes[number + 1], 3, padding=1), nn.BatchNorm2d(sizes[number + 1])]
        layers += [nn.ReLU(), nn.MaxPool2d(2)] if number % 2 else [nn.ReLU()]
    layers += [nn.Flatten(), nn.Linear(3136, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 10)]
    theirs, ours = randomised(nn.Sequential(*layers)), build("sce_cnn", COLOUR, 10, 0)
    pairs = [[own for own in net.modules() if list(own.parameters(recurse=False))] for net in (ours, theirs)]
    pairs[0].sort(key=lambda layer: isinstance(layer, nn.BatchNorm2d))  # convolutions, linear layers, then the norms
    pairs[1].sort(key=lambda layer: isinstance(layer, nn.BatchNorm2d))
    for own, other in zip(*pairs, strict=True):
        own.load_state_dict(other.state_dict())
    images, labels = torch.randn(6, *COLOUR, dtype=torch.float64), torch.arange(6)
    for mode in (False, True):
        gradients = []
        for net in (ours.double().train(mode), theirs.double().train(mode)):
            loss = nn.functional.cross_entropy(net(images), labels)
            last, first = net.head if net is ours else net[-1], net.convs[0] if net is ours else net[0]
            gradients.append((loss, *torch.autograd.grad(loss, [last.weight, first.weight])))
        torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
    assert torch.equal(ours.eval().head(ours.features(images)), ours(images))
    assert {name for name, _ in ours.named_children()} >= {"fc1", "head"}  # weight decays go by these names


def test_torchvision_resnet_is_torchvisions_net_with_its_distributions():
    ours = build("torchvision_resnet", COLOUR, 10, 0, depth=50)
    kernel = ours.layer4[2].conv2.weight  # Kaiming by fan-out: variance 2 / (512 · 9)
    assert kernel.std().item() == pytest.approx(math.sqrt(2 / (512 * 9)), rel=0.01)
    assert ours.head.weight.abs().max() <= 1 / math.sqrt(2048)
    ours, theirs = copied(ours, randomised(torchvision.models.resnet50(num_classes=10)))
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)
    assert ours.features(images).shape == (2, 2048)


def test_torchvision_resnet_starts_from_weights_that_are_what_the_spec_says(tmp_path):
    path = tmp_path / "resnet18.pth"
    theirs = randomised(torchvision.models.resnet18(num_classes=7))
    torch.save(theirs.state_dict(), path)

    def built(classes, depth=18, **options):
        said = {"weights": str(path), "weights_sha256": file_digest(path), **options}
        return build("torchvision_resnet", COLOUR, classes, 0, depth=depth, **said).state_dict()

    same, other, fresh = built(7), built(5), build("torchvision_resnet", COLOUR, 5, 0, depth=18).state_dict()
    for name, value in theirs.state_dict().items():
        if name.startswith("fc."):
            assert torch.equal(same[name.replace("fc", "head")], value)
        else:
            assert torch.equal(same[name], value) and torch.equal(other[name], value)
    assert torch.equal(other["head.weight"], fresh["head.weight"]) and len(other["head.bias"]) == 5
    with pytest.raises(DataError, match=f"sha256 {file_digest(path)[:12]}, expected 00"):
        built(7, weights_sha256="0" * 64)
    with pytest.raises(DataError, match=r"no such weights; download https://.*/absent\.pth and put it there"):
        built(7, weights=str(tmp_path / "absent.pth"))
    cosine, drawn = built(7, head="cosine"), build("torchvision_resnet", COLOUR, 7, 0, depth=18, head="cosine").head
    assert torch.equal(cosine["head.weight"], drawn.weight) and "head.bias" not in cosine
    assert torch.equal(cosine["layer4.1.conv2.weight"], same["layer4.1.conv2.weight"])
    beginning = file_digest(path)[:8]  # as in torchvision's file names
    assert torch.equal(built(7, weights_sha256=beginning)["head.weight"], same["head.weight"])
    for digest in (beginning[:7], "0676BA61", ""):
        with pytest.raises(ConfigError, match="is not 8 to 64 digits of a sha256"):
            built(7, weights_sha256=digest)
    with pytest.raises(DataError, match="not the weights of this net"):
        built(7, depth=34)
    with pytest.raises(ConfigError, match="state both or neither"):
        built(7, weights_sha256=None)


def test_torchvision_resnet_trained_from_a_block_keeps_what_comes_before():
    images, target = torch.randn(2, 3, 64, 64), torch.tensor([1, 0])
    whole = build("torchvision_resnet", COLOUR, 3, 0, depth=18)
    part = build("torchvision_resnet", COLOUR, 3, 0, depth=18, trained_from="layer4.1")
    assert {name for name, _ in part.named_parameters()} == {
        name for name, _ in whole.named_parameters() if name.startswith(("layer4.1.", "head."))
    }
    assert part.state_dict().keys() == whole.state_dict().keys()
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in part.state_dict().items())
    gradients = []
    for model in (part, whole):
        loss = torch.nn.functional.cross_entropy(model.train()(images), target)
        gradients.append(torch.autograd.grad(loss, [model.layer4[1].conv1.weight, model.head.weight]))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
    stage = build("torchvision_resnet", COLOUR, 3, 0, depth=18, trained_from="layer4")
    assert {name.partition(".")[0] for name, _ in stage.named_parameters()} == {"layer4", "head"}
    with pytest.raises(ConfigError, match=r"no block 'layer4.2' to train from; known: layer1, layer1.0, "):
        build("torchvision_resnet", COLOUR, 3, 0, depth=18, trained_from="layer4.2")


def test_glorot_and_truncated_fan_in():
    head = build("convnet", COLOUR, 10, 0).fc1.weight
    bound = math.sqrt(6 / (head.shape[0] + head.shape[1]))
    assert head.abs().max() <= bound and head.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    kernel = build("resnet20", COLOUR, 10, 0).blocks[8].conv2.weight
    sd = math.sqrt(1 / (64 * 9))
    assert kernel.std().item() == pytest.approx(sd, rel=0.02)
    assert kernel.abs().max() <= 2 * sd / 0.8796 + 1e-6


def test_kaiming_weights_and_the_shortcuts_of_resnet32():
    block = build("resnet32", COLOUR, 10, 0).blocks[12]
    assert block.conv2.weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    plain = build("resnet32", COLOUR, 10, 0, shortcut="B").blocks[12].conv2.weight
    assert plain.abs().max() <= 1 / math.sqrt(64 * 9)
    narrow = build("resnet32", COLOUR, 10, 0).blocks[5].eval()  # 16 to 32 channels, stride 2: eight zeros on each side
    with torch.no_grad():
        narrow.norm2.weight.zero_()
        images = torch.rand(2, 16, 8, 8)
        out = narrow(images)
    assert torch.equal(out[:, 8:24], images[:, :, ::2, ::2]) and not out[:, :8].any() and not out[:, 24:].any()


def test_a_cosine_head_sees_directions_only():
    model = build("resnet32", COLOUR, 10, 0, head="cosine").eval()
    features = torch.randn(4, 64)
    torch.testing.assert_close(model.head(features), model.head(7 * features))
    assert model.head(features).abs().max() <= 1


# Every model with a cosine head: no bias, so as many parameters fewer as there are classes.
EVERY = {
    "convnet": (COLOUR, {"width": 0.25}),
    "lenet": (GREY, {}),
    "lenet_dropout": (GREY, {}),
    "linear": ((32,), {}),
    "mlp": ((104,), {}),
    "mlp_head": ((32,), {"width": 16}),
    "resnet20": (COLOUR, {"width": 0.5}),
    "resnet32": (COLOUR, {"blocks": 1}),
    "resnet_cifar": (COLOUR, {"depth": 18, "width": 0.125}),
    "sce_cnn": (COLOUR, {"width": 0.25}),
    "torchvision_resnet": (COLOUR, {"depth": 18}),
    "wrn": (COLOUR, {"depth": 10, "width": 1}),
}


def test_the_list_has_every_model():
    assert sorted(EVERY) == sorted(modules("models", "build"))


@pytest.mark.parametrize("name", EVERY)
def test_every_model_has_a_cosine_head(name):
    """Its logits are cosines, computed here in plain Python; all other weights are those of the linear net."""
    shape, options = EVERY[name]
    plain, ours = build(name, shape, 5, 3, **options), build(name, shape, 5, 3, head="cosine", **options)
    assert parameter_count(ours) == parameter_count(plain) - 5
    assert list(ours.state_dict()) == [key for key in plain.state_dict() if key != "head.bias"]
    for key, value in ours.state_dict().items():
        assert torch.equal(value, plain.state_dict()[key]) or key == "head.weight"
    rows = ours.head.weight.detach()
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(5))
    assert ours.eval()(torch.randn(4, *shape)).shape == (4, 5)
    features = torch.randn(4, rows.shape[1])
    products = [[sum(a * b for a, b in zip(x, w, strict=True)) for w in rows.tolist()] for x in features.tolist()]
    lengths = [[math.hypot(*x) * math.hypot(*w) for w in rows.tolist()] for x in features.tolist()]
    torch.testing.assert_close(ours.head(features), torch.tensor(products) / torch.tensor(lengths))


@pytest.mark.parametrize("name", EVERY)
def test_a_linear_head_is_the_default_and_no_other_word_is_known(name):
    shape, options = EVERY[name]
    plain, said = build(name, shape, 2, 1, **options), build(name, shape, 2, 1, head="linear", **options)
    assert list(plain.state_dict()) == list(said.state_dict())
    assert all(torch.equal(value, said.state_dict()[key]) for key, value in plain.state_dict().items())
    with pytest.raises(ConfigError, match=f"^{name}: no head 'cosin'; use linear or cosine$"):
        build(name, shape, 2, 1, head="cosin", **options)


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_a_cosine_head_begins_as_that_of_ldam_drw(shortcut):
    """Rows uniform in a cube, divided by their length: a longer row would turn more slowly."""
    rows = build("resnet32", COLOUR, 100, 0, head="cosine", shortcut=shortcut).head.weight.detach()
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(100))
    assert rows.abs().mean().item() == pytest.approx(math.sqrt(3 / 64) / 2, rel=0.03)  # of a uniform, not of a normal
    assert not torch.equal(rows, build("resnet32", COLOUR, 100, 1, head="cosine", shortcut=shortcut).head.weight)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch_norm", [None, "batch", "running"])
def test_passes_without_trace_change_no_buffer_and_use_the_statistics_asked_for(training, batch_norm):
    model = build("resnet20", COLOUR, 2, 0)
    model(torch.randn(8, *COLOUR))  # running statistics that are not those of the batch
    images, before = torch.randn(4, *COLOUR), {key: value.clone() for key, value in model.state_dict().items()}
    of_batch, of_running = (copy.deepcopy(model).train(mode)(images) for mode in (True, False))
    with without_trace(model, training, batch_norm):
        found = model(images)
    by_batch = training if batch_norm is None else batch_norm == "batch"
    torch.testing.assert_close(found, of_batch if by_batch else of_running)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_without_trace_restores_the_mode():
    model = build("resnet20", COLOUR, 2, 0).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with without_trace(model, training=True):
        model(torch.randn(4, *COLOUR))
    assert not model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_unknown_names_say_what_to_do():
    with pytest.raises(ConfigError, match="no model 'lenett'"):
        build("lenett", GREY, 2, 0)
    with pytest.raises(ConfigError, match="use projection or A"):
        build("resnet20", COLOUR, 2, 0, shortcut="B")
    with pytest.raises(ConfigError, match="use one of 18, 34"):
        build("resnet_cifar", COLOUR, 2, 0, depth=50)
    with pytest.raises(ConfigError, match="use one of 18, 34, 50"):
        build("torchvision_resnet", COLOUR, 2, 0, depth=20)
    with pytest.raises(ConfigError, match="no depth 30; use 6n \\+ 4"):
        build("wrn", COLOUR, 2, 0, depth=30, width=10)
    with pytest.raises(ConfigError, match="wrn: no width 0; use a number above 0"):
        build("wrn", COLOUR, 2, 0, depth=10, width=0)


@pytest.mark.parametrize("share", [-0.1, 1.0, math.nan])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("wrn", {"depth": 10, "width": 1}),
        ("resnet32", {}),
        ("lenet_dropout", {}),
        ("torchvision_resnet", {"depth": 18}),
    ],
)
def test_a_share_to_drop_that_cannot_be_is_refused(name, options, share):
    with pytest.raises(ConfigError, match=f"{name}: no dropout .*; use a share from 0 on and below 1"):
        build(name, GREY if name == "lenet_dropout" else COLOUR, 2, 0, dropout=share, **options)
