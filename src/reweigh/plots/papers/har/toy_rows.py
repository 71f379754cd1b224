"""The lines of HAR's toy, and the table that docs/har-strengths.md shows of them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from reweigh import stats
from reweigh.analysis.rows import Row
from reweigh.plots.papers.har import toy_best as best
from reweigh.plots.papers.har.toy_best import Interval, Outcome
from reweigh.plots.papers.har.toy_draws import DENSITY, ERROR, NOISE, PROBLEMS, UNIFORM, VARIANCE, Problem, lambdas_of

HAR, PAIR = "har", "best_pair"
ARMS = {
    UNIFORM: "uniform",
    DENSITY: "density only, q^−.4",
    NOISE: "noise only, I^.6",
    HAR: "HAR, q and I known",
    ERROR: "HAR by half, held-out error",
    VARIANCE: "HAR by half, held-out p(1 − p)",
    PAIR: "best pair of strengths",
}
RELEASED = Problem(flipped=True, rare_is_uncertain=True)  # rare and noisy at once, as in the authors' data
SWEPT = Problem(flipped=False, rare_is_uncertain=False)  # where the exponent shows
RISK, RISK_OF_PAIR, OVER_HAR = "excess_risk", "excess_risk_of_best_pair", "risk_over_har"
OVER_LOWEST, BEST, BEST_BY_HALF = "risk_over_lowest", "best_gamma", "best_gamma_by_half"
BY_FORMULA, BY_SIZE, FORMULA_BY_SIZE = "best_gamma_by_formula", "best_gamma_by_size", "best_gamma_by_size_and_formula"
DATA, BALANCED = "data", "balanced"
SIZES = 25  # of the formula's line


def toy_rows(options: Mapping[str, Any]) -> list[Row]:
    """All that is shown, computed from the options alone. `n` counts draws; intervals: 95 %, by bootstrap over draws.

    Panel a: `excess_risk` in nats (`y`) at each λ (`x`), Student's interval; `excess_risk_of_best_pair` (`y`). Panel b:
    `risk_over_har` (`y`), each arm (`method`) at its best λ over HAR at its own. Panels c and d: `risk_over_lowest`
    (`y`) at each γ (`x`); `best_gamma`, `best_gamma_by_half`, `best_gamma_by_formula` (`x`). Panel e: the first and the
    last by the number of examples (`x`). `note` says which halves count how much: as the `data` do, or `balanced`.
    """
    found = {problem: best.outcome(problem, options["n"], options) for problem in PROBLEMS}
    lines: list[Row] = [*_by_lambda(found[RELEASED], options)]
    for problem in PROBLEMS:
        lines += [{"panel": "b", **line} for line in _by_arm(found[problem], options)]
    for problem in PROBLEMS:
        lines += [{"panel": "d" if problem.flipped else "c", **line} for line in _by_gamma(found[problem], options)]
    lines += [{"panel": "e", "title": SWEPT.title, **line} for line in _by_size(options)]
    return [{"experiment": "", "status": "computed", **line} for line in lines]


def _numbers(axis: str, of: Interval, options: Mapping[str, Any]) -> dict[str, Any]:
    return {axis: float(of.value), "low": float(of.low), "high": float(of.high), "n": options["draws"]}


def _place(method: str, options: Mapping[str, Any]) -> int:
    """Where a method stands among the shapes."""
    after = [UNIFORM, DENSITY, NOISE, ERROR, VARIANCE]
    return best.har_place(options) if method == HAR else len(options["gammas"]) + after.index(method)


def _by_lambda(found: Outcome, options: Mapping[str, Any]) -> Iterator[Row]:
    weights = best.half_weights(options)[BALANCED]
    for method in (UNIFORM, HAR, ERROR):
        base: Row = {"panel": "a", "method": method, "title": ARMS[method], "note": BALANCED}
        risks = found.risks[:, _place(method, options)] @ weights
        for value, of_draws in zip(lambdas_of(options).tolist(), risks.T, strict=True):
            mean = stats.summarise(of_draws)
            yield {**base, "metric": RISK, "x": value, "y": mean.mean or 0.0, "n": mean.n,
                   "low": mean.low, "high": mean.high}  # fmt: skip
    pair = best.interval(best.best_pair(found, options)[1] @ weights)
    line: Row = {"panel": "a", "method": PAIR, "title": ARMS[PAIR], "note": BALANCED, "metric": RISK_OF_PAIR}
    yield {**line, **_numbers("y", pair, options)}  # type: ignore[typeddict-item]


def _by_arm(found: Outcome, options: Mapping[str, Any]) -> Iterator[Row]:
    weights = best.half_weights(options)[BALANCED]
    risks = best.at_best_lambda(found, weights, options)
    har, pair = risks[:, best.har_place(options)], best.best_pair(found, options)[1] @ weights
    for method, title in ARMS.items():
        if method != HAR:
            own = pair if method == PAIR else risks[:, _place(method, options)]
            base: Row = {"method": method, "title": title, "metric": OVER_HAR, "value": found.problem.name}
            numbers = _numbers("y", best.interval(own / har), options)
            yield {**base, "note": f"{found.problem.name}, {BALANCED}", **numbers}  # type: ignore[typeddict-item]


def _by_gamma(found: Outcome, options: Mapping[str, Any]) -> Iterator[Row]:
    title, gammas = found.problem.title, np.array(options["gammas"])
    for note, weights in best.half_weights(options).items():
        risks = best.at_best_lambda(found, weights, options)[:, : len(gammas)]
        over = best.interval(risks / best.lowest(gammas, risks)[1][:, None])
        base: Row = {"title": title, "note": note}
        for gamma, *ends in zip(gammas.tolist(), *over, strict=True):
            numbers = _numbers("y", Interval(*ends), options)
            yield {**base, "metric": OVER_LOWEST, "x": gamma, **numbers}  # type: ignore[typeddict-item]
        numbers = _numbers("x", best.best_exponent(found, weights, options), options)
        yield {**base, "metric": BEST, **numbers}  # type: ignore[typeddict-item]
    of_halves = _numbers("x", best.exponent_by_half(found, options), options)
    yield {"title": title, "metric": BEST_BY_HALF, **of_halves}  # type: ignore[typeddict-item]
    formula = best.exponent_by_theory(found.truth, found.n, None)
    yield {"title": title, "metric": BY_FORMULA, "x": formula}


def _by_size(options: Mapping[str, Any]) -> Iterator[Row]:
    for n in options["sizes"]:
        found = best.outcome(SWEPT, n, options)
        for note, weights in best.half_weights(options).items():
            numbers = _numbers("y", best.best_exponent(found, weights, options), options)
            yield {"metric": BY_SIZE, "note": note, "x": float(n), **numbers}  # type: ignore[typeddict-item]
    ends, truth = (min(options["sizes"]) / 1.3, max(options["sizes"]) * 1.3), best.truth_of(SWEPT, options)
    for n in np.geomspace(*ends, SIZES).tolist():
        formula = best.exponent_by_theory(truth, n, options["amplitudes"]["same"])
        yield {"metric": FORMULA_BY_SIZE, "x": n, "y": formula}


# --- the table of the docs -------------------------------------------------------------------------------------------


def table(rows: pd.DataFrame) -> str:
    """The numbers of the toy as Markdown: a line for each problem and weighing of the halves."""
    lines = [
        "| problem | halves count | best γ | lost at γ = 0, .6, .9 | best γ by half | by formula |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for problem in PROBLEMS:
        mine = rows[(rows["panel"] == ("d" if problem.flipped else "c")) & (rows["title"] == problem.title)]
        half, formula = mine[mine["metric"] == BEST_BY_HALF].iloc[0], mine[mine["metric"] == BY_FORMULA].iloc[0]
        for note in (DATA, BALANCED):
            of = mine[mine["note"] == note]
            curve = of[of["metric"] == OVER_LOWEST].set_index("x")["y"]
            lost = ", ".join(f"{100 * (curve[gamma] - 1):.1f}" for gamma in (0.0, 0.6, 0.9))
            cells = [problem.name, note, spanned(of[of["metric"] == BEST].iloc[0], "x"), f"{lost} %"]
            cells += [spanned(half, "x"), number(formula["x"])]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def arms_table(rows: pd.DataFrame) -> str:
    """The excess risk of each arm over that of HAR as Markdown, each at its best λ; halves count equally."""
    lines = ["| strengths | " + " | ".join(one.name for one in PROBLEMS) + " |", "| --- |" + " --- |" * len(PROBLEMS)]
    mine = rows[rows["metric"] == OVER_HAR]
    for title, of in mine.groupby("title", sort=False):
        by_problem = of.set_index("value")
        cells = [spanned(by_problem.loc[one.name], "y") for one in PROBLEMS]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spanned(row: Mapping[str, Any], axis: str) -> str:
    """`0.57 (0.53 to 0.61)`."""
    return f"{number(row[axis])} ({number(row['low'])} to {number(row['high'])})"


def number(value: float) -> str:
    """Two decimals, and a true minus sign."""
    return f"{value:.2f}".replace("-", "−")
