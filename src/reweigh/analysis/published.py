"""The numbers that a paper prints, each with the cell of ours that it belongs to; `config.published` reads them."""

import pandas as pd

from reweigh import metrics
from reweigh.config import published as files
from reweigh.config.grid import Config
from reweigh.errors import ConfigError


def published(config: Config, paper: str) -> pd.DataFrame:
    """The paper's numbers, each with what it belongs to: experiment, setting_name, method_name (or None), metric.

    They are as printed, except that percentages become fractions, as ours are. `excluded` says why a number is not
    judged, `remark` what a reader must know of it. `against` is the method that it compares with, `measured` the line
    of the bench that stands for our runs, `id` what its line of the scorecard is called. None where there is nothing to
    say. Raises ConfigError, with file and line, for a number that cannot be.
    """
    mapping = config.paper(paper).published
    ours = ["experiment", "setting_name", "method_name", "excluded", "remark", "against", "measured", "id"]
    if mapping is None:
        return pd.DataFrame(columns=[*files.COLUMNS, *ours])
    if not (config.root / mapping.file).is_file():
        raise ConfigError(
            f"{config.root / mapping.file} is missing, though {config.place(paper, 'published', 'file')} names it as "
            "the published numbers"
        )
    printed = files.read(config.root, mapping.file)
    rows = pd.DataFrame(printed, columns=files.COLUMNS).astype({"mean": float, "std": float})
    divisors = pd.Series([metrics.printed(row["metric"])[1] for row in printed], dtype=float)
    percent = divisors != 1
    for column in ("mean", "std"):
        rows.loc[percent, column] = (rows.loc[percent, column] / divisors[percent]).round(10)
    targets = [mapping.target(row) or (None, None, None, mapping.metric(row)) for row in printed]
    for place, name in enumerate(("experiment", "setting_name", "method_name", "metric")):
        rows[name] = pd.Series([target[place] for target in targets], dtype=object)  # so that None stays None
    known = [mapping.rows_of(row) for row in printed]
    return rows.assign(
        excluded=pd.Series([mapping.excluded_because(row) for row in printed], dtype=object),
        remark=pd.Series([mapping.remark_on(row) for row in printed], dtype=object),
        against=pd.Series([rows.against if rows else None for rows in known], dtype=object),
        measured=pd.Series([rows.measured if rows else None for rows in known], dtype=object),
        id=pd.Series([mapping.id_of(row) for row in printed], dtype=object),
    )
