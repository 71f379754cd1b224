"""Figures and receipts say whose values the runs have where a paper and its authors' code differ."""

import re
from pathlib import Path

import pytest
from support import synthetic_records
from support.config_files import replace
from support.project import ROOT

from reweigh.analysis import tables
from reweigh.artifacts import receipt
from reweigh.config.loading import load
from reweigh.digest import PACKAGE
from reweigh.plots import style


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with made-up records of Fig. 5: the code's values at every ratio, the printed ones at one."""
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    for method in ("tdr", "er"):
        for rho in (0.005, 0.02):
            synthetic_records.make(root, f"paper/tdr/mnist-4v9/rho{rho}/{method}/seed0")
    return root


def footer(root: Path, scale: str = "paper", paper: str = "tdr", name: str = "fig5") -> str:
    material = tables.of_artifact(scale, paper, name, root)
    return " ".join(text for text, _ in style._footer(20.0, material, []))


def test_a_figure_names_whose_values_its_runs_have(root: Path) -> None:
    """The budget of the paper with the values of its code was shown as `the paper's own budget`."""
    assert footer(root) == "scale: paper (nothing is cut); values of the authors' code throughout"
    synthetic_records.make(root, "paper/tdr/mnist-4v9/rho0.005/tdr_p/seed0")
    assert footer(root) == (
        "scale: paper (nothing is cut); printed values: TDR; values of the authors' code: TDR, Example reweighting"
    )


def test_a_figure_of_what_the_paper_does_not_have_says_what_is_ours(tmp_path: Path) -> None:
    """MNIST, LeNet and a fifth of the epochs were shown as `scale: paper (nothing is cut); printed values`."""
    root = synthetic_records.project(tmp_path)
    synthetic_records.make(root, "paper/molere/mnist-ordering/clean/lrw_hard/seed0")
    ours = "data set, net, epochs and learning rate of MNIST are ours"
    assert footer(root, paper="molere", name="fig3") == f"scale: paper; methods as printed; {ours}"
    synthetic_records.make(root, "paper/molere/cifar100/clean/lrw_hard/seed0")
    assert (
        footer(root, paper="molere", name="fig3") == f"scale: paper (nothing is cut); printed values throughout; {ours}"
    )


def test_nothing_is_said_where_paper_and_code_do_not_differ(root: Path) -> None:
    config = load(root)
    assert not any(method.values for method in config.paper("absgd").methods.values())
    assert style.values_text(tables.of_artifact("paper", "absgd", "fig3", root)) == ""


def test_smaller_scales_say_it_too(root: Path) -> None:
    synthetic_records.make(root, "smoke/tdr/mnist-4v9/rho0.1/er/seed0")
    text = footer(root, "smoke")
    assert "Values of the authors' code throughout" in text and "scale: smoke, not comparable with the paper" in text


def test_no_page_says_that_a_run_has_the_papers_own_values_because_of_its_scale() -> None:
    files = ["docs/words.md", "config/README.md", "config/config.yaml", "workflow/report/workflow.rst"]
    for name in files:
        assert "own budget" not in (ROOT / name).read_text(), name


def test_another_value_set_or_title_makes_figure_and_scorecard_stale(tmp_path: Path) -> None:
    other = synthetic_records.project(tmp_path / "project")

    def made() -> tuple[str, str]:
        config = load(other)
        return receipt.rendering_digest(config, "paper", "tdr", "fig5"), receipt.scoring_digest(config)

    seen = [made()]
    for old, new in (("    values: code", "    values: ours"), ("title: TDR (code)", "title: TDR (their code)")):
        replace(other, old, new, "config/papers/tdr/methods.yaml")
        seen.append(made())
    assert all(len({digests[part] for digests in seen}) == 3 for part in (0, 1))


@pytest.mark.parametrize(
    "module", ["verdicts", "metrics", "analysis/degenerate", "analysis/published", "analysis/resolution"]
)
def test_the_scorecard_is_stale_when_what_decides_its_verdicts_changes(module: str) -> None:
    assert f"{module}.py" in receipt.code_files(receipt.SCORING)


def test_a_figure_is_stale_when_what_it_imports_for_numbers_changes() -> None:
    """Each module of analysis that a plot, or a notebook, imports, and what that imports; not the config's model."""
    found = receipt.code_files(receipt.RENDERING + receipt.BESIDE)
    notebooks = (ROOT / "notebooks").rglob("*.ipynb")
    for file in [*(PACKAGE / "plots").rglob("*.py"), *notebooks]:
        for module in re.findall(r"from reweigh\.analysis\.(\w+) import", file.read_text()):
            assert f"analysis/{module}.py" in found, (file, module)
    known = {
        "analysis/against_plain.py",
        "analysis/resolution.py",
        "analysis/kept_features.py",
        "metrics.py",
        "cells.py",
    }
    assert known <= set(found) and not any(key.startswith(("config/", "data/")) for key in {*found} - {"config/own.py"})
