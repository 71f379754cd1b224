"""What AutoBalance's searches gain over what chooses a loss without one: paired differences, and the best τ there is.

The oracle takes for each seed the τ of logit adjustment whose test error is the lowest. Nobody can choose so: it bounds
what any τ could do, and is labelled as such.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from reweigh.analysis import searches
from reweigh.analysis.rows import Row, cell_names, mean_row
from reweigh.analysis.tables import Material, fingerprint, join_runs
from reweigh.plots import forest
from reweigh.plots.figure import Figure, styled
from reweigh.plots.style import data_title

ORACLE_TITLE = "Oracle: − LA with the best τ by the test set (a bound)"


def rows(
    material: Material, pairs: Sequence[Sequence[Any]], methods: Sequence[str], oracle: Sequence[str]
) -> pd.DataFrame:
    """The differences of `forest`, then those of `methods` to the oracle: seed by seed, in balanced error.

    `oracle`: (experiment of the methods, its setting, experiment whose settings are the values of τ, its method).
    """
    experiment, setting, grid, method = oracle
    lines = [_over_oracle(material, (experiment, setting, name), (grid, method)) for name in methods]
    data = pd.concat([forest.rows(material, pairs, "balanced_error"), pd.DataFrame(lines)], ignore_index=True)
    return data.astype(dict.fromkeys(("mean", "sd", "low", "high"), float))


def _over_oracle(material: Material, cell: tuple[str, str, str], grid: tuple[str, str]) -> forest.Line:
    """The balanced error of a cell minus the lowest of all τ, by seed; only seeds of which every τ was run count."""
    settings = material.settings(grid[0])
    tables = [material.of(grid[0], setting, grid[1]) for setting in settings]
    errors = pd.concat(tables).dropna(subset="balanced_error") if tables else material.runs.iloc[:0]
    whole = errors.groupby("seed").filter(lambda of: len(of) == len(settings))
    best = whole.groupby("seed")["balanced_error"].min()
    ours = material.of(*cell).dropna(subset="balanced_error").set_index("seed")
    seeds = sorted(set(ours.index) & set(best.index))
    runs = [*ours.loc[seeds, "run"], *whole[whole["seed"].isin(seeds)]["run"]]
    digests = [*ours.loc[seeds, "digest"], *whole[whole["seed"].isin(seeds)]["digest"]]
    names: Row = cell_names(material, *cell)
    return {
        "panel": ORACLE_TITLE,
        **names,
        "against": "",
        "metric": searches.ORACLE,
        **mean_row(ours.loc[seeds, "balanced_error"] - best.loc[seeds]),
        "status": "run" if seeds else "not run",
        "note": "" if seeds else material.why_not(*cell) if ours.empty else "not every τ was run",
        "runs": join_runs(runs),
        "records": fingerprint(digests) if seeds else "",
        "label": f"{data_title(material.experiment(cell[0]).dataset)}, {names['value']}: {names['title']}",
    }


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """The forest plot of all differences, in points of error: below 0, the first of the two errs less."""
    return forest.draw(material, rows, "points of error (below 0: fewer errors)")
