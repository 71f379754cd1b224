"""What the device side of a step counts, so that nobody has to wait for it: sums over an epoch, and the first fault."""

from typing import Any

import torch

FAULTS = {1: "a loss or weight was not finite", 2: "all weights were 0", 3: "predictions were not finite"}
NOT_FINITE, ALL_ZERO, UNPREDICTED = FAULTS


class Tally:
    """Sums of mean losses and total weights since the epoch began; the first step with a fault, and which it was."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)
        self.first = torch.full((2,), -1, dtype=torch.int64, device=device)  # step, one of FAULTS; -1 if there is none

    def add(
        self,
        number: torch.Tensor,
        losses: torch.Tensor,
        weights: torch.Tensor,
        total_weight: torch.Tensor,
        loss: torch.Tensor,
        may_rest: bool,
    ) -> None:
        """Count a step, on the device: its number (scalar), the losses and weights (B,), what it minimised (scalar).

        The weights are those that count, with class weights; `may_rest` says that all of them may be 0.
        """
        self.sums += torch.stack((losses.mean(), total_weight))
        fault = (~torch.isfinite(loss + total_weight + losses.sum())).long()
        if not may_rest:
            fault = torch.where(weights.any() | (fault > 0), fault, ALL_ZERO)
        new = (self.first[0] < 0) & (fault > 0)
        self.first.copy_(torch.where(new, torch.stack((number, fault)), self.first))

    def end_epoch(self, steps: int) -> tuple[float, float]:
        """The mean loss and the mean total weight of the epoch's steps; the next begins at 0."""
        mean_loss, mean_weight = (self.sums / steps).tolist()
        self.sums.zero_()
        return mean_loss, mean_weight

    def fault(self) -> tuple[int, int] | None:
        """The first step with a fault, and which; None if there is none."""
        step, kind = self.first.tolist()
        return None if step < 0 else (step, kind)

    def state(self) -> dict[str, Any]:
        """What it counted, for a checkpoint."""
        return {"sums": self.sums, "first": self.first}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`, in place."""
        self.sums.copy_(state["sums"])
        self.first.copy_(state["first"])
