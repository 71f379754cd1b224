"""Texts of others: what a terminal, a spreadsheet or a browser would obey is shown, and never obeyed."""

import csv
import io
import json
import re
import shutil
import sys

import pandas as pd
import pytest
from support import own_data, tampering
from support.project import ROOT
from typer.testing import CliRunner

from reweigh import canonical_json, cli, spreadsheets, terminal
from reweigh.analysis import rows
from reweigh.bench import table as bench
from reweigh.config import loading
from reweigh.errors import ConfigError, DataError
from reweigh.planning import doctor
from reweigh.provenance import explain
from reweigh.provenance.audit import figures
from reweigh.records import attestations
from reweigh.records.staleness import Dependencies
from reweigh.scorecard import text

RED = "\x1b[31mred\x07\x9b\u202e"
SHOWN = "\\x1b[31mred\\x07\\x9b\\u202e"
FORMULAS = ["=HYPERLINK(1)", "+1+cmd", "-1+cmd", "@SUM(1)", "\t=1", "\r=1", "'tis", "=1,2", '="a"']
PLAIN = ["-1", "+2.5e-3", "-inf", "a=b", "", "é", "rho0.1", "1'"]


@pytest.fixture
def project(sound_project, tmp_path, monkeypatch):
    """A copy of a sound project, at hand."""
    folder = tampering.copy(sound_project, tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


# --- terminals -------------------------------------------------------------------------------------------------------


def test_no_command_prints_what_a_terminal_obeys(project, monkeypatch, capsys):
    """In a csv, a record and an attestation, each sealed again; what is printed names it, harmless."""
    record = min(project.glob("results/smoke/tdr/*/*/*/seed*.json")).relative_to(project)
    tampering.edit_json(record, lambda body: body["device"].update(name=RED), reseal=True)
    tampering.edit_csv(project / "figures/smoke/tdr/fig3.csv", 0, title=RED)
    forged = canonical_json.seal({"attestation_version": RED})
    tampering.write(project / "results/smoke/attestations/a.json", canonical_json.text_of(forged))
    figure, run = "figures/smoke/tdr/fig3.csv", record.relative_to("results").with_suffix("").as_posix()
    for command in (
        ["plan", run], ["explain", figure, "--line", "2"], ["explain", figure, "--line", "2", "--json"],
        ["explain", str(record)], ["explain", f"figures/{RED}"], ["plan", RED], ["split", RED], ["render", RED],
    ):  # fmt: skip
        attestations._load.cache_clear()
        monkeypatch.setattr(sys, "argv", ["reweigh", *command])
        cli._exit_code()
        said = "".join(capsys.readouterr())
        assert "[31mred" in said and terminal.harmless(said) == said, command


def test_json_for_a_terminal_is_json():
    value = {"a": [RED, "é\n\t", "\U000e0041"]}
    said = terminal.json_text(value)
    assert json.loads(said) == value and "é" in said and terminal.harmless(said) == said


def test_say_prints_no_command(capsys):
    terminal.say(f"{RED}\nnext")
    terminal.say(RED, err=True)
    assert capsys.readouterr() == (f"{SHOWN}\nnext\n", f"{SHOWN}\n")


@pytest.mark.parametrize("module", sorted((ROOT / "src/reweigh/cli").glob("*.py")), ids=lambda path: path.stem)
def test_commands_print_by_say(module):
    assert "typer.echo" not in module.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\xff\xfe\x00", "names no version of a package"),
        (b"<html>", "names no version of a package"),
        (None, "is missing"),
    ],
)
def test_doctor_on_a_lock_that_is_none(content, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "envs").mkdir()
    if content is not None:
        doctor.LOCK.write_bytes(content)
    doctor.PROFILE.parent.mkdir(parents=True)
    doctor.PROFILE.write_text("a: [", encoding="utf-8")
    monkeypatch.setattr(doctor, "_cuda", lambda: "")
    facts = dict(doctor.facts())
    assert facts["lock"] == f"envs/requirements.lock {said}; restore it: git checkout envs/requirements.lock"
    assert facts["numpy"] and doctor._runtime() is None


# --- a record that is broken -----------------------------------------------------------------------------------------


BROKEN = [b"", b"[1]", b'{"a": 1, "a": 2}', b"\xff", b'{"a": ' * 5000, b'{"digest": []}']


def test_a_broken_record_is_named_and_stops_no_other_run(project, capsys):
    config, records = loading.load(project), sorted(project.glob("results/smoke/tdr/*/*/*/seed*.json"))
    names = [path.relative_to(project / "results").with_suffix("").as_posix() for path in records]
    for content in BROKEN:
        tampering.write(records[0], content)
        asked = Dependencies(config)
        assert [asked.current(name) for name in names] == [False] + [True] * (len(names) - 1)
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and records[0].name in said and said.endswith("; its run counts as not trained\n")
    done = CliRunner().invoke(cli.app, ["plan", *names])
    assert done.exit_code == 0 and f"1 of {len(names)} runs to train" in done.output


# --- spreadsheets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", FORMULAS)
def test_a_formula_is_a_text_in_every_table_and_itself_again_when_read(said):
    assert spreadsheets.cell(said) == f"'{said}" and spreadsheets.plain(spreadsheets.cell(said)) == said


@pytest.mark.parametrize("said", PLAIN)
def test_numbers_and_other_texts_stay_as_they_are(said):
    assert spreadsheets.cell(said) == said == spreadsheets.plain(said)


def test_figures_and_bench_write_texts(project):
    """The three writers of tables, and those who read them again: audit, explain, plan."""
    path = project / "figures/smoke/tdr/fig3.csv"
    frame = pd.read_csv(path)
    frame["title"] = ["=1+1", "-2", *frame["title"][2:]]
    rows.write_csv(frame, path.with_name("made.csv"))
    lines = list(csv.DictReader(path.with_name("made.csv").read_text(encoding="utf-8").splitlines()))
    assert [line["title"] for line in lines[:2]] == ["'=1+1", "-2"]
    table, _ = explain.read(path.with_name("made.csv").relative_to(project), project)
    assert table.lines[0][1]["title"] == "=1+1"
    line = bench.Line(**{**dict.fromkeys(bench.Line.__annotations__, "=1"), "ratio": 1.0, "q1": None, "q3": None,
                         "peak_mebibytes": None, "milliseconds": 1.0, "rounds": 1, "threads": 1,
                         "batch_size": None})  # fmt: skip
    bench.write([line], project / "bench.csv")
    assert ",=1" not in (project / "bench.csv").read_text(encoding="utf-8")
    assert bench.read(project / "bench.csv") == [line]
    assert figures.spreadsheets is spreadsheets


def test_no_other_module_writes_a_table():
    """Each writer of csv passes its texts through `spreadsheets`; names in a list of images are refused instead."""
    source = ROOT / "src/reweigh"
    writes = re.compile(r"\.to_csv\(|csv\.writer\(|csv\.DictWriter\(")
    writers = [path for path in source.rglob("*.py") if writes.search(path.read_text(encoding="utf-8"))]
    assert len(writers) > 3
    assert all("spreadsheets" in path.read_text(encoding="utf-8") for path in writers)


def test_classes_that_are_formulas_are_refused_at_import(tmp_path, monkeypatch):
    folder = own_data.project(tmp_path / "project", monkeypatch)
    own_data.images(folder / "signs", ["-1", "+1"])
    assert own_data.card_of(folder / "signs")["label"]["classes"] == ["-1", "+1"]
    own_data.images(folder / "pets", ["cat", "=cmd()"])
    with pytest.raises(DataError, match=r"=cmd\(\).*would hold a formula, as it begins with '='; rename the folder"):
        own_data.card_of(folder / "pets")


# --- pages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://a b", 'https://a"onclick=x', "https://a><script>", "//a"]
)
def test_the_address_of_a_paper_is_one(url, tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    paper = tmp_path / "config/papers/tdr/paper.yaml"
    old = next(line for line in paper.read_text(encoding="utf-8").splitlines() if line.startswith("url:"))
    paper.write_text(paper.read_text(encoding="utf-8").replace(old, f"url: '{url}'"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"paper.yaml:.*url: must be"):
        loading.load(tmp_path)


def test_markdown_holds_no_element():
    lines = pd.DataFrame([{"experiment": "<script>", "scale_note": "a <img src=x>"}])
    finding = type("Finding", (), {"where": "<b>", "text": "<i>", "evidence": "<script>"})
    for made in (text._cuts(lines), text._findings([finding])):
        assert not [part for part in made.split("<")[:-1] if not part.endswith("\\")], made
    assert io.StringIO(text.table(["a"], [["b|c\nd"]])).read().count("\n") == 2
