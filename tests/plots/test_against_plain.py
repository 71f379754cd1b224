"""The figure and the page of a comparison: titles in any script, what has no run, one experiment or two."""

import csv

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from support import compared_data
from support.compared_data import body, confusion

from reweigh.analysis.against_plain import lines
from reweigh.analysis.tables import material_of
from reweigh.config.loading import load
from reweigh.config.names import RunName
from reweigh.planning import compare
from reweigh.plots import against_plain
from reweigh.scorecard import own_data

SIZES = [800, 300, 100]


@pytest.fixture
def material(tmp_path, monkeypatch):
    """What the figure of a comparison by class and by group is made from; no run of TDR has ended."""
    compared_data.project(tmp_path / "project", monkeypatch)
    compared_data.card(tmp_path / "project", group="sex")
    compare.ask("claims", "hard,tdr,group_dro", 3, 1)
    config, records = load(), {}
    for number, run in enumerate(config.runs("local", "claims")):
        name = RunName.parse(run)
        if name.method != "tdr":
            recalls = [0.9, 0.6 + 0.01 * number, 0.3]
            records[run] = body(config, run, confusion(recalls, SIZES), seconds=4.0 + name.seed)
    return material_of(config, "local", "claims", "compare", records)


def words(figure):
    return [text.get_text() for text in figure.picture.findobj(lambda one: hasattr(one, "get_text"))]


def test_its_numbers_are_those_of_the_csv(material, tmp_path):
    rows = against_plain.rows(material)
    figure = against_plain.draw(material, rows)
    figure.save(tmp_path / "compare")
    with open(tmp_path / "compare.csv", newline="") as stream:
        found = list(csv.DictReader(stream))
    assert {line["experiment"] for line in found} == {"by-class", "by-group"}
    gains = {(line["experiment"], line["method"]): line for line in found if line["metric"].endswith("_difference")}
    assert set(gains) == {("by-class", "hard"), ("by-class", "tdr"), ("by-group", "hard"), ("by-group", "group_dro")}
    assert gains["by-class", "tdr"]["status"] == "not run" and gains["by-class", "tdr"]["note"] == "not trained yet"
    for line in lines(material):
        if not line.is_plain and line.n:
            assert float(gains[line.experiment, line.method]["mean"]) == pytest.approx(line.gain.effect, rel=1e-5)
            assert float(gains[line.experiment, line.method]["low"]) == pytest.approx(line.gain.low, rel=1e-4)
    said = words(figure)
    assert "weights by class" in said and "weights by group" in said and "not trained yet" in said


def test_a_title_is_no_formula(material):
    figure = against_plain.draw(material, against_plain.rows(material))
    FigureCanvasAgg(figure.picture).draw()  # raises ValueError where what stands between two $ is no formula
    title = next(text for text in words(figure) if "заявки" in text)
    assert "$5 & <b>$.csv" in title


def test_a_title_that_the_font_cannot_write_gives_way_to_the_name():
    assert against_plain.drawable("鳥.csv", "birds") == "birds"
    assert against_plain.drawable("Vögel.csv", "birds") == "Vögel.csv"


def test_runs_of_another_length_do_not_stand_beside_the_others(material):
    compare.ask("claims", None, None, 2)
    config = load()
    first = config.runs("local", "claims")[0]
    records = {
        run: {**one, "spec": config.resolve(run)} if run == first else one for run, one in material.records.items()
    }
    now = material_of(config, "local", "claims", "compare", records)
    assert [line.n for line in lines(now)] == [1, *[0] * 4]
    rows = against_plain.rows(now)
    assert set(rows[rows["n"] > 0]["method"]) == {"none"}
    against_plain.draw(now, rows)


def test_the_page_says_what_is_not_there(material):
    page = own_data.page(material, lines(material))
    assert "runs that are not trained yet: TDR (weights by class) 3 of 3" in page
    assert "<td>TDR</td><td>0 of 3</td><td>–</td>" in page and "<img" not in page
    assert page.count("<table>") == 2
