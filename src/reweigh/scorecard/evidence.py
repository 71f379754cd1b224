"""What a claim is decided from: the runs of its experiment, cell by cell and pair by pair."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reweigh import metrics, stats
from reweigh.analysis.by_cell import runs_of
from reweigh.analysis.degenerate import BEST, degenerate, lost_at_best
from reweigh.analysis.resolution import of_difference, resolution
from reweigh.config.claim import Claim
from reweigh.config.grid import Config
from reweigh.stats import Comparison


@dataclass(frozen=True)
class Evidence:
    """What a claim is decided from: the runs of its experiment at one scale, and their records."""

    config: Config
    claim: Claim
    scale: str
    paper: str
    runs: pd.DataFrame
    records: dict[str, dict[str, Any]]

    @property
    def settings(self) -> list[str]:
        """The claim's settings that exist at this scale, in its own order, as `grows` tells a first from a second."""
        there = self.config.settings_of(self.scale, self.paper, self.claim.experiment)
        return [name for name in self.claim.settings or there if name in there]

    @property
    def methods(self) -> list[str]:
        return self.claim.methods

    def cell(self, setting: str, method: str) -> pd.DataFrame:
        """The runs of one cell, by seed."""
        return runs_of(self.runs, self.claim.experiment, setting, method).set_index("seed", drop=False)

    def used(self) -> pd.DataFrame:
        """All runs that the claim is about."""
        return self.runs[self.runs["setting"].isin(self.settings) & self.runs["method"].isin(self.methods)]

    def pairs(self) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
        """Every place: its label, and the runs of both sides with the seeds that both have."""
        several = len({better for better, _ in self.claim.contests}) > 1
        for setting in self.settings:
            for better, rival in self.claim.contests:
                ours, theirs = self.cell(setting, better), self.cell(setting, rival)
                seeds = ours.index.intersection(theirs.index)
                label = f"{setting}, {better}" if several else setting
                yield f"{label} against {rival}", ours.loc[seeds], theirs.loc[seeds]

    # --- what runs scored ---

    def scores(self, rows: pd.DataFrame) -> pd.Series:
        """The claim's metric of each run, by seed, turned so that higher is better: an error counts as minus itself."""
        return metrics.of(self.claim.metric).turned(rows[self.claim.metric].astype(float))

    def gains(self, ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.Series:
        """How much better `ours` is than `theirs`, by seed, where both have a score."""
        return (self.scores(ours) - self.scores(theirs)).dropna()

    def resolution(self, *sides: pd.DataFrame) -> float:
        """The step in which a sum or difference of the claim's metric over some cells is known: rounding errors add up.

        A cell's own is the coarsest of its runs.
        """
        return of_difference(*(map(self._step, rows["run"]) for rows in sides))

    def _step(self, run: str) -> float:
        return resolution(self.records[run], self.claim.metric) if run in self.records else 0.0

    def finished(self, setting: str) -> list[dict[str, Any]]:
        """The records of the claim's method at a setting; what a run logged that diverged decides nothing."""
        bodies = [self.records[run] for run in self.cell(setting, self.claim.better or "")["run"]]
        return [body for body in bodies if body["status"] == "finished"]

    # --- what decides nothing ---

    def read(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The runs with `lost` as the claim's metric sees it: one that collapsed may have had a best epoch before."""
        if not self.claim.metric.startswith(BEST):
            return rows
        return rows.assign(lost=[lost_at_best(self.records[run]) if run in self.records else "" for run in rows["run"]])

    def judged(self, comparison: Comparison, *sides: pd.DataFrame) -> Comparison:
        """A comparison of the runs of these sides; degenerate where those of one decide nothing (see `degenerate`)."""
        return stats.undecided(comparison, self.why_degenerate(*sides))

    def why_degenerate(self, *sides: pd.DataFrame) -> str:
        """Why the runs of a side decide nothing; empty if they may, on all sides.

        All of a side's runs count, and those alone whose seed has a score on every side: only these are compared.
        """
        scored = [set(rows.index[rows[self.claim.metric].notna()]) for rows in sides if self.claim.metric in rows]
        compared = set.intersection(*scored) if scored else set()
        whys = (degenerate(rows) or degenerate(rows[rows.index.isin(compared)]) for rows in map(self.read, sides))
        return ", ".join(dict.fromkeys(why for why in whys if why))


def cost_pairs(evidence: Evidence) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame, pd.Series]]:
    """Every place, and which of its pairs of runs say something of cost: on one device, with equally many beside them.

    Runs that shared a GPU say nothing: their seconds are shares of the time of all.
    """
    for label, ours, theirs in evidence.pairs():
        comparable = (ours["device"] == theirs["device"]) & (ours["seconds"] > 0) & (theirs["seconds"] > 0)
        comparable &= (ours["runs_at_once"] == theirs["runs_at_once"]) & ~(ours["packed"] | theirs["packed"])
        yield label, ours, theirs, comparable & (ours["steps"] > 0) & (theirs["steps"] > 0)
