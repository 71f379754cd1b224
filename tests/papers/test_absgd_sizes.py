"""The sizes of ABSGD's splits and the rates of its noise, through the code that draws them, on the real images."""

import pytest
from support.needs import MIRROR_FOLDER, WANTS_MIRROR
from support.project import ROOT

from reweigh.config.sizes import training_size
from reweigh.data import load as load_raw
from reweigh.data import manifest, split


def spec(config, run):
    return config.resolve(f"{run}/seed0")


LONG_TAILS = {
    "paper/absgd/cifar10/lt-rho100/sgd_ce": ([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50], 12406),
    "paper/absgd/cifar10/lt-rho10/sgd_ce": ([5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500], 20431),
    "paper/absgd/cifar10/st-rho100/sgd_ce": ([5000] * 5 + [50] * 5, 25250),
    "paper/absgd/cifar10/st-rho10/sgd_ce": ([5000] * 5 + [500] * 5, 27500),
    "paper/absgd/cifar100/lt-rho100/sgd_ce": ([500, 477, 455, 434, 415], 10847),
    "paper/absgd/cifar100/lt-rho10/sgd_ce": ([500, 488, 477, 466, 455], 19573),
    "paper/absgd/cifar100/st-rho100/sgd_ce": ([500] * 50 + [5] * 50, 25250),
    "paper/absgd/cifar100/st-rho10/sgd_ce": ([500] * 50 + [50] * 50, 27500),
    "paper/absgd/meta-cifar10/lt-rho100/meta_ce": ([4990, 2991], 12380),
    "paper/absgd/meta-cifar10/lt-rho10/meta_ce": ([4990, 3863], 20391),
    "paper/absgd/meta-cifar100/lt-rho100/meta_ce": ([490, 467], 10626),
    "paper/absgd/meta-cifar100/lt-rho10/meta_ce": ([490, 478], 19183),
    "paper/absgd/two-stage/lt-rho100/joint": ([490, 467], 10626),
}


@pytest.mark.parametrize("cell", LONG_TAILS)
def test_sizes(config, cell, raw_cifar):
    """Through the code that draws splits, on the real images where they are at hand, else by the sizes alone."""
    first, total = LONG_TAILS[cell]
    data = spec(config, cell)["data"]
    assert training_size(data) == total
    if (raw := raw_cifar(data["dataset"])) is None:
        return
    drawn = split.draw(raw, data["split"], 7)
    assert len(drawn.test) == 10000
    assert len(drawn.target) == data["split"]["target_size"]
    again = split.draw(raw, data["split"], 8)  # one subset for all seeds
    assert drawn.train.index.tolist() == again.train.index.tolist()
    sizes = drawn.class_counts.tolist()
    assert sizes[: len(first)] == first
    assert sum(sizes) == total


@pytest.mark.parametrize(
    ("cell", "rate"),
    [
        ("noise-cifar10/sym0.2", 0.2),
        ("noise-cifar10/sym0.4", 0.4),
        ("noise-cifar10/asym0.2", 0.10),  # of the labels as they were; the ports undo part of it
        ("noise-cifar10/asym0.4", 0.20),
        ("noise-cifar10-ported/asym0.2", 0.0958),
        ("noise-cifar10-ported/asym0.4", 0.1848),
        ("noise-cifar100/sym0.2", 0.2),
        ("noise-cifar100/sym0.4", 0.4),
        ("noise-cifar100/asym0.2", 0.2006),
        ("noise-cifar100/asym0.4", 0.4033),
    ],
)
def test_rates_of_noise(config, cell, rate, raw_cifar):
    experiment, setting = cell.split("/")
    method = config.experiment("absgd", experiment).methods[0]
    data = spec(config, f"paper/absgd/{experiment}/{setting}/{method}")["data"]
    raw = raw_cifar(data["dataset"])
    if raw is None:
        pytest.skip(WANTS_MIRROR)
    drawn = split.draw(raw, data["split"], 0)
    assert len(drawn.train) == 50000
    assert (drawn.train.label != raw.train_labels[drawn.train.index]).mean() == pytest.approx(rate, abs=5e-5)
    assert (drawn.test.label == raw.test_labels[drawn.test.index]).all()


@pytest.fixture(scope="module")
def raw_cifar(tmp_path_factory):
    """Reads a data set from the mirror, once; None where no mirror is at hand."""
    root, found = tmp_path_factory.mktemp("raw"), {}

    def read(name):
        if not MIRROR_FOLDER.is_dir():
            return None
        if name not in found:
            manifest.ensure(name, root, mirror=str(MIRROR_FOLDER), manifest=ROOT / "data/manifest.yaml")
            found[name] = load_raw.read(name, root=root)
        return found[name]

    return read
