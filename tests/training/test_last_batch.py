"""A last batch of one under batch norm: refused before the first step also where the config cannot know of it."""

import copy

import pytest
import torch

from reweigh.config import loading as config
from reweigh.config.cards import PlannedStage
from reweigh.config.sizes import epoch_size
from reweigh.data import load
from reweigh.data.split import draw
from reweigh.errors import ConfigError
from reweigh.training.engine import Run

# With noise, what a share of each class comes to depends on the draw.
SPLIT = {
    "kind": "step",
    "largest_class": 8,
    "imbalance_ratio": 1.0,
    "target_size": 0,
    "target_inside": False,
    "validation_size": 0,
    "validation_share": 0.1,
    "order": "random",
    "noise": {"kind": "symmetric", "rate": 0.4},
    "test": "all",
    "test_size": 40,
}


def run_of(raw, split, model="resnet20", **training):
    spec = copy.deepcopy(config.resolve("smoke/tdr/cifar10-4v9-resnet20/rho0.3/none/seed0"))
    spec["data"] |= {"dataset": "cifar100-slice", "options": {}, "split": SPLIT, "augment": "none"}
    spec["model"] = {"name": model, "options": {"width": 0.125}}
    spec["training"].update({"epochs": 1, "drop_last": False} | training)
    torch.set_num_threads(1)
    return Run(spec, raw, split, torch.device("cpu"))


def test_it_is_refused_where_only_the_draw_knows_the_sizes(raw_root):
    raw = load.read("cifar100-slice", {}, raw_root)
    split = draw(raw, SPLIT, 0)
    assert epoch_size({"dataset": "cifar100-slice", "options": {}, "split": SPLIT}, PlannedStage(1)) is None
    examples = len(split.train)
    for size in (examples - 1, 1):
        with pytest.raises(ConfigError, match="stage train: the last batch of an epoch has one example"):
            run_of(raw, split, batch_size=size)
    assert run_of(raw, split, batch_size=examples - 1, drop_last=True).courses[0].batches.last == examples - 1
    assert run_of(raw, split, batch_size=examples - 1, model="convnet").courses[0].batches.last == 1
    assert run_of(raw, split, batch_size=examples - 2).courses[0].batches.last == 2
