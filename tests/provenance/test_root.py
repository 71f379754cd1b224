"""`reweigh audit --root`: one sha256 over all files that git has, which sha256sum alone gives too."""

import shutil
import subprocess

import pytest
from support import tampering

from reweigh.errors import ConfigError
from reweigh.provenance.audit import root as of_project

SHELL = pytest.mark.skipif(shutil.which("sha256sum") is None, reason="wants sha256sum")


@pytest.fixture
def project(tmp_path):
    """A repository with names that a list must not fold: spaces, letters beyond ASCII, a backslash, another order."""
    root = tmp_path / "project"
    for name in ("b.txt", "B.txt", "a/c d.txt", "ä.txt", "back\\slash.txt", "a.txt", "src/reweigh/x.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    tampering.git(root, "init", "-q")
    tampering.git(root, "add", "-A")
    tampering.git(root, "commit", "-q", "-m", "all")
    return root


@SHELL
def test_the_shell_gives_the_same_root(project):
    done = subprocess.run(["bash", "-c", of_project.COMMAND], cwd=project, capture_output=True, text=True, check=True)
    assert of_project.root_of(project).digest == done.stdout.split()[0]


def test_a_clone_has_the_same_root_and_an_edit_another(project, tmp_path):
    found = of_project.root_of(project)
    assert (found.files, found.edited, len(found.digest)) == (7, [], 64)
    clone = tmp_path / "clone"
    tampering.git(tmp_path, "clone", "-q", str(project), str(clone))
    assert of_project.root_of(clone) == found
    (clone / "notes.txt").write_text("mine")  # git has never heard of it
    assert of_project.root_of(clone) == found._replace(edited=["notes.txt"])
    tampering.write(clone / "b.txt", "another")
    edited = of_project.root_of(clone)
    assert edited.digest != found.digest and edited.edited == ["b.txt", "notes.txt"]
    assert of_project.text(edited).splitlines()[0] == edited.digest
    assert "not committed: b.txt, notes.txt" in of_project.text(edited)
    (clone / "b.txt").rename(clone / "moved.txt")
    with pytest.raises(ConfigError, match=r"b\.txt: git lists it, and it is not there"):
        of_project.root_of(clone)


def test_the_same_bytes_under_another_name_are_another_root(project):
    before = of_project.root_of(project).digest
    tampering.git(project, "mv", "b.txt", "c.txt")
    assert of_project.root_of(project).digest != before


def test_without_git_there_is_no_root(tmp_path):
    with pytest.raises(ConfigError, match="there is no git here"):
        of_project.root_of(tmp_path)
