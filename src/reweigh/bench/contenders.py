"""The runs that the bench times: models at full size, without evaluation, practically endless. And its own methods.

ResNet-32 (shortcut A) trains on CIFAR-10 if that is fetched or in the mirror, else on the slice that comes with the
project; B = 128, crop and mirror image, normalised. LeNet trains on MNIST 4 against 9, B = 50. A fifth of either is
held out, for methods that learn from it.
"""

import functools
import importlib
import importlib.util
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import torch

from reweigh import plugins
from reweigh.bench.entries import entries, plain
from reweigh.data import load, manifest
from reweigh.data.arrays import Part, RawData, Split
from reweigh.data.batches import Batch
from reweigh.data.split import draw
from reweigh.hypergrad.lookahead import Parameters
from reweigh.hypergrad.weight_network import loss_weight_hypergradient
from reweigh.losses import cross_entropy
from reweigh.methods import base
from reweigh.training.engine import Run, eagerly

MOMENTS = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616]}
MODELS = {"resnet32": ("ResNet-32", 128), "lenet": ("LeNet", 50)}  # title, batch size
HELD_OUT = 10  # batches that AutoBalance's hypergradient takes of the validation part


@functools.cache
def cifar() -> str:
    """CIFAR-10 if its files are here or in the mirror, else the slice of it."""
    row = next(row for row in manifest.status() if row["dataset"] == "cifar10")
    return "cifar10" if row["where"] in ("raw", "mirror") else "cifar10-slice"


@functools.cache
def raw_data(dataset: str) -> RawData:
    """The raw data of a data set, fetched if need be."""
    manifest.ensure(dataset)
    return load.read(dataset)


def spec_of(model: str, uses: str = "", precision: str = "fp32", dataset: str = "", **training: Any) -> dict:
    """A spec of `model` ("resnet32", "lenet") under a method that has a bench entry on its card, or plain training.

    `training` says what else differs.
    """
    uses = uses or plain()
    assert uses in entries(), f"the card of {uses} has no bench entry"
    size = MODELS[model][1]
    splits = {
        "mnist": {"kind": "two-class", "classes": [4, 9], "total": 5000, "imbalance_ratio": 10.0, "target_size": 50},
        "cifar10": {"kind": "long-tail", "largest_class": 4900, "imbalance_ratio": 1.0, "target_size": 1000},
        "cifar10-slice": {"kind": "long-tail", "largest_class": 200, "imbalance_ratio": 10.0, "target_size": 50},
    }
    dataset = dataset or ("mnist" if model == "lenet" else cifar())
    images = dataset != "mnist"
    return {
        "seed": 0,
        "uses": uses,
        "method_options": dict(entries()[uses].options),
        "model": {"name": model, "options": {}},
        "data": {
            "dataset": dataset,
            "options": {},
            "scale_inputs": MOMENTS if images else "centred",
            "augment": "crop-flip" if images else "none",
            "split": splits[dataset] | {"validation_share": 0.2, "test": "all"},
        },
        "training": {
            "epochs": 10**6,
            "evaluate_every": 10**9,
            "batch_size": size,
            "target_batch_size": size if images else 10,
            "learning_rate": 0.01,
            "momentum": 0.9,
            "weight_decay": 0.0002,
            "nesterov": False,
            "gradient_clip": None,
            "drop_last": True,
            "schedule": {"name": "constant", "warmup_epochs": 0},
            "precision": precision,
            "threads": torch.get_num_threads(),
        }
        | training,
    }


@functools.cache
def split_of(dataset: str) -> Split:
    """The split that the bench's runs on a data set share."""
    model = "lenet" if dataset == "mnist" else "resnet32"
    return draw(raw_data(dataset), spec_of(model, dataset=dataset)["data"]["split"], 0)


def run_of(spec: dict[str, Any], device: torch.device, execute: Any = eagerly, steps: int = 0) -> Run:
    """A run of a spec of `spec_of`.

    Its epochs have so many `steps` at least, as a method may learn in the first step of each: a small set is repeated,
    and what is held out of it to `HELD_OUT` batches.
    """
    dataset, split = spec["data"]["dataset"], split_of(spec["data"]["dataset"])
    if steps:
        size = spec["training"]["batch_size"]
        train, held_out = _repeated(split.train, steps * size), _repeated(split.validation, HELD_OUT * size)
        split = replace(split, train=train, validation=held_out)
    plugins.place(spec)
    return Run(spec, raw_data(dataset), split, device, execute)


def at_members(run: Run) -> Run:
    """The run at the first step of the stage that trains on members, if it has one: before that it trains plainly.

    Stages before it end where they begin: what they find is another thing, what it takes to use it is the same.
    """
    wanted = next((course.number for course in run.courses if course.stage.lists), 0)
    while run.stage < wanted:
        run._end_stage()
        run._enter()
    return run


def _repeated(part: Part, count: int) -> Part:
    """A part as often as it takes to have `count` examples."""
    times = -(-count // len(part))
    return Part(*(np.tile(values, times) for values in (part.index, part.label, part.group)))


def with_method(run: Run, method: type[base.Method]) -> Run:
    """The run with its method replaced by one of the bench's own."""
    run.method = method(run.method.options, run.method.context)
    return run


def plain_loop() -> ModuleType | None:
    """The module of the plain loop; None if torchvision, which it needs, is not installed."""
    if importlib.util.find_spec("torchvision") is None:
        return None
    return importlib.import_module("reweigh.bench.plain_loop")


def images_of(dataset: str) -> tuple[np.ndarray, np.ndarray]:
    """The training images of the bench's split as torchvision gives them, uint8 (N, 32, 32, 3), and labels (N,)."""
    train, images = split_of(dataset).train, raw_data(dataset).train_inputs
    assert isinstance(images, np.ndarray)
    return np.ascontiguousarray(images[train.index].transpose(0, 2, 3, 1)), train.label


class WeightNetwork(base.Method):
    """Weights from a small network on the losses, which learns from the target set every fifth step.

    Meta-Weight-Net (Shu et al., NeurIPS 2019): w = V(ℓ), V a perceptron 1–100–1 with a sigmoid at its end, ℓ detached;
    the virtual step takes the mean of w ℓ at the learning rate. Here V takes plain gradient steps: the bench needs the
    cost of the step, not its result.
    """

    EVERY, RATE = 5, 1e-3

    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        assert context.target is not None
        self.target = context.target
        generator = torch.Generator().manual_seed(context.seed)
        device = context.class_counts.device
        shapes = {"hidden": (100, 1), "hidden_bias": (100,), "out": (1, 100), "out_bias": (1,)}
        self.network = {
            name: torch.randn(shape, generator=generator).mul_(0.1).to(device) for name, shape in shapes.items()
        }

    def prepare(self, at: base.Position) -> str:
        if at.step % self.EVERY:
            return "inner"
        self.target.seek(at.step // self.EVERY)
        return "outer"

    def example_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        self.latest = super().example_losses(logits, batch)
        return self.latest

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        if step.program == "outer":
            self.learn_from_target(step)
        return weights_by(self.network, losses)

    def learn_from_target(self, step: base.Step) -> None:
        """A step of V: the look-ahead goes back through the training step's own pass."""
        target, own = self.target.current(), (self.latest, list(step.model.parameters()))
        at = base.parameters_of(step.model)
        gradient = loss_weight_hypergradient(
            losses=lambda at: self.losses_at(step, step.batch, at, training=True, name="train"),
            outer_loss=lambda at: self.losses_at(step, target, at, training=True, name="target").mean(),
            parameters=at,
            weights_of=weights_by,
            weight_parameters=self.network,
            step_size=self.context.learning_rate,
            own=own,
        )
        for name, value in self.network.items():
            value.sub_(gradient[name], alpha=self.RATE)


def weights_by(network: Parameters, losses: torch.Tensor) -> torch.Tensor:
    """The weights that a network gives to detached losses, over B. losses (B,) -> (B,)."""
    hidden = torch.relu(torch.nn.functional.linear(losses[:, None], network["hidden"], network["hidden_bias"]))
    return torch.sigmoid(torch.nn.functional.linear(hidden, network["out"], network["out_bias"]))[:, 0] / len(losses)


def parametric_losses(logits: torch.Tensor, labels: torch.Tensor, design: Parameters) -> torch.Tensor:
    """A loss with parameters of its own: cross-entropy of Δ ⊙ logits + ι (AutoBalance, NeurIPS 2021). -> (B,)."""
    return cross_entropy(logits * design["scale"] + design["shift"], labels)
