"""A project with made-up records of ABSGD, and what its notebooks draw from them."""

import os
from pathlib import Path
from typing import Any

import nbformat
import numpy as np

from reweigh.analysis.rows import write_csv
from reweigh.config.loading import load
from reweigh.data.arrays import npz_bytes
from reweigh.digest import file_digest
from reweigh.plots.figure import Figure
from reweigh.records import record
from support import synthetic_records
from support.project import ROOT

NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "notebooks/absgd").glob("*.ipynb"))}


def cell(experiment: str, setting: str, method: str) -> str:
    return f"paper/absgd/{experiment}/{setting}/{method}"


# What has records in these tests, at three seeds and scale paper; everything else is missing.
GRIDS = [
    ("cifar10", ("lt-rho100", "st-rho10"), ("sgd_ce", "absgd_ce")),
    ("cifar10", ("lt-rho100",), ("sgd_cbce", "absgd_cbce", "absgd_ce_code")),
    ("gamma-cifar10", ("lt-rho100",), ("sgd_ce", "absgd_gamma0.1", "absgd_gamma0.5")),
    ("noise-cifar100", ("sym0.4", "asym0.4"), ("sgd_ce", "absgd_sce")),
    ("normalised-logits", ("sym0.4",), ("sgd_ce", "sgd_ce_norm")),
    ("two-stage", ("lt-rho100",), ("ncm", "crt")),
]


CELLS = [cell(name, setting, method) for name, settings, methods in GRIDS for setting in settings for method in methods]


WATCHED = cell("weights", "st-rho100", "absgd_ce")


MAPPED = cell("features", "lt-rho100", "absgd_decay")


def with_arrays(root: Path, run: str, **arrays: np.ndarray) -> None:
    """Put arrays beside the record of a run, as a run that logged them does."""
    path = record.record_path(run, root)
    body = record.read(path)
    trace = path.with_suffix(".npz")
    trace.write_bytes(npz_bytes(arrays))
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    body["trace"] = {"file": trace.name, "sha256": file_digest(trace), "arrays": shapes}
    record.write(path, body)


def weights_of(seed: int, epochs: int = 6, switch: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Made-up mean weights and counts by class, (epochs, C): those of SGD before the switch."""
    draw = np.random.default_rng(seed)
    means = np.ones((epochs, 100), np.float32)
    means[switch:] = draw.uniform(0.5, 3, (epochs - switch, 100))
    counts = np.tile(np.repeat([500.0, 5.0], 50), (epochs, 1)).astype(np.float32)
    return means, counts


def clusters(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Features of three classes, far apart in eight dimensions, and their labels."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return (20 * np.eye(8)[labels] + draw.normal(size=(count, 8))).astype(np.float16), labels


def drawn_by_notebook(root: Path, artifact: str) -> Figure:
    """What a notebook draws, without saving it: its code, run here with the parameters that it has."""
    code = [one.source for one in nbformat.read(NOTEBOOKS[artifact], 4).cells if one.cell_type == "code"]
    names: dict[str, Any] = {}
    before = os.getcwd()
    os.chdir(root)
    try:
        for source in code:
            exec(source, names)
    finally:
        os.chdir(before)
    assert (names["scale"], names["paper"], names["artifact"], names["out"]) == ("paper", "absgd", artifact, None)
    return names["figure"]


def project(folder: Path) -> Path:
    """A project with records of CELLS (three seeds), WATCHED (weights at two of them) and MAPPED (features at one)."""
    root = synthetic_records.project(folder)
    config = load(root)
    for name in (*CELLS, WATCHED):
        for seed, run in enumerate(config.runs_of(name)[:3]):
            level = 0.7 + 0.02 * ("absgd" in run) + 0.05 * ("cb" in run) + 0.03 * ("norm/" in run)
            synthetic_records.make(root, run, test_accuracy=level + 0.004 * np.sin(7 * seed + len(run)))
    for seed in range(2):  # the third seed logged nothing
        means, counts = weights_of(seed)
        with_arrays(root, f"{WATCHED}/seed{seed}", mean_weights=means, weighted_examples=counts)
    synthetic_records.make(root, f"{MAPPED}/seed0")
    (x, y), (xt, yt) = clusters(0), clusters(1)
    with_arrays(root, f"{MAPPED}/seed0", train_features=x, train_labels=y, test_features=xt, test_labels=yt)
    return root


def texts(figure: Figure) -> str:
    """All that is written on a figure."""
    return " ".join(text.get_text() for text in figure.picture.findobj(lambda artist: hasattr(artist, "get_text")))


def draw_all(root: Path) -> dict[str, Figure]:
    """Every artifact. Its csv lies where it belongs, beside empty files for what is not looked at here."""
    drawn = {name: drawn_by_notebook(root, name) for name in NOTEBOOKS}
    folder = root / "figures/paper/absgd"
    folder.mkdir(parents=True, exist_ok=True)  # other tests put files there
    for name, figure in drawn.items():
        write_csv(figure.rows, folder / f"{name}.csv")
        for ending in ("pdf", "png", "ipynb"):
            (folder / f"{name}.{ending}").touch()
    return drawn
