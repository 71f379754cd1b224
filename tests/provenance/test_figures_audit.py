"""An audit of figures of every kind: intact as they are drawn, and a number that was edited in a csv is found."""

import pandas as pd
import pytest
from support import tampering

from reweigh.analysis import tables
from reweigh.artifacts import receipt
from reweigh.artifacts.render import MADE
from reweigh.config.grid import load
from reweigh.digest import file_digest
from reweigh.provenance.audit.figures import check_figures


@pytest.fixture(scope="module")
def root(absgd_project):
    return absgd_project


@pytest.fixture(scope="module")
def rendered(absgd_rendered):
    return absgd_rendered


@pytest.fixture(scope="module")
def bodies(rendered, root):
    """The records behind the figures, each of which now has its receipt."""
    folder = root / "figures/paper/absgd"
    for name in rendered:
        made = {ending: folder / f"{name}.{ending}" for ending in MADE}
        receipt.write(folder / f"{name}.json", receipt.figure_basis(load(root), "paper", "absgd", name), made, root)
    records = sorted((root / "results").rglob("seed*.json"))
    return tables.records_of([path.relative_to(root / "results").with_suffix("").as_posix() for path in records], root)


def links(root, bodies):
    return list(check_figures(load(root), "paper", root, bodies))


def test_every_figure_is_intact(rendered, root, bodies):
    found = links(root, bodies)
    assert len(found) == 5 * len(rendered)
    assert [link for link in found if link.state != "intact"] == []


@pytest.mark.parametrize(
    ("artifact", "metric"),
    [
        ("ablation", "test_accuracy_difference"),
        ("fig4", "minority_weight"),
        ("fig4", "majority_weight"),
        ("table1", "test_accuracy"),
        ("fig3", "nearest_neighbour_agreement"),
    ],
)
def test_an_edited_number_is_found_and_its_line_named(root, bodies, artifact, metric):
    path = root / f"figures/paper/absgd/{artifact}.csv"
    before = path.read_text()
    lines = pd.read_csv(path, dtype=str, keep_default_na=False)
    edited = lines[(lines["metric"] == metric) & (lines["mean"] != "")].index[-1]
    lines.loc[edited, "mean"] = str(float(lines.loc[edited, "mean"]) + 0.001)
    lines.to_csv(path, index=False)
    try:
        (fault,) = (link for link in links(root, bodies) if link.state != "intact")
    finally:
        path.write_text(before)
    assert fault[:3] == ("figure", f"figures/paper/absgd/{artifact}.csv", "broken")
    assert fault.detail.startswith(f"line {edited + 2}: mean ")


@pytest.mark.parametrize(
    ("artifact", "metric", "words", "said"),
    [
        ("ablation", "test_accuracy_difference", {"against": "absgd_ce"}, "but its runs are of sgd_ce, sgd_ce_norm"),
        ("ablation", "test_accuracy_difference", {"against": ""}, "test_accuracy_difference against nothing"),
        ("fig4", "majority_weight", {"status": "not run"}, "status not run, its runs say run"),
        ("fig3", "tsne", {"mean": "0.9"}, "mean 0.9 of a point of a map"),
        ("fig3", "nearest_neighbour_agreement", {"metric": "tsne"}, "of a point of a map"),
        ("fig4", "test_accuracy", {"metric": "nearest_neighbour_agreement"}, "should be empty"),
    ],
)
def test_a_forged_line_is_found_where_the_receipt_fits_it(root, bodies, artifact, metric, words, said):
    path = root / f"figures/paper/absgd/{artifact}.csv"
    sealed = path.with_suffix(".json")
    before = path.read_text(), sealed.read_text()
    lines = pd.read_csv(path, dtype=str, keep_default_na=False)
    edited = lines[(lines["metric"] == metric) & (lines["runs"] != "")].index[0]
    lines.loc[edited, list(words)] = list(words.values())
    lines.to_csv(path, index=False)
    tampering.edit_json(sealed, lambda body: body["files"].update(csv=file_digest(path)), reseal=True)
    try:
        (fault,) = (link for link in links(root, bodies) if link.state != "intact")
    finally:
        path.write_text(before[0])
        sealed.write_text(before[1])
    assert fault[:3] == ("figure", f"figures/paper/absgd/{artifact}.csv", "broken")
    assert fault.detail.startswith(f"line {edited + 2}: ") and said in fault.detail
