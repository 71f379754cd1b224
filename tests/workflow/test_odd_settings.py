"""Settings of Python, the locale and the machine that are to change nothing."""

import os
import shutil
import subprocess
import sys

from support import workflow
from support.project import ROOT

from reweigh.records import record

ODD = {
    "PYTHONHASHSEED": "7", "PYTHONOPTIMIZE": "1", "PYTHONSAFEPATH": "1", "TZ": "Asia/Kathmandu",
    "LC_ALL": "tr_TR.UTF-8", "OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4",
}  # fmt: skip


def python(*words, folder, **settings):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **settings}
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, umask=0o077)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_has_the_same_bits_under_odd_settings(table3_project, tmp_path):
    folder, run = tmp_path / "project", f"{workflow.PAIR}/seed0"
    shutil.copytree(table3_project, folder, symlinks=True)
    before = record.read(record.record_path(run, folder))
    python("-m", "reweigh", "train", "--again", run, folder=folder, **ODD)
    after = record.read(record.record_path(run, folder))
    assert after["ended"] >= before["ended"] and after["digest"] != before["digest"]
    for body in (before, after):
        del body["curves"]["train_seconds"]
    for key in ("parameters", "metrics", "curves", "split", "status", "steps"):
        assert after[key] == before[key], key


def test_python_may_drop_docstrings(tmp_path):
    for module in ("reweigh.training", "reweigh.bench", "reweigh.training.gpu_check"):
        assert "usage:" in python("-OO", "-m", module, "--help", folder=tmp_path)
