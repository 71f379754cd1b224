"""A stand-in for CUDA graphs on the CPU; see `reweigh.checking.capture`."""

import functools

from reweigh.checking.capture import Recording, Replayed, observed, replay
from reweigh.optimisers import MomentumSGD
from reweigh.training import engine

__all__ = ["Recording", "Replayed", "observed", "replay", "use_optimiser_of_a_gpu"]


def use_optimiser_of_a_gpu(monkeypatch):
    """On a GPU the learning rate is a tensor, read by one fused kernel; have it so on a CPU, as a replay needs."""
    monkeypatch.setattr(engine, "MomentumSGD", functools.partial(MomentumSGD, captured=True))
