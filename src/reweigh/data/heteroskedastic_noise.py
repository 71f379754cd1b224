"""Label noise of HAR (Cao et al., Heteroskedastic and Imbalanced Deep Learning, ICLR 2021): some classes have it all.

heteroskedastic   P[y, y] = 1 − rate and P[y, k] = rate / (G − 1) for the other k of the class's group of G, else
                  P[y, y] = 1;  ỹ_i ~ P[y_i], one draw for every example in the order of the file, clean classes too
agnostic          with probability `rate` a label is one of the other classes, each equally likely, whatever it was

With numpy's old generator, `RandomState(seed)`, both draw what the authors' public code (2021) draws. That code draws
heteroskedastic noise from `RandomState(0)` whatever the run's seed is, which a recipe states as `seed: 0`.
"""

from collections.abc import Sequence

import numpy as np

from reweigh.data.instance_noise import Generator


def heteroskedastic(
    labels: np.ndarray, classes: int, rate: float, groups: Sequence[Sequence[int]], generator: Generator
) -> np.ndarray:
    """Labels int64 (N,) of which `rate` of those in a group become another of it; `groups` as `check_noise` wants."""
    chances = np.eye(classes)
    for group in groups:
        for k in group:
            chances[k, list(group)] = rate / (len(group) - 1)
            chances[k, k] = 1 - rate
    return redrawn(labels, chances, generator)


def agnostic(labels: np.ndarray, classes: Sequence[str], rate: float, generator: Generator) -> np.ndarray:
    """Labels int64 (N,) of which each is, with probability `rate`, one of the other classes.

    As in the authors' code another class is drawn until it is not the label's own.
    """
    noisy = labels.copy()
    for i, label in enumerate(labels.tolist()):
        if generator.uniform() < rate:
            while noisy[i] == label:
                noisy[i] = generator.choice(len(classes))
    return noisy


def redrawn(labels: np.ndarray, chances: np.ndarray, generator: Generator) -> np.ndarray:
    """Each label (N,) drawn anew from its row of `chances` (classes, classes), one example after the other."""
    return np.array([generator.multinomial(1, chances[k]).argmax() for k in labels.tolist()], np.int64)
