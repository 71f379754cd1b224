"""LRWOpt killed for good (kill -9) while it divides the pool anew, half done, and between two such splits."""

import signal
from pathlib import Path

import pytest
from support import project

RUN = "smoke/molere/mnist-ordering/sym0.2/lrwopt/seed0"
RECORD = Path("results") / f"{RUN}.json"
DYING = """
import os, signal, sys
from reweigh.methods import lrwopt
from reweigh.training import run
from reweigh.training.__main__ import main

follow, advance, splits = lrwopt.Method._follow, run.Run.advance, []

def dying(self):
    splits.append(len(splits))
    if {within} and len(splits) == 2:  # the new lists are there, the batches are still those of the old ones
        os.kill(os.getpid(), signal.SIGKILL)
    follow(self)

def stepping(self):
    advance(self)
    if not {within} and len(splits) == 2 and self.stage_step % self.course.steps_per_epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)

lrwopt.Method._follow, run.Run.advance = dying, stepping
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, raw_root):
    folder = project.make(tmp_path_factory.mktemp("undisturbed"), raw_root)
    done = project.train(folder, project.spec_file(folder, RUN))
    assert done.returncode == 0, done.stderr
    return project.outcome(folder / RECORD)


@pytest.mark.parametrize("within", [True, False], ids=["within a split", "in the epoch after it"])
def test_it_ends_with_the_same_bits(tmp_path, raw_root, undisturbed, within):
    folder = project.make(tmp_path, raw_root)
    spec = project.spec_file(folder, RUN)
    process = project.start(folder, spec, code=DYING.format(within=within), REWEIGH_CHECKPOINT_SECONDS="0")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, errors
    assert project.checkpoints(folder) and not (folder / RECORD).exists()
    done = project.train(folder, spec)
    assert done.returncode == 0, done.stderr
    assert project.outcome(folder / RECORD) == undisturbed
