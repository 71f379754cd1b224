"""L2RW: Algorithm 1 by double backpropagation from ε = 0; the meta sets that it and its like learn from."""

import copy
from dataclasses import replace

import pytest
import torch
from support import look_ahead
from support.look_ahead import ADAM, Problem
from support.mnist_runs import outcome, spec_of
from support.mnist_runs import run_of as mnist_run_of

from reweigh.config import loading, needs
from reweigh.errors import ConfigError
from reweigh.methods import er, l2rw, meta_set


@pytest.fixture
def problem(single_as_double):
    return Problem()


def stream_of(problem, wanted):
    validation = problem.context.validation
    return problem.context.target if wanted == "target" else validation.stream(12, 0, "meta-batches", True)


@pytest.mark.parametrize("wanted", ["validation", "target"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_weights_are_those_of_algorithm_1(single_as_double, wanted, dropout):
    problem = Problem(dropout)
    method, metas = l2rw.Method({"meta_set": wanted}, problem.context), stream_of(Problem(dropout), wanted)
    for number in range(4):
        step = problem.step(number, method)
        epsilon = torch.zeros(12, dtype=torch.float64, requires_grad=True)
        direction = look_ahead.weighted(epsilon, step.batch.labels)
        meta = metas.batch(number)
        loss = look_ahead.by_double_backpropagation(problem.model, step, meta, direction, 0.05, meta_mask="target")
        (slopes,) = torch.autograd.grad(loss, epsilon)
        useful = [max(0.0, -slope) for slope in slopes.tolist()]
        assert 0 < sum(value > 0 for value in useful) < 12
        wanted_weights = torch.tensor([value / sum(useful) for value in useful], dtype=torch.float64)
        weights, objective = problem.pass_of(method, step)
        torch.testing.assert_close(weights, wanted_weights, rtol=1e-8, atol=1e-12)
        assert weights.sum().item() == pytest.approx(1)
        problem.model.zero_grad()
        objective.backward()
        with torch.no_grad():
            for parameter in problem.model.parameters():
                parameter -= 0.05 * parameter.grad


def test_where_no_example_helps_all_weights_are_zero(problem):
    """u / (Σ u + 1[Σ u = 0]): no step, and no division by 0, by a meta set that asks for no direction."""
    method = l2rw.Method({"meta_set": "validation"}, problem.context)
    step = problem.step(0, method)
    method.learn(step)
    method.towards = {name: torch.zeros_like(value) for name, value in method.towards.items()}
    with method.watch(problem.model):
        logits = problem.model(step.batch.inputs)
    weights = method.example_weights(step, method.example_losses(logits, step.batch).detach())
    assert torch.equal(weights, torch.zeros(12, dtype=torch.float64)) and method.may_rest


def test_from_the_target_set_it_is_example_reweighting(mnist):
    """The baseline of TDR to the last bit."""
    runs = []
    for uses, options in (("er", {"scale": "sum"}), ("l2rw", {"meta_set": "target"})):
        spec = spec_of("er")
        spec.update(uses=uses, method_options=options)
        run = mnist_run_of(spec, mnist)
        run.finish()
        runs.append(outcome(run))
    assert runs[0] == runs[1]
    assert issubclass(l2rw.Method, er.Method)


def test_examples_with_a_wrong_label_weigh_less(single_as_double):
    wrong, right = look_ahead.Mislabelled().trained(l2rw.Method, {"meta_set": "validation"}, 20)
    assert wrong < 0.5 * right


# --- the meta set ----------------------------------------------------------------------------------------------------

NETWORK = {"meta_set": "validation", "hidden": 4, "optimiser": ADAM}
OPTIONS = {
    "mwn": NETWORK | {"meta_every": 2, "normalise": False},
    "bilaw": NETWORK | {"meta_every": 2, "normalise": False},
    "l2rw": {"meta_set": "validation"},
    "gdw": NETWORK | {"class_rate": 100.0, "clip": 0.2},
}


def test_batches_of_the_validation_part_are_augmented_and_as_large_as_those_of_training(problem):
    part, asked = problem.context.validation, []
    part.stream = lambda *arguments: asked.append(arguments) or "a stream"
    assert meta_set.stream("validation", problem.context) == "a stream"
    assert asked == [(12, 0, "meta-batches", True)]
    assert meta_set.stream("target", problem.context) is problem.context.target


@pytest.mark.parametrize("name", OPTIONS)
def test_a_meta_set_that_the_split_has_not_is_refused(problem, name):
    method = __import__(f"reweigh.methods.{name}", fromlist=["Method"]).Method
    for wanted, missing in (("validation", "validation"), ("target", "target")):
        with pytest.raises(ConfigError, match=rf"^meta_set: {wanted}, but .*; set {missing}_size") as refusal:
            method(OPTIONS[name] | {"meta_set": wanted}, replace(problem.context, **{missing: None}))
        assert "\n" not in str(refusal.value)
        other = {"validation": "target", "target": "validation"}[wanted]
        method(OPTIONS[name] | {"meta_set": other}, replace(problem.context, **{missing: None}))


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(
    ("wanted", "says"),
    [("validation", "needs examples held out of the training set"), ("target", "learns from a target set")],
)
def test_a_config_that_asks_for_one_that_is_not_there_is_refused_before_anything_runs(name, wanted, says):
    spec = copy.deepcopy(loading.resolve("smoke/tdr/mnist-4v9/rho0.1/tdr/seed0"))
    spec.update(uses=name, method_options=OPTIONS[name] | {"meta_set": wanted})
    split = spec["data"]["split"]
    split.update(target_size=20, validation_size=20)
    needs.check(spec, "here")
    split.update({"validation_size": 0} if wanted == "validation" else {"target_size": 0})
    with pytest.raises(ConfigError, match=says):
        needs.check(spec, "here")
    other = {"validation": "target", "target": "validation"}[wanted]
    spec["method_options"] = OPTIONS[name] | {"meta_set": other}
    needs.check(spec, "here")


@pytest.mark.parametrize("name", OPTIONS)
def test_every_outer_step_has_a_batch_of_its_own(problem, name):
    method = __import__(f"reweigh.methods.{name}", fromlist=["Method"]).Method(OPTIONS[name], problem.context)
    meta, seeks = method.context.target if name == "l2rw" else method.meta, []
    seek = meta.seek
    meta.seek = lambda number: seeks.append(number) or seek(number)
    for number in range(6):
        problem.step(number, method)
    assert seeks == ([0, 1, 2] if "meta_every" in OPTIONS[name] else list(range(6)))
