"""Folders of images: what an operating system or an editor leaves there is neither a class nor an image."""

import pytest

from reweigh.data.readers import lists
from reweigh.errors import DataError


@pytest.fixture
def images(tmp_path):
    for name in ("a/1.jpg", "a/2.JPEG", "b/1.png"):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / name).touch()
    return tmp_path


def test_what_a_mac_or_an_editor_leaves_is_no_image_and_no_class(images):
    for name in ("a/._1.jpg", "a/.DS_Store", "a/#1.jpg#", "a/1.jpg~", ".ipynb_checkpoints/1.jpg", "__MACOSX~/1.jpg"):
        (images / "train" / name).parent.mkdir(exist_ok=True)
        (images / "train" / name).touch()
    classes = lists.subfolders(images / "train")
    listed = lists.folder(images, "train", classes)
    assert classes == ("a", "b")
    assert listed.paths == ["train/a/1.jpg", "train/a/2.JPEG", "train/b/1.png"] and listed.labels.tolist() == [0, 0, 1]


def test_a_class_of_hidden_images_alone_has_none(images):
    (images / "train/b/1.png").rename(images / "train/b/.1.png")
    with pytest.raises(DataError, match=r"train/b has no images; unpack the data set"):
        lists.folder(images, "train", ("a", "b"))


def test_what_is_not_there_is_empty(tmp_path):
    assert lists.subfolders(tmp_path / "nothing") == ()
