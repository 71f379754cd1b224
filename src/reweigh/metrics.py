"""What is measured: of each metric which way is better, its unit, its own tolerance, the values it can have, a label.

    of("test_accuracy")                        # a Metric; ConfigError with the nearest name for one that is not known
    printed("balanced_error_pct")              # the metric of a published column, and by what its values are divided
    of("balanced_error").tolerance_of(0.30)    # τ of a published number: what difference a reader would not act on
    of_record(body)["deo_error"]               # all metrics of a finished run: what its record states, and what follows

All that the papers print is here, and all that a record or a claim names. Values are fractions where the papers print
per cent (names that end in `_pct`), seconds, bytes, or plain ratios. Tolerances were chosen before any number of that
metric was compared; the reason stands beside each kind.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from reweigh import cells, class_rates, group_rates
from reweigh.errors import ConfigError
from reweigh.nearest import nearest

PERCENT = "_pct"  # the ending of a published metric that is given in per cent
POINT = 0.01  # one point of accuracy, as a fraction

Direction = Literal[1, 0, -1]
Place = Literal["metrics", "costs", "trace", ""]
Comparing = Literal["difference", "excess", "ratio", ""]  # of a and b: a - b, a/b - 1, a/b
Derive = Callable[[Mapping[str, Any]], float | None]  # from the record of a finished run; None where it is not defined


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    direction   1: higher is better; -1: lower is better; 0: neither, so that no published number of it is judged
    tolerance   in the metric's unit; where `relative`, a share of the published number
    bound       1: what is printed is a lower bound (">= x"), which anything above it meets; -1: an upper bound
    absolute    a gap: it counts by its absolute value, and no gap is best
    low, high   the values that it can have, both included
    recorded    where a run's record has it: a number of its `metrics` or `costs`, or arrays of its `trace`; else empty
    derived     how it follows from what a record states, for metrics that no record states itself
    compares    how it compares two methods, for metrics that no single run has; empty for all others
    of          what of the two methods' runs it compares
    """

    name: str
    label: str
    unit: str
    direction: Direction
    tolerance: float
    relative: bool = False
    bound: Direction = 0
    absolute: bool = False
    low: float = -math.inf
    high: float = math.inf
    recorded: Place = ""
    derived: Derive | None = field(default=None, repr=False, compare=False)
    compares: Comparing = ""
    of: str = ""

    def tolerance_of(self, published: float | None, published_sd: float | None = None) -> float:
        """τ of a published number: the metric's own tolerance, or the sd printed with the number if that is larger.

        NaN is no number, as None is.
        """
        own = self.tolerance * abs(_or(published, 0.0)) if self.relative else self.tolerance
        return max(own, _or(published_sd, 0.0))

    @property
    def ends(self) -> tuple[float, float]:
        """Between what an interval of its mean stays: of a share 0 and 1, of a gap as far as gaps go; else anything.

        A difference of two shares has ends too, −1 and 1, that no interval comes near; its interval is Student's.
        """
        return (self.low, self.high) if self.low == 0 and math.isfinite(self.high) else (-math.inf, math.inf)

    def turned(self, values: Any) -> Any:
        """A value, or an array of them, so that higher is better: an error counts as minus itself, a gap by its size.

        >>> of("test_accuracy").turned(0.9), of("balanced_error").turned(0.25), of("equal_opportunity_gap").turned(-0.5)
        (0.9, -0.25, -0.5)
        """
        return (abs(values) if self.absolute else values) * (self.direction or 1)

    def cannot_be(self, value: float) -> str:
        """Why a value is none of this metric, in words; empty if it may be one.

        >>> of("test_accuracy").cannot_be(79.06)
        'a test accuracy lies between 0 and 1'
        """
        if math.isfinite(value) and self.low <= value <= self.high:
            return ""
        if math.isfinite(self.high):
            return f"a {self.label} lies between {self.low:g} and {self.high:g}"
        return f"a {self.label} is a number from {self.low:g} on" if math.isfinite(self.low) else "it is no number"

    def like(self, other: "Metric") -> bool:
        """Whether a number of `other` is judged as one of this metric is: same direction, tolerance and range."""
        return replace(self, name="", label="", recorded="") == replace(other, name="", label="", recorded="")


def _or(value: float | None, other: float) -> float:
    return other if value is None or math.isnan(value) else value


# --- kinds of metrics ------------------------------------------------------------------------------------------------


def _share(name: str, label: str, recorded: Place = "") -> Metric:
    """A share of examples that are right. One point: less is not what a reader of a table of accuracies acts on."""
    return Metric(name, label, "fraction", 1, POINT, low=0.0, high=1.0, recorded=recorded)


def _error(name: str, label: str) -> Metric:
    """A share of examples that are wrong: 1 − a share, so the tolerance is the same and lower is better."""
    return Metric(name, label, "fraction", -1, POINT, low=0.0, high=1.0)


def _from_counts(metric: Metric, derived: Derive) -> Metric:
    """A metric that claims may speak of, since it follows from what records state."""
    return replace(metric, recorded="metrics", derived=derived)


def _less(share: str) -> Derive:
    """1 − a share that a record states."""

    def derived(body: Mapping[str, Any]) -> float | None:
        value = body["metrics"].get(share)
        return None if value is None else 1 - float(value)

    return derived


def rare_half(body: Mapping[str, Any]) -> list[int]:
    """The half of the classes with the fewest training examples, rounded down; none where the smallest is no smaller.

    >>> rare_half({"split": {"sizes": {"train": [50, 5, 20, 10, 30]}}})
    [1, 3]
    """
    sizes = body.get("split", {}).get("sizes", {}).get("train", [])
    if len(set(sizes)) < 2:
        return []
    return sorted(sorted(range(len(sizes)), key=sizes.__getitem__)[: len(sizes) // 2])


def _tail_recall(body: Mapping[str, Any]) -> float | None:
    """The mean recall of the rare half of the classes; None where there is none, or one of them is not tested."""
    recalls, rare = body["metrics"].get("per_class_accuracy") or [], rare_half(body)
    found = [recalls[label] for label in rare if label < len(recalls)]
    return sum(found) / len(found) if found and len(found) == len(rare) and None not in found else None


def _gap(name: str, label: str, shares: int) -> Metric:
    """Absolute differences between the recalls of groups; `shares` of them go in.

    One point means nothing here: a gap inherits the tolerance of everything that it is made of. If each share may be
    off by a point, a gap of two may be off by two, and AutoBalance's eq. 4.1, the sum of two such, by four.
    """
    return Metric(name, label, "fraction", -1, shares * POINT, absolute=True, low=0.0, high=shares / 2)


def _gain(name: str, label: str, compares: Comparing) -> Metric:
    """A difference of two accuracies, or that difference as a share of the other: a point, as for accuracies.

    Half of the gains in print are smaller than that; `replicated` then says little, and the interval says more.
    """
    return Metric(name, label, "fraction", 1, POINT, low=-1.0, high=1.0, compares=compares, of="test_accuracy")


def _ratio(name: str, label: str, of: str = "") -> Metric:
    """A cost over that of plain training. A tenth: papers print two digits, of which 1.4 hides 4 % by itself."""
    return Metric(name, label, "ratio", -1, 0.10, relative=True, low=0.0, compares="ratio" if of else "", of=of)


def _cost(name: str, label: str, unit: str, recorded: Place = "costs") -> Metric:
    """What a run costs. A quarter: neighbouring devices and versions differ by at least as much."""
    return Metric(name, label, unit, -1, 0.25, relative=True, low=0.0, recorded=recorded)


def _neither(name: str, label: str, unit: str, recorded: Place) -> Metric:
    """A description of a run: no value of it is better."""
    return Metric(name, label, unit, 0, 0.0, recorded=recorded)


# What the accuracy of a cell is measured on: the beginning of the metric's name, the part of a record, a label.
PARTS_OF_CELLS = (
    ("", "test", "accuracy on"),
    ("train_", "train", "accuracy on the given labels of"),
    ("train_clean_", "train_clean", "training accuracy by the true labels of"),
)

_ALL: Iterable[Metric] = (
    # what a record has
    _share("test_accuracy", "test accuracy", "metrics"),
    _share("balanced_accuracy", "balanced accuracy", "metrics"),
    _share("minority_recall", "minority recall", "metrics"),
    _share("minority_precision", "minority precision", "metrics"),
    _share("best_epoch_test_accuracy", "test accuracy at the best epoch", "metrics"),
    _share("validation_accuracy", "validation accuracy", "metrics"),
    _share("per_class_accuracy", "recall of each class", "trace"),
    _share("per_group_accuracy", "accuracy within each group", "trace"),
    _cost("seconds", "seconds of a run", "s"),
    _cost("gpu_seconds", "GPU seconds of a run", "s"),
    _cost("peak_bytes", "peak memory", "B"),
    _cost("energy_joules", "energy", "J"),
    _neither("steps", "steps", "steps", "costs"),
    _neither("class_weights", "class weights", "weight", "trace"),
    _neither("mean_weights", "mean weights of examples", "weight", "trace"),
    _share("nearest_neighbour_agreement", "nearest neighbours of one class", "trace"),
    # what follows from it
    _from_counts(_share("macro_f1", "mean F1 of the classes"), class_rates.macro_f1),
    _from_counts(_share("rarest_recall", "recall of the rarest class"), class_rates.rarest_recall),
    _from_counts(_share("worst_group_accuracy", "lowest accuracy of a group"), group_rates.worst_group_accuracy),
    _from_counts(_share("worst_group_tpr", "lowest true positive rate of a group"), group_rates.worst_group_tpr),
    _from_counts(
        _gap("equal_opportunity_gap", "difference of equal opportunity", shares=2), group_rates.equal_opportunity_gap
    ),
    _from_counts(_error("balanced_error", "balanced error"), _less("balanced_accuracy")),
    _from_counts(_error("group_balanced_error", "group-balanced error"), group_rates.group_balanced_error),
    _from_counts(
        _error("worst_class_group_error", "error of the worst class and group"), group_rates.worst_class_group_error
    ),
    # Of groups, whatever these are: classes, or cells of class and attribute.
    _from_counts(_share("mean_group_accuracy", "mean accuracy of the groups"), group_rates.mean_group_accuracy),
    _from_counts(_share("worst_cell_accuracy", "accuracy of the worst class or cell"), group_rates.worst_cell_accuracy),
    _from_counts(_gap("deo_error", "symmetric difference of equal opportunity", shares=4), group_rates.deo_error),
    _from_counts(
        _error("standard_error_train_shares", "error at the training shares of classes and groups"),
        group_rates.standard_error_train_shares,
    ),
    _from_counts(_share("tail_recall", "mean recall of the rare half of the classes"), _tail_recall),
    _from_counts(
        _share("validation_balanced_accuracy", "balanced accuracy on what is held out of the training part"),
        cells.held_out_balanced_accuracy,
    ),
    *(
        _from_counts(
            _share(f"{prefix}accuracy_{cell}", f"{label} {' and '.join(cell.split('_'))} classes"),
            cells.cell_accuracy(cell, part),
        )
        for cell in cells.CELLS
        for prefix, part, label in PARTS_OF_CELLS
    ),
    # what papers print besides
    _share("top1_test_accuracy", "top-1 test accuracy"),
    _share("top1_acc", "top-1 accuracy"),
    _share("top5_acc", "top-5 accuracy"),
    _gain("acc_gain", "gain in accuracy", "difference"),
    _gain("relative_gain", "relative gain in accuracy", "excess"),
    replace(_gain("relative_gain_lower_bound", "relative gain in accuracy, at least", "excess"), bound=1),
    _ratio("runtime_ratio", "run time over plain training's", "seconds"),
    _ratio("flops_ratio", "FLOPs over plain training's"),  # no record counts them
    # A range in print, "4 to 5 times", is a lower and an upper bound: what lies between replicates both.
    replace(_ratio("runtime_multiple_low", "run time over plain training's, lower end", "seconds"), bound=1),
    replace(_ratio("runtime_multiple_high", "run time over plain training's, upper end", "seconds"), bound=-1),
    replace(_ratio("runtime_multiple_lower_bound", "run time over plain training's, at least", "seconds"), bound=1),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
# Metrics that curves have, of each part: the ending of a curve's name, and whether the metric is 1 minus it.
OF_CURVES = {
    "test_accuracy": ("accuracy", False),
    "validation_accuracy": ("accuracy", False),
    "balanced_accuracy": ("balanced_accuracy", False),
    "balanced_error": ("balanced_accuracy", True),
}
ON_EVERY_CURVE = ("test_accuracy", "validation_accuracy", "minority_recall", "minority_precision")
RECORDED = tuple(name for name, metric in METRICS.items() if metric.recorded)  # what a claim may speak of


# Shares that figures alone have, of the examples of a group, or of points that are drawn.
OTHER_SHARES = ("train_accuracy", "class_error", "per_group_recall", "positives_right", "negatives_right")
DERIVED = {name: metric.derived for name, metric in METRICS.items() if metric.derived}


def of_record(body: Mapping[str, Any]) -> dict[str, Any]:
    """All metrics of a run: what its record states, and what follows from that. Empty for a run that diverged."""
    if body["status"] != "finished":
        return {}
    return {**body["metrics"], **{name: derived(body) for name, derived in DERIVED.items()}}


def of(name: str, where: str = "") -> Metric:
    """The metric of that name. Raises ConfigError, with the nearest name, if there is none."""
    if name not in METRICS:
        raise ConfigError(f"{where + ': ' if where else ''}unknown metric {name!r}{_suggestion(name, METRICS)}")
    return METRICS[name]


def ends(name: str) -> tuple[float, float]:
    """Between what an interval of the mean of a line's metric stays; figures have shares that no record states.

    >>> ends("test_accuracy"), ends("per_group_recall"), ends("test_accuracy_difference")
    ((0.0, 1.0), (0.0, 1.0), (-inf, inf))
    """
    if name in OTHER_SHARES:
        return 0.0, 1.0
    return METRICS[name].ends if name in METRICS else (-math.inf, math.inf)


def printed(name: str, where: str = "") -> tuple[Metric, float]:
    """The metric of a published column, and what its values are divided by to be in the metric's unit.

    `balanced_error_pct` is `balanced_error` in per cent. In `relative_gain_pct_lower_bound` the unit stands inside.

    >>> metric, divisor = printed("relative_gain_pct_lower_bound")
    >>> metric.name, divisor
    ('relative_gain_lower_bound', 100.0)
    """
    base = name.replace(PERCENT, "")
    if base not in METRICS or (base != name and METRICS[base].unit != "fraction"):
        known = [*METRICS, *(f"{one.name}{PERCENT}" for one in METRICS.values() if one.unit == "fraction")]
        raise ConfigError(f"{where + ': ' if where else ''}unknown metric {name!r}{_suggestion(name, known)}")
    return METRICS[base], 100.0 if base != name else 1.0


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else f"; known: {', '.join(known)}"
