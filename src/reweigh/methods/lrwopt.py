"""LRWOpt (Jain, Suggala, Shenoy, CVPR 2024, Algorithm 1): reweighting against a validation set that a splitter chooses.

θ is the classifier, φ the meta-network (`meta_network`), Θ the splitter (`splitter`); N the size of the pool.

    stage warm, `warm_epochs` epochs on the first split:  θ ← step along (1/B) Σ_i ∇ℓ_i(θ)
    stage joint; before each epoch, GenerateSplit:   V ← the M = δ N rows of the pool with the smallest Θ,  T ← the rest
        θ ← step along Σ_i w̃_i ∇ℓ_i(θ),   i ∈ T                                           line 11
        each `outer_every` steps, on a batch of V:
            Θ ← step along ∇_Θ L_Θ                                                       line 7
            φ ← step along (d/dφ) L_V(θ'(φ)),   θ'(φ) = θ − α Σ_i w̃_i(φ) ∇ℓ_i(θ)          line 8, as its references

| option       |                                                                                                     |
|--------------|-----------------------------------------------------------------------------------------------------|
| delta        | δ, the share of the pool that is validation                                                         |
| threshold    | of Θ, below which an example may be validation: 0.5; 0.2 in variant 2                               |
| fill         | whether V always has M rows, those with the smallest Θ; else only those below the threshold, but    |
|              | no fewer than `fewest` N                                                                            |
| adversary    | of line 7's −ℓ, which has no gradient as printed: "none"; "soft_val": − Σ_V (1 − Θ) ℓ / Σ_V (1 − Θ) |
|              | in L_Θ; "lookahead": Θ as soft memberships, w̃_i Θ_i / Σ_j w̃_j Θ_j, and − (d/dΘ) L_V(θ'(Θ))          |
| outer        | "interleaved"; "grouped": all outer steps of an epoch at its end, but for the last (supplement A)   |

The splitter sees of an example what the classifier's head sees of it: by its option `features` "current", of the
classifier as it is, for which GenerateSplit looks at the whole pool; or "warm", as it was when the joint stage began,
found once. Features for Ω1 and Ω2, of `pool_batch` rows at a time, are of images without augmentation, as all that are
kept. With `features` "none" there is no splitter: each Θ is drawn, anew at each split, which is the control of what
the splitter's choice is worth.

The epochs count on: the schedule of the joint stage is that of the run, less the warm epochs; momentum begins anew
with it. As the paper does, T keeps its size, so no more is trained on than by others, but over the epochs other
examples too: `seen_share` is how many of the pool. N − M rows are trained on, where the first split may hold out a few
more, as it rounds up in each class; without `fill`, rows of the smallest M Θ that are not below the threshold are in
neither list. The paper's rule to stop (its line 14) mixes sums and means; here the budget is fixed, and `gap` is the
mean loss of V less that of T at the split. Left out: a term for the variance over five passes with dropout, which D.1
mentions and no formula has.

Traces, one row an epoch: the share of the pool below the threshold, the share of V that was not in the last V, how far
its labels are from the pool's; and, where the pool is looked at, `gap` and the share of V that the net gets wrong.
"""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import nn

from reweigh.data.batches import Batch
from reweigh.errors import ConfigError
from reweigh.hypergrad.lookahead import Parameters, gradient, weight_hypergradient
from reweigh.losses import cross_entropy
from reweigh.methods import base, meta_network, splitter
from reweigh.models.layers import dropout_layers, hold_dropout, without_trace
from reweigh.optimisers import MomentumSGD
from reweigh.streams import rng, stream_seed

CHUNK = 500  # examples that are looked at at once


class Method(base.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        if context.validation is None:
            raise ConfigError("the split holds nothing out; set validation_share, so that there is a first split")
        self.said = options["splitter"]
        self.pool = len(context.train) + len(context.validation)
        self.size = max(1, round(self.said["delta"] * self.pool))
        # T, V, and what was in T before, as rows of the pool; they live on the host, where batches are drawn. The first
        # split may hold out some more than M, by rounding in each class; both lists have the lengths of those to come.
        rows, trained = np.arange(self.pool), len(context.train)
        self.train_rows, self.validation_rows = rows[self.size :], np.resize(rows[trained:], self.size)
        self.seen = rows < trained
        self.meta = meta_network.MetaNetwork(options["network"], context, self.pool)
        self.splitter: Parameters = {}

    def stages(self, epochs: int) -> list[base.Stage]:
        warm = self.options["warm_epochs"]
        joint = {"schedule": self.options["joint_schedule"]} if self.options["joint_schedule"] else {}
        part = "members of train+validation"
        return [base.Stage("warm", warm), base.Stage("joint", epochs - warm, part=part, training=joint)]

    def members(self, stage: base.Stage) -> np.ndarray:
        return self.train_rows

    def begin(self, stage: base.Stage, model: nn.Module) -> None:
        self.joint = stage.name == "joint"
        if not self.joint:
            return
        whole, device = self.context.train, self.context.class_counts.device
        backbone = meta_network.headless(model)
        width = meta_network.features_of(backbone, whole).shape[1]
        self.meta.start(model, None, whole)
        self.splitter = splitter.start(width, self.context.classes, self.said["width"], self.context.seed, device)
        self.optimiser_of_splitter = MomentumSGD(
            self.splitter, self.said["rate"] or self.context.learning_rate, self.said["momentum"]
        )
        self.features = self._first_features(backbone, width)
        size, seed = self.options["outer_batch_size"], self.context.seed
        self.teacher = whole.stream(size, seed, "validation-batches", True, members=self.validation_rows)
        self.ahead = whole.stream(self.context.batch_size, seed, "look-ahead-batches", True, members=self.train_rows)
        self.some = torch.zeros(min(self.said["pool_batch"], self.pool), dtype=torch.int64, device=device)

    # --- GenerateSplit --------------------------------------------------------------------------------------------

    def begin_epoch(self, at: base.Position, model: nn.Module) -> None:
        super().begin_epoch(at, model)
        if not self.joint:
            return
        if self.options["outer"] == "grouped":
            every, before = self.options["outer_every"], max(0, at.stage_step - at.steps_per_epoch)
            for number in range(before // every, at.stage_step // every):
                self._grouped_step(number, at, model)
        self._generate_split(model, at.stage_epoch)

    def _generate_split(self, model: nn.Module, epoch: int) -> None:
        """Choose T and V anew by Θ, and log what changes. `epoch` counts from 0 in the stage."""
        said, before, classes = self.said, self.validation_rows, self.context.classes
        part = self.context.train
        looked = self._look(model) if said["features"] == "current" else None
        self.train_rows, self.validation_rows, below = splitter.divide(
            self._shares(epoch), said["delta"], said["threshold"], said["fill"], said["fewest"]
        )
        self._follow()
        held_out, labels = self.validation_rows, part.labels.cpu().numpy()
        self.seen[self.train_rows] = True
        counts = [np.bincount(one, minlength=classes) / len(one) for one in (labels, labels[held_out])]
        found = {
            "share_hard": below,
            "validation_new": 1 - np.isin(held_out, before).mean(),
            "split_distance": np.abs(counts[0] - counts[1]).sum() / 2,
            "seen_share": self.seen.mean(),
        }
        if looked:
            losses, wrong = looked
            found["validation_error"] = wrong[held_out].mean()
            found["gap"] = losses[held_out].mean() - losses[self.train_rows].mean()
        self.log(**{name: torch.tensor(value) for name, value in found.items()})

    def _shares(self, epoch: int) -> np.ndarray:
        """Θ of each row of the pool, (N,)."""
        if self.said["features"] == "none":
            return rng(self.context.seed, "drawn-split", epoch).random(self.pool)
        labels, classes = self.context.train.labels, self.context.classes
        return splitter.logits(self.splitter, self.features, labels, classes).sigmoid().cpu().numpy()

    def _follow(self) -> None:
        self.teacher.follow(self.validation_rows)
        self.ahead.follow(self.train_rows)

    def _look(self, model: nn.Module) -> tuple[np.ndarray, np.ndarray]:
        """What the classifier makes of the whole pool now: losses, and whether it errs, each (N,).

        What its head sees is kept in `features`.
        """
        found, start = [], 0
        for batch in self.context.train.in_order(CHUNK):
            logits, features = meta_network.judged(model, batch)
            self.features[start : start + len(batch)] = features
            found.append((cross_entropy(logits, batch.labels), logits.argmax(1) != batch.labels))
            start += len(batch)
        losses, wrong = (torch.cat(values).cpu().numpy() for values in zip(*found, strict=True))
        return losses, wrong

    def _first_features(self, backbone: nn.Module, width: int) -> torch.Tensor:
        """What the head sees of the pool (N, F), where it is kept from the beginning; else room for it."""
        if self.said["features"] != "warm":
            return torch.zeros(self.pool, width, device=self.context.class_counts.device)
        if self.meta.features is not None:
            return self.meta.features  # of the same net
        return meta_network.features_of_all(backbone, self.context.train)

    # --- outer steps ----------------------------------------------------------------------------------------------

    def prepare(self, at: base.Position) -> str:
        every, interleaved = self.options["outer_every"], self.options["outer"] == "interleaved"
        self.outer = self.joint and interleaved and (at.stage_step + 1) % every == 0
        if not self.outer:
            return "step"
        self._seek(at.stage_step // every, at)
        return "outer"

    def _seek(self, number: int, at: base.Position) -> None:
        """Before outer step `number` of the stage, on the host: its batches and rates."""
        self.teacher.seek(number)
        self.meta.prepare(at.learning_rate)
        self.optimiser_of_splitter.prepare(self.said["rate"] or at.learning_rate)
        order = rng(self.context.seed, "splitter", number).permutation(self.pool)
        self.some.copy_(torch.from_numpy(order[: len(self.some)]))

    def watch(self, model: nn.Module) -> AbstractContextManager[Any]:
        return self.meta.products.kept() if self.outer and self.meta.learns else super().watch(model)

    def learn(self, step: base.Step) -> None:
        if step.program == "outer" and self.said["features"] != "none":
            self._move_splitter(step, self.teacher.current())

    def objective(
        self, step: base.Step, logits: torch.Tensor, losses: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        if step.program != "outer" or not self.meta.learns:
            return super().objective(step, logits, losses, weights)
        batch = self.teacher.current()
        return self.meta.learn(self, step, losses, weights, lambda at: self._validation_loss(step, batch, at))

    def _grouped_step(self, number: int, at: base.Position, model: nn.Module) -> None:
        """An outer step between two epochs of θ, with a training batch of its own. On the host."""
        self._seek(number, at)
        seed = torch.tensor(stream_seed(self.context.seed, "dropout", "grouped", number))
        held = seed if dropout_layers(model) else None
        step = base.Step(torch.tensor(at.step), "outer", model, self.ahead.batch(number), held)
        self.learn(step)
        hold_dropout(model, held, "train")
        with torch.enable_grad(), without_trace(model, training=True), self.meta.products.kept():
            logits = model(step.batch.inputs).float()
            losses = self.example_losses(logits, step.batch)
        with torch.enable_grad():
            self.objective(step, logits, losses, self.example_weights(step, losses.detach()))

    def _validation_loss(self, step: base.Step, batch: Batch, at: Parameters) -> torch.Tensor:
        """L_V at other parameters. -> scalar."""
        return cross_entropy(self.logits_at(step, batch, at, True, "validation"), batch.labels).mean()

    def _move_splitter(self, step: base.Step, batch: Batch) -> None:
        """Θ ← step along ∇_Θ L_Θ."""
        logits, features = meta_network.judged(step.model, batch)
        if self.said["features"] == "warm":
            features = self.features[batch.rows]
        right = logits.argmax(1) == batch.labels
        examples = (features, batch.labels, right, cross_entropy(logits, batch.labels))
        some = (self.features[self.some], self.context.train.labels[self.some])
        slope = gradient(
            lambda theta: splitter.loss(theta, self.said, examples, some, self.context.classes), self.splitter
        )
        if self.said["adversary"] == "lookahead":
            against = self._membership_gradient(step, batch)
            scale = 1 + self.said["ratio"] + self.said["balance"]
            slope = {name: value - against[name] / scale for name, value in slope.items()}
        self.optimiser_of_splitter.step(splitter.clipped(slope, self.said["clip"]))

    def _membership_gradient(self, step: base.Step, batch: Batch) -> Parameters:
        """(d/dΘ) L_V(θ'), the look-ahead being on the step's batch with Θ_i as soft memberships of T."""
        kept = self.said["features"] == "warm"
        features = self.features[step.batch.rows] if kept else meta_network.judged(step.model, step.batch)[1]
        raw = self.meta.weights_now(step.batch)

        def weights_of(theta: Parameters) -> torch.Tensor:
            scores = splitter.logits(theta, features, step.batch.labels, self.context.classes)
            soft = raw * scores.sigmoid()
            return soft / soft.sum()

        return weight_hypergradient(
            lambda at: self.losses_at(step, step.batch, at, training=True, name="train"),
            lambda at, theta: self._validation_loss(step, batch, at),
            base.parameters_of(step.model),
            weights_of,
            self.splitter,
            self.meta.rate,
        )

    # --- the step -------------------------------------------------------------------------------------------------

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        return self.meta.weights_now(step.batch) if self.joint else torch.full_like(losses, 1 / len(losses))

    def state(self) -> dict[str, Any]:
        rows = {"train_rows": self.train_rows, "validation_rows": self.validation_rows, "seen": self.seen}
        learned: dict[str, Any] = {"splitter": self.splitter, "meta": self.meta.state()}
        if self.splitter:
            learned |= {"splitter_optimiser": self.optimiser_of_splitter.state(), "features": self.features}
        return {**super().state(), **rows, **learned}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        for name in ("train_rows", "validation_rows", "seen"):
            setattr(self, name, state[name].copy())
        if self.splitter:
            for name, value in self.splitter.items():
                value.copy_(state["splitter"][name])
            self.optimiser_of_splitter.load_state(state["splitter_optimiser"])
            self.features.copy_(state["features"])
            self.meta.load_state(state["meta"], self.context.train)
            self._follow()
