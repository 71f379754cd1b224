"""A run without a result has none: weights of 0, values that are not finite, predictions that are not there."""

import copy

import numpy as np
import pytest
import torch
from support.mnist_runs import finished, killed_and_resumed, outcome, run_of, spec_of

from reweigh.methods import none
from reweigh.methods.base import Stage
from reweigh.training.__main__ import summary
from reweigh.training.engine import Run

ZERO, PREDICTED = "all weights were 0", "predictions were not finite"
WEIGHT = "a weight was not finite; the step before it had a mean loss of "
FIRST = "a loss was not finite; it was the first step"


@pytest.fixture
def at_step(monkeypatch):
    """Have plain training do something else from step `first` to `last`: `change(losses, weights)` -> weights."""

    def change(first, last, to, may_rest=False):
        monkeypatch.setattr(none.Method, "may_rest", may_rest)

        def example_weights(self, step, losses):
            weights = torch.full_like(losses, 1 / len(losses))
            there = (step.number >= first) & (step.number <= last)
            return torch.where(there, to(weights), weights)

        monkeypatch.setattr(none.Method, "example_weights", example_weights)

    return change


def without_score(results, step, because):
    assert (results["status"], results["diverged_at_step"], results["diverged_because"]) == ("diverged", step, because)
    assert set(results["metrics"].values()) == {None} and "test_accuracy" in results["metrics"]
    assert results["curves"]["test_accuracy"][-1] is None
    assert results["also_measured"] is None
    return results


def test_weights_that_are_all_zero_in_one_step_are_no_training(mnist, at_step):
    at_step(7, 7, torch.zeros_like)
    run = finished(spec_of("none"), mnist)
    results = without_score(run.results(), 7, ZERO)
    assert run.step == 2 * 5 and results["curves"]["train_loss"][-1] is not None  # the end of its epoch
    assert results["curves"]["test_accuracy"][0] is not None


def test_the_last_step_counts_too(mnist, at_step):
    at_step(19, 19, torch.zeros_like)
    without_score(finished(spec_of("none"), mnist).results(), 19, ZERO)


def test_a_method_may_rest_where_its_formula_says_so_but_not_for_an_epoch(mnist, at_step):
    at_step(5, 8, torch.zeros_like, may_rest=True)
    assert finished(spec_of("none"), mnist).results()["status"] == "finished"
    at_step(5, 9, torch.zeros_like, may_rest=True)
    without_score(finished(spec_of("none"), mnist).results(), 9, ZERO)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite(mnist, at_step, value):
    def one_of_them(weights):
        return torch.cat([torch.full_like(weights[:1], value), weights[1:]])

    at_step(3, 3, one_of_them)
    results = finished(spec_of("none"), mnist).results()
    assert results["diverged_because"].startswith(WEIGHT) and 0 < float(results["diverged_because"][len(WEIGHT) :]) < 9
    without_score(results, 3, results["diverged_because"])
    assert results["steps"] == 5


def test_class_weights_of_zero_are_no_training_either(mnist, monkeypatch):
    balance = {"beta": 0.9999, "from_epoch": 1}
    options = {"loss": None, "class_balance": balance, "sampling": "uniform", "rate_factor": None}
    monkeypatch.setattr("reweigh.methods.base.effective_number", lambda counts, beta: torch.zeros_like(counts))
    spec = {**spec_of("none"), "uses": "sgd", "method_options": options}
    assert finished(spec, mnist).results()["diverged_at_step"] == 5


def pruned(mnist, truncation):
    loss = {"name": "gce", "q": 0.7, "truncation": truncation, "refresh_from": 1, "refresh_every": 1}
    options = {"loss": loss, "class_balance": None, "sampling": "uniform", "rate_factor": None}
    run = finished({**spec_of("none"), "uses": "sgd", "method_options": options}, mnist)
    return run.results(), run.method.loss.kept.float().mean().item()


def test_a_loss_that_takes_every_example_for_noise_trains_nothing(mnist):
    results, kept = pruned(mnist, 0.9999)
    assert kept == 0
    without_score(results, 9, ZERO)


def test_what_a_loss_drops_has_no_weight(mnist):
    results, kept = pruned(mnist, 0.6)
    assert results["status"] == "finished" and results["curves"]["effective_weight"][0] == pytest.approx(1)
    assert 0.05 < kept < 0.95 and results["curves"]["effective_weight"][-1] == pytest.approx(kept, abs=0.01)


def test_a_loss_that_is_not_finite_shows_through_any_objective(mnist, monkeypatch):
    def example_losses(self, logits, batch):
        losses = torch.nn.functional.cross_entropy(logits, batch.labels, reduction="none")
        return torch.where(torch.arange(len(losses)) == 0, torch.nan, losses)

    monkeypatch.setattr(none.Method, "example_losses", example_losses)
    monkeypatch.setattr(none.Method, "objective", lambda self, step, logits, losses, weights: weights[1:] @ losses[1:])
    without_score(finished(spec_of("none"), mnist).results(), 0, FIRST)


def test_a_last_step_that_leaves_nothing_finite_is_seen_by_its_predictions(mnist, monkeypatch):
    """Its loss was finite, and no loss comes after it. An argmax of NaN would be class 0: accuracy .5, recall 1."""
    device_side = Run._device_side

    def overflowing(self):
        logged = device_side(self)
        with torch.no_grad():
            next(self.model.parameters()).add_(torch.where(self.number == 19, torch.nan, 0.0))
        return logged

    monkeypatch.setattr(Run, "_device_side", overflowing)
    results = without_score(finished(spec_of("none"), mnist).results(), 19, PREDICTED)
    assert results["steps"] == 20
    assert outcome(killed_and_resumed(spec_of("none"), mnist, 20)) == outcome(finished(spec_of("none"), mnist))


def test_so_is_a_last_stage_without_epochs(mnist, monkeypatch):
    def begin(self, stage, model):
        if stage.name == "broken":
            torch.nn.init.constant_(model.head.bias, torch.inf)

    monkeypatch.setattr(none.Method, "stages", lambda self, epochs: [Stage("train", 1), Stage("broken", 0)])
    monkeypatch.setattr(none.Method, "begin", begin)
    results = finished(spec_of("none"), mnist).results()
    assert results["status"] == "diverged" and set(results["metrics"].values()) == {None}
    assert results["diverged_because"] == PREDICTED


def test_a_resumed_run_knows_that_it_diverged(mnist, at_step):
    at_step(6, 6, torch.zeros_like)
    assert outcome(killed_and_resumed(spec_of("none"), mnist, 7)) == outcome(finished(spec_of("none"), mnist))


def test_the_line_of_a_run_that_diverged_says_so_and_no_accuracy(mnist, at_step):
    at_step(7, 7, torch.zeros_like)
    line = summary({"run": "a/run", **finished(spec_of("none"), mnist).results()})
    assert line.startswith("a/run: diverged at step 7 (all weights were 0), 10 steps in ") and "accuracy" not in line


def test_a_state_after_a_last_stage_without_epochs_is_measured_anew(mnist, monkeypatch):
    """A shared prefix is the state at the end of a stage, before what a last stage without epochs did was measured."""

    def begin(self, stage, model):
        if stage.name == "flip":
            with torch.no_grad():
                model.head.weight.neg_()
                model.head.bias.neg_()

    monkeypatch.setattr(none.Method, "stages", lambda self, epochs: [Stage("train", 3), Stage("flip", 0)])
    monkeypatch.setattr(none.Method, "begin", begin)
    spec, states = spec_of("none"), {}
    whole = run_of(spec, mnist)
    whole.stage_over = lambda run: states.update({run.stage: copy.deepcopy(run.state())})
    whole.finish()
    results = whole.results()
    assert results["metrics"]["minority_recall"] != results["curves"]["minority_recall"][-1]
    assert results["metrics"]["best_epoch_test_accuracy"] == results["metrics"]["test_accuracy"]
    for stage in (0, 1):
        run = run_of(spec, mnist)
        run.load_state(states[stage])
        run.finish()
        assert outcome(run) == outcome(whole), stage


def test_no_epoch_of_a_finished_run_is_without_a_score(mnist):
    curves = finished(spec_of("none"), mnist).results()["curves"]
    assert np.isfinite(np.array([curves[name] for name in ("train_loss", "test_accuracy")], float)).all()
