"""Rendering: notebooks become five files at once, the same each time, or an error in one line and nothing else."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest
import yaml
from support import synthetic_records
from support.project import ROOT

from reweigh.artifacts import fonts, receipt
from reweigh.artifacts.kernel import NAME as KERNEL
from reweigh.artifacts.render import ENDINGS, MADE, render
from reweigh.config.loading import load
from reweigh.digest import file_digest
from reweigh.errors import ConfigError, RecordError, ReweighError
from reweigh.records import record

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*/*.ipynb"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fonts.list_once()  # as the command does
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    synthetic_records.fill(root, "smoke", "tdr", "fig5")
    return root


def digests(stem: Path) -> dict[str, str]:
    return {ending: file_digest(f"{stem}.{ending}") for ending in ENDINGS}


def test_an_artifact_is_rendered_twice_with_the_same_bytes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stem = root / "figures/smoke/tdr/fig5"
    made = render("figures/smoke/tdr/fig5.pdf", root)
    assert [path.as_posix() for path in made] == [f"figures/smoke/tdr/fig5.{ending}" for ending in ENDINGS]
    first = digests(stem)
    for name in ("python3", KERNEL):  # kernels of that name that someone else installed, and that do not work
        spec = tmp_path / "kernels" / name
        spec.mkdir(parents=True)
        (spec / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": name, "language": "python"}))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    render("figures/smoke/tdr/fig5", root)
    assert digests(stem) == first
    assert sorted(path.name for path in stem.parent.iterdir()) == sorted(f"fig5.{ending}" for ending in ENDINGS)


def test_the_receipt_says_what_was_made_from_what(root: Path) -> None:
    stem = root / "figures/smoke/tdr/fig5"
    if not stem.with_suffix(".json").exists():
        render("figures/smoke/tdr/fig5", root)
    body = receipt.read(stem.with_suffix(".json"))
    assert body["files"] == {ending: file_digest(f"{stem}.{ending}") for ending in MADE}
    runs = sorted(path.relative_to(root / "results").with_suffix("").as_posix() for path in root.rglob("seed*.json"))
    assert sorted(one["run"] for one in body["records"]) == runs
    assert all(record.read(record.record_path(one["run"], root))["digest"] == one["digest"] for one in body["records"])
    assert body["inputs"] == {
        name: file_digest(root / name) for name in ("data/published/tdr.csv", "notebooks/tdr/fig5.ipynb")
    }
    assert body["rendering"] == receipt.rendering_digest(load(root), "smoke", "tdr", "fig5")
    assert set(body["environment"]) == {"python", "matplotlib", "numpy", "pandas"}
    assert str(root) not in stem.with_suffix(".json").read_text()


def test_a_receipt_that_is_not_what_was_written_is_refused(tmp_path: Path) -> None:
    path = receipt.write(tmp_path / "fig.json", {"records": [], "inputs": {}, "rendering": "0"}, {})
    good = path.read_text()
    assert receipt.read(path)["rendering"] == "0"
    for bad, why in (
        (good.replace('"0"', '"1"'), "digest"),
        ("{", "readable"),
        (good.replace(": 2", ": 3"), "version"),
    ):
        path.write_text(bad)
        with pytest.raises(RecordError, match=why):
            receipt.read(path)


def test_the_executed_notebook_can_be_read_elsewhere(root: Path) -> None:
    if not (root / "figures/smoke/tdr/fig5.ipynb").exists():
        render("figures/smoke/tdr/fig5", root)
    text = (root / "figures/smoke/tdr/fig5.ipynb").read_text()
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.papermill.parameters == {
        "scale": "smoke", "paper": "tdr", "artifact": "fig5", "out": "figures/smoke/tdr/fig5",
    }  # fmt: skip
    assert notebook.metadata.papermill.input_path == "notebooks/tdr/fig5.ipynb"
    assert str(root) not in text
    assert "start_time" not in text
    assert any("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))


def test_what_cannot_be_run_is_rendered_as_that(root: Path) -> None:
    render("smoke/tdr/fig8", root)
    assert "not run" in (root / "figures/smoke/tdr/fig8.csv").read_text()


def test_a_failing_notebook_leaves_the_old_figure_and_the_half_run_notebook(root: Path) -> None:
    stem, source = root / "figures/smoke/tdr/table3", root / "notebooks/tdr/table3.ipynb"
    stem.parent.mkdir(parents=True, exist_ok=True)
    for ending in ENDINGS:
        Path(f"{stem}.{ending}").write_text("old")
    good = source.read_text()
    source.write_text(good.replace("by_group.rows(material, groups)", "1 / 0"))
    try:
        with pytest.raises(ReweighError) as caught:
            render("figures/smoke/tdr/table3", root)
    finally:
        source.write_text(good)
    message = str(caught.value)
    assert "ZeroDivisionError: division by zero" in message
    assert "\n" not in message
    assert {Path(f"{stem}.{ending}").read_text() for ending in ENDINGS} == {"old"}
    half = nbformat.read(f"{stem}.failed.ipynb", as_version=4)
    assert any(output.output_type == "error" for cell in half.cells for output in cell.get("outputs", []))
    assert not list(stem.parent.glob(".*"))


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("figures/fig5", "is not the name of an artifact"),
        ("figures/quick/tdr/fig55", "did you mean 'fig5'"),
        ("figures/quik/tdr/fig5", "did you mean 'quick'"),
        ("figures/quick/trd/fig5", "did you mean 'tdr'"),
    ],
)
def test_an_artifact_that_does_not_exist_is_refused(root: Path, target: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        render(target, root)


def test_a_missing_notebook_is_named(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "config", tmp_path / "config")
    with pytest.raises(ConfigError, match=r"notebooks/tdr/fig3.ipynb is missing"):
        render("smoke/tdr/fig3", tmp_path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_clean_and_hold_no_logic(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.language_info.name == "python"
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert f'artifact = "{path.stem}"' in tagged[0].source
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    lines = [line for cell in code for line in cell.source.splitlines()]
    assert not any(line.startswith(("def ", "for ", "if ", "while ", "class ")) for line in lines)


def test_every_artifact_has_its_notebook() -> None:
    config = load(ROOT)
    named = {one.notebook for paper in config.papers.values() for one in paper.artifacts.values()}
    own_data = yaml.safe_load((ROOT / "config/local.yaml").read_text())["artifacts"]
    named |= {one["notebook"] for one in own_data.values()}
    assert named == {path.relative_to(ROOT).as_posix() for path in NOTEBOOKS}
