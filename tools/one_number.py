"""The README's picture: one number of a figure, and where it comes from, down to the bytes. docs/one-number.png.

    make pictures

Everything in it is read from what is in git: the figure's csv, five records, and the embedded MNIST, from which the
split is drawn again. `tests/test_pictures.py` tests that it is current.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, FancyBboxPatch
from PIL import Image

from reweigh.config.loading import resolve
from reweigh.data import obtain

ROOT = Path(__file__).parents[1]
CSV, PICTURE = Path("figures/paper/tdr/fig5.csv"), Path("docs/one-number.png")
RUN = "paper/tdr/mnist-4v9/rho0.005/tdr_p/seed0"
LEAST = 0.008  # of the axis of errors
INK, MUTED, LINE, PAPER = "#1f2933", "#5f6b76", "#c9d1d9", "#f4f6f8"
LINES = {  # colours of Okabe and Ito
    "none_p": ("#555555", "plain training (not in the paper's figure)"),
    "tdr_p": ("#0072B2", "TDR"),
    "hard_p": ("#009E73", "fixed weights, 1 / class size (not in the paper's figure)"),
    "er_p": ("#D55E00", "example reweighting"),
}


def material(root: Path = ROOT) -> dict[str, Any]:
    """Every number in the picture, as plain values, but for the pixels."""
    table = pd.read_csv(root / CSV, dtype={"value": str})
    means = table[table["seed"].isna() & table["method"].isin(LINES)]
    curves = {
        method: means[means["method"] == method][["value", "mean", "low", "high"]].values.tolist() for method in LINES
    }
    counts = sorted({int(n) for n in means["n"]})  # a run that diverged has no score
    row = means[(means["method"] == "tdr_p") & (means["value"] == "0.005")].iloc[0]
    records = [
        json.loads((root / f"results/{RUN[:-1]}{seed}.json").read_text(encoding="utf-8"))
        for seed in range(int(row["n"]))
    ]
    assert f"{np.mean([one['metrics']['test_accuracy'] for one in records]):.6g}" == f"{row['mean']:.6g}"
    record = records[0]
    split = obtain.obtain(resolve(RUN, root), root / "data")
    raw = next(file for file in record["raw"] if file["name"] == "train-images-idx3-ubyte")
    assert split.digest() == record["split"]["digest"]
    return {
        "curves": curves,
        "seeds": f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0]),
        "row": [float(row[column]) for column in ("mean", "low", "high", "n")],
        "record": {"run": RUN, **{key: record[key] for key in ("digest", "steps", "seconds", "status")},
                   "accuracy": record["metrics"]["test_accuracy"]},
        "split": {**record["split"], "rare": np.sort(split.train.index[split.train.label == 0]).tolist()},
        "raw": raw,
    }  # fmt: skip


def digest(told: dict[str, Any]) -> str:
    """The digest of what is shown: the picture carries it, so that a test need not draw."""
    return f"shows {hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()}"


def shown_in(picture: Path) -> str:
    """The digest that a picture carries."""
    with Image.open(picture) as image:
        return str(image.text.get("Description", ""))


def draw(told: dict[str, Any], images: np.ndarray, head: bytes) -> Figure:
    """The picture. `images` (N, 28, 28) are those of the rare class; `head` the first bytes of the raw file."""
    figure = Figure(figsize=(11, 5.3))
    plot = figure.add_axes((0.062, 0.125, 0.36, 0.70))
    _curves(plot, told["curves"])
    figure.text(0.012, 0.945, "A number …", fontsize=15, weight="bold", color=INK)
    figure.text(
        0.012,
        0.885,
        f"MNIST 4 against 9, printed values: mean and 95 % interval of {told['seeds']} seeds",
        fontsize=9.5,
        color=MUTED,
    )
    chain = figure.add_axes((0.52, 0.03, 0.47, 0.94))
    chain.set(xlim=(0, 100), ylim=(0, 100))
    chain.axis("off")
    chain.text(0, 98.2, "… and where it comes from", fontsize=15, weight="bold", color=INK, va="center")
    mean, low, high, n = told["row"]
    record, split, raw = told["record"], told["split"], told["raw"]
    four, nine = split["sizes"]["train"]
    _card(
        chain,
        78,
        14,
        f"{mean:.3f}",
        f"mean accuracy of {n:.0f} runs, 95 % interval {low:.3f} to {high:.3f};",
        "computed again from their records: the same",
    )
    _card(
        chain,
        59,
        14,
        f"{record['accuracy']:.3f}",
        f"record {record['run'].removeprefix('paper/tdr/')}",
        f"{record['steps']:,} steps in {record['seconds']:.0f} s · sha256 {record['digest'][:12]}",
    )
    _card(
        chain,
        26,
        28,
        f"{four} : {nine:,}",
        f"split, drawn with seed 0 · sha256 {split['digest'][:12]}",
        f"all {four} fours that this run was trained on:",
    )
    _card(
        chain, 1, 20, "raw bytes", f"{raw['name']}: {_hex(head)} …",
        f"sha256 {raw['sha256'][:32]}", f"            {raw['sha256'][32:]}",
    )  # fmt: skip
    for top, bottom in ((78, 73), (59, 54), (26, 21)):
        chain.annotate("", (11, bottom), (11, top), arrowprops={"arrowstyle": "-|>", "color": MUTED, "lw": 1.2})
    _digits(figure, chain, images)
    point = (3, 1 - mean)
    plot.plot(*point, "o", markersize=15, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.6, zorder=6)
    figure.add_artist(
        ConnectionPatch(point, (0, 85), "data", "data", axesA=plot, axesB=chain, color=INK, linewidth=1.2, shrinkA=9,
                        connectionstyle="angle3,angleA=0,angleB=70", arrowstyle="-|>", mutation_scale=12)
    )  # fmt: skip
    return figure


def _curves(axes: Axes, curves: dict[str, list[list[Any]]]) -> None:
    for method, rows in curves.items():
        colour, label = LINES[method]
        places, means = range(len(rows)), [row[1] for row in rows]
        main = method == "tdr_p"
        low, high = ([1 - row[column] for row in rows] for column in (3, 2))
        axes.fill_between(places, np.maximum(low, LEAST), high, color=colour, alpha=0.15, lw=0)
        axes.plot(
            places,
            [1 - mean for mean in means],
            "-o",
            color=colour,
            lw=2.4 if main else 1.5,
            ms=6 if main else 4,
            label=label,
        )
    axes.set(xlim=(-0.15, 3.25), ylim=(LEAST, 3), xticks=range(4), xticklabels=[row[0] for row in curves["tdr_p"]])
    axes.set_xlabel("imbalance ratio ρ = number of fours / number of nines", color=INK)
    axes.set_yscale("log")
    ticks = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    axes.set_yticks(ticks, [f"{tick:.0%}".replace("%", " %") for tick in ticks])
    axes.minorticks_off()
    axes.set_ylabel("test error", color=INK)
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e3e3", linewidth=0.6)
    axes.set_axisbelow(True)


def _card(axes: Axes, bottom: float, height: float, name: str, *lines: str) -> None:
    """A box with a short name at the left and lines of text."""
    shape = "round,pad=0,rounding_size=1.2"
    axes.add_patch(FancyBboxPatch((0.2, bottom), 99.6, height, boxstyle=shape, facecolor=PAPER, edgecolor=LINE))
    size = 14 if len(name) < 8 else 11
    axes.text(11, bottom + height - 7, name, fontsize=size, weight="bold", color="#0072B2", ha="center", va="center")
    axes.text(24, bottom + height - 2.6, "\n".join(lines), fontsize=8.8, color=INK, va="top", linespacing=1.5)


def _hex(head: bytes) -> str:
    return " ".join(f"{byte:02x}" for byte in head)


def _digits(figure: Figure, chain: Axes, images: np.ndarray) -> None:
    """The images in two rows at the bottom of the split's card."""
    columns = -(-len(images) // 2)
    rows = np.zeros((2 * 28 + 2, columns * 30 - 2), np.uint8)
    for place, image in enumerate(images):
        y, x = 30 * (place // columns), 30 * (place % columns)
        rows[y : y + 28, x : x + 28] = image
    box = chain.get_position()
    place = (box.x0 + 0.24 * box.width, box.y0 + 0.277 * box.height, 0.74 * box.width, 0.155 * box.height)
    axes = figure.add_axes(place)
    axes.imshow(rows, cmap=LinearSegmentedColormap.from_list("ink", [PAPER, INK]), interpolation="nearest")
    axes.axis("off")


def write(root: Path = ROOT) -> None:
    """Draw the picture into docs/."""
    told = material(root)
    content = (root / "data/raw/mnist/train-images-idx3-ubyte").read_bytes()
    pixels = np.frombuffer(content[16:], np.uint8).reshape(-1, 28, 28)
    with rc_context({**rcParamsDefault, "font.family": "DejaVu Sans", "backend": "agg"}):
        figure = draw(told, pixels[told["split"]["rare"]], content[:8])
        figure.savefig(root / PICTURE, dpi=160, metadata={"Software": "reweigh", "Description": digest(told)})


if __name__ == "__main__":
    write()
    print(PICTURE)
