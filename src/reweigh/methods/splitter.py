"""The splitter of LRWOpt: how likely an example is to be one that the net gets right, Θ(x, y) = P(z = 1 | x, y).

Jain, Suggala, Shenoy (CVPR 2024), §4.3 and supplement D.1; after "Learning to split" (Bao and Barzilay, 2022), "LS"
(public code: YujiaBao/ls at 04c0697). z = 1 is the training side, z = 0 the validation side; the paper says both, but
only so is its loss the right one.

    Θ(x, y) = σ(MLP([h(x); one-hot y])),   h what the head of the classifier sees, in evaluation mode and held
    L_split = CE(Θ(x, y), 1[y = argmax f_θ(x)])                              eq. (5), on a batch of the validation set
    Ω1 = KL((1 − δ, δ) ‖ (q̄, 1 − q̄)),   q̄ the mean of Θ                     or its reverse, as the paper seems to print
    Ω2 = KL(p(y) ‖ p(y | z = 1)) + KL(p(y) ‖ p(y | z = 0))                   p(y | z) with Θ, or 1 − Θ, as weights
    L_Θ = (L_split + a Ω1 + b Ω2 − c L_adv) / (1 + a + b)                    LS: a = b = 1;  clipped to a norm

Ω1 and Ω2 are of a batch of the whole pool; a class that it lacks adds nothing. Deviations from LS, whose net and data
are small: logs are kept from 0; `as_ls` halves Ω1 and divides Ω2 by the number of classes, as its reductions do. L_adv
stands for the paper's last term of line 7, −ℓ(y, f_θ(x)), a constant of Θ on a given batch: it has no gradient, so that
c is 0 but for the readings of `lrwopt`'s option `adversary`, where it is 1.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from reweigh.hypergrad.lookahead import Parameters
from reweigh.methods.meta_network import labels_in_full
from reweigh.streams import rng

TINY = 1e-6  # what logs are kept from


def start(features: int, classes: int, width: int, seed: int, device: torch.device) -> Parameters:
    """Θ at first: a layer of `width` rectified units, then one logit; uniform in ±1/√fan-in, as torch's own layers."""
    generator = rng(seed, "splitter")
    sizes = {"hidden": (width, features + classes), "out": (1, width)}
    found = {}
    for name, (rows, columns) in sizes.items():
        bound = columns**-0.5
        found[f"{name}.weight"] = torch.from_numpy(generator.uniform(-bound, bound, (rows, columns)))
        found[f"{name}.bias"] = torch.from_numpy(generator.uniform(-bound, bound, rows))
    return {name: value.to(device, torch.float32) for name, value in found.items()}


def logits(splitter: Parameters, features: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """The logit of Θ for each example. features (B, F), labels (B,) -> (B,)."""
    seen = torch.cat([features, labels_in_full(labels, classes).to(features.dtype)], 1)
    hidden = F.relu(F.linear(seen, splitter["hidden.weight"], splitter["hidden.bias"]))
    return F.linear(hidden, splitter["out.weight"], splitter["out.bias"])[:, 0]


def split_loss(scores: torch.Tensor, correct: torch.Tensor) -> torch.Tensor:
    """L_split: cross-entropy of Θ, given by its logits (B,), with whether the net is right (B,). -> scalar."""
    return F.binary_cross_entropy_with_logits(scores, correct.to(scores.dtype))


def ratio_loss(share: torch.Tensor, delta: float, kind: str) -> torch.Tensor:
    """Ω1: how far q̄, the mean of Θ, is from 1 − δ; `kind` "target_current" is KL(target ‖ current), else reversed."""
    current = torch.stack([share, 1 - share])
    target = torch.tensor([1 - delta, delta], dtype=share.dtype, device=share.device)
    return _divergence(target, current) if kind == "target_current" else _divergence(current, target)


def balance_loss(shares: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Ω2: how far the labels of each side are from those of all. Θ (B,), labels (B,) -> scalar."""
    belongs = labels_in_full(labels, classes).to(shares.dtype)
    everywhere = belongs.mean(0)
    sides = torch.stack([shares, 1 - shares])
    within = sides @ belongs / sides.sum(1, keepdim=True).clamp(min=TINY)
    return _divergence(everywhere, within[0]) + _divergence(everywhere, within[1])


def _divergence(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """KL(first ‖ second) of two distributions (K,); 0 · log 0 is 0. -> scalar."""
    return (first * (first.clamp(min=TINY).log() - second.clamp(min=TINY).log())).sum()


def loss(
    splitter: Parameters,
    options: Mapping[str, Any],
    batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
    pool: tuple[torch.Tensor, torch.Tensor],
    classes: int,
) -> torch.Tensor:
    """L_Θ without its adversarial term, but for that of `adversary` "soft_val" (see `lrwopt`).

    `batch` is of the validation set: features (V, F), labels (V,), whether the net is right (V,), its losses (V,);
    `pool` of the whole pool: features (R, F), labels (R,). -> scalar.
    """
    features, labels, correct, losses = batch
    scores = logits(splitter, features, labels, classes)
    total = split_loss(scores, correct)
    if options["adversary"] == "soft_val":
        aside = 1 - scores.sigmoid()
        total = total - (aside @ losses) / aside.sum().clamp(min=TINY)
    ratio, balance = options["ratio"], options["balance"]
    if ratio or balance:
        shares = logits(splitter, *pool, classes).sigmoid()
        reduced = (2, classes) if options["as_ls"] else (1, 1)
        total = total + ratio * ratio_loss(shares.mean(), options["delta"], options["ratio_kl"]) / reduced[0]
        total = total + balance * balance_loss(shares, pool[1], classes) / reduced[1]
    return total / (1 + ratio + balance)


def clipped(gradient: Parameters, limit: float) -> Parameters:
    """A gradient no longer than `limit`, its direction kept; as `torch.nn.utils.clip_grad_norm_`, without a copy."""
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(value) for value in gradient.values()]))
    factor = (limit / (norm + TINY)).clamp(max=1)
    return {name: value * factor for name, value in gradient.items()}


def divide(
    shares: np.ndarray, delta: float, threshold: float, fill: bool, fewest: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """A new split of the pool by Θ (N,): training rows, validation rows, and the share of Θ below the threshold.

    Validation takes the smallest Θ: those below the threshold, at most δ N of them, and with `fill` just as many;
    without it at least `fewest` N. Both lists always have the same length: N − M rows to train on, and M = δ N to
    validate on, in which fewer are repeated. In ascending order; of equal Θ the first rows go to validation.
    """
    pool, size = len(shares), max(1, round(delta * len(shares)))
    order = np.argsort(shares, kind="stable")
    below = int((shares < threshold).sum())
    taken = size if fill else min(size, max(below, 1, round(fewest * pool)))
    return np.sort(order[size:]), np.resize(np.sort(order[:taken]), size), below / pool
