"""CIFAR-N: people's labels are as wrong as published, fit the images, and bring the images with them."""

import numpy as np
import pytest
from support import needs
from support.needs import MIRROR_FOLDER
from support.project import ROOT

from reweigh.data import load, manifest, obtain
from reweigh.data.split import draw
from reweigh.errors import ConfigError, DataError

pytestmark = needs.MIRROR

ALL = {"kind": "all", "target_size": 0, "target_inside": False, "validation_size": 0, "order": "random", "test": "all"}


@pytest.fixture(scope="module")
def human(tmp_path_factory):
    """A data/raw with CIFAR-10N and CIFAR-100N, and the images they need."""
    root = tmp_path_factory.mktemp("human")
    places = {
        "cifar10": "cifar-10",
        "cifar10n": "cifar-n",
        "cifar100": "cifar-100/cifar-100-python",
        "cifar100n": "cifar-n",
    }
    for name, place in places.items():
        (root / name).symlink_to(MIRROR_FOLDER / place)
    return root


def test_people_label_as_badly_as_published(human):
    plain = load.read("cifar10", {}, human)
    rates = {"aggregate": 0.090, "random1": 0.172, "random2": 0.181, "random3": 0.176, "worse": 0.402}
    for labels, rate in rates.items():
        raw = load.read("cifar10n", {"labels": labels}, human)
        assert (raw.train_labels != plain.train_labels).mean() == pytest.approx(rate, abs=5e-4)
        assert np.array_equal(raw.test_labels, plain.test_labels)
        assert raw.train_inputs is not plain.train_inputs and raw.edition == plain.edition
    assert np.array_equal(load.read("cifar10n", {}, human).train_labels, raw.train_labels)
    drawn = draw(raw, ALL | {"validation_share": 0.1}, 0)
    assert len(drawn.train) + len(drawn.validation) == 50000
    hundred, noisy = (load.read(name, {}, human) for name in ("cifar100", "cifar100n"))
    assert (noisy.train_labels != hundred.train_labels).mean() == pytest.approx(0.402, abs=5e-4)
    with pytest.raises(ConfigError, match="labels 'worst' is unknown; known: worse, aggregate, random1"):
        load.read("cifar10n", {"labels": "worst"}, human)


def test_human_labels_of_other_images_are_refused(human, tmp_path):
    for name in ("cifar10", "cifar10n"):
        (tmp_path / name).mkdir()
    for file in ("images.npy", "labels.npy"):
        (tmp_path / "cifar10" / file).symlink_to(MIRROR_FOLDER / "cifar-10" / file)
    with pytest.raises(DataError, match="get it with: reweigh fetch cifar10n"):
        load.read("cifar10n", {}, tmp_path)
    file = tmp_path / "cifar10n" / "CIFAR-10_human.pt"
    file.write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a dictionary of arrays saved by torch"):
        load.read("cifar10n", {}, tmp_path)
    file.write_bytes((MIRROR_FOLDER / "cifar-n" / "CIFAR-100_human.pt").read_bytes())
    with pytest.raises(DataError, match="has no 'worse_label'"):
        load.read("cifar10n", {}, tmp_path)
    file.unlink()
    file.symlink_to(MIRROR_FOLDER / "cifar-n" / "CIFAR-10_human.pt")
    labels = np.load(MIRROR_FOLDER / "cifar-10" / "labels.npy")
    (tmp_path / "cifar10" / "labels.npy").unlink()
    np.save(tmp_path / "cifar10" / "labels.npy", np.roll(labels, 1))
    with pytest.raises(DataError, match="its true labels are not those of the images"):
        load.read("cifar10n", {}, tmp_path)


def test_a_data_set_brings_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setenv("REWEIGH_MIRROR", str(MIRROR_FOLDER))
    (tmp_path / "manifest.yaml").write_bytes((ROOT / "data" / "manifest.yaml").read_bytes())
    spec = {"scale": "paper", "paper": "absgd", "experiment": "human", "setting": "noisy", "method": "sgd", "seed": 0}
    spec["data"] = {"dataset": "cifar100n", "options": {"labels": "noisy"}, "split": ALL}
    said = obtain.describe(spec, tmp_path)
    assert [(file["dataset"], file["name"]) for file in said["raw"]] == [
        ("cifar100n", "CIFAR-100_human.pt"),
        *(("cifar100", name) for name in ("train", "test", "meta")),
    ]
    assert sum(said["sizes"]["train"]) == 50000
    catalogue = manifest.Manifest.load(ROOT / "data" / "manifest.yaml")
    assert all(set(entry.needs) <= set(catalogue.datasets) for entry in catalogue.datasets.values())
    text = (tmp_path / "manifest.yaml").read_text()
    old = catalogue["cifar100"].editions[0].files[0].sha256
    (tmp_path / "manifest.yaml").write_text(text.replace(old, 64 * "f"))
    other = manifest.content_digest("cifar100n", tmp_path / "manifest.yaml")
    assert other != catalogue.content_digest("cifar100n")
