"""How likely each verdict is, over the true gap between our mean and the published one."""

import io

import matplotlib
import matplotlib.figure
import pandas as pd

from reweigh.plots.style import RC, letter, sheet

# Okabe and Ito's colours; line styles differ too, so that nothing is said by colour alone.
STYLES = {
    "replicated": ("#0072B2", "-"),
    "worse": ("#D55E00", "--"),
    "better": ("#009E73", "-."),
    "inconclusive": ("#555555", ":"),
}


class Picture:
    """A figure that stands in no paper: only its png is wanted."""

    def __init__(self, figure: matplotlib.figure.Figure) -> None:
        self.figure = figure

    def png(self) -> bytes:
        stream = io.BytesIO()
        with matplotlib.rc_context(RC):
            self.figure.savefig(stream, format="png", metadata={"Software": "reweigh"})
        return stream.getvalue()


def verdict_probabilities(curves: pd.DataFrame, tolerance: float = 1.0) -> Picture:
    """A panel for each sd of a run (rows) and number of seeds (columns), from `error_rates.curves`."""
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **RC, "backend": "agg"}):
        sds, seeds = sorted(curves["sd"].unique()), sorted(curves["n"].unique())
        figure = sheet(0.85 + 1.75 * len(sds))
        panels = figure.subplots(len(sds), len(seeds), sharex=True, sharey=True, squeeze=False)
        for place, ((sd, n), rows) in enumerate(curves.groupby(["sd", "n"])):
            axes = panels[place // len(seeds)][place % len(seeds)]
            axes.axvspan(-tolerance, tolerance, color="#ececec", linewidth=0, zorder=0, label="within τ")
            for verdict, (colour, line) in STYLES.items():
                axes.plot(rows["gap"], rows[verdict], color=colour, linestyle=line, label=verdict)
            letter(axes, chr(ord("a") + place), f"n = {n}, sd of a run {sd:g}")
            axes.set_xlim(rows["gap"].min(), rows["gap"].max())
            axes.set_ylim(0, 1.02)
        for row in panels:
            row[0].set_ylabel("probability")
        figure.supxlabel("true mean of ours minus published mean (points)", fontsize=RC["axes.labelsize"])
        handles = panels[0][0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper left", ncols=len(STYLES) + 1, handlelength=3.2)
    return Picture(figure)
