"""What the tests of the plan share."""

import shutil

import pytest
from support.project import ROOT
from support.written import HERE

from reweigh.planning import once, plan


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with config and manifest, and no record; this machine has one processor, HERE."""
    for module in (plan, once):
        monkeypatch.setattr(module, "devices", lambda: frozenset([HERE]))
    monkeypatch.setattr(plan, "processor", lambda: HERE)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data/manifest.yaml", tmp_path / "data")
    return tmp_path
