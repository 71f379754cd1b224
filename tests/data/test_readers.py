"""Readers: real bytes where the project has them, a few generated files in the real layout where it has not."""

import json
import os
import pickle

import numpy as np
import pytest
from support import needs
from support.needs import MIRROR_FOLDER
from support.project import ROOT

from reweigh.data import load, manifest
from reweigh.data.readers import cifar10, cifar100
from reweigh.errors import ConfigError, DataError


def test_mnist_is_mnist(raw_root):
    raw = load.read("mnist", {}, raw_root)
    assert (raw.train_inputs.shape, raw.train_inputs.dtype) == ((60000, 1, 28, 28), np.uint8)
    assert (raw.test_inputs.shape, raw.test_labels.dtype) == ((10000, 1, 28, 28), np.int64)
    assert np.bincount(raw.train_labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(raw.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert raw.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert abs(raw.train_inputs.mean() / 255 - 0.1307) < 1e-4
    assert raw.class_names[4] == "4"


def test_mnist_refuses_other_bytes(tmp_path, raw_root):
    with pytest.raises(DataError, match=r"get it with: reweigh fetch mnist$"):
        load.read("mnist", {}, tmp_path)
    (tmp_path / "mnist").mkdir()
    for path in (raw_root / "mnist").glob("t*"):
        (tmp_path / "mnist" / path.name).symlink_to(path)
    labels = tmp_path / "mnist" / "train-labels-idx1-ubyte"
    content = labels.read_bytes()
    labels.unlink()
    labels.write_bytes(content[:-1])
    with pytest.raises(DataError, match="not an idx file"):
        load.read("mnist", {}, tmp_path)


def test_adult_has_the_papers_numbers(adult):
    assert adult.train_inputs.shape == (30162, 104)
    assert adult.test_inputs.shape == (15060, 104)
    assert adult.train_inputs.dtype == np.float32
    assert np.bincount(adult.train_groups).tolist() == [9782, 20380]
    assert np.bincount(adult.test_groups).tolist() == [4913, 10147]
    assert np.bincount(adult.train_labels).tolist() == [22654, 7508]
    above = [int(adult.train_labels[adult.train_groups == group].sum()) for group in (0, 1)]
    assert above == [1112, 6396]
    assert (adult.class_names, adult.group_names) == (("<=50K", ">50K"), ("female", "male"))


def test_adult_columns_are_standardised_and_one_hot(adult):
    continuous, hot = adult.train_inputs[:, :6].astype(np.float64), adult.train_inputs[:, 6:]
    assert np.allclose(continuous.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(continuous.std(axis=0), 1, atol=1e-3)
    assert set(np.unique(hot)) == {0.0, 1.0}
    assert (hot.sum(axis=1) == 8).all()
    assert (adult.test_inputs[:, 6:].sum(axis=1) == 8).all()
    assert np.allclose(continuous[0], [0.0428, -1.0627, 1.1289, 0.1461, -0.2186, -0.0777], atol=1e-4)


def test_adult_without_sex_lacks_exactly_its_columns(adult, raw_root):
    without = load.read("adult", {"drop_sex": True}, raw_root)
    assert without.train_inputs.shape == (30162, 102)
    assert np.array_equal(without.train_groups, adult.train_groups)
    sexes = {tuple(column) for column in (adult.train_groups == 0, adult.train_groups == 1)}
    dropped = [k for k in range(104) if tuple(adult.train_inputs[:, k] == 1) in sexes]
    assert len(dropped) == 2
    assert np.array_equal(np.delete(adult.train_inputs, dropped, axis=1), without.train_inputs)


def test_adult_refuses_another_table(tmp_path):
    (tmp_path / "adult").mkdir()
    (tmp_path / "adult" / "adult.data").write_text("39, Private\n")
    (tmp_path / "adult" / "adult.test").write_text("")
    with pytest.raises(DataError, match="not a table of 15"):
        load.read("adult", {}, tmp_path)


def test_the_slice_holds_what_it_says(raw_root):
    raw = load.read("cifar10-slice", {}, raw_root)
    assert raw.edition == "slice"
    assert np.bincount(raw.train_labels).tolist() == [205, 172, 145, 122, 220, 88, 74, 63, 53, 800]
    assert np.bincount(raw.test_labels).tolist() == [40, 40, 40, 40, 200, 40, 40, 40, 40, 200]
    assert raw.train_inputs.shape == (1942, 3, 32, 32)
    assert raw.class_names == cifar10.CLASSES


def test_scrambling_is_one_permutation_that_leaves_two_bytes(raw_root):
    places = np.arange(3072).reshape(1, 3, 32, 32)
    scrambled = cifar10.scramble(places)
    assert (scrambled == places).sum() == 2
    assert sorted(scrambled.ravel().tolist()) == list(range(3072))
    plain, mixed = (load.read("cifar10-slice", {"scrambled": flag}, raw_root) for flag in (False, True))
    images = plain.train_inputs.reshape(len(plain.train_inputs), -1)
    assert np.array_equal(mixed.train_inputs.reshape(images.shape), images[:, scrambled.ravel()])
    as_written = plain.test_inputs[3].transpose(1, 2, 0).tobytes()
    assert mixed.test_inputs[3].tobytes() == as_written


@pytest.fixture
def cifar10_sizes(monkeypatch):
    """Two images a batch instead of 10,000."""
    monkeypatch.setattr(cifar10, "TRAIN_SIZE", 10)
    monkeypatch.setattr(cifar10, "TEST_SIZE", 2)


def write_batches(folder, images, labels):
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(cifar10.BATCHES):
        part = slice(2 * k, 2 * k + 2)
        batch = {"data": images[part].reshape(2, 3072), "labels": labels[part].tolist(), "filenames": ["a", "b"]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))


def test_both_editions_of_cifar10_read_alike_and_say_which(tmp_path, cifar10_sizes):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)
    labels = draw.integers(0, 10, 12, dtype=np.uint8)
    folder = tmp_path / "cifar10"
    folder.mkdir()
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    rebuilt = load.read("cifar10", {}, tmp_path)
    write_batches(folder, images, labels)
    (folder / "test_batch").rename(folder / "aside")
    assert load.read("cifar10", {}, tmp_path).edition == "reconstruction"
    (folder / "aside").rename(folder / "test_batch")
    official = load.read("cifar10", {}, tmp_path)
    assert (rebuilt.edition, official.edition) == ("reconstruction", "official")
    for name in ("train_inputs", "train_labels", "test_inputs", "test_labels"):
        assert np.array_equal(getattr(rebuilt, name), getattr(official, name))
    assert len(official.train_inputs) == 10
    assert np.array_equal(official.train_inputs, images[:10])


def test_a_pickle_that_would_run_something_is_refused(tmp_path, cifar10_sizes):
    images = np.zeros((12, 3, 32, 32), np.uint8)
    write_batches(tmp_path / "cifar10", images, np.zeros(12, np.uint8))

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    (tmp_path / "cifar10" / "data_batch_3").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="not a batch of CIFAR"):
        load.read("cifar10", {}, tmp_path)
    assert not (tmp_path / "exploded").exists()
    (tmp_path / "cifar10" / "data_batch_3").write_bytes(b"rubbish")
    with pytest.raises(DataError, match="not a batch of CIFAR"):
        load.read("cifar10", {}, tmp_path)


def test_cifar100_reads_its_layout(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar100, "SIZES", {"train": 3, "test": 3})
    folder = tmp_path / "cifar100"
    folder.mkdir()
    data = np.arange(3 * 3072, dtype=np.int64).astype(np.uint8).reshape(3, 3072)
    for part in ("train", "test"):
        batch = {"data": data, "fine_labels": [3, 99, 0], "coarse_labels": [1, 2, 3]}
        (folder / part).write_bytes(pickle.dumps(batch, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"class {k}" for k in range(100)]}, protocol=2))
    raw = load.read("cifar100", {}, tmp_path)
    assert raw.train_labels.tolist() == [3, 99, 0]
    assert np.array_equal(raw.test_inputs, data.reshape(3, 3, 32, 32))
    assert raw.class_names[99] == "class 99"
    (folder / "test").write_bytes(pickle.dumps({"labels": [1]}))
    with pytest.raises(DataError, match="not images of 32 x 32 pixels with fine_labels"):
        load.read("cifar100", {}, tmp_path)


@needs.MIRROR
def test_cifar_of_the_mirror(tmp_path):
    for name, classes, edition in (("cifar10", 10, "reconstruction"), ("cifar100", 100, "official")):
        receipt = manifest.ensure(name, tmp_path, MIRROR_FOLDER, ROOT / "data" / "manifest.yaml")
        raw = load.read(name, {}, tmp_path)
        assert raw.edition == receipt["edition"] == edition
        assert np.bincount(raw.train_labels).tolist() == [50000 // classes] * classes
        assert np.bincount(raw.test_labels).tolist() == [10000 // classes] * classes
        assert raw.train_inputs.shape == (50000, 3, 32, 32)
    assert len(json.loads((tmp_path / "cifar10" / "inexact.json").read_text())["items"]) == 92


def composite(path, pixels, bits=4):
    """A palette PNG in the layout of the archive, 6,000 x 2,600, with `bits` a pixel."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.putpalette([value for colour in range(2**bits) for value in (colour, 0, 0)])
    picture.save(path, bits=bits)


@pytest.mark.parametrize(("bits", "colour"), [(4, 12), (8, 19)])
def test_nexrad_reads_composites_of_the_archive(tmp_path, bits, colour):
    folder = tmp_path / "nexrad"
    folder.mkdir()
    pixels = np.zeros((2600, 6000), np.uint8)
    composite(folder / "n0r_200812312355.png", pixels, bits)
    pixels[50:100, 30 + 2 * 33 : 30 + 3 * 33] = colour
    composite(folder / "n0r_200805241020.png", pixels, bits)
    composite(folder / "n0r_200906010000.png", pixels, bits)
    assert (folder / "n0r_200906010000.png").read_bytes()[24] == bits
    rows = ("200805241020.png,1", "200906010000.png,1", "200812312355.png,0")
    (folder / "labels.csv").write_text("\n".join(["file,label", *(f"n0r_{row}" for row in rows)]) + "\n")
    raw = load.read("nexrad", {}, tmp_path)
    assert raw.train_inputs.shape == (2, 1, 52, 180)
    assert (raw.train_labels.tolist(), raw.test_labels.tolist()) == ([1, 0], [1])
    assert raw.train_inputs[0, 0, 1, 2] == 60 * 255 / 75
    assert raw.train_inputs[0].astype(int).sum() == 60 * 255 / 75
    assert raw.train_inputs[1].max() == 0
    assert np.array_equal(raw.test_inputs[0], raw.train_inputs[0])


def test_nexrad_says_that_its_labels_were_never_published(tmp_path):
    with pytest.raises(DataError, match="never published"):
        load.read("nexrad", {}, tmp_path)
    with pytest.raises(DataError, match="never published"):
        manifest.ensure("nexrad", tmp_path, "", ROOT / "data" / "manifest.yaml")
    folder = tmp_path / "nexrad"
    contents = ("picture,label\na.png,1\n", "file,label\n", "file,label\nn0r_2008.png,2\n", "file,label\na.png,1\n")
    for content in contents:
        (folder / "labels.csv").write_text(content)
        with pytest.raises(DataError, match=r"labels\.csv: .*(columns file,label and labels 0 or 1|lists no picture)"):
            load.read("nexrad", {}, tmp_path)
    (folder / "labels.csv").write_text("file,label\nn0r_200805241020.png,1\n")
    with pytest.raises(DataError, match=r"listed in labels\.csv but missing"):
        load.read("nexrad", {}, tmp_path)
    (folder / "n0r_200805241020.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture at all")
    with pytest.raises(DataError, match="not a picture that can be read"):
        load.read("nexrad", {}, tmp_path)


def test_unknown_readers_and_options_are_one_line(tmp_path):
    with pytest.raises(ConfigError, match="no reader for the data set"):
        load.read("imdb", {}, tmp_path)
    with pytest.raises(
        ConfigError, match=r"adult: unknown reader option 'drop_race'; known: drop_sex, cells, official_validation$"
    ):
        load.read("adult", {"drop_race": True}, tmp_path)
