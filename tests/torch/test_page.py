"""docs/library.md: its examples run as they are written, print what it says, and need no more than the core."""

import contextlib
import io
import subprocess
import tomllib
import venv
from importlib.metadata import distribution, packages_distributions, requires
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from support.project import ROOT
from support.readme import blocks, page

from reweigh.__main__ import PIPELINE

PAGE = page("docs/library.md")
LIBRARY, SKLEARN = PAGE.split("## A scikit-learn classifier")
PROJECT = tomllib.loads(page("pyproject.toml"))
CORE, EXTRAS = PROJECT["project"]["dependencies"], PROJECT["project"]["optional-dependencies"]


def printed(*texts):
    """What the Python blocks of some texts print, run one after the other as they are written."""
    names, out = {}, io.StringIO()
    with contextlib.redirect_stdout(out), torch.random.fork_rng():
        for text in texts:
            for block in blocks(text, "python"):
                exec(block, names)
    return out.getvalue()


def test_the_examples_print_what_the_page_says():
    assert printed(LIBRARY) == blocks(LIBRARY, "text")[0]


@pytest.mark.slow
def test_the_classifiers_scores_are_those_of_the_page():
    out = printed(LIBRARY, SKLEARN)
    assert out.removeprefix(blocks(LIBRARY, "text")[0]) == blocks(SKLEARN, "text")[0]


def test_the_page_names_all_that_is_public():
    from reweigh import torch as library

    assert {name for name in library.__all__ if f"`{name}" in PAGE} == set(library.__all__) - {"ExampleLoss"}


# --- a fresh environment ---------------------------------------------------------------------------------------------


def needed(wanted):
    """The names of what some requirements bring here, and of what that needs in its turn; no extras."""
    found, waiting = set(), list(wanted)
    while waiting:
        asked = Requirement(waiting.pop())
        if asked.name not in found and (asked.marker is None or asked.marker.evaluate({"extra": ""})):
            found.add(asked.name)
            waiting.extend(requires(asked.name) or [])
    return found


def linked(folder, names):
    """A folder of links to the files of some distributions, as if they alone were installed."""
    folder.mkdir()
    for name in names:
        for file in distribution(name).files or []:
            place = folder / file.parts[0]
            if file.parts[0] != ".." and not place.is_symlink():
                place.symlink_to(Path(distribution(name).locate_file(file.parts[0])).resolve())


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The Python of a new environment with the core requirements, and Reweigh as a wheel would have it."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    site = next((folder / "venv").glob("lib/python*/site-packages"))
    linked(folder / "core", needed(CORE))
    (site / "core.pth").write_text(f"{folder / 'core'}\n")
    data = PROJECT["tool"]["setuptools"]["package-data"]["reweigh"]
    for pattern in ("**/*.py", *data):
        for path in (ROOT / "src/reweigh").glob(pattern):
            place = site / path.relative_to(ROOT / "src")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    return folder / "venv/bin/python"


def run(python, *arguments):
    """In a folder that is no project, with nothing on the path."""
    command = [str(python), "-W", "ignore", *arguments]
    one_thread = {"OMP_NUM_THREADS": "1"}  # beside other tests, threads would wait for each other
    return subprocess.run(command, cwd=python.parent, env=one_thread, capture_output=True, text=True, timeout=120)


def test_the_command_knows_what_the_pipeline_installs():
    """By the names that are imported, so that each of them is missed in one line."""
    extra = {Requirement(one).name.lower() for one in EXTRAS["pipeline"]}
    for name in extra:
        imported = {module for module, owners in packages_distributions().items() if name in map(str.lower, owners)}
        assert imported & PIPELINE, name
    assert len(extra) > 15 and {Requirement(one).name for one in EXTRAS["sklearn"]} <= extra


def test_the_core_is_torch_numpy_and_yaml():
    assert {Requirement(one).name for one in CORE} == {"torch", "numpy", "pyyaml"}
    assert not needed(CORE) & {"pydantic", "pandas", "matplotlib", "scikit-learn", "scipy", "snakemake", "typer"}


@pytest.mark.slow
def test_the_examples_run_in_a_fresh_environment_with_the_core_alone(fresh):
    done = run(fresh, "-c", "\n".join(blocks(LIBRARY, "python")))
    assert done.stdout == blocks(LIBRARY, "text")[0], done.stderr


@pytest.mark.slow
def test_what_needs_more_says_so_there(fresh):
    for name in ("pydantic", "pandas", "sklearn", "typer", "matplotlib"):
        assert f"No module named '{name}'" in run(fresh, "-c", f"import {name}").stderr
    for command in (["-m", "reweigh"], ["-c", "from reweigh.__main__ import main; main()"]):
        done = run(fresh, *command)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == 'reweigh: typer is not installed; the pipeline needs: pip install "reweigh[pipeline]"\n'
    assert 'needs scikit-learn: pip install "reweigh[sklearn]"' in run(fresh, "-c", "import reweigh.sklearn").stderr
    assert "usage" in run(fresh, "-m", "reweigh.training", "--help").stdout
    typed = run(
        fresh, "-c", "import reweigh, pathlib; print((pathlib.Path(reweigh.__file__).parent / 'py.typed').is_file())"
    )
    assert typed.stdout == "True\n"
