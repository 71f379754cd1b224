"""What tests of data share: raw data as its readers give it, and a few pictures on disk."""

import pytest
import torch
from support import image_layouts, served
from support.project import ROOT

from reweigh.data import load, loading


@pytest.fixture(scope="session")
def adult(raw_root):
    """Adult as its reader gives it."""
    return load.read("adult", {}, raw_root)


@pytest.fixture
def project(tmp_path, raw_root):
    """A data folder with the manifest and the raw data, and nothing embedded."""
    (tmp_path / "manifest.yaml").write_bytes((ROOT / "data" / "manifest.yaml").read_bytes())
    (tmp_path / "raw").symlink_to(raw_root)
    return tmp_path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Pictures of noise on disk."""
    return image_layouts.image_files(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def no_workers(monkeypatch):
    """No worker processes but where a test asks for them, and one thread."""
    monkeypatch.setenv(loading.WORKERS, "0")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def get(tmp_path, monkeypatch):
    """A download from a server that gives the answers that the test names; see `served.getter`."""
    return served.getter(tmp_path, monkeypatch)
