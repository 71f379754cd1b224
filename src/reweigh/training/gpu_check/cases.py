"""What the checks train: short runs of every net and method, on made-up data, so that no data set is needed.

`reweigh pack` writes a case file (`reweigh.planning.gpu_cases`): `{"nets": {name: spec}, "methods": [{"name", "uses",
"options", "layout"}], "code": [...]}`, where a spec is a resolved one of the project.
"""

import copy
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch

from reweigh.data.arrays import Part, RawData, Split
from reweigh.data.groups import by_attribute
from reweigh.errors import ConfigError
from reweigh.training.engine import Run, eagerly
from reweigh.training.gpu_check.checks import Context
from reweigh.training.gpu_check.folder import cases as load
from reweigh.training.graph import CapturedSteps

EPOCHS, FEW_EPOCHS = 8, 3  # of six steps, the last a short one; the second on a CPU
BATCH, SMALL_BATCH = 20, 10
LEARNING_RATE = 0.01  # at most
SHAPES = {
    "lenet": (1, 28, 28),
    "mlp": (104,),
    "linear": (512,),
    "mlp_head": (512,),
}  # of an input; that of the others is CIFAR's
SMALL: dict[str, dict[str, float]] = {  # options of a net on a CPU
    "convnet": {"width": 0.25},
    "resnet20": {"width": 0.25},
    "resnet32": {"width": 0.25},
    "wrn": {"depth": 10, "width": 0.25},
}
SLOW = ("convnet", "resnet20", "resnet_cifar", "sce_cnn")  # on a CPU, where they are left out
Execute = Callable[[Hashable, Callable[[], dict[str, torch.Tensor]]], dict[str, torch.Tensor]]


def nets(context: Context) -> list[str]:
    """The nets of the case file; on a CPU without the slow ones."""
    return [name for name in load(context.cases)["nets"] if not (context.small and name in SLOW)]


def methods(context: Context) -> list[dict[str, Any]]:
    """Every method with options that make its step do something else: `{"name", "uses", "options", "layout"}`.

    On a CPU every method once.
    """
    listed = load(context.cases)["methods"]
    return [case for case in listed if not context.small or case["name"] == case["uses"]]


def spec_of(context: Context, net: str, method: str, seed: int = 0, **training: Any) -> dict[str, Any]:
    """The spec of a short run of a net by a method, named as in the case file; `training` replaces keys."""
    case = next(case for case in methods(context) if case["name"] == method)
    spec = copy.deepcopy(load(context.cases)["nets"][net])
    spec.update(method=method, uses=case["uses"], method_options=copy.deepcopy(case["options"]), seed=seed)
    if context.small:
        spec["model"]["options"] = {**spec["model"]["options"], **SMALL.get(net, {})}
    epochs, batch = (FEW_EPOCHS, SMALL_BATCH) if context.small else (EPOCHS, BATCH)
    short = {"epochs": epochs, "evaluate_every": epochs, "batch_size": batch, "target_batch_size": 10}
    # At the rate of a long run some diverge within these few steps, and what diverged compares badly.
    short |= {"drop_last": False, "learning_rate": min(spec["training"]["learning_rate"], LEARNING_RATE)}
    if spec["data"]["split"]["kind"] == "two-class":
        spec["data"]["split"]["classes"] = [0, 1]  # those of made-up data
    spec["training"].update(short | {"layout": case["layout"]} | training)
    return spec


def made_up(spec: dict[str, Any], examples: int) -> tuple[RawData, Split]:
    """Data of the shape that a net takes, and a split of it: `examples` to train on, 20 each to guide and to test.

    The classes differ in their mean. One in three is of class 0, the others are as many as they can be.
    """
    classes, groups = _classes(spec)
    generator = np.random.default_rng(7)
    counts = {"train": examples + 40, "test": 20}
    shape = SHAPES.get(spec["model"]["name"], (3, 32, 32))
    means = generator.uniform(60, 190, (classes, *shape))
    arrays: dict[str, Any] = {}
    for part, count in counts.items():
        place = np.arange(count)
        labels = np.where(place % 3 == 0, 0, place % classes)
        noise = generator.normal(0, 40, (count, *shape))
        inputs = np.clip(means[labels] + noise, 0, 255)
        pixels = len(shape) == 3
        arrays[f"{part}_inputs"] = inputs.astype(np.uint8) if pixels else ((inputs - 125) / 60).astype(np.float32)
        arrays[f"{part}_labels"] = labels
        arrays[f"{part}_groups"] = place // 2 % groups if groups else None
    names = tuple(f"class {number}" for number in range(classes))
    group_names = tuple(f"group {number}" for number in range(groups))
    raw = RawData(**arrays, class_names=names, group_names=group_names, edition="made up")
    pieces = [np.arange(0, examples), np.arange(examples, examples + 20), np.arange(examples + 20, examples + 40)]
    train, target, validation = (_part(raw.train_labels, raw.train_groups, piece) for piece in pieces)
    test = _part(raw.test_labels, raw.test_groups, np.arange(counts["test"]))
    return raw, Split(train, target, validation, test, class_names=names, group_names=group_names or names)


def _classes(spec: dict[str, Any]) -> tuple[int, int]:
    """How many classes and groups a spec's task has; 0 groups where they are the classes."""
    split = spec["data"]["split"]
    return 2 if split["kind"] in ("groups", "two-class") else 10, 2 if by_attribute(split) else 0


def _part(labels: np.ndarray, groups: np.ndarray | None, rows: np.ndarray) -> Part:
    return Part(rows.astype(np.int32), labels[rows], (labels if groups is None else groups)[rows])


def run_of(
    spec: dict[str, Any],
    device: torch.device,
    execute: Execute = eagerly,
    examples: int | None = None,
    kind: type[Run] = Run,
) -> Run:
    """A run of that spec on made-up data that has taken no step; by default with epochs of five and a half batches."""
    if device.type == "cpu":
        torch.set_num_threads(spec["training"]["threads"])
    raw, split = made_up(spec, examples or spec["training"]["batch_size"] * 11 // 2)
    return kind(spec, raw, split, device, execute)


def device_of(context: Context) -> torch.device:
    """The device, set up as training sets it up. Raises ConfigError if torch sees no GPU where one is to be checked."""
    from reweigh.training.run import pick_device

    if context.device == "cpu":
        return torch.device("cpu")
    device = pick_device()
    if device.type != "cuda":
        raise ConfigError("torch sees no GPU here; check the rest on the processor with: --device cpu")
    return device


def executor(context: Context) -> Execute:
    """Captured steps on a GPU; on a CPU, which has no graphs, eager ones."""
    return eagerly if context.device == "cpu" else CapturedSteps()


def on_a_stream(device: torch.device, action: Callable[[], Any]) -> Any:
    """Call `action` on a stream of its own, where steps can be captured, and wait for the device."""
    if device.type == "cpu":
        return action()
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        result = action()
        stream.synchronize()
    return result


def first_of(context: Context, module: str) -> str:
    """The name of the first case of a method's module."""
    return next(case["name"] for case in methods(context) if case["uses"] == module)
