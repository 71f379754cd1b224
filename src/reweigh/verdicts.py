"""The verdict on a published number, by a rule that is declared and the same for every paper.

docs/verdicts.md says why it is what it is, and how often it errs (`scorecard.rates`). Which way is better, and what
difference counts, depends on the metric (`metrics`).
"""

import math
import statistics
from collections.abc import Iterable, Sequence

from reweigh import stats
from reweigh.metrics import Metric

EQUIVALENCE = 0.90  # the interval of two one-sided tests at 5 %
REACH = 2  # it must lie within so many tolerances of the published number
DECIDED = ("replicated", "better", "worse")


def verdict(
    published: float | None,
    published_sd: float | None,
    values: Iterable[float | None],
    metric: Metric,
    least_sd: float = 0.0,
) -> str:
    """What our values say of a published number of a metric: the declared rule, in this order.

    With τ = `metric.tolerance_of(published, published_sd)` and intervals of our mean (`interval`):

    not reported   the paper gives no number
    not judged     no value of the metric is better than another
    not run        we have no number
    inconclusive   one only: there is no interval
    better, worse  the 95 % interval lies wholly beyond published ± τ: on the side that is better, or the other one
    replicated     the 90 % interval lies within published ± 2τ: two one-sided tests at 5 %
    inconclusive   otherwise

    None and NaN are no numbers. A gap counts by its absolute value. Of a lower bound (`metric.bound`) only the side
    below counts: whatever lies above replicates it. `least_sd` is the smallest sd that the values can be known to have,
    since they come in steps: equal values are no certainty.

    >>> from reweigh import metrics
    >>> accuracy, error = metrics.of("test_accuracy"), metrics.of("balanced_error")
    >>> verdict(0.90, None, [0.900, 0.905, 0.901], accuracy)
    'replicated'
    >>> verdict(0.90, None, [0.70, 0.90, 0.99], accuracy)  # within reach, but so is much else
    'inconclusive'
    >>> verdict(0.30, None, [0.20, 0.21, 0.20], error)
    'better'
    """
    reported = stats.numbers([published])
    if not reported:
        return "not reported"
    if not metric.direction:
        return "not judged"
    stated, found = reported[0], stats.numbers(values)
    if metric.absolute:
        stated, found = abs(stated), [abs(number) for number in found]
    if len(found) < 2:
        return "inconclusive" if found else "not run"
    tau = metric.tolerance_of(stated, published_sd)
    wide, narrow = (interval(found, least_sd, level, *metric.ends) for level in (stats.LEVEL, EQUIVALENCE))
    return _decided(stated, tau, wide, narrow, metric)


def of_interval(published: float | None, published_sd: float | None, found: tuple[float, float], metric: Metric) -> str:
    """The same rule where one interval is all that is known, such as the quartiles of what was timed: it is both.

    >>> from reweigh import metrics
    >>> of_interval(1.4, None, (1.35, 1.5), metrics.of("runtime_ratio"))
    'replicated'
    """
    reported = stats.numbers([published])
    if not reported:
        return "not reported"
    return _decided(reported[0], metric.tolerance_of(reported[0], published_sd), found, found, metric)


def _decided(stated: float, tau: float, wide: tuple[float, float], narrow: tuple[float, float], metric: Metric) -> str:
    """The verdict by the intervals of 95 % and 90 %."""
    (low, high), (narrow_low, narrow_high) = wide, narrow
    if low > stated + tau and metric.bound != 1:
        return "better" if metric.direction > 0 else "worse"
    if high < stated - tau and metric.bound != -1:
        return "worse" if metric.direction > 0 else "better"
    not_below = metric.bound == -1 or narrow_low >= stated - REACH * tau
    not_above = metric.bound == 1 or narrow_high <= stated + REACH * tau
    return "replicated" if not_below and not_above else "inconclusive"


def interval(
    values: Sequence[float],
    least_sd: float = 0.0,
    level: float = stats.LEVEL,
    least: float = -math.inf,
    most: float = math.inf,
) -> tuple[float, float]:
    """The interval of the mean of two values or more, by their sd or `least_sd`, whichever is larger.

    Student's, or Wilson's where that leaves what such values can be, from `least` to `most` (`stats.inside`).
    """
    mean, sd = statistics.fmean(values), max(statistics.stdev(values), least_sd)
    half = stats.t_quantile(len(values) - 1, level) * sd / math.sqrt(len(values))
    return stats.inside(mean, half, least, most)
