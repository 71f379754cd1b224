"""The scorecard of a scale: every published number and every claim beside ours, with a verdict by the declared rules.

`results/{scale}/scorecard.csv` has one line for each number and each claim. `scorecard.md` shows the same to readers,
with the inconsistencies found in the papers; `scorecard.html` also shows what is behind each line. Verdicts are
counted, never averaged. Runs that were cut short replicate nothing: at scales other than `paper` a published number is
`not comparable`, unless its runs are degenerate, and other verdicts begin with the name of the scale (`quick: holds`).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from reweigh import canonical_json, spreadsheets
from reweigh.analysis import tables
from reweigh.artifacts import receipt
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.config.names import RunName
from reweigh.config.specs import OF_PAPERS, SCALES
from reweigh.config.validation import lookup
from reweigh.errors import ConfigError
from reweigh.scorecard.additions import addition_rows
from reweigh.scorecard.claims import claim_rows
from reweigh.scorecard.numbers import NOT_COMPARABLE, number_rows
from reweigh.scorecard.text import markdown

COLUMNS = [
    "paper", "kind", "id", "source", "text", "experiment", "setting", "value", "method", "against", "title",
    "value_set", "metric", "published", "published_sd", "mean", "sd", "n", "low", "high", "difference", "gain",
    "gain_low", "gain_high", "published_gain", "effect", "effect_low", "effect_high", "statistic", "p", "p_holm",
    "verdict", "scale", "scale_note", "status", "note", "runs", "records",
]  # fmt: skip
ENDINGS = ("csv", "md", "html")  # of its files; `texts` makes the content of each from the lines
Records = dict[str, dict[str, Any]]
UNDECIDED = ("not run", "not reported", "not judged", NOT_COMPARABLE)  # verdicts that do not begin with a scale


@dataclass(frozen=True)
class Scorecard:
    """What was written: the three files, and the lines that they show."""

    csv: Path
    text: Path
    page: Path
    lines: pd.DataFrame

    def __iter__(self) -> Iterator[Path]:
        return iter((self.csv, self.text, self.page))

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Lines by kind and verdict: `{"number": {"replicated": 3, ...}, "claim": {...}}`."""
        return {kind: dict(Counter(group["verdict"])) for kind, group in self.lines.groupby("kind", sort=False)}


def score(config: Config, scale: str, papers: list[str] | None = None, records: Records | None = None) -> pd.DataFrame:
    """The lines of the scorecard, from `records` (see `scored_records`), which are read unless they are given."""
    _check(scale)
    rows: list[dict[str, Any]] = []
    for paper in papers or config.project.papers:
        config.paper(paper)
        known = scored_records(config, scale, [paper]) if records is None else records
        of_paper = _of_paper(config, scale, known, paper)
        runs = tables.table(of_paper)
        rows += number_rows(config, scale, paper, runs, of_paper)
        rows += addition_rows(config, scale, paper, runs, of_paper)
        rows += claim_rows(config, scale, paper, runs, of_paper)
    lines = pd.DataFrame(rows).reindex(columns=COLUMNS)
    lines["scale"] = scale
    lines["value_set"] = [_value_set(config, *names) for names in zip(lines["paper"], lines["method"], strict=True)]
    if scale != "paper":
        decided = ~lines["verdict"].isin(UNDECIDED)
        lines.loc[decided, "verdict"] = f"{scale}: " + lines.loc[decided, "verdict"]
    return lines


def _check(scale: str) -> None:
    """Raise ConfigError for a scale at which nothing is published."""
    if lookup("scale", scale, SCALES) not in OF_PAPERS:
        raise ConfigError(f"no number was published of scale {scale}; its page is made by: reweigh compare NAME")


def write(scale: str, root: str | Path = ".", papers: list[str] | None = None) -> Scorecard:
    """Write `results/{scale}/scorecard.{csv,md,html,json}` for the config's papers or those given."""
    config = load(root)
    _check(scale)
    records = scored_records(config, scale, papers)
    lines = score(config, scale, papers, records)
    folder = Path(root) / "results" / scale
    files = {ending: folder / f"scorecard.{ending}" for ending in ENDINGS}
    for ending, text in texts(config, scale, lines, records).items():
        canonical_json.write(files[ending], text)
    receipt.write(folder / "scorecard.json", basis(config, scale, records), files, root)
    return Scorecard(files["csv"], files["md"], files["html"], lines)


def texts(config: Config, scale: str, lines: pd.DataFrame, records: Records | None = None) -> dict[str, str]:
    """The content of each file of a scorecard, by its ending. Records are read unless they are given."""
    from reweigh.scorecard.page import page  # imports a template engine, which planning and scoring do not need

    records = scored_records(config, scale) if records is None else records
    return {"csv": csv_text(lines), "md": markdown(config, scale, lines), "html": page(config, scale, lines, records)}


def csv_text(lines: pd.DataFrame) -> str:
    """The lines as csv; without `against` where no number compares two methods."""
    kept = [name for name in lines if name != "against" or lines[name].notna().any()]
    return spreadsheets.cells(lines[kept]).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def scored_records(
    config: Config, scale: str, papers: list[str] | None = None, known: Records | None = None
) -> Records:
    """The records of `Config.scored_runs`, as far as they exist, by run, for the config's papers or those given.

    They are taken from those that are `known`, else read.
    """
    runs = [run for paper in papers or config.project.papers for run in config.scored_runs(scale, paper)]
    return tables.records_of(runs, config.root) if known is None else {run: known[run] for run in runs if run in known}


def _value_set(config: Config, paper: str, methods: str | float | None) -> str | None:
    """Whose values the methods of a line have, each set once: `printed`, `code`, `ours`; None where that is one."""
    named = methods.split() if isinstance(methods, str) else []
    sets = dict.fromkeys(config.paper(paper).methods[name].values for name in named)
    return " ".join(one for one in sets if one) or None


def _of_paper(config: Config, scale: str, records: Records, paper: str) -> Records:
    extends = config.paper(paper).extends
    own = {run: body for run, body in records.items() if RunName.parse(run).paper in (paper, extends)}
    if extends is None:
        return own
    of_paper = {*config.scored_runs(scale, paper)}
    return {run: body for run, body in own.items() if run in of_paper}


def basis(config: Config, scale: str, records: receipt.Records | None = None) -> dict[str, Any]:
    """What the scorecard of a scale is made from, as its receipt states it. Records are read unless they are given."""
    runs = [run for paper in config.project.papers for run in config.scored_runs(scale, paper)]
    return receipt.scorecard_basis(config, runs, records)
