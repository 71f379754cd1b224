"""An artifact is not rendered without its records, unless that is asked for."""

import pytest
from support import ROOT
from typer.testing import CliRunner

from reweigh.artifacts import complete
from reweigh.cli import app
from reweigh.errors import ReweighError

FIGURE = "figures/paper/absgd/table1"


def test_missing_records_are_counted_and_both_ways_to_go_on_named():
    with pytest.raises(
        ReweighError, match=r"table1: \d+ of \d+ records are missing .*snakemake .*--missing skip"
    ) as error:
        complete.check(FIGURE, ROOT)
    assert "\n" not in str(error.value)
    complete.check("figures/paper/tdr/fig5", ROOT)


def test_render_refuses_and_renders_when_asked(monkeypatch):
    monkeypatch.chdir(ROOT)
    rendered = []
    monkeypatch.setattr("reweigh.artifacts.render.render", rendered.append)
    monkeypatch.setattr("reweigh.artifacts.beside.absent", lambda name, also: [])
    refused = CliRunner().invoke(app, ["render", FIGURE])
    assert isinstance(refused.exception, ReweighError) and rendered == []
    assert CliRunner().invoke(app, ["render", FIGURE, "--missing", "skip"]).exit_code == 0
    assert rendered == [FIGURE]
