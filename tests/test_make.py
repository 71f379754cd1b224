"""`make setup`, `clean`, `distclean`: the environment is of this folder and this Python, and nothing else is lost."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import clean
import environment
import pytest
from support import needs
from support.project import ROOT


class FakePip:
    """What `environment` calls: makes files as venv and pip would, and keeps the calls."""

    def __init__(self, monkeypatch, root):
        self.calls, self.fails = [], ""
        self.root = root
        monkeypatch.setattr(environment, "called", self)

    def __call__(self, call, settings, otherwise):
        words = [str(word) for word in call]
        self.calls.append("venv" if "venv" in words else words[words.index("install") + 3])
        assert settings["PIP_USER"] == "0" and "PIP_TARGET" not in settings
        if self.fails == self.calls[-1]:
            raise environment.Failed(otherwise)
        binaries = self.root / ".venv/bin"
        if self.calls[-1] == "venv":
            shutil.rmtree(self.root / ".venv", ignore_errors=True)
            binaries.mkdir(parents=True)
            (binaries / "python").symlink_to(sys.executable)
        if self.calls[-1] == "--no-deps":
            (binaries / "reweigh").write_text(f"#!{binaries}/python\nimport reweigh\n")

    def again(self):
        """The calls of another `make setup`."""
        self.calls = []
        environment.setup(self.root)
        return self.calls


WHOLE = ["venv", "--requirement", "--no-deps"]


@pytest.fixture
def pip(tmp_path, monkeypatch):
    root = tmp_path / "it's a [project] {x} #1"
    (root / "envs").mkdir(parents=True)
    for name in environment.FILES:
        (root / name).write_text(name)
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    return FakePip(monkeypatch, root)


def test_nothing_is_installed_again_until_the_lock_changes(pip):
    assert pip.again() == WHOLE
    assert pip.again() == []
    (pip.root / "envs/requirements.lock").write_text("other")
    assert pip.again() == WHOLE[1:]
    assert pip.again() == []


def test_a_copied_or_renamed_folder_gets_an_environment_of_its_own(pip):
    pip.again()
    copied = pip.root.with_name("copied")
    shutil.copytree(pip.root, copied, symlinks=True)
    pip.root = copied
    assert pip.again() == WHOLE and pip.again() == []
    pip.root = copied.rename(copied.with_name("renamed"))
    assert pip.again() == WHOLE
    link = copied.with_name("link")
    link.symlink_to(pip.root)
    pip.root = link
    assert pip.again() == []


def test_an_interrupted_environment_is_completed(pip):
    for stopped, then in (("venv", WHOLE), ("--requirement", WHOLE[1:]), ("--no-deps", WHOLE[1:])):
        pip.fails = stopped
        with pytest.raises(environment.Failed, match=r"apt install python3-venv|goes on from here"):
            pip.again()
        pip.fails = ""
        assert pip.again() == then, stopped
        (pip.root / ".venv" / environment.STAMP).unlink()
    (pip.root / ".venv/bin/python").unlink()  # as after an upgrade of the system's Python
    assert pip.again() == WHOLE


def test_another_python_gets_another_environment(pip, monkeypatch):
    pip.again()
    monkeypatch.setattr(sys, "version", "3.99.0 (other)")
    assert pip.again() == WHOLE


def test_a_folder_that_cannot_be_in_path_is_refused(pip, tmp_path):
    with pytest.raises(environment.Failed, match="has a : in its name, which PATH cannot hold; rename the folder"):
        environment.setup(tmp_path / "a:b")
    assert pip.calls == []


def test_packages_that_went_elsewhere_are_not_called_installed(pip, monkeypatch):
    monkeypatch.setattr(environment, "called", lambda *call: None if "--no-deps" in call[0] else pip(*call))
    with pytest.raises(environment.Failed, match=r"somewhere else than into .venv"):
        environment.setup(pip.root)
    assert not (pip.root / ".venv" / environment.STAMP).exists()


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("#!/a/bin/python\n", "/a/bin/python"),
        ("#!/bin/sh\n'''exec' \"/a b/bin/python3.11\" \"$0\" \"$@\"\n", "/a b/bin/python3.11"),
        ("#!/bin/sh\necho\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_what_a_script_is_started_with(tmp_path, text, python):
    (tmp_path / "script").write_text(text)
    assert environment.started_by(tmp_path / "script") == (Path(python) if python else None)


def made(folder, *arguments):
    """Run make in a copy of the Makefile and its tools, and an environment.py that only says that it is called."""
    for name in ("Makefile", "tools/clean.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "tools/environment.py").write_text("print('set up')\n")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(  # not one call of the make that these tests run in, which would say its folders
        ["make", *arguments], cwd=folder, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


MAKE = pytest.mark.skipif(not shutil.which("make"), reason="wants make")


@MAKE
def test_a_python_that_is_not_there_or_too_old_is_one_line(tmp_path):
    folder = tmp_path / "it's a [project] {x}"
    folder.mkdir()
    assert made(folder, "setup", f"PYTHON={sys.executable}").stdout == "set up\n"
    done = made(folder, "setup", "PYTHON=python3.99")
    assert done.returncode and done.stderr.splitlines()[0] == (
        "make: there is no python3.99 here; name Python 3.11 or later: make setup PYTHON=python3.12"
    )
    old = tmp_path / "old python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.1\nexit 1\n')
    old.chmod(0o755)
    done = made(folder, "setup", f"PYTHON={old}")
    assert done.stderr.splitlines()[0] == (
        "make: Python 3.8.1 is too old; name Python 3.11 or later: make setup PYTHON=python3.12"
    )
    assert "set up" not in done.stdout


def tree(folder):
    kept = (
        "results/paper/a/seed0.json", "figures/paper/a/fig.png", "data/raw/mnist/a", "data/local/mine.yaml",
        "results/local/mine/a.json",
    )  # fmt: skip
    caches = ("src/reweigh/__pycache__/a.pyc", ".pytest_cache/a", "notebooks/tdr/.ipynb_checkpoints/a")
    products = (
        ".venv/bin/python", ".reweigh/prefixes/a.pt", ".snakemake/metadata/a", "results/quick/a.json", "data/splits/a",
        "figures/smoke/a.png", "logs/a",
    )  # fmt: skip
    for name in (*kept, *caches, *products):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [[folder / name for name in names] for names in (kept, caches, products)]


@MAKE
@needs.GIT
def test_clean_removes_caches_and_distclean_what_was_made(tmp_path):
    kept, caches, products = tree(tmp_path)
    assert made(tmp_path, "clean", f"PYTHON={sys.executable}").returncode == 0
    assert not any(map(Path.exists, caches)) and all(map(Path.exists, [*kept, *products]))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "-f", "figures/smoke/a.png"], cwd=tmp_path, check=True)
    unfinished = tmp_path / ".reweigh/checkpoints/paper/run.pt"
    unfinished.parent.mkdir(parents=True)
    unfinished.touch()
    done = made(tmp_path, "distclean", f"PYTHON={sys.executable}")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said == ["removing .venv", "removing .snakemake", "removing logs", "removing data/splits",
                    "removing results/quick", ".reweigh stays: it has unfinished runs of scale paper"]  # fmt: skip
    assert unfinished.exists() and (tmp_path / "figures/smoke/a.png").exists() and all(map(Path.exists, kept))
    unfinished.unlink()
    unfinished.parent.rmdir()
    assert "removing .reweigh" in made(tmp_path, "distclean", f"PYTHON={sys.executable}").stdout
    assert not (tmp_path / ".reweigh").exists()


def test_of_a_link_to_another_disk_the_link_is_removed(tmp_path):
    scratch = tmp_path / "scratch"
    (scratch / "quick").mkdir(parents=True)
    root = tmp_path / "project"
    (root / "results").mkdir(parents=True)
    os.symlink(scratch / "quick", root / "results/quick")
    clean.main(root, everything=True)
    assert not (root / "results/quick").is_symlink() and (scratch / "quick").is_dir()
