"""How likely each verdict is, over the true gap between our mean and the published one."""

import pandas as pd

from reweigh.plots.figure import Figure, styled
from reweigh.plots.style import RC, letter, sheet

# Okabe and Ito's colours; line styles differ too, so that nothing is said by colour alone.
STYLES = {
    "replicated": ("#0072B2", "-"),
    "worse": ("#D55E00", "--"),
    "better": ("#009E73", "-."),
    "inconclusive": ("#555555", ":"),
}


@styled
def draw(rows: pd.DataFrame, tolerance: float = 1.0) -> Figure:
    """A panel for each sd of a run (rows) and number of seeds (columns), from `error_rates.curves`.

    Gaps, sds and `tolerance` are in points of accuracy.
    """
    sds, seeds = sorted(rows["sd"].unique()), sorted(rows["n"].unique())
    picture = sheet(0.85 + 1.75 * len(sds))
    panels = picture.subplots(len(sds), len(seeds), sharex=True, sharey=True, squeeze=False)
    for place, ((sd, n), lines) in enumerate(rows.groupby(["sd", "n"])):
        axes = panels[place // len(seeds)][place % len(seeds)]
        axes.axvspan(-tolerance, tolerance, color="#ececec", linewidth=0, zorder=0, label="within τ")
        for verdict, (colour, line) in STYLES.items():
            axes.plot(lines["gap"], lines[verdict], color=colour, linestyle=line, label=verdict)
        letter(axes, chr(ord("a") + place), f"n = {n}, sd of a run {sd:g}")
        axes.set_xlim(lines["gap"].min(), lines["gap"].max())
        axes.set_ylim(0, 1.02)
    for row in panels:
        row[0].set_ylabel("probability")
    picture.supxlabel("true mean of ours minus published mean (points)", fontsize=RC["axes.labelsize"])
    handles = panels[0][0].get_legend_handles_labels()
    picture.legend(*handles, loc="outside upper left", ncols=len(STYLES) + 1, handlelength=3.2)
    return Figure(picture, rows)
