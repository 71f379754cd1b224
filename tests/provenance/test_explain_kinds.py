"""The kinds of lines that no committed table has yet: paired differences, weights by epoch, points of a map."""

from pathlib import Path
from typing import Any

import pytest
from support.absgd_figures import drawn_by_notebook

from reweigh.analysis.rows import write_csv
from reweigh.provenance.explain import read
from reweigh.provenance.explain.evidence import cell


@pytest.fixture(scope="module")
def root(absgd_project):
    return absgd_project


PLACES = {"epoch", "seed", "class"}
COMPUTED = "computed again from these records: the same"


@pytest.fixture(scope="module")
def lines(root: Path) -> dict[str, list[dict[str, Any]]]:
    """Every line of three artifacts, explained."""
    found = {}
    for name in ("fig3", "fig4", "ablation"):
        file = root / f"figures/paper/absgd/{name}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_csv(drawn_by_notebook(root, name).rows, file)
        table, _ = read(file.relative_to(root), root)
        found[name] = [cell(number, line, table) for number, line in table.lines]
    return found


def run(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in cells if not one["check"].startswith("not run: ")]


def test_nothing_is_at_fault_and_all_of_it_leads_to_raw_files(lines: dict[str, list[dict[str, Any]]]) -> None:
    for cells in lines.values():
        assert run(cells)
        for one in cells:
            assert not one["fault"]
            assert one["runs"] if one in run(cells) else one["reason"]
            assert all(part["raw"] and all(file["sha256"] for file in part["raw"]) for part in one["runs"])


@pytest.mark.parametrize("name", ["fig4", "ablation"])
def test_differences_and_weights_are_computed_again(lines: dict[str, list[dict[str, Any]]], name: str) -> None:
    for one in run(lines[name]):
        assert one["check"] == COMPUTED
        checked = {key for key, column in one["columns"].items() if "check" in column}
        assert set(one["columns"]) - checked <= PLACES


def test_a_difference_names_the_runs_of_both_methods(lines: dict[str, list[dict[str, Any]]]) -> None:
    for one in run(lines["ablation"]):
        methods = {part["run"].split("/")[4] for part in one["runs"]}
        assert methods == {one["line"]["method"], one["line"]["against"]}
        assert "seed by seed" in one["columns"]["mean"]["how"]


def test_a_point_of_a_map_names_its_run_and_says_that_it_was_not_computed_again(
    lines: dict[str, list[dict[str, Any]]],
) -> None:
    for one in run(lines["fig3"]):
        point = one["line"]["metric"] == "tsne"
        assert one["check"] == ("made from exactly these records" if point else COMPUTED), one["line"]
        assert len(one["runs"]) == 1
