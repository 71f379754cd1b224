"""What editors and systems leave in a folder is no file of the project's, wherever a folder is listed."""

import shutil
from pathlib import Path

import pytest

from reweigh.config import files
from reweigh.config.loading import load
from reweigh.listing import visible
from reweigh.records import record

LEFT = (
    ".a.yaml.swp",
    ".#a.yaml",
    "#a.yaml#",
    "a.yaml~",
    "._a.yaml",
    ".DS_Store",
    ".ipynb_checkpoints/a-checkpoint.yaml",
)


def leave(folder: Path, ending: str = "yaml") -> None:
    """Put each of them into a folder, with bytes that nothing can read; emacs' lock is a link to nothing."""
    for name in LEFT:
        path = folder / name.replace("yaml", ending)
        path.parent.mkdir(exist_ok=True)
        if name.startswith(".#"):
            path.symlink_to("somebody@somewhere.1:2")
        else:
            path.write_bytes(b"\xff: [")


def test_leftovers_are_not_visible(tmp_path):
    leave(tmp_path)
    assert visible(tmp_path, "**/*") == visible(tmp_path, "*.yaml") == visible(tmp_path / "absent", "*") == []
    (tmp_path / "a.yaml").touch()
    (tmp_path / "b").mkdir()
    assert visible(tmp_path, "*") == [tmp_path / "a.yaml", tmp_path / "b"]
    hidden = tmp_path / ".hidden"
    shutil.copytree(tmp_path, hidden, symlinks=True)
    assert visible(hidden, "*.yaml") == [hidden / "a.yaml"], "the folder itself may be hidden"


@pytest.mark.parametrize("what", ["config", "published", "cards"])
def test_leftovers_are_no_config(tdr_project, what):
    before = files.stamp(tdr_project)
    config = tdr_project / "config"
    folders = {
        "config": [config, *(path for path in config.rglob("*") if path.is_dir())],
        "published": [tdr_project / files.PUBLISHED],
        "cards": [tdr_project / files.CARDS, tdr_project / files.CHOICES],
    }
    for folder in folders[what]:
        folder.mkdir(parents=True, exist_ok=True)
        leave(folder, "csv" if what == "published" else "yaml")
    assert files.stamp(tdr_project) == before
    assert list(load(tdr_project).papers) == ["tdr"] and not load(tdr_project).refused


def test_leftovers_are_no_records(tmp_path):
    cell = tmp_path / "results/smoke/tdr/mnist-4v9/rho0.1/tdr"
    cell.mkdir(parents=True)
    leave(cell, "json")
    leave(cell.parent, "json")
    (cell.parent / ".ipynb_checkpoints/seed0-checkpoint.json").touch()
    assert record.files_of("smoke", tmp_path) == {}


def test_a_link_to_nothing_with_an_ordinary_name_is_said_in_one_line(tdr_project):
    (tdr_project / "config/papers/tdr/more.yaml").symlink_to("nowhere.yaml")
    with pytest.raises(files.UnreadError, match=r"^config/papers/tdr/more.yaml: .*a link to a file that is not there"):
        load(tdr_project)
