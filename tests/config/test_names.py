"""Names of runs, cells, splits and artifacts: their parts, back to the same text, and what is no name."""

import re
import subprocess
import sys

import pytest

from reweigh.artifacts.render import ENDINGS
from reweigh.config.names import ArtifactName, CellName, ExperimentName, NotAName, RunName, SplitName
from reweigh.data.obtain import split_path
from reweigh.digest import PACKAGE
from reweigh.errors import ConfigError
from reweigh.path_parts import below
from reweigh.records.record import record_path
from reweigh.training.checkpoint import Keeper

RUN = "paper/tdr/mnist-4v9/rho0.005/absgd-ldam/seed12"


def test_a_run_has_parts_a_cell_and_a_split() -> None:
    run = RunName.parse(RUN)
    assert run == ("paper", "tdr", "mnist-4v9", "rho0.005", "absgd-ldam", 12)
    assert str(run) == RUN
    assert str(run.cell) == "paper/tdr/mnist-4v9/rho0.005/absgd-ldam"
    assert str(run.split) == "paper/tdr/mnist-4v9/rho0.005/seed12"
    assert run.cell.run(12) == run


def test_cells_and_splits_are_read_back() -> None:
    run = RunName.parse(RUN)
    assert CellName.parse(str(run.cell)) == run.cell
    assert SplitName.parse(str(run.split)) == run.split


@pytest.mark.parametrize(
    "text", ["", "a/b/c/d/e", "a/b/c/d/e/seed", "a/b/c/d/e/seed01", "a/b/c/d/e/f/seed1", RUN + "/"]
)
def test_what_is_no_run_is_refused_with_the_form_of_one(text: str) -> None:
    with pytest.raises(NotAName, match="is not the name of a run; write SCALE/PAPER/EXPERIMENT/SETTING/METHOD/seedN"):
        RunName.parse(text)


@pytest.mark.parametrize("folder", ["figures/", "./figures/", ""])
@pytest.mark.parametrize("ending", ["", "/", *(f".{ending}" for ending in ENDINGS)])
def test_an_artifact_is_named_with_and_without_folder_and_ending(folder: str, ending: str) -> None:
    name = ArtifactName.parse(f"{folder}paper/tdr/table1{ending}")
    assert name == ("paper", "tdr", "table1")
    assert (str(name), name.stem) == ("paper/tdr/table1", "figures/paper/tdr/table1")


@pytest.mark.parametrize("text", ["", "fig5", "tdr/fig5.pdf", "figures/tdr/fig5", "results/paper/tdr/fig5", RUN])
def test_what_is_no_artifact_is_refused_with_the_form_of_one(text: str) -> None:
    with pytest.raises(ConfigError, match="is not the name of an artifact; write figures/SCALE/PAPER/NAME"):
        ArtifactName.parse(text)


def test_an_experiment_leads_to_its_cells_and_splits() -> None:
    run = RunName.parse(RUN)
    experiment = ExperimentName.parse("paper/tdr/mnist-4v9")
    assert run.of_experiment == experiment and str(experiment) == "paper/tdr/mnist-4v9"
    assert experiment.cell("rho0.005", "absgd-ldam").run(12) == run
    assert experiment.split("rho0.005", 12) == run.split and run.split.run("absgd-ldam") == run


def test_names_need_no_more_than_the_standard_library() -> None:
    code = "import sys, reweigh.config.names; print({'pydantic', 'yaml', 'numpy', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


BAD_PARTS = ["..", ".", "", ".hidden", "a/b", "/tmp", "a\0b", "a\x1b[31m", "a b", "a\n", "x" * 201]


@pytest.mark.parametrize("part", BAD_PARTS, ids=repr)
def test_no_name_leads_out_of_its_folder(part: str) -> None:
    with pytest.raises(ConfigError, match="no name below a folder"):
        below("smoke", part, "seed0") if part != "a/b" else below("smoke", "../a/b")
    text = f"smoke/tdr/{part}/rho0.1/tdr/seed0"
    if part not in ("x" * 201,):
        with pytest.raises(ConfigError):
            RunName.parse(text)
    if part != "a/b":
        with pytest.raises(ConfigError):
            record_path(text)
        with pytest.raises(ConfigError):
            split_path({**RunName.parse("smoke/tdr/a/b/tdr/seed0")._asdict(), "experiment": part})
        with pytest.raises(ConfigError):
            Keeper(text, "key")
        with pytest.raises(ConfigError):
            RunName.of_spec({**RunName.parse("smoke/tdr/a/b/tdr/seed0")._asdict(), "experiment": part})


BY_HAND = re.compile(r"""r?split\(["']/|partition\(["'](/|seed)|\[:5\]|/seed\{|["']seed\{""")
ALLOWED = {  # what looks like a cut of a name: paths, URLs, questions, patterns, and the one place that writes a seed
    "config/names.py": 1,
    "config/priorities.py": 1,  # patterns of names
    "data/readers/lists.py": 1,
    "data/manifest.py": 1,
    "data/obtain.py": 1,  # writes the path of a split from a spec; data imports nothing from config
    "analysis/tables.py": 3,  # seeds of a cell in braces
    "path_parts.py": 1,  # paths of any kind
    "plots/tables_of_metrics.py": 1,  # five characters of a number
    "provenance/consistency.py": 1,
    "provenance/crate/build.py": 1,
    "provenance/explain/__init__.py": 2,
    "provenance/explain/files.py": 1,
}


def test_no_module_cuts_names_by_hand() -> None:
    lines = {path.relative_to(PACKAGE).as_posix(): path.read_text().splitlines() for path in PACKAGE.rglob("*.py")}
    counts = {name: sum(bool(BY_HAND.search(line)) for line in text) for name, text in lines.items()}
    more = {name: count for name, count in counts.items() if count > ALLOWED.get(name, 0)}
    assert not more, "use reweigh.config.names: RunName.parse(run).cell, .split, .seed"


@pytest.mark.parametrize("name", ["smoke/tdr/mnist-4v9", "smoke/tdr/mnist-4v9/rho0.1/tdr/seed00", "tdr"])
def test_a_name_that_is_none_is_refused_with_all_that_may_stand_there(config, name) -> None:
    with pytest.raises(NotAName, match=r"is not the name of a run or a cell; write SCALE/.*/METHOD\[/seedN\]$"):
        config.runs_named(name)
    with pytest.raises(NotAName, match=r"is not the name of a split or a run; write SCALE/.*\[/METHOD\]/seedN$"):
        config.run_with_split(name)
