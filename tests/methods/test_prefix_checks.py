"""A method with a search and a retraining: the checks of every method let it pass, and find the faults it may have.

The search penalises the gradients at a hidden layer, which it names; runs that differ in the retraining share it.
"""

import sys
import types
from contextlib import contextmanager
from typing import Annotated

import pytest
import torch
from pydantic import Field
from support import capture, every_method, prefix_checks

from reweigh.config.cards import Card, PlannedPrefix, PlannedStage
from reweigh.config.methods.two_stage import STAGE_ONE, StageOneOptions
from reweigh.config.specs import Frozen, Positive
from reweigh.errors import ConfigError
from reweigh.hypergrad.penalty import gradient_norm_penalty, hidden_outputs
from reweigh.methods import base, two_stage


class Search(base.Method):
    def stages(self, epochs):
        return [
            base.Stage("search", epochs),
            base.Stage("retrain", self.options["retrain_epochs"], part="train+validation", fresh=True),
        ]

    def prefix(self):
        return base.Prefix(1, "searched", first_options(self.options))

    @contextmanager
    def watch(self, model):
        with hidden_outputs(model, [self.options["layer"]]) as self.hidden:
            yield

    def example_weights(self, step, losses):
        return torch.full_like(losses, 1 / len(losses))

    def objective(self, step, logits, losses, weights):
        strengths = torch.full_like(losses, self.options["strength"])
        return weights @ losses + gradient_norm_penalty(losses.mean(), self.hidden, strengths)


class Options(Frozen):
    layer: str
    strength: Annotated[float, Field(gt=0)]
    retrain_epochs: Positive


def first_options(options):
    """All that the search depends on, and a fixed length of the retraining, on which it does not."""
    return {"layer": options["layer"], "strength": options["strength"], "retrain_epochs": 1}


def stages(options, epochs):
    return [PlannedStage(epochs), PlannedStage(options["retrain_epochs"], part="train+validation")]


EXAMPLE = {"layer": "fc1", "strength": 0.5, "retrain_epochs": 2}
CARD = Card(
    options=Options,
    examples=(EXAMPLE,),
    stages=stages,
    prefix=lambda options: PlannedPrefix(1, "searched", first_options(options)),
)


@pytest.fixture
def check(monkeypatch, mnist):
    """Check a method that is written here, with its card, as one of the package's of the name "searched"."""

    capture.use_optimiser_of_a_gpu(monkeypatch)

    def checked(method, card):
        for package, known in (("methods", {"Method": method}), ("config.methods", {"CARD": card})):
            module = types.ModuleType(f"reweigh.{package}.searched")
            vars(module).update(known)
            monkeypatch.setitem(sys.modules, module.__name__, module)
        watched = every_method.Watched("searched", card.examples[0], mnist)
        every_method.check_replay(watched)
        every_method.check_resume(watched)
        prefix_checks.check_prefix(watched, card)

    return checked


def saying(said, examples=(EXAMPLE,)):
    """The method and its card with a prefix of other options: said(options)."""

    class Saying(Search):
        def prefix(self):
            return base.Prefix(1, "searched", said(self.options))

    def prefix(options):
        return PlannedPrefix(1, "searched", said(options))

    return Saying, Card(options=Options, examples=examples, stages=stages, prefix=prefix)


# --- prefixes --------------------------------------------------------------------------------------------------------


def test_a_sound_method_passes(check):
    check(Search, CARD)


def test_a_prefix_that_forgets_an_option_is_caught(check):
    def said(options):
        return {key: value for key, value in first_options(options).items() if key != "layer"}

    with pytest.raises(ConfigError, match="prefix of searched: options of searched: 'layer' is missing"):
        check(*saying(said))


def test_a_prefix_that_says_a_fixed_value_of_what_its_stages_depend_on_is_caught(check):
    with pytest.raises(AssertionError, match=r"'layer': 'fc2'.* does not train the same stages"):
        check(*saying(lambda options: {**first_options(options), "layer": "fc2"}))


def test_a_fixed_value_that_every_example_has_too_is_caught(check):
    """Both ways of training are then the same, whatever the option does."""

    def said(options):
        return {**first_options(options), "layer": "fc1"}

    with pytest.raises(AssertionError, match="no example has another layer than its prefix"):
        check(*saying(said))
    with pytest.raises(AssertionError, match="does not train the same stages"):
        check(*saying(said, ({**EXAMPLE, "layer": "fc2"}, EXAMPLE)))


class OfTwoStages(two_stage.Method):
    """Stage one as all such methods have it, and then a stage for the head."""

    def second_stage(self):
        return base.Stage("second", 1, train="head")


TWO_STAGE = Card(
    options=StageOneOptions,
    examples=({"stage_one": STAGE_ONE},),
    stages=lambda options, epochs: [PlannedStage(epochs), PlannedStage(1, train="head")],
    prefix=lambda options: PlannedPrefix(1, "two_stage", {"stage_one": options["stage_one"]}),
)


def test_a_sound_method_with_the_prefix_of_another_passes(check):
    check(OfTwoStages, TWO_STAGE)


def test_what_a_method_makes_of_the_end_of_the_stages_is_its_own(check):
    class ItsEnd(OfTwoStages):
        def end(self, stage, model):
            if stage.name == two_stage.STAGE_ONE:
                self.log(norm_of_the_head=model.head.weight.norm())

    check(ItsEnd, TWO_STAGE)


class ItsObjective(OfTwoStages):
    def objective(self, step, logits, losses, weights):
        return super().objective(step, logits, losses, weights) + 0.01 * logits.square().mean()


class ItsLosses(OfTwoStages):
    def example_losses(self, logits, batch):
        return super().example_losses(logits, batch) * 2


class ItsInputs(OfTwoStages):
    def inputs(self, step, batch):
        return batch.inputs.flip(-1)


class ItsTrace(OfTwoStages):
    def learn(self, step):
        self.log(number=step.number)


@pytest.mark.parametrize("method", [ItsObjective, ItsLosses, ItsInputs, ItsTrace])
def test_a_hook_that_is_overridden_in_stages_of_another_method_is_caught(check, method):
    with pytest.raises(AssertionError, match=r"two_stage with .* does not train the same stages"):
        check(method, TWO_STAGE)


def test_a_method_that_remembers_what_the_stages_of_another_do_not_leave_is_caught(check):
    class Remembers(OfTwoStages):
        def __init__(self, options, context):
            super().__init__(options, context)
            self.steps = torch.zeros(())

        def learn(self, step):
            self.steps += 1

        def example_weights(self, step, losses):
            weights = super().example_weights(step, losses)
            return weights * self.steps if step.model.fc1.weight.requires_grad is False else weights

        def state(self):
            return {**super().state(), "steps": self.steps}

        def load_state(self, state):
            super().load_state(state)
            self.steps.copy_(state["steps"])

    with pytest.raises(AssertionError, match="it remembers what they do not leave"):
        check(Remembers, TWO_STAGE)


# --- weights ---------------------------------------------------------------------------------------------------------


def test_the_weights_of_a_method_that_names_a_layer_are_measured():
    every_method.check_weights(Search, EXAMPLE, {})


class SearchesByLoss(Search):
    """Large losses count more while it searches, and not after it."""

    def prepare(self, at):
        return at.stage.name

    def example_weights(self, step, losses):
        return losses.softmax(0) if step.program == "search" else super().example_weights(step, losses)


def test_the_weights_of_every_stage_are_measured():
    every_method.check_weights(SearchesByLoss, EXAMPLE, {"loss": 1})
    with pytest.raises(AssertionError, match="stage 0: the weights follow loss, of which the card says nothing"):
        every_method.check_weights(SearchesByLoss, EXAMPLE, {})
    with pytest.raises(AssertionError, match=r"stage 0: loss: the share of the weight goes from .* not -1"):
        every_method.check_weights(SearchesByLoss, EXAMPLE, {"loss": -1})


def test_what_no_stage_follows_though_the_card_says_so_is_caught():
    with pytest.raises(AssertionError, match=r"in no stage do the weights follow rarity, where the card says \+1"):
        every_method.check_weights(SearchesByLoss, EXAMPLE, {"loss": 1, "rarity": 1})


class SearchesAmongMembers(Search):
    """A stage in the middle trains on half of the training set, another half in each epoch."""

    def __init__(self, options, context):
        super().__init__(options, context)
        self.half = torch.zeros((), dtype=torch.int64)

    def stages(self, epochs):
        first, last = super().stages(epochs)
        return [first, base.Stage("members", 1, part="members"), last]

    def members(self, stage):
        size = len(self.context.train) // 2
        return torch.arange(size).numpy() + int(self.half) * size

    def begin_epoch(self, at, model):
        super().begin_epoch(at, model)
        self.half.fill_(at.stage_epoch % 2)


def test_the_weights_of_a_stage_of_members_are_measured():
    every_method.check_weights(SearchesAmongMembers, EXAMPLE, {})
