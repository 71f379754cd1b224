"""Two runs that must be one: the first tensor in which they differ, by name."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from reweigh.training.engine import Run

TIMES = ("seconds", "train_seconds")  # what differs between equal runs


def tensors(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor, array and number in nested containers, by its place, on the host, in their order."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key not in TIMES:
                yield from tensors(one, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from tensors(one, f"{name}[{number}]")
    elif isinstance(value, torch.Tensor):
        yield name, value.detach().cpu()
    elif isinstance(value, np.ndarray):
        yield name, torch.from_numpy(np.ascontiguousarray(value))
    elif isinstance(value, bool | int | float):
        yield name, torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else torch.int64)


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are equal byte by byte: NaNs of the same bits are equal, 0 and -0 are not."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one, other = (value.contiguous().reshape(-1).view(torch.uint8) for value in (one, other))
    return torch.equal(one, other)


def difference(one: torch.Tensor, other: torch.Tensor) -> str:
    """How far apart two tensors are, for a line."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return f"{one.dtype} {tuple(one.shape)} against {other.dtype} {tuple(other.shape)}"
    apart = (one.double() - other.double()).abs()
    count = int((one != other).sum())
    return f"{count} of {one.numel()} values differ, by {apart.nan_to_num(float('inf')).max().item():.3g} at most"


def first_difference(one: Any, other: Any) -> str | None:
    """The first tensor of two nested containers that is not the same bits, and by how much; None if all are."""
    ours, theirs = list(tensors(one)), dict(tensors(other))
    for name, value in ours:
        if name not in theirs:
            return f"{name} is missing from the second"
        if not same_bits(value, theirs[name]):
            return f"{name}: {difference(value, theirs[name])}"
    names = {name for name, _ in ours}
    return next((f"{name} is missing from the first" for name in theirs if name not in names), None)


def first_distant(one: Any, other: Any, relative: float, absolute: float) -> str | None:
    """The first tensor that is not close: with a value further apart than `absolute` + `relative` times the value."""
    theirs = dict(tensors(other))
    for name, value in tensors(one):
        if value.is_floating_point() and not torch.allclose(value, theirs[name], rtol=relative, atol=absolute):
            return f"{name}: {difference(value, theirs[name])}"
    return None


def largest_distance(one: Any, other: Any) -> float:
    """The largest difference of any two values."""
    theirs = dict(tensors(other))
    pairs = [(value.double(), theirs[name].double()) for name, value in tensors(one) if value.numel()]
    return max(((a - b).abs().max().item() for a, b in pairs), default=0.0)


def outcome(run: Run) -> dict[str, Any]:
    """All that a run has come to: its state, the trace, and results if it is over."""
    return {"state": run.state(), "results": run.results() if run.over else {}}


def weights(run: Run) -> dict[str, Any]:
    """What a run has trained: the model, and what its method carries."""
    return {"model": run.model.state_dict(), "method": run.method.state()}
