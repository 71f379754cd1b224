"""Runs that share their first stages, trained in the folder that a test is in."""

import json
from pathlib import Path

from reweigh.provenance.consistency import contradictions
from reweigh.training.run import Job
from support import project
from support.two_stages import CPU, spec_of

KEPT = Path(".reweigh/prefixes")


def trained(method, clock=None, progress=None, device=CPU, seed=0, since=None, **training):
    """The record of a run that is trained in this folder, which is sound, and how many steps that took."""
    taken, job = [], Job(spec_of(method, seed, **training), device, clock, since=since)
    body = job.finish(lambda run: (taken.append(run.step), progress and progress(run)))
    assert contradictions(body) == []
    return body, len(taken)


def outcome(body):
    """What must not depend on who trained the first stage."""
    curves = {name: values for name, values in body["curves"].items() if name != "train_seconds"}
    kept = ("run", "spec_digest", "code", "metrics", "stages", "steps", "status", "trace", "parameters")
    trace = body["trace"] and Path("results", body["run"] + ".npz").read_bytes()
    return {**{name: body[name] for name in kept}, "curves": curves, "bytes": trace}


def the_file():
    (path,) = KEPT.glob("*.pt")
    return path


def locks():
    return list(KEPT.rglob("*.lock"))


COUNTED = """
import os, signal, sys, time
from reweigh.training import run
from reweigh.training.__main__ import main

advance = run.Run.advance

def counted(self):
    with open("steps.log", "a") as log:
        log.write(f"{self.spec['method']} {self.stage} {self.step}\\n")
    advance(self)
    if os.environ.get("SLOWLY"):
        time.sleep(float(os.environ["SLOWLY"]))
    if self.step == int(os.environ.get("DIES", 0)):
        os.kill(os.getpid(), signal.SIGKILL)
    if self.step == 3 and os.environ.get("STANDS_STILL"):
        os.kill(os.getpid(), signal.SIGSTOP)

run.Run.advance = counted
sys.exit(main(sys.argv[1:]))
"""


def start_counted(folder, *specs, at_once="1", name="spec", **changes):
    """The training command on some specs, in a process of its own that logs every step.

    In its environment, `SLOWLY` is by how many seconds each step takes longer, and `DIES` the step after which it is
    killed; with `STANDS_STILL` the third is its last.
    """
    paths = [folder / f"{name}{number}.json" for number in range(len(specs))]
    for path, spec in zip(paths, specs, strict=True):
        path.write_text(json.dumps(spec))
    return project.start(folder, *paths, "--at-once", at_once, code=COUNTED, **changes)


def counted():
    """The steps that such processes have begun in this folder, in their order: method, stage, number in the run."""
    rows = (line.split() for line in Path("steps.log").read_text().splitlines())
    return [(method, int(stage), int(step)) for method, stage, step in rows]
