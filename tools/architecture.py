"""The architecture, read from the imports of src/reweigh and drawn: docs/architecture.json and docs/architecture.png.

    make architecture

Packages are boxes on floors. An arrow goes from a package to one that it imports. The picture leaves out an arrow that
others imply (A to C, where A goes to B and B to C), and arrows to the ground, which every package uses; the JSON has
all of them. `tests/test_architecture.py` tests the rules: no circle among modules or packages, no arrow upwards, and
both files current.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

ROOT = Path(__file__).parents[1]
SOURCES = Path("src/reweigh")
DATA, PICTURE = Path("docs/architecture.json"), Path("docs/architecture.png")

Imports = Mapping[str, set[str]]  # a module or package, and what it imports

# From the top down. Imports go down or stay on their floor, never up.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("cli",),
    ("checking", "planning", "provenance"),
    ("bench", "scorecard"),
    ("torch", "sklearn", "plots", "artifacts"),
    ("training", "analysis"),
    ("methods", "records"),
    ("losses", "config"),
    ("models", "evaluate", "data"),
    ("hypergrad", "ground"),
)
# Modules of the root that are small tools for everybody. `evaluate` measures a model on a data set: one floor up.
GROUND = ("aggregates", "array_files", "canonical_json", "cells", "class_rates", "digest", "errors", "group_rates",
          "layouts", "listing", "locks", "metrics", "nearest", "optimisers", "os_errors", "path_parts", "plugins",
          "ranks", "spreadsheets", "stats", "streams", "strict_yaml", "terminal", "thresholds", "verdicts",
          "weights")  # fmt: skip

# What is in a package, for its box.
TEXTS = {
    "cli": "reweigh COMMAND: one function a command",
    "checking": "what every method must hold to",
    "planning": "what Snakemake shall run, and its cost",
    "provenance": "audit, explain, attest, crate",
    "bench": "what training costs, measured",
    "scorecard": "a verdict on each number and claim",
    "plots": "one kind of figure a file",
    "artifacts": "records to figures, with receipts",
    "torch": "formulas for your loop",
    "sklearn": "a classifier of tables",
    "training": "the one loop, checkpoints, devices",
    "analysis": "records as tables; tuning",
    "methods": "one algorithm a file",
    "records": "what a run leaves; is it current?",
    "losses": "one loss a file",
    "config": "YAML to checked, complete specs",
    "models": "one network a file",
    "evaluate": "metrics",
    "data": "raw bytes to splits and batches",
    "hypergrad": "what an outer loss says of weights",
    "ground": "digests, errors, named streams, statistics",
}
# Where the boxes stand: the middle and the width, in hundredths of the page.
PLACES = {
    "cli": (50, 44),
    "checking": (16, 29), "planning": (50, 33), "provenance": (84, 29),
    "bench": (36, 24), "scorecard": (75, 36),
    "torch": (11.5, 19), "sklearn": (34, 18), "plots": (56.5, 21), "artifacts": (83.5, 27),
    "training": (28, 39), "analysis": (66, 30),
    "methods": (22, 37), "records": (77, 36),
    "losses": (33.5, 18), "config": (77, 36),
    "models": (12, 19), "evaluate": (52, 14), "data": (80, 34),
    "hypergrad": (25, 43), "ground": (77, 40),
}  # fmt: skip
# Arrows that would run behind a box: where they leave and where they end.
LANES = {
    ("torch", "methods"): (5.5, 5.5),
    ("checking", "training"): (22.9, 22.9),
    ("bench", "training"): (44.7, 44.7),
    ("training", "evaluate"): (44.5, 50),
    ("methods", "hypergrad"): (23, 23),
    ("methods", "models"): (12, 12),
}
# The two halves of the house: one trains, the other plans, keeps and asks what came out. Both stand on the same ground.
TRAINS = ("bench", "checking", "torch", "sklearn", "training", "methods", "losses", "models", "evaluate", "hypergrad")
SHARED = ("cli", "data", "ground")

INK, MUTED, BAND = "#1f2933", "#5f6b76", "#f4f6f8"
BLUE, ORANGE, GREY = ("#0072B2", "#e3f0f8"), ("#B35900", "#fcf0e1"), ("#5f6b76", "#eceff2")  # edge and face


# --- what is imported ------------------------------------------------------------------------------------------------


def modules(root: Path = ROOT) -> dict[str, Path]:
    """The modules of src/reweigh by their dotted name below `reweigh`; a package is named after its folder."""
    folder = root / SOURCES
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name and name != "__main__":
            found[name] = path
    return found


def imports(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Which modules each module imports, wherever in the file it does so.

    `from reweigh.data import load` imports the module `data.load` if there is one, else the package `data`.
    """
    return {name: set(_imported(path, files)) - {name} for name, path in files.items()}


def _imported(path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    for node in _walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            wanted = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        else:
            continue
        for name in wanted:
            below = name.removeprefix("reweigh.")
            if below != name:
                yield from ([below] if below in files else [below.rpartition(".")[0]] if "." in below else [])


def _walk(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING`, which are read by a type checker and never run."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            yield node
            yield from _walk(node)


def package_of(module: str) -> str:
    """The box of a module: its package, or for a module of the root itself or the ground.

    >>> package_of("provenance.audit.report"), package_of("digest"), package_of("cli")
    ('provenance', 'ground', 'cli')
    """
    first = module.partition(".")[0]
    return "ground" if first in GROUND else first


def packages(among: Imports) -> dict[str, set[str]]:
    """Which packages each package imports."""
    found: dict[str, set[str]] = {}
    for module, imported in among.items():
        own = package_of(module)
        found.setdefault(own, set()).update(package_of(one) for one in imported)
        found[own].discard(own)
    return found


# --- the rules -------------------------------------------------------------------------------------------------------


def circle(among: Imports) -> list[str]:
    """A circle among imports, its first member named again at the end; empty if there is none.

    >>> circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}), circle({"a": {"b"}, "b": set()})
    (['a', 'b', 'c', 'a'], [])
    """
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for one in sorted(among.get(name, ())):
            if met := walk(one, [*trail, name]):
                return met
        done.add(name)
        return []

    return next((met for name in sorted(among) if (met := walk(name, []))), [])


def upwards(among: Imports, floors: Iterable[Iterable[str]] = FLOORS) -> list[str]:
    """The imports among packages that go up, as `low -> high`.

    >>> upwards({"config": {"cli"}, "cli": {"config"}}, [["cli"], ["config"]])
    ['config -> cli']
    """
    floor = {name: number for number, names in enumerate(floors) for name in names}
    return [f"{low} -> {high}" for low in sorted(among) for high in sorted(among[low]) if floor[high] < floor[low]]


def reduced(among: Imports) -> set[tuple[str, str]]:
    """The arrows that no others imply: the transitive reduction of a graph without circles.

    >>> sorted(reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()}))
    [('a', 'b'), ('b', 'c')]
    """

    def below(name: str) -> set[str]:
        return {far for one in among.get(name, ()) for far in {one, *below(one)}}

    return {(a, b) for a in among for b in among[a] if not any(b in below(other) for other in among[a] - {b})}


def described(root: Path = ROOT) -> str:
    """What the picture shows, as JSON: the floors, and each package with its text and what it imports."""
    graph = packages(imports(modules(root)))
    boxes = {name: {"text": TEXTS[name], "imports": sorted(graph[name])} for floor in FLOORS for name in floor}
    return json.dumps({"floors": FLOORS, "packages": boxes}, indent=1, ensure_ascii=False) + "\n"


def shown_in(picture: Path) -> str:
    """The digest of the JSON that a picture was drawn from."""
    with Image.open(picture) as image:
        return str(image.text.get("Description", ""))


def digest(text: str) -> str:
    """The digest that ties a picture to its JSON."""
    return f"drawn from {DATA} sha256 {hashlib.sha256(text.encode()).hexdigest()}"


# --- the picture -----------------------------------------------------------------------------------------------------
PITCH, HEIGHT = 11.2, 6.4  # of a floor and of a box, in hundredths of the page's width


def draw(text: str) -> Figure:
    """The picture of a JSON that `described` made."""
    told = json.loads(text)
    boxes, count = told["packages"], len(told["floors"])
    figure = Figure(figsize=(8.4, 8.4 * (count * PITCH + 12) / 100))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 100), ylim=(-(count * PITCH) - 2.5, 9.5))
    axes.axis("off")
    axes.text(2, 6.6, "Reweigh, floor by floor", fontsize=15, weight="bold", color=INK, va="center")
    axes.text(
        98, 6.6, "→ imports. Left out: what other arrows imply, and arrows to the ground", fontsize=8, color=MUTED,
        ha="right", va="center",
    )  # fmt: skip
    middles = {}
    for number, names in enumerate(told["floors"]):
        y = -number * PITCH - PITCH / 2 + 2.5
        axes.add_patch(_rounded(1, y - PITCH / 2 + 0.7, 98, PITCH - 1.4, BAND, "none"))
        for name in names:
            middles[name] = (PLACES[name][0], y)
            _box(axes, name, boxes[name]["text"], y)
    graph = {name: set(box["imports"]) - {"ground"} for name, box in boxes.items()}
    for high, low in sorted(reduced(graph)):
        _arrow(axes, high, low, middles)
    _legend(axes, -count * PITCH + 0.3)
    return figure


def _colours(name: str) -> tuple[str, str]:
    return ORANGE if name in TRAINS else GREY if name in SHARED else BLUE


def _rounded(x: float, y: float, width: float, height: float, face: str, edge: str) -> FancyBboxPatch:
    return FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.9", facecolor=face, edgecolor=edge, linewidth=1.1
    )


def _box(axes: Axes, name: str, text: str, y: float) -> None:
    middle, width = PLACES[name]
    edge, face = _colours(name)
    box = _rounded(middle - width / 2, y - HEIGHT / 2, width, HEIGHT, face, edge)
    box.set_zorder(3)
    axes.add_patch(box)
    axes.text(middle, y + 1.15, name, fontsize=10.5, weight="bold", color=edge, ha="center", va="center", zorder=4)
    axes.text(middle, y - 1.45, text, fontsize=7.6, color=INK, ha="center", va="center", zorder=4)


def _arrow(axes: Axes, high: str, low: str, middles: Mapping[str, tuple[float, float]]) -> None:
    """From the lower edge of a box to the upper edge of another; between boxes of one floor from side to side."""
    (x0, y0), (x1, y1) = middles[high], middles[low]
    half0, half1 = PLACES[high][1] / 2, PLACES[low][1] / 2
    if y0 == y1:
        side = 1 if x1 > x0 else -1
        start, end = (x0 + side * half0, y0), (x1 - side * half1, y1)
    else:
        near0 = x0 + max(-0.72 * half0, min(0.72 * half0, 0.45 * (x1 - x0)))
        near1 = x1 + max(-0.72 * half1, min(0.72 * half1, 0.45 * (x0 - x1)))
        leaves, ends = LANES.get((high, low), (near0, near1))
        start, end = (leaves, y0 - HEIGHT / 2), (ends, y1 + HEIGHT / 2)
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=10, linewidth=1.1, color=_colours(high)[0], alpha=0.75,
            shrinkA=0.5, shrinkB=0.5, zorder=2,
        )
    )  # fmt: skip


def _legend(axes: Axes, y: float) -> None:
    notes = (
        (ORANGE, "trains"),
        (BLUE, "plans, keeps records, renders, scores, explains"),
        (GREY, "serves both"),
    )
    for (edge, face), x, (_, note) in zip((one for one, _ in notes), (2, 14, 58), notes, strict=True):
        axes.add_patch(_rounded(x, y - 0.9, 2.4, 1.8, face, edge))
        axes.text(x + 3.3, y, note, fontsize=8, color=INK, va="center")


def write(root: Path = ROOT) -> None:
    """Write both files."""
    text = described(root)
    (root / DATA).write_text(text, encoding="utf-8")
    with rc_context({**rcParamsDefault, "font.family": "DejaVu Sans", "backend": "agg"}):
        draw(text).savefig(root / PICTURE, dpi=160, metadata={"Software": "reweigh", "Description": digest(text)})


if __name__ == "__main__":
    graph = imports(modules())
    if faults := [*upwards(packages(graph)), *([" -> ".join(ring)] if (ring := circle(graph)) else [])]:
        sys.exit(f"imports run down and in no circle, but: {'; '.join(faults)}")
    write()
    print(DATA, PICTURE, sep="\n")
