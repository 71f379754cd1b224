"""Every loss, found by being there: its card, its gradient, which way it goes, its state; and that these can fail."""

import ast
import importlib
import math
import re

import pytest
from support import every_method
from support.every_method import card_module

from reweigh.checking.of_a_loss import (
    COUNTS,
    EXAMPLES,
    check_direction,
    check_finite,
    check_gradient,
    check_sign,
    check_single,
    check_state,
)
from reweigh.config.cards import TEMPLATE, check_loss, losses
from reweigh.digest import PACKAGE
from reweigh.errors import ConfigError
from reweigh.losses import base

LOSSES = every_method.modules("losses")
CASES = [(name, options) for name in LOSSES for options in card_module("losses", name).CARD.examples]
NAMES = [f"{name}-{sum(one == name for one, _ in CASES[:place])}" for place, (name, _) in enumerate(CASES)]

walk = pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)


def class_of(name):
    return importlib.import_module(f"reweigh.losses.{name}").Loss


def built(name, options, counts=COUNTS):
    return class_of(name)(counts, EXAMPLES, **options)


# --- cards -----------------------------------------------------------------------------------------------------------


def test_every_loss_has_a_card_and_every_card_a_loss():
    code, cards = (
        {path.stem for path in folder.glob("[a-z]*.py")} for folder in (PACKAGE / "losses", PACKAGE / "config/losses")
    )
    assert code - {"design"} == cards == {*LOSSES, "base", "objectives"} and set(losses()) == set(LOSSES) - {TEMPLATE}


@pytest.mark.parametrize("name", LOSSES)
def test_its_docstring_names_a_source_and_a_formula(name):
    text = importlib.import_module(f"reweigh.losses.{name}").__doc__
    assert re.search(r"\b(19|20)\d\d\b", text), "name the paper, with its year"
    assert re.search(r"[·=−Σ]", text), "write its formula down"


@pytest.mark.parametrize("name", LOSSES)
def test_its_card_has_the_options_of_its_constructor(name):
    """The keywords without a default are those that a config must state."""
    fields = card_module("losses", name).CARD.options.model_fields
    keywords = keywords_of(base.Loss) | (keywords_of(class_of(name)) if "__init__" in vars(class_of(name)) else {})
    assert {key: field.is_required() for key, field in fields.items()} == keywords


def keywords_of(loss):
    source = importlib.import_module(loss.__module__).__file__
    with open(source) as file:
        defined = {node.name: node for node in ast.parse(file.read()).body if isinstance(node, ast.ClassDef)}
    made = next(node for node in defined["Loss"].body if getattr(node, "name", "") == "__init__").args
    return {arg.arg: default is None for arg, default in zip(made.kwonlyargs, made.kw_defaults, strict=True)}


@walk
def test_its_options_are_complete_and_refuse_what_is_no_number(name, options):
    every_method.check_options_of(card_module("losses", name).CARD, options)
    if name != TEMPLATE:
        check_loss({"name": name, **options}, "here")


NONE = {"truncation": None, "refresh_from": None, "refresh_every": None}


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("focal", {"gamma": math.nan, "weight_leaks": True}, "gamma: must be a finite number, is nan (valid: >= 0)"),
        ("focal", {"gamma": -1, "weight_leaks": True}, "gamma: must be greater than or equal to 0, is -1"),
        ("gce", {**NONE, "q": 0}, "q: must be greater than 0, is 0 (valid: > 0, <= 1)"),
        ("gce", {**NONE, "q": 0.7, "truncation": 1}, "truncation: must be less than 1, is 1 (valid: > 0, < 1)"),
        ("ldam", {"max_margin": 0.5, "scale": 0}, "scale: must be greater than 0, is 0 (valid: > 0)"),
        ("sce", {"alpha": 0, "beta": 0}, "both 0"),
        (TEMPLATE, {"temperature": 1.0}, "unknown loss 'template'"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(name, options, says):
    where = "config/papers/x.yaml: methods.y.options.loss"
    with pytest.raises(ConfigError) as refused:
        check_loss({"name": name, **options}, where)
    assert str(refused.value).startswith(f"{where}: ") and says in str(refused.value)


# --- values ----------------------------------------------------------------------------------------------------------


@walk
def test_its_gradient_is_that_of_finite_differences(name, options):
    check_gradient(class_of(name), options)


@walk
def test_it_falls_with_the_logit_of_the_true_class(name, options):
    check_direction(class_of(name), options)


@walk
def test_it_is_of_single_examples_and_class_weights_of_one_change_no_bit(name, options):
    check_single(class_of(name), options)


@pytest.mark.parametrize("name", LOSSES)
def test_it_may_be_negative_where_its_card_says_so_and_nowhere_else(name):
    check_sign(class_of(name), card_module("losses", name).CARD)


@walk
def test_it_stays_finite_at_extreme_logits(name, options):
    check_finite(class_of(name), options)


# --- state -----------------------------------------------------------------------------------------------------------


@walk
def test_what_it_remembers_is_its_state(name, options):
    moved = check_state(class_of(name), options)
    assert not moved or class_of(name).by_row


# --- that these checks can fail --------------------------------------------------------------------------------------


def test_a_wrong_sign_a_broken_gradient_and_a_forgotten_tensor_are_caught():
    from reweigh.losses import gce, template

    class Rises(template.Loss):
        def unweighted(self, logits, batch):
            return -super().unweighted(logits, batch)

    class Detached(template.Loss):
        def unweighted(self, logits, batch):
            return super().unweighted(logits, batch) * (1 + logits.detach().square().sum(1))

    class Forgetful(gce.Loss):
        state, load_state = base.Loss.state, base.Loss.load_state

    with pytest.raises(AssertionError, match="rises with the logit"):
        check_direction(Rises, {"temperature": 1.0})
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        check_gradient(Detached, {"temperature": 1.0})
    with pytest.raises(AssertionError, match="forgets kept"):
        check_state(Forgetful, card_module("losses", "gce").CARD.examples[0])
