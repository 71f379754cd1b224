"""Every number in every committed table leads to a sha256 and a URL, and comes out the same when computed again."""

import csv
import math
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import ttest_1samp
from support import metric_arithmetic
from support.project import ROOT

from reweigh.analysis import tables
from reweigh.config.loading import load
from reweigh.digest import file_digest
from reweigh.provenance.explain import as_tree, explain, read
from reweigh.provenance.explain.evidence import cell
from reweigh.records import record

FIGURES = sorted(path.relative_to(ROOT) for path in (ROOT / "figures/paper").glob("*/*.csv"))
SCORECARD, BENCH = Path("results/paper/scorecard.csv"), Path("results/bench/bench.csv")
SHA256 = re.compile(r"[0-9a-f]{64}")
URL = re.compile(r"https?://[^ ]+\.[^ ]+/.+")

# Columns that place a line, rather than say something that is computed.
PLACES = {"value", "epoch", "seed", "class", "example"}


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def is_file_and_url(fact: dict[str, Any]) -> bool:
    """Whether a leaf names a file that is here with the sha256 that it has, and an address."""
    return file_digest(ROOT / fact["file"]) == fact["sha256"] and bool(URL.fullmatch(fact["url"]))


def raw_files(files: list[dict[str, Any]]) -> bool:
    """Whether each has a sha256 and an address; a stand-in, made and not downloaded, that of what it stands for."""
    return bool(files) and all(
        SHA256.fullmatch(file["sha256"]) and URL.fullmatch(file["url"] or (file["homepage"] if made(file) else ""))
        for file in files
    )


def made(file: dict[str, Any]) -> bool:
    return any(file["edition"] in paper.published.stand_ins for paper in load(ROOT).papers.values())


def reaches_the_ground(part: str, found: Any) -> bool:
    """Whether a part of the evidence ends in files with sha256 and URL, or in a reason why there is nothing."""
    match part:
        case "runs" | "baseline":
            return bool(found) and all(raw_files(run["raw"]) and SHA256.fullmatch(run["digest"]) for run in found)
        case "published" | "published_baseline" | "config":
            return is_file_and_url(found)
        case "claim":
            return is_file_and_url(found) and bool(found["rule"])
        case "family":
            return all(one["line"] > 1 and (one["p"] is None or one["runs"]) for one in found)
        case "formula":
            # Of what the config says, or the paper prints, alone: there is no raw file.
            drawn = "options" in found["key"] or found["key"] == "published.file"
            code = SHA256.fullmatch(found["code"]["digest"])
            return bool(code) and is_file_and_url(found) and (drawn or raw_files(found["raw"]))
        case _:
            return len(found) > 5


def walk(path: Path) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    table, _ = read(path, Path())
    for number, line in table.lines:
        yield line, cell(number, line, table)


@pytest.mark.parametrize("path", [*FIGURES, SCORECARD], ids=str)
def test_every_number_of_a_table_reaches_sha256_and_url(path: Path) -> None:
    known: dict[tuple[str, int], bool] = {}
    numbers = 0
    for line, found in walk(path):
        assert not found["fault"], (path, found["number"], found["fault"])
        for name, text in line.items():
            if not is_number(text) or name in ("note", "records"):
                continue
            numbers += 1
            column = found["columns"][name]
            assert column["value"] == text and column["how"]
            assert "formula" not in found or column["from"] != ["reason"], (path, found["number"], name)
            for part in column["from"]:
                key = part, 0 if part == "config" else found["number"]
                if key not in known:
                    known[key] = reaches_the_ground(part, found[part])
                assert known[key], (path, found["number"], name, part)
    assert numbers >= 10


NAMED_BY_X = (
    "decision_line",
    "training_examples",
    "training_examples_by_law",
    "draws_by_positives_right",
)  # there x says which line it is


@pytest.mark.parametrize("path", [*FIGURES, SCORECARD], ids=str)
def test_every_number_is_computed_again_but_for_those_that_place_it(path: Path) -> None:
    for line, found in walk(path):
        if found["check"].startswith("not computed again: the training list"):
            assert line["experiment"] == "places-lt"  # its list is downloaded, not kept here
            continue
        for name, column in found["columns"].items():
            sourced = column["from"] not in (["reason"], ["config"], ["claim"])
            placed = name in PLACES or column["how"] == "where the point lies"
            if sourced and not placed and not (name == "x" and line["metric"] in NAMED_BY_X):
                assert column["check"] == "computed again: the same", (path, found["number"], name)


@pytest.mark.parametrize("path", [*FIGURES, SCORECARD, BENCH], ids=str)
def test_each_column_can_be_asked_by_its_name(path: Path) -> None:
    """The first line that has a number in a column: the answer is of that column, and its tree ends where it should."""
    table, _ = read(path, Path())
    for name in table.lines[0][1]:
        asked = next(((number, line[name]) for number, line in table.lines if is_number(line[name])), None)
        if asked is None or name in ("note", "records"):
            continue
        tree = explain(path, column=name, line=asked[0])
        (found,) = tree["cells"]
        assert found["column"] == name and found["columns"][name]["value"] == asked[1]
        assert list(found["columns"]) == [name]
        text = printed(tree)
        assert f"{name} {asked[1]}" in text
        if found["columns"][name]["from"] not in (["reason"], ["measured"]):
            assert "sha256" in text and "http" in text, (path, name)


def test_a_measured_speed_says_that_it_is_one() -> None:
    for _, found in walk(BENCH):
        assert "measurement" in found["check"]
        assert all(column["from"] == ["measured"] for column in found["columns"].values())


def printed(tree: dict[str, Any]) -> str:
    from rich.console import Console

    console = Console(width=400, file=open("/dev/null", "w"), record=True)  # noqa: SIM115
    console.print(as_tree(tree))
    return console.export_text()


# --- the scorecard's own columns, by other means ---------------------------------------------------------------------


def scored() -> list[dict[str, str]]:
    with open(SCORECARD, newline="") as file:
        return list(csv.DictReader(file))


def test_a_gain_is_that_of_scipy_and_names_the_runs_of_both_sides() -> None:
    gained = [line for line in scored() if line["gain"]]
    assert gained
    for line in gained:
        (found,) = explain(SCORECARD, row=f"{line['paper']}/{line['id']}", column="gain")["cells"]
        ours, plain = (
            [metric_arithmetic.stated(body, line["metric"]) for body in bodies(found[part])]
            for part in ("runs", "baseline")
        )
        differences = [a - b for a, b in zip(ours, plain, strict=True)]
        interval = ttest_1samp(differences, 0).confidence_interval(0.95)
        stated = [float(line[name]) for name in ("gain", "gain_low", "gain_high")]
        assert stated == pytest.approx([statistics.fmean(differences), *interval], rel=1e-4)
        plainest = load(ROOT).papers[line["paper"]].published.baseline
        assert {run["run"].split("/")[4] for run in found["baseline"]} in ({plainest}, {f"{plainest}_p"})


def bodies(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record.read(record.record_path(run["run"])) for run in sorted(runs, key=lambda one: one["run"])]


def test_a_published_number_leads_to_its_line_of_the_file() -> None:
    numbers = 0
    for line, found in walk(SCORECARD):
        if not line["published"]:
            continue
        fact = found["published"]
        head, *rows = Path(fact["file"]).read_text().splitlines()
        (printed,) = csv.DictReader([head, rows[fact["line"] - 2]])
        share = float(printed["mean"]) / (100 if fact["in_percent"] else 1)
        assert float(line["published"]) == pytest.approx(share, rel=1e-6)
        assert line["source"] == fact["table"] == printed["table_or_figure"]
        numbers += 1
    assert numbers > 200


def test_holms_correction_counts_every_claim_of_the_paper() -> None:
    lines = [line for line in scored() if line["kind"] == "claim" and line["p_holm"]]
    assert len(lines) >= 3  # those that are degenerate have none
    for line in lines:
        (found,) = explain(SCORECARD, row=f"{line['paper']}/{line['id']}", column="p_holm")["cells"]
        family = found["family"]
        assert len(family) == sum(one["kind"] == "claim" and one["paper"] == line["paper"] for one in scored())
        ordered, corrected = sorted(one["p"] for one in family if one["p"] is not None), 0.0
        for place, p in enumerate(ordered):
            corrected = max(corrected, min(1.0, p * (len(ordered) - place)))
            if p == float(line["p"]):
                assert float(line["p_holm"]) == pytest.approx(corrected, rel=1e-4)


def test_the_runs_of_a_claim_are_those_that_its_line_names() -> None:
    for line in scored():
        if line["kind"] == "claim" and line["runs"]:
            (found,) = explain(SCORECARD, row=f"{line['paper']}/{line['id']}")["cells"]
            assert [run["run"] for run in found["runs"]] == tables.expand_runs(line["runs"])
