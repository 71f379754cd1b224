"""A project may lie in a folder of any name: no path is taken for a pattern, a template or a command."""

import shutil

import pytest
from support import workflow
from support.project import ROOT
from typer.testing import CliRunner

from reweigh import cli
from reweigh.provenance.audit import audit
from reweigh.records import attestations

NAMES = ("reweigh [v2]", "{work} 100% $HOME", "it's #1 ünï & a*b?", "-x", "a\nb")


@pytest.fixture
def odd(table3_project, tmp_path, monkeypatch, request):
    """A copy of a project with records and a table, in a folder of an odd name."""
    folder = tmp_path / request.param / "project"
    shutil.copytree(table3_project, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def states(root):
    return sorted((link.kind, link.name, link.state) for link in audit("smoke", root).links)


@pytest.mark.parametrize("odd", NAMES, indirect=True, ids=ascii)
def test_plan_audit_and_attestations_find_what_is_there(odd, table3_project):
    def said():
        done = CliRunner().invoke(cli.app, ["plan", "smoke/tdr"])
        assert done.exit_code == 0, done.output
        return done.output

    here = said()
    assert "0 of" not in here.splitlines()[-1]
    source = sorted((ROOT / "results/paper/attestations").glob("*.json"))[0]
    place = odd / "results/smoke/attestations"
    place.mkdir()
    shutil.copy(source, place)
    assert attestations.load(odd).files == [f"results/smoke/attestations/{source.name}"]
    shutil.rmtree(place)
    assert states(odd) == states(table3_project)


@pytest.mark.parametrize("odd", ['reweigh [v2] {work} 100% $HOME it\'s #1 ünï \\ & "q" *'], indirect=True, ids=ascii)
def test_the_workflow_trains_and_renders_what_is_missing(odd):
    (odd / f"results/{workflow.PAIR}/seed0.json").unlink()
    (odd / "figures/smoke/tdr/table3.csv").unlink()
    workflow.snakemake(
        odd, "--cores", "2", "--config", "scale=smoke", "--", "tdr_table3", f"results/{workflow.PAIR}/seed0.json"
    )
    assert (odd / f"results/{workflow.PAIR}/seed0.json").is_file() and (odd / "figures/smoke/tdr/table3.csv").is_file()
    assert {state for _, _, state in states(odd)} <= {"intact", "unverifiable", "missing"}
