"""Readers by name: the data set `cifar10-slice` is read by the module `reweigh.data.readers.cifar10_slice`."""

import importlib
import inspect
from pathlib import Path
from typing import Any

from reweigh.data import finite
from reweigh.data.arrays import RawData
from reweigh.errors import ConfigError


def read(dataset: str, options: dict[str, Any] | None = None, root: str | Path = "data/raw") -> RawData:
    """Read a fetched data set from `root/dataset` with its reader's `options`, e.g. `{"drop_sex": True}`.

    Raises ConfigError for a data set without a reader or an option it does not have, DataError for missing files and
    for features that are not finite.
    """
    name = f"reweigh.data.readers.{dataset.replace('-', '_')}"
    try:
        reader = importlib.import_module(name).read
    except (ModuleNotFoundError, AttributeError):
        raise ConfigError(f"no reader for the data set {dataset!r}; write one as {name}") from None
    options = options or {}
    known = list(inspect.signature(reader).parameters)[1:]
    if unknown := sorted(set(options) - set(known)):
        raise ConfigError(f"{dataset}: unknown reader option {unknown[0]!r}; known: {', '.join(known) or 'none'}")
    return finite.check(reader(Path(root) / dataset, **options), dataset)
