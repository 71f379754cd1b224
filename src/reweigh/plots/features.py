"""What the last layer sees: t-SNE maps of the features of training and test examples."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from scipy.spatial.distance import cdist

from reweigh.analysis.rows import AGREEMENT, MAP_POINT, Row, cell_names
from reweigh.analysis.tables import Material, fingerprint, logged
from reweigh.plots.figure import Figure, styled
from reweigh.plots.style import empty, finish, letter, sheet

# Colours that people with any colour vision tell apart (Okabe and Ito's, and two of Tol's); more classes share them.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255", "#999933", "#222222", "#999999")
MARKERS = "os^Dv"
PARTS = {"train": "training", "test": "test"}
FEWEST = 5  # examples of a map
SAME_EVERYWHERE = False  # t-SNE gives the same map on the same machine only; an audit does not hold it against another
Cell = tuple[str, str, str]  # experiment, setting, method


def rows(material: Material) -> pd.DataFrame:
    """Two panels a cell, of training and of test examples, from the first seed that kept their features.

    Metric `nearest_neighbour_agreement`: a line a panel, how often an example's nearest neighbour among the features is
    of its own class, mean over classes. Metric `tsne`: a line an example, its `class` and its place on the map.
    Perplexity and seed are options of the artifact.
    """
    letters = iter("abcdefghijklmnop")
    panels = [_panel_rows(material, cell, part, next(letters)) for cell in _cells(material) for part in PARTS]
    return pd.concat(panels, ignore_index=True)


def _cells(material: Material) -> Iterator[Cell]:
    for experiment in material.experiments:
        for setting in material.settings(experiment):
            for method in material.methods(experiment, setting):
                yield experiment, setting, method


def _panel_rows(material: Material, cell: Cell, part: str, panel: str) -> pd.DataFrame:
    base: Row = {"panel": panel, **cell_names(material, *cell), "note": f"{PARTS[part]} examples"}
    kept = _features(material, cell, part)
    if kept is None:
        reason = material.why_not(*cell) if material.of(*cell).empty else "its runs kept no features"
        return pd.DataFrame([{**base, "metric": MAP_POINT, "n": 0, "status": "not run", "note": reason}])
    run, features, labels = kept
    base = {**base, "status": "run", "runs": run, "records": fingerprint([material.records[run]["digest"]])}
    agreement = neighbour_agreement(features, labels)
    summary = pd.DataFrame([{**base, "metric": AGREEMENT, "mean": agreement, "n": 1}])
    if len(features) < FEWEST or not (features != features[0]).any():
        return summary
    options = material.artifact.options
    places = embed(features, options["perplexity"], options["seed"])
    points = pd.DataFrame({"class": labels, "x": places[:, 0], "y": places[:, 1]}).assign(**base, metric=MAP_POINT)
    return pd.concat([summary, points], ignore_index=True)


def _features(material: Material, cell: Cell, part: str) -> tuple[str, np.ndarray, np.ndarray] | None:
    """Run, features (n, F) and labels (n,) of the first seed that kept features."""
    for run in material.of(*cell).sort_values("seed")["run"]:
        names = f"{part}_features", f"{part}_labels"
        if arrays := logged(material.records[run], *names, root=material.config.root):
            return run, arrays[0].astype(np.float32), arrays[1].astype(int)
    return None


def embed(features: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """t-SNE of features (n, F) in the plane, (n, 2), on one thread: the same bits each time on the same machine."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    x = np.asarray(features, np.float32)
    with threadpool_limits(1):
        tsne = TSNE(2, perplexity=min(perplexity, (len(x) - 1) / 3), init="pca", random_state=seed, n_jobs=1)
        return np.asarray(tsne.fit_transform(x), float)


def neighbour_agreement(features: np.ndarray, labels: np.ndarray) -> float:
    """How often the nearest other example is of the same class (Euclidean), averaged over classes of two or more.

    features (n, F), labels (n,). Examples that are equally near share the vote. NaN if there is no such class.
    """
    distances = cdist(np.asarray(features, float), np.asarray(features, float), "sqeuclidean")
    np.fill_diagonal(distances, np.inf)
    nearest = distances == distances.min(1, keepdims=True)
    same = (nearest & (labels[:, None] == labels)).sum(1) / nearest.sum(1)
    shares = [same[labels == label].mean() for label in np.unique(labels) if (labels == label).sum() > 1]
    return float(np.mean(shares)) if shares else float("nan")


@styled
def draw(material: Material, rows: pd.DataFrame) -> Figure:
    """A row of two panels a cell: its map of training and of test examples, below each its neighbours' agreement."""
    by_panel = [lines for _, lines in rows.groupby("panel", sort=False)]
    height = len(by_panel) // len(PARTS)
    picture = sheet()
    panels = picture.subplots(height, len(PARTS), squeeze=False).flat
    for axes, lines, part in zip(panels, by_panel, list(PARTS.values()) * height, strict=True):
        _panel(axes, lines, f"{part} examples")
    options = material.artifact.options
    shows = (
        "t-SNE of the features of one run after the last epoch (n = 1 seed, no interval), each panel by itself: "
        f"perplexity {options['perplexity']:g}, seed {options['seed']}, begun by PCA; "
        "distances between groups mean nothing"
    )
    agreement = (
        "Nearest neighbour: how often the nearest other example of the panel, by features and not on the map, is of "
        "the same class; mean over classes"
    )
    finish(picture, material, shows, [agreement, *_sizes(material, rows)], _legend(rows), panels=2.75 * height)
    return Figure(picture, rows)


def _panel(axes: Axes, rows: pd.DataFrame, shows: str) -> None:
    letter(axes, rows["panel"].iloc[0], f"{rows['title'].iloc[0]}, {shows}")
    axes.spines[["top", "right"]].set_visible(True)
    axes.set(xticks=[], yticks=[])
    if rows["status"].iloc[0] == "not run":
        empty(axes, f"not run: {rows['note'].iloc[0]}")
        return
    points, agreement = rows[rows["metric"] == MAP_POINT], rows[rows["metric"] == AGREEMENT]["mean"].iloc[0]
    if points.empty:
        empty(axes, "all features are the same")
        return
    _scatter(axes, points[["x", "y"]].to_numpy(float), points["class"].to_numpy(int))
    axes.set_xlabel(
        f"{len(points):,} examples; nearest neighbour of the same class: {100 * agreement:.0f} %", fontsize=7
    )


def _scatter(axes: Axes, places: np.ndarray, labels: np.ndarray) -> None:
    size = float(np.clip(4000 / len(labels), 5, 20))
    for label in np.unique(labels):
        mine, (colour, marker) = places[labels == label], _mark(label)
        axes.scatter(mine[:, 0], mine[:, 1], s=size, color=colour, marker=marker, linewidth=0, alpha=0.75)
    for label in np.unique(labels):
        mine = places[labels == label]
        centre = mine[((mine - np.median(mine, 0)) ** 2).sum(1).argmin()]  # one of its points, even on a bent map
        few = len(mine) < 60  # its number stands beside it, not on it
        axes.annotate(
            str(label), centre, xytext=(7, 5) if few else (0, 0), textcoords="offset points", ha="center",
            va="center", fontsize=7.5, weight="bold", path_effects=[withStroke(linewidth=2.2, foreground="white")],
        )  # fmt: skip
    axes.set_xlim(*_padded(places[:, 0]))
    axes.set_ylim(*_padded(places[:, 1]))


def _padded(values: np.ndarray) -> tuple[float, float]:
    margin = 0.05 * (values.max() - values.min())
    return values.min() - margin, values.max() + margin


def _mark(label: int) -> tuple[str, str]:
    return COLOURS[label % len(COLOURS)], MARKERS[label // len(COLOURS) % len(MARKERS)]


def _legend(rows: pd.DataFrame) -> list[tuple[Any, str]]:
    classes = sorted(set(rows["class"].dropna().astype(int))) if "class" in rows else []
    entries = []
    for place, label in enumerate(classes):
        colour, marker = _mark(label)
        dot = Line2D([], [], linestyle="none", color=colour, marker=marker, markersize=4)
        entries.append((dot, str(label) if place else f"class {label}"))
    return entries


def _sizes(material: Material, rows: pd.DataFrame) -> list[str]:
    """How many training examples the classes have, which the numbers on the maps do not say."""
    runs = [run for run in rows.get("runs", pd.Series(dtype=str)).dropna() if run]
    if not runs:
        return []
    sizes = material.records[runs[0]]["split"]["sizes"]["train"]
    return [f"Training examples of class 0, 1, ...: {', '.join(f'{size:,}' for size in sizes)}"]
