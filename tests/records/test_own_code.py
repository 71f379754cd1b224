"""A project is worked on by its own code, or by an installed one if it has none."""

import shutil
import subprocess
import sys

import pytest
from support import project, workflow
from support.project import ROOT

from reweigh.errors import ConfigError
from reweigh.records import own_code


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copied project whose code is edited; this process has another's."""
    folder = workflow.copy(tmp_path_factory.mktemp("copied") / "a [copy]")
    with open(folder / "src/reweigh/training/engine.py", "a") as file:
        file.write("\nEDITED = True\n")
    return folder


def test_other_code_than_the_projects_own_is_refused_in_one_line(copied, tmp_path):
    with pytest.raises(
        ConfigError, match=r"this is the code of .*, the project here is .*a \[copy\], .* run make setup"
    ):
        own_code.check(copied)
    own_code.check(copied, copied / "src/reweigh")
    own_code.check(ROOT)
    own_code.check(tmp_path)  # no code of its own: an installed one works on it
    (tmp_path / "link").symlink_to(ROOT)
    own_code.check(tmp_path / "link")


def test_a_copy_of_the_same_code_does_as_well(tmp_path):
    """As `pip install .` makes one, or `cp -r` before anything is edited."""
    shutil.copytree(ROOT / "src/reweigh", tmp_path / "src/reweigh", ignore=shutil.ignore_patterns("__pycache__"))
    own_code.check(tmp_path)
    (tmp_path / "src/reweigh/new.py").touch()
    with pytest.raises(ConfigError):
        own_code.check(tmp_path)


@pytest.mark.parametrize(
    "call",
    [
        ("reweigh.cli", "plan", "smoke/tdr"),
        ("reweigh.training", "spec.json"),
        ("snakemake", "--dry-run", "--cores", "1"),
    ],
)
def test_every_way_in_refuses(copied, call):
    command = [sys.executable, "-P", "-m", *call]
    done = subprocess.run(command, cwd=copied, env=project.environment(), capture_output=True, text=True)
    assert done.returncode in (1, 2)
    if call[0] == "reweigh.cli":  # which goes to the project's folder by itself
        there = subprocess.run(
            command, cwd=copied / "config", env=project.environment(), capture_output=True, text=True
        )
        assert there.stderr == done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "this is the code of" in line]
    assert line.startswith(f"reweigh: this is the code of {ROOT}, the project here is {copied}")
    assert "Traceback" not in done.stderr
