"""The manifest says enough about every data set, and what is embedded is what it says."""

import hashlib
import lzma
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from support import needs
from support.needs import MIRROR_FOLDER
from support.project import ROOT

from reweigh.data import manifest, transfer
from reweigh.data.catalogue import Manifest
from reweigh.errors import DataError

EMBEDDED = ROOT / "data" / "embedded"
PAPERS = {"tdr", "autobalance", "molere", "absgd", "har"}
CATALOGUE = manifest.Manifest.load(ROOT / "data" / "manifest.yaml")


@pytest.mark.parametrize("name", CATALOGUE.datasets)
def test_every_data_set_says_what_it_is_and_how_to_have_it(name):
    entry = CATALOGUE[name]
    assert set(entry.papers) <= PAPERS
    assert all((entry.title, entry.licence, entry.citation, entry.editions))
    assert entry.homepage.startswith("http")
    assert isinstance(entry.click_through, bool)
    for edition in entry.editions:
        for file in (*edition.files, *edition.archives.values()):
            assert re.fullmatch("[0-9a-f]{64}", file.sha256 or 64 * "0")
            assert re.fullmatch("[0-9a-f]{32}", file.md5 or 32 * "0")
            assert all(url.startswith("https://") for url in file.urls)
            assert file.sha256 or file.md5 or file.note, f"{file.name}: no digest, and no word why"
            had = file.embedded or file.mirror or file.urls or file.archive
            assert had or entry.how, f"{file.name}: not available, and no word on how to get it"
            assert not (entry.click_through and name == "imagenet" and file.urls)


def test_every_paper_has_its_data_sets():
    assert {paper for entry in CATALOGUE.datasets.values() for paper in entry.papers} == PAPERS
    assert {"mnist", "adult", "cifar10", "cifar10-slice", "cifar100", "nexrad", "waterbirds"} <= set(CATALOGUE.datasets)


def test_content_digest_ignores_urls_but_not_content(tmp_path):
    body = yaml.safe_load((ROOT / "data" / "manifest.yaml").read_text())

    def changed(**file_changes):
        copy = yaml.safe_load(yaml.safe_dump(body))
        copy["datasets"]["mnist"]["editions"]["official"]["files"][0].update(file_changes)
        (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(copy))
        return manifest.content_digest("mnist", tmp_path / "manifest.yaml")

    here = CATALOGUE.content_digest("mnist")
    assert changed() == here
    assert changed(urls=["https://elsewhere.org/a"], mirror="other/place", note="moved") == here
    assert changed(sha256=64 * "0") != here


def test_a_data_set_that_stands_twice_is_refused_with_both_lines(tmp_path):
    path = tmp_path / "manifest.yaml"
    path.write_text("datasets:\n  one: {}\n  two: {}\n  one: {}\n")
    with pytest.raises(DataError, match=r"manifest.yaml:4: .*'one' stands here twice, first in line 2"):
        Manifest.load(path)


def test_unknown_names_and_broken_manifests_are_one_line(tmp_path):
    with pytest.raises(DataError, match=r"no data set 'mnits'; did you mean 'mnist'\?$"):
        CATALOGUE["mnits"]
    with pytest.raises(DataError, match=r"is missing; run this in the project's own folder$"):
        manifest.Manifest.load(tmp_path / "manifest.yaml")
    for text in ("datasets: [", "datasets: {a: 3}", "{}", "datasets: {a: {titel: x, papers: []}}"):
        (tmp_path / "manifest.yaml").write_text(text)
        with pytest.raises(DataError, match=r"malformed manifest|not valid YAML") as caught:
            manifest.Manifest.load(tmp_path / "manifest.yaml")
        assert "\n" not in str(caught.value)


def test_embedded_data_are_small_enough_for_the_repository():
    files = [path for path in EMBEDDED.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    sizes = {path.relative_to(EMBEDDED).as_posix(): path.stat().st_size for path in files}
    assert sum(sizes.values()) <= 24 * 2**20, sizes
    assert max(sizes.values()) <= 10 * 2**20, sizes


@pytest.mark.parametrize("name", ["mnist", "adult"])
def test_embedded_files_have_the_published_md5(name):
    for file in CATALOGUE[name].editions[0].files:
        content = lzma.decompress((EMBEDDED / file.embedded).read_bytes())
        assert hashlib.md5(content).hexdigest() == file.md5
        assert hashlib.sha256(content).hexdigest() == file.sha256
        assert len(content) == file.bytes


def test_status_tells_where_everything_is(tmp_path, raw_root):
    (tmp_path / "mirror" / "cifar-10").mkdir(parents=True)
    for file in CATALOGUE["cifar10"].editions[1].files:
        (tmp_path / "mirror" / file.mirror).touch()
    here = {"manifest": ROOT / "data" / "manifest.yaml"}
    rows = {row["dataset"]: row for row in manifest.status(tmp_path / "raw", str(tmp_path / "mirror"), **here)}
    assert list(rows) == list(CATALOGUE.datasets)
    assert (rows["mnist"]["where"], rows["mnist"]["bytes"]) == ("embedded", 54950048)
    assert rows["mnist"]["how"] == "reweigh fetch mnist"
    assert len(rows["mnist"]["missing"]) == 4
    assert (rows["cifar10"]["where"], rows["cifar10"]["edition"]) == ("mirror", "reconstruction")
    assert "92" in rows["cifar10"]["note"]
    assert rows["cifar100"]["where"] == "official"
    (tmp_path / "raw" / "cifar10n").mkdir(parents=True)
    (tmp_path / "raw" / "cifar10n" / "CIFAR-10_human.pt").touch()
    for place, where in ((str(tmp_path / "mirror"), "mirror"), ("", "official")):  # those of the images
        again = {row["dataset"]: row for row in manifest.status(tmp_path / "raw", place, **here)}
        assert again["cifar10n"] | {"where": where, "how": "reweigh fetch cifar10n"} == again["cifar10n"]
    assert rows["imagenet"]["where"] == "by hand"
    assert "accept the terms" in rows["imagenet"]["how"]
    assert "never published" in rows["nexrad"]["how"]
    fetched = {row["dataset"]: row for row in manifest.status(raw_root, "", **here)}
    assert (fetched["mnist"]["where"], fetched["mnist"]["missing"]) == ("raw", [])
    assert fetched["cifar10"]["where"] == "official"


def test_the_manifest_loads_without_torch_or_pooch():
    code = (
        "import sys, reweigh.data.manifest as m; m.Manifest.load(); print({'torch', 'pooch', 'PIL'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


@needs.MIRROR
@pytest.mark.parametrize("name", ["mnist", "adult", "cifar10n", "cifar100n", "imagenet-lt", "places-lt"])
def test_the_mirror_has_what_the_manifest_says(name, tmp_path):
    source = manifest.ensure(name, tmp_path, MIRROR_FOLDER, _without_embedded(tmp_path))
    assert {file["source"] for file in source["files"]} == {"mirror"}


@needs.MIRROR
def test_the_slice_is_pixel_by_pixel_the_mirror_s(raw_root):
    images = np.load(MIRROR_FOLDER / "cifar-10" / "images.npy", mmap_mode="r")
    labels = np.load(MIRROR_FOLDER / "cifar-10" / "labels.npy")
    inexact = yaml.safe_load((MIRROR_FOLDER / "cifar-10" / "inexact.json").read_text())["items"]
    lines = (raw_root / "cifar10-slice" / "examples.csv").read_text().splitlines()[1:]
    rows = [(50000 if part == "test" else 0) + int(index) for part, index, _ in (line.split(",") for line in lines)]
    assert not {item["index"] for item in inexact} & set(rows)
    assert len(set(rows)) == len(rows) == 2662
    assert [int(line.rsplit(",", 1)[1]) for line in lines] == labels[rows].tolist()
    assert np.array_equal(np.load(raw_root / "cifar10-slice" / "images.npy"), images[rows])


def test_a_mosaic_gives_its_tiles_back(tmp_path):
    from reweigh.data.mosaic import encode

    images = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    (tmp_path / "images.npy.webp").write_bytes(encode(images, columns=3))
    found = transfer.place(tmp_path / "images.npy.webp", tmp_path / "images.npy", transfer.Expected())
    assert found.bytes == (tmp_path / "images.npy").stat().st_size
    assert np.array_equal(np.load(tmp_path / "images.npy"), images)


def _without_embedded(folder):
    """A copy of the manifest beside which nothing is embedded."""
    path = folder / "manifest.yaml"
    path.write_bytes((ROOT / "data" / "manifest.yaml").read_bytes())
    return path
