"""What the config says of data sets by hand (`config/inputs.py`, `config/sizes.py`) against what their readers give."""

import numpy as np
import pytest
from support import needs, small_sets
from support.needs import MIRROR_FOLDER, WANTS_MIRROR

from reweigh.config import inputs, known_sizes
from reweigh.config.known_sizes import GIVEN_SIZES
from reweigh.data import load
from reweigh.data.files import ImageFiles
from reweigh.data.local_cards import READERS as READERS_BY_CARD
from reweigh.data.readers import cifar10n, cifar10n_slice, cifar100n, nexrad
from reweigh.digest import PACKAGE

EMBEDDED = ("mnist", "cifar10-slice", "cifar10-slice-large", "cifar10n-slice", "cifar100-slice", "adult")
# Folders of the mirror, by data set.
MIRRORED = {
    "cifar10": "cifar-10",
    "cifar100": "cifar-100/cifar-100-python",
    "cifar10n": "cifar-n",
    "cifar100n": "cifar-n",
}
# No data sets: what several readers share, and what reads local data.
HELPERS = {"--init--", *READERS_BY_CARD, "damage", "human-labels", "lists", "pickled", "slices"}
RADAR_SIDE = min(nexrad.SIZE)  # of whole pictures; the small ones of the tests are smaller
READERS = sorted({path.stem.replace("_", "-") for path in (PACKAGE / "data/readers").glob("*.py")} - HELPERS)


def test_every_data_set_stands_in_one_table_of_inputs():
    tables = (*inputs.IMAGES, *inputs.ON_DISK, *inputs.FEATURES)
    assert sorted(tables) == READERS


@pytest.fixture
def raw(request, raw_root, tmp_path):
    """A whole data set as its reader gives it, from the project or the mirror."""
    name = request.param
    if name in EMBEDDED:
        return name, load.read(name, {}, raw_root)
    for needed in {name.removesuffix("n"), name}:
        if not (MIRROR_FOLDER / MIRRORED[needed]).is_dir():
            pytest.skip(WANTS_MIRROR)
        (tmp_path / needed).symlink_to((MIRROR_FOLDER / MIRRORED[needed]).resolve())
    return name, load.read(name, {}, tmp_path)


@pytest.mark.parametrize("raw", [*EMBEDDED, *MIRRORED], indirect=True)
def test_the_tables_are_those_of_the_whole_data_set(raw):
    name, data = raw
    channels_and_side(name, data)
    train, test = (np.bincount(labels).tolist() for labels in (data.train_labels, data.test_labels))
    assert (name in known_sizes.CLASS_SIZES) != (name in known_sizes.TRAINING_ROWS)
    if known := known_sizes.labelled({"dataset": name, "options": {}}):
        assert (train, test) == (known, known_sizes.TEST_SIZES[name])
    else:
        assert (sum(train), len(train)) == (known_sizes.TRAINING_ROWS[name], known_sizes.CLASSES[name])
        assert len(test) == len(train)
    assert (name in known_sizes.GROUP_SIZES) == (data.train_groups is not None)
    if name in known_sizes.GROUP_SIZES:
        groups = (data.train_groups, data.test_groups)
        assert tuple(np.bincount(group).tolist() for group in groups) == known_sizes.GROUP_SIZES[name]


def channels_and_side(name, data, side=None):
    """Inputs of the training and the test part against the table; `side` where a small set has another."""
    for given in (data.train_inputs, data.test_inputs):
        if name in inputs.FEATURES:
            assert given.ndim == 2 and given.dtype == np.float32
        else:
            channels, shorter = inputs.IMAGES[name]
            assert given.dtype == np.uint8 and given.ndim == 4
            assert (given.shape[1], min(given.shape[2:])) == (channels, side or shorter)


@needs.MIRROR
@pytest.mark.parametrize(("name", "reader"), [("cifar10n", cifar10n), ("cifar100n", cifar100n)])
def test_given_labels_are_counted(name, reader, tmp_path):
    for needed in (name.removesuffix("n"), name):
        (tmp_path / needed).symlink_to((MIRROR_FOLDER / MIRRORED[needed]).resolve())
    counted(name, reader, tmp_path)


def test_given_labels_of_the_slice_are_counted(raw_root):
    counted("cifar10n-slice", cifar10n_slice, raw_root)


def counted(name, reader, root):
    """The table has each kind of label that the reader knows, as often as each is given."""
    assert list(GIVEN_SIZES[name]) == list(reader.LABELS)
    for labels, known in GIVEN_SIZES[name].items():
        raw = load.read(name, {"labels": labels}, root)
        assert np.bincount(raw.train_labels).tolist() == known
        assert known_sizes.labelled({"dataset": name, "options": {"labels": labels}}) == known


@pytest.fixture(scope="module")
def small(tmp_path_factory, raw_root):
    """Every data set, small, in the formats of its publisher; their folder."""
    with pytest.MonkeyPatch.context() as patch:
        small_sets.make(folder := tmp_path_factory.mktemp("small"), raw_root, patch)
        yield folder


@pytest.mark.parametrize("name", [name for name in READERS if name != "cifar10-slice"])
def test_every_reader_gives_what_the_table_of_inputs_says(name, small):
    """Also those of data sets that cannot be had here: on disk or not, in colour or not, features or pixels."""
    data = load.read(name, {}, small)
    if name in inputs.ON_DISK:
        assert all(isinstance(given, ImageFiles) for given in (data.train_inputs, data.test_inputs))
        assert data.train_inputs.pixels(0).shape[0] == data.test_inputs.pixels(0).shape[0] == 3
    else:
        channels_and_side(name, data, min(nexrad.SIZE) if name == "nexrad" else None)


def test_pictures_of_radar_are_as_large_as_the_table_says():
    assert inputs.IMAGES["nexrad"] == (1, RADAR_SIDE)
