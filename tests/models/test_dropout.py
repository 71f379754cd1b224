"""Dropout whose mask is a function of a seed: the hash behind it, layers, names, passes that are repeated."""

import copy
import math
from unittest import mock

import pytest
import torch
from scipy import stats

from reweigh.models import build, layers
from reweigh.models.layers import Dropout, Masks, hashed, hold_dropout

COLOUR = (3, 32, 32)


def held(layer, seed, name="train"):
    hold_dropout(layer, torch.tensor(seed), name)
    return layer


def test_dropout_mask_is_a_function_of_its_seed():
    layer, ones = Dropout(0.25), torch.ones(400, 50)
    first = held(layer, 5)(ones)
    torch.rand(7)  # the global stream does not matter
    assert torch.equal(first, layer(ones)) and torch.equal(first, held(layer, 5)(ones))
    assert not torch.equal(first, held(layer, 6)(ones))
    assert sorted(first.unique().tolist()) == pytest.approx([0.0, 1 / 0.75])
    assert (first == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    layer.eval()
    assert layer(ones) is ones


def test_dropout_without_a_seed_says_what_to_call():
    with pytest.raises(RuntimeError, match="hold_dropout"):
        Dropout(0.5)(torch.ones(2))


def test_hashed_numbers_are_the_published_hash():
    """Two rounds of lowbias32, in Python's unbounded integers."""

    def mixed(x):
        x = (x ^ (x >> 16)) * 0x7FEB352D % 2**32
        x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
        return x ^ (x >> 16)

    seed, salt = 0x123456789ABCDEF0, 0x7FFFFFF1
    expected = [mixed(mixed((i + seed) % 2**32) ^ ((seed >> 32) + salt) % 2**32) % 2**31 for i in range(64)]
    assert hashed(torch.arange(64, dtype=torch.int32), torch.tensor(seed), salt).tolist() == expected


def test_numbers_hashed_in_pieces_are_the_same():
    def found():
        return hashed(torch.arange(1000, dtype=torch.int32), torch.tensor(0x123456789ABCDEF0), 77)

    whole = found()
    with mock.patch.object(layers, "PIECE", 7):
        assert torch.equal(found(), whole)


@pytest.mark.parametrize("changed", ["seed", "salt", "neither"])
def test_hashed_numbers_are_uniform_and_uncorrelated(changed):
    seed, salt = torch.tensor(1 + (changed == "seed")), 1 + (changed == "salt")
    first = hashed(torch.arange(200_000, dtype=torch.int32), torch.tensor(1), 1)
    other = hashed(torch.arange(200_000, dtype=torch.int32), seed, salt)
    if changed == "neither":
        other = first.roll(1)
    assert stats.kstest(first.numpy() / 2**31, "uniform").pvalue > 1e-3
    together = torch.corrcoef(torch.stack((first, other)).double())[0, 1].item()
    assert abs(together) < 4 / math.sqrt(200_000)


def test_layers_and_names_drop_different_units():
    model, masks = build("convnet", COLOUR, 2, 0), []
    for name in ("train", "look-ahead"):
        held(model, 9, name)
        masks += [layer(torch.ones(1000)) for layer in (model.drop1, model.drop2, model.drop3)]
    held(model, 9)
    assert torch.equal(model.drop2(torch.ones(1000)), masks[1])
    assert len({mask.numpy().tobytes() for mask in masks}) == 6


def masks_of(model, batch_size, seed=7):
    """What each dropout layer of a convnet keeps in a pass, and how many hashes that took."""
    kept, count = [], []
    layers = (model.drop1, model.drop2, model.drop3)
    handles = [layer.register_forward_hook(lambda *given: kept.append(given[-1] != 0)) for layer in layers]
    original = Masks._hash
    with mock.patch.object(Masks, "_hash", lambda *given: count.append(1) or original(*given)):
        held(model, seed)
        for layer, units in zip(layers, ((8, 14, 14), (128,), (256,)), strict=True):
            layer(torch.ones(batch_size, *units))
    for handle in handles:
        handle.remove()
    return kept, len(count)


def test_the_masks_of_all_layers_come_from_one_hash_and_do_not_depend_on_what_is_hashed_together():
    model = build("convnet", COLOUR, 2, 0, width=0.25)
    first, hashes = masks_of(model, 20)
    assert hashes == 3  # it does not know its layers yet
    second, hashes = masks_of(model, 20)
    assert hashes == 1 and all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    shorter, hashes = masks_of(model, 6)  # the short last batch of an epoch
    assert hashes == 1 and all(torch.equal(a[:6], b) for a, b in zip(first, shorter, strict=True))
    alone = build("convnet", COLOUR, 2, 0, width=0.25)
    held(alone, 7)
    assert torch.equal(alone.drop3(torch.ones(20, 256)) != 0, first[2])
    other, _ = masks_of(model, 20, seed=8)
    assert not any(torch.equal(*pair) for pair in zip(first, other, strict=True))


def test_a_pass_may_be_repeated_and_a_layer_may_sleep():
    model = build("convnet", COLOUR, 2, 0, width=0.25)
    images = torch.rand(4, *COLOUR)
    held(model, 3)
    first = model(images)
    assert torch.equal(model(images), first) and torch.equal(held(model, 3)(images), first)
    held(copy.deepcopy(model), 4)(images)
    assert torch.equal(held(model, 3)(images), first)
    model.drop2.eval()
    ones = torch.ones(4, 256)
    expected = model.drop3(ones)
    model.drop2.train()
    assert torch.equal(held(model, 3).drop3(ones), expected)


def test_a_layer_with_more_units_than_have_numbers_is_refused():
    with mock.patch.object(Masks, "LAYER", 100), pytest.raises(ValueError, match="smaller batches"):
        held(Dropout(0.5), 1)(torch.ones(101))
