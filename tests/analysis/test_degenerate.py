"""Which runs decide nothing, and when a cell does: diverged, one class, never moved; a constant is no such run."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import synthetic_records

from reweigh.analysis import tables
from reweigh.analysis.degenerate import counted, degenerate, lost

RUN = "smoke/tdr/mnist-4v9/rho0.005/er/seed{}"


def body(confusion: list[list[int]], losses: list[float], accuracies: list[float], **changes: Any) -> dict[str, Any]:
    curves = {"train_loss": losses, "test_accuracy": accuracies, "minority_recall": accuracies}
    return {"status": "finished", "steps": 30, "metrics": {"confusion": confusion}, "curves": curves, **changes}


TWO, ONE = [[5, 5], [4, 6]], [[0, 10], [0, 10]]
FLAT, FALLING = [0.7, 0.7, 0.7], [0.7, 0.1, 0.01]


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (body(TWO, FALLING, [0.5, 0.52, 0.55]), ""),
        (body(ONE, FALLING, [0.5, 0.9, 0.5]), "predict one class"),
        (body(TWO, FLAT, [0.55, 0.55, 0.55]), "did not move"),
        (body(TWO, FLAT[:2], [0.55, 0.55]), ""),  # two evaluations may agree by chance
        (body([[10, 0], [0, 10]], FALLING, [1.0, 1.0, 1.0]), ""),  # all was learned by the first evaluation
        (body(TWO, FLAT, [0.55, 0.56, 0.55]), ""),
        (body(TWO, FALLING, [0.5, 0.5, 0.5], status="diverged"), "diverged"),
        (body(ONE, [], [], steps=0), ""),  # a constant prediction is what it is meant to be
    ],
)
def test_why_a_run_decides_nothing(run: dict[str, Any], why: str) -> None:
    assert lost(run) == why


def cell(*whys: str) -> pd.DataFrame:
    return pd.DataFrame({"method": ["er"] * len(whys), "lost": list(whys)}, dtype=object)


def test_a_cell_is_degenerate_where_all_of_its_runs_are() -> None:
    assert degenerate(cell("predict one class", "predict one class")) == "2 of 2 runs of er predict one class"
    assert degenerate(cell("predict one class", "diverged")) == "1 of 2 runs of er predict one class, 1 diverged"
    assert degenerate(cell("predict one class", "")) is None
    assert degenerate(cell()) is None
    assert counted(cell("", "diverged", "")) == "1 of 3 runs of er diverged"
    assert counted(cell("", "")) == counted(cell()) == ""


def test_the_table_says_it_of_each_run(tmp_path) -> None:
    root = synthetic_records.project(tmp_path / "project")
    bodies = [
        synthetic_records.make(root, RUN.format(0), status="diverged"),
        synthetic_records.make(root, RUN.format(1)),
    ]
    everyone = np.zeros((2, 2), int)
    everyone[:, 1] = np.sum(bodies[1]["metrics"]["confusion"], 1)
    bodies.append({**bodies[1], "run": RUN.format(2), "metrics": {**bodies[1]["metrics"], "confusion": everyone}})
    table = tables.table({one["run"]: one for one in bodies})
    assert table["lost"].tolist() == ["diverged", "", "predict one class"]
    assert table["collapsed"].tolist() == [False, False, True]
    assert degenerate(table) is None
    assert degenerate(table[table["lost"] != ""]) == "1 of 2 runs of er diverged, 1 predict one class"
