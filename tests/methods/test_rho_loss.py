"""RHO-loss: its irreducible losses, what it chooses of a large batch, its budget, its AdamW."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.absgd_methods import part
from support.headed_problem import SIZE, Net, Problem
from support.mnist_runs import run_of, spec_of
from torch.nn import functional as F

from reweigh.errors import ConfigError
from reweigh.methods import base, rho_loss

OPTIONS = {
    "share": 0.25, "hold_out": 0.2, "irreducible_epochs": 3, "irreducible_batch_size": None,
    "irreducible_schedule": None, "checkpoint": "last", "check_every": 2, "optimiser": "sgd",
}  # fmt: skip


@pytest.fixture
def problem(single_as_double):
    return Problem()


def pool_of(problem):
    """The pool of 60 training and 18 held-out examples, in this order."""
    pool = part(78, 1)
    for name in ("inputs", "labels", "groups"):
        setattr(pool, name, torch.cat([getattr(one, name) for one in (problem.train, problem.validation)]))
    return pool


def begun(problem, **options):
    """The method as it begins its first stage."""
    method = rho_loss.Method({**OPTIONS, **options}, replace(problem.context, train=pool_of(problem)))
    method.begin(method.stages(4)[0], problem.model)
    return method


def at_main(problem, irreducible, **options):
    """The method in its main stage with these irreducible losses (60,)."""
    method = begun(problem, **options)
    method.irreducible = irreducible
    method.follow(replace(method.context, train=problem.train))
    method.begin(method.stages(4)[1], problem.model)
    return method


def position(stage, stage_step):
    return base.Position(stage_step, stage_step // 5, stage, stage_step, 5, 0.05)


def losses_of(model, batch, training):
    twin = copy.deepcopy(model).train(training)
    return F.cross_entropy(twin(batch.inputs), batch.labels, reduction="none").detach()


# --- the irreducible losses ------------------------------------------------------------------------------------------


def test_the_first_stage_trains_on_what_is_held_out(problem):
    method = begun(problem)
    rows = method.members(method.stages(4)[0])
    assert rows.min() >= 60 and rows.max() < 78 and len(set(rows.tolist())) == 15  # a fifth of 78, rounded down
    assert np.array_equal(rows, method.members(method.stages(4)[0]))
    with pytest.raises(ConfigError, match="hold_out asks for 19 of 78 examples, but 18 are held out"):
        begun(problem, hold_out=0.25).members(method.stages(4)[0])
    with pytest.raises(ConfigError, match="the split holds nothing out"):
        rho_loss.Method(OPTIONS, replace(problem.context, validation=None))


def test_stages_have_their_own_training_where_it_is_given(problem):
    first, main = begun(problem).stages(4)
    assert (first.part, first.epochs, first.training) == ("members of train+validation", 3, {})
    assert (main.part, main.epochs, main.fresh, main.training) == ("train", 4, True, {})
    own = {"irreducible_batch_size": 7, "irreducible_schedule": {"name": "constant", "warmup_epochs": 0}}
    assert begun(problem, **own).stages(4)[0].training == {
        "batch_size": 7, "schedule": {"name": "constant", "warmup_epochs": 0}
    }  # fmt: skip


def test_irreducible_losses_are_the_last_models_on_the_training_examples(problem):
    method = begun(problem)
    method.irreducible, method.best = method.irreducible.double(), method.best.double()
    with torch.no_grad():  # as the engine has it
        method.end(method.stages(4)[0], problem.model)
    expected = losses_of(problem.model, next(iter(problem.train.in_order(100))), training=False)
    torch.testing.assert_close(method.irreducible, expected)
    assert problem.model.training and float(method.logged["irreducible_loss"]) == pytest.approx(float(expected.mean()))


@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_the_best_epoch_is_that_of_the_lowest_mean_loss_on_the_training_examples(problem, checkpoint):
    """Checked after two epochs and at the end of three; the model of the end is spoilt."""
    method, train = begun(problem, checkpoint=checkpoint), next(iter(problem.train.in_order(100)))
    method.irreducible, method.best = method.irreducible.double(), method.best.double()
    stage = method.stages(4)[0]
    early = losses_of(problem.model, train, False)
    for epoch in range(3):
        method.begin_epoch(position(stage, 5 * epoch), problem.model)
        assert ("irreducible_loss" in method.logged) == (checkpoint == "best" and epoch == 2)
    with torch.no_grad():
        problem.model.head.weight.mul_(-5)
    late = losses_of(problem.model, train, False)
    assert late.mean() > early.mean()
    with torch.no_grad():
        method.end(stage, problem.model)
    torch.testing.assert_close(method.irreducible, early if checkpoint == "best" else late)
    method.begin_epoch(position(method.stages(4)[1], 10), problem.model)  # nothing is checked in the main stage
    torch.testing.assert_close(method.irreducible, early if checkpoint == "best" else late)


# --- the choice ------------------------------------------------------------------------------------------------------


def test_it_chooses_the_largest_reducible_losses_of_a_large_batch(problem):
    """The losses are those of training mode, with the statistics of the large batch: 48 of 60, of which it keeps 12."""
    irreducible = torch.rand(60, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    method = at_main(problem, irreducible)
    stage, before = method.stages(4)[1], copy.deepcopy(problem.model.state_dict())
    for number in (0, 7):
        program = method.prepare(position(stage, number))
        large = method.large.current()
        assert len(large) == 48
        reducible = (losses_of(problem.model, large, training=True) - irreducible[large.rows]).numpy()
        expected = large.rows.numpy()[np.argsort(-reducible)[:SIZE]]
        method.learn(base.Step(torch.tensor(number), program, problem.model, problem.batches.batch(number), None))
        assert method.chosen.rows.tolist() == expected.tolist()
        assert torch.equal(method.chosen.inputs, problem.train.inputs[method.chosen.rows])
        assert torch.equal(method.chosen.labels, problem.train.labels[method.chosen.rows])
    assert all(torch.equal(before[name], value) for name, value in problem.model.state_dict().items())


def test_noisy_examples_with_a_large_irreducible_loss_are_passed_over(problem):
    irreducible = torch.zeros(60, dtype=torch.float64)
    irreducible[::2] = 100.0
    method = at_main(problem, irreducible)
    method.learn(
        base.Step(torch.tensor(0), method.prepare(position(method.stages(4)[1], 0)), problem.model,
                  problem.batches.batch(0), None)
    )  # fmt: skip
    assert (method.chosen.rows % 2 == 1).all()


def test_the_step_is_the_mean_over_the_chosen(problem):
    method = at_main(problem, torch.zeros(60, dtype=torch.float64))
    batch = problem.batches.batch(0)
    step = base.Step(torch.tensor(0), method.prepare(position(method.stages(4)[1], 0)), problem.model, batch, None)
    twin = copy.deepcopy(problem.model).train()
    weights, losses = problem.weights(method, step)
    (weights @ losses).backward()
    F.cross_entropy(twin(method.chosen.inputs), method.chosen.labels).backward()
    for found, expected in zip(problem.model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)
    assert set(method.chosen.rows.tolist()) != set(batch.rows.tolist())


def test_in_the_first_stage_it_trains_plainly_on_the_engines_batch(problem):
    method = begun(problem)
    stage, batch = method.stages(4)[0], problem.batches.batch(0)
    step = base.Step(torch.tensor(0), method.prepare(position(stage, 0)), problem.model, batch, None)
    weights, losses = problem.weights(method, step)
    assert weights.tolist() == [1 / SIZE] * SIZE
    torch.testing.assert_close(losses.detach(), losses_of(problem.model, batch, training=True))


# --- runs and their optimiser ----------------------------------------------------------------------------------------


def test_its_main_stage_takes_as_many_steps_as_plain_training(mnist):
    plain, spec = run_of(spec_of("none"), mnist), spec_of("none")
    spec["data"]["split"].update(validation_size=20)
    spec.update(uses="rho_loss", method_options={**OPTIONS, "share": 0.1, "hold_out": 0.06})
    run = run_of(spec, mnist)
    run.finish()
    stages = run.results()["stages"]
    assert stages[1]["steps_per_epoch"] * stages[1]["epochs"] == plain.total_steps
    assert stages[1]["batch_size"] == spec["training"]["batch_size"] and stages[1]["fresh"]
    assert run.diverged_at is None and run.method.irreducible.std() > 0


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_adamw_is_that_of_torch(decay):
    mine, theirs = Net(), Net()
    theirs.load_state_dict(mine.state_dict())
    parameters = dict(mine.named_parameters())
    own = rho_loss.AdamW(parameters, dict.fromkeys(parameters, decay))
    other = torch.optim.AdamW(theirs.parameters(), lr=1e-3, weight_decay=decay)
    for number in range(5):
        generator = torch.Generator().manual_seed(number)
        gradients = {name: torch.randn(value.shape, generator=generator) for name, value in parameters.items()}
        other.param_groups[0]["lr"] = rate = 1e-3 * (number + 1)
        own.prepare(rate)
        own.step(gradients)
        for value, gradient in zip(theirs.parameters(), gradients.values(), strict=True):
            value.grad = gradient
        other.step()
    for value, expected in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-8)


def test_the_optimiser_is_what_the_option_says(problem):
    parameters = dict(problem.model.named_parameters())
    assert begun(problem).optimiser(parameters, dict.fromkeys(parameters, 0.0)) is None
    adamw = begun(problem, optimiser="adamw").optimiser(parameters, dict.fromkeys(parameters, 0.01))
    assert isinstance(adamw, rho_loss.AdamW)
