"""How often the rules err, as docs/verdicts.md shows it: that for published numbers (`rates`), and those for claims.

Rates and sds are fractions; tables are in per cent, and in points (1 point = 0.01).

`markdown_tables` returns the tables of docs/verdicts.md.
"""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr

from reweigh import stats
from reweigh.analysis import tables
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.scorecard import compare_tables, coverage, scored_records
from reweigh.scorecard.order_rates import (
    decided,
    simulate_frequencies,
    simulate_orders,
    simulate_tracking,
    simulate_trade_offs,
    simulate_walks,
)
from reweigh.scorecard.rates import DRAWS, Case, Rates, exact, expect, shares, verdicts_on
from reweigh.scorecard.readme import put
from reweigh.scorecard.simulations import (
    TOGETHER,
    simulate_averages,
    simulate_quartiles,
    simulate_spreads,
    simulate_ties,
)
from reweigh.scorecard.text import percent, table
from reweigh.streams import rng

SEEDS = (3, 5, 10)
HEADS = [f"n = {n}" for n in SEEDS]
POINT = 0.01
QUANTILES = {"10 %": 0.1, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "90 %": 0.9}
ANY_SD = np.geomspace(0.05, 10, 60) * POINT
CAPTIONS = {
    "perfect": "A perfect replication of a true mean, in %: replicated / better or worse / inconclusive",
    "noisy": "A perfect replication of a mean over few runs, in %: replicated / better or worse / inconclusive",
    "gaps": "Ours is worse by a true gap, τ = 1 point, in %: replicated / worse / inconclusive",
    "spreads": "Standard deviations over seeds that occur in practice, in points",
    "claims": "How often a claim of a gain is decided, in %: without a gain either way, else `holds`",
    "others": "Other claims, and runs that are not normal, in %",
    "intervals": coverage.CAPTION,
    **compare_tables.CAPTIONS,
}


# --- claims ----------------------------------------------------------------------------------------------------------


def claim_rates(gain: float, sd: float, n: int, tests: int = 1, places: int = 1) -> Rates:
    """How often a `greater` claim with margin 0 holds and fails where its p is the smallest of `tests` p values.

    gain: the true mean of the n paired differences at each of `places` independent places; sd: of one difference.
    """

    def beyond(mean: float, share: float) -> float:
        bound = stats.t_quantile(n - 1, 1 - 2 * share) / math.sqrt(n)
        return float(expect(lambda s: ndtr((mean - bound * s) * math.sqrt(n) / sd), sd, n - 1, sd))

    side = stats.ALPHA / tests / 2
    return {"holds": beyond(gain, side) ** places, "fails": 1 - (1 - beyond(-gain, side / places)) ** places}


def excess_rates(gain: float, sd: float, n: int, tests: int = 1) -> Rates:
    """How often a `gains_more` claim holds and fails where one gain is larger by `gain`, with independent runs of `sd`.

    The difference of two differences of such runs has twice their sd. What the runs of a seed share goes away.
    """
    return claim_rates(gain, 2 * sd, n, tests)


def within_rate(difference: float, sd: float, n: int, margin: float, tests: int = 1) -> float:
    """How often a `within` claim holds at one place, by two one-sided tests."""
    bound = stats.t_quantile(n - 1, 1 - stats.ALPHA / tests) / math.sqrt(n)

    def given(s: np.ndarray) -> np.ndarray:
        reach = np.maximum(0.0, margin - bound * s)
        return ndtr((reach - difference) * math.sqrt(n) / sd) - ndtr((-reach - difference) * math.sqrt(n) / sd)

    return float(expect(given, sd, n - 1, margin / bound))


def simulate_collapses(n: int, sd: float, share: float, loss: float, draws: int = DRAWS) -> tuple[Rates, float]:
    """Runs of which a share collapses and loses so much: rates of verdicts, and how often a claim is falsely decided.

    The published number is the true mean. The claim compares two such methods by pairs; there is no true difference.
    """
    random = rng(0, "collapses", n)
    values = sd * random.standard_normal((2, draws, n)) - loss * (random.random((2, draws, n)) < share)
    differences = values[0] - values[1]
    t = differences.mean(1) / (differences.std(1, ddof=1) / math.sqrt(n))
    return shares(verdicts_on(-loss * share, 0.0, values[0])), float((abs(t) > stats.t_quantile(n - 1)).mean())


# --- what docs/verdicts.md shows -------------------------------------------------------------------------------------


def spreads(config: Config) -> pd.DataFrame:
    """Sds over seeds that occur in practice, in points: columns sd of, number (of sds), and quantiles.

    There is a row for the test accuracy in the records at scale paper, one for differences to plain training, seed by
    seed, and one for what each paper prints. Cells in which every run predicts one class only are left out, because
    nothing varies there.
    """
    columns = ["paper", "experiment", "setting", "method"]
    runs = tables.table(scored_records(config, "paper"))
    runs = runs[runs["status"] == "finished"]
    kept = runs[~runs.groupby(columns)["collapsed"].transform("all")]
    accuracies = {cell: rows.set_index("seed")["test_accuracy"] for cell, rows in kept.groupby(columns)}
    differences = []
    for cell, ours in accuracies.items():
        plain = (*cell[:3], config.paper(cell[0]).plain(cell[3]))
        if cell != plain and plain in accuracies:
            differences.append((ours - accuracies[plain]).std(ddof=1))
    sds_of = {
        "one run of ours": [values.std(ddof=1) for values in accuracies.values()],
        "our difference to plain training, by seed": differences,
    }
    for paper in config.project.papers:
        sds_of[f"what {paper} prints"] = tables.published(config, paper)["std"].tolist()
    rows = []
    for kind, fractions in sds_of.items():
        sds = 100 * pd.Series(fractions, dtype=float).dropna()
        quantiles = {name: sds.quantile(level) for name, level in QUANTILES.items()}
        rows.append({"sd of": kind, "number": len(sds), **quantiles})
    return pd.DataFrame(rows)


def curves() -> pd.DataFrame:
    """The figure's data: columns sd, n, gap (points, ours minus published) and the probability of each verdict."""
    gaps = np.linspace(-5, 5, 101)
    rows = [(sd, n, gap, Case(gap * POINT, sd * POINT, n)) for sd in (0.5, 1.0) for n in SEEDS for gap in gaps]
    return pd.DataFrame([{"sd": sd, "n": n, "gap": gap, **exact(case)} for sd, n, gap, case in rows])


def markdown_tables(config: Config) -> dict[str, str]:
    """Every table of docs/verdicts.md, by its name there: rates in per cent, sds and gaps in points."""
    return {
        "perfect": _perfect(),
        "noisy": _noisy(),
        "gaps": _gaps(),
        "spreads": _spreads(config),
        "claims": _claims(),
        "others": _others(),
        "intervals": coverage.markdown(),
        **compare_tables.markdown_tables(config),
    }


def text(root: str | Path = ".") -> str:
    """All tables, each under its caption."""
    return "\n\n".join(f"{CAPTIONS[name]}\n\n{body}" for name, body in markdown_tables(load(root)).items())


def write(folder: Path, root: str | Path = ".") -> list[Path]:
    """Put the tables into `folder`/verdicts.md, between their markers, and draw verdicts.png beside it."""
    from reweigh.plots import probabilities

    text, picture = folder / "verdicts.md", folder / "verdicts.png"
    for name, body in markdown_tables(load(root)).items():
        put(text, name, body)
    picture.write_bytes(probabilities.draw(curves()).png())
    return [text, picture]


def _perfect() -> str:
    rows = []
    for sd, prints in [(0.2, False), (0.5, False), (1, False), (2, False), (2, True)]:
        cases = [Case(0, sd * POINT, n, prints_sd=prints) for n in SEEDS]
        rows.append([f"{sd:g}", f"{sd if prints else 1:g}", *map(_wrong_side, cases)])
    return table(["sd of a run", "tolerance τ", *HEADS], rows)


def _noisy() -> str:
    rows = []
    for sd, runs, prints in itertools.product((1, 2), (3, 5), (True, False)):
        cases = [Case(0, sd * POINT, n, runs, prints) for n in SEEDS]
        rows.append([f"{sd:g}", str(runs), "yes" if prints else "no", *map(_wrong_side, cases)])
    return table(["sd of a run", "runs in the paper", "prints its sd", *HEADS], rows)


def _gaps() -> str:
    rows = []
    for gap in (1, 2, 3, 5):
        for sd in (0.2, 0.5, 1, 2):
            rates = [exact(Case(-gap * POINT, sd * POINT, n)) for n in SEEDS]
            fields = [_triple(rate["replicated"], rate["worse"], rate["inconclusive"]) for rate in rates]
            rows.append([str(gap), f"{sd:g}", *fields])
        worst = [max(exact(Case(-gap * POINT, sd, n))["replicated"] for sd in ANY_SD) for n in SEEDS]
        rows.append([str(gap), "any", *(f"at most {percent(rate)}" for rate in worst)])
    return table(["true gap", "sd of a run", *HEADS], rows)


def _spreads(config: Config) -> str:
    frame = spreads(config)
    rows = [
        [kind, str(count), *(f"{sd:.2f}" if count else "–" for sd in sds)]
        for kind, count, *sds in frame.itertuples(index=False)
    ]
    return table([*frame.columns], rows)


def _claims() -> str:
    head = ["true gain", "sd of a difference", *(f"n = {n}: {which}" for n in SEEDS for which in ("alone", "of 10"))]
    rows = []
    for gain in (0, 1, 2):
        for sd in (0.5, 1, 2):
            rates = [claim_rates(gain * POINT, sd * POINT, n, tests) for n in SEEDS for tests in (1, 10)]
            if gain or sd == 1:  # without a gain the sd does not matter
                fields = [percent(rate["holds"] + (0 if gain else rate["fails"])) for rate in rates]
                rows.append([str(gain), f"{sd:g}" if gain else "any", *fields])
    return table(head, rows)


def _others() -> str:
    collapses = [simulate_collapses(n, 0.5 * POINT, 0.1, 40 * POINT) for n in SEEDS]
    four = [claim_rates(0, POINT, n, places=4) for n in SEEDS]
    rows = {
        "`greater` at four places at once, no difference at any: decided": [sum(rates.values()) for rates in four],
        "`greater` at four places at once, a gain of 1 point at each, sd 1: `holds`": [
            claim_rates(POINT, POINT, n, places=4)["holds"] for n in SEEDS
        ],
        "`within` 1 point, the truth just outside, sd 0.5: `holds`": [
            within_rate(POINT, 0.5 * POINT, n, POINT) for n in SEEDS
        ],
        "`within` 1 point, no difference at all, sd 0.5: `holds`": [
            within_rate(0, 0.5 * POINT, n, POINT) for n in SEEDS
        ],
        "`greater_on_average` over eight places that correlate by .75, no difference: decided (simulated)": [
            simulate_averages(n, 8, TOGETHER) for n in SEEDS
        ],
        "the same, if places counted as independent: decided (simulated)": [
            simulate_averages(n, 8, TOGETHER, by_seed=False) for n in SEEDS
        ],
        "`greater` of 10, runs that scatter by 0.7 of a test example, no difference: decided (simulated)": [
            simulate_ties(n, 0.7, tests=10) for n in SEEDS
        ],
        "the same, if an sd of 0 counted as 0: decided (simulated)": [
            simulate_ties(n, 0.7, tests=10, floor=False) for n in SEEDS
        ],
        "`smaller_spread` over four settings, independent, equal spreads: decided (simulated)": [
            simulate_spreads(n, 4, 0.0) for n in SEEDS
        ],
        "the same, settings that correlate by .75: decided (simulated)": [
            simulate_spreads(n, 4, TOGETHER) for n in SEEDS
        ],
        "the same, one sd three times the other: decided (simulated)": [
            simulate_spreads(n, 4, TOGETHER, ratio=3) for n in SEEDS
        ],
        "`smaller_spread` at one setting, equal spreads: decided (simulated)": [
            simulate_spreads(n, 1, 0.0) for n in SEEDS
        ],
        "1 run of 10 collapses by 40 points, sd 0.5 else; a perfect replication: better or worse (simulated)": [
            rates["better"] + rates["worse"] for rates, _ in collapses
        ],
        "the same; a perfect replication: `replicated` (simulated)": [rates["replicated"] for rates, _ in collapses],
        "two such methods without a difference, `greater`: decided (simulated)": [claim for _, claim in collapses],
    }
    rows["n rounds of the bench: the true median is between their quartiles (simulated)"] = [
        simulate_quartiles(n) for n in SEEDS
    ]
    body = [[text, *map(percent, rates)] for text, rates in (rows | _excesses() | _orders()).items()]
    return table(["what is true, and what is said", *HEADS], body)


def _excesses() -> dict[str, list[float]]:
    """Rates of claims that one gain is larger than another, alone, and as the first of ten."""
    rows = {"`gains_more`, equal gains: decided": [sum(excess_rates(0, POINT, n).values()) for n in SEEDS]}
    for gain, sd, tests in ((1, 0.25, 1), (1, 0.5, 1), (1, 0.5, 10), (2, 0.5, 1)):
        of = f" of {tests}" if tests > 1 else ""
        text = (
            f"`gains_more`{of}, one gain larger by {gain} point{'s' if gain > 1 else ''}, sd of a run {sd:g}: `holds`"
        )
        rows[text] = [excess_rates(gain * POINT, sd * POINT, n, tests)["holds"] for n in SEEDS]
    return rows


def _orders() -> dict[str, list[float]]:
    """Rates of claims about orders, trade-offs and what is logged on the way, all of them simulated."""
    frequencies = "`follows_frequency` of ten classes, margin .5, "
    return {
        "`ordered` over three methods, no difference: decided (simulated)": [
            decided(simulate_orders(n, 3, 0, 0.5)) for n in SEEDS
        ],
        "`ordered` over seven settings, no difference: decided (simulated)": [
            decided(simulate_orders(n, 7, 0, 0.5)) for n in SEEDS
        ],
        "`ordered` over three methods, a sd of a run from each to the next: `holds` (simulated)": [
            decided(simulate_orders(n, 3, 1, 0.5), holds=True) for n in SEEDS
        ],
        "`dominates` over eleven points, no difference, sd 1: decided (simulated)": [
            decided(simulate_trade_offs(n, 11, 0, (POINT, POINT))) for n in SEEDS
        ],
        "`dominates` over eleven points, no difference, sd 5 against 1: decided (simulated)": [
            decided(simulate_trade_offs(n, 11, 0, (5 * POINT, POINT))) for n in SEEDS
        ],
        "`dominates` over eleven points, a gain of 1 point in both metrics, sd 1: `holds` (simulated)": [
            decided(simulate_trade_offs(n, 11, POINT, (POINT, POINT)), holds=True) for n in SEEDS
        ],
        "`varies_less`, ten values that walk equally fast: decided (simulated)": [
            decided(simulate_walks(n, 10, 1.0)) for n in SEEDS
        ],
        "`varies_less`, ten values, the rival's a fifth faster: `holds` (simulated)": [
            decided(simulate_walks(n, 10, 1.2), holds=True) for n in SEEDS
        ],
        "`reaches` within 1 point, the truth just outside, sd 0.5: `holds`": [
            (1 - stats.LEVEL) / 2
            for _ in SEEDS  # a one-sample t test at its margin
        ],
        "`tracks_test`, validation off by its scatter alone, on average as far as training: decided (simulated)": [
            decided(simulate_tracking(n, math.sqrt(2 / math.pi), 1.0)) for n in SEEDS
        ],
        "`tracks_test`, validation off by its scatter alone, training by three sds of that: `holds` (simulated)": [
            decided(simulate_tracking(n, 3.0, 1.0), holds=True) for n in SEEDS
        ],
        f"{frequencies}any order: `holds` (simulated)": [
            decided(simulate_frequencies(n, 10, 0, 0.5), holds=True) for n in SEEDS
        ],
        f"{frequencies}half a sd from class to class: `holds` (simulated)": [
            decided(simulate_frequencies(n, 10, 0.5, 0.5), holds=True) for n in SEEDS
        ],
    }


def _wrong_side(case: Case) -> str:
    """replicated / better or worse / inconclusive"""
    rates = exact(case)
    return _triple(rates["replicated"], rates["better"] + rates["worse"], rates["inconclusive"])


def _triple(*rates: float) -> str:
    return " / ".join(map(percent, rates))
