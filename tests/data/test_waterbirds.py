"""Waterbirds: cells and parts of the sheet, features row for row those of the table, and what is refused."""

import hashlib
import io
import json
import lzma
import shutil
import zipfile

import numpy as np
import pytest
import torch
import yaml
from sklearn.linear_model import LogisticRegression
from support import needs
from support.needs import MIRROR_FOLDER
from support.project import ROOT

from reweigh import group_rates
from reweigh.config import known_sizes, sizes
from reweigh.data import load, manifest, obtain
from reweigh.data.arrays import RawData
from reweigh.data.readers import damage, waterbirds, waterbirds_small
from reweigh.data.split import draw
from reweigh.data.standardise import moments, standardised
from reweigh.errors import DataError
from reweigh.evaluate import metrics
from reweigh.records import lineage
from reweigh.training.stages import Parts

# AutoBalance's sheet, §5.5.
TRAIN, VALIDATION, TEST = [3498, 184, 56, 1057], [467, 466, 133, 133], [2255, 2255, 642, 642]
RECIPE = {"kind": "groups", "target_size": 0, "order": "random", "test": "all", "validation_share": 0.5}


@pytest.fixture(scope="module")
def small(raw_root):
    return load.read("waterbirds-small", {}, raw_root)


def test_the_cells_are_those_of_the_sheet(small, raw_root):
    assert np.bincount(small.train_groups).tolist() == TRAIN and np.bincount(small.test_groups).tolist() == TEST
    assert (small.train_inputs.shape, small.train_inputs.dtype) == ((4795, 256), np.float32)
    assert small.group_names == ("landbird on land", "landbird on water", "waterbird on land", "waterbird on water")
    assert np.array_equal(small.train_groups // 2, small.train_labels) and small.class_names[1] == "waterbird"
    other = load.read("waterbirds-small", {"official_validation": True}, raw_root)
    assert np.bincount(other.test_groups).tolist() == VALIDATION
    assert np.array_equal(other.train_inputs, small.train_inputs)
    known = known_sizes.GROUP_SIZES
    assert known["waterbirds"] == known["waterbirds-small"] == (TRAIN, TEST)


@needs.mirror("waterbirds/features.npy")
@pytest.mark.parametrize("name", ["waterbirds", "waterbirds-small"])
def test_every_row_is_that_of_the_published_arrays(name, tmp_path):
    manifest.ensure(name, tmp_path, manifest=ROOT / "data" / "manifest.yaml")
    raw, folder = load.read(name, {}, tmp_path), MIRROR_FOLDER / name
    parts = waterbirds.metadata(folder / "metadata.csv").parts
    features = np.load(folder / "features.npy").astype(np.float32)
    assert np.array_equal(raw.train_inputs, features[parts == 0])
    assert np.array_equal(raw.test_inputs, features[parts == 2])
    assert lineage.EDITIONS[raw.edition].startswith("a stand-in: EfficientNet-Lite0")


def test_every_stand_in_is_named_as_such():
    catalogue = manifest.Manifest.load(ROOT / "data" / "manifest.yaml")
    editions = {
        edition.name: edition.note for one in ("waterbirds", "waterbirds-small") for edition in catalogue[one].editions
    }
    for name, note in editions.items():
        assert lineage.EDITIONS[name] and (name == "official") == ("stand-in" not in note), name
    assert next(iter(editions)) == "official"  # it is taken wherever its files are


# --- logistic regression, as published beside the features -----------------------------------------------------------


@pytest.mark.parametrize(
    ("balanced", "worst", "deo", "error"), [(False, 39.41, 54.37, 18.04), (True, 29.75, 37.70, 15.56)]
)
def test_logistic_regression_has_the_published_errors(small, balanced, worst, deo, error):
    counts = np.bincount(small.train_groups)
    weights = (len(small.train_groups) / (4 * counts))[small.train_groups] if balanced else None
    train, test = small.train_inputs.astype(float), small.test_inputs.astype(float)
    model = LogisticRegression(tol=1e-6, max_iter=5000).fit(train, small.train_labels, weights)
    cells = np.zeros((4, 2, 3), np.int64)
    np.add.at(cells, (small.test_groups, small.test_labels, model.predict(test)), 1)
    body = {"metrics": metrics(cells, two_class=False, group_is_label=False)}
    found = (group_rates.worst_class_group_error, group_rates.deo_error, group_rates.group_balanced_error)
    assert [round(100 * of(body), 2) for of in found] == [worst, deo, error]


# --- splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_half_of_each_cell_is_held_out_rounded_down(small, seed):
    split = draw(small, RECIPE, seed)
    assert split.group_sizes()["train"] == [1749, 92, 28, 529] and len(split.train) == 2398
    assert split.group_sizes()["validation"] == [1749, 92, 28, 528] and len(split.validation) == 2397
    assert split.group_sizes()["test"] == TEST
    both = np.concatenate([split.train.index, split.validation.index])
    assert np.array_equal(np.sort(both), np.arange(4795))
    planned = {"dataset": "waterbirds", "split": RECIPE | {"validation_size": 0, "target_inside": False}}
    assert sizes.training_sizes(planned) == [2398] and sizes._validation_sizes(planned, 1) == [2397]
    third = {**planned, "split": planned["split"] | {"validation_share": 0.3}}
    assert sizes.training_sizes(third) == [len(draw(small, third["split"], seed).train)]  # it is taken of each cell


def test_the_smaller_test_set_is_the_same_for_every_seed(small):
    recipe = RECIPE | {"test": "group-balanced", "test_size": 1600}
    first, second = (draw(small, recipe | {"test_seed": 0}, seed) for seed in (0, 5))
    assert first.group_sizes()["test"] == [400] * 4
    assert np.array_equal(first.test.index, second.test.index)
    assert not np.array_equal(first.train.index, second.train.index)
    assert np.array_equal(first.test.index, draw(small, recipe, 0).test.index)
    assert not np.array_equal(first.test.index, draw(small, recipe, 5).test.index)


# --- standardising ---------------------------------------------------------------------------------------------------


def test_features_are_standardised_by_the_examples_that_are_trained_on(small):
    split = draw(small, RECIPE, 0)
    scaled = standardised(small, split.train.index)
    trained = scaled.train_inputs[split.train.index].astype(np.float64)
    assert np.abs(trained.mean(0)).max() < 1e-6 and np.abs(trained.std(0) - 1).max() < 1e-6
    plain = small.train_inputs[split.train.index].astype(np.float64)
    expected = (small.test_inputs - plain.mean(0)) / plain.std(0)
    assert scaled.test_inputs.dtype == np.float32 and np.allclose(scaled.test_inputs, expected, atol=1e-5)
    held_out = scaled.train_inputs[split.validation.index]
    assert np.abs(held_out.mean(0)).max() > 1e-3  # it has no say in the numbers
    assert np.array_equal(scaled.train_labels, small.train_labels)


def test_constant_columns_are_zero_for_every_part():
    train = np.array([[0.1, 1.0], [0.1, 3.0], [7.0, 9.0]], np.float32)
    raw = RawData(train, np.zeros(3, np.int64), train + 1, np.zeros(3, np.int64), class_names=("a",))
    scaled = standardised(raw, np.array([0, 1]))
    assert scaled.train_inputs.tolist() == [[0, -1], [0, 1], [0, 7]]
    assert not scaled.test_inputs[:, 0].any() and np.isfinite(scaled.test_inputs).all()
    third = np.full((3, 1), 0.1, np.float32)  # 3 · 0.1 / 3 is not 0.1 in floating point: a deviation of 1e-17
    assert moments(third)[1].tolist() == [0.0]


# --- what is refused -------------------------------------------------------------------------------------------------


def write(folder, form, features, table, stated=None):
    """An edition of `waterbirds`, with the digests that `stated` gives, or those of what is written."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / form.features, features)
    (folder / "metadata.csv").write_bytes(table)
    contents = {"features": features.tobytes(), "metadata.csv": table}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    (folder / form.about).write_text(json.dumps({"sha256": digests | (stated or {})}))


@pytest.fixture(scope="module")
def table():
    """A table of the official cells, with made-up names."""
    counts = enumerate((TRAIN, VALIDATION, TEST))
    rows = [(cell // 2, part, cell % 2) for part, cells in counts for cell in range(4) for _ in range(cells[cell])]
    lines = [f"{k + 1},{k}.jpg,{y},{part},{place},x" for k, (y, part, place) in enumerate(rows)]
    return "\n".join(["img_id,img_filename,y,split,place,place_filename", *lines, ""]).encode()


FORM = waterbirds.FORMS["official"]


def test_the_official_features_are_taken_where_they_are(tmp_path, table):
    features = np.random.default_rng(0).normal(size=(11788, 512)).astype(np.float32)
    write(tmp_path / "waterbirds", FORM, features, table)
    raw = load.read("waterbirds", {}, tmp_path)
    assert raw.edition == "official" and np.array_equal(raw.train_inputs, features[:4795])
    found = manifest.ensure("waterbirds", tmp_path, mirror="", manifest=ROOT / "data" / "manifest.yaml")
    assert found["edition"] == "official" and {file["source"] for file in found["files"]} == {"present"}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda features, table: (features[1:], table), "rows of features for 11788 pictures"),
        (lambda features, table: (np.where(features > 0.99, np.nan, features), table), "features that are not finite"),
        (lambda features, table: (features[:, :256], table), "not an array of shape (N, 512)"),
        (lambda features, table: (features, table.replace(b"1,0.jpg,0", b"1,0.jpg,1")), "cells of (3497, 184, 57,"),
        (lambda features, table: (features, table.replace(b"2,1.jpg", b"2,0.jpg")), "names a picture twice"),
        (lambda features, table: (features, table.replace(b",y,", b",label,")), "not a table with the columns"),
    ],
)  # fmt: skip
def test_features_that_do_not_fit_are_refused_without_a_published_digest(tmp_path, table, spoil, says):
    features = np.random.default_rng(0).uniform(size=(11788, 512)).astype(np.float32)
    write(tmp_path / "waterbirds", FORM, *spoil(features, table))
    with pytest.raises(DataError) as refused:
        load.read("waterbirds", {}, tmp_path)
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_features_of_another_table_are_refused(tmp_path, table):
    features = np.zeros((11788, 512), np.float32)
    write(tmp_path / "waterbirds", FORM, features, table, {"metadata.csv": "0" * 64})
    with pytest.raises(DataError, match=r"resnet18\.json: does not have the sha256 of the metadata\.csv beside it"):
        load.read("waterbirds", {}, tmp_path)
    write(tmp_path / "waterbirds", FORM, features, table)
    np.save(tmp_path / "waterbirds" / FORM.features, features[::-1] + 1)
    with pytest.raises(DataError, match="does not have the sha256 of the features beside it"):
        load.read("waterbirds", {}, tmp_path)
    (tmp_path / "waterbirds" / FORM.about).unlink()
    with pytest.raises(DataError, match=r"resnet18\.json is missing; get it with: reweigh fetch waterbirds$"):
        load.read("waterbirds", {}, tmp_path)


def test_an_archive_of_arrays_takes_no_memory_that_it_has_not(tmp_path):
    content = lzma.decompress((ROOT / "data/embedded/waterbirds-small/codes.npz.xz").read_bytes())
    (tmp_path / "codes.npz").write_bytes(content)
    arrays = damage.arrays(tmp_path / "codes.npz", waterbirds_small.ARRAYS)
    assert arrays["codes"].shape == (11788, 256) and arrays["codes"].flags.c_contiguous
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("codes.npy", b"\0" * 2**26)
    (tmp_path / "bomb.npz").write_bytes(packed.getvalue())
    with pytest.raises(DataError, match="compressed, or larger than the file"):
        damage.arrays(tmp_path / "bomb.npz", {"codes": ((), "|u1")})
    with pytest.raises(DataError, match="not arrays named x"):
        damage.arrays(tmp_path / "codes.npz", {"x": ((), "|u1")})


def test_it_works_without_network_and_mirror(tmp_path):
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data/manifest.yaml", tmp_path / "data/manifest.yaml")
    (tmp_path / "data/embedded").symlink_to(ROOT / "data/embedded")
    source = manifest.ensure("waterbirds-small", tmp_path / "raw", mirror="", manifest=tmp_path / "data/manifest.yaml")
    assert {file["source"] for file in source["files"]} == {"embedded"}
    assert load.read("waterbirds-small", {}, tmp_path / "raw").edition == source["edition"]


# --- which features a run is said to have used -----------------------------------------------------------------------


def test_a_split_says_which_features_are_there_now(tmp_path, table):
    """The records of later runs name the files of this report, so it may not go on naming the stand-in's."""
    body = yaml.safe_load((ROOT / "data/manifest.yaml").read_text())
    for file in body["datasets"]["waterbirds"]["editions"]["efficientnet-lite0"]["files"]:
        for key in ("sha256", "bytes", "mirror"):
            del file[key]
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(body, sort_keys=False))
    draw_from, folder = np.random.default_rng(0), tmp_path / "raw" / "waterbirds"
    stand_in = waterbirds.FORMS["efficientnet-lite0"]
    write(folder, stand_in, draw_from.normal(size=(11788, stand_in.width)).astype(np.float16), table)
    names = {"scale": "quick", "paper": "autobalance", "experiment": "waterbirds", "setting": "linear", "seed": 0}
    spec = names | {"data": {"dataset": "waterbirds", "options": {}, "split": RECIPE}}
    before = obtain.describe(spec, tmp_path)
    assert {file["edition"] for file in before["raw"]} == {"efficientnet-lite0"} == {load_edition(tmp_path)}
    write(folder, FORM, draw_from.normal(size=(11788, 512)).astype(np.float32), table)
    manifest.ensure("waterbirds", tmp_path / "raw", mirror="", manifest=tmp_path / "manifest.yaml")
    after = obtain.describe(spec, tmp_path)
    assert {file["edition"] for file in after["raw"]} == {"official"} == {load_edition(tmp_path)}
    assert after["digest"] == before["digest"]  # the same pictures train, validate and test
    shutil.rmtree(tmp_path / "raw")
    assert obtain.describe(spec, tmp_path)["raw"] == after["raw"]  # as where nothing but the split travelled


def load_edition(root):
    return load.read("waterbirds", {}, root / "raw").edition


def test_every_part_of_a_run_is_standardised_by_what_it_trains_on(small):
    split = draw(small, RECIPE | {"target_size": 4, "target_inside": True}, 0)
    data = {"dataset": "waterbirds-small", "scale_inputs": "standardised", "augment": "none", "split": RECIPE}
    parts = Parts({"data": data, "training": {}}, small, split, torch.device("cpu"))
    mean, factor = moments(small.train_inputs[split.train.index])
    for part, index, inputs in (
        (parts.train, split.train.index, small.train_inputs),
        (parts.validation, split.validation.index, small.train_inputs),
        (parts.target, split.target.index, small.train_inputs),
        (parts.train_and_validation, split.train.joined(split.validation).index, small.train_inputs),
        (parts.test, split.test.index, small.test_inputs),
    ):
        shown = torch.cat([batch.inputs for batch in part.in_order(500)]).numpy()
        assert np.array_equal(shown, ((inputs[index].astype(float) - mean) * factor).astype(np.float32))
    plain = Parts({"data": data | {"scale_inputs": "none"}, "training": {}}, small, split, torch.device("cpu"))
    assert np.array_equal(plain.train.inputs.numpy(), small.train_inputs[split.train.index])
