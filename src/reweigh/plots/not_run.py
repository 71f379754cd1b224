"""The panel of an artifact that cannot be run here: that it was not, why, and what the paper says."""

import textwrap
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from reweigh.analysis.rows import Row
from reweigh.analysis.tables import Material
from reweigh.plots.figure import Figure, styled
from reweigh.plots.style import INK, MUTED, finish, sheet
from reweigh.plots.tables import Write, writer

COLUMNS = ["experiment", "setting", "value", "method", "metric", "mean", "sd", "n", "low", "high", "published",
           "published_sd", "title", "status", "note", "runs", "records"]  # fmt: skip


def rows(material: Material) -> pd.DataFrame:
    """One line a published number of the artifact's experiments, with status `not run` and the reason."""
    published = material.published
    lines: list[Row] = [
        {
            "experiment": row["experiment"],
            "setting": row["setting_name"],
            "value": material.label(row["experiment"], row["setting_name"]),
            "method": row["method_name"],
            "title": material.title(row["method_name"]),
            "metric": row["metric"],
            "n": 0,
            "published": row["mean"],
            "published_sd": row["std"],
            "status": "not run",
            "note": _reason(material),
            "runs": "",
            "records": "",
        }
        for row in published[published["experiment"].isin(material.experiments)].to_dict("records")
    ]
    return pd.DataFrame(lines).reindex(columns=COLUMNS)


def _reason(material: Material) -> str:
    return material.artifact.reason or "not run"


@styled
def draw(material: Material, rows: pd.DataFrame, percent: bool = False) -> Figure:
    """One panel of words. `percent` as in `tables`."""
    wrapped, write = textwrap.wrap(_reason(material), 88), writer(percent)
    picture = sheet(1.5 + 0.15 * len(wrapped) + 0.17 * len(rows))
    axes = picture.subplots()
    axes.set_axis_off()
    lines = [
        ("not run" if material.experiments else "not drawn", INK, "bold"),
        *((line, INK, "normal") for line in wrapped),
    ]
    lines += [("", INK, "normal"), ("What the paper reports:", MUTED, "normal")] if len(rows) else []
    lines += [(_reported(material, row, write), MUTED, "normal") for row in rows.to_dict("records")]
    for place, (line, colour, weight) in enumerate(lines):
        y = 1 - (place + 0.8) / (len(lines) + 0.6)
        axes.text(0.5, y, line, ha="center", va="center", color=colour, weight=weight, transform=axes.transAxes)
    axes.add_patch(_border(axes))
    finish(picture, material, "Nothing of ours is drawn here, and nothing stands in for it")
    return Figure(picture, rows)


def _reported(material: Material, row: Mapping[Hashable, Any], write: Write) -> str:
    place = f", {row['value']}" if len(material.settings(row["experiment"])) > 1 else ""
    number = "no number" if pd.isna(row["published"]) else write(row["published"], row["published_sd"])
    return f"{row['title']}{place}, {row['metric'].replace('_', ' ')}: {number}"


def _border(axes: Axes) -> Rectangle:
    return Rectangle(
        (0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=MUTED, linewidth=0.8, linestyle=(0, (3, 2))
    )
