"""What is said of results beside the records: README, docs, the bench, files that nothing names, toys, the lock."""

import csv
import json
import re
import shutil

import pytest
from support import needs, tampering
from support.project import ROOT

from reweigh import canonical_json
from reweigh.artifacts import receipt
from reweigh.config.loading import load
from reweigh.config.names import ArtifactName
from reweigh.provenance.audit import documents, lockfile, notebook_rows, unlisted
from reweigh.records import record
from reweigh.scorecard import readme

PAGES = ("README.md", "docs/found.md", "docs/compare.md", "docs/speed.md", "results/paper/scorecard.csv")
BENCH = "results/bench/penalty.csv"
UNTRAINED = ("tdr/fig1", "absgd/fig1", "autobalance/fig1", "autobalance/fig2")  # HAR's toy takes long: tests/plots


@pytest.fixture(scope="module")
def records():
    return {run: json.loads(path.read_bytes()) for run, path in record.files_of("paper", ROOT).items()}


@pytest.fixture(scope="module")
def pages(tmp_path_factory, records):
    """The pages, what they are written from, and a check of them that writes them once."""
    root, config = tmp_path_factory.mktemp("pages"), load(ROOT)
    for name in (*PAGES, *(path.relative_to(ROOT).as_posix() for path in (ROOT / "results/bench").glob("*.csv"))):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    links = list(documents.check_documents(config, "paper", root, records))
    assert [link.name for link in links if link.state != "intact"] == []
    assert {"README.md (findings)", "README.md (scorecard)", "docs/found.md (decided)"} < {link.name for link in links}
    return root


@pytest.fixture
def copy(pages, tmp_path):
    return tampering.copy(pages, tmp_path / "copy")


def block(path, name):
    return readme.parts_of(path, name)[1]


def verdict(root):
    table = block(root / "README.md", "scorecard")
    row = next(line for line in table.splitlines() if re.match(r"\| `?tdr`? \|", line))
    first = next(cell for cell in row.split("|")[2:] if cell.strip().isdigit())
    tampering.replace(root / "README.md", row, row.replace(first, f" {int(first) + 1} ", 1))


def sentence(root):
    said = block(root / "README.md", "findings")
    digit = next(place for place, letter in enumerate(said) if letter.isdigit() and said[place - 1] == ".")
    other = said[:digit] + str((int(said[digit]) + 1) % 10) + said[digit + 1 :]
    tampering.replace(root / "README.md", said, other)


def decided(root):
    said = block(root / "docs/found.md", "decided")
    fails = next(line for line in said.splitlines() if re.search(r"\| [`*]*fails[`*]* \|", line))
    tampering.replace(root / "docs/found.md", f"{fails}\n", "")


def speed(root):
    said = block(root / "docs/speed.md", "penalty")
    ratio = next(word for word in said.split() if word.replace(".", "").isdigit())
    tampering.replace(root / "docs/speed.md", said, said.replace(ratio, "1.01", 1))


FORGED = {
    "a verdict in README": (verdict, "README.md (scorecard)", "should be"),
    "a number in README": (sentence, "README.md (findings)", "should be"),
    "a claim that fails, left out": (decided, "docs/found.md (decided)", "should be"),
    "a block less": (
        lambda root: tampering.replace(root / "README.md", "<!-- scorecard -->", ""),
        "README.md (scorecard)", "no block scorecard",
    ),
    "a time in docs": (speed, "docs/speed.md", "should be"),
}  # fmt: skip


@needs.CLONE
@pytest.mark.parametrize("forgery", FORGED)
def test_a_page_that_says_something_else_is_broken(copy, records, monkeypatch, forgery):
    change, name, said = FORGED[forgery]
    bodies = _bodies(records)
    monkeypatch.setattr(readme, "bodies", lambda *_: bodies)
    change(copy)
    links = [link for link in documents.check_documents(load(ROOT), "paper", copy, records) if link.state != "intact"]
    assert [(link.kind, link.name, link.state) for link in links] == [("page", name, "broken")], links
    assert said in links[0].detail


_once: dict = {}


def _bodies(records):
    """What would be written, once for all tests."""
    import pandas as pd

    if not _once:
        _once.update(readme.bodies(load(ROOT), pd.read_csv(ROOT / "results/paper/scorecard.csv"), records))
    return _once


@needs.CLONE
def test_a_page_whose_sentences_no_longer_hold_is_stale(copy, records):
    path = copy / "results/paper/scorecard.csv"
    lines = list(csv.DictReader(path.read_text().splitlines()))
    for line in lines:
        line["verdict"] = {"fails": "holds", "holds": "fails"}.get(line["verdict"], line["verdict"])
    tampering.write_csv(path, lines)
    links = list(documents.check_documents(load(ROOT), "paper", copy, records))
    assert ("page", "README.md", "stale") in {link[:3] for link in links}


# --- the bench ---


BENCH_FORGED = {
    "a ratio": ({"ratio": "1.19949"}, "between quartiles"),
    "all of a ratio": ({"ratio": "1.19949", "q1": "1.19", "q3": "1.2"}, "and a ratio of"),
    "a time": ({"milliseconds": "133.319"}, "and a ratio of"),
    "rounds": ({"rounds": "0"}, "0 rounds"),
    "a name": ({"contender": "plain step"}, "stands twice"),
    "no median": ({"ratio": ""}, "quartiles without"),
}


def test_the_bench_as_it_is_agrees_with_itself(pages):
    assert {link.state for link in documents.check_bench(pages)} == {"intact"}


@pytest.mark.parametrize("forgery", BENCH_FORGED)
def test_a_bench_that_contradicts_itself_is_broken(copy, forgery):
    changes, said = BENCH_FORGED[forgery]
    tampering.edit_csv(copy / BENCH, 1, **changes)
    (link,) = (link for link in documents.check_bench(copy) if link.state != "intact")
    assert link[:3] == ("bench", BENCH, "broken") and said in link.detail


def test_a_bench_that_is_not_the_committed_one_is_unverifiable(copy):
    tampering.git(copy, "init", "-q")
    tampering.git(copy, "add", "-A")
    tampering.git(copy, "commit", "-q", "-m", "measured")
    tampering.edit_csv(copy / BENCH, 1, milliseconds="1333.2")
    (link,) = (link for link in documents.check_bench(copy) if link.state != "intact")
    assert link[:3] == ("bench", BENCH, "unverifiable") and "not the one that is committed" in link.detail


# --- files that nothing names ---


def test_a_file_that_nothing_names_is_named(tmp_path):
    run = "paper/tdr/mnist-4v9/rho0.1/tdr/seed0"
    known = [f"results/{run}.json", f"results/{run}.npz", "results/paper/scorecard.csv", "results/paper/audit.json",
             "results/paper/attestations/2026-11-30-a.json", "results/bench/app-a.csv", "figures/paper/tdr/fig3.csv",
             "figures/paper/tdr/fig3+sqrt.pdf", "figures/paper/tdr/fig3.failed.ipynb", "data/published/tdr.csv",
             "data/splits/paper/tdr/mnist-4v9/rho0.1/seed0.npz", "docs/a.md", "docs/.b.md.swp", "results/paper/.tmp1",
             "results/quick/notes.txt"]  # fmt: skip
    strange = ["results/paper/better.csv", f"results/{run}.txt", "results/paper/tdr/seed0.json",
               "results/bench/mine.csv", "figures/paper/tdr/notes.txt", "figures/paper/all.csv",
               "data/published/ours.csv",
               "data/splits/paper/tdr/mnist-4v9/rho7/seed0.npz", "docs/notes.md"]  # fmt: skip
    for name in known + strange[:-1]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    tampering.git(tmp_path, "init", "-q")
    tampering.git(tmp_path, "add", "-A")
    tampering.git(tmp_path, "commit", "-q", "-m", "all")
    (tmp_path / "docs/notes.md").write_text("mine")
    links = list(unlisted.check_unlisted(load(ROOT), "paper", tmp_path))
    assert sorted(link.name for link in links) == sorted(strange)
    assert {(link.kind, link.state) for link in links} == {("unlisted", "unverifiable")}


@needs.CLONE
def test_the_project_has_no_file_that_nothing_names():
    tracked = set(tampering.git(ROOT, "ls-files").splitlines())
    assert [link for link in unlisted.check_unlisted(load(ROOT), "paper", ROOT) if link.name in tracked] == []


# --- artifacts that are not trained ---


@needs.CLONE
@pytest.mark.parametrize("name", UNTRAINED)
def test_a_number_that_no_run_feeds_is_computed_again(name):
    config, artifact = load(ROOT), ArtifactName("paper", *name.split("/"))
    lines = list(csv.DictReader((ROOT / f"figures/paper/{name}.csv").read_text(encoding="utf-8").splitlines()))
    assert notebook_rows.unlike_its_notebook(lines, config, artifact, {}) == ""
    place, column = next((k, key) for k, line in enumerate(lines) for key in ("y", "mean") if line.get(key))
    lines[place][column] = "0.123456"
    assert f"line {place + 2}: {column}" in notebook_rows.unlike_its_notebook(lines, config, artifact, {})


# --- the lock of what is drawn ---


@pytest.mark.parametrize(
    ("versions", "pinned", "state", "said"),
    [
        ({}, "matplotlib==3.1\npandas==2.1\n", "intact", ""),
        ({}, "matplotlib==3.2\npandas==2.1\n", "stale", "the lock pins matplotlib 3.2, pandas 2.1 now"),
        ({"pandas": "2.0"}, None, "unverifiable", "made with other versions than its own lock pinned"),
    ],
)
def test_artifacts_are_held_against_the_lock_too(tmp_path, versions, pinned, state, said):
    lock = tmp_path / lockfile.LOCK
    lock.parent.mkdir()
    lock.write_text("matplotlib==3.1\npandas==2.1\n")
    path = tmp_path / "figures/paper/tdr/fig3.json"
    receipt.write(path, {"records": [], "inputs": {}, "rendering": ""}, {}, tmp_path)
    environment = {"python": "3.11.7", "matplotlib": "3.1", "pandas": "2.1", **versions}
    tampering.edit_json(path, lambda body: body.update(environment=environment), reseal=True)
    if pinned:
        lock.write_text(pinned)
    (link,) = lockfile.check_rendering_lock("paper", tmp_path)
    assert (link.kind, link.state) == ("lock", state) and said in link.detail
    assert canonical_json.parse(path.read_bytes())["lock_digest"][:12] in link.name
