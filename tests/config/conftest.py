"""What tests of the config share."""

import shutil

import pytest
from support.project import ROOT


@pytest.fixture
def project(tmp_path):
    """A folder with a copy of config/, to be changed."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    return tmp_path
