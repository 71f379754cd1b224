"""Weights of examples and classes: pure functions on tensors. Weights multiply losses, which are then summed.

A class without examples (noise can empty the last ones of a long tail) has no share: formulas in 1/n_c or 1/E_c are
taken over the classes that exist, and the others weigh 0. What is not finite makes no number: the engine is to see it.
"""

import torch


def inverse_frequency(counts: torch.Tensor) -> torch.Tensor:
    """Class weights proportional to 1/n_c that sum to 1 (TDR's "hard weighting"). counts (C,) -> (C,); 0 where n_c = 0.

    >>> inverse_frequency(torch.tensor([100.0, 300.0]))
    tensor([0.7500, 0.2500])
    >>> inverse_frequency(torch.tensor([100.0, 0.0, 300.0]))
    tensor([0.7500, 0.0000, 0.2500])
    """
    inverse = torch.where(counts > 0, 1.0 / counts, 0.0)
    return inverse / inverse.sum()


def effective_number(counts: torch.Tensor, beta: float) -> torch.Tensor:
    """Class weights ∝ 1/E_c that average 1, E_c = (1 − β^{n_c}) / (1 − β) (Cui et al. 2019). counts (C,) -> (C,).

    The formula makes them sum to C. Here C counts the classes that exist; one without examples, E_c = 0, weighs 0.

    >>> effective_number(torch.tensor([1000.0, 10.0]), beta=0.999)
    tensor([0.0310, 1.9690])
    >>> effective_number(torch.tensor([1000.0, 0.0, 10.0]), beta=0.999)
    tensor([0.0310, 0.0000, 1.9690])
    """
    there = counts > 0
    inverse = torch.where(there, (1 - beta) / (1 - beta ** counts.double()), 0.0)
    return (inverse / inverse.sum() * there.sum()).to(counts.dtype)


def equal(counts: torch.Tensor) -> torch.Tensor:
    """The same weight for every class that exists, summing to 1. counts (C,) -> (C,).

    >>> equal(torch.tensor([7.0, 0.0, 1.0]))
    tensor([0.5000, 0.0000, 0.5000])
    """
    there = counts > 0
    return there.to(counts.dtype) / there.sum()


def rectified_share(scores: torch.Tensor) -> torch.Tensor:
    """max(score, 0) by its sum; all zero if no score is positive (Ren et al. 2018, eq. 15 and 16). (n,) -> (n,).

    If one score is not finite, no share is a number.

    >>> rectified_share(torch.tensor([3.0, -5.0, 1.0]))
    tensor([0.7500, 0.0000, 0.2500])
    """
    positive = scores.clamp(min=0)
    total = (positive + scores * 0).sum()
    return positive / torch.where(total <= 0, torch.ones_like(total), total)


def clip_to_simplex(
    weights: torch.Tensor, clip_max: float | None, start: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clip weights to [0, clip_max], divide by their sum (TDR's public code). (C,) -> (C,), bool: did they collapse?

    If every weight is clipped to 0 there is nothing to normalise (the public code then divides by 2e-12 and trains on
    nothing): the weights go back to `start` (C,), which is 1/C, and the second value is True. If one weight is not
    finite, none of the result is a number, and that is no collapse.

    >>> clip_to_simplex(torch.tensor([-1.0, 1.0, 3.0]), clip_max=None)
    (tensor([0.0000, 0.2500, 0.7500]), tensor(False))
    >>> clip_to_simplex(torch.tensor([-1.0, -1.0]), clip_max=None)
    (tensor([0.5000, 0.5000]), tensor(True))
    """
    clipped = weights.clamp(min=0, max=clip_max)
    total = (clipped + weights * 0).sum()  # no clip hides what is not finite
    collapsed = total <= 0
    shares = clipped / torch.where(collapsed, torch.ones_like(total), total)
    return torch.where(collapsed, 1 / len(weights) if start is None else start, shares), collapsed
