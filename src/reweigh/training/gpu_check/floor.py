"""The least time that a step can take: the bytes that it must move, at the bandwidth of a copy."""

import time
from typing import Any

import torch

from reweigh.training.engine import Run


def floor_bytes(run: Run) -> int:
    """The bytes that a plain step must move at least, if no cache keeps and no kernel fuses anything.

    The output of every convolution, norm and linear layer is written and read once on the way there, and read again on
    the way back, where its gradient is written and read: five times its size. Parameters: read both ways, gradient
    written and read, momentum and parameter read and written: eight times theirs.
    """
    moved = 0

    def count(_layer: Any, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal moved
        moved += 5 * output.numel() * output.element_size()

    kinds = (torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.Linear)
    handles = [layer.register_forward_hook(count) for layer in run.model.modules() if isinstance(layer, kinds)]
    inputs = run.course.batches.current().inputs
    run.model.eval()
    with torch.no_grad():
        run.model(inputs)
    run.model.train()
    for handle in handles:
        handle.remove()
    return moved + 8 * sum(value.numel() * value.element_size() for value in run.model.parameters())


def copy_bandwidth(device: torch.device, size: int, repeats: int = 20) -> float:
    """Bytes a second that a copy of `size` bytes on the device moves, counting what is read and what is written."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    sink = torch.empty_like(source)
    for _ in range(3):
        sink.copy_(source)
    synchronise(device)
    started = time.perf_counter()
    for _ in range(repeats):
        sink.copy_(source)
    synchronise(device)
    return 2 * size * repeats / (time.perf_counter() - started)


def synchronise(device: torch.device) -> None:
    """Wait until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
