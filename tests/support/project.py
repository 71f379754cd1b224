"""A project folder of its own for a test that trains in separate processes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from reweigh.config import loading as config
from support import ROOT, warm

TRAINED = tuple(f"smoke/tdr/mnist-4v9/rho0.1/{run}" for run in ("tdr/seed0", "tdr/seed1", "er/seed0"))


def make(folder, raw_root):
    """A folder with the config, the manifest and the raw data that a run needs, and nothing else."""
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "data").mkdir()
    shutil.copy(ROOT / "data" / "manifest.yaml", folder / "data")
    (folder / "data" / "raw").symlink_to(Path(raw_root).resolve())
    return folder


def spec_file(folder, run, **training):
    """Write the resolved spec of a run, with other training values, into the folder; its path."""
    spec = config.resolve(run, root=ROOT)
    spec["training"].update(training)
    path = folder / (run.replace("/", "__") + ".json")
    path.write_text(json.dumps(spec))
    return path


def command(*arguments, python=sys.executable):
    """The training command."""
    return [str(python), "-m", "reweigh.training", *map(str, arguments)]


def environment(**changes):
    """This process's environment, with the package on the path and no GPU."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": "", **changes}


def start(folder, *arguments, code=None, **changes):
    """Start the training command in the folder, in a process of its own that begins with torch imported if it can.

    With `code` that Python code is started instead.
    """
    if warm.AVAILABLE:
        return warm.Process(arguments, folder, environment(**changes), code)
    return subprocess.Popen(
        command(*arguments) if code is None else [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


SLOWLY = """
import sys, time
from reweigh.training import run
from reweigh.training.__main__ import main

advance = run.Run.advance

def slowly(self):
    advance(self)
    time.sleep(0.1)

run.Run.advance = slowly
sys.exit(main(sys.argv[1:]))
"""


def start_slowly(folder, *arguments, **changes):
    """As `start`, with so much time for each step that a busy machine gets to disturb the run before it ends."""
    return start(folder, *arguments, code=SLOWLY, **changes)


SAVES_SLOWLY = """
import sys, time

def hook(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith(".pt"):
        time.sleep(0.3)

sys.addaudithook(hook)
"""


def saves_slowly(folder):
    """A folder for PYTHONPATH: Python programs take their time to save a checkpoint, so that they can be disturbed."""
    (folder / "sitecustomize.py").write_text(SAVES_SLOWLY)
    return folder


def checkpoints(folder):
    """The checkpoints of the runs in the folder. A run may just end, with its folders: `rglob` does not bear that."""
    found = os.walk(Path(folder, ".reweigh/checkpoints"))
    return [Path(where, name) for where, _, names in found for name in names if name.endswith(".pt")]


def train(folder, *arguments, **changes):
    """Run the training command in the folder to its end, as `start` starts it."""
    process = start(folder, *arguments, **changes)
    out, error = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


def train_from_command_line(folder, *arguments, python=sys.executable, **changes):
    """Run the training command in the folder to its end, with an interpreter of its own."""
    return subprocess.run(
        command(*arguments, python=python),
        cwd=folder,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=300,
    )


def outcome(path):
    """What a record says that must not depend on when and how often the run was interrupted."""
    body = json.loads(Path(path).read_text())
    body["curves"].pop("train_seconds")
    kept = ("run", "spec_digest", "code", "split", "metrics", "curves", "steps", "status", "trace")
    return {name: body[name] for name in kept}
