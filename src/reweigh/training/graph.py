"""CUDA graphs of training steps: the kernels of a step are recorded once and launched as one.

Small nets leave a GPU idle while Python prepares the next kernel. A graph saves that time and changes no bit: it
launches the same kernels on the same addresses in the same order. So the device side of a step must read all that
changes between steps from tensors at fixed addresses, and must never wait for a value (see `engine`).
"""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import torch

WARM_UP_STEPS = 3  # run eagerly before a capture, so that libraries choose kernels and optimisers make buffers


class CapturedSteps:
    """An executor (see `engine.Run`): the first steps of a program run eagerly, the others as replays of its graph.

    A program that cannot be captured stays eager, and `report` says why. No step is taken twice. Use one for each run,
    on a stream of its own.
    """

    def __init__(self) -> None:
        self.taken: Counter[Hashable] = Counter()
        self.graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, dict[str, torch.Tensor]]] = {}
        self.refused: dict[Hashable, str] = {}

    def __call__(
        self, program: Hashable, device_side: Callable[[], dict[str, torch.Tensor]]
    ) -> dict[str, torch.Tensor]:
        if program not in self.graphs:
            self.taken[program] += 1
            if self.taken[program] <= WARM_UP_STEPS or program in self.refused:
                return device_side()
            try:
                self.graphs[program] = self.capture(device_side)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self.refused[program] = str(error).strip().splitlines()[0]
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
            "eager": {str(program): reason for program, reason in self.refused.items()},
        }
