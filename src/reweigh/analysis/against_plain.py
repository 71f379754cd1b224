"""What methods gain over plain training on one data set, and what they cost: a user's own (`reweigh compare`).

A gain is the difference in balanced accuracy, seed by seed, to plain training on the same split; a two-sided t test on
the differences, its p corrected by Holm's method over all methods that are compared. A gain counts as known to
`resolution` only, as claims' do. A method decides nothing where all of its runs, or of plain training's, are lost
(diverged, predict one class, did not move); nor is it called best where one of its runs diverged: the mean is then that
of the runs that did not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from reweigh import metrics, stats
from reweigh.analysis.degenerate import DIVERGED, counted, degenerate, lost_in_pairs
from reweigh.analysis.gains import times_row
from reweigh.analysis.resolution import of_difference, resolution
from reweigh.analysis.tables import Material
from reweigh.config.cards import card_of

METRIC = "balanced_accuracy"  # by which methods are compared
SHOWN = (METRIC, "macro_f1", "rarest_recall", "worst_group_accuracy")
SECONDS = "train_seconds"  # of a run, all stages together, evaluation left out


@dataclass(frozen=True)
class Line:
    """A method of one experiment: its means over seeds, its cost, and its gain over plain training there.

    `means` are by metric, fractions; None where no run has it. `times` is the mean over pairs of runs of their seconds
    over plain training's. `gain` is empty (n = 0) for plain training itself. `lost` says which runs decide nothing, and
    why.
    """

    experiment: str
    method: str
    title: str  # with what its weights are by, where methods of several experiments are compared
    is_plain: bool
    n: int  # runs with a score
    runs: int  # that have ended
    asked: int  # that there should be
    means: Mapping[str, float | None]
    seconds: float | None
    times: float | None
    gain: stats.Comparison
    p: float | None
    p_holm: float | None
    lost: str
    nothing: bool  # whether all of its runs are lost
    diverged: bool

    @property
    def better(self) -> bool:
        """Whether it gains over plain training, for certain."""
        return self._certain and (self.gain.effect or 0) > 0 and not self.diverged

    @property
    def worse(self) -> bool:
        """Whether it loses to plain training, for certain."""
        return self._certain and (self.gain.effect or 0) < 0

    @property
    def _certain(self) -> bool:
        return self.p_holm is not None and self.p_holm < stats.ALPHA


def lines(material: Material) -> list[Line]:
    """A line for each method of each experiment of the material, in its order, plain training first."""
    material = current(material)
    found = []
    for experiment in material.experiments:
        setting, *_ = material.settings(experiment)
        against = plain_of(material)
        others = material.of(experiment, setting, against)
        for method in sorted(material.methods(experiment), key=lambda one: one != against):
            found.append(_line(material, experiment, material.of(experiment, setting, method), method, others, against))
    corrected = stats.holm([line.p for line in found])
    return [replace(line, p_holm=p) for line, p in zip(found, corrected, strict=True)]


def current(material: Material) -> Material:
    """The material without runs that were made for another spec than is asked for now, such as fewer epochs.

    They stay on disk until they are trained again, and must not stand beside the others.
    """
    records = {run: body for run, body in material.records.items() if body["spec"] == material.config.resolve(run)}
    return replace(material, records=records, runs=material.runs[material.runs["run"].isin(records)])


def plain_of(material: Material) -> str:
    """Plain training among the methods of the paper. It is trained once, whatever the weights of others follow."""
    known = material.config.paper(material.paper).methods
    return next(name for name, one in known.items() if card_of(one.uses).plain)


def _line(
    material: Material, experiment: str, runs: pd.DataFrame, method: str, others: pd.DataFrame, against: str
) -> Line:
    gain = stats.untested("", 0) if method == against else _gain(material, runs, others)
    title = material.title(method)
    if len(material.experiments) > 1 and method != against:
        title = f"{title} ({material.experiment(experiment).varies})"
    return Line(
        experiment=experiment,
        method=method,
        title=title,
        is_plain=method == against,
        n=int(runs[METRIC].notna().sum()),
        runs=len(runs),
        asked=len(material.config.seeds(material.scale, material.paper, experiment)),
        means={metric: _mean(material.with_metric(runs, metric)[metric]) for metric in SHOWN},
        seconds=_mean(material.with_metric(runs, SECONDS)[SECONDS]),
        times=None if method == against else _times(material, runs, others),
        gain=gain,
        p=stats.two_sided(gain.p_for, gain.p_against),
        p_holm=None,
        lost=counted(runs.assign(method=title)) if len(runs) else "",
        nothing=degenerate(runs) is not None,
        diverged=bool((runs["lost"] == DIVERGED).any()),
    )


def _mean(values: pd.Series) -> float | None:
    known = values.dropna().astype(float)
    return float(known.mean()) if len(known) else None


def _gain(material: Material, runs: pd.DataFrame, others: pd.DataFrame) -> stats.Comparison:
    """The test of a method's gain over plain training, on the seeds that both have; none where one of these is lost."""
    why = lost_in_pairs(*(one[one["seed"].isin(other["seed"])] for one, other in ((runs, others), (others, runs))))
    pairs = runs.merge(others, on="seed", suffixes=("", "_other")).dropna(subset=[METRIC, f"{METRIC}_other"])
    steps = ((resolution(material.records[run], METRIC) for run in pairs[side]) for side in ("run", "run_other"))
    differences = list(pairs[METRIC] - pairs[f"{METRIC}_other"])
    known = stats.summarise(differences)  # its interval is that of figures and their csv, which know of no resolution
    found = replace(stats.above(differences, 0.0, resolution=of_difference(*steps)), low=known.low, high=known.high)
    return stats.undecided(found, why)


def _times(material: Material, runs: pd.DataFrame, others: pd.DataFrame) -> float | None:
    """The mean over pairs of runs, on one device with equally many beside them, of a method's seconds over plain's."""
    pairs = runs.merge(others, on=["seed", "device", "runs_at_once"], suffixes=("", "_plain"))
    return times_row(pairs, material.records)["mean"]


# --- in words --------------------------------------------------------------------------------------------------------


def sentence(found: list[Line]) -> str:
    """What the comparison comes to, in one sentence."""
    if plain := next((line.lost for line in found if line.is_plain), ""):
        return f"nothing can be told: {plain}"
    if best := _best(found):
        return f"best: {best.title}, by {points(best.gain)}"
    tested = sorted(line.gain.n for line in found if line.p is not None)
    if not tested and (lost := [line.lost for line in found if line.lost]):
        return f"nothing can be told: {'; '.join(lost)}"
    if not tested:
        seeds = max((line.n for line in found), default=0)
        why = (
            f"n = {seeds}; a test needs two seeds of a method and of plain training"
            if seeds
            else "no run has ended yet"
        )
        return f"nothing can be told apart from plain training ({why})"
    count = f"n = {tested[0]}" if tested[0] == tested[-1] else f"n = {tested[0]} to {tested[-1]}"
    if any(line.worse for line in found):
        return f"nothing is better than plain training ({count})"
    return f"nothing can be told apart from plain training ({count})"


def _best(found: list[Line]) -> Line | None:
    """The method with the largest gain of those that gain for certain."""
    return max((line for line in found if line.better), key=lambda line: line.gain.effect or 0.0, default=None)


def _price(best: Line, found: list[Line]) -> str:
    """What the best method has less of than plain training in the other metrics, by their means; empty if in none."""
    plain = next(line for line in found if line.is_plain)
    less = {
        metric: other - mine
        for metric in SHOWN[1:]
        if (mine := best.means[metric]) is not None and (other := plain.means[metric]) is not None and mine < other
    }
    return ", ".join(f"{metrics.of(metric).label} (by {100 * loss:.1f} points)" for metric, loss in less.items())


def remarks(found: list[Line]) -> list[str]:
    """What else must be known: what the best one loses elsewhere, what is worse, what decides nothing or is missing."""
    worse = [f"{line.title}, by {points(line.gain)}" for line in found if line.worse]
    said = [f"worse than plain training: {'; '.join(worse)}"] if worse else []
    best = _best(found)
    if also := [f"{line.title}, by {points(line.gain)}" for line in found if line.better and line is not best]:
        said.insert(0, f"better than plain training too, and not tested against the best: {'; '.join(also)}")
    if best and (price := _price(best, found)):
        said.insert(0, f"best in balanced accuracy, but below plain training in {price}")
    for line in found:
        if line.lost:
            mean = "; its mean is that of the others" if line.diverged and not line.nothing else ""
            said.append(f"{line.lost}; its gain decides nothing{mean}")
    missing = [f"{line.title} {line.asked - line.runs} of {line.asked}" for line in found if line.asked > line.runs]
    return said + ([f"runs that are not trained yet: {', '.join(missing)}"] if missing else [])


def points(gain: stats.Comparison, unit: str = " points") -> str:
    """A gain in points of balanced accuracy, with its interval.

    >>> points(stats.Comparison("", 5, 0.0312, 0.021, 0.0414, 8.0, 0.001, 0.999))
    '3.1 points (2.1 to 4.1)'
    """
    effect, low, high = (
        f"{100 * (value or 0.0):.1f}".replace("-", "−") for value in (gain.effect, gain.low, gain.high)
    )
    return f"{effect}{unit} ({low} to {high})"
