"""Folders of images of a user's own: classes by folder, the list beside the card, the same pixels at each reading."""

import csv
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import own_data
from support.own_data import card_of, images, read, table

from reweigh.config import inputs, sizes
from reweigh.data import local_cards
from reweigh.errors import ConfigError, DataError
from reweigh.planning import memory
from reweigh.planning.import_parts import Asked
from reweigh.planning.importing import imported
from reweigh.provenance.audit.sources import check_sources

SPLIT = {"kind": "all", "target_size": 0, "target_inside": False, "validation_size": 0, "test": "all",
         "test_size": None, "order": "random"}  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    return own_data.project(tmp_path / "project", monkeypatch)


def listed(card):
    with open(local_cards.list_of(card), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_for_each_class(project):
    folder = images(project / "мои images 1", ["собака", "a cat", "10"], size=(20, 12))
    card = card_of(folder, side=8)
    assert card["kind"] == "folder" and card["path"] == "мои images 1" and card["inputs"] == [3, 8, 8]
    assert card["label"]["classes"] == ["10", "a cat", "собака"]
    raw = read(card)
    for part, count in (("train", 10), ("test", 2)):
        rows = [row for row in listed(card) if row["part"] == part]
        given, labels = getattr(raw, f"{part}_inputs"), getattr(raw, f"{part}_labels")
        assert card["sizes"][part]["classes"] == np.bincount(labels).tolist() == [count] * 3
        assert given.shape == (3 * count, 3, 8, 8) and given.dtype == np.uint8
        assert [raw.class_names[label] for label in labels] == [row["label"] for row in rows]
        for row, pixels in zip(rows, given, strict=True):
            path = folder / row["path"]
            assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"]
            assert path.parent.name == row["label"]
            assert np.abs(by_hand(path, 8).astype(int) - pixels).max() <= 1
    assert (read(card).train_inputs == raw.train_inputs).all()


def by_hand(path, side):
    """The middle of a picture whose shorter side is brought to `side`, by Pillow alone, uint8 (3, side, side)."""
    with Image.open(path) as picture:
        width, height = picture.size
        wide = max(side, int(side * width / height)), max(side, int(side * height / width))
        small = picture.convert("RGB").resize(wide, Image.Resampling.BILINEAR)
    left, top = round((wide[0] - side) / 2), round((wide[1] - side) / 2)
    return np.asarray(small.crop((left, top, left + side, top + side))).transpose(2, 0, 1)


@pytest.mark.parametrize("second", ["val", "test", "validation"])
def test_parts_of_their_own(project, second):
    images(project / "pets" / "train", ["cat", "dog"], 11)
    images(project / "pets" / second, ["cat", "dog"], 4, seed=1)
    (project / "pets" / "docs").mkdir()
    card = card_of(project / "pets")
    assert card["split"] == {"test": second, "seed": None, "stratified": "as the folders are"}
    assert [card["sizes"][part]["classes"] for part in ("train", "test")] == [[11, 11], [4, 4]]
    assert {row["path"].partition("/")[0] for row in listed(card) if row["part"] == "test"} == {second}
    assert card["dropped"] == [{"name": "docs", "why": f"it lies beside train and {second}, which are read"}]
    assert len(read(card).test_labels) == 8
    with pytest.raises(ConfigError, match=f"has a part to test on, {second}; leave --test out"):
        imported(project / "pets", Asked(test=0.5, name="b"))


def test_a_test_part_without_classes_is_left_out(project):
    """As in many a competition, whose test images have no labels."""
    images(project / "pets" / "train", ["cat", "dog"], 20)
    (project / "pets" / "test").mkdir()
    card = card_of(project / "pets")
    assert card["split"]["test"] == 0.2 and card["dropped"][0]["name"] == "test"
    assert {row["path"].split("/")[0] for row in listed(card)} == {"train"}


def test_hidden_files_and_others_are_passed_over(project):
    folder = images(project / "pets", ["cat", "dog", ".git"])
    images(folder / "cat", [".thumbs", "kittens"], 3, seed=5)
    for name in (".DS_Store", "._00.png", "notes.txt"):
        (folder / "cat" / name).write_text("no image")
    done = imported(folder, Asked())
    assert done.card["label"]["classes"] == ["cat", "dog"]
    assert next(row["path"] for row in listed(done.card) if "kittens" in row["path"]) == "cat/kittens/00.png"
    assert sum(done.card["sizes"][part]["classes"][0] for part in ("train", "test")) == 15
    assert done.notes == ["passed over, as no images by their names: 1 file"]


def test_a_link_to_a_folder_above_ends(project):
    folder = images(project / "pets", ["cat", "dog"])
    (folder / "cat" / "loop").symlink_to(folder / "cat", target_is_directory=True)
    (folder / "dog" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "dog" / "nowhere.png").symlink_to(folder / "gone.png")
    with pytest.raises(DataError, match=r"images cannot be read.*nowhere.png \(No such file or directory\)"):
        card_of(folder)
    (folder / "dog" / "nowhere.png").unlink()
    done = imported(folder, Asked())
    card = done.card
    assert any("in more than one class, byte for byte: 12 images" in note for note in done.notes)
    assert sum(row["label"] == "cat" for row in listed(card)) == 12
    assert sum(row["label"] == "dog" for row in listed(card)) == 12 + 12  # of the folder above those of `cat`, once


def test_pictures_in_both_parts_are_told(project):
    for part in ("train", "val"):
        images(project / "pets" / part, ["cat", "dog"], 10, seed=0)
    notes = imported(project / "pets", Asked()).notes
    assert notes == ["in the training part and in the test part, byte for byte: 20 images"]


def no_folders(folder):
    (folder / "a.png").write_bytes(b"x")


def one_class(folder):
    images(folder, ["cat"])


def empty_class(folder):
    images(folder, ["cat", "dog"])
    (folder / "bird").mkdir()


def class_of_three(folder):
    images(folder, ["cat", "dog"])
    images(folder, ["bird"], 3)


def other_names(folder):
    images(folder / "train", ["cat", "dog"])
    images(folder / "val", ["cat", "dogs"])


def one_more(folder):
    images(folder / "train", ["cat", "dog"])
    images(folder / "val", ["bird", "cat", "dog"])


def unreadable(folder):
    images(folder, ["cat", "dog"])
    whole = (folder / "cat" / "00.png").read_bytes()
    (folder / "cat" / "01.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog" / "02.png").write_bytes(b"no image")
    (folder / "dog" / "03.png").write_bytes(b"")


REFUSED = {
    no_folders: "has no folders in it; images lie in a folder for each class, CLASS/..., or in train/CLASS/...",
    one_class: "has one class only, 'cat'; two are needed at least: name another folder",
    empty_class: "bird has no images (.jpg, .jpeg, .png, .webp, .bmp, .gif, .ppm); put some into it, or import",
    class_of_three: "class 'bird' has 3 images, too few to train and test on",
    other_names: "train has the class 'dog' and val has not; did you mean 'dogs'?; give both the same class folders",
    one_more: "val has the class 'bird' and train has not",
    unreadable: "3 of 24 images cannot be read: cat/01.png (",
}


@pytest.mark.parametrize("made", REFUSED)
def test_a_folder_that_cannot_be_is_one_line(project, made):
    folder = project / "my pictures"
    folder.mkdir()
    made(folder)
    with pytest.raises(DataError) as refused:
        imported(folder, Asked())
    line = str(refused.value)
    assert REFUSED[made] in line and "my pictures" in line
    assert "\n" not in line and "delete" not in line and len(line) < 500
    assert not (project / "data" / "local").exists()


def test_images_that_cannot_be_read_may_be_left_out(project):
    (project / "pets").mkdir()
    unreadable(project / "pets")
    with pytest.raises(DataError, match=r"or leave them out: --skip-unreadable$"):
        card_of(project / "pets")
    (project / "pets" / "dog" / "04.png").write_bytes(b"")
    images(project / "pets" / "dog", ["more"], 5, seed=3)
    card = card_of(project / "pets", skip_unreadable=True)
    assert [one["name"] for one in card["dropped"]] == ["cat/01.png", "dog/02.png", "dog/03.png", "dog/04.png"]
    assert len(listed(card)) == 25 and len(read(card).train_labels) == card["sizes"]["train"]["rows"]


def test_pipes_and_what_is_too_large_are_no_images(project):
    """A pipe would be waited for, and a file of a terabyte read whole; a picture of a gigapixel is a bomb to Pillow."""
    folder = images(project / "pets", ["cat", "dog"])
    os.mkfifo(folder / "cat" / "pipe.png")
    with open(folder / "cat" / "huge.png", "wb") as file:
        file.truncate(1 << 40)
    Image.new("1", (16_000, 16_000)).save(folder / "dog" / "bomb.png")
    why = {one["name"]: one["why"] for one in card_of(folder, skip_unreadable=True)["dropped"]}
    assert list(why) == ["cat/huge.png", "cat/pipe.png", "dog/bomb.png"]
    assert why["cat/huge.png"] == "1,048,576 MiB, and at most 256 MiB are read: make it smaller"
    assert "no file but a pipe" in why["cat/pipe.png"] and "exceeds limit" in why["dog/bomb.png"]


def test_a_table_of_another_length_is_not_read_to_say_so(project):
    place = table(project / "claims.csv")
    card = card_of(place, label="label")
    with open(place, "r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=rf"has changed since it was imported \(\d+ bytes then, {1 << 40} now\)"):
        local_cards.checked_file(card)
    with pytest.raises(DataError, match=r"MiB of memory are free: import a part of its rows"):
        card_of(place, label="label")


def test_why_an_image_is_left_out_is_the_same_at_each_import(project):
    """No address in memory, though the decoder was given bytes; and no bracket of a folder's name is taken for it."""
    folder = images(project / "pets (2)", ["cat", "dog"])
    (folder / "cat" / "03.png").write_bytes(b"no image at all")
    with pytest.raises(DataError, match=r"cat/03.png \(cannot identify image file\); get them again"):
        card_of(folder)
    card = card_of(folder, skip_unreadable=True)
    assert card["dropped"] == [{"name": "cat/03.png", "why": "cannot identify image file"}]
    assert imported(folder, Asked(skip_unreadable=True)).was_there


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"label": "x"},
            "--label does not go with a folder, pets: the labels of images are the names of their",
        ),
        ({"drop": ("x",)}, "--drop does not go with a folder"),
        ({"side": 4}, "--side is 4; images are brought to 8 to 512 pixels a side"),
        ({"test": 0.0}, "--test is 0; it is the share"),
    ],
)
def test_what_is_asked_of_a_folder_and_cannot_be(project, asked, said):
    images(project / "pets", ["cat", "dog"])
    with pytest.raises(ConfigError, match=said):
        imported(Path("pets"), Asked(**asked))


def test_what_memory_does_not_hold_is_refused(project, monkeypatch):
    images(project / "pets", ["cat", "dog"])
    monkeypatch.setattr(memory, "left", lambda: 100_000)
    with pytest.raises(DataError, match=r"24 images of 32 x 32 take 0 MiB, .*; use a smaller --side"):
        card_of(project / "pets")
    card_of(project / "pets", side=16)


def test_an_image_or_a_list_that_changed_is_refused(project):
    card = card_of(images(project / "pets", ["cat", "dog"]))
    path = project / "pets" / "cat" / "03.png"
    before = path.read_bytes()
    Image.new("RGB", (9, 9)).save(path)
    with pytest.raises(DataError, match=r"cat/03.png has changed since it was imported.*put the old file back"):
        read(card)
    path.rename(project / "03.png")
    with pytest.raises(DataError, match=r"cat/03.png cannot be read \(No such file or directory\); put it back"):
        read(card)
    path.write_bytes(before)
    read(card)
    with open(local_cards.list_of(card), "a") as file:
        file.write("\n")
    with pytest.raises(DataError, match=r"pets.files.csv has changed since it was imported"):
        read(card)


def test_nothing_is_overwritten(project):
    folder = images(project / "pets", ["cat", "dog"])
    card = card_of(folder)
    assert imported(folder, Asked()).was_there
    images(folder, ["bird"])
    before = {path.name: path.read_bytes() for path in (project / "data/local").iterdir()}
    with pytest.raises(ConfigError, match=r"nothing was written.*--name pets-2$"):
        card_of(folder)
    assert {path.name: path.read_bytes() for path in (project / "data/local").iterdir()} == before
    assert list(before) and card_of(folder, name="pets-2")["label"]["classes"] != card["label"]["classes"]


def test_a_card_without_its_list_gets_it_again(project):
    card = card_of(images(project / "pets", ["cat", "dog"]))
    os.remove(local_cards.list_of(card))
    with pytest.raises(DataError, match=r"pets.files.csv is missing"):
        read(card)
    assert not imported(project / "pets", Asked()).was_there
    read(card)


def test_planning_knows_the_sizes(project):
    card = card_of(images(project / "pets", ["cat", "dog"]))
    block = {"dataset": "folder", "options": local_cards.options_of(card), "split": SPLIT, "scale_inputs": "centred",
             "augment": "none"}  # fmt: skip
    assert sizes.training_sizes(block) == card["sizes"]["train"]["classes"]
    inputs.check(block, "here")
    crop = {"crop_padding": 40, "padding": "zero", "flip": False, "rotation_degrees": 0.0}
    with pytest.raises(ConfigError, match="images of pets are 32 pixels wide; lower it"):
        inputs.check(block | {"augment": crop}, "here")
    with pytest.raises(ConfigError, match="standardised is for features, and pets has images"):
        inputs.check(block | {"scale_inputs": "standardised"}, "here")
    with pytest.raises(ConfigError, match="moments of 1 channels, images of pets have 3"):
        inputs.check(block | {"scale_inputs": {"mean": [0.5], "std": [0.5]}}, "here")


def test_an_audit_says_that_the_listed_images_are_elsewhere(project):
    """The list beside the card may be there without them, as in an unpacked crate."""
    folder = images(project / "pets", ["cat", "dog"])
    options = local_cards.options_of(card_of(folder))
    split = {"path": "data/splits/none", "digest": "", "recipe_digest": ""}
    body = {"spec": {"data": {"dataset": "folder", "options": options}}, "split": split,
            "raw": local_cards.source_file("folder", options)["files"]}  # fmt: skip
    body["raw"] = [{**file, "dataset": "folder", "edition": "local"} for file in body["raw"]]

    def links():
        return list(check_sources({"local/pets/by-class/as-is/none/seed0": body}, project, from_raw=False))

    assert [link.state for link in links() if link.kind == "raw"] == ["intact"]
    folder.rename(project / "moved")
    (link,) = [link for link in links() if link.kind == "raw"]
    assert link.state == "unverifiable"
    assert link.detail.startswith("the images that it lists are not at pets, where data/local/pets.yaml says")


def test_a_table_is_no_folder(project):
    card = card_of(table(project / "a.csv"))
    assert card["side"] is card["files"] is None
