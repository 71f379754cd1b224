"""CRUST, coresets against noisy labels (Mirzasoleiman, Cao, Leskovec, NeurIPS 2020): what a class's gradients cover.

    stage warm, `warm_epochs` epochs of plain training:   w_i = 1/B
    stage coreset; before each of its epochs, of the whole training set:
        g_i = ∇_h ℓ_i / B,   h what the head is shown of example i, in training mode
        in each class of n given labels, D_ij = ‖g_i − g_j‖:
            S = m examples, m = `share` n, that greedily maximise Σ_i max_{j ∈ S} (max D − D_ij)    facility location
            c_i = #{j : D_ij < `radius`}                                                           i itself counts
        steps on batches of the union of all S:   θ ← step along Σ_i w_i ∇ℓ_i(θ),   w_i = c_i / Σ_j c_j in the batch
        from its second epoch on the model is shown   λ x_i + (1 − λ) x_j,   one λ ~ Beta(`alpha`, `beta`) a batch,
            x_j a training image with the label of x_i, drawn anew, as often as not outside S; the label stays

The form of the authors' code (snap-stanford/crust at 6916a08): share 0.5, radius 2, Beta(1, 0.1), warm_epochs 5. The
gradients are those of a batch's mean loss, so that at B = 128 they are far shorter than 1, and a radius of 2 counts the
whole class: c_i is then n, and each example weighs in proportion to the size of its class. `radius_share` in the trace,
a row an epoch, is the mean of c_i/n over the coreset: 1 where this is so.

Facility location is lazy: gains only shrink, so an old one is a bound. Of equal gains the first example wins. It wants
D of a class at once, n² numbers: 5,000 examples have 100 MB in single precision, and twice that while they are found.
The search runs on the host, class by class: about a second for 5,000 examples, whatever the device.

Deviations: the pass for g_i leaves the running statistics alone, takes the examples in random order where the code
takes them as the file has them, and divides by the same B in a last, incomplete batch. m is rounded down, but a class
keeps an example. The net's momentum begins anew with the second stage. Its schedule is `second_schedule`, whose epochs
count from the start of that stage; null: that of the training block. So a rate that drops at epochs 80 and 100 of the
run is one that drops at 75 and 95 of the stage.
"""

import heapq
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import nn

from reweigh.data import augment
from reweigh.data.batches import Batch, DevicePart
from reweigh.errors import ConfigError
from reweigh.hypergrad.lookahead import gradient
from reweigh.losses import cross_entropy
from reweigh.methods import base
from reweigh.models.head_inputs import seen_by_head
from reweigh.models.layers import hold_dropout, without_trace
from reweigh.streams import rng, stream_seed


class Method(base.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        if not isinstance(context.train, DevicePart):
            raise ConfigError("crust: images that stay on disk cannot be mixed; take a data set that is kept in memory")
        self.whole = context.train
        labels, some = self.whole.labels, context.class_counts
        self.sizes = torch.bincount(labels, minlength=context.classes)
        self.by_class = labels.argsort(stable=True)  # rows, class after class
        self.starts = self.sizes.cumsum(0) - self.sizes
        # Until the first selection, which no step precedes: as many of each class as it will keep.
        self.rows = np.sort(np.concatenate([one[: kept(options["share"], len(one))] for one in self._classes()]))
        self.weights = torch.ones(len(labels), dtype=some.dtype, device=some.device)  # c_i, outside the coreset unused
        # What is drawn for each step: λ, the places of the partners in their classes, how they are augmented.
        self.mixed = some.new_zeros(())
        self.places = torch.zeros(context.batch_size, dtype=torch.float64, device=some.device)
        self.draws = torch.zeros(context.batch_size, 4, device=some.device) if self.whole.augmentation else None

    def stages(self, epochs: int) -> list[base.Stage]:
        warm, schedule = self.options["warm_epochs"], self.options["second_schedule"]
        own = {"schedule": schedule} if schedule else {}
        return [base.Stage("warm", warm), base.Stage("coreset", epochs - warm, part="members", training=own)]

    def members(self, stage: base.Stage) -> np.ndarray:
        return self.rows

    def begin(self, stage: base.Stage, model: nn.Module) -> None:
        if stage.name == "coreset":
            # Of the sizes from B on the first that leaves no example alone, which is no batch to normalise by.
            least, whole = self.context.batch_size, len(self.whole)
            size = next((size for size in range(least, whole + 1) if whole % size != 1), least)
            self.looked_at = self.whole.stream(size, self.context.seed, "gradient-batches", True, drop_last=False)

    # --- the coreset ----------------------------------------------------------------------------------------------

    def begin_epoch(self, at: base.Position, model: nn.Module) -> None:
        super().begin_epoch(at, model)
        if at.stage.name == "coreset":
            self._select(self.gradients(model, at.stage_epoch))

    def gradients(self, model: nn.Module, epoch: int) -> torch.Tensor:
        """∇_h ℓ_i / B of every training example, before epoch `epoch` of the stage. -> (N, F)."""
        found = None
        for number in range(epoch * self.looked_at.per_cycle, (epoch + 1) * self.looked_at.per_cycle):
            batch = self.looked_at.batch(number)
            hold_dropout(model, torch.tensor(stream_seed(self.context.seed, "crust dropout", number)), "gradients")
            with without_trace(model, training=True):
                with seen_by_head(model) as seen:
                    model(batch.inputs)
                slopes = head_gradients(model.head, seen[0], batch.labels)  # type: ignore[arg-type]
            if found is None:
                found = slopes.new_zeros(len(self.whole), slopes.shape[1])
            found[batch.rows] = slopes / self.context.batch_size
        assert found is not None
        return found

    def _select(self, gradients: torch.Tensor) -> None:
        chosen, shares = [], []
        for rows in self._classes():
            some = gradients[torch.from_numpy(rows).to(gradients.device)].double()
            distances = torch.cdist(some, some).float()
            near = (distances < self.options["radius"]).sum(1)
            self.weights[torch.from_numpy(rows).to(self.weights.device)] = near.to(self.weights)
            places = facility_location(distances.cpu().numpy(), kept(self.options["share"], len(rows)))
            chosen.append(rows[places])
            shares.append(near[torch.from_numpy(places).to(near.device)].double() / max(1, len(rows)))
        self.rows = np.sort(np.concatenate(chosen))
        self.log(radius_share=torch.cat(shares).mean())

    def _classes(self) -> list[np.ndarray]:
        """The rows of each class, in order."""
        return np.split(self.by_class.cpu().numpy(), self.starts.cpu().numpy()[1:])

    # --- the step -------------------------------------------------------------------------------------------------

    def prepare(self, at: base.Position) -> str:
        if at.stage.name != "coreset" or at.stage_epoch == 0:
            return at.stage.name
        generator = rng(self.context.seed, "crust", at.step)
        self.mixed.fill_(generator.beta(self.options["alpha"], self.options["beta"]))
        self.places.copy_(torch.from_numpy(generator.random(len(self.places))))
        if self.draws is not None and self.whole.augmentation:
            self.draws.copy_(augment.draw(self.whole.augmentation, len(self.draws), generator))
        return "mixed"

    def inputs(self, step: base.Step, batch: Batch) -> torch.Tensor:
        if step.program != "mixed":
            return batch.inputs
        return self.mixed * batch.inputs + (1 - self.mixed) * self._partners(batch).inputs

    def _partners(self, batch: Batch) -> Batch:
        """A training example of the same class for each example of a batch, any of them equally likely."""
        sizes, size = self.sizes[batch.labels], len(batch)
        places = torch.minimum((self.places[:size] * sizes).long(), sizes - 1)  # a product may round up
        rows = self.by_class[self.starts[batch.labels] + places]
        return self.whole.take(rows, None if self.draws is None else self.draws[:size])

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        if step.program == "warm":
            return torch.full_like(losses, 1 / len(losses))
        weights = self.weights[step.batch.rows].to(losses)
        return weights / weights.sum()

    def state(self) -> dict[str, Any]:
        return {**super().state(), "rows": self.rows, "weights": self.weights}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.rows = state["rows"].copy()
        self.weights.copy_(state["weights"])


def kept(share: float, size: int) -> int:
    """How many of a class of `size` examples are in the coreset, as the card says too: rounded down, but one."""
    return min(size, max(1, int(Fraction(str(share)) * size)))


def head_gradients(head: nn.Module, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The derivative of each example's cross-entropy by what the head is shown of it. (B, F), (B,) -> (B, F)."""
    return gradient(lambda at: cross_entropy(head(at["seen"]).float(), labels).sum(), {"seen": features})["seen"]


def facility_location(distances: np.ndarray, count: int) -> np.ndarray:
    """`count` of n points that greedily maximise Σ_i max_{j ∈ S} (max D − D_ij), in the order chosen, by lazy greedy.

    distances D (n, n), symmetric. -> int64 (count,).

    >>> facility_location(np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 8.0], [9.0, 8.0, 0.0]]), 2).tolist()
    [1, 2]
    """
    chosen: list[int] = []
    if not count:
        return np.array(chosen, np.int64)
    near = distances.max() - distances
    covered, gains = np.zeros_like(near[0]), np.empty_like(near[0])
    bounds = [(-float(gain), place) for place, gain in enumerate(near.sum(1))]  # the largest gain, the first place
    heapq.heapify(bounds)
    while len(chosen) < count:
        place = bounds[0][1]
        np.maximum(np.subtract(near[place], covered, out=gains), 0, out=gains)
        now = (-float(gains.sum()), place)
        heapq.heapreplace(bounds, now)
        if bounds[0] is now:  # it is what it was thought to be, or still the best of all bounds
            heapq.heappop(bounds)
            chosen.append(place)
            np.maximum(covered, near[place], out=covered)
    return np.array(chosen, np.int64)
