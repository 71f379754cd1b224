"""A protocol of ABSGD on all of CIFAR-10, from the mirror, for a tenth of its epochs: that it runs and learns."""

import os

import pytest
import torch
from support import needs
from support.needs import MIRROR_FOLDER
from support.project import ROOT

from reweigh.config import loading as config
from reweigh.data import load, manifest
from reweigh.data.split import draw
from reweigh.training.engine import Run

MANIFEST = ROOT / "data/manifest.yaml"


@pytest.mark.minutes
@needs.mirror("cifar-10")
def test_cross_entropy_learns_long_tailed_cifar_in_a_tenth_of_the_epochs(tmp_path):
    manifest.ensure("cifar10", tmp_path, mirror=str(MIRROR_FOLDER), manifest=MANIFEST)
    raw = load.read("cifar10", root=tmp_path)
    spec = config.resolve("paper/absgd/cifar10/lt-rho100/sgd_ce/seed0")
    training = spec["training"]
    training["schedule"]["milestones"] = [epoch // 10 for epoch in training["schedule"]["milestones"]]
    training.update(epochs=training["epochs"] // 10, threads=os.cpu_count(), evaluate_every=5)
    torch.set_num_threads(training["threads"])
    split = draw(raw, spec["data"]["split"], 0)
    assert split.class_counts.tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    run = Run(spec, raw, split, torch.device("cpu"))
    run.finish()
    results = run.results()
    print(results["curves"]["train_loss"], results["curves"]["test_accuracy"], f"{results['seconds']:.0f} s")
    assert results["status"] == "finished" and results["steps"] == 20 * 97
    assert results["curves"]["train_loss"][-1] < 0.7 * results["curves"]["train_loss"][0]
    assert results["metrics"]["test_accuracy"] > 0.3  # chance is 0.1, and the largest class alone 0.1 too
