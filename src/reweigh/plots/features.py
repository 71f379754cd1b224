"""What the last layer sees: t-SNE maps of the features of training and test examples."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from reweigh.analysis.kept_features import PARTS, kept, neighbour_agreement
from reweigh.analysis.rows import AGREEMENT, MAP_POINT, NUMBERS, Row, cell_names, mean_row
from reweigh.analysis.tables import Material, expand_runs, fingerprint, join_runs
from reweigh.config.names import RunName
from reweigh.plots.figure import Figure, styled
from reweigh.plots.notes import by_whom
from reweigh.plots.style import empty, finish, letter, sheet

# Colours that people with any colour vision tell apart (Okabe and Ito's, and two of Tol's); more classes share them.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255", "#999933", "#222222", "#999999")
MARKERS = "os^Dv"
FEWEST = 5  # examples of a map
SAME_EVERYWHERE = False  # t-SNE gives the same map on the same machine only; an audit does not hold it against another
Cell = tuple[str, str, str]  # experiment, setting, method


def rows(material: Material) -> pd.DataFrame:
    """Two panels a cell, of training and of test examples.

    Metric `nearest_neighbour_agreement`: a line a panel, how often an example's nearest neighbour among the features is
    of its own class, mean over classes; its mean over the seeds that kept features. Metric `tsne`: a line an example of
    the first of these, its `class` and its place on the map. Perplexity and seed are options of the artifact. A cell
    whose runs all diverged has a line that says so.
    """
    letters = iter("abcdefghijklmnop")
    panels = [_panel_rows(material, cell, part, next(letters)) for cell in _cells(material) for part in PARTS]
    lines = pd.concat(panels, ignore_index=True)
    return lines.astype({name: float for name in NUMBERS if name in lines})


def _cells(material: Material) -> Iterator[Cell]:
    for experiment in material.experiments:
        for setting in material.settings(experiment):
            for method in material.methods(experiment, setting):
                yield experiment, setting, method


def _panel_rows(material: Material, cell: Cell, part: str, panel: str) -> pd.DataFrame:
    base: Row = {"panel": panel, **cell_names(material, *cell), "note": f"{PARTS[part]} examples"}
    found = _features(material, cell, part)
    if not found:
        return pd.DataFrame([{**base, "metric": MAP_POINT, "n": 0, **_absent(material, cell)}])
    run, (features, labels) = next(iter(found.items()))
    agreement = pd.Series([neighbour_agreement(*one) for one in found.values()])
    digests = [material.records[name]["digest"] for name in found]
    of_seeds: Row = {**base, "status": "run", "runs": join_runs(found), "records": fingerprint(digests)}
    summary = pd.DataFrame([{**of_seeds, "metric": AGREEMENT, **mean_row(agreement, AGREEMENT)}])
    if len(features) < FEWEST or not (features != features[0]).any():
        return summary
    options = material.artifact.options
    places = embed(features, options["perplexity"], options["seed"])
    of_run: Row = {**base, "status": "run", "runs": run, "records": fingerprint(digests[:1])}
    points = pd.DataFrame({"class": labels, "x": places[:, 0], "y": places[:, 1]}).assign(**of_run, metric=MAP_POINT)
    return pd.concat([summary, points], ignore_index=True)


def _absent(material: Material, cell: Cell) -> Row:
    """Why a cell has no map: status, note, and the runs that diverged, if that is why."""
    runs = material.of(*cell)
    if runs.empty:
        return {"status": "not run", "note": material.why_not(*cell)}
    diverged = runs[runs["status"] == "diverged"]
    if len(diverged) < len(runs):
        return {"status": "not run", "note": "its runs kept no features that are numbers"}
    note = "its run diverged" if len(runs) == 1 else f"all of its {len(runs)} runs diverged"
    named: Row = {"runs": join_runs(diverged["run"]), "records": fingerprint(diverged["digest"])}
    return {"status": f"{len(diverged)} diverged", "note": note, **named}


def _features(material: Material, cell: Cell, part: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features and labels of the runs that kept them, by run, in the order of their seeds."""
    runs = material.of(*cell).sort_values("seed")["run"]
    found = {run: kept(material.records[run], part, material.config.root) for run in runs}
    return {run: one for run, one in found.items() if one is not None}


def embed(features: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """t-SNE of features (n, F) in the plane, (n, 2), on one thread: the same bits each time on the same machine."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    x = np.asarray(features, np.float32)
    with threadpool_limits(1):
        tsne = TSNE(2, perplexity=min(perplexity, (len(x) - 1) / 3), init="pca", random_state=seed, n_jobs=1)
        return np.asarray(tsne.fit_transform(x), float)


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
        "t-SNE of the features of one run a method after the last epoch, each panel by itself: "
        f"perplexity {options['perplexity']:g}, seed {options['seed']}, begun by PCA; "
        "distances between groups mean nothing"
    )
    notes = [_of_agreement(rows), *_lost(material, rows), *_sizes(material, rows)]
    finish(picture, material, shows, notes, _legend(rows), panels=2.75 * height)
    return Figure(picture, rows)


def _of_agreement(rows: pd.DataFrame) -> str:
    of = rows[rows["metric"] == AGREEMENT]
    several = by_whom(of, ", over n seeds with its 95 % interval (Student t)") if of["n"].gt(1).any() else ""
    return (
        "Nearest neighbour: how often the nearest other example of the panel, by features and not on the map, is of "
        f"the same class; mean over classes{several}"
    )


def _lost(material: Material, rows: pd.DataFrame) -> list[str]:
    """Which cells have runs that diverged, beside those that are shown."""
    cells = rows.drop_duplicates(["experiment", "setting", "method"]).to_dict("records")
    runs = {cell["title"]: material.of(cell["experiment"], cell["setting"], cell["method"]) for cell in cells}
    lost = {title: (int((of["status"] == "diverged").sum()), len(of)) for title, of in runs.items()}
    named = [f"{count} of {n} runs of {title}" for title, (count, n) in lost.items() if 0 < count < n]
    return [f"Diverged, and neither drawn nor counted: {'; '.join(named)}"] if named else []


def _panel(axes: Axes, rows: pd.DataFrame, shows: str) -> None:
    first = rows.iloc[0]
    letter(axes, first["panel"], f"{first['title']}, {shows}")
    axes.spines[["top", "right"]].set_visible(True)
    axes.set(xticks=[], yticks=[])
    if first["metric"] == MAP_POINT:  # there is no agreement, so there are no features
        empty(axes, f"not run: {first['note']}" if first["status"] == "not run" else first["note"])
        return
    points = rows[rows["metric"] == MAP_POINT]
    if points.empty:
        empty(axes, "all features are the same")
        return
    _scatter(axes, points[["x", "y"]].to_numpy(float), points["class"].to_numpy(int))
    shown = RunName.parse(points["runs"].iloc[0]).seed
    axes.set_xlabel(
        f"{len(points):,} examples, seed {shown}; nearest neighbour of the same class:\n{_share(first)}", fontsize=7
    )


def _share(row: pd.Series) -> str:
    """`83.1 % (n = 3, 95 % interval 81.9 to 84.3)`, `83.1 % (n = 1)`."""
    mean, low, high = (100 * row[name] for name in ("mean", "low", "high"))
    interval = "" if pd.isna(row["low"]) else f", 95 % interval {low:.1f} to {high:.1f}"
    return f"{mean:.1f} % (n = {row['n']:.0f}{interval})"


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
    sizes = material.records[expand_runs(runs[0])[0]]["split"]["sizes"]["train"]
    return [f"Training examples of class 0, 1, ...: {', '.join(f'{size:,}' for size in sizes)}"]
