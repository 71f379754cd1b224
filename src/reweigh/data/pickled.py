"""The pickles of the CIFAR archives, read without running what a pickle could run."""

import pickle
from pathlib import Path
from typing import Any

from reweigh.errors import DataError

ALLOWED = {"_reconstruct", "ndarray", "dtype", "encode"}


class _Plain(pickle.Unpickler):
    """Knows plain values and numpy arrays, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] in ("numpy", "_codecs") and name in ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def load(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle of arrays, lists and strings. Raises DataError if it is anything else."""
    try:
        with open(path, "rb") as file:
            return dict(_Plain(file, encoding="latin1").load())
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, AttributeError, ImportError) as error:
        raise DataError(f"{path}: not a batch of CIFAR ({error}); delete it and fetch it again") from None
