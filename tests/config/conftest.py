"""What tests of the config share."""

import shutil

import pytest
from support.config_files import replace
from support.project import ROOT


@pytest.fixture
def project(tmp_path):
    """A folder with a copy of config/, to be changed."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    return tmp_path


@pytest.fixture
def tdr_project(project):
    """The same with TDR alone, which loads several times faster: most of the time goes into the others' many runs."""
    for paper in ("absgd", "autobalance", "molere", "har", "compare"):
        shutil.rmtree(project / "config/papers" / paper)
    replace(project, "papers: [tdr, absgd, autobalance, molere, har, compare]", "papers: [tdr]", "config/config.yaml")
    return project
