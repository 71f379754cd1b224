"""A class threshold: the offset of the second logit, and the temperature, that held-out examples like best.

The decision threshold moved after training, the plainest of all ways to fair predictions (compare Hardt, Price and
Srebro, NeurIPS 2016, who move it for each group; this one is the same for all groups, as predictions know none). With
logits f of two classes, temperature T and offset b,

    z = (f_0/T, f_1/T + b),    prediction = argmax z

by errors   what is wanted of the errors, 0 or 1. Between two neighbouring values of f_0 − f_1 no prediction changes, so
            that all midpoints are tried, 1 below the first value and 1 above the last, and 0: an exact choice. T = 1.
by losses   what is wanted of the losses −log softmax(z)_y, at each T on a grid of b: `GRID` points from where all
            examples are of the first class, with `BEYOND` to spare, to where all are of the second, and 0; then
            `ROUNDS` times `FINER` points between the neighbours of the best one.

Of offsets that are equally good the one nearest to 0 is taken, and of temperatures the first.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

# What is wanted of a part, of one value an example: float64 (O, N) -> (O,). Lower is better.
Wanted = Callable[[torch.Tensor], torch.Tensor]

GRID, BEYOND, FINER, ROUNDS = 2001, 10.0, 101, 5
TIE = 1e-12  # of errors, whose sums are rounded, and of temperatures
AT_ONCE = 256  # offsets that are tried together, so that a large part does not fill the memory


class Threshold(NamedTuple):
    """Offset and temperature, as of `adjusted`, and the value that they reach; NaN where a logit was not finite."""

    offset: float
    temperature: float
    reached: float


def adjusted(logits: torch.Tensor, offset: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """z of logits (B, 2), float64, in which no offset is rounded away. Offset and temperature are scalars."""
    first, second = (logits.double() / temperature).unbind(1)
    return torch.stack((first, second + offset), 1)


def choose(
    logits: torch.Tensor, labels: torch.Tensor, wanted: Wanted, by: str, temperatures: Sequence[float] = (1.0,)
) -> Threshold:
    """The best threshold for examples of logits (N, 2) and labels int64 (N,), 0 or 1. `by` is errors or losses.

    Logits that are not finite have no best threshold: it is NaN then, for the engine to see.
    """
    if not bool(torch.isfinite(logits).all()):
        return Threshold(torch.nan, torch.nan, torch.nan)
    if by == "errors":
        offset, reached = by_errors(logits.double(), labels, wanted)
        return Threshold(offset, 1.0, reached)
    found = [
        Threshold(offset, temperature, reached)
        for temperature in temperatures
        for offset, reached in [by_losses(logits.double() / temperature, labels, wanted)]
    ]
    least = min(one.reached for one in found)
    return next(one for one in found if one.reached <= least + TIE)


def by_errors(logits: torch.Tensor, labels: torch.Tensor, wanted: Wanted) -> tuple[float, float]:
    """The best offset by the errors, and the value there. float64 logits (N, 2)."""
    flips = logits[:, 0] - logits[:, 1]  # an example is of the second class where the offset is larger
    distinct = flips.unique()
    between = (distinct[:-1] + distinct[1:]) / 2
    offsets = torch.cat((distinct[:1] - 1, between, distinct[-1:] + 1, distinct.new_zeros(1)))
    return _best(offsets, lambda some: ((some[:, None] > flips) != labels).double(), wanted, TIE)


def by_losses(logits: torch.Tensor, labels: torch.Tensor, wanted: Wanted) -> tuple[float, float]:
    """The best offset by the losses at temperature 1, and the value there. float64 logits (N, 2)."""
    margins, signs = logits[:, 1] - logits[:, 0], 2 * labels - 1

    def losses(offsets: torch.Tensor) -> torch.Tensor:
        return -F.logsigmoid(signs * (margins + offsets[:, None]))

    low, high = -float(margins.max()) - BEYOND, -float(margins.min()) + BEYOND
    grid = torch.linspace(low, high, GRID, dtype=margins.dtype, device=margins.device)
    best = _best(torch.cat((grid, grid.new_zeros(1))), losses, wanted)
    width = (high - low) / (GRID - 1)
    for _ in range(ROUNDS):
        near = torch.linspace(-width, width, FINER, dtype=margins.dtype, device=margins.device) + best[0]
        best = _best(torch.cat((near, near.new_tensor([best[0]]))), losses, wanted)
        width *= 2 / (FINER - 1)
    return best


def _best(
    offsets: torch.Tensor, values: Callable[[torch.Tensor], torch.Tensor], wanted: Wanted, tie: float = 0.0
) -> tuple[float, float]:
    """The best of some offsets (O,), and the value there: of those that are best to `tie`, the one nearest to 0.

    `values` maps some of the offsets (B,) to one value an example, (B, N).
    """
    reached = torch.cat([wanted(values(some)) for some in offsets.split(AT_ONCE)])
    tied = reached <= reached.min() + tie
    best = torch.where(tied, offsets.abs(), torch.inf).argmin()
    return float(offsets[best]), float(reached[best])
