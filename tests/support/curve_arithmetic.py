"""The arithmetic of the tests in `scorecard/curve_tests.py`, from raw records with numpy and scipy alone.

`tests/scorecard/test_scorecard_scipy.py` gives its own `cell` (records of a cell by seed) and `t_test`.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

Side = dict[str, Any]
Claim = dict[str, Any]
SINGLE = 2.0**-23  # what a float32 is worth


class CurveArithmetic:
    """One method for each test; `of` has them by name."""

    def __init__(self, results: Path, cell: Callable[..., dict[int, Any]], t_test: Callable[..., Side]) -> None:
        self.results, self.cell, self.t_test = results, cell, t_test

    def of(self) -> dict[str, Callable[[Claim, list[str], tuple[str, str]], list[Side]]]:
        return {
            "reaches_in_fewer_epochs": self.reaches_in_fewer_epochs,
            "reaches_in_less_time": self.reaches_in_less_time,
            "group_ahead": self.group_ahead,
            "below": self.below,
            "weights_near_equal": self.weights_near_equal,
            "weights_grow_more": self.weights_grow_more,
            "weights_grow_less": self.weights_grow_less,
            "collapses_less": self.collapses_less,
        }

    def reaches_in_fewer_epochs(self, claim: Claim, settings: list[str], folder: tuple[str, str]) -> list[Side]:
        return self._reaches(claim, settings, folder, "epoch")

    def reaches_in_less_time(self, claim: Claim, settings: list[str], folder: tuple[str, str]) -> list[Side]:
        return self._reaches(claim, settings, folder, "train_seconds")

    def _reaches(self, claim: Claim, settings: list[str], folder: tuple[str, str], clock: str) -> list[Side]:
        sides = []
        for setting in settings:
            for rival in claim["worse"]:
                ours, theirs = (self.cell(*folder, setting, name) for name in (claim["better"], rival))
                logs, steps, never = [], [], [0, 0]
                for seed in sorted(set(ours) & set(theirs)):
                    pair = ours[seed], theirs[seed]
                    devices = [(one["device"]["name"], one["device"]["runs_at_once"]) for one in pair]
                    if clock == "train_seconds" and devices[0] != devices[1]:
                        continue
                    times = [self._first(one, claim, clock) for one in pair]
                    if any(ever for _, ever, _ in times):
                        logs.append(math.log(times[0][0] / times[1][0]))
                        steps.append(math.hypot(times[0][2], times[1][2]))
                        never = [count + (not ever) for count, (_, ever, _) in zip(never, times, strict=True)]
                if len(logs) < 2:
                    n, effect = len(logs), math.exp(logs[0]) if logs else None
                    nothing = dict.fromkeys(("low", "high", "statistic", "for", "against"))
                    sides.append({**nothing, "n": n, "effect": effect, "untested": True})
                    continue
                side = self.t_test(logs, math.log(claim.get("margin", 1.0)), -1, max(steps))
                side |= {name: math.exp(side[name]) for name in ("effect", "low", "high")}
                if any(never):
                    side |= {"low": None, "high": None}
                side |= {name: 1.0 for name, count in zip(("for", "against"), never, strict=True) if count}
                sides.append(side)
        return sides

    def _first(self, body: dict[str, Any], claim: Claim, clock: str) -> tuple[float, bool, float]:
        times = [0.0, *body["curves"][clock]]
        for place, value in enumerate(body["curves"][claim.get("metric", "test_accuracy")], 1):
            if value is not None and value >= claim["level"]:
                return times[place], True, 1 - times[place - 1] / times[place]
        planned = body["spec"]["training"]["epochs"]
        return times[-1] * planned / body["curves"]["epoch"][-1], False, 0.0

    def group_ahead(self, claim: Claim, settings: list[str], folder: tuple[str, str]) -> list[Side]:
        sides = []
        for setting in settings:
            gaps, steps = [], []
            for _, body in sorted(self.cell(*folder, setting, claim["better"]).items()):
                tables = [np.array(body["metrics"]["group_confusion"][group]) for group in claim["groups"]]
                shares = [np.trace(table) / table.sum() for table in tables]
                gaps.append(shares[0] - shares[1])
                steps.append(math.hypot(*(1 / table.sum() for table in tables)))
            sides.append(self.t_test(gaps, claim.get("margin", 0.0), 1, max(steps)))
        return sides

    def below(self, claim: Claim, settings: list[str], folder: tuple[str, str]) -> list[Side]:
        assert claim["metric"] == "equal_opportunity_gap"
        sides = []
        for setting in settings:
            gaps, steps = [], []
            for _, body in sorted(self.cell(*folder, setting, claim["better"]).items()):
                first, second = (np.array(table) for table in body["metrics"]["group_confusion"])
                gaps.append(abs(first[1, 1] / first[1].sum() - second[1, 1] / second[1].sum()))
                steps.append(math.hypot(1 / first[1].sum(), 1 / second[1].sum()))
            sides.append(self.t_test(gaps, claim["margin"], -1, max(steps)))
        return sides

    def _shares(self, claim: Claim, setting: str, folder: tuple[str, str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each run the shares of its weights over steps, and the sizes of its classes."""
        found = []
        for _, body in sorted(self.cell(*folder, setting, claim["better"]).items()):
            with np.load(self.results.joinpath(*folder, setting, claim["better"], body["trace"]["file"])) as trace:
                weights = np.maximum(trace["class_weights"].astype(float), 0)
            sizes = np.array(body["split"]["sizes"]["train"], float)
            found.append((weights / weights.sum(1)[:, None], sizes))
        return found

    def weights_near_equal(self, claim: Claim, settings: list[str], folder: tuple[str, str]) -> list[Side]:
        return [
            self.t_test(
                [float(np.abs(one[-1] - 1 / len(sizes)).max()) for one, sizes in self._shares(claim, setting, folder)],
                claim["margin"], -1, SINGLE,
            )
            for setting in settings
        ]  # fmt: skip

    def weights_grow_more(self, claim: Claim, settings: list[str], folder: tuple[str, str]) -> list[Side]:
        return self._grow(claim, settings, folder, 1)

    def weights_grow_less(self, claim: Claim, settings: list[str], folder: tuple[str, str]) -> list[Side]:
        return self._grow(claim, settings, folder, -1)

    def _grow(self, claim: Claim, settings: list[str], folder: tuple[str, str], sign: int) -> list[Side]:
        return [
            self.t_test(
                [
                    scipy_stats.linregress(-np.log(sizes), np.log(one.mean(0))).slope
                    for one, sizes in self._shares(claim, setting, folder)
                ],
                claim["margin"], sign, SINGLE,
            )
            for setting in settings
        ]  # fmt: skip

    def collapses_less(self, claim: Claim, settings: list[str], folder: tuple[str, str]) -> list[Side]:
        saved: dict[int, list[float]] = {}
        for setting in settings:
            for pair in claim["pairs"]:
                ours, theirs = (self.cell(*folder, setting, name) for name in pair)
                for seed in set(ours) & set(theirs):
                    saved.setdefault(seed, []).append(float(self._lost(theirs[seed])) - float(self._lost(ours[seed])))
        places = len(settings) * len(claim["pairs"])
        averages = [float(np.mean(values)) for _, values in sorted(saved.items()) if len(values) == places]
        return [self.t_test(averages, claim.get("margin", 0.0), 1, 1 / places)]

    def _lost(self, body: dict[str, Any]) -> bool:
        if body["status"] != "finished":
            return True
        return int((np.array(body["metrics"]["confusion"]).sum(0) > 0).sum()) == 1
