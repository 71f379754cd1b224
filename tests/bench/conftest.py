"""What the tests of the bench share: small models on the raw data of the tests."""

import pytest
import torch

from reweigh.bench import appendix_a, groups, pairs, penalised_steps, second_order
from reweigh.bench import contenders as make
from reweigh.bench.measure import Bench
from reweigh.data import load


@pytest.fixture
def small(monkeypatch, raw_root):
    """Let the bench read the raw data of the tests, and train small models."""
    torch.set_num_threads(1)
    full = make.spec_of

    def spec_of(model, *args, **kwargs):
        spec = full(model, *args, **kwargs)
        spec["model"]["options"] = {"width": 0.25} if model == "resnet32" else {}
        return spec

    make.split_of.cache_clear()
    monkeypatch.setattr(make, "raw_data", lambda dataset: load.read(dataset, root=raw_root))
    monkeypatch.setattr(make, "cifar", lambda: "cifar10-slice")
    monkeypatch.setattr(make, "spec_of", spec_of)
    monkeypatch.setattr(make, "MODELS", {"resnet32": ("ResNet-32", 8), "lenet": ("LeNet", 10)})
    for module in (appendix_a, groups, pairs, penalised_steps, second_order):
        monkeypatch.setattr(module, "all_cores", lambda: 1)
    monkeypatch.setattr(pairs, "SMALL", 4)
    yield Bench(torch.device("cpu"), 2, lambda text: None)
    make.split_of.cache_clear()
