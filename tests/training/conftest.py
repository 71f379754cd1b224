"""What tests of shared stages share: a project, and what each method gives when it trains all stages itself."""

import pytest
from support import project
from support.prefixes import outcome, trained
from support.two_stages import METHODS


@pytest.fixture
def folder(tmp_path, raw_root, monkeypatch):
    project.make(tmp_path, raw_root)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def alone(tmp_path_factory, raw_root):
    """The record of each method when it trains all stages itself, and its outcome."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for method in METHODS:
            patch.chdir(project.make(tmp_path_factory.mktemp(method), raw_root))
            body, steps = trained(method)
            assert steps == body["steps"] and body["prefix"]["reused"] is False
            found[method] = body, outcome(body)
    return found
