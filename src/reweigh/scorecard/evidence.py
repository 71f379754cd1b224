"""What a claim is decided from: the runs of its experiment, cell by cell and pair by pair."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reweigh.config.grid import Config
from reweigh.config.models import Claim


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
        """The claim's settings that exist at this scale."""
        there = self.config.settings_of(self.scale, self.paper, self.claim.experiment)
        return [name for name in there if self.claim.settings is None or name in self.claim.settings]

    @property
    def methods(self) -> list[str]:
        return self.claim.methods

    def cell(self, setting: str, method: str) -> pd.DataFrame:
        """The runs of one cell, by seed."""
        rows = self.runs[(self.runs["setting"] == setting) & (self.runs["method"] == method)]
        return rows.set_index("seed", drop=False)

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

    def values(self, setting: str, method: str) -> pd.Series:
        """The claim's metric in the runs of one cell, by seed."""
        return self.cell(setting, method)[self.claim.metric].astype(float)

    def finished(self, setting: str) -> list[dict[str, Any]]:
        """The records of the claim's method at a setting; what a run logged that diverged decides nothing."""
        bodies = [self.records[run] for run in self.cell(setting, self.claim.better or "")["run"]]
        return [body for body in bodies if body["status"] == "finished"]
