"""Readers of MOLERE's large data sets on a few files in the real layout; what cannot be right is refused."""

import re
import shutil

import numpy as np
import pytest
from scipy import io
from support import image_layouts, molere_layouts

from reweigh.config import inputs, known_sizes
from reweigh.data import load
from reweigh.data.manifest import Manifest
from reweigh.data.readers import diabetic_retinopathy
from reweigh.errors import ConfigError, DataError


def content(raw):
    """Which picture (its seed), label and group each row has, of the training and the test part."""
    found = []
    for part in ("train", "test"):
        given, labels, groups = (getattr(raw, f"{part}_{what}") for what in ("inputs", "labels", "groups"))
        assert len(given) == len(labels) and labels.dtype == np.int64
        seeds = [image_layouts.seed_of(given, row) for row in range(len(given))]
        found.append((seeds, labels.tolist(), None if groups is None else groups.tolist()))
    return found


@pytest.mark.parametrize("directory", [".", "fgvc-aircraft-2013b"])
def test_fgvc_aircraft(tmp_path, directory):
    molere_layouts.fgvc_aircraft(tmp_path, directory)
    raw = load.read("fgvc-aircraft", {}, tmp_path)
    assert raw.class_names == ("707-320", "Cessna 172", "Spitfire")
    assert content(raw) == [([0, 1, 2], [1, 0, 1], None), ([3, 4], [2, 1], None)]


def test_oxford_iiit_pet(tmp_path):
    molere_layouts.oxford_iiit_pet(tmp_path)
    raw = load.read("oxford-iiit-pet", {}, tmp_path)
    assert raw.class_names == ("Abyssinian", "american bulldog")
    assert content(raw) == [([0, 1, 2], [1, 0, 1], None), ([3, 4], [0, 1], None)]


@pytest.mark.parametrize("labelled", [".", "devkit"])
def test_stanford_cars(tmp_path, labelled):
    molere_layouts.stanford_cars(tmp_path, labelled)
    raw = load.read("stanford-cars", {}, tmp_path)
    assert raw.class_names == ("Acura RL 2012", "Audi R8")
    assert content(raw) == [([0, 1, 2], [1, 0, 1], None), ([3, 4], [0, 1], None)]


def test_diabetic_retinopathy(tmp_path, monkeypatch):
    molere_layouts.diabetic_retinopathy(tmp_path)
    raw = load.read("diabetic-retinopathy", {}, tmp_path)
    assert raw.class_names == ("no or mild retinopathy", "moderate or worse retinopathy")
    assert content(raw) == [([0, 1, 2], [0, 1, 0], None), ([3, 5], [1, 0], None)]
    assert content(load.read("diabetic-retinopathy", {"test": "val"}, tmp_path))[1] == ([4], [0], None)
    assert content(load.read("diabetic-retinopathy", {"test": "aptos"}, tmp_path))[1] == ([6, 7], [0, 1], None)
    with pytest.raises(DataError, match="the test list is empty"):  # APTOS has 3,662 rows, of which this is the rest
        load.read("diabetic-retinopathy", {"test": "aptos-val"}, tmp_path)
    monkeypatch.setattr(diabetic_retinopathy, "APTOS_TEST", 1)
    assert content(load.read("diabetic-retinopathy", {"test": "aptos-val"}, tmp_path))[1] == ([7], [1], None)
    with pytest.raises(ConfigError, match="test 'india' is unknown; known: test, val, aptos, aptos-val"):
        load.read("diabetic-retinopathy", {"test": "india"}, tmp_path)


# ImageNet-A has three pictures of the second class of three, seeds 100 to 102, and two of the third; ImageNet's own are
# 0, 1 / 2, 3, 4 / 5 to train on and 6 / 7 / 8 to test.
OUTSIDE = {
    "own": ([2, 3, 4, 5], [0, 0, 0, 1], [100, 101, 102, 103, 104], [0, 0, 0, 1, 1]),
    "imagenet": ([0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 1, 2], [100, 101, 102, 103, 104], [1, 1, 1, 2, 2]),
}


@pytest.mark.parametrize("directory", [".", "imagenet-a"])
@pytest.mark.parametrize("classes", OUTSIDE)
def test_imagenet_a_is_tested_on_and_imagenet_trained_on(tmp_path, classes, directory):
    image_layouts.imagenet(tmp_path, (2, 3, 1), (1, 1, 1))
    molere_layouts.beside_imagenet(tmp_path, "imagenet-a", directory)
    train, train_labels, test, test_labels = OUTSIDE[classes]
    raw = load.read("imagenet-a", {"classes": classes}, tmp_path)
    assert raw.class_names == image_layouts.WNIDS[1 if classes == "own" else 0 : 3]
    assert raw.group_names == ("imagenet", "imagenet-a")
    assert content(raw) == [(train, train_labels, [0] * len(train)), (test, test_labels, [1] * 5)]


@pytest.mark.parametrize("classes", OUTSIDE)
def test_half_of_each_class_can_be_held_out_to_validate(tmp_path, classes):
    image_layouts.imagenet(tmp_path, (2, 3, 1), (1, 1, 1))
    molere_layouts.beside_imagenet(tmp_path, "imagenet-a")
    train, train_labels, _, labels = OUTSIDE[classes]
    raw = load.read("imagenet-a", {"classes": classes, "validation": True}, tmp_path)
    held_out = [labels[0], labels[-1]]  # the second of three, and of two
    groups = [0] * len(train) + [1, 1]
    rest = ([100, 102, 103], [labels[0], labels[0], labels[-1]], [1, 1, 1])
    assert content(raw) == [([*train, 101, 104], train_labels + held_out, groups), rest]
    inside = load.read("imagenet-a", {"classes": classes, "validation": True, "test": "imagenet"}, tmp_path)
    own = [7, 8] if classes == "own" else [6, 7, 8]
    assert content(inside) == [content(raw)[0], (own, list(range(len(own))), [0] * len(own))]


def test_imagenet_r_has_other_classes(tmp_path):
    image_layouts.imagenet(tmp_path, (2, 3, 1), (1, 1, 1))
    molere_layouts.beside_imagenet(tmp_path, "imagenet-r", "imagenet-r")
    raw = load.read("imagenet-r", {}, tmp_path)
    assert raw.class_names == image_layouts.WNIDS[:2] and raw.group_names == ("imagenet", "imagenet-r")
    assert content(raw) == [
        ([0, 1, 2, 3, 4], [0, 0, 1, 1, 1], [0] * 5),
        ([100, 101, 102, 103, 104], [0, 0, 0, 1, 1], [1] * 5),
    ]
    with pytest.raises(ConfigError, match="classes 'all' is unknown; known: own, imagenet"):
        load.read("imagenet-r", {"classes": "all"}, tmp_path)
    shutil.rmtree(tmp_path / "imagenet" / "train" / image_layouts.WNIDS[1])
    for classes, says in (
        ("own", "n01443537 has no images; unpack"),
        ("imagenet", "has no n01443537; unpack ImageNet"),
    ):
        with pytest.raises(DataError, match=says):
            load.read("imagenet-r", {"classes": classes}, tmp_path)


def test_what_is_not_there_or_not_unpacked_says_what_to_do(tmp_path):
    archives = {
        "fgvc-aircraft": "fgvc-aircraft-2013b.tar.gz",
        "oxford-iiit-pet": "annotations.tar.gz",
        "stanford-cars": "car_devkit.tgz",
        "imagenet-a": "imagenet-a.tar",
        "imagenet-r": "imagenet-r.tar",
    }
    for dataset in (*archives, "diabetic-retinopathy"):
        with pytest.raises(DataError, match=rf"get it with: reweigh fetch {dataset}$"):
            load.read(dataset, {}, tmp_path)
    for dataset, archive in archives.items():
        image_layouts.write_lines(tmp_path / dataset / archive, [])
        with pytest.raises(DataError, match=rf"unpack it: tar -xf .*{archive} -C .*{dataset}$"):
            load.read(dataset, {}, tmp_path)


# what cannot be right -------------------------------------------------------------------------------------------------


def annotations(path, **columns):
    """A list of two cars whose columns are these."""
    rows = {"class": [1, 2], "fname": ["00001.jpg", "00002.jpg"]} | columns
    kind = [(name, object) for name in rows]
    io.savemat(path, {"annotations": np.array(list(zip(*rows.values(), strict=True)), kind)})


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"class": [1, 3]}, "has 3, which is not one of the 3 that are counted from 0"),
        ({"class": [0, 1]}, "names a class that is not one of 2"),
        ({"class": ["a", 1]}, "not a file of whole numbers"),
        ({"fname": ["00001.jpg", 7]}, "has '7' where a name should be"),
        ({"fname": ["00001.jpg", ""]}, "where a name should be"),
    ],
)
def test_annotations_of_cars_that_cannot_be_right_are_refused(tmp_path, columns, says):
    molere_layouts.stanford_cars(tmp_path)
    path = tmp_path / "stanford-cars" / "devkit" / "cars_train_annos.mat"
    annotations(path)
    assert load.read("stanford-cars", {}, tmp_path).train_labels.tolist() == [0, 1]
    annotations(path, **columns)
    with pytest.raises(DataError, match=re.escape(says)) as refused:
        load.read("stanford-cars", {}, tmp_path)
    assert "\n" not in str(refused.value)
    io.savemat(path, {"other": 1})
    with pytest.raises(DataError, match="not a MATLAB file with annotations"):
        load.read("stanford-cars", {}, tmp_path)


@pytest.mark.parametrize(
    ("dataset", "file", "old", "new", "says"),
    [
        (
            "fgvc-aircraft",
            "data/images_variant_test.txt",
            "Spitfire",
            "Spitfires",
            "'0000003 Spitfires' names no known",
        ),
        ("fgvc-aircraft", "data/images_variant_test.txt", " Spitfire", "", "'0000003' names no known variant"),
        ("fgvc-aircraft", "data/variants.txt", "Spitfire", "707-320", "names a variant twice"),
        ("oxford-iiit-pet", "annotations/test.txt", " 2 2 1", " 2 2", "american_bulldog_104 2 2' is not `BREED"),
        ("oxford-iiit-pet", "annotations/test.txt", " 2 2 1", " 1 2 1", "breed 1 is 'Abyssinian' and 'american bull"),
        (
            "oxford-iiit-pet",
            "annotations/test.txt",
            "bulldog_104 2",
            "bulldog_104 3",
            "not counted from 1 without a gap",
        ),
        (
            "oxford-iiit-pet",
            "annotations/test.txt",
            "american",
            "asian",
            "breed 2 is 'american bulldog' and 'asian bull",
        ),
        ("oxford-iiit-pet", "annotations/test.txt", "_104 2", "_104 x", "not a file of whole numbers"),
        ("diabetic-retinopathy", "trainLabels.csv", ",2", ",5", "has 5, which is not one of the 5"),
        ("diabetic-retinopathy", "trainLabels.csv", "level", "grade", "not a table with the columns image, level"),
        ("diabetic-retinopathy", "retinopathy_solution.csv", "Public", "Hidden", "Usage 'Hidden' is none of Private"),
    ],
)
def test_lists_that_cannot_be_right_are_refused(tmp_path, dataset, file, old, new, says):
    getattr(molere_layouts, dataset.replace("-", "_"))(tmp_path)
    path = tmp_path / dataset / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=re.escape(says)) as refused:
        load.read(dataset, {}, tmp_path)
    assert str(path.parent) in str(refused.value) and "\n" not in str(refused.value)


def test_every_data_set_of_the_paper_has_a_reader_and_stands_in_the_tables():
    named = [name for name, entry in Manifest.load("data/manifest.yaml").datasets.items() if "molere" in entry.papers]
    on_disk = [name for name in named if name in inputs.ON_DISK]
    assert sorted(set(named) - set(on_disk)) == ["cifar10", "cifar100", "mnist"]
    assert len(on_disk) == 11
    unknown = {"imagenet-100", "imagenet-a", "imagenet-r"}  # only ImageNet would tell how many of its images these have
    assert set(on_disk) - set(known_sizes.TRAINING_ROWS) == unknown
    assert set(known_sizes.TRAINING_ROWS) <= set(known_sizes.CLASSES)
