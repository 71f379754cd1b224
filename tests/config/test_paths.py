"""Paths in a config stay in the project: one that is absolute, climbs or cannot be is refused at loading."""

import shutil

import pytest
import yaml
from support.project import ROOT

from reweigh import canonical_json
from reweigh.config import loading
from reweigh.data import catalogue, local_cards
from reweigh.errors import ConfigError, DataError

OUTSIDE = ["/etc/passwd", "../notebook.ipynb", "notebooks/../../a", "", "a\0b", "n" * 300]
PLACES = {
    "notebook": ("artifacts.yaml", "    notebook: notebooks/tdr/fig5.ipynb\n", "    notebook: {}\n"),
    "caption": ("artifacts.yaml", "    caption: workflow/report/tdr/fig5.rst\n", "    caption: {}\n"),
    "published": ("published.yaml", "  file: data/published/tdr.csv\n", "  file: {}\n"),
}


@pytest.fixture
def root(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    return tmp_path


@pytest.mark.parametrize(
    ("place", "path"), [*(("notebook", path) for path in OUTSIDE), ("caption", "../a.rst"), ("published", "/tmp/a.csv")]
)
def test_a_path_that_leads_out_is_one_line_at_loading(root, place, path):
    name, old, new = PLACES[place]
    file = root / "config/papers/tdr" / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new.format(f'"{path}"'.replace("\0", r"\0"))), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        loading.load(root)
    line = str(refused.value)
    assert line.startswith(f"config/papers/tdr/{name}:") and "must be a path below the project's folder" in line
    assert line.isprintable() and len(line) < 350


@pytest.mark.parametrize("path", ["/tmp/a.csv", "../a.csv"])
def test_so_is_one_of_what_a_bench_measured(root, path):
    file = root / "config/papers/molere/artifacts.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("value: results/bench/reweighting.csv,", f"value: {path},"), encoding="utf-8")
    with pytest.raises(ConfigError, match="must be a path below the project's folder") as refused:
        loading.load(root)
    assert "artifacts.yaml:" in str(refused.value)


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("key", ["name", "embedded", "mirror"])
def test_a_manifest_names_no_file_elsewhere(tmp_path, key, path):
    file = {"name": "a.bin", "sha256": "0" * 64, key: path}
    entry = {"title": "t", "papers": [], "licence": "l", "citation": "c", "homepage": "h", "click_through": False,
             "editions": {"official": {"files": [file]}}}  # fmt: skip
    written = tmp_path / "manifest.yaml"
    written.write_text(yaml.safe_dump({"datasets": {"toy": entry}}), encoding="utf-8")
    with pytest.raises(DataError, match=rf"manifest.yaml: malformed manifest \({key} .* path below"):
        catalogue.Manifest.load(written)
    file[key] = "a/b.bin"
    written.write_text(yaml.safe_dump({"datasets": {"../toy": entry}}), encoding="utf-8")
    with pytest.raises(DataError, match="no name of a data set"):
        catalogue.Manifest.load(written)


CARDS = {
    "another name": {"name": "other"},
    "a list elsewhere": {"files": "../../../etc/passwd"},
    "another list": {"files": "other.files.csv"},
    "no kind": {"kind": "video"},
    "a path that is none": {"path": 5},
    "no sizes": {"sizes": None},
}


@pytest.mark.parametrize("what", CARDS)
def test_a_card_names_no_list_elsewhere(tmp_path, what):
    """Sealed by whoever wrote it: its digest says nothing of where it leads."""
    sizes = {"rows": 2, "classes": [1, 1], "groups": [], "cells": []}
    card = dict.fromkeys(local_cards.KEYS) | {
        "card_version": 1, "name": "toy", "title": "toy", "kind": "folder", "path": "/big/disk/toy", "sha256": "0" * 64,
        "bytes": 1, "label": {"column": None, "classes": ["a", "b"]}, "columns": [], "dropped": [], "side": 8,
        "files": "toy.files.csv", "split": {"test": 0.2, "seed": 0}, "sizes": {"train": sizes, "test": sizes},
    }  # fmt: skip
    path = local_cards.card_path("toy", tmp_path)
    path.parent.mkdir(parents=True)
    for changed in ({}, CARDS[what]):
        whole = {key: value for key, value in (card | changed).items() if key != "digest"}
        path.write_text(local_cards.text_of(canonical_json.seal(whole)), encoding="utf-8")
        if not changed:
            assert local_cards.load("toy", tmp_path)["path"] == "/big/disk/toy"
    with pytest.raises(DataError, match=r"^[^\n]*toy.yaml: not a card[^\n]*$"):
        local_cards.load("toy", tmp_path)
