"""Features with mean 0 and standard deviation 1, by the training part of a split (`scale_inputs: standardised`)."""

import dataclasses

import numpy as np

from reweigh.data import finite
from reweigh.data.arrays import RawData

STANDARDISED = "standardised"


def standardised(raw: RawData, rows: np.ndarray) -> RawData:
    """`raw` with features (N, F) float32 that have mean 0 and deviation 1 over the training examples `rows`, int (B,).

    Both parts are scaled by the same numbers: what validates or tests has no say in them. A column that is constant
    over `rows` is 0 everywhere. Raises DataError where a value is too far from the others for float32.
    """
    mean, factor = moments(raw.train_inputs[rows])  # type: ignore[index]
    with np.errstate(over="ignore"):  # the check says in which column
        train, test = (
            ((inputs.astype(np.float64) - mean) * factor).astype(np.float32)  # type: ignore[union-attr]
            for inputs in (raw.train_inputs, raw.test_inputs)
        )
    return finite.check(dataclasses.replace(raw, train_inputs=train, test_inputs=test), "standardised features")


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (F,) and 1 / standard deviation (F,) of features (B, F), float64; the factor of a constant column is 0.

    The deviation is that of the examples themselves (ddof 0). Rows are added one after the other, in double precision,
    so that the sums do not depend on the machine.

    >>> moments(np.array([[1.0, 5.0], [3.0, 5.0]]))
    (array([2., 5.]), array([1., 0.]))
    """
    values = np.ascontiguousarray(features, np.float64)
    constant = (values == values[:1]).all(0)
    mean = np.where(constant, values[0], values.sum(0) / len(values))
    deviation = np.sqrt(((values - mean) ** 2).sum(0) / len(values))
    with np.errstate(divide="ignore"):
        return mean, np.where(constant, 0.0, 1 / deviation)
