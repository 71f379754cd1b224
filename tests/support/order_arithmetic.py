"""The arithmetic of the tests in `scorecard/order_tests.py` and `trade_off_tests.py`, from raw records with numpy and
scipy alone; and of those of `claim_tests.py` that only claims about errors use.

`tests/scorecard/test_scorecard_scipy.py` gives its own functions.
"""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from support import metric_arithmetic

Side = dict[str, Any]
Claim = dict[str, Any]
Folder = tuple[str, str]
SINGLE = 2.0**-23  # what a float32 is worth
NORMAL = 8  # columns of Page's test that are too many to write all orders out here


class OrderArithmetic:
    """One method for each test; `of` has them by name."""

    def __init__(self, results: Path, cell: Any, values: Any, step_of: Any, t_test: Any, degenerate: Any) -> None:
        self.results, self.cell, self.values, self.step_of = results, cell, values, step_of
        self.t_test, self.degenerate = t_test, degenerate

    def of(self) -> dict[str, Callable[[Claim, list[str], Folder], list[Side]]]:
        names = ("ordered", "follows_frequency", "dominates", "varies_less", "reaches", "tracks_test", "logs_more")
        return {name: getattr(self, name) for name in (*names, "stays_above", "cell_above", "within", "explained_by")}

    # --- orders ---

    def ordered(self, claim: Claim, settings: list[str], folder: Folder) -> list[Side]:
        metric = claim.get("metric", "test_accuracy")
        if claim["order"] == "settings":
            places = [[(*folder, setting, claim["better"]) for setting in settings]]
        else:
            names = [claim["better"], *claim["worse"]][::-1]
            places = [[(*folder, setting, name) for name in names] for setting in settings]
        return [self.degenerate(self._page(place, metric), *place, metric=metric) for place in places]

    def _page(self, names: list[tuple[str, ...]], metric: str) -> Side:
        found = [self.values(metric, *one) for one in names]
        seeds = sorted(set.intersection(*map(set, found)))
        ranks = [scipy_stats.rankdata(np.round([one[seed] for one in found], 12)) for seed in seeds]
        n, k, places = len(seeds), len(names), np.arange(1, len(names) + 1)
        total = float(sum(places @ row for row in ranks))
        mean = n * k * (k + 1) ** 2 / 4
        if k >= NORMAL and not any(len(set(row)) < k for row in ranks):
            test = scipy_stats.page_trend_test(np.array(ranks), method="exact" if k <= 10 else "asymptotic")
            mirrored = scipy_stats.page_trend_test(
                np.array(ranks)[:, ::-1], method="exact" if k <= 10 else "asymptotic"
            )
            sides = {"for": test.pvalue, "against": mirrored.pvalue}
        else:
            sums: dict[float, float] = {0.0: 1.0}
            for row in ranks:  # every order of a seed's ranks is as likely as any other
                orders = [float(places @ np.array(order)) for order in itertools.permutations(row)]
                after: dict[float, float] = {}
                for so_far, chance in sums.items():
                    for one in orders:
                        after[so_far + one] = after.get(so_far + one, 0.0) + chance / len(orders)
                sums = after
            sides = {"for": sum(chance for value, chance in sums.items() if value >= total),
                     "against": sum(chance for value, chance in sums.items() if value <= total)}  # fmt: skip
        effect = (total - mean) / (n * k * (k * k - 1) / 12)
        return {"effect": effect, "low": None, "high": None, "statistic": total, "n": n, **sides}

    def follows_frequency(self, claim: Claim, settings: list[str], folder: Folder) -> list[Side]:
        sides = []
        for setting in settings:
            last = [rows[-1] for _, rows in self._logged(claim["trace"], *folder, setting, claim["better"])]
            rho = [scipy_stats.spearmanr(one, -np.arange(len(one))).statistic for one in last if np.ptp(one)]
            step = max(12 / (len(one) ** 3 - len(one)) for one in last)
            found = opposite(self._within(rho, claim["margin"], step))
            sides.append(self.degenerate(found, (*folder, setting, claim["better"])))
        return sides

    def _logged(self, name: str, *names: str) -> list[tuple[dict[str, Any], np.ndarray]]:
        found = []
        for _, body in sorted(self.cell(*names).items()):
            if body["status"] == "finished":
                with np.load(self.results.joinpath(*names, body["trace"]["file"])) as trace:
                    rows = trace[name].astype(float)
                    if "outer_step" in trace:
                        body = {**body, "outer_step": trace["outer_step"]}
                found.append((body, rows))
        return found

    # --- trade-offs ---

    def dominates(self, claim: Claim, settings: list[str], folder: Folder) -> list[Side]:
        metrics = (claim["metric"], claim["second_metric"])
        return [self._dominates(claim, settings, folder, rival, metrics) for rival in claim["worse"]]

    def _dominates(
        self, claim: Claim, settings: list[str], folder: Folder, rival: str, metrics: tuple[str, str]
    ) -> Side:
        names = [[(*folder, setting, name) for setting in settings] for name in (claim["better"], rival)]
        bodies = [[self.cell(*one) for one in side] for side in names]
        seeds = set.intersection(*(set(one) for side in bodies for one in side))
        kept = [seed for seed in sorted(seeds) if all(any(not sole(one[seed]) for one in side) for side in bodies)]

        def means(side: list[dict[int, dict[str, Any]]], seeds: list[int]) -> np.ndarray:
            found = []
            for one in side:
                if sound := [one[seed] for seed in seeds if not sole(one[seed])]:
                    values = [[-metric_arithmetic.turned(body, name) for name in metrics] for body in sound]
                    found.append([math.fsum(column) / len(sound) for column in zip(*values, strict=True)])
            return np.array(found).reshape(-1, 2)

        every = np.concatenate([means(side, kept) for side in bodies])
        span = every.max(0) - every.min(0)
        least, width = every.min(0) - span / 10, 1.2 * span

        def gain(seeds: list[int]) -> float:
            ours, theirs = (area(np.minimum((means(side, seeds) - least) / width, 1)) for side in bodies)
            return ours - theirs

        n, whole = len(kept), gain(kept)
        gains = [n * whole - (n - 1) * gain([one for one in kept if one != seed]) for seed in kept]
        runs = [body for side in bodies for one in side for body in one.values() if body["status"] == "finished"]
        steps = [max(metric_arithmetic.step(body, metric) for body in runs) for metric in metrics]
        step = math.sqrt(2) * math.hypot(*(np.array(steps) / width))
        found = self.t_test(gains, claim.get("margin", 0.0), step=step)
        if any(all(sole(body) for one in side for body in one.values()) for side in bodies):
            found = {**found, "low": None, "high": None, "statistic": None, "for": None, "against": None}
        return found

    # --- on the way ---

    def varies_less(self, claim: Claim, settings: list[str], folder: Folder) -> list[Side]:
        sides = []
        for setting in settings:
            for rival in claim["worse"]:
                names = [(*folder, setting, name) for name in (claim["better"], rival)]
                ours, theirs = ({body["spec"]["seed"]: wandering(body, rows)
                                 for body, rows in self._logged(claim["trace"], *one)} for one in names)  # fmt: skip
                logs = [math.log(ours[seed] / theirs[seed]) for seed in ours if ours[seed] and theirs.get(seed)]
                side = self.t_test(logs, math.log(claim.get("margin") or 1.0), sign=-1, step=SINGLE)
                side |= {name: math.exp(side[name]) for name in ("effect", "low", "high")}
                side["statistic"] = -side["statistic"]  # of the opposite test
                sides.append(self.degenerate(side, *names))
        return sides

    def logs_more(self, claim: Claim, settings: list[str], folder: Folder) -> list[Side]:
        if not claim.get("worse"):
            return self._alone(claim, settings, folder, np.mean)
        sides = []
        for setting in settings:
            for rival in claim["worse"]:
                names = [(*folder, setting, name) for name in (claim["better"], rival)]
                ours, theirs = ({body["spec"]["seed"]: rows.mean() for body, rows in self._logged(claim["trace"], *one)}
                                for one in names)  # fmt: skip
                gains = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
                step = SINGLE * max(map(abs, (*ours.values(), *theirs.values())))
                sides.append(self.degenerate(self.t_test(gains, claim.get("margin", 0.0), step=step), *names))
        return sides

    def stays_above(self, claim: Claim, settings: list[str], folder: Folder) -> list[Side]:
        return self._alone(claim, settings, folder, np.min)

    def cell_above(self, claim: Claim, settings: list[str], folder: Folder) -> list[Side]:
        sides = []
        for setting in settings:
            name, gaps, largest = (*folder, setting, claim["better"]), [], 0.0
            for body, rows in self._logged(claim["trace"], *name):
                split = body["spec"]["data"]["split"]
                paired = np.isin(
                    np.arange(rows.shape[1]), [label for pair in split["noise"]["groups"] for label in pair]
                )
                small = np.isin(np.arange(rows.shape[1]), split.get("rare") or [])
                means = []
                for cell in claim["cells"]:
                    how, often = cell.split("_")
                    means.append(rows[-1][(paired == (how == "noisy")) & (small == (often == "rare"))].mean())
                gaps.append(means[0] - means[1])
                largest = max(largest, *map(abs, means))
            sides.append(self.degenerate(self.t_test(gaps, claim.get("margin", 0.0), step=SINGLE * largest), name))
        return sides

    def _alone(self, claim: Claim, settings: list[str], folder: Folder, reduce: Callable[..., float]) -> list[Side]:
        sides = []
        for setting in settings:
            name = (*folder, setting, claim["better"])
            values = [reduce(rows) for _, rows in self._logged(claim["trace"], *name)]
            step = SINGLE * max(map(abs, (*values, claim.get("margin", 0.0))))
            sides.append(self.degenerate(self.t_test(values, claim.get("margin", 0.0), step=step), name))
        return sides

    def reaches(self, claim: Claim, settings: list[str], folder: Folder) -> list[Side]:
        sides, error = [], claim["metric"] in metric_arithmetic.LOWER
        for setting in settings:
            short, steps = [], [0.0]
            for _, body in sorted(self.cell(*folder, setting, claim["better"]).items()):
                names = [stage["name"] for stage in body["stages"]]
                whole = claim["metric"].endswith("_accuracy") and claim["metric"] != "balanced_accuracy"
                curve = body["curves"][f"{claim['part']}_{'accuracy' if whole else 'balanced_accuracy'}"]
                kept = [value for value, place in zip(curve, body["curves"]["stage"], strict=True)
                        if value is not None and claim.get("stage") in (None, names[place])]  # fmt: skip
                short.append((1 - max(kept)) - claim["level"] if error else claim["level"] - max(kept))
                sizes = np.array(body["split"]["sizes"][claim["part"]], float)
                steps.append(1 / sizes.sum() if whole else math.hypot(*(1 / sizes)) / len(sizes))
            side = self.t_test(short, claim["margin"], sign=-1, step=max(steps))
            ends = (-claim["level"], 1 - claim["level"]) if error else (claim["level"] - 1, claim["level"])
            side |= {name: float(np.clip(side[name], *ends)) for name in ("low", "high")}  # no share is beyond 0 and 1
            sides.append(self.degenerate(side, (*folder, setting, claim["better"]), metric=claim["metric"]))
        return sides

    def tracks_test(self, claim: Claim, settings: list[str], folder: Folder) -> list[Side]:
        sides, metric = [], claim["metric"]
        ending = "accuracy" if metric in ("test_accuracy", "validation_accuracy") else "balanced_accuracy"
        for setting in settings:
            excess, steps = [], [0.0]
            for _, body in sorted(self.cell(*folder, setting, claim["better"]).items()):
                if body["status"] != "finished":
                    continue
                names = [stage["name"] for stage in body["stages"]]
                rows = [row for row, place in enumerate(body["curves"]["stage"])
                        if claim.get("stage") in (None, names[place])]  # fmt: skip
                seen, held, test = (
                    body["curves"][f"{part}_{ending}"][max(rows)] for part in ("train", "validation", "test")
                )
                excess.append(abs(seen - test) - abs(held - test))  # of errors as of accuracies
                sizes = [np.array(body["split"]["sizes"][part], float) for part in ("train", "validation", "test")]
                known = [1 / n.sum() if ending == "accuracy" else np.sqrt((1 / n**2).sum()) / len(n) for n in sizes]
                steps.append(math.hypot(known[0], known[1], 2 * known[2]))
            side = self.t_test(excess, claim.get("margin", 0.0), step=max(steps))
            side |= {name: float(np.clip(side[name], -1, 1)) for name in ("low", "high")}
            sides.append(self.degenerate(side, (*folder, setting, claim["better"]), metric=metric))
        return sides

    # --- tests of claims about errors ---

    def within(self, claim: Claim, settings: list[str], folder: Folder) -> list[Side]:
        metric, sides = claim.get("metric", "test_accuracy"), []
        for setting in settings:
            for rival in claim["worse"]:
                names = [(*folder, setting, name) for name in (claim["better"], rival)]
                ours, theirs = (self.values(metric, *one) for one in names)
                gains = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
                step = math.hypot(*(self.step_of(metric, *one) for one in names))
                sides.append(self.degenerate(self._within(gains, claim["margin"], step), *names, metric=metric))
        return sides

    def _within(self, sample: list[float], margin: float, step: float) -> Side:
        """Two one-sided tests; the statistic is that of the end that is nearer to not being ruled out."""
        below, above = self.t_test(sample, margin, sign=-1, step=step), self.t_test(sample, -margin, step=step)
        weakest = below if below["for"] > above["for"] else above
        against = min(1.0, 2 * min(below["against"], above["against"]))
        return {**above, "statistic": weakest["statistic"], "for": weakest["for"], "against": against}

    def explained_by(self, claim: Claim, settings: list[str], folder: Folder) -> list[Side]:
        metric, sides = claim.get("metric", "test_accuracy"), []
        for setting in settings:
            for rival in claim["worse"]:
                names = [(*folder, setting, name) for name in (claim["better"], claim["by"], rival)]
                whole, part, plain = (self.values(metric, *one) for one in names)
                steps = [self.step_of(metric, *one) for one in names]
                gains = {seed: whole[seed] - plain[seed] for seed in whole if seed in plain}
                excess = [part[seed] - plain[seed] - claim["margin"] * gains[seed] for seed in gains if seed in part]
                first = self.t_test(list(gains.values()), 0.0, step=math.hypot(steps[0], steps[2]))
                second = self.t_test(excess, 0.0, step=math.hypot(*steps))
                sides.append(self.degenerate(first, names[0], names[2], metric=metric))
                sides.append(self.degenerate(second, *names, metric=metric))
        return sides


def opposite(side: Side) -> Side:
    return {**side, "statistic": -side["statistic"], "for": side["against"], "against": side["for"]}


def sole(body: dict[str, Any]) -> bool:
    """Whether a run diverged or predicts one class."""
    return body["status"] != "finished" or np.count_nonzero(np.array(body["metrics"]["confusion"]).sum(0)) <= 1


def area(points: np.ndarray) -> float:
    """What of the unit square lies above and right of some point: strip by strip between the points."""
    edges = np.unique([*points[:, 0], 1.0])
    lowest = [points[points[:, 0] <= left, 1].min() for left in edges[:-1]]
    return float(np.diff(edges) @ (1 - np.array(lowest)))


def wandering(body: dict[str, Any], rows: np.ndarray) -> float:
    """Total variation over the last rows of the epochs."""
    if "outer_step" in body:
        ends = np.cumsum([stage["steps_per_epoch"] for stage in body["stages"] for _ in range(stage["epochs"])])
        last = {int((ends <= number).sum()): row for row, number in enumerate(body["outer_step"])}
        rows = rows[sorted(last.values())]
    return float(np.abs(np.diff(rows, axis=0)).sum() / rows[0].size)
