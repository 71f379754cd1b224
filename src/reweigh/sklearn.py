"""A scikit-learn classifier of tables, trained with the papers' weights and losses.

    from reweigh.sklearn import ReweighClassifier

    model = ReweighClassifier(method="la", options={"tau": 1.0}, random_state=0).fit(X, y)
    model.predict_proba(X)

A linear model or a small perceptron, momentum SGD, a plain loop: all that differs is in `reweigh.torch`. It needs
scikit-learn: pip install "reweigh[sklearn]".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from reweigh.data.standardise import moments
from reweigh.errors import TrainingError
from reweigh.losses import cross_entropy
from reweigh.losses.cross_entropy import Loss as CrossEntropy
from reweigh.models.layers import CosineHead, default_
from reweigh.streams import rng, stream_seed
from reweigh.torch import (
    ABSGDWeights,
    ArgumentError,
    ExampleLoss,
    FocalLoss,
    LDAMLoss,
    LogitAdjustedLoss,
    TDRWeights,
    effective_number,
)
from reweigh.torch.alone import above, above_zero

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f'reweigh.sklearn needs scikit-learn: pip install "reweigh[sklearn]" ({missing})', name=missing.name
    ) from None

__all__ = ["OPTIONS", "ReweighClassifier"]

# The methods that apply to tables, with their options. A table has few steps, so that `tdr` learns in each of them;
# `target_share` is the share of the training examples that is held out as its balanced target set.
OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "class-balanced": {"beta": 0.999},
    "absgd": {"lam": 1.0, "gamma": 0.9, "alpha": 1.0},
    "ldam": {"max_margin": 0.5, "scale": 30.0},
    "focal": {"gamma": 2.0},
    "la": {"tau": 1.0},
    "tdr": {"every": 1, "outer_learning_rate": 1.0, "clip_max": 100.0, "normalisation": "class", "target_share": 0.2},
}


class ReweighClassifier(ClassifierMixin, BaseEstimator):
    """A linear model, or a perceptron with ReLU, that is trained with the weights or the loss of a method.

    "none"              mean cross-entropy
    "class-balanced"    cross-entropy by effective-number class weights (Cui et al. 2019)
    "absgd"             cross-entropy weighed by exp(ℓ/λ) (`ABSGDWeights`)
    "ldam"              margins by class size on a cosine head (`LDAMLoss`)
    "focal"             focal loss (`FocalLoss`)
    "la"                logit adjustment (`LogitAdjustedLoss`); probabilities are those of equally frequent classes
    "tdr"               a weight for each class or group, by a held-out balanced target set (`TDRWeights`)

    Parameters
    ----------
    method : one of the names above; `OPTIONS` has the options of each, with their defaults.
    hidden : sizes of the hidden layers; () is a linear model.
    epochs, batch_size, learning_rate, momentum, weight_decay : of the plain loop; torch's SGD.
    options : what differs from the method's default options.
    standardise : features get mean 0 and deviation 1 over the training examples.
    random_state : None, a seed or a RandomState; equal seeds give equal models.

    Attributes
    ----------
    classes_ : labels, sorted; model_ : the torch module; weights_ : the weight of each group after `fit`, of tdr alone.
    n_features_in_, feature_names_in_ : as in scikit-learn.
    """

    def __init__(
        self,
        method: str = "absgd",
        *,
        hidden: Sequence[int] = (),
        epochs: int = 50,
        batch_size: int = 128,
        learning_rate: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        options: Mapping[str, Any] | None = None,
        standardise: bool = True,
        random_state: Any = None,
    ) -> None:
        self.method = method
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.options = options
        self.standardise = standardise
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Any = None) -> "ReweighClassifier":
        """Train on X (n, features) and y (n,). `groups` (n,), of tdr alone: what shares a weight; else the classes.

        Raises ValueError (ArgumentError) for what cannot be trained, TrainingError for a model that diverged.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(y)
        options = self._checked()
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ArgumentError(f"y has one class, {self.classes_[0]!r}; a classifier needs two")
        if groups is not None and self.method != "tdr":
            raise ArgumentError(f"groups: {self.method} weighs classes or examples; method tdr takes groups")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._moments: Any = moments(X) if self.standardise else (0.0, 1.0)
        table = _table(self._scaled(X), labels, groups)
        train = table
        if self.method == "tdr":
            train, target = _divided(table, options.pop("target_share"), seed)
        self.model_ = self._new_model(X.shape[1], seed)
        counts = torch.bincount(train.labels, minlength=len(self.classes_))
        if self.method == "tdr":
            tdr = TDRWeights(
                torch.bincount(train.groups),
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                **options,
            )
            self._run(train, _towards(target, tdr, self.batch_size, seed), seed)
            self.weights_ = tdr.weights.numpy().copy()
        else:
            self._run(train, _objective(self.method, options, counts), seed)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, float64 (n, classes), in the order of `classes_`; rows sum to 1."""
        check_is_fitted(self, "model_")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        with torch.no_grad():
            logits = self.model_(torch.from_numpy(self._scaled(X))).double()
        return (self._sharpness() * logits).softmax(1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, of those in `classes_`. -> (n,)."""
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(1)]

    # --- parts --------------------------------------------------------------------------------------------------------

    def _checked(self) -> dict[str, Any]:
        """The method's options, complete; an ArgumentError for what cannot be."""
        if self.method not in OPTIONS:
            raise ArgumentError(f"method: {', '.join(OPTIONS)}, not {self.method!r}")
        known, said = OPTIONS[self.method], dict(self.options or {})
        if unknown := sorted(said.keys() - known):
            raise ArgumentError(f"options: {self.method} has no {unknown[0]!r}; it has: {', '.join(known) or 'none'}")
        for name in ("epochs", "batch_size"):
            above_zero(name, getattr(self, name))
        for size in self.hidden:
            above_zero("hidden", size)
        above("learning_rate", self.learning_rate, 0)
        if not 0 <= self.momentum < 1 or not 0 <= self.weight_decay < np.inf:
            raise ArgumentError(f"momentum in [0, 1), weight_decay from 0 on, not {self.momentum}, {self.weight_decay}")
        return {**known, **said}

    def _sharpness(self) -> float:
        """What logits are multiplied by before the softmax: those of a cosine head are in −1 … 1."""
        return float(self._checked()["scale"]) if self.method == "ldam" else 1.0

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        mean, factor = self._moments
        scaled: np.ndarray = ((X - mean) * factor).astype(np.float32)
        return scaled

    def _new_model(self, features: int, seed: int) -> nn.Sequential:
        """Layers with PyTorch's default initial weights, from a stream of their own."""
        generator = torch.Generator().manual_seed(stream_seed(seed, "init"))
        sizes = [features, *self.hidden]
        layers: list[nn.Module] = []
        for inner, outer in pairwise(sizes):
            layers += [nn.Linear(inner, outer), nn.ReLU()]
        head = CosineHead if self.method == "ldam" else nn.Linear
        layers.append(head(sizes[-1], len(self.classes_)))
        for layer in layers[::2]:
            default_(layer, generator)
        return nn.Sequential(*layers)

    def _run(self, train: "_Table", objective: "Objective", seed: int) -> None:
        """The plain loop: each epoch in an order of its own, the short last batch included."""
        optimiser = torch.optim.SGD(
            self.model_.parameters(), self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
        )
        for epoch in range(self.epochs):
            order = torch.from_numpy(rng(seed, "batches", epoch).permutation(len(train)))
            for rows in order.split(self.batch_size):
                optimiser.zero_grad()
                objective(self.model_, train.take(rows)).backward()
                optimiser.step()
        if not all(bool(value.isfinite().all()) for value in self.model_.parameters()):
            raise TrainingError(f"{self.method} diverged; lower learning_rate, or standardise the features")


@dataclass(frozen=True)
class _Table:
    """Rows as tensors: inputs float32 (n, features), labels and groups int64 (n,)."""

    inputs: torch.Tensor
    labels: torch.Tensor
    groups: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: torch.Tensor) -> "_Table":
        return _Table(self.inputs[rows], self.labels[rows], self.groups[rows])


Objective = Callable[[nn.Module, _Table], torch.Tensor]


def _table(inputs: np.ndarray, labels: np.ndarray, groups: Any) -> _Table:
    """All training examples. Groups are numbered by their sorted values; without any they are the labels."""
    numbers = labels if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if numbers.shape != labels.shape:
        raise ArgumentError(f"groups: one for each example, ({len(labels)},), not {numbers.shape}")
    return _Table(*(torch.from_numpy(np.ascontiguousarray(values)) for values in (inputs, labels, numbers)))


def _divided(table: _Table, share: float, seed: int) -> tuple[_Table, _Table]:
    """The rows to train on, and a target set with equally many of each group: `share` of all, at most half a group."""
    if not 0 < share < 1:
        raise ArgumentError(f"target_share: between 0 and 1, not {share!r}")
    counts = torch.bincount(table.groups)
    if (smallest := int(counts.min())) < 2:
        raise ArgumentError("tdr: a group or class has one example; it needs one to train on and one to aim at")
    each = min(max(1, int(share * len(table) / len(counts))), smallest // 2)
    order = torch.from_numpy(rng(seed, "target").permutation(len(table)))
    held_out = torch.cat([order[table.groups[order] == group][:each] for group in range(len(counts))])
    kept = torch.ones(len(table), dtype=torch.bool)
    kept[held_out] = False
    return table.take(kept), table.take(held_out)


def _objective(method: str, options: Mapping[str, Any], counts: torch.Tensor) -> Objective:
    """What a step minimises, by the method. counts (C,)."""
    if method == "absgd":
        weigh = ABSGDWeights(**options)

        def attentive(model: nn.Module, batch: _Table) -> torch.Tensor:
            losses = cross_entropy(model(batch.inputs), batch.labels)
            return (weigh(losses.detach()) * losses).sum()

        return attentive
    if method == "ldam":
        loss: ExampleLoss = LDAMLoss(counts, "mean", **options)
    elif method == "focal":
        loss = FocalLoss(reduction="mean", **options)
    elif method == "la":
        loss = LogitAdjustedLoss(counts, "mean", **options)
    else:
        weight = effective_number(counts.float(), options["beta"]) if method == "class-balanced" else None
        loss = ExampleLoss(CrossEntropy(counts.float(), 0), "mean", weight)
    return lambda model, batch: loss(model(batch.inputs), batch.labels)


def _towards(target: _Table, tdr: TDRWeights, batch_size: int, seed: int) -> Objective:
    """Cross-entropy by the weights that the target set teaches; each outer step sees a batch of it."""

    def objective(model: nn.Module, batch: _Table) -> torch.Tensor:
        rows = rng(seed, "target-batches", tdr.calls).permutation(len(target))[:batch_size]
        aim = target.take(torch.from_numpy(rows))
        tdr.update(model, (batch.inputs, batch.labels, batch.groups), (aim.inputs, aim.labels, aim.groups))
        losses = cross_entropy(model(batch.inputs), batch.labels)
        return (tdr(batch.groups) * losses).sum()

    return objective
