"""What the last layer of a run sees, as the run kept it, and how well classes are apart there."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from reweigh.analysis.tables import logged

PARTS = {"train": "training", "test": "test"}


def kept(body: dict[str, Any], part: str, root: str | Path = ".") -> tuple[np.ndarray, np.ndarray] | None:
    """Features float32 (n, F) and labels int (n,) of a run's examples of a part; None if it kept none of use.

    Those of a run that diverged are of no use, whatever they are, nor are such as left the range of float16.
    Raises RecordError if the file beside the record is missing or altered.
    """
    if body["status"] != "finished":
        return None
    arrays = logged(body, f"{part}_features", f"{part}_labels", root=root)
    if not arrays or not np.isfinite(arrays[0]).all():
        return None
    return arrays[0].astype(np.float32), arrays[1].astype(int)


def neighbour_agreement(features: np.ndarray, labels: np.ndarray) -> float:
    """How often the nearest other example is of the same class (Euclidean), averaged over classes of two or more.

    features (n, F), labels (n,). Examples that are equally near share the vote. NaN if there is no such class.
    """
    distances = cdist(np.asarray(features, float), np.asarray(features, float), "sqeuclidean")
    np.fill_diagonal(distances, np.inf)
    nearest = distances == distances.min(1, keepdims=True)
    same = (nearest & (labels[:, None] == labels)).sum(1) / nearest.sum(1)
    shares = [same[labels == label].mean() for label in np.unique(labels) if (labels == label).sum() > 1]
    return float(np.mean(shares)) if shares else float("nan")
