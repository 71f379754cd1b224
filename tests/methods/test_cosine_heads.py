"""Cosine heads in training: what looks the last layer up finds it, hypergradients go through it, LDAM learns on it."""

import copy

import numpy as np
import pytest
import torch
from support.mnist_runs import CPU
from support.two_stages import CLASSES, finished, run_of, spec_of

from reweigh.config import loading as config
from reweigh.data import load
from reweigh.data.arrays import RawData
from reweigh.data.split import draw
from reweigh.hypergrad import double_backprop, lookahead
from reweigh.losses import cross_entropy
from reweigh.methods import two_stage
from reweigh.models import build
from reweigh.models.layers import CosineHead
from reweigh.training.engine import Run


def cosine(method, seed=0):
    spec = spec_of(method, seed)
    spec["model"]["options"]["head"] = "cosine"
    return spec


@pytest.fixture(scope="module")
def raw(raw_root):
    return load.read("cifar10-slice", root=raw_root)


@pytest.fixture(scope="module")
def joint(raw):
    """A finished run of stage one, with a cosine head."""
    return finished(cosine("joint"), raw)


def directions(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_what_the_head_sees_is_what_it_turns_into_cosines(joint, raw):
    part = joint.parts.test
    features = two_stage.head_inputs(joint.model, part).double().numpy()
    joint.model.eval()
    with torch.no_grad():
        found = torch.cat([joint.model(batch.inputs) for batch in part.in_order(50)]).numpy()
    rows = joint.model.head.weight.detach().double().numpy()
    np.testing.assert_allclose(found, directions(features) @ directions(rows).T, atol=1e-5)
    assert not torch.equal(joint.model.head.weight, run_of(cosine("joint"), raw).model.head.weight)


@pytest.mark.parametrize("method", ["ncm", "crt", "lws", "absgd_head"])
def test_a_second_stage_changes_a_cosine_head_alone(method, joint, raw):
    run = finished(cosine(method), raw)
    before, after = joint.model.state_dict(), run.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items() if not name.startswith("head."))
    assert run.results()["status"] == "finished"
    assert any(not torch.equal(value, before.get(name, value * 0)) for name, value in after.items() if "head." in name)
    if method in ("crt", "absgd_head"):
        assert isinstance(run.model.head, CosineHead) and not torch.equal(
            run.model.head.weight, joint.model.head.weight
        )


def test_the_new_head_of_crt_begins_as_a_cosine_head_does(raw):
    run = run_of(cosine("crt"), raw)
    first = run.model.head.weight.clone()
    run.method.begin_second(run.model)
    torch.testing.assert_close(run.model.head.weight.norm(dim=1), torch.ones(CLASSES))
    assert not torch.equal(run.model.head.weight, first)


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_hypergradients_go_through_a_cosine_head(decay):
    model = build("mlp", (6,), 3, 0, head="cosine").double()
    random = torch.Generator().manual_seed(1)
    inputs, labels = torch.randn(8, 6, generator=random).double(), torch.arange(8) % 3
    others, wanted = torch.randn(5, 6, generator=random).double(), torch.arange(5) % 3
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def losses(at):
        return cross_entropy(10 * torch.func.functional_call(model, at, (inputs,)), labels)

    def outer(at):
        return cross_entropy(10 * torch.func.functional_call(model, at, (others,)), wanted).mean()

    weights = torch.rand(8, generator=random).double() / 8
    found = lookahead.example_hypergradient(losses, outer, parameters, weights, 0.1, decay)
    expected = double_backprop.example_hypergradient(losses, outer, parameters, weights, 0.1, decay)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert found.abs().max() > 1e-4


def minority_recall(head, **loss):
    """Of LDAM on an MLP, of 400 examples of which a twentieth are of the rare class, 0; the classes overlap."""
    rng = np.random.default_rng(0)
    found = {}
    for part, sizes in (("train", (20, 380)), ("test", (200, 200))):
        labels = np.repeat([0, 1], sizes)
        inputs = (rng.normal(size=(len(labels), 8)) + 1.5 * (labels == 0)[:, None] * np.eye(8)[0]).astype(np.float32)
        found |= {f"{part}_inputs": 10 * inputs, f"{part}_labels": labels}
    raw = RawData(**found, class_names=("rare", "common"))
    spec = copy.deepcopy(config.resolve("smoke/tdr/adult/sex/none/seed0"))
    options = {"loss": {"name": "ldam", "max_margin": 0.5, "scale": 30.0, **loss}}
    spec.update(
        uses="sgd", method_options={**options, "class_balance": None, "sampling": "uniform", "rate_factor": None}
    )
    spec["model"] = {"name": "mlp", "options": {"head": head}}
    spec["data"]["split"].update(kind="all", target_size=0, test="all")
    spec["training"].update(epochs=20, batch_size=40, learning_rate=0.1, momentum=0.9)
    run = Run(spec, raw, draw(raw, spec["data"]["split"], 0), CPU)
    run.finish()
    metrics = run.results()["metrics"]
    return None if metrics["per_class_accuracy"] is None else metrics["per_class_accuracy"][0]


def test_ldam_finds_the_rare_class_with_a_cosine_head_and_with_no_other():
    """Why its card asks for one. Normalised logits are from -1 to 1 too, and do not do."""
    assert minority_recall("linear") < 0.02 and minority_recall("linear", normalise_logits=True) < 0.02
    assert minority_recall("cosine") > 0.06
