"""Where a published number comes from: the line of data/published/PAPER.csv, the paper's table, and the paper's URL."""

import csv
from functools import cached_property
from pathlib import Path
from typing import Any

from reweigh.config.grid import Config
from reweigh.config.mapping import Measured
from reweigh.digest import file_digest
from reweigh.metrics import PERCENT
from reweigh.provenance.recompute import number

Row = dict[str, Any]


class PublishedNumbers:
    """The published numbers of one paper, each with its line in the file and the cell of ours that it belongs to."""

    def __init__(self, config: Config, paper: str) -> None:
        self.config, self.name, self.paper = config, paper, config.paper(paper)

    def baseline_of(self, method: str) -> str:
        """Plain training, from which a method's gain is measured; empty where the paper has no published numbers."""
        return self.config.plain(self.name, method)

    def of_line(self, line: dict[str, str]) -> Row | None:
        """The number that a csv line shows: the one with its id in a scorecard, else the first of its cell."""
        if line.get("id"):
            return next((row for row in self._rows if row["id"] == line["id"]), None)
        return self._first((line["experiment"], line["setting"], line["method"], line["metric"]))

    def at(self, line: int) -> Row | None:
        """The number of a line of the file."""
        return next((row for row in self._rows if row["line"] == line), None)

    def of_baseline(self, row: Row) -> Row | None:
        """The paper's number for plain training in the same place; None if it has none, or `row` is that number."""
        experiment, setting, method, metric = row["cell"]
        plain = self.baseline_of(method)
        return None if method == plain else self._first((experiment, setting, plain, metric), True)

    def measured(self, row: Row) -> Measured | None:
        """The line of the bench that stands for our runs; None where runs do."""
        known = self.paper.published.rows_of(row["printed"]) if self.paper.published else None
        return known.measured if known else None

    def fact(self, row: Row) -> Row:
        """Where a published number comes from, as plain values: file, its sha256, the line in it, table, paper, URL."""
        return {
            "file": self.file,
            "sha256": self._sha256,
            "line": row["line"],
            "says": {key: value for key, value in row["printed"].items() if value not in ("", "NA")},
            "in_percent": PERCENT in row["printed"]["metric"],
            "not_judged": row["excluded"] or "",
            "table": row["printed"]["table_or_figure"],
            "paper": self.paper.citation,
            "url": self.paper.url,
        }

    def _first(self, cell: tuple[str, ...], judged: bool = False) -> Row | None:
        return next((row for row in self._rows if row["cell"] == cell and not (judged and row["excluded"])), None)

    @property
    def file(self) -> str:
        """The file of the numbers, below the root; empty where the paper has none."""
        return self.paper.published.file if self.paper.published else ""

    @cached_property
    def _sha256(self) -> str:
        return file_digest(self.config.root / self.file)

    @cached_property
    def _rows(self) -> list[Row]:
        mapping, rows = self.paper.published, []
        if mapping is None:
            return []
        with open(Path(self.config.root, mapping.file), newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            for printed in reader:
                cell = mapping.target(printed)
                percent = PERCENT in printed["metric"]
                rows.append(
                    {
                        "line": reader.line_num,
                        "printed": printed,
                        "cell": cell,
                        "id": mapping.id_of(printed),
                        "excluded": mapping.excluded_because(printed),
                        "mean": _fraction(printed["mean"], percent),
                        "sd": _fraction(printed["std"], percent),
                    }
                )
        return rows


def _fraction(text: str, percent: bool) -> float | None:
    """A number of the file as a fraction; None if the paper gives none."""
    value = number(text)
    return round(value / 100, 10) if percent and value is not None else value
