"""The engine on real MNIST: exact repetition, exact resume, divergence, stages, evaluation."""

import functools
import re

import numpy as np
import pytest
import torch
from support.mnist_runs import finished, killed_and_resumed, outcome, run_of, spec_of

from reweigh.config import loading as config
from reweigh.data import load
from reweigh.methods.base import Stage


@pytest.mark.parametrize("method", ["tdr", "tdr_p", "er", "none", "hard"])
def test_the_same_run_twice_is_identical_to_the_last_bit(method, mnist):
    spec = spec_of(method)
    torch.manual_seed(1)
    first = outcome(finished(spec, mnist))
    torch.manual_seed(2)  # the global stream must not matter
    assert outcome(finished(spec, mnist)) == first
    assert outcome(finished({**spec, "seed": 1}, mnist)) != first


@pytest.fixture(scope="module")
def never_stopped(mnist):
    """The outcome of a method's run that nobody stops; the run is made once."""

    @functools.cache
    def of(method):
        whole = finished(spec_of(method), mnist)
        assert whole.step == whole.total_steps == 20
        return outcome(whole)

    return of


@pytest.mark.parametrize("method", ["tdr", "tdr_p", "er"])
@pytest.mark.parametrize("stop", [1, 5, 9, 10, 13, 20])
def test_a_run_resumed_anywhere_ends_as_if_never_stopped(method, stop, mnist, never_stopped):
    assert outcome(killed_and_resumed(spec_of(method), mnist, stop)) == never_stopped(method)


def test_a_diverging_run_stops_and_says_where(mnist):
    run = finished(spec_of("none", learning_rate=1e6, momentum=0.0), mnist)
    results = run.results()
    assert results["status"] == "diverged" and 0 < results["diverged_at_step"] < results["steps"] < run.total_steps
    assert results["curves"]["train_loss"][-1] is None  # no NaN may reach the record's JSON
    assert set(results["metrics"].values()) == {None}  # NaN logits are no prediction
    said = r"a loss was not finite; the step before it had a mean loss of [\d.e+]+"
    assert re.fullmatch(said, results["diverged_because"])


def test_the_whole_test_set_counts_and_the_curve_ends_in_the_headline(mnist):
    spec = spec_of("none")
    spec["data"]["split"]["test_size"] = None
    results = finished(spec, mnist).results()
    assert results["metrics"]["test_size"] == 1964 == sum(map(sum, results["metrics"]["confusion"]))
    assert results["curves"]["test_accuracy"][-1] == results["metrics"]["test_accuracy"]
    assert results["curves"]["epoch"] == [1, 2, 3, 4] and results["parameters"] == 43_746


def test_evaluate_every_thins_the_curve_and_keeps_the_last_epoch(mnist):
    results = finished(spec_of("none", evaluate_every=3), mnist).results()
    assert results["curves"]["epoch"] == [3, 4]


def test_effective_weights_are_logged(mnist):
    assert finished(spec_of("none"), mnist).curves["effective_weight"] == pytest.approx([1] * 4)
    run = finished(spec_of("tdr"), mnist)
    assert run.trace()["class_weights"].shape == (2, 2) and run.trace()["outer_step"].tolist() == [0, 10]
    np.testing.assert_allclose(run.trace()["class_weights"].sum(1), 1, atol=1e-6)


def test_stages_follow_each_other_and_the_head_alone_can_be_trained(mnist, monkeypatch):
    spec = spec_of("none")
    stages = [Stage("all", 1), Stage("head", 2, train="head")]
    monkeypatch.setattr("reweigh.methods.none.Method.stages", lambda self, epochs: stages)
    run, before = run_of(spec, mnist), {}

    def tick(at):
        if at.step == at.courses[0].steps:
            before.update({name: value.clone() for name, value in at.model.state_dict().items()})

    run.finish(tick)
    moved = {name for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"head.weight", "head.bias"} and run.step == 3 * run.courses[0].steps_per_epoch


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_other_precisions_run(precision, mnist):
    results = finished(spec_of("tdr", precision=precision), mnist).results()
    assert results["status"] == "finished" and np.isfinite(results["curves"]["train_loss"]).all()


def test_adult_learns_weights_by_sex_and_reports_accuracy_by_sex(raw_root):
    spec = config.resolve("smoke/tdr/adult/sex/tdr/seed0")
    adult = load.read("adult", root=raw_root)
    run = finished(spec, adult)
    groups = run.results()["metrics"]["per_group_accuracy"]
    assert len(groups) == 2 and run.trace()["class_weights"].shape[1] == 2
    assert run.results()["parameters"] == 22_934 and run.results()["metrics"]["test_size"] == 2 * 4913
    constant = finished(config.resolve("smoke/tdr/adult/sex/constant/seed0"), adult).results()
    shares = np.mean([1 - adult.test_labels[adult.test_groups == sex][:].mean() for sex in (0, 1)])
    assert constant["steps"] == 0 and constant["metrics"]["test_accuracy"] == pytest.approx(shares, abs=0.01)
