"""What theory says of HAR's toy: bias and variance of a smoother of bandwidth h, and the strengths that follow.

Where q I is constant the penalised fit is a kernel smoother, K(u) = exp(−|u|/h) / 2h with h² = 2λρ / (q I); the factor
2 is there because the penalty has no ½. See docs/har-strengths.md.
"""

import math

from scipy.optimize import minimize_scalar


def rough_error(h: float, information: float, curvature: float) -> float:
    """Mean squared error for small h, h⁴ b² + 1/(4 s h): s = n q I, b the root mean square of f*''."""
    return h**4 * curvature**2 + 1 / (4 * information * h)


def rough_bandwidth(information: float, curvature: float) -> float:
    """Where that is least, h⁵ = 1/(16 s b²).

    >>> h = rough_bandwidth(200.0, 60.0)
    >>> rough_error(h, 200.0, 60.0) < min(rough_error(c * h, 200.0, 60.0) for c in (0.99, 1.01))
    True
    """
    return float((16 * information * curvature**2) ** -0.2)


def wave_error(h: float, information: float, amplitude: float, waves: int, length: float) -> float:
    """The same for any h, of f* = amplitude · cos with so many whole waves in an interval of that length.

    Exact for a constant information s = n q I a unit of length. Cosines with whole half-waves are the eigenfunctions:
    the k-th is shrunk by 1/(1 + h²(πk/length)²). The bias is that of one of them; the variances sum to a closed form.
    """
    square = (h * 2 * math.pi * waves / length) ** 2
    c = math.pi * h / length
    series = 0.5 + math.pi / (4 * c) / math.tanh(math.pi / c)
    if math.pi / c < 300:  # beyond, the last summand is 0 in float64
        series += (math.pi / (2 * c) / math.sinh(math.pi / c)) ** 2
    return amplitude**2 / 2 * (square / (1 + square)) ** 2 + series / (information * length)


def wave_bandwidth(information: float, amplitude: float, waves: int, length: float) -> float:
    """Where that is least, between a thousandth of the interval and all of it."""
    found = minimize_scalar(
        lambda log_h: wave_error(math.exp(log_h), information, amplitude, waves, length),
        bounds=(math.log(length / 1000), math.log(length)), method="bounded", options={"xatol": 1e-9},
    )  # fmt: skip
    return float(math.exp(found.x))


def exponent(bandwidths: tuple[float, float], informations: tuple[float, float]) -> float:
    """The γ with which one λ gives both halves their bandwidths: λρ = h² q I / 2 ∝ (q I)^γ.

    >>> round(exponent((1.0, 9.0**-0.2), (1.0, 9.0)), 9)  # h ∝ (q I)^(−1/5)
    0.6
    """
    pairs = zip(bandwidths, informations, strict=True)
    first, second = (math.log(h * h * information) for h, information in pairs)
    return (second - first) / math.log(informations[1] / informations[0])
