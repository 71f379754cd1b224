"""Figures and tables in one style. Each function draws one kind and returns a Drawing: the figure and what was drawn.

    material = results.of_artifact("paper", "tdr", "fig5")
    drawing = plots.accuracy_by_ratio(material)
    drawing.save("figures/paper/tdr/fig5")          # .pdf .png .csv

Every number in a figure is a line of its csv, with the runs that feed it.
"""

from reweigh.plots.averaging import averaging_and_weights
from reweigh.plots.bars import grouped_bars
from reweigh.plots.curves import learning_curves
from reweigh.plots.features import feature_maps
from reweigh.plots.forest import paired_differences
from reweigh.plots.ratio import accuracy_and_weights, accuracy_by_ratio
from reweigh.plots.sizes import label_distributions
from reweigh.plots.style import Drawing
from reweigh.plots.tables import by_data, not_run, table
from reweigh.plots.toy import one_step

__all__ = [
    "Drawing",
    "accuracy_and_weights",
    "accuracy_by_ratio",
    "averaging_and_weights",
    "by_data",
    "feature_maps",
    "grouped_bars",
    "label_distributions",
    "learning_curves",
    "not_run",
    "one_step",
    "paired_differences",
    "table",
]
