"""Explain on a copy of the real project in which something is wrong: the first line says what, and what to do."""

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.project import ROOT

from reweigh.artifacts import receipt
from reweigh.digest import file_digest
from reweigh.errors import RecordError
from reweigh.provenance.explain import as_tree, explain, main
from reweigh.records import record

CARD = "results/paper/scorecard.csv"
FIG3, FIG5, FIG6 = (f"figures/paper/tdr/fig{number}.csv" for number in (3, 5, 6))
TABLE3 = "figures/paper/tdr/table3.csv"
TOY, SIZES = "figures/paper/absgd/fig1.csv", "figures/paper/absgd/fig2.csv"
LAW = {"experiment": "imagenet-lt", "metric": "training_examples_by_law"}
NUMBER = {"paper": "tdr", "id": "Table3/adult/sex/tdr_p/test_accuracy"}
CELL = {"method": "tdr", "setting": "rho0.005", "seed": ""}
RIDGE = {"metric": "class_weight", "class": "9", "method": "tdr", "seed": ""}
POINT = {"method": "tdr", "epoch": "50", "seed": "1"}
with open(ROOT / CARD, newline="") as scorecard:  # which claims are decided, and how, is what its records say
    CARD_LINES = list(csv.DictReader(scorecard))
DECIDED = next(line for line in CARD_LINES if line["verdict"] in ("holds", "fails"))
ADULT = next(line for line in CARD_LINES if line["id"] == NUMBER["id"])
CLAIM = {key: DECIDED[key] for key in ("paper", "id")}
OTHER = {"holds": "fails", "fails": "holds"}[DECIDED["verdict"]]


class Copy:
    """A copy of what explain reads; what a test changes in it is put back after the test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._before: dict[Path, bytes | None] = {}

    def put(self, name: str | Path, content: bytes | None) -> None:
        """Write a file, or delete it."""
        path = self.root / name
        self._before.setdefault(path, path.read_bytes() if path.is_file() else None)
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)

    def edit(self, name: str, where: dict[str, str], **fields: str) -> None:
        """Change fields of the one line of a csv that matches."""
        with open(self.root / name, newline="") as file:
            lines = list(csv.DictReader(file))
        (line,) = [line for line in lines if all(line[key] == value for key, value in where.items())]
        assert all(line[key] != value for key, value in fields.items())
        line |= fields
        text = io.StringIO()
        rows = csv.DictWriter(text, lines[0], lineterminator="\n")
        rows.writeheader()
        rows.writerows(lines)
        self.put(name, text.getvalue().encode())

    def restore(self) -> None:
        for path, content in self._before.items():
            self.put(path, content)
        self._before.clear()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    root = tmp_path_factory.mktemp("copy")
    for name in ("config", "data/published", "results/paper", "figures/paper"):
        shutil.copytree(ROOT / name, root / name)
    shutil.copy(ROOT / "data/manifest.yaml", root / "data")
    return Copy(root)


@pytest.fixture
def copy(whole: Copy) -> Iterator[Copy]:
    yield whole
    whole.restore()


def first_line(tree: dict[str, Any]) -> str:
    return str(as_tree(tree).label).splitlines()[0]


EDITS = [
    (FIG5, CELL, {"mean": "0.99"}, "NOT what the records give: mean 0.99, should be 0.910489"),
    (FIG5, CELL, {"n": "6"}, "n 6, should be 5"),
    (FIG5, CELL, {"high": ""}, "high empty, should be 0.925067"),
    (FIG5, CELL, {"records": "0123456789ab"}, "made from other records"),
    (FIG5, CELL, {"runs": "paper/tdr/mnist-4v9/rho0.005/tdr/seed{0,1,2,3}"}, "made from other records"),
    (FIG5, CELL, {"runs": "nonsense"}, "cannot be computed again: 'nonsense' is not the name of a run"),
    (FIG5, {**CELL, "method": "none", "setting": "rho0.1"}, {"runs": ""}, "a number that no run feeds"),
    (FIG5, CELL, {"title": "ER"}, "title ER, should be TDR"),
    (FIG5, CELL, {"value": "0.1"}, "value 0.1, should be 0.005"),
    (FIG5, {**CELL, "method": "hard"}, {"method": "none", "title": "No reweighting"}, "its runs are of hard"),
    (FIG5, CELL, {"setting": "rho0.1", "value": "0.1"}, "its runs are of rho0.005"),
    (CARD, NUMBER, {"method": "none", "title": "No reweighting"}, "its runs are of tdr"),
    (FIG3, POINT, {"epoch": "inf"}, "should be empty"),
    (FIG3, POINT, {"epoch": "50.5"}, "should be empty"),
    (FIG6, RIDGE, {"class": "99"}, "class 99, should be empty"),
    (FIG6, RIDGE, {"class": "inf"}, "class inf, should be empty"),
    (FIG3, POINT, {"minutes": "1.5"}, "minutes 1.5, should be"),
    (FIG6, {"metric": "inverse_frequency", "class": "9", "method": "tdr"}, {"mean": "0.5"}, "mean 0.5, should be"),
    (FIG6, RIDGE, {"high": "0.9"}, "high 0.9, should be"),
    (TABLE3, {"method": "tdr_p", "metric": "test_accuracy"}, {"published": "0.8"}, "published 0.8, should be 0.7906"),
    (CARD, NUMBER, {"published": "0.88"}, "published 0.88, should be 0.7906"),
    (CARD, NUMBER, {"difference": "0.01"}, f"difference 0.01, should be {ADULT['difference']}"),
    (CARD, NUMBER, {"gain": "0.01"}, f"gain 0.01, should be {ADULT['gain']}"),
    (CARD, NUMBER, {"gain_high": "0.01"}, "gain_high 0.01, should be"),
    (CARD, NUMBER, {"published_gain": "0.01"}, "published_gain 0.01, should be 0.0395"),
    (CARD, NUMBER, {"verdict": "replicated"}, "verdict replicated, should be better"),
    (CARD, CLAIM, {"effect": "0.5"}, f"effect 0.5, should be {DECIDED['effect']}"),
    (CARD, CLAIM, {"p": "0.5"}, f"p 0.5, should be {DECIDED['p']}"),
    (CARD, CLAIM, {"p_holm": "0.04"}, f"p_holm 0.04, should be {DECIDED['p_holm'][:5]}"),
    (CARD, CLAIM, {"verdict": OTHER}, f"verdict {OTHER}, should be {DECIDED['verdict']}"),
    (TOY, {"metric": "weight", "panel": "b", "example": "11"}, {"weight": "0.5"}, "weight 0.5, should be"),
    (TOY, {"metric": "example", "panel": "a", "example": "0"}, {"x": "0.1"}, "x 0.1, should be"),
    (TOY, {"metric": "example", "panel": "a", "example": "0"}, {"example": "9999"}, "'9999' is no whole number below"),
    (TOY, {"metric": "example", "panel": "a", "example": "0"}, {"example": "inf"}, "cannot be computed again"),
    (TOY, {"metric": "positives_right", "method": "sgd_ce"}, {"x": "0.5"}, "x 0.5, should be 0.04385"),
    (TOY, {"metric": "positives_right", "method": "absgd_ce"}, {"high": "0.5"}, "high 0.5, should be 0.0726064"),
    (TOY, {"metric": "draws_by_positives_right", "method": "", "x": "2"}, {"y": "0.5"}, "y 0.5, should be"),
    (TOY, {"metric": "draws_by_positives_right", "method": "", "x": "2"}, {"x": "99"}, "no draw has 99 positives"),
    (TOY, {"metric": "draws_with_more_positives_right"}, {"x": "0.9"}, "x 0.9, should be 0.391"),
    (SIZES, {"setting": "lt-rho100", "x": "2"}, {"x": "inf"}, "'inf' is no whole number below 101"),
    (SIZES, {"setting": "lt-rho100", "x": "2"}, {"x": "999"}, "'999' is no whole number below 101"),
    (SIZES, {"setting": "lt-rho100", "x": "2"}, {"experiment": "nosuch"}, "unknown experiment"),
    (SIZES, {"setting": "lt-rho100", "x": "2"}, {"y": "500"}, "y 500, should be 477"),
    (SIZES, {**LAW, "x": "3"}, {"y": "5000"}, "y 5000, should be 994.59"),
    (SIZES, {**LAW, "x": "3"}, {"x": "1001"}, "'1001' is no whole number below 1001"),
    (SIZES, {**LAW, "x": "3"}, {"experiment": "cifar10"}, "no law of 'cifar10' is stated"),
]


@pytest.mark.parametrize(("name", "where", "fields", "says"), EDITS, ids=lambda value: str(value)[:40])
def test_a_field_that_was_changed_is_named(copy: Copy, name: str, where: Any, fields: Any, says: str) -> None:
    assert explain(name, where=where, root=copy.root)["fault"] == ""
    copy.edit(name, where, **fields)
    now = {key: fields.get(key, value) for key, value in where.items()}
    tree = explain(name, where=now, root=copy.root)
    assert says in tree["fault"]
    assert first_line(tree) == f"AT FAULT: {tree['fault']}"
    remedy = "reweigh scorecard --scale paper" if name == CARD else f"reweigh render {name.removesuffix('.csv')}"
    assert tree["fault"].endswith(remedy)


def test_the_p_of_another_claim_shows_in_what_is_corrected_with_it(copy: Copy) -> None:
    with open(ROOT / CARD, newline="") as file:
        family = [line for line in csv.DictReader(file) if line["paper"] == DECIDED["paper"] and line["p"]]
    other = next(line for line in family if line["id"] != DECIDED["id"])
    beyond = "1" if float(other["p"]) < float(DECIDED["p"]) else "0"  # to the other side of it in Holm's order
    copy.edit(CARD, {"id": other["id"]}, p=beyond)
    (cell,) = explain(CARD, where=CLAIM, root=copy.root, column="p_holm")["cells"]
    assert cell["check"].startswith(f"NOT {DECIDED['p_holm']}, should be")


def test_only_the_column_that_was_asked_for_counts(copy: Copy) -> None:
    copy.edit(FIG5, CELL, sd="0.5")
    (cell,) = explain(FIG5, where=CELL, column="mean", root=copy.root)["cells"]
    assert cell["fault"] == ""  # the file as a whole is not what its receipt says, and that is said of the file
    assert "sd" not in explain(FIG5, where=CELL, column="mean", root=copy.root)["cells"][0]["columns"]
    tree = explain(FIG5, where=CELL, column="rho0.005/sd", root=copy.root)
    assert "NOT 0.5, should be 0.0117406" in tree["fault"]


def altered(copy: Copy, run: str) -> None:
    path = record.record_path(run, copy.root)
    copy.put(path, path.read_bytes().replace(b'"status": "finished"', b'"status": "diverged"'))


def test_an_altered_a_missing_and_a_moved_record_are_named(copy: Copy) -> None:
    run = "paper/tdr/mnist-4v9/rho0.005/tdr/seed2"
    path = record.record_path(run, copy.root)
    altered(copy, run)
    tree = explain(FIG5, where=CELL, root=copy.root)
    assert "changed by hand" in tree["fault"] and "seed2.json" in first_line(tree)
    assert "changed by hand" in explain(path, root=copy.root)["fault"]
    copy.put(path, None)
    assert "train it with: snakemake" in explain(FIG5, where=CELL, root=copy.root)["fault"]
    copy.put(path, path.with_name("seed3.json").read_bytes())
    assert "made from other records" in explain(FIG5, where=CELL, root=copy.root)["fault"]
    assert (
        "it is the record of paper/tdr/mnist-4v9/rho0.005/tdr/seed3, moved here"
        in (explain(f"results/{run}", root=copy.root)["fault"])
    )


def test_an_altered_record_of_plain_training_shows_in_the_gain_and_not_in_the_mean(copy: Copy) -> None:
    altered(copy, "paper/tdr/adult/sex/none_p/seed2")
    assert "none_p/seed2.json" in explain(CARD, where=NUMBER, column="gain", root=copy.root)["fault"]
    assert "none_p/seed2.json" in explain(CARD, where=NUMBER, root=copy.root)["fault"]
    assert explain(CARD, where=NUMBER, column="mean", root=copy.root)["fault"] == ""


def test_a_claim_that_the_config_no_longer_makes_is_named(copy: Copy) -> None:
    paper = "config/papers/tdr/claims/mnist-figures.yaml"
    name = "weights-on-mnist-stay-near-half"  # one that no grid makes
    copy.put(paper, (copy.root / paper).read_bytes().replace(f"id: {name}\n".encode(), f"id: {name}-0\n".encode()))
    where = {"paper": "tdr", "id": name}
    assert f"id {name}, should be empty" in explain(CARD, where=where, root=copy.root)["fault"]


def test_a_csv_that_is_not_the_one_of_its_receipt_is_named(copy: Copy) -> None:
    path = copy.root / FIG5
    beside = path.with_suffix(".json")
    copy.put(beside, b"")
    assert "not a readable receipt" in explain(FIG5, where=CELL, root=copy.root)["fault"]
    receipt.write(beside, {"records": [], "inputs": {}, "rendering": "0" * 64}, {"csv": path}, copy.root)
    tree = explain(FIG5, where=CELL, root=copy.root)
    assert tree["fault"] == "" and tree["receipt"]["rendering"] == "0" * 64
    copy.edit(FIG5, {**CELL, "method": "hard"}, mean="0.5")
    tree = explain(FIG5, where=CELL, root=copy.root)
    assert f"it has {file_digest(path)[:12]}; restore it from git" in tree["fault"]


def test_a_fault_ends_the_command_with_one(
    copy: Copy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy.root)
    assert main(FIG5, "tdr", "0.005", []) == 0
    assert not capsys.readouterr().out.startswith("AT FAULT")
    copy.edit(FIG5, CELL, mean="0.99")
    assert main(FIG5, "tdr", "0.005", []) == 1
    assert capsys.readouterr().out.startswith("AT FAULT: line ")
    assert main(FIG5, "tdr", "0.005", [], as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["fault"].startswith("line ")


def test_a_raw_file_that_is_not_what_the_manifest_says_is_named(copy: Copy) -> None:
    name = "data/raw/adult/adult.data"
    assert explain(name, root=copy.root)["fault"] == ""  # it is not here: nothing is wrong with it
    (copy.root / name).parent.mkdir(parents=True)
    copy.put(name, b"39, State-gov\n")
    fault = explain(name, root=copy.root)["fault"]
    assert fault.startswith(f"sha256 {file_digest(copy.root / name)[:12]}, the manifest says 5b00264637db")
    assert fault.endswith("get it again: reweigh fetch adult")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda text: b"", "or it has no line"),
        (lambda text: text.splitlines()[0], "or it has no line"),
        (lambda text: text.replace(b",runs,", b",runz,", 1), "it lacks columns"),
        (lambda text: text.rstrip(b"\n") + b",more\n", r"line \d+ has more fields than the header"),
        (lambda text: text + b"\xff\xfe", "not a readable csv"),
    ],
)
def test_a_torn_csv_is_a_fault_and_no_mistake_of_the_question(copy: Copy, content: Any, says: str) -> None:
    copy.put(FIG5, content((copy.root / FIG5).read_bytes()))
    with pytest.raises(RecordError, match=rf"{says}.*; restore {FIG5} from git or make it again"):
        explain(FIG5, row="tdr", column="0.005", root=copy.root)


def test_a_sealed_record_of_another_shape_is_a_fault(copy: Copy) -> None:
    run = "paper/tdr/mnist-4v9/rho0.005/tdr/seed2"
    path = record.record_path(run, copy.root)
    body = record.read(path)
    copy.put(path, None)
    record.write(path, {**body, "spec": {}, "raw": {}, "split": None})
    for asked in (path, record.record_path(run)):
        assert "not a record, at its top" in explain(asked, root=copy.root)["fault"]
    assert "not a record, at its top" in explain(FIG5, where=CELL, root=copy.root)["fault"]
    assert (
        "not a record, at its top"
        in explain(f"data/splits/{run.replace('/tdr/seed', '/seed')}.npz", root=copy.root)["fault"]
    )
