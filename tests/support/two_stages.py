"""Small two-stage runs on real pictures, for the tests of second stages and of what shares stage one."""

import copy
import io

import torch

from reweigh.config import loading as config
from reweigh.data.split import draw
from reweigh.training import sealed
from reweigh.training.engine import Run

CPU = torch.device("cpu")
EPOCHS, CLASSES = 2, 10
METHODS = ("joint", "ncm", "crt", "lws", "tau_norm", "absgd_head")
THAT_TRAIN = ("crt", "lws", "absgd_head")
SECOND = {
    "epochs": 2,
    "sampling": "class-aware",
    "batch_size": 32,
    "learning_rate": 0.2,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "nesterov": False,
    "schedule": {"name": "cosine", "warmup_epochs": 0},
}
OPTIONS = {
    "crt": {"second_stage": SECOND},
    "lws": {"second_stage": SECOND},
    "tau_norm": {"tau_max": 2.0, "tau_step": 0.1},
    "absgd_head": {
        "second_stage": {**SECOND, "sampling": "uniform"},
        "lambda_": 2.0,
        "gamma": 0.5,
        "alpha": 1.0,
        "uniform": False,
    },
}


def spec_of(method, seed=0, **training):
    """A long tail over ten classes of the CIFAR-10 slice, 60 to 6 of each, 50 to validate, and a narrow SCE CNN."""
    spec = copy.deepcopy(config.resolve("quick/tdr/cifar10-4v9-resnet20/rho0.3/none/seed0"))
    spec.update(paper="absgd", experiment="two-stage", setting="small", method=method, uses=method, seed=seed)
    spec["method_options"] = {"stage_one": {"sampling": "uniform"}, **copy.deepcopy(OPTIONS.get(method, {}))}
    spec["model"] = {"name": "sce_cnn", "options": {"width": 0.125}}
    split = {"kind": "long-tail", "largest_class": 60, "imbalance_ratio": 10.0, "validation_size": 50}
    kept = {key: spec["data"]["split"][key] for key in ("target_inside", "order", "test")}
    spec["data"].update(split={**kept, **split, "target_size": 0, "test_size": 200}, augment="none")
    usual = {"epochs": EPOCHS, "batch_size": 50, "learning_rate": 0.05, "evaluate_every": 1, "drop_last": False}
    spec["training"].update({**usual, **training})
    return spec


def run_of(spec, raw):
    """A run that has taken no step."""
    torch.set_num_threads(spec["training"]["threads"])
    return Run(spec, raw, draw(raw, spec["data"]["split"], spec["seed"]), CPU)


def finished(spec, raw, tick=None):
    run = run_of(spec, raw)
    run.finish(tick)
    return run


def reloaded(state):
    """A state as it comes back from a file."""
    saved = io.BytesIO()
    torch.save(state, saved)
    saved.seek(0)
    return sealed.load(saved)
