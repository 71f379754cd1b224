"""A stand-in for CUDA graphs on the CPU: it records the operations of a step once, on their tensors, and replays them.

Replaying runs the same operations on the same storage, as a graph launches the same kernels on the same addresses. So
what Python decides while it records stays as it was, and whatever the device side of a step read from anywhere but its
tensors is wrong from the second step on. A step that asks for a value is refused, as CUDA refuses it.
"""

import functools
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from reweigh.optimisers import MomentumSGD
from reweigh.training import engine

WAITS = {"_local_scalar_dense", "nonzero", "item", "is_nonzero", "equal"}
HIDDEN_WAITS = ("tolist", "numpy", "__array__")  # on a CPU they read the memory without an operation


class Recording(TorchDispatchMode):
    """The operations that were executed below it, with their very arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __enter__(self) -> Any:
        self.hidden = {name: getattr(torch.Tensor, name) for name in HIDDEN_WAITS}
        for name in HIDDEN_WAITS:
            setattr(torch.Tensor, name, functools.partialmethod(waits, name))
        return super().__enter__()

    def __exit__(self, *error: Any) -> Any:
        for name, method in self.hidden.items():
            setattr(torch.Tensor, name, method)
        return super().__exit__(*error)

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name in WAITS:
            waits(None, name)
        results = function(*arguments, **(keywords or {}))
        self.operations.append((function, tree_map(same, arguments), tree_map(same, keywords or {}), results))
        return results


def waits(tensor: Any, name: str, *arguments: Any) -> None:
    """What a GPU says where a step asks a tensor for its value."""
    raise RuntimeError(f"{name} waits for a value: not permitted while a step is captured")


def same(value: Any) -> Any:
    """The tensor itself, under another name that no later in-place change of its metadata reaches."""
    return value.detach() if isinstance(value, torch.Tensor) else value


class Replayed:
    """An executor for `Run`: each program is taken once as it comes, recorded the second time, then replayed.

    Unlike a graph, which is captured without being executed, a recorded step has been taken.
    """

    def __init__(self) -> None:
        self.warm: set[Hashable] = set()
        self.programs: dict[Hashable, tuple[list[Any], Any]] = {}
        self.replays = 0

    def __call__(self, program: Hashable, device_side: Callable[[], Any]) -> Any:
        if program not in self.warm:
            self.warm.add(program)
            return observed(program, device_side)
        if program not in self.programs:
            with Recording() as recording:
                logged = device_side()
            self.programs[program] = recording.operations, logged
        else:
            operations, logged = self.programs[program]
            with torch.no_grad():
                for function, arguments, keywords, results in operations:
                    replay(function, arguments, keywords, results)
            self.replays += 1
        return logged


def observed(program: Hashable, device_side: Callable[[], Any]) -> Any:
    """An executor for `Run` that takes every step under a recording: what a replay is compared with.

    PyTorch composes some derivatives of other operations while it is watched, which can move a last bit.
    """
    with Recording():
        return device_side()


def replay(function: Any, arguments: Any, keywords: Any, results: Any) -> None:
    """Execute one operation again, its results written where they were written the first time."""
    found = function(*arguments, **keywords)
    for old, new in zip(tree_flatten(results)[0], tree_flatten(found)[0], strict=True):
        if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
            old.copy_(new)


@contextmanager
def optimiser_of_a_gpu() -> Iterator[None]:
    """On a GPU the learning rate is a tensor, read by one fused kernel; have it so on a CPU, as a replay needs."""
    usual = engine.MomentumSGD
    engine.MomentumSGD = functools.partial(MomentumSGD, captured=True)  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        engine.MomentumSGD = usual  # type: ignore[misc]
