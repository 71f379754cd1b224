"""What the last layer sees: t-SNE maps of the features of training and test examples."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from scipy.spatial.distance import cdist

from reweigh.analysis.tables import Material, cell_names, fingerprint, logged
from reweigh.plots.style import Drawing, empty, finish, letter, sheet, styled

# Colours that people with any colour vision tell apart (Okabe and Ito's, and two of Tol's); more classes share them.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255", "#999933", "#222222", "#999999")
MARKERS = "os^Dv"
PARTS = {"train": "training", "test": "test"}


@styled
def feature_maps(material: Material) -> Drawing:
    """A row of two panels a cell: t-SNE of the features of training and of test examples, first seed that kept them.

    In each panel: how often an example's nearest neighbour among the features is of its own class, mean over classes.
    Perplexity and seed are options of the artifact. csv: one line an example (metric `tsne`), one line a panel
    (metric `nearest_neighbour_agreement`).
    """
    cells = [
        (experiment, setting, method)
        for experiment in material.experiments
        for setting in material.settings(experiment)
        for method in material.methods(experiment, setting)
    ]
    figure = sheet()
    panels, letters, frames = figure.subplots(len(cells), 2, squeeze=False), iter("abcdefghijklmnop"), []
    for line, cell in zip(panels, cells, strict=True):
        frames += [_panel(axes, material, cell, part, next(letters)) for axes, part in zip(line, PARTS, strict=True)]
    data = pd.concat(frames, ignore_index=True)
    said = material.artifact.options
    shows = (
        "t-SNE of the features of one run after the last epoch (n = 1 seed, no interval), each panel by itself: "
        f"perplexity {said['perplexity']:g}, seed {said['seed']}, begun by PCA; distances between groups mean nothing"
    )
    agreement = (
        "Nearest neighbour: how often the nearest other example of the panel, by features and not on the map, is of "
        "the same class; mean over classes"
    )
    finish(figure, material, shows, [agreement, *_sizes(material, data)], _legend(data), panels=2.75 * len(cells))
    return Drawing(figure, data)


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


def _panel(axes: Axes, material: Material, cell: tuple[str, str, str], part: str, panel: str) -> pd.DataFrame:
    """Draw one panel; return its lines."""
    base = {"panel": panel, **cell_names(material, *cell), "note": f"{PARTS[part]} examples"}
    letter(axes, panel, f"{base['title']}, {base['note']}")
    axes.spines[["top", "right"]].set_visible(True)
    axes.set(xticks=[], yticks=[])
    found = _features(material, cell, part)
    if found is None:
        reason = material.why_not(*cell) if material.of(*cell).empty else "its runs kept no features"
        empty(axes, f"not run: {reason}")
        return pd.DataFrame([base | {"metric": "tsne", "n": 0, "status": "not run", "note": reason}])
    run, features, labels = found
    base |= {"status": "run", "runs": run, "records": fingerprint([material.records[run]["digest"]])}
    agreement = neighbour_agreement(features, labels)
    summary = pd.DataFrame([{**base, "metric": "nearest_neighbour_agreement", "mean": agreement, "n": 1}])
    if len(features) < 5 or not (features != features[0]).any():
        empty(axes, "all features are the same")
        return summary
    said = material.artifact.options
    places = embed(features, said["perplexity"], said["seed"])
    _scatter(axes, places, labels)
    axes.set_xlabel(
        f"{len(labels):,} examples; nearest neighbour of the same class: {100 * agreement:.0f} %", fontsize=7
    )
    lines = pd.DataFrame({"class": labels, "x": places[:, 0], "y": places[:, 1]}).assign(**base, metric="tsne")
    return pd.concat([summary, lines], ignore_index=True)


def _features(material: Material, cell: tuple[str, str, str], part: str) -> tuple[str, np.ndarray, np.ndarray] | None:
    """Run, features (n, F) and labels (n,) of the first seed that kept features."""
    for run in material.of(*cell).sort_values("seed")["run"]:
        names = f"{part}_features", f"{part}_labels"
        if found := logged(material.records[run], *names, root=material.config.root):
            return run, found[0].astype(np.float32), found[1].astype(int)
    return None


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
    room = 0.05 * (values.max() - values.min())
    return values.min() - room, values.max() + room


def _mark(label: int) -> tuple[str, str]:
    return COLOURS[label % len(COLOURS)], MARKERS[label // len(COLOURS) % len(MARKERS)]


def _legend(data: pd.DataFrame) -> list[tuple[Any, str]]:
    classes = sorted(set(data["class"].dropna().astype(int))) if "class" in data else []
    entries = []
    for place, label in enumerate(classes):
        colour, marker = _mark(label)
        dot = Line2D([], [], linestyle="none", color=colour, marker=marker, markersize=4)
        entries.append((dot, str(label) if place else f"class {label}"))
    return entries


def _sizes(material: Material, data: pd.DataFrame) -> list[str]:
    """How many training examples the classes have, which the numbers on the maps do not say."""
    runs = [run for run in data.get("runs", pd.Series(dtype=str)).dropna() if run]
    if not runs:
        return []
    sizes = material.records[runs[0]]["split"]["sizes"]["train"]
    return [f"Training examples of class 0, 1, ...: {', '.join(f'{size:,}' for size in sizes)}"]
