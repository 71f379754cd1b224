"""Energy of a run: what the counter of its GPU says at the end less what it said at the start, asked of NVML.

The counter is that of the whole card, in millijoules since the driver was loaded, and moves every 20 to 100 ms
(NVIDIA Volta and later). It is read when a run begins, is saved or ends, never in a step. NVML comes with the driver
and is called as it lies there; where it is missing, or the card does not count, the energy is None.
"""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import torch

LIBRARY = "libnvidia-ml.so.1"


@functools.cache
def library() -> Any | None:
    """NVML, ready to be asked; None where there is none, or no driver that answers it."""
    try:
        nvml = ctypes.CDLL(LIBRARY)
        return nvml if nvml.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None


def driver_version(nvml: Any | None = None) -> str | None:
    """The version of the NVIDIA driver; None where there is none."""
    nvml = nvml or library()
    text = ctypes.create_string_buffer(96)
    if nvml is None or nvml.nvmlSystemGetDriverVersion(text, len(text)) != 0:
        return None
    return text.value.decode()


def joules_of(uuid: str, nvml: Any | None = None) -> Callable[[], float | None]:
    """A reader of the energy counter (joules) of the GPU with this UUID.

    CUDA and NVML number the GPUs of a machine differently, and CUDA_VISIBLE_DEVICES hides some: a UUID is the same in
    both. A part of a card (MIG) has a UUID that is no card's, and no counter.
    """
    nvml = nvml or library()
    handle, count = ctypes.c_void_p(), ctypes.c_ulonglong()
    name = f"GPU-{uuid.removeprefix('GPU-')}".encode()
    if nvml is None or nvml.nvmlDeviceGetHandleByUUID(name, ctypes.byref(handle)) != 0:
        return lambda: None

    def read() -> float | None:
        found = nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(count))
        return count.value / 1000 if found == 0 else None

    return read


class EnergyMeter:
    """Joules that a GPU took while a run was on it, over all parts of a run that was stopped and went on.

    `before` are the joules of the earlier parts, None if they are not known; then the sum is not known either.
    """

    def __init__(self, read: Callable[[], float | None], before: float | None = 0.0) -> None:
        self.read, self.before = read, before
        self.start = read()

    @classmethod
    def of(cls, device: torch.device, before: float | None = 0.0) -> "EnergyMeter":
        """The meter of a device; one that always says None for a CPU."""
        if device.type != "cuda":
            return cls(lambda: None, before)
        return cls(joules_of(str(torch.cuda.get_device_properties(device).uuid)), before)

    def add(self, joules: float | None) -> None:
        """Count what was taken elsewhere, None if that is not known."""
        self.before = None if self.before is None or joules is None else self.before + joules

    def joules(self) -> float | None:
        """The joules so far; None if there is no counter, or if it was set back in between."""
        end = self.read()
        if self.before is None or self.start is None or end is None or end < self.start:
            return None
        return self.before + end - self.start
