"""The columns of the project's csv files: what each of them holds, and which parts of the evidence it comes from."""

from typing import NamedTuple

from reweigh.analysis.gains import IN_DIFFERENCES, RELATIVE, TIMES
from reweigh.analysis.margins import METRICS as OF_MARGINS
from reweigh.analysis.rows import (
    BY_COUNT,
    CLASS_WEIGHT,
    DENSITY,
    DIFFERENCE,
    IMPROVEMENT,
    INVERSE_FREQUENCY,
    MEAN_GAIN_BY_SEED,
    MIDDLE_GAIN,
    MIDDLE_GAIN_BY_SEED,
    MORE_RIGHT,
    OF_DRAWS,
    RANK,
    RANK_BY_SEED,
)
from reweigh.analysis.searches import ORACLE, RATIOS
from reweigh.analysis.strengths import ERROR, STRENGTH
from reweigh.provenance import recompute, recompute_settings


class Source(NamedTuple):
    """How a column is made, and the parts of a line's evidence that it is made from."""

    how: str
    parts: tuple[str, ...]


RUNS, OWN = ("runs",), ("runs", "formula")
INTERVAL = "Student's, or Wilson's where that leaves what a share can be"
OF_RUNS = {
    "mean": Source("mean over the runs", RUNS),
    "sd": Source("standard deviation over the runs (n - 1)", RUNS),
    "n": Source("how many runs have a value", RUNS),
    "low": Source(f"lower end of the 95 % interval of the mean, {INTERVAL}", RUNS),
    "high": Source(f"upper end of the 95 % interval of the mean, {INTERVAL}", RUNS),
    "seed": Source("the seed of the one run", RUNS),
    "epoch": Source("the epoch of the runs' curves", RUNS),
    "minutes": Source("training time up to that epoch, mean over the runs", RUNS),
    "class": Source("the class", OWN),
    "example": Source("the place of the example", OWN),
    "x": Source("where the point lies", OWN),
    "y": Source("how high the point lies", OWN),
    "weight": Source("the weight of the example in its batch", OWN),
}
RIDGES = {
    CLASS_WEIGHT: {
        "mean": Source("mean over all outer steps of all runs", RUNS),
        "sd": Source("standard deviation over all outer steps of all runs", RUNS),
        "low": Source("5 % quantile over all outer steps of all runs", RUNS),
        "high": Source("95 % quantile over all outer steps of all runs", RUNS),
    },
    INVERSE_FREQUENCY: {"mean": Source("the weight in proportion to 1/n, by the splits' class sizes", RUNS)},
    DENSITY: {
        "mean": Source("how many outer steps fall in the bin, as a share of the fullest", RUNS),
        "x": Source("the centre of the bin", RUNS),
    },
}
FORMULA = ("formula",)
OVER_DRAWS = {
    "n": Source("how many draws", FORMULA),
    "low": Source("lower end of the 95 % interval over draws", FORMULA),
    "high": Source("upper end of the 95 % interval over draws", FORMULA),
}
NO_RUN = Source("no run of ours: printed, or measured by the bench", FORMULA)
DRAWS = {
    "x": Source("the share that is right, mean over draws", FORMULA),
    "y": Source("the share of the draws", FORMULA),
    **OVER_DRAWS,
}
OTHER_X = {
    BY_COUNT: Source("how many positives are right", FORMULA),
    MORE_RIGHT: Source("the share of the draws in which more are right", FORMULA),
}
PAIRED = Source("mean of the differences of two methods, seed by seed", RUNS)
OF_SEARCHES = {
    **dict.fromkeys(RATIOS, Source("mean of the ratios of seconds, seed by seed", RUNS)),
    ORACLE: Source("mean of the error minus the least of the other runs of its seed", RUNS),
}
BY_SEED = {
    RELATIVE: Source("mean of the quotients of two methods less 1, seed by seed", RUNS),
    IN_DIFFERENCES: Source("mean of the difference of two methods less that of two others, seed by seed", RUNS),
    TIMES: Source("mean of the ratios of seconds, seed by seed", RUNS),
    **dict.fromkeys(OF_MARGINS, Source("mean over pairs of runs of what their margins differ by", RUNS)),
}
OF_CLASSES = {
    STRENGTH: Source("mean over the runs of the strength of the class's penalty, as logged", RUNS),
    ERROR: Source("mean over the runs of the class's error on held-out training examples, as logged", RUNS),
}
BOOTSTRAP = {
    "low": Source("2.5 % quantile of the bootstrap over seeds", RUNS),
    "high": Source("97.5 % quantile of the bootstrap over seeds", RUNS),
}
OF_SETTINGS = {
    "n": Source("how many pairs of runs, or of seeds where each counts once", RUNS),
    "settings": Source("how many settings it is made of", RUNS),
    "bars": Source("the bars of the diagram that the method is on", RUNS),
}
OVER_SETTINGS = {
    MIDDLE_GAIN: {"mean": Source("interquartile mean of the gains of all pairs at all settings", RUNS), **BOOTSTRAP},
    MIDDLE_GAIN_BY_SEED: {"mean": Source("mean over seeds of their interquartile mean gain over the settings", RUNS)},
    MEAN_GAIN_BY_SEED: {"mean": Source("mean over seeds of their mean gain over the settings", RUNS)},
    IMPROVEMENT: {
        "mean": Source("mean over settings of the share of pairs of runs that the method wins", RUNS),
        **BOOTSTRAP,
    },
    RANK: {"mean": Source("mean over settings of the rank of its mean score, by the runs of all methods", RUNS)},
    RANK_BY_SEED: {"mean": Source("mean over settings and seeds of its rank, by the runs of all methods", RUNS)},
}
TESTED = {
    "p": Source("two-sided p of no difference, by the paired t test", RUNS),
    "p_holm": Source("that p by Holm's correction over the methods at the setting", RUNS),
    "p_holm_all": Source("that p by Holm's correction over all such lines of the figure", RUNS),
}
GAIN = ("runs", "baseline")
STATED = Source("as the paper states it", ("published",))
SCORED = {
    "published": STATED,
    "published_sd": STATED,
    "difference": Source("our mean minus the published one", ("runs", "published")),
    "gain": Source("mean gain over plain training, seed by seed", GAIN),
    "gain_low": Source("lower end of Student's 95 % interval of the gain", GAIN),
    "gain_high": Source("upper end of Student's 95 % interval of the gain", GAIN),
    "published_gain": Source("the published number minus that of plain training", ("published", "published_baseline")),
    "verdict": Source("the rule for published numbers", ("published", "runs")),
}
CLAIMED = {
    "n": Source("seeds at the place that has the fewest", ("claim", "runs")),
    "effect": Source("the effect at the weakest place", ("claim", "runs")),
    "effect_low": Source("lower end of its 95 % interval, cut at what is possible", ("claim", "runs")),
    "effect_high": Source("upper end of its 95 % interval, cut at what is possible", ("claim", "runs")),
    "statistic": Source("the test's statistic at the weakest place", ("claim", "runs")),
    "p": Source("two-sided p over all places", ("claim", "runs")),
    "p_holm": Source("that p by Holm's correction over the claims of the paper", ("claim", "runs", "family")),
    "verdict": Source("the rule for claims", ("claim", "runs", "family")),
}
NAME = Source("a name or value that the config gives", ("config",))
MEASURED = Source("measured by reweigh bench", ("measured",))


def sources(line: dict[str, str], column: str | None = None) -> dict[str, Source]:
    """The columns of a line that hold a number or a verdict, or the one asked for, each with where it comes from."""
    if column is not None:
        return {column: source(line, column)}
    return {
        name: source(line, name)
        for name, text in line.items()
        if name == "verdict" or (recompute.is_number(text) and name not in ("runs", "records", "note", "text", "id"))
    }


def source(line: dict[str, str], column: str) -> Source:
    """Where one column of a line comes from."""
    if "contender" in line:
        return MEASURED
    if "table_or_figure" in line:
        return STATED
    metric = line.get("metric", "")
    if line.get("kind") == "claim" and column in CLAIMED:
        return CLAIMED[column]
    if kind := recompute_settings.ending(metric):
        if known := OVER_SETTINGS[kind].get(column) or OF_SETTINGS.get(column):
            return known
    elif metric.endswith(DIFFERENCE) and column in TESTED:
        return TESTED[column]
    if column == "mean" and metric.endswith(DIFFERENCE):
        return PAIRED
    if column == "mean" and (ending := next((one for one in BY_SEED if metric.endswith(one)), "")):
        return BY_SEED[ending]
    if column == "mean" and (of_kind := OF_SEARCHES.get(metric) or OF_CLASSES.get(metric)):
        return of_kind
    if metric in OF_DRAWS and column in DRAWS:
        return OTHER_X.get(metric, DRAWS["x"]) if column == "x" else DRAWS[column]
    if line.get("status") == "computed" and not line.get("runs") and column in OVER_DRAWS:
        return NO_RUN if (column, line["n"]) == ("n", "0") else OVER_DRAWS[column]
    return RIDGES.get(metric, {}).get(column) or OF_RUNS.get(column) or SCORED.get(column) or NAME
