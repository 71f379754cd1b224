"""The scorecard of a scale: every published number and every claim beside ours, with a verdict by the declared rules.

`results/{scale}/scorecard.csv` has one line a number and one a claim; `scorecard.md` shows the same to a reader, with
the papers' own slips. Verdicts are counted, never averaged. At scales other than `paper` every verdict begins with the
name of the scale (`quick: worse`), because runs that were cut short replicate nothing.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from reweigh import results
from reweigh.config import Config, load
from reweigh.config.specs import SCALES
from reweigh.config.words import lookup
from reweigh.scorecard.claims import claim_rows
from reweigh.scorecard.numbers import number_rows
from reweigh.scorecard.text import markdown

COLUMNS = [
    "paper", "kind", "id", "source", "text", "experiment", "setting", "value", "method", "title", "metric",
    "published", "published_sd", "mean", "sd", "n", "low", "high", "difference", "gain", "gain_low", "gain_high",
    "published_gain", "effect", "effect_low", "effect_high", "statistic", "p", "p_holm", "verdict", "scale",
    "scale_note", "status", "note", "runs", "records",
]  # fmt: skip
UNDECIDED = ("not run", "not reported", "not judged")  # verdicts that no scale qualifies


@dataclass(frozen=True)
class Scorecard:
    """What was written: the two files, the lines, and how many lines of each kind have which verdict."""

    csv: Path
    text: Path
    lines: pd.DataFrame

    def __iter__(self) -> Iterator[Path]:
        return iter((self.csv, self.text))

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """`{"number": {"replicated": 3, ...}, "claim": {...}}`."""
        return {kind: dict(Counter(group["verdict"])) for kind, group in self.lines.groupby("kind", sort=False)}


def score(config: Config, scale: str, papers: list[str] | None = None) -> pd.DataFrame:
    """The lines of the scorecard, from the records that are there."""
    lookup("scale", scale, SCALES)
    rows: list[dict[str, Any]] = []
    for paper in papers or config.settings.papers:
        config.paper(paper)
        records = _records(config, scale, paper)
        frame = results.table(records)
        rows += number_rows(config, scale, paper, frame, records)
        rows += claim_rows(config, scale, paper, frame, records)
    lines = pd.DataFrame(rows).reindex(columns=COLUMNS)
    lines["scale"] = scale
    if scale != "paper":
        decided = ~lines["verdict"].isin(UNDECIDED)
        lines.loc[decided, "verdict"] = f"{scale}: " + lines.loc[decided, "verdict"]
    return lines


def write(scale: str, root: str | Path = ".", papers: list[str] | None = None) -> Scorecard:
    """Write `results/{scale}/scorecard.csv` and `.md` for the config's papers (or those given)."""
    config = load(root)
    lines = score(config, scale, papers)
    folder = Path(root) / "results" / scale
    folder.mkdir(parents=True, exist_ok=True)
    card = Scorecard(folder / "scorecard.csv", folder / "scorecard.md", lines)
    _replace(card.csv, text_of(lines))
    _replace(card.text, markdown(config, scale, lines))
    return card


def text_of(lines: pd.DataFrame) -> str:
    """The lines as csv."""
    return lines.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _records(config: Config, scale: str, paper: str) -> dict[str, dict[str, Any]]:
    """The records of all cells that a number or a claim speaks of: the grid, with methods that only extensions have."""
    runs = []
    for name, experiment in config.paper(paper).experiments.items():
        extra = [method for one in experiment.extensions for method in one.methods]
        for setting in config.settings_of(scale, paper, name):
            for method in dict.fromkeys([*experiment.methods, *extra]):
                runs += config.runs_of(f"{scale}/{paper}/{name}/{setting}/{method}")
    return results.records_of(runs, config.root)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    os.replace(partial, path)
