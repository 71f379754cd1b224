"""The project's own variables: each known by name, and checked before anything runs."""

import re

import pytest
from support import ROOT

from reweigh.errors import ConfigError
from reweigh.planning.jobs import flow
from reweigh.training import variables


def test_every_variable_that_the_source_names_is_known():
    named = {
        name
        for path in (ROOT / "src").rglob("*.py")
        for name in re.findall(r"\bREWEIGH_[A-Z_]*[A-Z]\b", path.read_text())
    }
    examples = {"REWEIGH_SLOT_PER_DEVICE"}  # in a doctest
    assert named - examples == {*variables.KNOWN, *variables.INTERNAL}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("REWEIGH_CHECKPOINT_SECONDS", "1m", "REWEIGH_CHECKPOINT_SECONDS=1m: write seconds"),
        ("REWEIGH_CHECKPOINT_SECONDS", "nan", "write seconds"),
        ("REWEIGH_CHECKPOINT_SECONDS", "-1", "write seconds"),
        ("REWEIGH_SLOTS_PER_DEVICE", "0", "REWEIGH_SLOTS_PER_DEVICE=0: set it to a whole number from 1"),
        ("REWEIGH_SLOTS_PER_DEVICE", "²", "set it to a whole number from 1"),
        ("REWEIGH_LOADER_WORKERS", "few", "REWEIGH_LOADER_WORKERS=few: set it to a number of worker processes"),
        ("REWEIGH_CHECKPOINT_SECOND", "1", "no such variable; did you mean 'REWEIGH_CHECKPOINT_SECONDS'?"),
        ("REWEIGH_MIROR", "/mirror", "no such variable; did you mean 'REWEIGH_MIRROR'?"),
    ],
)
def test_a_variable_that_cannot_be_is_refused_before_any_job(monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as error:
        variables.check()
    assert said in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(SystemExit, match=f"reweigh: {name}"):
        flow({}, ROOT)


def test_what_is_said_may_be(monkeypatch):
    said = {
        "CHECKPOINT_SECONDS": "0.5",
        "SLOTS_PER_DEVICE": " 2 ",
        "LOADER_WORKERS": "0",
        "EAGER": "er,tdr",
        "LEASE": "7",
    }
    variables.check({**{f"REWEIGH_{name}": value for name, value in said.items()}, "REWEIGH_MIRROR": "", "HOME": "/"})
