"""All methods at all settings of an artifact: gains at each setting, aggregates over them, and ranks.

The rules, declared before any run of the comparison, stand in docs/verdicts.md ("All methods on one ground") and in
`aggregates` and `ranks`. A score is turned so that higher is better; that of a run that diverged is −∞, and a run
without the metric has none.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from reweigh import aggregates, metrics, ranks, stats
from reweigh.aggregates import Aggregate
from reweigh.analysis.degenerate import lost_in_pairs
from reweigh.analysis.resolution import of_difference, resolution
from reweigh.analysis.rows import (
    IMPROVEMENT,
    MEAN_GAIN_BY_SEED,
    MIDDLE_GAIN,
    MIDDLE_GAIN_BY_SEED,
    RANK,
    RANK_BY_SEED,
    Row,
    cell_names,
    frame,
    paired_row,
)
from reweigh.analysis.tables import Material, fingerprint, join_runs
from reweigh.errors import ConfigError
from reweigh.stats import Summary

NEMENYI, SIGNED_RANKS = "nemenyi", "signed ranks"
BARS = (NEMENYI, SIGNED_RANKS)  # by what two methods are told apart
DIGITS = 12  # of a mean score: what sums in another order differ by is no difference


class Place(NamedTuple):
    """One setting of an experiment."""

    experiment: str
    setting: str

    @property
    def name(self) -> str:
        """What the random stream of its resamples is named after."""
        return f"{self.experiment} {self.setting}"


def places_of(material: Material) -> list[Place]:
    """All settings of all experiments that an artifact shows, in its order."""
    return [Place(name, setting) for name in material.experiments for setting in material.settings(name)]


def place_title(material: Material, place: Place) -> str:
    """How a figure writes a setting: the experiment's title, with the setting's label if it has several."""
    one = material.experiment(place.experiment)
    return one.title + (f", {material.label(*place)}" if len(one.settings) > 1 else "")


def places_title(material: Material, places: Sequence[Place]) -> str:
    """The same of several: settings of one experiment stand together behind its title."""
    together: dict[str, list[Place]] = {}
    for place in places:
        together.setdefault(place.experiment, []).append(place)
    return "; ".join(
        place_title(material, of[0])
        if len(of) == 1
        else f"{material.experiment(name).title} ({'; '.join(material.label(*place) for place in of)})"
        for name, of in together.items()
    )


@dataclass(frozen=True)
class Field:
    """The runs of some methods at some settings: `runs` has a row for each run with a `score` (see the module).

    not_run: methods without such a run at any setting; `methods` are the others.
    """

    material: Material
    metric: str
    places: tuple[Place, ...]
    methods: tuple[str, ...]
    runs: pd.DataFrame
    not_run: tuple[str, ...]

    @functools.cached_property
    def _cells(self) -> dict[tuple[str, ...], pd.DataFrame]:
        cells = self.runs.groupby(["experiment", "setting", "method"])
        return {names: of.set_index("seed", drop=False).sort_index() for names, of in cells}

    def of(self, place: Place, method: str) -> pd.DataFrame:
        """The runs of one cell that have a score, by seed."""
        found = self._cells.get((*place, method))
        return self._none if found is None else found

    @functools.cached_property
    def _none(self) -> pd.DataFrame:
        return self.runs.iloc[:0].set_index("seed", drop=False)

    def scores(self, method: str) -> dict[str, dict[int, float]]:
        """The scores of a method by setting and seed, of settings where it has any."""
        cells = {place.name: self.of(place, method)["score"].to_dict() for place in self.places}
        return {name: {int(seed): score for seed, score in of.items()} for name, of in cells.items() if of}

    def counted(self, method: str, why: str) -> int:
        """How many runs of a method are lost for a reason (see `degenerate.lost`)."""
        return int(((self.runs["method"] == method) & (self.runs["lost"] == why)).sum())


def field_of(material: Material, metric: str, methods: Sequence[str] = (), settings: Iterable[Any] = ()) -> Field:
    """The field of an artifact. `methods`: all that it shows where none are named; `settings`: (experiment, setting).

    Raises ConfigError for a method or a setting that it does not show.
    """
    places, shown = places_of(material), dict[str, None]()
    for place in places:
        shown |= dict.fromkeys(material.methods(place.experiment, place.setting))
    chosen = [Place(*one) for one in settings] or places
    for what, names, known in (("method", methods, list(shown)), ("setting", chosen, places)):
        if unknown := [name for name in names if name not in known]:
            text = " ".join(unknown[0]) if isinstance(unknown[0], tuple) else unknown[0]
            raise ConfigError(f"{material.paper}/{material.name} shows no {what} {text}; name it in its `reads`")
    asked = list(methods or shown)
    runs = material.with_metric(material.runs, metric)
    there = [place in chosen for place in zip(runs["experiment"], runs["setting"], strict=True)]
    runs = runs[pd.Series(there, runs.index, dtype=bool) & runs["method"].isin(asked)]
    values = metrics.of(metric).turned(runs[metric].astype(float))
    scored = runs.assign(score=values.mask(runs["status"] == "diverged", -math.inf)).dropna(subset="score")
    found = set(scored["method"])
    kept = tuple(method for method in asked if method in found)
    return Field(material, metric, tuple(chosen), kept, scored, tuple(one for one in asked if one not in found))


# --- each setting ----------------------------------------------------------------------------------------------------


def per_setting(material: Material, against: str, metric: str, methods: Sequence[str] = ()) -> pd.DataFrame:
    """A line for each setting and method: the paired difference to the baseline, its t interval, and p by seed.

    p is corrected by Holm over the methods at the setting (`p_holm`), and over all lines (`p_holm_all`). A gain with a
    run that is lost (`degenerate.lost_in_pairs`) decides nothing: it has no p and does not count in the correction, and
    the note says why.
    """
    field = field_of(material, metric, [against, *(one for one in methods if one != against)] if methods else ())
    rivals = [method for method in field.methods if method != against]
    lines = [gain_line(field, place, method, against) for place in field.places for method in rivals]
    corrected = stats.holm([line["p"] for line in lines])
    for line, p in zip(lines, corrected, strict=True):
        line["p_holm_all"] = p
    for place in field.places:
        here = [line for line in lines if (line["experiment"], line["setting"]) == place]
        for line, p in zip(here, stats.holm([one["p"] for one in here]), strict=True):
            line["p_holm"] = p
    return frame(lines)


def gain_line(field: Field, place: Place, method: str, against: str) -> Row:
    """The line of one method at one setting, without any correction of its p."""
    material = field.material
    sides = [material.with_metric(material.of(*place, name), field.metric) for name in (method, against)]
    ours, theirs = (field.of(place, name) for name in (method, against))
    seeds = ours.index.intersection(theirs.index)
    pairs = [side.loc[seeds] for side in (ours, theirs)]
    gains = (pairs[0]["score"] - pairs[1]["score"]).tolist()
    why = lost_in_pairs(*pairs)
    test = stats.above(gains, 0.0, resolution=_resolution(field, pairs))
    missing = [name for name, side in zip((method, against), sides, strict=True) if side.empty]
    reasons = ", ".join(dict.fromkeys(material.why_not(*place, name) for name in missing))
    return {
        "panel": place_title(material, place),
        **cell_names(material, *place, method),
        "against": against,
        **paired_row(sides[0], sides[1], field.metric),
        "p": None if why else stats.two_sided(test.p_for, test.p_against),
        "note": reasons or why or ("" if len(seeds) else "no seed in common"),
    }


def _resolution(field: Field, sides: Sequence[pd.DataFrame]) -> float:
    """The step in which a gain is known."""
    records = field.material.records
    steps = ([resolution(records[run], field.metric) for run in side["run"] if run in records] for side in sides)
    return of_difference(*steps)


# --- over settings ---------------------------------------------------------------------------------------------------


def over_settings(material: Material, against: str, metric: str, methods: Sequence[str] = ()) -> pd.DataFrame:
    """Three lines for each method: interquartile mean of its gains, that by seed, and probability of improvement.

    `mean` is the value, `low` and `high` the ends of its 95 % interval: bootstrap, Student's, bootstrap; `n` counts
    pairs of runs (seeds of the second). Methods that were not run have lines without a number. Raises ConfigError where
    others were run and the baseline was not.
    """
    field = field_of(material, metric, [against, *(one for one in methods if one != against)] if methods else ())
    if against in field.not_run and field.methods:
        raise ConfigError(
            f"{material.paper}/{material.name}: no run of {against}, which gains are over; train it first"
        )
    rivals = [one for one in (*field.methods, *field.not_run) if one != against]
    lines = [line for method in rivals for line in _aggregate_lines(field, method, against)]
    return frame(lines)


def mean_gain_line(field: Field, places: Sequence[Place], method: str, against: str) -> Row:
    """What a method gains over a baseline on average over some settings: each seed's mean, Student's interval of them.

    A setting without a pair of runs, or with a run that diverged, is left out and named; a seed counts that has a pair
    at all others. With another run that is lost the gain decides nothing, and the last part of the note says why.
    `panel` is left to the caller.
    """
    shared, of = aggregates.paired_gains(field.scores(method), field.scores(against))
    whole = [place for place in places if place.name in of]
    common = sorted(set.intersection(*(set(of[place.name]) for place in whole))) if whole else []
    gains = [float(np.mean([of[place.name][seed] for place in whole])) for seed in common]
    used = [(place, common) for place in whole] if common else []
    absent = [place for place in places if place.name not in shared]
    lost = [place for place in places if place.name in shared and place not in whole]
    sides = [pd.concat([field.of(place, name).loc[common] for place in whole])
             for name in (method, against) if used]  # fmt: skip
    notes = [
        _places_text(field, "left out, with a run that diverged", lost),
        _absent(field, method, absent),
        lost_in_pairs(*sides),
    ]
    names: Row = {"method": method, "title": field.material.title(method), "against": against}
    line = _line(field, MEAN_GAIN_BY_SEED, stats.summarise(gains), used, [method, against])
    return {**names, **line, "note": "; ".join(filter(None, notes))}


def _aggregate_lines(field: Field, method: str, against: str) -> list[Row]:
    ours, theirs = field.scores(method), field.scores(against)
    shared, gains = aggregates.paired_gains(ours, theirs)
    used = [(place, shared[place.name]) for place in field.places if place.name in shared]
    whole = [(place, seeds) for place, seeds in used if place.name in gains]
    lost = [place for place, _ in used if place.name not in gains]
    absent = [place for place in field.places if place.name not in shared]
    note = _note(field, method, absent)
    left_out = _places_text(field, "left out, with a run that diverged", lost)
    lines: list[Row] = []
    for ending, found, of, more in (
        (MIDDLE_GAIN, aggregates.aggregate_gain(gains), whole, left_out),
        (MIDDLE_GAIN_BY_SEED, aggregates.gain_by_seed(gains), whole, left_out),
        (IMPROVEMENT, aggregates.improvement(ours, theirs), used, ""),
    ):
        names: Row = {"method": method, "title": field.material.title(method), "against": against}
        text = "; ".join(filter(None, (more, note)))
        lines.append({**names, **_line(field, ending, found, of, [method, against]), "note": text})
    return lines


def _line(
    field: Field, ending: str, found: Aggregate | Summary, used: list[tuple[Place, list[int]]], methods: list[str]
) -> Row:
    """What a line over settings says of an aggregate, and the runs that feed it."""
    value = found.value if isinstance(found, Aggregate) else found.mean
    cells = [field.of(place, method).loc[seeds] for method in methods for place, seeds in used]
    runs, digests = ([one for cell in cells for one in cell[name]] for name in ("run", "digest"))
    return {
        "metric": f"{field.metric}{ending}",
        "mean": value,
        "n": found.runs if isinstance(found, Aggregate) else found.n,
        "low": found.low,
        "high": found.high,
        "settings": len(used),
        "status": "run" if value is not None else "not run",
        "runs": join_runs(runs) if value is not None else "",
        "records": fingerprint(digests) if value is not None else "",
    }


def _note(field: Field, method: str, absent: list[Place]) -> str:
    """What a reader must know of a method's runs over the settings."""
    counts = {why: field.counted(method, why) for why in dict.fromkeys(field.runs["lost"]) if why}
    texts = [f"{why}: {count} run{'s' if count > 1 else ''}" for why, count in counts.items() if count]
    return "; ".join(filter(None, (_absent(field, method, absent), ", ".join(texts))))


def _absent(field: Field, method: str, absent: list[Place]) -> str:
    """Why a method has no run, or at which settings no pair of runs."""
    if method in field.not_run:
        return ", ".join(dict.fromkeys(field.material.why_not(*place, method) for place in field.places))
    return _places_text(field, "no pair of runs", _of_scale(field, absent))


def _of_scale(field: Field, places: Iterable[Place]) -> list[Place]:
    """Some settings less those that the scale does without, of which a figure says so itself."""
    return [place for place in places if not field.material.is_outside(*place)]


def _places_text(field: Field, what: str, places: list[Place]) -> str:
    return f"{what}: {places_title(field.material, places)}" if places else ""


# --- ranks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ranking:
    """Methods by average rank over the settings in which all were run, the best first.

    average, by_seed: the ranks of mean scores, and of the scores of single seeds, averaged; p: of signed ranks for each
    two methods, by Holm; seeds: of each setting.
    """

    methods: tuple[str, ...]
    average: np.ndarray
    by_seed: np.ndarray
    places: tuple[Place, ...]
    left_out: tuple[Place, ...]
    seeds: tuple[list[int], ...]
    friedman: ranks.Friedman
    critical_difference: float
    p: np.ndarray

    def bars(self, by: str = NEMENYI) -> list[list[int]]:
        """Methods (their places) that are not told apart, by Nemenyi's difference or by signed ranks."""
        if by not in BARS:
            raise ConfigError(f"bars by {by!r}: known are {', '.join(BARS)}")
        distances = np.abs(np.subtract.outer(self.average, self.average))
        alike = distances <= self.critical_difference if by == NEMENYI else self.p >= stats.ALPHA
        return ranks.cliques(self.average, alike)


def ranking(field: Field) -> Ranking | None:
    """Ranks over the settings where every method has a run of a seed; None with fewer than two methods, or no such."""
    cells = {method: field.scores(method) for method in field.methods}
    common = {
        place: sorted(set.intersection(*(set(of.get(place.name, {})) for of in cells.values())))
        for place in field.places
        if cells
    }
    places = tuple(place for place, seeds in common.items() if seeds)
    if len(cells) < 2 or not places:
        return None
    blocks = [np.array([[of[place.name][seed] for of in cells.values()] for seed in common[place]]) for place in places]
    means = np.round([block.mean(0) for block in blocks], DIGITS)
    ranked = ranks.ranks(means)
    order = sorted(range(len(cells)), key=lambda one: (ranked[:, one].mean(), field.material.title(field.methods[one])))
    return Ranking(
        methods=tuple(field.methods[one] for one in order),
        average=ranked.mean(0)[order],
        by_seed=np.concatenate([ranks.ranks(block) for block in blocks]).mean(0)[order],
        places=places,
        left_out=tuple(place for place in field.places if place not in places),
        seeds=tuple(common[place] for place in places),
        friedman=ranks.friedman(ranked),
        critical_difference=ranks.critical_difference(len(cells), len(places)),
        p=ranks.holm_pairs(ranks.signed_rank_p(means[:, order])),
    )


def rank_lines(field: Field, found: Ranking, bars: list[list[int]]) -> list[Row]:
    """Two lines for each method, the best first: its average rank, and that of single seeds; with the bars it is on."""
    lines: list[Row] = []
    used = list(zip(found.places, found.seeds, strict=True))
    runs = sum(map(len, found.seeds))
    for place, method in enumerate(found.methods):
        letters = "".join(chr(ord("a") + number) for number, bar in enumerate(bars) if place in bar)
        for ending, average in ((RANK, found.average[place]), (RANK_BY_SEED, found.by_seed[place])):
            value = Aggregate(float(average), None, None, len(used), runs)
            names: Row = {"method": method, "title": field.material.title(method), "bars": letters}
            absent = _places_text(field, "left out, not all methods were run", _of_scale(field, found.left_out))
            lines.append({**names, **_line(field, ending, value, used, [method]), "note": absent})
    return lines
