"""Values by seed, as tests of spreads and averages take them, and normal ones that correlate between places."""

import math
from collections.abc import Iterable

import numpy as np


def by_seed(cells: Iterable[Iterable[float]]) -> list[dict[int, float]]:
    return [dict(enumerate(map(float, cell))) for cell in cells]


def together(random: np.random.Generator, shape: tuple[int, ...], correlation: float) -> np.ndarray:
    """Standard normal values (draws, places, seeds) that correlate so much between places."""
    shared = random.standard_normal((shape[0], 1, shape[2]))
    return math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * random.standard_normal(shape)
