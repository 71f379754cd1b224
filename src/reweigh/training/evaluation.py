"""What a run measures: its held-out part, and what the spec asks for beside it.

Where the data set has groups of its own, such as the sexes of Adult, the held-out part is measured by group too,
whatever the weights are by.

Options of the training block: `evaluate_on` (the test set, or validation for runs that choose hyper-parameters),
`also_measure` (train, validation: metrics by class, of train also against the true labels where the given ones are
noisy), `keep_margins`, `keep_features`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from reweigh.data.batches import InputPart
from reweigh.data.groups import by_attribute
from reweigh.errors import ConfigError
from reweigh.evaluate import batch_size_on, confusion, metrics
from reweigh.streams import rng
from reweigh.training.stages import Parts

Predict = Callable[[torch.Tensor], torch.Tensor]  # inputs (B, ...) -> logits (B, C)
CURVES = ("test_accuracy", "minority_recall", "minority_precision")


class Evaluation:
    """What is measured of a model; `counts` is the last count (groups, labels, predictions) of the held-out part."""

    def __init__(self, parts: Parts, classes: int, groups: int) -> None:
        self.parts, self.classes, self.groups = parts, classes, groups
        training, split = parts.spec["training"], parts.spec["data"]["split"]
        self.two_class, self.group_is_label = split["kind"] == "two-class", not by_attribute(split)
        self.measured = training.get("evaluate_on") or "test"
        self.also: list[str] = training.get("also_measure") or []
        if "validation" in (self.measured, *self.also) and parts.validation is None:
            asks = "evaluate_on is" if self.measured == "validation" else "also_measure names"
            raise ConfigError(f"{asks} validation, but the split holds nothing out; give it a validation_share")
        held_out = parts.test if self.measured == "test" else parts.validation
        assert held_out is not None
        self.held_out: InputPart = held_out
        if self.measured in self.also:
            raise ConfigError(f"also_measure names {self.measured}, which evaluate_on measures already")
        self.by: torch.Tensor | None = None  # the own group of each held-out example, if weights are by class
        if self.group_is_label and (own := self._own_groups()) is not None:
            self.by = torch.from_numpy(own.astype(np.int64)).to(parts.device)
            self.groups, self.group_is_label = len(parts.raw.group_names), False
        self.counts: np.ndarray | None = None

    def _own_groups(self) -> np.ndarray | None:
        if self.measured == "test":
            return self.parts.groups_of(self.parts.split.test, train=False)
        return self.parts.groups_of(self.parts.split.validation)

    @property
    def unpredicted(self) -> int:
        """How many examples of the last count have no prediction, for a logit is not finite."""
        return 0 if self.counts is None else int(self.counts[:, :, self.classes :].sum())

    def row(self, predict: Predict) -> dict[str, Any]:
        """Measure the held-out part, and the values of the curves."""
        self.counts = confusion(predict, self.held_out, self.classes, self.groups, by=self.by)
        found = self.of(self.counts)
        row = {name: found[name] for name in CURVES}
        if self.also:
            row["test_balanced_accuracy"] = found["balanced_accuracy"]
        for name, more in self.beside(predict).items():
            row |= {f"{name}_accuracy": more["accuracy"], f"{name}_balanced_accuracy": more["balanced_accuracy"]}
        return row

    def names(self) -> list[str]:
        """The names of the curves."""
        more = ["test_balanced_accuracy"] if self.also else []
        return [*CURVES, *more, *(f"{name}{kind}" for name in self._beside() for kind in KINDS)]

    def of(self, counts: np.ndarray) -> dict[str, Any]:
        """The metrics of a count of the held-out part."""
        return metrics(counts, self.two_class, self.group_is_label)

    def metrics(self, best_accuracy: float | None) -> dict[str, Any]:
        """The metrics of the last count, and the best accuracy of the last stage's curve, if it has one."""
        empty = np.zeros((self.groups, self.classes, self.classes), np.int64)
        found = self.of(empty if self.counts is None else self.counts)
        return {
            **found,
            "best_epoch_test_accuracy": found["test_accuracy"] if best_accuracy is None else best_accuracy,
        }

    def named(self, value: Any) -> Any:
        """A value of the record whose keys name the part that was measured, where that is not the test set."""
        if isinstance(value, list):
            return [self.named(one) for one in value]
        if not isinstance(value, dict):
            return value
        return {name.replace("test", self.measured): self.named(one) for name, one in value.items()}

    def beside(self, predict: Predict) -> dict[str, dict[str, Any]]:
        """The metrics of the parts of `also_measure`, by name: train, train_clean (true labels), validation."""
        found = {}
        for part in self.also:
            inputs = self.parts.train if part == "train" else self.parts.validation
            assert inputs is not None
            predicted = predictions(predict, inputs)
            for name, labels in self._labels(part, inputs).items():
                table = np.zeros((self.classes, self.classes + 1), np.int64)
                np.add.at(table, (labels, predicted), 1)  # the last column: no prediction
                counts = metrics(table[None], self.two_class, True)
                found[name] = {
                    "accuracy": counts["test_accuracy"],
                    **{key: counts[key] for key in ("balanced_accuracy", "per_class_accuracy", "confusion")},
                    "size": len(labels),
                }
        return found

    def _beside(self) -> list[str]:
        names: list[str] = []
        for part in self.also:
            inputs = self.parts.train if part == "train" else self.parts.validation
            assert inputs is not None
            names += self._labels(part, inputs)
        return names

    def _labels(self, part: str, inputs: InputPart) -> dict[str, np.ndarray]:
        """The labels that a part is measured against: as given, and the true ones where they differ."""
        split = self.parts.split.train if part == "train" else self.parts.split.validation
        labels = {part: inputs.labels.cpu().numpy()}
        if (clean := self.parts.clean_labels(split)) is not None:
            labels[f"{part}_clean"] = clean
        return labels

    def arrays(self, model: nn.Module, predict: Predict) -> dict[str, np.ndarray]:
        """The arrays that the spec asks for, for the trace: margins of the held-out examples, features of some."""
        training = self.parts.spec["training"]
        kept = {}
        if training.get("keep_margins"):
            kept[f"{self.measured}_margins"] = margins(predict, self.held_out)
        if training.get("keep_features"):
            kept |= self._features(model, training["keep_features"])
        return kept

    def _features(self, model: nn.Module, wanted: int) -> dict[str, np.ndarray]:
        """What the head sees of `wanted` training and held-out examples: float16 (n, F), with labels."""
        kept, device = {}, self.parts.device
        in_bf16 = self.parts.spec["training"]["precision"] == "bf16"
        for name, part in (("train", self.parts.train), (self.measured, self.held_out)):
            rows = np.sort(rng(self.parts.spec["seed"], "features", name).permutation(len(part))[:wanted])
            batches = part.in_order(batch_size_on(device))
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=in_bf16):
                features = [model.features(batch.inputs).to(torch.float16) for batch in batches]  # type: ignore[operator]
            kept[f"{name}_features"] = torch.cat(features).cpu().numpy()[rows]
            kept[f"{name}_labels"] = part.labels.cpu().numpy()[rows]
        return kept


KINDS = ("_accuracy", "_balanced_accuracy")


def predictions(predict: Predict, part: InputPart) -> np.ndarray:
    """The predicted class of every example, int64 (N,); C, one past the last class, where a logit is not finite."""
    found = []
    with torch.no_grad():
        for batch in part.in_order(batch_size_on(part.labels.device)):
            logits = predict(batch.inputs)
            some = torch.isfinite(logits).all(1)
            found.append(torch.where(some, logits.argmax(1), logits.shape[1]))
    return torch.cat(found).cpu().numpy()


def margins(predict: Predict, part: InputPart) -> np.ndarray:
    """p_y − max_{j ≠ y} p_j of every example, p the softmax of its logits: float32 (N,), −1 … 1, NaN where p is."""
    found = []
    with torch.no_grad():
        for batch in part.in_order(batch_size_on(part.labels.device)):
            shares = predict(batch.inputs).float().softmax(1)
            true = shares.gather(1, batch.labels[:, None])[:, 0]
            others = shares.scatter(1, batch.labels[:, None], -torch.inf)
            found.append(true - others.amax(1))
    return torch.cat(found).float().cpu().numpy()


@contextmanager
def exact_head(model: nn.Module, device: torch.device) -> Iterator[None]:
    """In this context the last layer computes in fp32: logits in bf16 tie, and a tie goes to the first class."""
    head = model.head
    assert isinstance(head, nn.Module)
    plain = head.forward

    def forward(features: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, enabled=False):
            return plain(features.float())

    head.forward = forward
    try:
        yield
    finally:
        del head.forward
