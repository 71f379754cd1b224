"""What tests share."""

from pathlib import Path

import hypothesis
import pytest

from reweigh.data import manifest

ROOT = Path(__file__).parent.parent

# A busy machine is no fault of what is tested.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def raw_root(tmp_path_factory):
    """A data/raw with the embedded data sets, real bytes, fetched once a session: mnist, adult, slices of CIFAR."""
    root = tmp_path_factory.mktemp("data") / "raw"
    for dataset in ("mnist", "adult", "cifar10-slice", "cifar10-slice-large", "cifar100-slice"):
        manifest.ensure(dataset, root, mirror="", manifest=ROOT / "data" / "manifest.yaml")
    return root


@pytest.fixture(scope="session")
def sound_project(tmp_path_factory):
    """A project whose chain holds from the raw bytes to a figure, for tests that change copies of it; made once."""
    import tampering

    return tampering.sound(tmp_path_factory.mktemp("sound"))
