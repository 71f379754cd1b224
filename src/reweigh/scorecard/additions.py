"""The scorecard's lines about methods that no paper has: our numbers and gains, without a verdict.

They stand among the numbers of the paper whose experiment the method joins, as "Ours, not in print".
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from reweigh.analysis.published import published
from reweigh.config.grid import Config
from reweigh.scorecard.numbers import ours

SOURCE = "Ours, not in print"
REMARK = "no paper has this method"
METRIC = "test_accuracy"  # where the paper prints no number of an experiment


def addition_rows(
    config: Config, scale: str, paper: str, runs: pd.DataFrame, records: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """A line for each metric of each cell of a method of one's own that has a record at this scale.

    The metrics are those in which the paper prints numbers of that experiment.
    """
    whole = config.paper(paper)
    numbers = published(config, paper if whole.published or not whole.extends else whole.extends)
    return [
        ours(config, scale, paper, row, numbers, runs, records)
        for row in _asked(config, scale, paper, numbers)
        if not _cell(runs, row).empty
    ]


def _asked(config: Config, scale: str, paper: str, numbers: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """What stands in the place of a printed number, which there is none of."""
    whole = config.paper(paper)
    nothing = {"mean": None, "std": None, "excluded": None, "against": None, "measured": None}
    for method in whole.own:
        for name in (one for one in whole.experiments if method in whole.experiments[one].with_extensions):
            printed = numbers[(numbers["experiment"] == name) & numbers["excluded"].isna() & numbers["against"].isna()]
            experiment = whole.experiments[name]
            for setting in config.settings_of(scale, paper, name):
                for metric in dict.fromkeys(printed["metric"]) or [METRIC]:
                    yield {
                        **nothing,
                        "id": f"own/{name}/{setting}/{method}/{metric}",
                        "table_or_figure": SOURCE,
                        "dataset": experiment.dataset,
                        "setting": f"{experiment.title}, {experiment.settings[setting].value}",
                        "experiment": name,
                        "setting_name": setting,
                        "method_name": method,
                        "metric": metric,
                        "remark": REMARK,
                    }


def _cell(runs: pd.DataFrame, row: dict[str, Any]) -> pd.DataFrame:
    same = (runs["experiment"] == row["experiment"]) & (runs["setting"] == row["setting_name"])
    return runs[same & (runs["method"] == row["method_name"])]
