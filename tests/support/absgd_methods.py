"""The methods of ABSGD's paper with options: as runs on real MNIST, and as steps on a small float64 problem."""

import copy

import numpy as np
import torch
from torch import nn

from reweigh.data.arrays import Part
from reweigh.data.batches import Batch, BatchStream, DevicePart
from reweigh.methods import base
from support.mnist_runs import spec_of as tdr_spec
from support.positions import at

SGD = {"loss": None, "class_balance": None, "sampling": "uniform", "rate_factor": None}
ABSGD = {
    "lambda_": 2.0,
    "from_epoch": 0,
    "first_lambda": None,
    "gamma": 0.5,
    "alpha": 1.0,
    "uniform": False,
    "loss": None,
    "class_balance": None,
    "log_weights": False,
}
EG = {"lambda_": -0.5, "from_epoch": 0, "persistent": False, "loss": None, "class_balance": None}
ADAM = {"beta1": 0.9, "beta2": 0.999, "stability": 1e-8}
META = {
    "from_epoch": 0,
    "beta": 0.9999,
    "weight_rate": 0.01,
    "meta_learning_rate": 0.1,
    "meta_milestones": [2],
    "meta_factor": 0.01,
    "meta_loss": "cross_entropy",
    "target_augment": True,
    "loss": None,
}
FOCAL = {"name": "focal", "gamma": 1.0, "weight_leaks": True}
LDAM = {"name": "ldam", "max_margin": 0.5, "scale": 30.0}
SCE = {"name": "sce", "alpha": 0.1, "beta": 1.0}
GCE = {"name": "gce", "q": 0.7, "truncation": 0.5, "refresh_from": 1, "refresh_every": 2}
DEFERRED = {"beta": 0.9999, "from_epoch": 2}
NORMALISED = {**DEFERRED, "normalisation": "batch"}

# A variant each of everything that a step can do: what capture, resume and repetition are tested with.
METHODS = {
    "sgd_cbfocal": ("sgd", {**SGD, "loss": FOCAL, "class_balance": DEFERRED}),
    "sgd_cbldam": ("sgd", {**SGD, "loss": LDAM | {"scale": 2.0}, "class_balance": DEFERRED}),
    "sgd_resampled": ("sgd", {**SGD, "sampling": "effective-number", "rate_factor": {"factor": 2.0, "from_epoch": 2}}),
    "sgd_gce": ("sgd", {**SGD, "loss": GCE}),
    "absgd": ("absgd", ABSGD | {"log_weights": True}),
    "absgd_two_stage": (
        "absgd",
        ABSGD | {"from_epoch": 2, "loss": SCE, "lambda_": -0.5, "uniform": True, "alpha": 0.5},
    ),
    "absgd_two_lambdas": ("absgd", ABSGD | {"from_epoch": 1, "first_lambda": 10.0, "log_weights": True}),
    "absgd_cb": ("absgd", ABSGD | {"class_balance": NORMALISED, "loss": SCE | {"normalise_logits": True}}),
    "abadam": ("abadam", ABSGD | ADAM),
    "eg": ("eg", EG | {"from_epoch": 1}),
    "eg_persistent": ("eg", EG | {"from_epoch": 1, "persistent": True}),
    "meta": ("meta", META | {"from_epoch": 1}),
    "meta_focal": ("meta", META | {"loss": FOCAL, "meta_loss": "own"}),
}


def spec_of(name, options=None, **training):
    """The spec of a short run on MNIST 4 against 9: of a variant above, or of a method with these options."""
    uses, known = METHODS[name] if options is None else (name, options)
    spec = tdr_spec("none", **training)
    spec.update(method=name, uses=uses, method_options=copy.deepcopy(known))
    return spec


def part(examples, seed):
    """Three classes of 1/2, 1/3 and 1/6 of the examples, 4 features, float64."""
    rng = np.random.default_rng(seed)
    labels = np.array([0, 0, 0, 1, 1, 2])[np.arange(examples) % 6]
    inputs = rng.normal(size=(examples, 4)) + labels[:, None]
    return DevicePart(inputs, Part(np.arange(examples), labels, labels), "none", torch.device("cpu"))


class Problem:
    """60 training examples in batches of 12, a target set of 12; a float64 model with batch norm."""

    def __init__(self):
        torch.set_num_threads(1)
        self.train, target = part(60, 1), part(12, 2)
        counts = torch.tensor([30.0, 20.0, 10.0], dtype=torch.float64)
        self.context = base.RunContext(
            seed=0,
            classes=3,
            class_counts=counts,
            group_counts=counts,
            batch_size=12,
            epochs=4,
            learning_rate=0.05,
            weight_decay=0.002,
            target=BatchStream(target, 12, 0, "target-batches", augmented=False),
            fresh=BatchStream(self.train, 12, 0, "fresh-batches", augmented=False),
            train=self.train,
            validation=None,
        )
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)).double()
        self.batches = BatchStream(self.train, 12, 0, "batches", augmented=False)

    def step(self, number, method):
        """Step `number` as the engine would give it to the method, which has heard of it."""
        return base.Step(torch.tensor(number), method.prepare(at(number)), self.model, self.batches.batch(number), None)


def batch_of(labels, rows=None):
    """A batch of which only the labels, and the rows, count."""
    labels = torch.as_tensor(labels)
    return Batch(torch.zeros(len(labels), 1), labels, labels, torch.arange(len(labels)) if rows is None else rows)
