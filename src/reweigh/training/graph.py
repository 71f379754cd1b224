"""CUDA graphs of training steps: the kernels of a step are recorded once and launched as one.

Small nets leave a GPU idle while Python prepares the next kernel. A graph saves that time and changes no bit: it
launches the same kernels on the same addresses in the same order. So the device side of a step must read all that
changes between steps from tensors at fixed addresses, and must never wait for a value (see `engine`).
"""

import os
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch

from reweigh.training.causes import root_of

WARM_UP_STEPS = 3  # run eagerly before a capture, so that libraries choose kernels and optimisers make buffers


EAGER = "REWEIGH_EAGER"  # in the environment: methods and nets whose steps are not captured


class CapturedSteps:
    """An executor (see `engine.Run`): the first steps of a program run eagerly, the others as replays of its graph.

    A program that cannot be captured runs eagerly, and `report` says why. No step is taken twice. Use one for each run,
    on a stream of its own: CUDA captures nothing on the default stream.

    A capture that failed leaves torch's allocator in a state in which every later capture of the process fails too:
    `spoiled` is then true, and whoever wants graphs goes on in a fresh process (`reweigh.training.afresh`), where this
    program is among `eager`, the programs that are not to be captured, with the reason of each.
    """

    def __init__(self, eager: Mapping[str, str] | None = None) -> None:
        self.taken: Counter[Hashable] = Counter()
        self.graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, dict[str, torch.Tensor]]] = {}
        self.refused: dict[str, str] = {}
        self.eager = dict(eager or {})
        self.spoiled = False

    def __call__(
        self, program: Hashable, device_side: Callable[[], dict[str, torch.Tensor]]
    ) -> dict[str, torch.Tensor]:
        if program not in self.graphs:
            self.taken[program] += 1
            if self.taken[program] <= WARM_UP_STEPS or str(program) in {**self.refused, **self.eager}:
                return device_side()
            try:
                self.graphs[program] = self.capture(device_side)
            except RuntimeError as error:
                first = root_of(error)
                if isinstance(first, torch.OutOfMemoryError):
                    self.spoiled = first is not error  # else the capture itself ended well
                    raise first from None
                self.refused[str(program)] = reason_of(first)
                self.spoiled = True
                return device_side()  # nothing was executed by the capture
        graph, logged = self.graphs[program]
        graph.replay()
        return logged

    def capture(
        self, device_side: Callable[[], dict[str, torch.Tensor]]
    ) -> tuple[torch.cuda.CUDAGraph, dict[str, torch.Tensor]]:
        """The graph of a step, and the tensors into which each replay writes its log. Executes nothing."""
        graph = torch.cuda.CUDAGraph()
        pool = next((other.pool() for other, _ in self.graphs.values()), None)  # the graphs of a run never overlap
        with torch.cuda.graph(graph, pool=pool, stream=torch.cuda.current_stream()):
            logged = device_side()
        return graph, logged

    def report(self) -> dict[str, Any]:
        """The programs that were captured and those that were not, with the reason, for the record."""
        return {
            "captured": sorted({str(program) for program in self.graphs}),
            "eager": {**self.eager, **self.refused},
        }


def told_to_run_eagerly(spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the record says of a run whose method or net $REWEIGH_EAGER names (with commas between); None of others."""
    names = os.environ.get(EAGER, "").split(",")
    named = [name for name in (spec["uses"], spec["model"]["name"]) if name in names]
    return {"captured": [], "eager": {"all": f"{EAGER} names {', '.join(named)}"}} if named else None


def reason_of(error: BaseException) -> str:
    """The first line of an exception's message, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
