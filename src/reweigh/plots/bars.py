"""Grouped bars: every method at every setting, with the published numbers as hollow diamonds."""

from typing import Any

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from reweigh.analysis.tables import Material, cell_names, summary_row
from reweigh.plots.style import INK, MUTED, Drawing, finish, letter, look_in, missing_notes, seeds_text, sheet, styled

DIAMOND: dict[str, Any] = {
    "marker": "D",
    "markersize": 4,
    "markerfacecolor": "white",
    "markeredgecolor": INK,
    "markeredgewidth": 0.8,
}
ROOM = 0.84  # share of a group's place that its bars fill


@styled
def grouped_bars(material: Material, metric: str = "test_accuracy", ylabel: str = "test accuracy") -> Drawing:
    """One panel an experiment: bars are means after the last epoch, whiskers 95 % intervals, diamonds the paper's.

    csv: one line per setting and method, with the published number beside ours.
    """
    experiments = material.experiments
    figure = sheet(0.9 + 2.3 * len(experiments))
    panels = figure.subplots(len(experiments), 1, squeeze=False)[:, 0]
    frames = []
    for place, (axes, experiment) in enumerate(zip(panels, experiments, strict=True)):
        frames.append(_bars(axes, material, experiment, metric, "abcdef"[place]))
        axes.set_ylabel(ylabel)
        if len(experiments) > 1:
            letter(axes, "abcdef"[place], material.experiment(experiment).title)
    data = pd.concat(frames, ignore_index=True)
    shows = seeds_text(data, "whiskers: 95 % interval (Student t); diamonds: the paper's mean ± sd")
    finish(figure, material, shows, missing_notes(material, data, gaps=False), _legend(material, data))
    return Drawing(figure, data if len(experiments) > 1 else data.drop(columns="panel"))


def _bars(axes: Any, material: Material, experiment: str, metric: str, panel: str) -> pd.DataFrame:
    settings, methods = material.settings(experiment), material.methods(experiment)
    width, rows = ROOM / max(1, len(methods)), []
    for place, method in enumerate(methods):
        chosen = look_in(material, method)
        for group, setting in enumerate(settings):
            row = _row(material, experiment, setting, method, metric, panel)
            x = group + (place - (len(methods) - 1) / 2) * width
            if row["n"]:
                axes.bar(x, row["mean"], width * 0.92, color=chosen.colour, alpha=0.85, zorder=2)
                if row["low"] is not None:
                    axes.plot([x, x], [row["low"], row["high"]], color=INK, linewidth=0.9, zorder=3)
            else:
                axes.text(
                    x, 0.015, "not run", rotation=90, ha="center", va="bottom", fontsize=6, color=MUTED, style="italic"
                )
            _diamond(axes, x, row["published"], row["published_sd"])
            rows.append(row)
    axes.set_xticks(range(len(settings)), [material.label(experiment, setting) for setting in settings])
    axes.set_xlim(-0.5, len(settings) - 0.5)
    axes.set_xlabel(material.experiment(experiment).varies)
    axes.set_ylim(0, 1.02)
    return pd.DataFrame(rows)


def _legend(material: Material, data: pd.DataFrame) -> list[tuple[Any, str]]:
    methods = dict.fromkeys(data["method"])
    entries: list[tuple[Any, str]] = [
        (Patch(color=look_in(material, one).colour, alpha=0.85), material.title(one)) for one in methods
    ]
    return [*entries, (Line2D([], [], linestyle="none", **DIAMOND), "published")]


def _row(material: Material, experiment: str, setting: str, method: str, metric: str, panel: str) -> dict[str, Any]:
    published, published_sd = material.published_value(experiment, setting, method, metric)
    summary = summary_row(material.of(experiment, setting, method), metric)
    return {
        "panel": panel,
        **cell_names(material, experiment, setting, method),
        "published": published,
        "published_sd": published_sd,
        **summary,
        "note": "" if summary["n"] else material.why_not(experiment, setting, method),
    }


def _diamond(axes: Any, x: float, published: float | None, sd: float | None) -> None:
    if published is None:
        return
    if sd is not None:
        for width, colour in ((2.0, "white"), (0.8, INK)):  # seen on a bar of any colour
            axes.plot([x, x], [published - sd, published + sd], color=colour, linewidth=width, zorder=4)
    axes.plot(x, published, zorder=5, **DIAMOND)
