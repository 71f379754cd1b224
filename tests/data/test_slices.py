"""The slices of CIFAR that come with the project: the official images, enough of them; and sets taken whole."""

import json

import numpy as np
import pytest
from support import image_layouts, needs
from support.needs import MIRROR_FOLDER
from support.project import ROOT

from reweigh.data import load, manifest
from reweigh.data.noise import realised
from reweigh.data.readers import cifar10n, pickled
from reweigh.data.split import draw
from reweigh.errors import ConfigError, DataError

ALL = {"kind": "all", "target_size": 0, "target_inside": False, "validation_size": 0, "order": "random", "test": "all"}
SIZED = ALL | {"largest_class": 500, "imbalance_ratio": 100.0}
SYMMETRIC = {"kind": "symmetric", "rate": 0.4}


@pytest.fixture(scope="module")
def slices(raw_root):
    return {name: load.read(name, {}, raw_root) for name in ("cifar10-slice-large", "cifar100-slice")}


def test_the_slices_are_enough_for_quick_experiments(slices):
    for name, largest, smallest, equal, test in (
        ("cifar10-slice-large", 500, {100: 5, 10: 50}, 120, 100),
        ("cifar100-slice", 100, {100: 1, 10: 10}, 30, 15),
    ):
        raw = slices[name]
        classes = len(raw.class_names)
        for kind in ("long-tail", "step"):
            for ratio, last in smallest.items():
                drawn = draw(raw, SIZED | {"kind": kind, "largest_class": largest, "imbalance_ratio": ratio}, 0)
                assert (drawn.class_counts[0], drawn.class_counts[-1]) == (largest, last)
                assert drawn.sizes()["test"] == [test] * classes
        flat = SIZED | {"kind": "long-tail", "largest_class": equal, "imbalance_ratio": 1, "noise": SYMMETRIC}
        drawn = draw(raw, flat, 0)
        true = raw.train_labels[drawn.train.index]
        assert np.bincount(true).tolist() == [equal] * classes
        assert realised(true, drawn.train.label, classes)["rate"] == 0.4
        blocks = draw(raw, flat | {"noise": {"kind": "asymmetric", "rate": 0.4}}, 0)
        assert (blocks.train.label != true).any()


@needs.MIRROR
def test_the_slices_are_pixel_by_pixel_the_official_images(raw_root, slices):
    folder = MIRROR_FOLDER / "cifar-10"
    ten = (np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "labels.npy"))
    inexact = {item["index"] for item in json.loads((folder / "inexact.json").read_text())["items"]}
    hundred = load.read("cifar100", {}, _linked(raw_root.parent / "whole", "cifar100", "cifar-100/cifar-100-python"))
    both = [
        np.concatenate((getattr(hundred, f"train_{what}"), getattr(hundred, f"test_{what}")))
        for what in ("inputs", "labels")
    ]
    for name, (images, labels), avoid in (("cifar10-slice-large", ten, inexact), ("cifar100-slice", both, set())):
        lines = [line.split(",") for line in (raw_root / name / "examples.csv").read_text().splitlines()[1:]]
        for part, begin, end in (("train", 0, 50000), ("test", 50000, 60000)):
            rows = [begin + int(line[1]) for line in lines if line[0] == part]
            inputs, given = getattr(slices[name], f"{part}_inputs"), getattr(slices[name], f"{part}_labels")
            assert len(set(rows)) == len(rows) and not avoid & set(rows)
            assert np.array_equal(given, labels[rows])
            assert np.array_equal(inputs, images[rows])
            for k, size in enumerate(np.bincount(given)):  # the first of each class in the official order
                mine = [row for row in np.flatnonzero(labels[begin:end] == k) + begin if row not in avoid]
                assert [row for row in rows if labels[row] == k] == mine[:size]
    assert hundred.class_names[:20] == slices["cifar100-slice"].class_names


@needs.MIRROR
def test_people_gave_the_images_of_the_slice_these_labels(raw_root, slices):
    arrays = pickled.load_saved(MIRROR_FOLDER / "cifar-n" / "CIFAR-10_human.pt")
    lines = [line.split(",") for line in (raw_root / "cifar10-slice-large" / "examples.csv").read_text().splitlines()]
    rows = [int(line[1]) for line in lines if line[0] == "train"]
    plain = slices["cifar10-slice-large"]
    assert np.array_equal(plain.train_labels, arrays["clean_label"][rows])
    for labels, name in cifar10n.LABELS.items():
        raw = load.read("cifar10n-slice", {"labels": labels}, raw_root)
        assert np.array_equal(raw.train_labels, arrays[name][rows])


def test_the_slice_with_people_s_labels_has_the_images_of_the_larger_slice(raw_root, slices):
    plain, raw = slices["cifar10-slice-large"], load.read("cifar10n-slice", {}, raw_root)
    for part in ("train_inputs", "test_inputs", "test_labels"):
        assert np.array_equal(getattr(raw, part), getattr(plain, part))
    assert np.array_equal(raw.train_clean_labels, plain.train_labels) and raw.edition == "slice"
    drawn = draw(raw, ALL, 0)
    assert drawn.class_counts.tolist() == np.bincount(raw.train_labels).tolist()
    assert np.array_equal(load.read("cifar10n-slice", {"labels": "worse"}, raw_root).train_labels, raw.train_labels)
    with pytest.raises(ConfigError, match="labels 'worst' is unknown; known: worse, aggregate, random1"):
        load.read("cifar10n-slice", {"labels": "worst"}, raw_root)


def test_people_s_labels_of_other_images_are_refused(tmp_path, raw_root):
    (tmp_path / "cifar10-slice-large").symlink_to(raw_root / "cifar10-slice-large")
    (tmp_path / "cifar10n-slice").mkdir()
    with pytest.raises(DataError, match="get it with: reweigh fetch cifar10n-slice"):
        load.read("cifar10n-slice", {}, tmp_path)
    header, *lines = (raw_root / "cifar10n-slice" / "labels.csv").read_text().splitlines()
    for wrong in (lines[:-1], lines[1:] + lines[:1]):
        (tmp_path / "cifar10n-slice" / "labels.csv").write_text("\n".join([header, *wrong, ""]))
        with pytest.raises(DataError, match="its true labels are not those of the images; delete it and fetch it"):
            load.read("cifar10n-slice", {}, tmp_path)
    for wrong, reason in (
        ([header.replace("worse", "worst"), *lines], "not a table with the columns clean_label, worse_label"),
        ([header, *lines[:-1], lines[-1][:1]], "not a table with the columns clean_label, worse_label"),
        ([header, *lines[:-1], "9,10,9,9,9,9"], "has 10, which is not one of the 10 that are counted from 0"),
        ([header, *lines[:-1], "9,-1,9,9,9,9"], "has -1, which is not one of the 10"),
        ([header, *lines[:-1], "9,truck,9,9,9,9"], "not a file of whole numbers"),
    ):
        (tmp_path / "cifar10n-slice" / "labels.csv").write_text("\n".join([*wrong, ""]))
        with pytest.raises(DataError, match=f"{reason}.*; delete it and fetch it again"):
            load.read("cifar10n-slice", {}, tmp_path)


def _linked(root, name, place):
    root.mkdir()
    (root / name).symlink_to(MIRROR_FOLDER / place)
    return root


def test_a_slice_whose_files_do_not_fit_is_refused(tmp_path, raw_root):
    for name, array in (("cifar10-slice-large", "more.npy"), ("cifar100-slice", "images.npy")):
        (tmp_path / name).mkdir()
        for path in (raw_root / name).glob("*.*"):
            (tmp_path / name / path.name).symlink_to(path)
        images = np.load(raw_root / name / array)
        more = np.concatenate((images, images[:1])) if name == "cifar100-slice" else images[..., :31]
        for wrong in (images[:-1], more):
            (tmp_path / name / array).unlink()
            np.save(tmp_path / name / array, wrong)
            reason = (
                r"images but \d+ examples" if wrong.shape[1:] == (3, 32, 32) else r"not an array of shape \(N, 3, 32"
            )
            with pytest.raises(DataError, match=f"{reason}.*; delete it and fetch it again"):
                load.read(name, {}, tmp_path)


@pytest.mark.parametrize(
    ("dataset", "lay"),
    [
        ("imagenet-lt", image_layouts.imagenet_lt),
        ("places-lt", image_layouts.places_lt),
        ("inaturalist2018", image_layouts.inaturalist2018),
        ("clothing1m", image_layouts.clothing1m),
    ],
)
def test_sets_that_are_imbalanced_or_noisy_already_are_taken_whole(tmp_path, dataset, lay):
    lay(tmp_path)
    raw = load.read(dataset, {}, tmp_path)
    drawn = draw(raw, ALL, 0)
    assert drawn.train.index.tolist() == list(range(len(raw.train_labels)))
    assert np.array_equal(drawn.train.label, raw.train_labels)
    assert np.array_equal(drawn.test.label, raw.test_labels)
    entry = manifest.Manifest.load(ROOT / "data" / "manifest.yaml")[dataset]
    assert f"data/raw/{dataset}" in entry.how


@needs.MIRROR
def test_places_lt_has_the_counts_of_the_sheet(tmp_path):
    (tmp_path / "places-lt").symlink_to(MIRROR_FOLDER / "lists")
    drawn = draw(load.read("places-lt", {}, tmp_path), ALL, 0)
    counts = drawn.class_counts
    assert (len(drawn.train), len(counts), counts.max(), counts.min()) == (62500, 365, 4980, 5)
