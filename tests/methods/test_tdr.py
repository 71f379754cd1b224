"""TDR as printed: what goes on from step to step, and that its look-ahead is the step that the engine takes."""

import copy

import pytest
import torch
from support.positions import at
from support.project import ROOT
from support.small_problem import RATE, TDR_CODE, TDR_PAPER, gradient_of, moved, weights_at
from torch import nn

from reweigh.config.loading import load
from reweigh.methods import base, tdr
from reweigh.models.layers import Dropout, hold_dropout


def derivatives(step, context, weights, rate):
    """Eq. 9 by plain backward passes: ∂ target loss / ∂ w_c after a plain step of the batch with these weights (B,)."""
    ahead = moved(step.model, -rate * gradient_of(step.model, step.batch, weights)[1])
    outer = gradient_of(ahead, context.target.current(), training=False)[1]
    by_class = []
    for label in (0, 1):
        share = (step.batch.labels == label).float() / len(step.batch)
        by_class.append(-rate * float(outer @ gradient_of(step.model, step.batch, share)[1]))
    return torch.tensor(by_class)


def test_the_weights_go_on_unclipped_and_are_used_clipped(problem):
    """Eq. 6 says what is used; Algorithm 1 goes on from w: a weight below 0 weighs nothing, and is not forgotten."""
    context, step = problem
    method = tdr.Method({**TDR_PAPER, "outer_learning_rate": 10.0, "outer_every": 1}, context)
    raw = torch.tensor([-0.5, 1.0])
    method.next_weights.copy_(raw)
    for number in range(3):
        now = step(number, method)
        clipped = raw[now.batch.labels].clamp(min=0)
        used = clipped / clipped.sum()
        raw = raw - 10.0 * derivatives(now, context, used, RATE)  # before the pass that moves running statistics
        torch.testing.assert_close(weights_at(method, now), used, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(method.next_weights, raw, rtol=1e-3, atol=1e-4)
        assert raw[0] < 0 or number


def test_its_look_ahead_has_the_rate_of_the_step(problem):
    """After a drop of the learning rate too: it was ten times the step from then on."""
    context, step = problem
    method = tdr.Method({**TDR_PAPER, "outer_every": 1, "outer_learning_rate": 100.0}, context)
    now = step(0)
    method.prepare(at(0, learning_rate=RATE / 10))
    method.learn(base.Step(now.number, "outer", now.model, now.batch, None))
    expected = 0.5 - 100.0 * derivatives(now, context, torch.full((10,), 0.1), RATE / 10)
    torch.testing.assert_close(method.next_weights, expected, rtol=1e-4, atol=1e-6)


def test_the_codes_look_ahead_keeps_the_initial_rate(problem):
    context, step = problem
    weights = []
    for rate in (RATE, RATE / 10):
        method = tdr.Method(TDR_CODE, context)
        now = step(0)
        method.prepare(at(0, learning_rate=rate))
        method.learn(base.Step(now.number, "outer", now.model, now.batch, None))
        weights.append(method.weights.clone())
    assert torch.equal(*weights) and not torch.equal(weights[0], torch.tensor([0.5, 0.5]))


def test_its_look_ahead_drops_the_units_that_the_step_drops(problem):
    context, step = problem
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 40), nn.Tanh(), Dropout(0.5), nn.Linear(40, 2))
    seed = torch.tensor(7)
    method = tdr.Method({**TDR_PAPER, "outer_every": 1, "outer_learning_rate": 100.0}, context)
    method.prepare(at(0))
    now = base.Step(torch.tensor(0), "outer", net, step(0).batch, seed)
    method.learn(now)
    twin = copy.deepcopy(net)  # with the mask of the engine's own step
    hold_dropout(twin, seed, "train")
    expected = 0.5 - 100.0 * derivatives(
        base.Step(now.number, "outer", twin, now.batch, seed), context, torch.full((10,), 0.1), RATE
    )
    torch.testing.assert_close(method.next_weights, expected, rtol=1e-4, atol=1e-6)
    hold_dropout(twin, seed, "look-ahead")
    other = 0.5 - 100.0 * derivatives(
        base.Step(now.number, "outer", twin, now.batch, seed), context, torch.full((10,), 0.1), RATE
    )
    assert not torch.allclose(method.next_weights, other, rtol=1e-2)


def test_weights_by_batch_are_those_of_the_code_scaled_to_a_step_of_plain_training(problem):
    context, step = problem
    method = tdr.Method({**TDR_CODE, "normalisation": "batch"}, context)
    for number in range(12):
        used = weights_at(method, step(number, method))
        assert used.sum().item() == pytest.approx(1) and (method.weights >= 0).all()


def test_a_batch_of_classes_that_weigh_nothing_takes_no_step(problem):
    context, step = problem
    method = tdr.Method(TDR_PAPER, context)
    method.weights.copy_(torch.tensor([1.0, -0.5]))
    batch = step(0).batch
    majority = base.Batch(batch.inputs, torch.ones_like(batch.labels), torch.ones_like(batch.groups), batch.rows)
    assert method.effective(majority).tolist() == [0.0] * len(batch) and method.rests


def test_the_printed_values_are_those_of_the_paper():
    """§4.1.1: η_in = 0.001, η_out = 0.2; Algorithm 1: plain steps; no decay and no drop of the rate are printed."""
    config = load(ROOT)
    for experiment in ("mnist-4v9/rho0.005", "mnist-lt/rho0.02", "adult/sex", "nexrad/rho0.017"):
        for method in ("tdr_p", "hard_p", "none_p", "er_p"):
            if method == "er_p" and experiment.startswith("nexrad"):
                continue
            spec = config.resolve(f"paper/tdr/{experiment}/{method}/seed0")
            training = {key: spec["training"][key] for key in ("learning_rate", "momentum", "weight_decay", "schedule")}
            assert training == {
                "learning_rate": 0.001,
                "momentum": 0.0,
                "weight_decay": 0.0,
                "schedule": {"name": "constant", "warmup_epochs": 0},
            }, (experiment, method)
    options = config.resolve("paper/tdr/mnist-4v9/rho0.005/tdr_p/seed0")["method_options"]
    assert (options["outer_learning_rate"], options["outer_every"], options["clip_max"]) == (0.2, 10, None)


def test_the_cross_of_rate_and_decay_changes_nothing_else():
    config = load(ROOT)
    specs = {
        name: config.resolve(f"paper/tdr/mnist-4v9/rho0.1/{name}/seed0")
        for name in ("er", "er_slow", "er_nodecay", "er_ren")
    }
    cross = {
        name: (spec["training"].pop("learning_rate"), spec["training"].pop("weight_decay"))
        for name, spec in specs.items()
    }
    assert cross == {"er": (0.01, 0.002), "er_slow": (0.001, 0.002), "er_nodecay": (0.01, 0.0), "er_ren": (0.001, 0.0)}
    for spec in specs.values():
        spec.pop("method")
    assert all(spec == specs["er"] for spec in specs.values())
