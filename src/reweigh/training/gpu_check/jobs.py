"""A run as `reweigh.training.interleave` wants it, that is never saved and shares nothing with others."""

from typing import Any

from reweigh.training.engine import Run
from reweigh.training.gpu_check import compare


class UnsavedJob:
    """A job (see `reweigh.training.run.Job`) whose record is its outcome, on the host."""

    def __init__(self, run: Run) -> None:
        self.spec, self.run, self.keeper = run.spec, run, _Keeper()

    def ready(self) -> bool:
        """Whether the run can take its next step: it waits for no other."""
        return True

    def release(self) -> None:
        """Nobody waits for it."""

    def write(self) -> dict[str, Any]:
        """Its spec, and its outcome by the names of the tensors."""
        return {"spec": self.spec, "outcome": dict(compare.tensors(compare.outcome(self.run)))}


class _Keeper:
    """Keeps nothing."""

    def __call__(self, run: Run) -> None:
        """After a step."""

    def save(self, run: Run) -> None:
        """When another run stops."""
