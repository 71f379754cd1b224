"""What the device side of a step counts, so that nobody has to wait for it: a row a step, read after an epoch."""

import functools
import math
import operator
from typing import Any

import torch

FAULTS = {
    1: "a loss was not finite",
    2: "all weights were 0",
    3: "predictions were not finite",
    4: "a weight was not finite",
    5: "what it minimised was not finite, though each loss and weight was",
}
LOSS, ALL_ZERO, UNPREDICTED, WEIGHT, OBJECTIVE = FAULTS
NOT_FINITE = (LOSS, WEIGHT, OBJECTIVE)


class Tally:
    """Of each step of an epoch: mean loss, total weight, what it minimised, and how many weights are not 0."""

    def __init__(self, steps_per_epoch: int, device: torch.device) -> None:
        self.rows = torch.zeros(steps_per_epoch, 4, device=device)
        self.row = torch.zeros(1, dtype=torch.int64, device=device)  # that of the step

    def prepare(self, row: int) -> None:
        """Before a step, on the host: the number of its row."""
        self.row.fill_(row)

    def add(self, losses: torch.Tensor, weights: torch.Tensor, total: torch.Tensor, loss: torch.Tensor) -> None:
        """Count a step, on the device: losses and weights (B,), the total weight and what it minimised (scalars).

        The weights are those that count, with class weights.
        """
        found = torch.stack((losses.mean(), total, loss, torch.linalg.vector_norm(weights, 0)))
        self.rows.index_copy_(0, self.row, found.to(self.rows)[None])

    def epoch(self, steps: int, may_rest: bool) -> tuple[float, float, tuple[int, int] | None]:
        """The mean loss and mean total weight of an epoch's steps; the first with a fault, from 0, and which it was.

        `may_rest` says that all weights of a step may be 0, though not those of all steps.
        """
        rows = self.rows[:steps].tolist()
        losses, weights, *_ = zip(*rows, strict=True)
        # One by one: sum() rounds otherwise from Python 3.12 on.
        mean_loss, mean_weight = (functools.reduce(operator.add, values) / steps for values in (losses, weights))
        fault = next(((step, kind) for step, row in enumerate(rows) if (kind := self._fault(row, may_rest))), None)
        if may_rest and mean_weight == 0:
            fault = fault or (steps - 1, ALL_ZERO)
        return mean_loss, mean_weight, fault

    def before(self, step: int) -> str:
        """What is known of the step before one of an epoch's, for the cause of a fault; "" for the epoch's first."""
        return f"; the step before it had a mean loss of {self.rows[step - 1, 0].item():.3g}" if step else ""

    def _fault(self, row: list[float], may_rest: bool) -> int | None:
        """What went wrong first in a step, in the order in which it computes: losses, weights, objective."""
        for value, kind in zip(row, NOT_FINITE, strict=False):
            if not math.isfinite(value):
                return kind
        return ALL_ZERO if row[-1] == 0 and not may_rest else None

    def state(self) -> dict[str, Any]:
        """What it counted, for a checkpoint."""
        return {"rows": self.rows}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`, in place."""
        self.rows.copy_(state["rows"])
