"""A copy of the project in which real Snakemake runs, with the copy's own code."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from reweigh.config.loading import load
from reweigh.records import record
from support.project import ROOT
from support.written import in_shape

COPIED = ("Snakefile", "config", "workflow", "profiles", "notebooks", "src", "data/manifest.yaml", "data/published")
PAIR = "smoke/tdr/mnist-4v9/rho0.1/tdr"  # a cell of two seeds that is made in `table3_project` besides the table


def copy(folder):
    """The project without anything that was made in it."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, target)
    (folder / "data/embedded").symlink_to(ROOT / "data/embedded")
    return folder


def snakemake(folder, *arguments, fails=False):
    """Run Snakemake in a copy, with the copy's own code; what it printed."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "PATH": path, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "snakemake", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    said = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, said
    return said


def planned(folder, *arguments):
    """How many jobs of each kind a dry run plans: `{"fetch": 1, "split": 2, "train": 2, ...}`."""
    said = snakemake(folder, "--quiet", "rules", "--dry-run", *arguments)
    table = said.split("Job stats:")[1] if "Job stats:" in said else ""
    found = {}
    for name, count in re.findall(r"^([\w-]+) +(\d+)$", table, re.MULTILINE):
        kind = name.split("_")[0]
        found[kind] = found.get(kind, 0) + int(count)
    return found


def leave_records(folder, cell):
    """Records as finished runs would leave them, as far as the workflow reads them."""
    config = load(folder)
    for run in config.runs_of(cell):
        record.write(record.record_path(run, folder), in_shape(run, config.resolve(run), folder))
