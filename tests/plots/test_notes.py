"""What stands below a figure."""

from types import SimpleNamespace

import pandas as pd

from reweigh.plots import notes
from reweigh.plots.style import data_title
from reweigh.records.lineage import EDITIONS, STAND_INS, of_data


class Shown:
    """As much of an artifact's material as its notes ask for: runs of two cells, and what they were trained on."""

    scale = "paper"

    def __init__(self, editions):
        self.records = {
            f"run{k}": {"raw": [{"dataset": "waterbirds", "edition": edition}]} for k, edition in enumerate(editions)
        }
        cells = [{"run": name, **CELL, "collapsed": False} for name in self.records]
        self.runs = pd.DataFrame(cells, columns=["run", *CELL, "collapsed"])

    def experiment(self, name):
        return self

    def paper_of(self, name):
        return self

    dataset, paper, published = "waterbirds", "autobalance", None

    @property
    def config(self):
        return SimpleNamespace(paper=self.paper_of)


CELL = {"experiment": "waterbirds", "setting": "linear", "method": "ce"}


def test_a_figure_says_what_its_data_stand_in_for():
    rows = pd.DataFrame([{**CELL, "status": "run", "n": 2}])
    said = notes.missing_notes(Shown(["official", "efficientnet-lite0", "efficientnet-lite0"]), rows)
    assert said == [f"{data_title('waterbirds')} is a stand-in: EfficientNet-Lite0, 1280-d (not the paper's ResNet-18)"]
    assert notes.missing_notes(Shown(["official", "slice", "reconstruction"]), rows) == []
    elsewhere = pd.DataFrame([{**CELL, "method": "group_dro", "status": "run", "n": 2}])
    assert notes.missing_notes(Shown(["efficientnet-lite0"]), elsewhere) == []


def test_lines_of_the_scorecard_say_it_too():
    said = of_data(["official", "efficientnet-lite0"], "waterbirds")
    assert said == ["data: a stand-in: EfficientNet-Lite0, 1280-d (not the paper's ResNet-18)"]
    assert of_data(["slice", "slice", "official"], "cifar10-slice") == ["data: slice of cifar10-slice"]
    assert of_data(["official"], "mnist") == []


def test_every_stand_in_is_called_so_by_the_lineage():
    assert all(EDITIONS[name] == f"a stand-in: {text}" for name, text in STAND_INS.items())
