"""Damaged files: every reader either refuses one in a line that helps, or reads content that is valid; nothing else."""

import io
import lzma
import pickle
import shutil
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support import image_layouts, molere_layouts, small_sets
from support.image_layouts import noise
from support.project import ROOT

from reweigh.data import load, manifest, mosaic, transforms
from reweigh.data.arrays import Part, Split
from reweigh.data.readers import pickled
from reweigh.errors import DataError

DATASETS = (
    *("mnist", "adult", "cifar10", "cifar10-arrays", "cifar100", "cifar10n", "cifar100n", "cifar100-slice"),
    *("cifar10-slice-large", "cifar10n-slice", "imagenet", "imagenet-100", "imagenet-lt", "places-lt"),
    *("inaturalist2018", "clothing1m", "webvision", "camelyon17", "iwildcam", "nexrad"),
    *("waterbirds", "waterbirds-official", "waterbirds-images", "waterbirds-small", *molere_layouts.DATASETS),
)
IMAGES_OF = {"cifar10n": "cifar10", "cifar10n-slice": "cifar10-slice-large", "cifar100n": "cifar100"}
PICTURES = {".png", ".jpg", ".jpeg", ".JPEG"}


class Sets:
    """All small data sets below one folder, to be damaged a file at a time."""

    def __init__(self, root):
        self.root = root
        self.files = {name: self._files(name) for name in DATASETS}

    def _files(self, name):
        """What the reader of a data set reads, with what it needs beside it; no pictures, but those that it opens."""
        below = (name, IMAGES_OF[name]) if name in IMAGES_OF else (name,)
        found = (path for folder in below for path in sorted((self.root / folder).rglob("*")) if path.is_file())
        pictures = PICTURES if name not in ("nexrad", "imagenet", *molere_layouts.FOLDERS) else set()
        unread = image_layouts.UNREAD | molere_layouts.UNREAD
        return [path for path in found if path.suffix not in pictures and not unread & {path.name, path.parent.name}]

    def read(self, name):
        """What the reader says of a data set, and of the pictures that it left on disk: valid, or DataError."""
        where, dataset = {
            "cifar10-arrays": (self.root / name, "cifar10"),
            "waterbirds-official": (self.root / name, "waterbirds"),
        }.get(name, (self.root, name))
        check(load.read(dataset, {}, where))

    def damaged(self, name, path, content):
        """The DataError that a file with this content leads to; None if it reads as valid content."""
        before = path.read_bytes()
        try:
            path.write_bytes(content)
            self.read(name)
        except DataError as error:
            said = str(error)
            assert "\n" not in said and len(said) < 600
            return said
        finally:
            path.write_bytes(before)
        return None


def check(raw):
    """Raw data is what it should be: labels and groups in their range, as many as there are inputs."""
    for part in ("train", "test"):
        inputs, labels = getattr(raw, f"{part}_inputs"), getattr(raw, f"{part}_labels")
        groups = getattr(raw, f"{part}_groups")
        assert len(inputs) == len(labels) > 0 and labels.dtype == np.int64
        assert labels.min() >= 0 and labels.max() < len(raw.class_names)
        if groups is not None:
            assert len(groups) == len(labels) and groups.min() >= 0 and groups.max() < len(raw.group_names)
        if isinstance(inputs, np.ndarray):
            assert inputs.dtype in (np.uint8, np.float32) and np.isfinite(inputs).all()
        else:
            data = {"augment": "none", "scale_inputs": "none"}
            part_of = inputs.part(
                Part(np.arange(len(labels), dtype=np.int32), labels, labels), data, torch.device("cpu")
            )
            assert len(part_of) == len(labels)
            assert inputs.pixels(0).shape == (3, inputs.side, inputs.side)


@pytest.fixture(scope="module")
def sets(tmp_path_factory, raw_root):
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("sets")
        made = small_sets.make(root, raw_root, patch)
        assert set(made) == set(DATASETS)
        yield Sets(root)


# --- any damage ------------------------------------------------------------------------------------------------------

TOKENS = (
    b"-1",
    b"10",
    b"182",
    b"99999999999999999999",
    b"1e5",
    b"nan",
    b"unknown",
    b"?",
    b"",
    b"\xff",
    "é".encode(),
    b"\0",
)


@st.composite
def damages(draw):
    """A function (content, the contents of other files) -> damaged content, and what it does."""
    kind = draw(
        st.sampled_from(["cut", "flip", "mark", "drop", "insert", "double", "empty", "other", "token", "line", "utf16"])
    )
    at, value = draw(st.floats(0, 1)), draw(st.integers(1, 255))
    some = draw(st.binary(min_size=1, max_size=8))
    token, number = draw(st.sampled_from(TOKENS)), draw(st.integers(0, 10**6))

    def place(content):
        return int(at * max(len(content) - 1, 0)) if number % 3 else min(number % 160, max(len(content) - 1, 0))

    def replaced(content):
        """A field of a line is replaced."""
        lines = content.split(b"\n")
        line = lines[number % len(lines)]
        mark = b"," if b"," in line else b" "
        fields = line.split(mark)
        fields[int(at * (len(fields) - 1))] = token
        lines[number % len(lines)] = mark.join(fields)
        return b"\n".join(lines)

    def lines_changed(content):
        lines = content.split(b"\n")
        k = number % len(lines)
        return b"\n".join(lines[:k] + (lines[k + 1 :] if value % 2 else [lines[k], *lines[k:]]))

    def changed(content, others):
        k = place(content)
        return {
            "cut": lambda: content[:k],
            "flip": lambda: content[:k] + bytes([content[k] ^ value]) + content[k + 1 :] if content else b"x",
            "mark": lambda: b"\xef\xbb\xbf" + content,
            "drop": lambda: content[:k] + content[k + value % 9 + 1 :],
            "insert": lambda: content[:k] + some + content[k:],
            "double": lambda: content + content,
            "empty": lambda: b"",
            "other": lambda: others[number % len(others)],
            "token": lambda: replaced(content),
            "line": lambda: lines_changed(content),
            "utf16": lambda: content.decode("latin1").encode("utf-16"),
        }[kind]()

    return kind, changed


@pytest.mark.parametrize("name", DATASETS)
def test_any_damage_is_refused_in_one_line_or_reads_as_valid_content(sets, name):
    sets.read(name)
    files = sets.files[name]
    others = [path.read_bytes() for paths in sets.files.values() for path in paths]

    @settings(max_examples=120, deadline=None, derandomize=True, database=None)
    @given(damages(), st.integers(0, 1000))
    def damaged(damage, number):
        kind, changed = damage
        path = files[number % len(files)]
        before = path.read_bytes()
        after = changed(before, others)
        said = sets.damaged(name, path, after)
        if kind in ("mark", "empty") and path.suffix not in PICTURES:
            assert said

    for path in files:
        if path.suffix not in PICTURES or name == "nexrad":
            assert sets.damaged(name, path, b"\xff"), path  # it is read
    damaged()
    sets.read(name)  # and all is as it was


# --- damage by name --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_an_idx_file_cut_anywhere_is_refused(sets, file):
    path = sets.root / "mnist" / file
    content = path.read_bytes()
    for size in (*range(24), len(content) - 1):
        if size < len(content):
            assert "not an idx file" in sets.damaged("mnist", path, content[:size]), size
    for place in range(8 if "labels" in file else 16):
        for value in (1, 0x80, 0xFF):
            spoiled = bytearray(content)
            spoiled[place] ^= value
            assert sets.damaged("mnist", path, bytes(spoiled)), place
    assert sets.damaged("mnist", path, content + b"\0")


def test_a_digit_that_is_none_is_refused(sets):
    path = sets.root / "mnist" / "train-labels-idx1-ubyte"
    assert "a label that is no digit" in sets.damaged("mnist", path, path.read_bytes()[:-1] + b"\x0a")


@pytest.mark.parametrize("name", ["cifar10/data_batch_2", "cifar100/meta", "cifar10n/CIFAR-10_human.pt"])
def test_a_pickle_with_one_byte_changed_is_refused_or_read_without_waste(sets, tmp_path, name):
    """Every byte but most pixels: nothing else is raised, and no memory taken for what is not there."""
    load = pickled.load_saved if name.endswith(".pt") else pickled.load
    content = (sets.root / name).read_bytes()
    places = [place for place in range(len(content)) if place < 200 or place > len(content) - 200 or place % 61 == 0]
    tracemalloc.start()
    for place in places:
        for value in (0x03, 0x80):  # 3 turns the opcode of a short memo place into that of a long one
            spoiled = bytearray(content)
            spoiled[place] ^= value
            (tmp_path / "file").write_bytes(bytes(spoiled))
            found, said = outcome(load, tmp_path / "file")
            assert said or isinstance(found, dict)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_a_pickle_cannot_ask_for_memory_that_its_file_does_not_have(tmp_path):
    bomb = b"\x80\x02}q\x00X\x01\x00\x00\x00ar\xff\xff\xff\x7fK\x01s."  # puts "a" at place 2³¹ of the memo
    (tmp_path / "bomb").write_bytes(bomb)
    tracemalloc.start()
    assert pickled.load(tmp_path / "bomb") == {"a": 1}
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    for shape in ((-1,), (5,), (2**40,)):
        (tmp_path / "bomb").write_bytes(pickle.dumps({"data": Claims(shape)}, protocol=2))
        with pytest.raises(DataError, match="not a batch of CIFAR"):
            pickled.load(tmp_path / "bomb")


class Claims:
    """Pickled, an array of four bytes that says it is of another shape."""

    def __init__(self, shape):
        self.shape = shape

    def __reduce__(self):
        reconstruct, arguments, _ = np.zeros(4, np.uint8).__reduce__()
        return reconstruct, arguments, (1, self.shape, np.dtype("u1"), False, b"abcd")


def test_pickled_arrays_are_numpys(tmp_path):
    arrays = {
        "bytes": np.arange(12, dtype=np.uint8).reshape(3, 4),
        "numbers": np.arange(-3, 5),
        "big": np.arange(5, dtype=">i4"),
        "small": np.arange(5, dtype=np.int16)[::2],
    }
    for protocol in (1, 2, 4):
        (tmp_path / "file").write_bytes(pickle.dumps(arrays, protocol=protocol))
        for name, values in pickled.load(tmp_path / "file").items():
            assert np.array_equal(values, arrays[name]) and values.dtype == arrays[name].dtype
    for wrong in (np.zeros(3), np.array(["a"]), np.array([{}], object), np.asfortranarray(np.zeros((2, 2), np.uint8))):
        (tmp_path / "file").write_bytes(pickle.dumps({"data": wrong}, protocol=2))
        with pytest.raises(DataError):
            pickled.load(tmp_path / "file")


@pytest.mark.parametrize(
    ("dataset", "file", "other"),
    [
        ("cifar10", "data_batch_1", "cifar100/train"),
        ("cifar10", "test_batch", "cifar100/meta"),
        ("cifar100", "train", "cifar10/data_batch_1"),
        ("cifar100", "train", "cifar100/test"),
        ("cifar100", "meta", "cifar10/test_batch"),
        ("cifar10n", "CIFAR-10_human.pt", "cifar100n/CIFAR-100_human.pt"),
        ("cifar10-arrays", "cifar10/images.npy", "cifar100-slice/images.npy"),
        ("cifar10-arrays", "cifar10/labels.npy", "cifar100-slice/images.npy"),
        ("cifar100-slice", "images.npy", "cifar10-slice-large/more.npy"),
        ("cifar100-slice", "examples.csv", "cifar10-slice-large/examples.csv"),
        ("mnist", "train-images-idx3-ubyte", "mnist/t10k-images-idx3-ubyte"),
        ("mnist", "t10k-labels-idx1-ubyte", "mnist/train-labels-idx1-ubyte"),
        ("adult", "adult.data", "adult/adult.test"),
        ("iwildcam", "metadata.csv", "camelyon17/metadata.csv"),
        ("inaturalist2018", "val2018.json", "iwildcam/metadata.csv"),
    ],
)
def test_a_file_of_another_data_set_is_refused(sets, dataset, file, other):
    assert sets.damaged(dataset, sets.root / dataset / file, (sets.root / other).read_bytes())


@pytest.mark.parametrize(
    ("dataset", "file", "old", "new"),
    [
        ("adult", "adult.data", b"<=50K", b"<=60K"),
        ("adult", "adult.data", b" Male", b" Mole"),
        ("adult", "adult.test", b" Private", b" Privat"),
        ("adult", "adult.data", b"\n", b"\n\xff"),
        ("adult", "adult.data", b"39", b"9" * 400),
        ("adult", "adult.data", b"39", b"3_9x"),
        ("cifar100-slice", "examples.csv", b"train,11,1", b"train,11,-1"),
        ("cifar100-slice", "examples.csv", b"train,11,1", b"train,11,20"),
        ("cifar100-slice", "examples.csv", b"train,11,1", b"dev,11,1"),
        ("cifar100-slice", "examples.csv", b"train,11,1", b"train,11"),
        ("cifar10-slice-large", "examples.csv", b"train,10,0,9", b"train,10,0,-1"),
        ("cifar10-slice-large", "examples.csv", b"train,10,0,9\n", b""),
        ("imagenet-lt", "ImageNet_LT_train.txt", b" 0\n", b" 99999999999999999999\n"),
        ("imagenet-lt", "ImageNet_LT_train.txt", b" 0\n", b" no\n"),
        ("webvision", "info/train_filelist_google.txt", b" 2\n", b" 3\n"),
        ("clothing1m", "noisy_label_kv.txt", b" 5\n", b" 14\n"),
        ("camelyon17", "metadata.csv", b",2,1,0\r", b",2,5,0\r"),
        ("iwildcam", "metadata.csv", b"train,0,0", b"trains,0,0"),
        ("iwildcam", "metadata.csv", b"train,0,0", b"train,0,182"),
        ("iwildcam", "metadata.csv", b"train,0,0", b"train,99999999999,0"),
        ("inaturalist2018", "train2018.json", b'"file_name": "', b'"file_name": "\\ud800'),
        ("inaturalist2018", "train2018.json", b'"file_name": "train', b'"file_name": 7, "x": "'),
        ("inaturalist2018", "train2018.json", b"{", b'{"x": ' + b"[" * 100000),
        ("imagenet-100", "imagenet100.txt", b"n01443537", b"n01440764"),
        ("nexrad", "labels.csv", b"0524", b"052\x00"),
        ("nexrad", "labels.csv", b",1\n", b",2\n"),
        ("nexrad", "labels.csv", b"n0r_2009", b"n0r_2007"),
    ],
)  # fmt: skip
def test_an_unknown_label_or_value_is_refused(sets, dataset, file, old, new):
    path = sets.root / dataset / file
    content = path.read_bytes()
    assert old in content, content[:300]
    said = sets.damaged(dataset, path, content.replace(old, new, 1))
    assert said and (dataset in said)


def outcome(read, content, refusal=DataError):
    """What reading comes to, or how it is refused; nothing else may be raised."""
    try:
        return read(content), None
    except refusal as error:
        return None, str(error)


# --- what readers are made of ----------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, derandomize=True)
@given(damages(), st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP"]))
def test_damaged_pictures_are_refused_or_decoded(tmp_path_factory, damage, form):
    folder = tmp_path_factory.getbasetemp() / "damaged-pictures"
    folder.mkdir(exist_ok=True)
    stream = io.BytesIO()
    Image.fromarray(noise(1, (24, 20))).save(stream, form)
    (folder / "picture").write_bytes(damage[1](stream.getvalue(), [b"GIF89a", b"\x89PNG\r\n\x1a\n"]))
    picture, said = outcome(transforms.decoded, folder / "picture")
    assert said is None or "\n" not in said
    assert said or picture.mode == "RGB"


MOSAIC = mosaic.encode(np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8), 3)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(damages())
def test_damaged_mosaics_are_refused_or_decoded(tmp_path_factory, damage):
    path = tmp_path_factory.getbasetemp() / "mosaic.webp"
    path.write_bytes(damage[1](MOSAIC, [b"RIFF\x08\0\0\0WEBP"]))
    tiles, said = outcome(mosaic.decode, path)
    assert str(path) in said if said else np.load(io.BytesIO(tiles)).shape[1:] == (3, 32, 32)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(damages())
def test_a_damaged_split_is_a_value_error(damage):
    part = Part(np.arange(4, dtype=np.int32), np.arange(4) % 2, np.arange(4) % 2)
    content = Split(part, part, part, part, ("a", "b"), ("a", "b")).to_bytes()
    split, said = outcome(Split.from_bytes, damage[1](content, [b"PK\x03\x04"]), refusal=ValueError)
    assert "not a split" in said if said else isinstance(split, Split)


@pytest.mark.parametrize("file", ["images.npy.webp", "examples.csv.xz"])
def test_a_damaged_embedded_file_is_never_taken(tmp_path, file):
    shutil.copytree(ROOT / "data" / "embedded" / "cifar100-slice", tmp_path / "embedded" / "cifar100-slice")
    shutil.copy(ROOT / "data" / "manifest.yaml", tmp_path)
    path = tmp_path / "embedded" / "cifar100-slice" / file
    content = path.read_bytes()
    for spoiled in (content[:-9], content[:7], b"", content[:40] + b"\xff\xff" + content[42:], lzma.compress(b"x")):
        path.write_bytes(spoiled)
        with pytest.raises(DataError):
            manifest.ensure("cifar100-slice", tmp_path / "raw", mirror="", manifest=tmp_path / "manifest.yaml")


def test_an_archive_of_torch_holds_one_pickle(tmp_path):
    with zipfile.ZipFile(tmp_path / "two.pt", "w") as archive:
        for name in ("a/data.pkl", "b/data.pkl"):
            archive.writestr(name, pickle.dumps({}))
    with pytest.raises(DataError, match="saved by torch"):
        pickled.load_saved(tmp_path / "two.pt")
