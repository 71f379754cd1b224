"""Runs for tests that need a GPU."""

import copy

import torch

from reweigh.config import loading as config
from reweigh.data.split import draw
from reweigh.training.engine import Run, eagerly

CELLS = {
    "lenet": ("smoke/tdr/mnist-4v9/rho0.1", "mnist"),
    "convnet": ("quick/tdr/cifar10-4v9-convnet/rho0.3", "cifar10-slice"),
    "resnet20": ("quick/tdr/cifar10-4v9-resnet20/rho0.3", "cifar10-slice"),
}


def spec_of(model, method, seed=0, **training):
    spec = copy.deepcopy(config.resolve(f"{CELLS[model][0]}/tdr/seed{seed}"))
    paper = config.resolve(f"paper/tdr/mnist-4v9/rho0.1/{method}/seed0")
    spec.update(method=method, uses=paper["uses"], method_options=paper["method_options"])
    if method == "tdr":
        spec["method_options"]["outer_every"] = 3
    spec["training"].update({"epochs": 8, "batch_size": 20, **training})
    spec["data"]["split"].update(total=120, test_size=100, imbalance_ratio=2.0, target_size=10)
    return spec


def run_of(spec, raw, device, execute=eagerly):
    found = raw[spec["data"]["dataset"]]
    return Run(spec, found, draw(found, spec["data"]["split"], spec["seed"]), device, execute)


def bits(run):
    results = run.results()
    results.pop("seconds")
    results["curves"].pop("train_seconds")
    trace = {name: rows.tobytes() for name, rows in run.trace().items()}
    return results, {name: value.cpu().numpy().tobytes() for name, value in run.model.state_dict().items()}, trace


def on_a_stream(action):
    with torch.cuda.stream(torch.cuda.Stream()):
        found = action()
        torch.cuda.current_stream().synchronize()
    return found
