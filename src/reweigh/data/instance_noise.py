"""Instance-dependent label noise (Xia et al., Part-dependent label noise, NeurIPS 2020): the image decides.

    r_i ~ N(rate, 0.1²), cut off to [0, 1]        for all examples, before anything else is drawn
    W_k ∈ R^{F×C}, standard normal                one class after the other
    a_i = x_iᵀ W_{y_i}, but −∞ at y_i             x_i: pixels from 0 to 255, flattened as they are stored, (C, H, W)
    P_i = r_i softmax(a_i), but 1 − r_i at y_i
    ỹ_i ~ P_i                                     in the order of the file, after all else

Pixels as large as that spread the entries of a_i over thousands, so that the softmax is 0 or 1 but for a few images:
each has one class that it is taken for, if it is mislabelled at all. Rates come before W, labels last: labels of the
first m of n examples are not those of m examples alone, so that noise is always drawn for a whole data set.

With numpy's old generator, `RandomState(seed)`, the draws are those of the authors' public code (2020), which adds up
a_i in float32 on a GPU, in an order that it leaves open. Here sums are float64, so that all machines agree; what that
code rounds to float32, W and P, is rounded too. A label can thus differ only where two classes are all but tied.
"""

import numpy as np

from reweigh.errors import ConfigError

SPREAD = 0.1  # standard deviation of the rates
ROWS = 1024  # at a time: 25 MB of CIFAR-10 in float64

Generator = np.random.Generator | np.random.RandomState


def instance(inputs: np.ndarray, labels: np.ndarray, classes: int, rate: float, generator: Generator) -> np.ndarray:
    """Noisy labels int64 (N,) of all images (N, C, H, W) uint8 of a data set; `rate` is the mean of the rates.

    Raises ConfigError for inputs that are no images in memory, and for a rate of 0, whose rates are not all 0.
    """
    if not isinstance(inputs, np.ndarray) or inputs.dtype != np.uint8 or inputs.ndim != 4:
        raise ConfigError("noise kind 'instance' looks at the images, which have to be in memory; use symmetric")
    if not 0 < rate < 1:
        raise ConfigError(f"noise rate {rate:g} is impossible for kind 'instance': it is above 0 and below 1")
    chances = probabilities(inputs, labels, classes, rate, generator)
    reached = np.cumsum(chances, axis=1, dtype=np.float64)
    reached /= reached[:, -1:]
    drawn = generator.uniform(size=len(labels))  # as `generator.choice(classes, p=chances[i])`, one after the other
    return (reached <= drawn[:, None]).sum(1)


def probabilities(
    inputs: np.ndarray, labels: np.ndarray, classes: int, rate: float, generator: Generator
) -> np.ndarray:
    """The probability of each label for each example, float32 (N, classes); class by class, and rows in blocks."""
    rates = flip_rates(len(labels), rate, generator)
    width = inputs[0].size
    chances = np.empty((len(labels), classes), np.float32)
    for k in range(classes):
        projection = generator.standard_normal((width, classes)).astype(np.float32).astype(np.float64)
        members = np.flatnonzero(labels == k)
        for rows in (members[start : start + ROWS] for start in range(0, len(members), ROWS)):
            scores = inputs[rows].reshape(len(rows), width).astype(np.float64) @ projection
            scores[:, k] = -np.inf
            shares = np.exp(scores - scores.max(1, keepdims=True))
            shares /= shares.sum(1, keepdims=True)
            chances[rows] = rates[rows, None].astype(np.float32) * shares.astype(np.float32)
            chances[rows, k] = 1 - rates[rows]
    return chances


def flip_rates(count: int, rate: float, generator: Generator) -> np.ndarray:
    """The rate of each example, float64 (N,): normal numbers around `rate`, cut off at 0 and 1."""
    from scipy import stats  # slow to import, and only this kind of noise needs it

    low, high = (0 - rate) / SPREAD, (1 - rate) / SPREAD
    drawn: np.ndarray = stats.truncnorm.rvs(low, high, loc=rate, scale=SPREAD, size=count, random_state=generator)
    return drawn
