"""`reweigh check`: a sound method passes; of methods that are broken in one way each, the check of that way fails."""

import importlib
import sys
import types

import pytest
import torch

from reweigh.checking import ask as checking
from reweigh.checking import capture, of_a_loss, runs
from reweigh.checking.ask import Examples
from reweigh.config.cards import Card
from reweigh.config.methods.template import Options
from reweigh.errors import ConfigError
from reweigh.methods import base, template

OPTIONS = {"gamma": 0.5, "loss": None}


class WrongShape(template.Method):
    def example_weights(self, step, losses):
        return super().example_weights(step, losses)[:-1]


class NotFinite(template.Method):
    def example_losses(self, logits, batch):
        return super().example_losses(logits, batch) / 0


class Teaches(template.Method):
    def learn(self, step):
        with torch.no_grad():
            next(step.model.parameters()).mul_(1.01)


class Curious(template.Method):
    def example_weights(self, step, losses):
        return super().example_weights(step, losses) * float(losses.mean() > 0)


class Counting(template.Method):
    count = 0

    def example_weights(self, step, losses):
        self.count += 1
        return super().example_weights(step, losses) * (1 + self.count)


class Forgetful(template.Method):
    state, load_state = base.Method.state, base.Method.load_state


class Deaf(template.Method):
    load_state = base.Method.load_state


class Moves(template.Method):
    def load_state(self, state):
        base.Method.load_state(self, state)
        self.means = state["means"].clone()


class Shares(template.Method):
    """What it remembers belongs to the class: to all runs of it."""

    all_of_them = torch.ones(2)

    def __init__(self, options, context):
        super().__init__(options, context)
        self.means = type(self).all_of_them
        if context.seed == 0:
            self.means.fill_(1)


class Descends(template.Method):
    def example_weights(self, step, losses):
        weights = 1 / super().example_weights(step, losses)
        return weights / weights.sum()


def outcomes_of(method, mnist, monkeypatch, capsys, **fields):
    """The outcome of each check of a method that is written here, by the name of the check."""
    module = types.ModuleType("reweigh.methods.walked")
    module.Method = method
    monkeypatch.setitem(sys.modules, "reweigh.methods.walked", module)
    card = Card(**{"options": Options, "examples": (OPTIONS,), "follows": lambda options: {"loss": 1}, **fields})
    monkeypatch.setattr(checking, "_found", lambda package, name: (card, module))
    monkeypatch.setattr("reweigh.data.load.read", lambda name: mnist)
    monkeypatch.setattr("reweigh.data.manifest.ensure", lambda name: None)
    monkeypatch.setattr(checking, "_cost", lambda *asked: "1.0 plain steps")
    return {one.check: one.why for one in checking.outcomes("method", "walked")}


def test_a_sound_method_passes_all_checks(mnist, monkeypatch, capsys):
    found = outcomes_of(template.Method, mnist, monkeypatch, capsys)
    assert not any(found.values()), found
    assert [*found] == [
        "options", "values", "learn", "capture", "replay", "state", "resume", "alone", "prefix", "weights", "cost",
    ]  # fmt: skip
    said = capsys.readouterr().err
    assert said.startswith("1/11 options") and "11/11 cost" in said


@pytest.mark.parametrize(
    ("method", "check", "says"),
    [
        (WrongShape, "values", "example_weights has shape (49,), not (50,)"),
        (NotFinite, "values", "example_losses has a value that is not finite"),
        (Teaches, "learn", "learn() changes conv1.weight of the model"),
        (Curious, "capture", "waits for a value"),
        (Counting, "replay", "decided or kept in Python"),
        (Forgetful, "resume", "see what state() keeps of means"),
        (Deaf, "state", "state() gives another means than was saved"),
        (Moves, "state", "load_state makes a new tensor of means; write in place"),
        (Shares, "alone", "something is shared between runs"),
        (Descends, "weights", "not +1"),
    ],
)
def test_what_is_broken_in_one_way_fails_the_check_of_it(method, check, says, mnist, monkeypatch, capsys):
    found = outcomes_of(method, mnist, monkeypatch, capsys)
    assert says in found[check], found
    if check == "capture":  # what needs the run says that it was not asked
        assert "see capture" in found["resume"]


def test_an_example_that_the_options_do_not_take_fails(mnist, monkeypatch, capsys):
    card_options = importlib.import_module("reweigh.config.methods.none").CARD.options
    found = outcomes_of(template.Method, mnist, monkeypatch, capsys, options=card_options)
    assert "gamma" in found["options"]


def test_a_failure_says_of_which_example(mnist):
    card = Card(options=Options, examples=(OPTIONS, {**OPTIONS, "gamma": 1.0}))

    def check(options):
        assert options["gamma"] < 1, "too large"

    examples = Examples("walked", card, mnist)
    with pytest.raises(AssertionError, match=r"^example 2 of 2, .*'gamma': 1.0.*: too large"):
        examples.each(examples.options, check)()


def test_the_cost_is_that_of_a_step_against_a_plain_one(mnist):
    """Example reweighting goes through the model twice more than plain training does."""
    dear, plain = (
        (name, importlib.import_module(f"reweigh.config.methods.{name}").CARD.examples[0]) for name in ("er", "none")
    )
    assert runs.cost(*dear, plain, mnist) > 1.1


def test_the_table_and_the_exit_code(monkeypatch, capsys):
    found = [checking.Outcome("values", "", "finite"), checking.Outcome("resume", "it ends otherwise")]
    monkeypatch.setattr(checking, "outcomes", lambda kind, name: iter(found))
    assert checking.main("method", "walked") == 1
    out = capsys.readouterr().out
    assert "resume  failed  it ends otherwise" in out and "method walked: 1 of 2 checks failed: resume" in out
    del found[1]
    assert checking.main("method", "walked") == 0
    assert "all checks passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [("methd", "tdr", "did you mean 'method'"), ("method", "tdrr", "did you mean 'tdr'"), ("loss", "focl", "'focal'")],
)
def test_what_does_not_exist_is_refused_with_the_nearest_name(kind, name, says):
    with pytest.raises(ConfigError, match=says):
        checking.main(kind, name)


def test_a_loss_is_checked_too(monkeypatch, capsys):
    assert not any(one.why for one in checking.outcomes("loss", "focal"))

    class Rises(importlib.import_module("reweigh.losses.template").Loss):
        def unweighted(self, logits, batch):
            return -super().unweighted(logits, batch)

    with pytest.raises(AssertionError, match="rises with the logit"):
        of_a_loss.check_direction(Rises, {"temperature": 1.0})
    with pytest.raises(AssertionError, match="signed=False, and it is below 0"):
        of_a_loss.check_sign(Rises, importlib.import_module("reweigh.config.losses.template").CARD)


def test_the_optimiser_of_a_gpu_is_put_back():
    from reweigh.training import engine

    usual = engine.MomentumSGD
    with capture.optimiser_of_a_gpu():
        assert engine.MomentumSGD is not usual
    assert engine.MomentumSGD is usual
