"""A small data set with labels, groups and nothing in its inputs, and a recipe that splits of it begin with."""

import numpy as np

from reweigh.data.arrays import RawData

RECIPE = {
    "target_size": 50,
    "target_inside": False,
    "validation_size": 0,
    "order": "random",
    "test": "balanced",
    "test_size": None,
}


def toy(train, test, groups=1, seed=0):
    """A data set whose inputs are row numbers: `train[k]` and `test[k]` examples of class k in shuffled order."""
    rng = np.random.default_rng(seed)
    parts = {}
    for part, sizes in (("train", train), ("test", test)):
        labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
        inputs = np.arange(len(labels), dtype=np.float32)[:, None]
        parts |= {f"{part}_inputs": inputs, f"{part}_labels": labels}
        parts[f"{part}_groups"] = rng.integers(0, groups, len(labels))
    names = tuple(f"class {k}" for k in range(len(train)))
    return RawData(**parts, class_names=names, group_names=tuple(f"group {k}" for k in range(groups)))
