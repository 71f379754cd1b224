"""Data sets that travel: images come back bit for bit, rows keep their places, what is absent or damaged is named."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.project import ROOT

from reweigh import canonical_json
from reweigh.config import loading
from reweigh.data import image_codec, load, packed, packing
from reweigh.data.batches import DevicePart
from reweigh.data.obtain import obtain, split_path
from reweigh.errors import DataError

RUN = "smoke/tdr/cifar10-4v9-convnet/rho0.3/none/seed0"


@settings(max_examples=30)
@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(0, 4), st.sampled_from((1, 3, 4)), st.integers(1, 6), st.integers(1, 6)),
    )
)
def test_images_come_back_bit_for_bit(images):
    assert np.array_equal(image_codec.decode(image_codec.encode(images), images.shape), images)


def test_real_images_take_few_bytes(raw_root):
    images = load.read("cifar10-slice", root=raw_root).train_inputs
    content = image_codec.encode(images)
    assert np.array_equal(image_codec.decode(content, images.shape), images)
    assert len(content) / len(images) < 1750


@given(st.binary(max_size=60))
def test_anything_else_is_refused(content):
    with pytest.raises(DataError):
        image_codec.decode(content, (1, 3, 32, 32))


@pytest.fixture(scope="module")
def home(tmp_path_factory, raw_root):
    """A project in which a run's rows were packed; the run's spec."""
    place = tmp_path_factory.mktemp("project")
    (place / "data").mkdir()
    shutil.copy(ROOT / "data" / "manifest.yaml", place / "data")
    (place / "data" / "raw").symlink_to(raw_root)
    spec = loading.resolve(RUN, root=ROOT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        packing.write([spec], place / "packed")
    return place, spec


@pytest.fixture
def there(home, tmp_path, monkeypatch):
    """The packed folder on a machine that has nothing else; the folder, the spec, and its split."""
    place, spec = home
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data" / "manifest.yaml", tmp_path / "data")
    shutil.copytree(place / "packed", tmp_path / "packed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWEIGH_PACKED", "packed")
    monkeypatch.setenv("REWEIGH_MIRROR", "")
    packed.place_split(split_path(spec))
    return tmp_path / "packed", spec, obtain(spec)


def test_the_rows_that_a_split_uses_are_those_of_the_whole(there, raw_root):
    _, _, split = there
    whole, travelled = load.read("cifar10-slice", root=raw_root), packed.read("cifar10-slice", {})
    assert travelled.train_inputs.shape == whole.train_inputs.shape
    for name, inputs in (("train", whole.train_inputs), ("target", whole.train_inputs), ("test", whole.test_inputs)):
        part = getattr(split, name)
        ours = travelled.test_inputs if name == "test" else travelled.train_inputs
        assert np.array_equal(ours[part.index], inputs[part.index])
    assert np.array_equal(travelled.train_labels, whole.train_labels) and travelled.class_names == whole.class_names
    device = DevicePart(travelled.train_inputs, split.train, "centred", "cpu")
    assert len(device) == len(split.train) and device.input_shape == (3, 32, 32)


def test_a_row_that_did_not_travel_is_refused(there):
    _, _, split = there
    inputs = packed.read("cifar10-slice", {}).train_inputs
    used = {*split.train.index, *split.target.index, *split.validation.index}
    absent = next(row for row in range(len(inputs)) if row not in used)
    with pytest.raises(DataError, match=f"1 of 2 rows did not travel, row {absent} first"):
        inputs[np.array([int(split.train.index[0]), absent])]


def test_other_data_sets_and_options_are_read_as_ever(there, monkeypatch):
    assert packed.read("mnist", {}) is None
    assert packed.read("cifar10-slice", {"scrambled": True}) is None
    assert packed.sources([{"source": "mirror"}], "mnist", {}) == [{"source": "mirror"}]
    assert packed.sources([{"source": "mirror", "name": "a"}], "cifar10-slice", {}) == [
        {"source": "packed", "name": "a"}
    ]
    monkeypatch.delenv("REWEIGH_PACKED")
    assert packed.read("cifar10-slice", {}) is None


def test_damage_is_named(there):
    folder, _, _ = there
    chunk = next(folder.glob("*-train-0.xz"))
    content = bytearray(chunk.read_bytes())
    content[100] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(DataError, match=f"{chunk.name}: sha256 .* send it again"):
        packed.read("cifar10-slice", {})
    chunk.unlink()
    with pytest.raises(DataError, match="did not travel"):
        packed.read("cifar10-slice", {})
    index = folder / "packed.json"
    body = json.loads(index.read_text())
    body["datasets"][0]["content_digest"] = "0" * 64
    index.write_text(sealed(body))
    with pytest.raises(DataError, match=r"not what data/manifest\.yaml names"):
        packed.read("cifar10-slice", {})
    index.write_text("{")
    with pytest.raises(DataError, match="damaged"):
        packed.read("cifar10-slice", {})


def sealed(body):
    """The text of an index with this content, as if it had been written so."""
    body.pop("digest", None)
    return canonical_json.text_of(canonical_json.seal(body))


def test_a_limit_leaves_the_last_runs_at_home(home, monkeypatch):
    place, spec = home
    monkeypatch.chdir(place)
    other = loading.resolve(RUN.replace("seed0", "seed1").replace("none", "tdr"), root=ROOT)
    embedded = loading.resolve("smoke/tdr/mnist-4v9/rho0.1/none/seed0", root=ROOT)
    wanted, left = packing.chosen([spec, other, embedded], limit=None)
    assert len(wanted) == 1 and not left
    rows = sum(map(len, packing.rows_of(obtain(spec)).values()))
    wanted, left = packing.chosen([spec, other, embedded], limit=rows * packing.BYTES_OF_AN_IMAGE)
    assert sum(map(len, wanted[0].rows.values())) == rows
    assert [one["seed"] for one in left] == ([1] if obtain(other).digest() != obtain(spec).digest() else [])


def nodes(value, path=()):
    """The path of every value inside a JSON value, the whole first."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, child in children for found in nodes(child, (*path, key)))]


def test_a_damaged_index_is_one_line(there):
    folder, spec, _ = there
    index = folder / "packed.json"
    whole = json.loads(index.read_text())
    split = split_path(spec)
    split.with_suffix(".json").unlink()

    def damaged(path, value):
        body = json.loads(json.dumps(whole))
        inner = body
        for key in path[:-1]:
            inner = inner[key]
        if value is None:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
        return body

    bodies = [damaged(path, value) for path in nodes(whole)[1:] for value in (None, {}, [], 7, -1, "x", True)]
    refused = []
    for body in [{"version": 1}, {**whole, "datasets": 5}, {**whole, "splits": []}, *bodies]:
        index.write_text(sealed(body))
        for use in (lambda: packed.read("cifar10-slice", {}), lambda: packed.place_split(split)):
            try:
                use()
            except DataError as error:
                refused.append(str(error))
    assert len(refused) > len(bodies) / 2 and "\n" not in "".join(refused)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda body: body.pop("datasets"), "damaged at its top, datasets; send it again"),
        (lambda body: body["datasets"][0].pop("arrays"), "damaged at its top, datasets, 0, arrays"),
        (lambda body: body["datasets"][0]["parts"]["test"].update(length=-1), "datasets, 0, parts, test, length"),
        (
            lambda body: body["datasets"][0]["parts"]["train"].update(length=10**12),
            "rows of cifar10-slice, but 1942 lab",
        ),
        (lambda body: body["datasets"][0]["parts"]["train"]["shape"].pop(), r"not \(C, H, W\)"),
        (lambda body: body["splits"].update(a=5), "damaged at its top, splits, a"),
    ],
)
def test_the_index_says_where_it_is_damaged(there, change, says):
    index = there[0] / "packed.json"
    body = json.loads(index.read_text())
    change(body)
    index.write_text(sealed(body))
    with pytest.raises(DataError, match=says):
        packed.read("cifar10-slice", {})
