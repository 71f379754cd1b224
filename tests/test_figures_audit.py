"""An audit finds a number that was edited in the csv of a figure, of every kind that figures hold."""

import pandas as pd
import pytest
from test_plots_absgd import drawings, root  # noqa: F401 - fixtures

from reweigh import results
from reweigh.config import load
from reweigh.provenance.drawn import check_figures


@pytest.mark.parametrize(
    ("artifact", "metric"),
    [
        ("ablation", "test_accuracy_difference"),
        ("fig4", "minority_weight"),
        ("fig4", "majority_weight"),
        ("table1", "test_accuracy"),
    ],
)
def test_an_edited_number_is_found(drawings, root, artifact, metric):  # noqa: F811
    records = sorted((root / "results").rglob("seed*.json"))
    runs = [path.relative_to(root / "results").with_suffix("").as_posix() for path in records]
    bodies = results.records_of(runs, root)
    path = root / f"figures/paper/absgd/{artifact}.csv"
    before = path.read_text()
    lines = pd.read_csv(path, dtype=str, keep_default_na=False)
    edited = lines[(lines["metric"] == metric) & (lines["mean"] != "")].index[-1]
    lines.loc[edited, "mean"] = str(float(lines.loc[edited, "mean"]) + 0.001)
    lines.to_csv(path, index=False)
    try:
        states = {line[1].split("/")[-1]: line[2] for line in check_figures(load(root), "paper", root, bodies)}
    finally:
        path.write_text(before)
    assert states.pop(f"{artifact}.csv") == "broken" and set(states.values()) == {"intact"}
