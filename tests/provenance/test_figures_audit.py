"""An audit of figures of every kind: intact as they are drawn, and a number that was edited in a csv is found."""

import csv
import json

import pandas as pd
import pytest
from support import tampering
from support.project import ROOT

from reweigh.analysis import tables
from reweigh.artifacts import receipt
from reweigh.artifacts.render import MADE
from reweigh.config.loading import load
from reweigh.digest import file_digest
from reweigh.provenance.audit.figures import check_figures
from reweigh.provenance.audit.notebook_rows import _computed_elsewhere, call_of, unlike_its_notebook


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


# What the second computation of single lines does not see, in a csv whose receipt was made to fit it.
FORGERIES = [
    ("a note", "ablation", {"n": "0"}, {"note": "never"}, "note never, should be"),
    ("a reason", "table7", {"metric": "test_accuracy"}, {"note": "lost"}, "note lost, should be"),
    ("a published number left out", "table1", {"method": "absgd_ce"}, {"published": ""}, "published empty, should be"),
    ("a weight of the toy", "fig1", {"metric": "weight", "panel": "b"}, {"weight": "0.5"}, "weight 0.5, should be"),
    ("a point of the toy", "fig1", {"metric": "example"}, {"x": "0.5"}, "x 0.5, should be"),
    ("a decision line", "fig1", {"metric": "decision_line", "note": "after"}, {"y": "0.3"}, "y 0.3, should be"),
    ("the size of a class", "fig2", {"metric": "training_examples", "x": "2"}, {"y": "7"}, "y 7, should be"),
    ("the panel of a line", "ablation", {"metric": "test_accuracy_difference"}, {"panel": "z"}, "panel z, should be"),
]  # fmt: skip


def forge(root, artifact, change):
    """The fault that an audit finds in a csv that `change` was done to, and whose receipt says that it is whole."""
    path = root / f"figures/paper/absgd/{artifact}.csv"
    sealed = path.with_suffix(".json")
    before = path.read_text(), sealed.read_text()
    lines = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(lines).to_csv(path, index=False)
    tampering.edit_json(sealed, lambda body: body["files"].update(csv=file_digest(path)), reseal=True)
    records = sorted((root / "results").rglob("seed*.json"))
    runs = [one.relative_to(root / "results").with_suffix("").as_posix() for one in records]
    try:
        (fault,) = (link for link in links(root, tables.records_of(runs, root)) if link.state != "intact")
    finally:
        path.write_text(before[0])
        sealed.write_text(before[1])
    assert fault[:3] == ("figure", f"figures/paper/absgd/{artifact}.csv", "broken")
    return fault.detail


@pytest.mark.parametrize(
    ("artifact", "where", "fields", "said"), [one[1:] for one in FORGERIES], ids=[one[0] for one in FORGERIES]
)
def test_every_field_is_held_against_the_notebook(root, bodies, artifact, where, fields, said):
    def change(lines):
        matches = (lines[list(where)] == pd.Series(where)).all(axis=1)
        if "published" in next(iter(fields)):
            matches &= lines[next(iter(fields))] != ""
        changed.append(lines[matches].index[0])
        lines.loc[changed[0], list(fields)] = list(fields.values())
        return lines

    changed = []
    detail = forge(root, artifact, change)
    assert detail.startswith(f"line {changed[0] + 2}: ") and said in detail


def test_a_line_left_out_or_moved_is_found(root, bodies):
    def without_the_first_gap(lines):
        return lines.drop(index=lines[lines["status"] == "not run"].index[0])

    def backwards(lines):
        return lines.iloc[::-1]

    assert "should be" in forge(root, "table1", without_the_first_gap)
    assert "should be" in forge(root, "fig1", backwards)
    assert "lines, should be" in forge(root, "fig1", lambda lines: lines.iloc[:-1])


def test_a_bin_of_a_ridge_left_out_is_found():
    """In the committed figure, whose other bins are what they should be."""
    config = load(ROOT)
    with open(config.root / "figures/paper/tdr/fig6.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    records = tables.records_of([run for line in lines for run in tables.expand_runs(line["runs"])], config.root)
    artifact = ("paper", "tdr", "fig6")
    assert unlike_its_notebook(lines, config, artifact, records) == ""
    place = next(place for place, line in enumerate(lines) if line["metric"] == "class_weight_density")
    assert unlike_its_notebook(lines[:place] + lines[place + 1 :], config, artifact, records).startswith(
        f"line {place + 2}: x "
    )


def test_a_list_that_is_here_now_and_was_not_then_is_no_fault():
    lines, counted = [{"title": "A", "status": "not run", "note": "absent"}], [
        {"title": "A", "status": "computed", "y": str(y)} for y in (3, 2)
    ]  # fmt: skip
    assert _computed_elsewhere(lines, counted) == _computed_elsewhere(counted, lines) == {"A"}
    assert _computed_elsewhere(lines, lines) == _computed_elsewhere(counted, counted) == set()


CALLS = [
    ("from reweigh.plots import bars", "rows = bars.rows(material)", ("reweigh.plots.bars", [], {})),
    ("from reweigh.plots import bars as b", "x = [1, 'a']\nrows = b.rows(material, (x, None), metric='m')",
     ("reweigh.plots.bars", [([1, "a"], None)], {"metric": "m"})),
    ("from reweigh.plots.papers.absgd import toy", "rows = toy.rows(material)",
     ("reweigh.plots.papers.absgd.toy", [], {})),
    ("from elsewhere import bars", "rows = bars.rows(material)", None),
    ("from reweigh.plotsandmore import bars", "rows = bars.rows(material)", None),
    ("from reweigh.plots import bars", "rows = bars.rows(material, open('f'))", None),
    ("from reweigh.plots import bars", "rows = bars.draw(material)", None),
    ("from reweigh.plots import bars", "rows = (", None),
]  # fmt: skip


@pytest.mark.parametrize(("imports", "code", "expected"), CALLS)
def test_the_call_is_read_from_a_notebook_and_nothing_is_run(tmp_path, imports, code, expected):
    code_cells = [{"cell_type": "code", "source": source} for source in ([f"{imports}\n", "n = 1"], code)]
    cells = [{"cell_type": "markdown", "source": "rows = no"}, *code_cells]
    path = tmp_path / "some.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    assert call_of(path) == expected
    assert call_of(tmp_path / "none.ipynb") is None


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*/*.ipynb")), ids=str)
def test_the_call_of_every_notebook_can_be_read(path):
    assert call_of(path) is not None
