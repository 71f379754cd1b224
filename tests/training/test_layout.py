"""The order of images in memory, which a method may choose: from its card to the spec, the kernels and the batches."""

import copy
import dataclasses

import pytest
import torch
from support.mnist_runs import run_of, spec_of

from reweigh.config import cards
from reweigh.config.loading import load
from reweigh.config.names import RunName
from reweigh.config.resolve import spec_of as resolved
from reweigh.errors import ConfigError
from reweigh.models import build

RUN = RunName.parse("smoke/tdr/mnist-4v9/rho0.1/er/seed0")
FORMATS = {None: torch.channels_last, "channels-last": torch.channels_last, "nchw": torch.contiguous_format}


@pytest.fixture
def wanted(monkeypatch):
    """Let the card of example reweighting ask for plain NCHW order."""
    card = dataclasses.replace(cards.card_of("er"), layout=lambda options: "nchw")
    every = {**cards.methods(), "er": card}
    monkeypatch.setattr(cards, "methods", lambda: every)


def test_the_card_decides_and_the_default_is_not_in_the_spec(wanted):
    paper = load().papers["tdr"]
    assert resolved(paper, RUN, "here")["training"]["layout"] == "nchw"
    assert "layout" not in resolved(paper, RUN._replace(method="tdr"), "here")["training"]


def test_what_the_config_says_comes_before_the_card(wanted):
    paper = load().papers["tdr"]
    training = paper.methods["er"].training
    stated = {**paper.methods["er"].stated, "training": {"layout": "channels-last"}}
    method = paper.methods["er"].model_copy(update={"training": training, "stated": stated})
    paper = paper.model_copy(update={"methods": {**paper.methods, "er": method}})
    assert resolved(paper, RUN, "here")["training"]["layout"] == "channels-last"
    stated["training"] = {"layout": "nhwc"}
    with pytest.raises(ConfigError, match="layout"):
        resolved(paper, RUN, "here")


@pytest.mark.parametrize("layout", FORMATS)
def test_kernels_and_batches_lie_as_the_spec_says(layout, mnist):
    spec = spec_of("er", **({"layout": layout} if layout else {}))
    spec["data"]["split"]["total"] = 300
    run = run_of(spec, mnist)
    memory_format = FORMATS[layout]
    assert run.model.conv2.weight.is_contiguous(memory_format=memory_format)
    assert not run.model.conv2.weight.is_contiguous(memory_format=FORMATS["nchw" if layout != "nchw" else None])
    grey = run.course.batches.batch(0).inputs, run.method.context.target.batch(0).inputs
    assert all(images.is_contiguous(memory_format=memory_format) for images in grey)


def test_only_the_order_differs(mnist):
    ends = {}
    for layout in ("nchw", "channels-last"):
        spec = copy.deepcopy(spec_of("er", layout=layout))
        spec["data"]["split"]["total"] = 300
        run = run_of(spec, mnist)
        for _ in range(3):
            run.advance()
        ends[layout] = run.model.state_dict()
    for name, value in ends["nchw"].items():
        torch.testing.assert_close(value, ends["channels-last"][name], rtol=1e-4, atol=1e-5)


def test_a_model_has_the_same_weights_in_both_orders():
    plain, last = (build("resnet32", (3, 32, 32), 4, 0, layout, blocks=1) for layout in ("nchw", "channels-last"))
    assert all(torch.equal(value, last.state_dict()[name]) for name, value in plain.state_dict().items())
    kernel = plain.blocks[0].conv1.weight
    assert kernel.is_contiguous() and not last.blocks[0].conv1.weight.is_contiguous()
