"""Runs for tests that need a GPU. They are said here in full: a bare GPU machine has no pydantic to read the config."""

import torch

from reweigh.bench.entries import entries
from reweigh.data.split import draw
from reweigh.training.engine import Run, eagerly

CELLS = {  # model -> its options, data set, augmentation
    "lenet": ({}, "mnist", "none"),
    "convnet": ({"width": 0.25}, "cifar10-slice", "crop-flip"),
    "resnet20": ({"width": 0.5}, "cifar10-slice", "crop-flip"),
}
SPLIT = {"kind": "two-class", "classes": [4, 9], "total": 120, "imbalance_ratio": 2.0, "target_size": 10}


def spec_of(model, method, seed=0, **training):
    options, dataset, augment = CELLS[model]
    said = {"outer_every": 3} if method == "tdr" else {}
    return {
        "spec_version": 1,
        "scale": "smoke",
        "paper": "tdr",
        "experiment": f"gpu-{model}",
        "setting": "rho0.5",
        "method": method,
        "seed": seed,
        "uses": method,
        "method_options": {**entries()[method].options, **said},
        "model": {"name": model, "options": dict(options)},
        "data": {
            "dataset": dataset,
            "options": {},
            "split": {**SPLIT, "test": "balanced", "test_size": 100},
            "scale_inputs": "centred",
            "augment": augment,
        },
        "training": {
            "epochs": 8,
            "batch_size": 20,
            "target_batch_size": 10,
            "learning_rate": 0.01,
            "momentum": 0.9,
            "weight_decay": 0.002,
            "nesterov": False,
            "gradient_clip": None,
            "drop_last": True,
            "schedule": {"name": "constant", "warmup_epochs": 0},
            "precision": "fp32",
            "threads": 1,
            "evaluate_every": 1,
            **training,
        },
    }


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


def fields(text):
    """The lines of a report as lists of their five fields, without remarks."""
    return [line.split(" | ") for line in text.splitlines() if not line.startswith("#")]
