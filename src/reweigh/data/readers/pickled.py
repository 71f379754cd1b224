"""The pickles of the CIFAR archives and of CIFAR-N, read without running what a pickle could run."""

import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

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
    with open(path, "rb") as file:
        return _dictionary(file, path, "a batch of CIFAR")


def load_saved(path: Path) -> dict[str, Any]:
    """The dictionary of numpy arrays that `torch.save` wrote. Raises DataError if it is anything else."""
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            with archive.open(name) as file:
                return _dictionary(file, path, "a dictionary of arrays saved by torch")
    except (zipfile.BadZipFile, ValueError) as error:
        raise DataError(f"{path}: not saved by torch ({error}); delete it and fetch it again") from None


def _dictionary(file: IO[bytes], path: Path, what: str) -> dict[str, Any]:
    try:
        return dict(_Plain(file, encoding="latin1").load())
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, AttributeError, ImportError) as error:
        raise DataError(f"{path}: not {what} ({error}); delete it and fetch it again") from None
