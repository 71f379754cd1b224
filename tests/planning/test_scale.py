"""Planning a large grid: nothing heavy is imported, and what is read and worked out grows no faster than the grid."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter

import pytest
from support.project import ROOT

from reweigh.bench import grid as bench_grid
from reweigh.config.specs import SCALES
from reweigh.data.obtain import recipe_digest
from reweigh.digest import PACKAGE, digest
from reweigh.records.record import code_digest, record_path, write
from reweigh.records.staleness import Dependencies

# Runs Snakemake in its own process and watches what it imports, opens and resolves; its answer is the first argument.
PROBE = """
import atexit, json, sys, types
from collections import Counter

HEAVY = {"torch", "pandas", "scipy", "matplotlib", "papermill"}
opened, resolved, heavy = Counter(), Counter(), set()

class Watch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        heavy.update({name.partition(".")[0]} & HEAVY)

def audit(event, arguments):
    if event == "open" and str(arguments[0]).endswith((".json", ".yaml", ".py")):
        opened[str(arguments[0])] += 1

@atexit.register
def write():
    heavy.update(HEAVY & set(sys.modules))
    with open(sys.argv[1], "w") as file:
        json.dump({"heavy": sorted(heavy), "opened": opened, "resolved": resolved}, file)

# Snakemake imports every plugin that is installed, and the one for Slurm pandas, for a report that nobody asked for.
report = types.ModuleType("snakemake_executor_plugin_slurm.efficiency_report")
report.create_efficiency_report = None
sys.modules[report.__name__] = report

sys.meta_path.insert(0, Watch)
sys.addaudithook(audit)

from reweigh.config.grid import Config

resolve = Config.resolve

def counted(self, run):
    resolved[run] += 1
    return resolve(self, run)

Config.resolve = counted

from snakemake.cli import main

main(["--dry-run", "--quiet", "all", "--cores", "1", *sys.argv[2:]])
"""


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """The smallest grid: one paper, and no record of its runs."""
    return bench_grid.write(tmp_path_factory.mktemp("grid"), runs=1, repository=ROOT)


def probe(config, tmp_path, *target):
    """What a dry run imports of what is heavy, opens (path below the project -> times) and resolves (run -> times)."""
    found = tmp_path / "found"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", PROBE, str(found), *target]
    done = subprocess.run(command, cwd=config.root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(found.read_text())
    prefix = f"{config.root}/"
    opened = Counter({path.removeprefix(prefix): count for path, count in said["opened"].items()})
    return said["heavy"], opened, said["resolved"]


def assert_frugal(heavy, opened, resolved):
    """Nothing heavy is imported; no paper is read, and no cell resolved, more than once to be planned."""
    assert heavy == []
    assert {run.rpartition("/")[2] for run in resolved} == {"seed0"}
    assert max(resolved.values()) <= 2, "once when the config is checked, once when the cell is planned"
    assert {opened[path] for path in opened if path.startswith("config/papers")} == {1}
    records = Counter({path: count for path, count in opened.items() if path.startswith("results/")})
    assert max(records.values()) <= 2, f"once for its digests, once if a figure may draw it: {records.most_common(3)}"


def test_a_grid_without_records_is_planned_without_torch_and_looks_at_each_cell_once(grid, tmp_path):
    assert_frugal(*probe(grid, tmp_path))


def test_a_grid_with_every_record_reads_each_once_and_plans_no_training(grid, tmp_path):
    runs = bench_grid.runs_of(grid)
    assert bench_grid.leave_records(grid) == len(runs) == len(set(runs))
    try:
        heavy, opened, resolved = probe(grid, tmp_path)
        assert_frugal(heavy, opened, resolved)
        assert {path for path in opened if path.startswith("results/paper/")} == {f"results/{run}.json" for run in runs}
        assert bench_grid.dry_run(grid.root, "records there", bench_grid.FIGURE).jobs == 1
        _, opened, _ = probe(grid, tmp_path, bench_grid.FIGURE)
        drawn = [cell for optional in (False, True) for cell in grid.cells_of("paper", "tdr_1", "fig5", optional)]
        of_figure = {f"results/{run}.json" for cell in drawn for run in grid.runs_of(cell)}
        assert {path for path in opened if path.startswith("results/")} == of_figure
    finally:
        shutil.rmtree(grid.root / "results")


def test_what_is_worked_out_once_is_what_each_run_would_say_itself(grid):
    known, place = Dependencies(grid), grid.root / "data"
    runs = [run for scale in SCALES for run in grid.runs(scale, "tdr_1")]
    for run in random.Random(0).sample(runs, 40):
        spec = grid.resolve(run)
        expected = {"spec": digest(spec), "code": code_digest(spec), "split": recipe_digest(spec, place)}
        assert known.of(run) == expected
        setting, _, seed = run.rsplit("/", 2)
        assert known.recipe(f"{setting}/{seed}") == expected["split"]
    assert len({known.of(run)["spec"] for run in runs}) == len(runs)


def test_a_record_is_stale_by_what_differs_and_can_be_kept(grid):
    run = bench_grid.runs_of(grid)[0]
    now = Dependencies(grid).of(run)
    body = {"spec_digest": now["spec"], "code": {"digest": now["code"]}, "split": {"recipe_digest": now["split"]}}
    kept = grid.with_options(stale="keep")
    try:
        assert Dependencies(grid).recorded(run) == {} and Dependencies(grid).stale(run) == []
        for change, parts in (
            ({}, []),
            ({"spec_digest": "0"}, ["spec"]),
            ({"code": {"digest": "0"}, "split": {"recipe_digest": "0"}}, ["code", "split"]),
            ({"code": None}, ["spec", "code", "split"]),
        ):
            write(record_path(run, grid.root), body | change)
            assert Dependencies(grid).stale(run) == parts
            unreadable = change == {"code": None}
            assert Dependencies(kept).stale(run) == (parts if unreadable else [])
    finally:
        shutil.rmtree(grid.root / "results")


def test_the_grid_has_the_runs_that_were_asked_for(tmp_path):
    config = bench_grid.write(tmp_path, runs=2000, repository=ROOT)
    assert len(config.project.papers) == 2 and len(bench_grid.runs_of(config)) >= 2000
