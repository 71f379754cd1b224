"""The arithmetic of the tests of cost in `scorecard/claim_tests.py`, from raw records with numpy and scipy alone.

`tests/scorecard/test_scorecard_scipy.py` gives its own `cell` (records of a cell by seed) and `t_test`.
"""

import math
from collections.abc import Callable
from typing import Any

Side = dict[str, Any]
Claim = dict[str, Any]


class CostArithmetic:
    """One method for each test; `of` has them by name."""

    def __init__(self, cell: Callable[..., dict[int, Any]], t_test: Callable[..., Side]) -> None:
        self.cell, self.t_test = cell, t_test

    def of(self) -> dict[str, Callable[[Claim, list[str], tuple[str, str]], list[Side]]]:
        return {"costs_more": self.costs_more, "costs_at_most": self.costs_at_most}

    def costs_more(self, claim: Claim, settings: list[str], folder: tuple[str, str]) -> list[Side]:
        """Logarithms of the ratios of seconds, of a step or with `per: run` of a run, where two may be compared."""
        sides = []
        for setting in settings:
            for rival in claim["worse"]:
                ours, theirs = (self.cell(*folder, setting, name) for name in (claim["better"], rival))
                pairs = [(ours[seed], theirs[seed]) for seed in sorted(ours) if seed in theirs]
                pairs = [pair for pair in pairs if len({_place(one) for one in pair}) == 1]
                steps = [1.0 if claim.get("per") == "run" else b["steps"] / a["steps"] for a, b in pairs]
                logs = [math.log(a["seconds"] / b["seconds"] * of) for (a, b), of in zip(pairs, steps, strict=True)]
                step = max(math.hypot(*(1e-3 / one["seconds"] for one in pair)) for pair in pairs)
                side = self.t_test(logs, math.log(claim["margin"]), step=step)
                sides.append({**side, **{name: math.exp(side[name]) for name in ("effect", "low", "high")}})
        return sides

    def costs_at_most(self, claim: Claim, settings: list[str], folder: tuple[str, str]) -> list[Side]:
        """The opposite."""
        return [
            {**side, "statistic": -side["statistic"], "for": side["against"], "against": side["for"]}
            for side in self.costs_more(claim, settings, folder)
        ]


def _place(body: dict[str, Any]) -> tuple[str, int]:
    return body["device"]["name"], body["device"]["runs_at_once"]
