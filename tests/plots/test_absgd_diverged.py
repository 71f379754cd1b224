"""ABSGD's figures and tables when runs diverged: they are drawn, name what diverged, and make no number of it."""

from pathlib import Path

import numpy as np
import pytest
from support import synthetic_records
from support.absgd_figures import MAPPED, cell, clusters, drawn_by_notebook, texts, with_arrays

from reweigh.analysis.rows import write_csv
from reweigh.config.loading import load
from reweigh.provenance.explain import explain
from reweigh.records import record

FIXED = MAPPED.replace("absgd_decay", "absgd_fixed")
STAGE_TWO = ("joint", "ncm", "crt", "tau_norm", "lws", "absgd_head")


def diverge(root: Path, run: str) -> None:
    """A run that diverged, without metrics, as the engine writes it."""
    synthetic_records.make(root, run, "diverged")
    path = record.record_path(run, root)
    body = record.read(path)
    body["metrics"] = dict.fromkeys(body["metrics"])
    record.write(path, {key: value for key, value in body.items() if key != "digest"})


def features_of(root: Path, run: str, seed: int, fill: float | None = None) -> None:
    """Features of three far clusters beside a record; `fill`: all of them this value instead."""
    (x, y), (xt, yt) = clusters(seed), clusters(seed + 1)
    shown = [x, xt] if fill is None else [np.full_like(one, fill) for one in (x, xt)]
    with_arrays(root, run, train_features=shown[0], train_labels=y, test_features=shown[1], test_labels=yt)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fig. 3: one run of λ from 100 to 1 diverged, and all of λ = 1. Tables 3 to 5: one run of LWS, all of cRT."""
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    for seed in range(3):
        for name in (MAPPED, FIXED):
            lost = name == FIXED or seed == 0
            (diverge if lost else synthetic_records.make)(root, f"{name}/seed{seed}")
            features_of(root, f"{name}/seed{seed}", seed, float("nan") if lost else None)
        for method in STAGE_TWO:
            lost = method == "crt" or (method == "lws" and seed == 1)
            (diverge if lost else synthetic_records.make)(root, f"{cell('two-stage', 'lt-rho100', method)}/seed{seed}")
    return root


def test_fig3_draws_the_first_seed_that_finished(root: Path) -> None:
    figure = drawn_by_notebook(root, "fig3")
    data, written = figure.rows, texts(figure)
    points = data[(data["metric"] == "tsne") & (data["status"] == "run")]
    assert set(points["runs"]) == {f"{MAPPED}/seed1"} and points[["x", "y"]].notna().all(axis=None)
    agreement = data[data["metric"] == "nearest_neighbour_agreement"]
    assert agreement["n"].tolist() == [2, 2] and agreement["mean"].tolist() == [1, 1]
    assert "seed 1; nearest neighbour of the same class:\n100.0 % (n = 2, 95 % interval 100.0 to 100.0)" in written
    assert "Diverged, and neither drawn nor counted: 1 of 3 runs of ABSGD (CE), λ from 100 to 1" in written


def test_fig3_says_of_a_method_that_it_diverged(root: Path) -> None:
    figure = drawn_by_notebook(root, "fig3")
    lost = figure.rows[figure.rows["method"] == "absgd_fixed"]
    assert lost["status"].tolist() == ["3 diverged"] * 2 and lost["mean"].isna().all()
    assert lost["runs"].tolist() == [f"{FIXED}/seed{{0,1,2}}"] * 2
    assert "all of its 3 runs diverged" in texts(figure)


def test_what_fig3_says_of_diverged_runs_can_be_explained(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "figures/paper/absgd"
    folder.mkdir(parents=True, exist_ok=True)
    figure = drawn_by_notebook(root, "fig3")
    write_csv(figure.rows, folder / "fig3.csv")
    monkeypatch.chdir(root)
    for where in ({"method": "absgd_fixed", "panel": "c"}, {"metric": "nearest_neighbour_agreement", "panel": "a"}):
        (found,) = explain("figures/paper/absgd/fig3.csv", where=where)["cells"]
        assert found["fault"] == "" and len(found["runs"]) == (3 if "method" in where else 2)


def test_features_that_are_no_numbers_are_none(root: Path) -> None:
    """A run that finished may have left the range of float16."""
    features_of(root, f"{MAPPED}/seed1", 1, float("inf"))
    try:
        data = drawn_by_notebook(root, "fig3").rows
    finally:
        features_of(root, f"{MAPPED}/seed1", 1)
    points = data[(data["metric"] == "tsne") & (data["status"] == "run")]
    assert set(points["runs"]) == {f"{MAPPED}/seed2"}


@pytest.mark.parametrize("name", ["table3", "table4", "table5"])
def test_tables_of_second_stages_name_what_diverged(root: Path, name: str) -> None:
    figure = drawn_by_notebook(root, name)
    ours = figure.rows[figure.rows["experiment"] == "two-stage"].set_index("method")
    assert (ours.loc["crt", "n"], ours.loc["crt", "status"]) == (0, "3 diverged")
    assert (ours.loc["lws", "n"], ours.loc["lws", "status"]) == (2, "1 diverged")
    assert np.isnan(ours.loc["crt", "mean"]) and ours.loc["lws", "mean"] > 0
    written = texts(figure)
    assert "3 diverged" in written and "With runs that diverged, which have no score: " in written
    titles = load(root).paper("absgd").methods
    assert f"no score: {titles['crt'].title}, {titles['lws'].title} (" in written
