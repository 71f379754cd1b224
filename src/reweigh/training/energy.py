"""Energy of a run: what its GPU's energy counter counts while it is there, read through NVML.

The counter is that of the whole card, in millijoules since the driver was loaded, and moves every 20 to 100 ms
(NVIDIA Volta and later). It is read when a run begins, is saved or ends, never in a step. NVML comes with the driver;
where it is missing, or the card has no counter, the energy is None.
"""

import ctypes
import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch

LIBRARY = "libnvidia-ml.so.1"


@functools.cache
def library() -> Any | None:
    """The initialised NVML library; None if it is missing, or no driver answers."""
    try:
        nvml = ctypes.CDLL(LIBRARY)
        return nvml if nvml.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None


def driver_version(nvml: Any | None = None) -> str | None:
    """The version of the NVIDIA driver; None if there is none."""
    nvml = nvml or library()
    text = ctypes.create_string_buffer(96)
    if nvml is None or nvml.nvmlSystemGetDriverVersion(text, len(text)) != 0:
        return None
    return text.value.decode()


def joules_of(uuid: str, nvml: Any | None = None) -> Callable[[], float | None]:
    """A reader of the energy counter (joules) of the GPU with this UUID.

    CUDA and NVML number the GPUs of a machine differently, and CUDA_VISIBLE_DEVICES hides some; a UUID is the same in
    both. A part of a card (MIG) has a UUID of its own, and no counter.
    """
    nvml = nvml or library()
    handle, count = ctypes.c_void_p(), ctypes.c_ulonglong()
    name = f"GPU-{uuid.removeprefix('GPU-')}".encode()
    if nvml is None or nvml.nvmlDeviceGetHandleByUUID(name, ctypes.byref(handle)) != 0:
        return lambda: None

    def read() -> float | None:
        status = nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(count))
        return count.value / 1000 if status == 0 else None

    return read


class SharedCounter:
    """The energy counter of a card, its joules in equal shares for the runs that are on it.

    A share that left or was dropped counts no more. The counter is read when a run comes, goes, or asks. Each process
    has a counter of its own: where several share the card, each charges its runs with all of the energy.
    """

    def __init__(self, read: Callable[[], float | None]) -> None:
        self.read, self.last = read, read()
        self.shares: weakref.WeakSet[Share] = weakref.WeakSet()

    def join(self) -> "Share":
        """A share for a run that is on the card from now on."""
        self.update()
        share = Share(self)
        self.shares.add(share)
        return share

    def update(self) -> None:
        """Charge what was spent since the last reading; unknown, if there is no counter or it was reset."""
        now = self.read()
        known = now is not None and self.last is not None and now >= self.last
        spent = now - self.last if known else None  # type: ignore[operator]
        for share in self.shares:
            share.joules = None if spent is None or share.joules is None else share.joules + spent / len(self.shares)
        self.last = now


class Share:
    """What one run was charged since it came, in joules; None if that is unknown. To be called like a counter."""

    def __init__(self, counter: SharedCounter) -> None:
        self.counter = counter
        self.joules: float | None = 0.0

    def __call__(self) -> float | None:
        self.counter.update()
        return self.joules

    def leave(self) -> None:
        """The run is gone: what is spent from now on is not its."""
        self.counter.update()
        self.counter.shares.discard(self)


@functools.cache
def counter_of(uuid: str) -> SharedCounter:
    """The counter of the GPU with this UUID, which all runs of this process share."""
    return SharedCounter(joules_of(uuid))


class EnergyMeter:
    """The energy of a run on a GPU in joules, summed over the parts of a run that was stopped and resumed.

    `before` is the energy of the earlier parts, None if it is unknown; then the sum is unknown too. Runs that share the
    card share its energy.
    """

    def __init__(self, read: Callable[[], float | None], before: float | None = 0.0) -> None:
        self.read, self.before = read, before
        self.start = read()

    @classmethod
    def of(cls, device: torch.device, before: float | None = 0.0) -> "EnergyMeter":
        """The meter of a device; that of a CPU always returns None."""
        if device.type != "cuda":
            return cls(lambda: None, before)
        return cls(counter_of(str(torch.cuda.get_device_properties(device).uuid)).join(), before)

    def add(self, joules: float | None) -> None:
        """Add energy that was spent elsewhere, None if it is unknown."""
        self.before = None if self.before is None or joules is None else self.before + joules

    def joules(self) -> float | None:
        """The energy so far; None if there is no counter, or if it was reset meanwhile."""
        end = self.read()
        if self.before is None or self.start is None or end is None or end < self.start:
            return None
        return self.before + end - self.start

    def stop(self) -> None:
        """The run is over, or put off: other runs on the card bear what it spends from now on. May be called again."""
        if isinstance(self.read, Share):
            self.read.leave()
