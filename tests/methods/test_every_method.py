"""Every method, found by being there, against its card and the engine's contract; and that these checks can fail."""

import importlib
import re
import sys
import types

import numpy as np
import pytest
import torch
from support import capture, every_method, needs, prefix_checks
from support.every_method import card_module

from reweigh.config.cards import TEMPLATE, card_of, methods, plain
from reweigh.digest import PACKAGE
from reweigh.errors import ConfigError
from reweigh.methods import absgd, base, er, hard, template
from reweigh.planning import plan

CASES = every_method.cases()
NAMES = [f"{name}-{sum(one == name for one, _ in CASES[:place])}" for place, (name, _) in enumerate(CASES)]
METHODS = every_method.modules("methods")


@pytest.fixture(autouse=True)
def _optimiser_of_a_gpu(monkeypatch):
    capture.use_optimiser_of_a_gpu(monkeypatch)


def class_of(name):
    return importlib.import_module(f"reweigh.methods.{name}").Method


# --- cards -----------------------------------------------------------------------------------------------------------


def test_every_method_has_a_card_and_every_card_a_method():
    code, cards = (
        {path.stem for path in folder.glob("[a-z]*.py")} for folder in (PACKAGE / "methods", PACKAGE / "config/methods")
    )
    assert code == cards and set(methods()) == set(METHODS) - {TEMPLATE}
    texts = [(PACKAGE / "methods" / f"{name}.py").read_text() for name in METHODS]
    for shared in code - set(METHODS):  # what several methods are made of
        assert any(re.search(rf"^from reweigh.methods import .*\b{shared}\b", text, re.MULTILINE) for text in texts)


def test_one_method_is_plain_training():
    assert [name for name, card in methods().items() if card.plain] == [plain()]


def test_a_method_without_a_card_is_refused_with_what_to_write(monkeypatch, tmp_path):
    monkeypatch.setattr("reweigh.config.cards.PACKAGE", tmp_path)
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods/lonely.py").write_text("")
    with pytest.raises(
        ConfigError, match=r"^here: method 'lonely' has no card: write src/reweigh/config/methods/lonely"
    ):
        card_of("lonely", "here")
    with pytest.raises(ConfigError, match="did you mean 'absgd'"):
        card_of("abgsd")
    with pytest.raises(ConfigError, match="unknown method 'template'"):
        card_of(TEMPLATE)


@pytest.mark.parametrize("name", METHODS)
def test_its_docstring_names_a_source_and_an_equation(name):
    text = importlib.import_module(f"reweigh.methods.{name}").__doc__
    assert re.search(r"\b(19|20)\d\d\b", text), "name the paper, with its year"
    assert re.search(r"^ *\S.* (=|←|∝) \S", text, re.MULTILINE), "write its equations down"


@pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)
def test_its_options_are_complete_and_refuse_what_is_no_number(name, options):
    every_method.check_options_of(card_module("methods", name).CARD, options)


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)
def test_its_runs_replay_resume_and_are_what_its_card_says(name, options, mnist, monkeypatch):
    """One test, as one run serves all of it. A step that asks a tensor for its value fails in `Watched` already."""
    card = card_module("methods", name).CARD
    watched = every_method.Watched(name, options, mnist)
    every_method.check_replay(watched)
    every_method.check_state(watched)
    every_method.check_resume(watched)
    prefix_checks.check_prefix(watched, card)
    seen = every_method.look_at(name, options, mnist)
    every_method.check_values(seen)
    every_method.check_learn(seen)
    run = watched.run
    stages = [
        (one.epochs, one.sampling, one.training.get("batch_size"), one.train == "all", one.part)
        for one in (course.stage for course in run.courses)
    ]
    planned = [
        (one.epochs, one.sampling, one.batch_size, one.train == "all", one.part)
        for one in card.stages(options, every_method.EPOCHS)
    ]
    assert planned == stages
    monkeypatch.setattr(plan, "card_of", lambda uses: card_module("methods", uses).CARD)
    assert plan.steps_of(run.spec) == run.total_steps == run.step
    assert card.traces(options, run.step) <= set(run.trace())
    assert card.signed_weights or min(run.curves["effective_weight"], default=0) >= 0


@pytest.mark.gpu
@needs.GPU
@pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)
def test_captured_steps_are_the_same_steps(name, options, mnist):
    from support import gpu_runs

    from reweigh.training.engine import eagerly
    from reweigh.training.graph import CapturedSteps
    from reweigh.training.run import pick_device

    found = []
    for execute in (eagerly, CapturedSteps()):
        spec = every_method.spec_of(name, options)
        spec["training"]["epochs"] = 8
        run = gpu_runs.run_of(spec, {"mnist": mnist}, pick_device(), execute)
        gpu_runs.on_a_stream(run.finish)
        found.append(gpu_runs.bits(run))
    assert not execute.refused, execute.report()
    assert found[0] == found[1]


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)
def test_its_weights_go_the_way_that_its_card_says(name, options):
    card = card_module("methods", name).CARD
    if card.stages(options, 1):
        every_method.check_weights(class_of(name), options, card.follows(options))


# --- that these checks can fail --------------------------------------------------------------------------------------

OPTIONS = {"gamma": 0.5, "loss": None}


@pytest.fixture
def walked(monkeypatch, mnist):
    """Walk a method that is written here, as one of the package."""

    def walk(method):
        module = types.ModuleType("reweigh.methods.walked")
        module.Method = method
        monkeypatch.setitem(sys.modules, "reweigh.methods.walked", module)
        watched = every_method.Watched("walked", OPTIONS, mnist)
        every_method.check_replay(watched)
        every_method.check_resume(watched)

    return walk


def test_a_sound_method_passes(walked):
    walked(template.Method)


def test_a_state_that_forgets_a_tensor_is_caught(walked):
    class Forgetful(template.Method):
        state, load_state = base.Method.state, base.Method.load_state

    with pytest.raises(AssertionError, match=r"see what state\(\) keeps of means"):
        walked(Forgetful)


def test_a_state_that_forgets_a_tensor_that_seems_to_be_right_is_caught(walked):
    """It is as it was at first at every place where the run is stopped; only that it is spoilt tells."""

    class Forgetful(base.Method):
        def __init__(self, options, setting):
            super().__init__(options, setting)
            self.turn = torch.ones(())

        def example_weights(self, step, losses):
            self.turn.mul_(-1)
            return torch.full_like(losses, 1 / len(losses)) * self.turn.square()

    with pytest.raises(AssertionError, match=r"see what state\(\) keeps of turn"):
        walked(Forgetful)


def test_a_state_that_is_not_loaded_is_caught(walked):
    class Deaf(template.Method):
        load_state = base.Method.load_state

    with pytest.raises(AssertionError, match="it ends otherwise"):
        walked(Deaf)


@pytest.mark.parametrize("asks", [float, bool, torch.Tensor.item, lambda tensor: tensor.tolist(), np.asarray])
def test_a_step_that_asks_a_tensor_for_its_value_is_caught(walked, asks):
    class Curious(template.Method):
        def example_weights(self, step, losses):
            asks(losses.mean(0))
            return super().example_weights(step, losses)

    with pytest.raises(RuntimeError, match="waits for a value"):
        walked(Curious)


def test_a_step_that_counts_in_python_is_caught(walked):
    class Counting(template.Method):
        count = 0

        def example_weights(self, step, losses):
            self.count += 1
            return super().example_weights(step, losses) * (1 + self.count)

    with pytest.raises(AssertionError, match="decided or kept in Python"):
        walked(Counting)


class AscendsTheTarget(er.Method):
    """Example reweighting with the sign of the hypergradient wrong."""

    def learn(self, step):
        super().learn(step)
        self.towards = {name: -value for name, value in self.towards.items()}


class WeighsTheLargeClass(hard.Method):
    """Hard weighting by the class size, not its inverse."""

    def __init__(self, options, context):
        super().__init__(options, context)
        self.weights = context.group_counts / context.group_counts.sum()


class TiltsTheOtherWay(absgd.Method):
    """ABSGD with exp(−loss/λ)."""

    def prepare(self, at):
        program = super().prepare(at)
        self.lambda_ = -self.lambda_
        return program


@pytest.mark.parametrize(
    ("wrong", "module", "what"),
    [(AscendsTheTarget, "er", "target"), (WeighsTheLargeClass, "hard", "rarity"), (TiltsTheOtherWay, "absgd", "loss")],
)
def test_a_wrong_sign_in_a_weight_is_caught(wrong, module, what):
    card = card_of(module)
    with pytest.raises(AssertionError, match=rf"{what}: the share of the weight goes from .* not \+1"):
        every_method.check_weights(wrong, card.examples[0], card.follows(card.examples[0]))


def test_weights_that_follow_what_the_card_does_not_say_are_caught():
    with pytest.raises(AssertionError, match="the weights follow rarity, of which the card says nothing"):
        every_method.check_weights(hard.Method, {"scale": "mean"}, {})
