"""Crates hold to the profile Provenance Run Crate, by roc-validator, which asks the network for nothing."""

import json

import pytest
from support.crates import CONTEXT, ROOT, graph, names, problems, project, words

from reweigh.provenance import crate

# What the profile recommends and cannot be said honestly. Nothing that is kept says when a figure was drawn and when an
# address was visited; the project has no address, nor have its programs. In tests none of raw data is in reach.
UNKNOWN = {
    "Action endTime",
    "Organization: RECOMMENDED url property",
    "SoftwareApplication id",
    "Web-based Data Entity: `sdDatePublished` property",
    "Web-based Data Entity: resource availability",
}
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")  # in rdflib
NO_RECEIPT = "version or softwareVersion"  # of the program that rendered a figure, where it left no receipt


@pytest.fixture(scope="module")
def small(sound_project, tmp_path_factory):
    root = project(sound_project, tmp_path_factory.mktemp("profile") / "project")
    return crate.write("smoke", root.parent / "crate", root)[0]


def test_a_small_crate_conforms(small, monkeypatch):
    found = problems(small, monkeypatch, "RECOMMENDED")
    assert {check for severity, check, _ in found if severity == "REQUIRED"} == set()
    assert {check for _, check, _ in found} <= UNKNOWN


def test_the_validator_finds_what_is_missing(small, tmp_path, monkeypatch):
    body = json.loads((small / "ro-crate-metadata.json").read_text())
    entities = {one["@id"]: one for one in body["@graph"]}
    missing = {
        "Action instrument": ("#train/smoke/tdr/mnist-4v9/rho0.005/tdr/seed0", "instrument"),
        "ComputationalWorkflow hasPart": ("workflow/Snakefile", "hasPart"),
        "HowToStep workExample": ("#step/train", "workExample"),
        "FormalParameter additionalType": ("#parameter/split", "additionalType"),
    }
    for name, key in missing.values():
        del entities[name][key]
    (tmp_path / "ro-crate-metadata.json").write_text(json.dumps(body))
    for path in small.iterdir():
        if path.name not in ("ro-crate-metadata.json", "README.md"):
            (tmp_path / path.name).symlink_to(path)
    found = problems(tmp_path, monkeypatch)
    assert {check for _, check, _ in found} >= {*missing, "Data Entity: REQUIRED resource availability"}


@pytest.mark.slow
def test_the_crate_of_the_committed_results_conforms(tmp_path, monkeypatch):
    place, what = crate.write("paper", tmp_path / "paper.zip", ROOT)
    assert words(place) <= set(CONTEXT)
    entities = graph(place)
    runs = [
        path.relative_to(ROOT / "results").with_suffix("") for path in (ROOT / "results/paper").glob("*/*/*/*/*.json")
    ]
    assert len(runs) >= 120
    assert what.startswith(f"{len(runs)} runs")
    for run in runs:
        done = entities[f"#train/{run}"]
        assert f"results/{run}.json" in names(done["result"])
    found = problems(place, monkeypatch, "RECOMMENDED")
    assert {check for severity, check, _ in found if severity == "REQUIRED"} == set()
    assert {check for _, check, _ in found} <= {*UNKNOWN, NO_RECEIPT}
