"""Every loss, found by being there: its card, its gradient, which way it goes, its state; and that these can fail."""

import ast
import importlib
import io
import math
import re

import pytest
import torch
from support import every_method
from support.every_method import card_module

from reweigh.config.cards import TEMPLATE, check_loss, losses
from reweigh.data.batches import Batch
from reweigh.digest import PACKAGE
from reweigh.errors import ConfigError
from reweigh.losses import base

LOSSES = every_method.modules("losses")
CASES = [(name, options) for name in LOSSES for options in card_module("losses", name).CARD.examples]
NAMES = [f"{name}-{sum(one == name for one, _ in CASES[:place])}" for place, (name, _) in enumerate(CASES)]
EXAMPLES, CLASSES = 12, 4
COUNTS = torch.tensor([50.0, 20.0, 9.0, 2.0], dtype=torch.float64)

walk = pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)


def class_of(name):
    return importlib.import_module(f"reweigh.losses.{name}").Loss


def built(name, options, counts=COUNTS):
    return class_of(name)(counts, EXAMPLES, **options)


def batch_of_all(seed=0):
    """Logits (12, 4), float64, and a batch of all examples, of every class."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(EXAMPLES, CLASSES, generator=generator, dtype=torch.float64)
    labels = torch.arange(EXAMPLES) % CLASSES
    return logits, Batch(torch.zeros(EXAMPLES, 1), labels, labels, torch.arange(EXAMPLES))


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


def check_gradient(loss, options):
    """Finite differences in float64 against autograd, with and without class weights."""
    logits, batch = batch_of_all()
    weights = torch.tensor([0.1, 0.5, 1.0, 2.4], dtype=torch.float64)
    for given in (None, weights):
        made = loss(COUNTS, EXAMPLES, **options)
        assert made(logits, batch, given).shape == (EXAMPLES,)
        assert torch.autograd.gradcheck(
            lambda at, made=made, given=given: made(at, batch, given),
            logits.clone().requires_grad_(),
            eps=1e-6,
            atol=1e-6,
        )


def check_direction(loss, options):
    """No loss rises as the logit of the true class does, and it falls for some example."""
    logits, batch = batch_of_all()
    logits.requires_grad_()
    loss(COUNTS, EXAMPLES, **{**options, "normalise_logits": False})(logits, batch).sum().backward()
    slopes = logits.grad.gather(1, batch.labels[:, None])
    assert (slopes <= 1e-12).all() and slopes.min() < -1e-3, "the loss rises with the logit of the true class"


@walk
def test_its_gradient_is_that_of_finite_differences(name, options):
    check_gradient(class_of(name), options)


@walk
def test_it_falls_with_the_logit_of_the_true_class(name, options):
    check_direction(class_of(name), options)


@walk
def test_it_is_of_single_examples_and_class_weights_of_one_change_no_bit(name, options):
    logits, batch = batch_of_all()
    loss = built(name, options)
    values = loss(logits, batch)
    for place in range(EXAMPLES):
        one = slice(place, place + 1)
        alone = Batch(batch.inputs[one], batch.labels[one], batch.groups[one], batch.rows[one])
        torch.testing.assert_close(loss(logits[one], alone), values[one], rtol=1e-12, atol=1e-12)
    single = built(name, options, COUNTS.float())
    ones = torch.ones(CLASSES)
    assert torch.equal(single(logits.float(), batch, ones), single(logits.float(), batch))


@pytest.mark.parametrize("name", LOSSES)
def test_it_may_be_negative_where_its_card_says_so_and_nowhere_else(name):
    logits, batch = batch_of_all()
    card = card_module("losses", name).CARD
    assert card.signed == any((built(name, options)(logits, batch) < 0).any() for options in card.examples)


@walk
def test_it_stays_finite_at_extreme_logits(name, options):
    values = torch.tensor([[100.0, -100, 0, 0], [0, 0, 0, 0], [-100, 100, 0, 0], [1e4, 0, 0, 0]], requires_grad=True)
    labels = torch.tensor([0, 0, 0, 1])
    batch = Batch(torch.zeros(4, 1), labels, labels, torch.arange(4))
    losses_ = built(name, options, COUNTS.float())(values, batch)
    (gradient,) = torch.autograd.grad(losses_.sum(), values)
    assert losses_.isfinite().all() and gradient.isfinite().all()


# --- state -----------------------------------------------------------------------------------------------------------


def check_state(loss, options):
    """What a refresh changes lies in `state`, and is loaded into the tensors that a captured step reads."""
    train = every_method.part(torch.arange(EXAMPLES).numpy() % 2, 3)
    matrix = torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(1))
    first, second = (loss(COUNTS.float(), EXAMPLES, **options) for _ in range(2))
    before = {name: value.clone() for name, value in every_method.tensors_of(first).items()}
    for epoch in range(6):
        first.refresh(epoch, lambda inputs: inputs @ matrix, train)
    after = every_method.tensors_of(first)
    moved = [name for name, value in after.items() if name not in before or not every_method.same(value, before[name])]
    file = io.BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    places = {name: value.data_ptr() for name, value in every_method.tensors_of(second).items()}
    for name in moved:
        every_method.spoil(every_method.tensors_of(second)[name])
    second.load_state(torch.load(file))
    loaded = every_method.tensors_of(second)
    for name in moved:
        assert every_method.same(loaded[name], after[name]), f"state() forgets {name}"
        assert loaded[name].data_ptr() == places[name], f"{name} has moved; a captured step would read the old one"
    return moved


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
