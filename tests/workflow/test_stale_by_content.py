"""What Snakemake is told of files that are not what they would be made from today, whatever failed before."""

import json
import os
import shutil
from pathlib import Path

import pytest
from support.workflow import PAIR, planned, snakemake

from reweigh.records import record

SMOKE = ("--config", "scale=smoke", "--")
TABLE = "figures/smoke/tdr/table3.csv"
SKIP = ("--config", "scale=smoke", "missing=skip", "--")
DIES = """
import os, pathlib, sys

flag = pathlib.Path("dies")
if flag.exists() and flag.read_text() in " ".join(sys.orig_argv) and "snakemake" not in sys.orig_argv:
    os._exit(9)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory, table3_project):
    """A copy in which table3 was made at scale smoke. While the file `dies` names a command, such processes die."""
    folder = Path(shutil.copytree(table3_project, tmp_path_factory.mktemp("stale") / "project", symlinks=True))
    (folder / "src/sitecustomize.py").write_text(DIES)
    return folder


def make(folder, *arguments, dies=None):
    """Run Snakemake; processes of a command may die."""
    flag = folder / "dies"
    if dies:
        flag.write_text(dies)
    try:
        return snakemake(folder, "--cores", "1", *arguments, fails=dies is not None)
    finally:
        flag.unlink(missing_ok=True)


def jobs(folder, *arguments):
    """The kinds of jobs that a dry run plans, without shorthands."""
    found = planned(folder, *arguments)
    return {kind: found[kind] for kind in ("fetch", "split", "train", "render", "score") if kind in found}


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.slow
def test_a_failed_rendering_is_not_taken_as_made(project):
    """New records, and a kernel that dies once: the old figure is put back, and is rendered by the next call."""
    receipt, before = project / "figures/smoke/tdr/table3.json", (project / TABLE).read_text()
    experiments = project / "config/papers/tdr/experiments/adult.yaml"
    text = experiments.read_text()
    head, smoke = text.split("smoke:", 1)
    experiments.write_text(head + "smoke:" + smoke.replace("epochs: 1", "epochs: 2", 1))
    make(project, *SMOKE, TABLE, dies="kernel_program")
    assert (project / TABLE).read_text() == before
    assert jobs(project, *SMOKE, TABLE) == {"render": 1}
    make(project, *SMOKE, TABLE)
    digests = {one["run"]: one["digest"] for one in json.loads(receipt.read_text())["records"]}
    assert len(digests) >= 5
    for run, digest in digests.items():
        assert record.read(record.record_path(run, project))["digest"] == digest
    assert jobs(project, *SMOKE, TABLE) == {}


@pytest.mark.slow
def test_a_missing_record_and_an_altered_file_are_noticed_though_the_figure_is_there(project):
    lost = record.record_path("smoke/tdr/adult/sex/none/seed0", project)
    table, text = project / TABLE, (project / TABLE).read_text()
    before, times = lost.read_bytes(), lost.stat()
    lost.unlink()
    assert jobs(project, *SMOKE, TABLE) == {"train": 1, "render": 1}
    assert jobs(project, *SKIP, TABLE) == {"render": 1}  # it showed a record that is gone
    lost.write_bytes(before)
    os.utime(lost, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert jobs(project, *SMOKE, TABLE) == {}
    table.write_text(text + "one line more\n")
    assert jobs(project, *SMOKE, "figures/smoke/tdr/table3.pdf") == {"render": 1}
    table.write_text(text)
    (project / "figures/smoke/tdr/table3.json").rename(project / "receipt")
    assert jobs(project, *SMOKE, TABLE) == {"render": 1}
    (project / "receipt").rename(project / "figures/smoke/tdr/table3.json")


@pytest.mark.slow
def test_times_decide_nothing_in_a_clone(project, tmp_path):
    """Neither does an order of times in which everything that a figure is made from is newer than the figure."""
    clone = Path(shutil.copytree(project, tmp_path / "clone", symlinks=True))
    shutil.rmtree(clone / ".snakemake")
    shutil.rmtree(clone / ".reweigh", ignore_errors=True)
    for path in (*clone.glob("figures/smoke/tdr/*"), clone / "results/smoke/tdr/adult/sex/tdr/seed0.json"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    assert jobs(clone, *SMOKE, TABLE) == {}
    edit(clone / "notebooks/tdr/table3.ipynb", '"cells"', ' "cells"')
    os.utime(clone / "notebooks/tdr/table3.ipynb", (1_600_000_000, 1_600_000_000))
    for path in clone.glob("figures/smoke/tdr/*"):  # by a clock that was wrong
        os.utime(path, (4_000_000_000, 4_000_000_000))
    assert jobs(clone, *SMOKE, TABLE) == {"render": 1}


@pytest.mark.slow
def test_a_failed_split_is_drawn_by_the_next_call(project):
    """Its recipe changed, the job died: the old split is back, and its report says how that was drawn."""
    target = f"data/splits/{PAIR.rpartition('/')[0]}/seed0.npz"
    split = project / "src/reweigh/data/imbalance.py"
    text = split.read_text()
    split.write_text(text + "\nCHANGED = True\n")
    try:
        make(project, *SMOKE, target, dies="reweigh split")
        assert jobs(project, *SMOKE, target) == {"split": 1}
    finally:
        split.write_text(text)


@pytest.mark.slow
def test_raw_files_that_are_not_what_the_manifest_lists_are_fetched_again(project):
    source = project / "data/raw/adult/SOURCE.json"
    target, text = ("data/raw/adult/SOURCE.json",), source.read_text()
    assert jobs(project, *SMOKE, *target) == {}
    source.write_text(text.replace('"sha256": "', '"sha256": "0'))
    assert jobs(project, *SMOKE, *target) == {"fetch": 1}
    source.write_text(text)
    raw = next(project / "data/raw/adult" / one["name"] for one in json.loads(text)["files"])
    raw.rename(project / "raw")
    assert jobs(project, *SMOKE, *target) == {"fetch": 1}
    (project / "raw").rename(raw)


@pytest.mark.slow
def test_a_scorecard_that_failed_or_lost_a_file_is_written_again(project):
    card, target = project / "results/smoke/scorecard.csv", (*SKIP, "results/smoke/scorecard.csv")
    make(project, *target)
    assert jobs(project, *target) == {}
    before = card.read_text()
    edit(project / "config/papers/tdr/methods.yaml", "title: TDR (printed)", "title: TDR, printed")
    make(project, *target, dies="reweigh scorecard")
    assert card.read_text() == before and jobs(project, *target) == {"score": 1}
    make(project, *target)
    assert jobs(project, *target) == {}
    (project / "results/smoke/scorecard.md").write_text("")
    assert jobs(project, *target) == {"score": 1}
    assert jobs(project, *SMOKE, "results/smoke/scorecard.csv")["train"] > 10  # it needs the records of the grid
