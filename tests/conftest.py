"""What tests share: raw data, projects and runs that are made once a session."""

import shutil
from pathlib import Path

import hypothesis
import pytest

from reweigh.data import manifest

ROOT = Path(__file__).parents[1]

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
def mnist(raw_root):
    """MNIST as its reader gives it."""
    from reweigh.data import load

    return load.read("mnist", root=raw_root)


@pytest.fixture(scope="session")
def sound_project(tmp_path_factory):
    """A project whose chain holds from the raw bytes to a figure, for tests that change copies of it; made once."""
    from support import tampering

    return tampering.sound(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="session")
def absgd_project(tmp_path_factory):
    """A project with made-up records of ABSGD, for its figures."""
    from support import absgd_figures

    return absgd_figures.project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def absgd_rendered(absgd_project):
    """Every artifact of ABSGD as a figure, made from that project by its notebook."""
    from support import absgd_figures

    return absgd_figures.draw_all(absgd_project)


@pytest.fixture
def copy(tmp_path, raw_root):
    """A copy of the project that the test may change."""
    for name in ("config", "src", "notebooks", "workflow"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data" / "manifest.yaml", tmp_path / "data")
    shutil.copytree(ROOT / "data" / "published", tmp_path / "data" / "published")
    (tmp_path / "data" / "raw").symlink_to(Path(raw_root).resolve())
    return tmp_path
