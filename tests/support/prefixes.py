"""Runs that share their first stages, trained in the folder that a test is in."""

from pathlib import Path

from reweigh.training.run import Job
from support.two_stages import CPU, spec_of

KEPT = Path(".reweigh/prefixes")


def trained(method, clock=None, progress=None, device=CPU, seed=0, since=None, **training):
    """The record of a run that is trained in this folder, and how many steps that took."""
    taken, job = [], Job(spec_of(method, seed, **training), device, clock, since=since)
    body = job.finish(lambda run: (taken.append(run.step), progress and progress(run)))
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
