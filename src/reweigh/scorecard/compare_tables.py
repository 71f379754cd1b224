"""What docs/verdicts.md shows of the comparison of all methods: rates of `compare_rates`, and how far records scatter.

Rates are in per cent; gains, sds and widths in points.
"""

import itertools

import pandas as pd

from reweigh.analysis import tables
from reweigh.config.grid import Config
from reweigh.ranks import critical_difference, least_signed_rank_p
from reweigh.scorecard import scored_records
from reweigh.scorecard.compare_rates import (
    anywhere,
    by_seed_coverage,
    called,
    coverage,
    improvement_coverage,
    ranked,
    winner,
)
from reweigh.scorecard.text import percent, table

SEEDS, SETTINGS, METHODS = (5, 10), (8, 14), (12, 18)
FEWEST_SEEDS = 5  # of cells whose differences are shown
CAPTIONS = {
    "compare-spreads": "Gains over plain training in the records at scale `paper`: sds over seeds, in points",
    "compare-gains": "Many methods at single settings, in %",
    "compare-intervals": "How often intervals over settings have the true value in them, in %",
    "compare-ranks": "Ranks over settings, in %",
    "compare-winner": "How often the method with the largest gain is the best, in % / points by which it is overstated",
}
GAINS = ((0.25, 0.5), (0.5, 0.5), (1, 0.5), (2, 0.5), (0.5, 1.5), (1, 1.5), (2, 1.5), (4, 1.5))
SHARED = (0.25, 0.5)  # correlations of gains on the same seed at two settings
FIRST = "what is true, and what is said"
# Spread of true gains over methods, sd of a difference, methods.
WINNERS = ((0, 0.5, 12), (0, 0.5, 18), (0.5, 0.5, 12), (0.5, 0.5, 18), (0, 1.5, 12), (0.5, 1.5, 12), (0.5, 1.5, 18))


def markdown_tables(config: Config) -> dict[str, str]:
    """The tables by their names in the page."""
    return {
        "compare-spreads": _spreads(config),
        "compare-gains": _gains(),
        "compare-intervals": _intervals(),
        "compare-ranks": _ranks(),
        "compare-winner": _winner(),
    }


def spreads(config: Config) -> pd.DataFrame:
    """Gains in test accuracy over plain training, by seed, of each experiment with two cells of five seeds or more.

    Columns: experiment; cells; their sds (points) at three quantiles; the median correlation over seeds of a method's
    gains at two settings, and of two methods' gains at one setting (NaN without such pairs). Cells whose gains do not
    vary are left out, and so are those of which a run predicts one class only.
    """
    runs = tables.table(scored_records(config, "paper"))
    runs = runs[runs["status"] == "finished"]
    rows = []
    for (paper, experiment), of in runs.groupby(["paper", "experiment"]):
        gains = gains_of(config, paper, of)
        if len(gains) < 2:
            continue
        sds = 100 * gains.std(ddof=1)
        pairs = gains.corr(min_periods=FEWEST_SEEDS)
        found: dict[str, list[float]] = {"settings": [], "methods": []}
        for one, other in itertools.combinations(gains.columns, 2):
            same = [a == b for a, b in zip(one, other, strict=True)]  # setting, method
            if any(same):
                found["methods" if same[0] else "settings"].append(float(pairs.loc[one, other]))
        quantiles = {f"{share:.0%}".replace("%", " %"): sds.quantile(share) for share in (0.25, 0.5, 0.75)}
        medians = {f"two {name}": pd.Series(values, dtype=float).median() for name, values in found.items()}
        rows.append({"experiment": f"{paper}/{experiment}", "cells": len(sds), **quantiles, **medians})
    return pd.DataFrame(rows)


def gains_of(config: Config, paper: str, runs: pd.DataFrame) -> pd.DataFrame:
    """The gains of one experiment: a row a seed, a column a cell (setting, method).

    Without cells of which a run predicts one class only: how far they scatter is how far from that class others are.
    """
    cells = {
        names: of.set_index("seed")["test_accuracy"]
        for names, of in runs.groupby(["setting", "method"])
        if not of["collapsed"].any()
    }
    gains = {}
    for (setting, method), ours in cells.items():
        plain = cells.get((setting, config.paper(paper).plain(method)))
        if plain is None or plain is ours:
            continue
        gain = (ours - plain).dropna()
        if len(gain) >= FEWEST_SEEDS and gain.std() > 0:
            gains[setting, method] = gain
    return pd.DataFrame(gains)


def _spreads(config: Config) -> str:
    frame = spreads(config)
    head = ["experiment", "cells", "sd: 25 %", "median", "75 %", "correlation: two settings", "two methods"]
    rows = [
        [f"`{name}`", str(cells), *("–" if pd.isna(value) else f"{value:.2f}".replace("-", "−") for value in values)]
        for name, cells, *values in frame.itertuples(index=False)
    ]
    return table(head, rows)


def _gains() -> str:
    columns, many = list(itertools.product(SEEDS, METHODS)), SETTINGS[-1]
    alone = [called(n, k, 1)[0] for n, k in columns]
    rows = [_row("no method gains: any is called better or worse, at one setting", alone)]
    for count in SETTINGS:
        text = f"the same, at any of {count} settings, Holm at each"
        rows.append(_row(text, [anywhere(rate, count) for rate in alone]))
    over_all = [called(n, k, 1, settings=many)[0] for n, k in columns]
    rows.append(_row(f"the same, at any of {many} settings, Holm over all of them", over_all))
    for gain, sd in GAINS:
        rates = [called(n, k, sd, (gain,))[1] for n, k in columns]
        rows.append(_row(f"one gains {gain:g}, sd {sd:g}: it is called better", rates))
    for gain, sd in ((1, 0.5), (2, 0.5), (4, 1.5)):
        rates = [called(n, k, sd, (gain,), many)[1] for n, k in columns]
        rows.append(_row(f"one gains {gain:g}, sd {sd:g}: the same, Holm over {many} settings", rates))
    return table([FIRST, *(f"n = {n}, {k} methods" for n, k in columns)], rows)


def _intervals() -> str:
    columns = list(itertools.product(SEEDS, SETTINGS))
    cases = [("the same gain everywhere", 0.0, 0.0), ("gains that differ by 2 (sd) between settings", 2.0, 0.0)]
    cases += [(f"gains that differ by 2, correlation {shared:g} between settings", 2.0, shared) for shared in SHARED]
    rows = []
    for text, spread, shared in cases:
        kinds = {
            "bootstrap": [coverage(n, s, spread, shared)[0] for n, s in columns],
            "bootstrap, settings resampled together": [
                coverage(n, s, spread, shared, together=True)[0] for n, s in columns if shared
            ],
            "t, each seed once": [by_seed_coverage(n, s, spread, shared) for n, s in columns],
        }
        rows += [_row(f"interquartile mean, {text}: {kind}", rates) for kind, rates in kinds.items() if rates]
    for text, gain, shared, together in (
        ("no difference: bootstrap", 0.0, 0.0, False),
        ("a gain of one sd of a difference: bootstrap", 1.0, 0.0, False),
        ("the same, correlation 0.5 between settings: bootstrap", 1.0, 0.5, False),
        ("the same, settings resampled together", 1.0, 0.5, True),
    ):
        rates = [improvement_coverage(n, s, gain, shared, together) for n, s in columns]
        rows.append(_row(f"probability of improvement, {text}", rates))
    return table([FIRST, *(f"n = {n}, {s} settings" for n, s in columns)], rows)


def _ranks() -> str:
    columns = list(itertools.product(SETTINGS, METHODS))
    any_two, better = "any two told apart", "told to be better than another one"
    tests = {"friedman": "Friedman's test rejects", "iman_davenport": "Iman and Davenport's F rejects"}
    wrong = {**tests, "nemenyi": f"Nemenyi, {any_two}", "signed_ranks": f"signed ranks, {any_two}"}
    right = {**tests, "nemenyi_best": f"Nemenyi, {better}", "signed_ranks_best": f"signed ranks, {better}"}
    vary = "methods differ by {:g} (sd) from setting to setting"
    rows = [["Nemenyi's critical difference, in ranks", *(f"{critical_difference(k, s):.1f}" for s, k in columns)]]
    least = [min(1.0, k * (k - 1) / 2 * least_signed_rank_p(s)) for s, k in columns]
    rows.append(["the least p that signed ranks can have, by Holm", *(f"{p:.3f}" for p in least)])
    for text, words, n, gain, varies, by_seed in (
        ("n = 5, no difference", wrong, 5, 0.0, 0.0, False),
        (f"n = 5, {vary.format(1)}, not on the whole", wrong, 5, 0.0, 1.0, False),
        ("the same, a block for each setting and seed", wrong, 5, 0.0, 1.0, True),
        (f"n = 5, one is better by 1, {vary.format(1)}", right, 5, 1.0, 1.0, False),
        (f"n = 10, one is better by 1, {vary.format(1)}", right, 10, 1.0, 1.0, False),
        (f"n = 5, one is better by 1, {vary.format(0.5)}", right, 5, 1.0, 0.5, False),
    ):
        rates = [ranked(n, s, k, gain, varies, by_seed=by_seed) for s, k in columns]
        rows += [_row(f"{text}: {what}", [rate[key] for rate in rates]) for key, what in words.items()]
    return table([FIRST, *(f"{s} settings, {k} methods" for s, k in columns)], rows)


def _winner() -> str:
    counts = (1, *SETTINGS)
    columns = list(itertools.product(SEEDS, counts))
    rows = []
    for spread, sd, methods in WINNERS:
        found = [winner(n, methods, spread, sd, s) for n, s in columns]
        text = f"{methods} methods, true gains {f'differ by {spread:g} (sd)' if spread else 'all 0'}, sd {sd:g}"
        rows.append([text, *(f"{percent(one['best']) if spread else '–'} / {one['overstated']:.2f}" for one in found)])
        rows.append(["its t interval has its true gain in it", *(percent(one["covered"]) for one in found)])
    heads = [f"n = {n}, {s} setting{'s' if s > 1 else ''}" for n, s in columns]
    return table(["what is true", *heads], rows)


def _row(text: str, rates: list[float]) -> list[str]:
    return [text, *map(percent, rates)]
