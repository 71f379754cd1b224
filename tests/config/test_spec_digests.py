"""Every spec that the config resolves to is the one that it was: a change of the config's form changes no run.

`spec_digests.json` has, by experiment at a scale, a digest of the specs of all seeds of each cell. A new cell is not in
it and is not looked at; one that is meant to change is taken out of it with the commit that changes it.
"""

import json
from pathlib import Path

import pytest
from support.project import ROOT

from reweigh.config.loading import load
from reweigh.digest import digest

PINNED = json.loads(Path(__file__).with_name("spec_digests.json").read_text())


@pytest.mark.parametrize("experiment", PINNED)
def test_no_spec_has_changed(experiment):
    config = load(ROOT)
    resolved = {}
    for cell in PINNED[experiment]:
        specs = [digest(config.resolve(run)) for run in config.runs_of(f"{experiment}/{cell}")]
        resolved[cell] = digest([len(specs), specs])[:16]
    assert resolved == PINNED[experiment]
