"""Explain: the right cells, the whole chain, and what is wrong with it."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import synthetic_records

from reweigh import scorecard
from reweigh.analysis import tables
from reweigh.errors import ReweighError
from reweigh.plots import curves, ridges
from reweigh.plots import tables as table_figures
from reweigh.provenance.explain import as_tree, explain, main, read
from reweigh.provenance.explain.evidence import cell
from reweigh.records import record


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with made-up records, a table, a figure of curves, one with weights, and a scorecard."""
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    for artifact in ("fig3", "fig6", "table1"):
        synthetic_records.fill(root, "smoke", "tdr", artifact)
    folder = root / "figures/smoke/tdr"
    for name, kind, options in (
        ("table1", table_figures, ()),
        ("fig3", curves, ()),
        ("fig6", ridges, ("rho0.02", ["tdr"])),
    ):
        material = tables.of_artifact("smoke", "tdr", name, root)
        kind.draw(material, kind.rows(material, *options)).save(folder / name)
    scorecard.write("smoke", root, ["tdr"])
    return root


def ask(root: Path, name: str = "table1", **question: Any) -> list[dict[str, Any]]:
    return explain(f"figures/smoke/tdr/{name}.csv", root=root, **question)["cells"]


def test_a_cell_leads_to_its_raw_files(root: Path) -> None:
    (cell,) = ask(root, row="ConvNet/TDR", column="0.3")
    assert cell["check"] == "computed again from these records: the same"
    (run,) = cell["runs"]
    body = record.read(root / run["record"])
    assert run["run"] == "smoke/tdr/cifar10-4v9-convnet/rho0.3/tdr/seed0"
    assert run["digest"] == body["digest"]
    assert run["spec_digest"] == body["spec_digest"]
    assert run["code"]["changed_since"] == []
    assert run["value"] == body["metrics"]["test_accuracy"]
    assert run["split"]["digest"] == body["split"]["digest"]
    assert [file["sha256"] for file in run["raw"]] == [file["sha256"] for file in body["raw"]]
    assert run["raw"][0]["what"] == "an exact slice of the official files"
    slices = [file for file in run["raw"] if not file["url"]]
    assert slices and {file["homepage"] for file in slices} == {"https://www.cs.toronto.edu/~kriz/cifar.html"}


def test_rows_are_found_by_name_and_title_and_not_by_resemblance(root: Path) -> None:
    assert {cell["line"]["method"] for cell in ask(root, row="tdr", column="rho0.3")} == {"tdr"}
    assert {cell["line"]["method"] for cell in ask(root, row="Random weights", column="0.30")} == {"rand"}
    assert len(ask(root, row="tdr", column="0.3")) == 2  # two models
    assert len(ask(root, where={"method": "tdr", "experiment": "cifar10-4v9-convnet"})) == 4


def test_a_cell_that_was_not_run_says_why(root: Path) -> None:
    (cell,) = ask(root, row="ConvNet/TDR", column="0.05")
    assert cell["check"] == "not run: not part of scale smoke"
    assert cell["runs"] == []


def test_curves_are_explained_at_the_last_epoch_unless_asked(root: Path) -> None:
    (cell,) = ask(root, "fig3", row="tdr")
    assert cell["line"]["epoch"] == "1"
    assert [run["run"][-5:] for run in cell["runs"]] == ["seed0", "seed1"]
    (single,) = ask(root, "fig3", row="tdr", where={"seed": "1"})
    assert len(single["runs"]) == 1
    assert single["check"].endswith("the same")


def test_class_weights_are_computed_again_from_the_traces(root: Path) -> None:
    cells = ask(root, "fig6", row="class_weight")
    assert len(cells) == 10
    assert all(cell["check"].endswith("the same") for cell in cells)


def test_a_line_of_the_scorecard_is_explained_too(root: Path) -> None:
    tree = explain("results/smoke/scorecard.csv", row="accuracy-at-0.005-code", root=root)
    (cell,) = tree["cells"]
    assert len(cell["runs"]) == 4
    assert cell["check"] == "computed again from these records, by the scorecard's own test: the same"
    (number,) = explain("results/smoke/scorecard.csv", row="Table1/ConvNet/TDR", column="0.3", root=root)["cells"]
    assert number["check"].endswith("the same")


def test_every_line_of_a_scorecard_cut_short_is_sound(root: Path) -> None:
    """Verdicts at other scales than the paper's begin with the scale."""
    table, _ = read(Path("results/smoke/scorecard.csv"), root)
    cells = [cell(number, line, table) for number, line in table.lines]
    assert [one["fault"] for one in cells if one["fault"]] == []
    decided = [one["columns"]["verdict"] for one in cells if one["line"]["verdict"].startswith("smoke: ")]
    assert decided and all(column["check"] == "computed again: the same" for column in decided)


def test_another_or_an_altered_record_is_named(root: Path) -> None:
    run = "smoke/tdr/cifar10-4v9-convnet/rho0.3/hard/seed0"
    path = record.record_path(run, root)
    before = path.read_text()
    try:
        synthetic_records.make(root, run, test_accuracy=0.77)
        assert "other records" in ask(root, row="ConvNet/hard", column="0.3")[0]["check"]
        path.write_text(before.replace('"status": "finished"', '"status": "diverged"'))
        (cell,) = ask(root, row="ConvNet/hard", column="0.3")
        assert "missing or altered" in cell["check"]
        assert "changed by hand" in cell["runs"][0]["state"]
    finally:
        path.write_text(before)


@pytest.mark.parametrize(
    ("name", "question", "says"),
    [
        ("table1", {"row": "TDRR"}, "no line matches; rows: TDR"),
        ("table1", {"row": "tdr", "column": "0.7"}, "columns: 0.3, 0.2, 0.1, 0.05"),
        ("table1", {}, "lines match; ask for fewer"),
        ("table1", {"where": {"metod": "tdr"}}, "no column 'metod'; known: "),
        ("table9", {}, "unknown artifact 'table9'; did you mean"),
    ],
)
def test_questions_without_an_answer_get_one_line(root: Path, name: str, question: dict[str, Any], says: str) -> None:
    with pytest.raises(ReweighError) as caught:
        ask(root, name, **question)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_tree_and_json_on_the_terminal(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    main("figures/smoke/tdr/fig3.csv", "tdr", None, [])
    shown = capsys.readouterr().out
    for part in (
        "TDR (code), mnist-4v9 rho0.005",
        "record results/smoke",
        "split data/splits/smoke",
        "sha256",
        "http",
    ):
        assert part in shown
    main("figures/smoke/tdr/table1.csv", None, None, ["method=tdr", "value=0.3"], as_json=True)
    assert len(json.loads(capsys.readouterr().out)["cells"]) == 2
    with pytest.raises(ReweighError, match="column=value"):
        main("figures/smoke/tdr/table1.csv", None, None, ["tdr"])


def test_what_runs_share_is_written_once(root: Path) -> None:
    from rich.console import Console

    console = Console(width=400, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(as_tree(explain("figures/smoke/tdr/fig3.csv", row="tdr", root=root)))
    text = console.export_text()
    assert text.count("train-images-idx3-ubyte (") == 1
    assert text.count("from the same raw files") == 1
    assert text.count("torch 2.11.0") == 1


def test_it_reads_the_records_of_its_own_chain_and_no_others(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "results/smoke/tdr/many"
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(3000):
        (folder / f"seed{place}.json").write_text("{}")
    seen: list[Path] = []
    read = record.read
    monkeypatch.setattr(record, "read", lambda path: seen.append(Path(path)) or read(path))
    ask(root, row="ConvNet/TDR", column="0.3")
    assert seen
    assert not [path for path in seen if "many" in path.parts]
