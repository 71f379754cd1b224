"""The bench measures what it says: the twins compute the same weights, blocks have the steps they claim."""

import pytest
import torch

from reweigh import bench
from reweigh.data import load
from reweigh.data.split import draw
from reweigh.methods import er
from reweigh.methods.base import Step
from reweigh.training.engine import Run


@pytest.fixture
def embedded(monkeypatch, raw_root):
    """Let the bench read the raw data of the tests."""
    read = load.read
    monkeypatch.setattr(bench.manifest, "ensure", lambda dataset: None)
    monkeypatch.setattr(bench.load, "read", lambda dataset, options: read(dataset, options, raw_root))


def test_forward_mode_and_double_backprop_give_the_same_weights_on_resnet20(raw_root):
    spec = bench.spec_of("quick/tdr/cifar10-4v9-resnet20/rho0.3/er")
    spec["model"]["options"] = {"width": 0.25}
    raw = load.read("cifar10-slice", root=raw_root)
    run = Run(spec, raw, draw(raw, spec["data"]["split"], 0), torch.device("cpu"))
    bench.advance(run, 3)
    step = Step(run.step, run.model, run.batches.batch(run.step))
    fast, slow = (method({"scale": "sum"}, run.method.setting) for method in (er.Method, bench.DoubleBackprop))
    fast.learn(step)
    slow.learn(step)
    assert fast.weights.sum().item() == pytest.approx(1)
    torch.testing.assert_close(fast.weights, slow.weights, rtol=1e-3, atol=1e-5)


def test_blocks_take_the_steps_they_claim_and_the_report_has_every_contender(embedded):
    group = "LeNet, B=50"
    cells = bench.CONTENDERS[group]
    lines = bench.measure(group, cells, 3, torch.device("cpu"), lambda text: None)
    assert [line.contender for line in lines] == list(cells)
    assert lines[0].ratio == 1 and all(line.low <= line.ratio <= line.high for line in lines)
    text = bench.report(lines, "a machine")
    assert "a machine" in text and all(contender in text for contender in cells)
    run = bench.prepare(cells["plain step"], "plain step", torch.device("cpu"))
    assert run.step == bench.BLOCK
    bench.advance(run, 7)
    assert run.step == bench.BLOCK + 7 and run.curves["epoch"] == []
