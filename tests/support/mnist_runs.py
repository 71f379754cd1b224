"""Runs of TDR and its rivals on real MNIST, in this process: begun, ended, killed and resumed, compared."""

import copy
import io

import pytest
import torch

from reweigh.config import loading as config
from reweigh.data.split import draw
from reweigh.training import sealed
from reweigh.training.engine import Run

CPU = torch.device("cpu")


class Killed(Exception):
    pass


def spec_of(method, **training):
    spec = copy.deepcopy(config.resolve("smoke/tdr/mnist-4v9/rho0.1/tdr/seed0"))
    paper = config.resolve(f"paper/tdr/mnist-4v9/rho0.1/{method}/seed0")
    spec.update(method=method, uses=paper["uses"], method_options=paper["method_options"])
    spec["training"].update(epochs=4, **training)
    return spec


def run_of(spec, mnist):
    torch.set_num_threads(spec["training"]["threads"])
    return Run(spec, mnist, draw(mnist, spec["data"]["split"], spec["seed"]), CPU)


def finished(spec, mnist):
    run = run_of(spec, mnist)
    run.finish()
    return run


def outcome(run):
    """All that a run computed, without its timings."""
    results = run.results()
    results.pop("seconds")
    results["curves"] = {name: values for name, values in results["curves"].items() if name != "train_seconds"}
    weights = {name: value.numpy().tobytes() for name, value in run.model.state_dict().items()}
    return results, weights, {name: rows.tobytes() for name, rows in run.trace().items()}


def killed_and_resumed(spec, mnist, stop):
    """A run that ended, begun by another that was killed after step `stop` and left its state."""
    first = run_of(spec, mnist)

    def tick(run):
        if run.step == stop:
            raise Killed

    with pytest.raises(Killed):
        first.finish(tick)
    saved = io.BytesIO()
    torch.save(first.state(), saved)
    saved.seek(0)
    second = run_of(spec, mnist)
    second.load_state(sealed.load(saved))
    second.finish()
    return second
