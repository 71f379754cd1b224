"""A bare GPU machine: torch, NumPy, PyYAML and pytest. What runs there is imported and used with the rest blocked."""

import os
import subprocess
import sys

import pytest
from support import project

from reweigh.bench import entries, groups, table

BLOCKED = (
    "hypothesis", "matplotlib", "pandas", "papermill", "pooch", "pydantic", "rich", "scipy", "sklearn", "snakemake",
    "torchvision", "typer",
)  # fmt: skip

BARE = f"""
import importlib, pkgutil, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.partition(".")[0])

sys.meta_path.insert(0, Missing())
"""

MODULES = (
    BARE
    + """
import reweigh.training, reweigh.methods, reweigh.losses, reweigh.models, reweigh.data, reweigh.records

for package in (reweigh.training, reweigh.methods, reweigh.losses, reweigh.models, reweigh.data):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
for name in ("reweigh.bench", "reweigh.bench.groups", "reweigh.bench.gpu", "reweigh.bench.pairs", "conftest",
             "support.needs", "support.gpu_runs", "support.capture", "training.test_gpu"):
    importlib.import_module(name)
print(len(sys.modules))
"""
)

STEPS = (
    BARE
    + """
import torch
from support.gpu_runs import CELLS, bits, run_of, spec_of
from reweigh.bench import groups, table
from reweigh.data import load

raw = {dataset: load.read(dataset, root=sys.argv[1]) for _, dataset, _ in CELLS.values()}
for model in CELLS:
    for method in ("none", "tdr", "er"):
        run = run_of(spec_of(model, method, epochs=1), raw, torch.device("cpu"))
        run.finish()
        assert bits(run)[0]["status"] == "finished"
print(groups.benched())
print(table.method_key("tdr", dict(groups.entries()["tdr"].options)))
"""
)


def run(code, *arguments):
    paths = os.pathsep.join(str(project.ROOT / name) for name in ("src", "tests"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)],
        env=project.environment(PYTHONPATH=paths),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_all_that_runs_on_a_bare_machine_can_be_imported_there():
    assert run(MODULES)


def test_the_runs_of_its_tests_and_the_bench_are_the_same_without_the_cards(raw_root):
    benched, key = run(STEPS, raw_root)
    assert benched == str(groups.benched())
    assert key == table.method_key("tdr", dict(entries.entries()["tdr"].options)) == "tdr 10"


def test_what_the_bench_reads_there_is_what_the_cards_say():
    assert entries.PATH.read_text() == entries.text(), "python -c 'from reweigh.bench import entries; entries.write()'"


def test_a_fault_in_a_card_is_not_taken_for_a_bare_machine(monkeypatch):
    def fails():
        raise ModuleNotFoundError("No module named 'numpyy'", name="numpyy")

    monkeypatch.setattr(entries, "on_cards", fails)
    with pytest.raises(ModuleNotFoundError):
        entries.entries.__wrapped__()


def test_the_bench_starts_there_by_itself():
    code = BARE + "\nimport runpy\nsys.argv[1:] = ['nothing']\nrunpy.run_module('reweigh.bench', run_name='__main__')\n"
    with pytest.raises(AssertionError, match="unknown group 'nothing'"):
        run(code)
