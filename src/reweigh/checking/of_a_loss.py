"""What every loss must hold to: its values, its gradient, which way it goes, its state.

    check_gradient(Loss, {"gamma": 2.0})

A check that fails raises AssertionError, with what is wrong.
"""

import io
from collections.abc import Mapping
from typing import Any

import torch

from reweigh.checking.options import require
from reweigh.checking.runs import same, spoil, tensors_of
from reweigh.checking.weights import part
from reweigh.data.batches import Batch
from reweigh.losses import base
from reweigh.training import sealed

EXAMPLES, CLASSES = 12, 4
COUNTS = torch.tensor([50.0, 20.0, 9.0, 2.0], dtype=torch.float64)

LossClass = type[base.Loss]
Options = Mapping[str, Any]


def batch_of_all(seed: int = 0) -> tuple[torch.Tensor, Batch]:
    """Logits (12, 4), float64, and a batch of all examples, of every class."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(EXAMPLES, CLASSES, generator=generator, dtype=torch.float64)
    labels = torch.arange(EXAMPLES) % CLASSES
    return logits, Batch(torch.zeros(EXAMPLES, 1), labels, labels, torch.arange(EXAMPLES))


def check_gradient(loss: LossClass, options: Options) -> None:
    """Finite differences in float64 against autograd, with and without class weights."""
    logits, batch = batch_of_all()
    weights = torch.tensor([0.1, 0.5, 1.0, 2.4], dtype=torch.float64)
    for given in (None, weights):
        made = loss(COUNTS, EXAMPLES, **options)
        shape = tuple(made(logits, batch, given).shape)
        require(shape == (EXAMPLES,), f"it has shape {shape} of {EXAMPLES} examples")
        torch.autograd.gradcheck(
            lambda at, made=made, given=given: made(at, batch, given),
            logits.clone().requires_grad_(),
            eps=1e-6,
            atol=1e-6,
        )


def check_direction(loss: LossClass, options: Options) -> None:
    """No loss rises as the logit of the true class does, and it falls for some example."""
    logits, batch = batch_of_all()
    logits.requires_grad_()
    loss(COUNTS, EXAMPLES, **{**options, "normalise_logits": False})(logits, batch).sum().backward()
    assert logits.grad is not None
    slopes = logits.grad.gather(1, batch.labels[:, None])
    right = bool((slopes <= 1e-12).all()) and bool(slopes.min() < -1e-3)
    require(right, "the loss rises with the logit of the true class, or falls for no example")


def check_finite(loss: LossClass, options: Options) -> None:
    """Loss and gradient are finite at logits far from 0."""
    values = torch.tensor([[100.0, -100, 0, 0], [0, 0, 0, 0], [-100, 100, 0, 0], [1e4, 0, 0, 0]], requires_grad=True)
    labels = torch.tensor([0, 0, 0, 1])
    batch = Batch(torch.zeros(4, 1), labels, labels, torch.arange(4))
    found = loss(COUNTS.float(), EXAMPLES, **options)(values, batch)
    (gradient,) = torch.autograd.grad(found.sum(), values)
    require(bool(found.isfinite().all()), f"at extreme logits it is {found.tolist()}")
    require(bool(gradient.isfinite().all()), "its gradient at extreme logits is not finite")


def check_single(loss: LossClass, options: Options) -> None:
    """The loss of an example does not depend on its neighbours; class weights of 1 change no bit."""
    logits, batch = batch_of_all()
    made = loss(COUNTS, EXAMPLES, **options)
    values = made(logits, batch)
    for place in range(EXAMPLES):
        one = slice(place, place + 1)
        alone = Batch(batch.inputs[one], batch.labels[one], batch.groups[one], batch.rows[one])
        torch.testing.assert_close(made(logits[one], alone), values[one], rtol=1e-12, atol=1e-12)
    single, ones = loss(COUNTS.float(), EXAMPLES, **options), torch.ones(CLASSES)
    equal = torch.equal(single(logits.float(), batch, ones), single(logits.float(), batch))
    require(equal, "class weights of 1 change it")


def check_sign(loss: LossClass, card: Any) -> None:
    """It is below 0 for some example of its card if that says `signed`, and else for none."""
    logits, batch = batch_of_all()
    below = any(bool((loss(COUNTS, EXAMPLES, **one)(logits, batch) < 0).any()) for one in card.examples)
    require(card.signed == below, f"its card says signed={card.signed}, and it is {'' if below else 'never '}below 0")


def check_state(loss: LossClass, options: Options) -> list[str]:
    """What a refresh changes lies in `state`, and is loaded into the tensors that a captured step reads. -> its names

    The training set is made up.
    """
    train = part(torch.arange(EXAMPLES).numpy() % 2, 3)
    matrix = torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(1))
    first, second = (loss(COUNTS.float(), EXAMPLES, **options) for _ in range(2))
    before = {name: value.clone() for name, value in tensors_of(first).items()}
    for epoch in range(6):
        first.refresh(epoch, lambda inputs: inputs @ matrix, train)
    after = tensors_of(first)
    moved = [name for name, value in after.items() if name not in before or not same(value, before[name])]
    file = io.BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    places = {name: value.data_ptr() for name, value in tensors_of(second).items()}
    for name in moved:
        spoil(tensors_of(second)[name])
    second.load_state(sealed.load(file))
    loaded = tensors_of(second)
    for name in moved:
        require(same(loaded[name], after[name]), f"state() forgets {name}")
        stays = loaded[name].data_ptr() == places[name]
        require(stays, f"{name} has moved; a captured step would read the old one")
    return moved
