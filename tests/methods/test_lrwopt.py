"""LRWOpt: which side of a split is which, the outer steps, kept features, runs that are killed in a split."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from support.lrw_runs import NETWORK, doubled, in_double, objective_of, run_of, taken_to
from support.mnist_runs import outcome
from support.splitter_arithmetic import loss_by_hand
from torch.func import functional_call

from reweigh.config.methods.lrwopt import CARD
from reweigh.config.methods.meta_network import STORED
from reweigh.config.methods.splitter import SPLITTER
from reweigh.hypergrad.lookahead import gradient
from reweigh.methods import splitter
from reweigh.methods.base import Position
from reweigh.optimisers import Adam

OPTIONS = {
    "network": NETWORK, "splitter": SPLITTER, "warm_epochs": 1, "joint_schedule": None, "outer_every": 3,
    "outer": "interleaved", "outer_batch_size": 16,
}  # fmt: skip


def with_splitter(**changed):
    return {**OPTIONS, "splitter": {**SPLITTER, **changed}}


# --- which side is which ----------------------------------------------------------------------------------------------


def test_after_training_on_a_frozen_net_it_is_right_more_often_on_the_training_side(mnist):
    """Which side is which: Θ is the probability of being got right, and of training; the paper says both."""
    run = taken_to(run_of("lrwopt", OPTIONS, mnist), "joint")
    method, classes = run.method, 2
    pool = run.course.part
    pool.labels[::3] = 1 - pool.labels[::3]  # a third is wrong, for a net that is nearly always right
    method._look(run.model)
    wrong = method._look(run.model)[1]
    theta = splitter.start(method.features.shape[1], classes, 32, 0, torch.device("cpu"))
    adam, said = Adam(theta, 0.01), {**SPLITTER, "ratio": 0.0, "balance": 0.0}
    batch = (method.features, pool.labels, torch.from_numpy(~wrong), torch.zeros(len(wrong)))
    for _ in range(150):
        adam.prepare(0.01)
        adam.step(gradient(lambda at: splitter.loss(at, said, batch, batch[:2], classes), theta))
    shares = splitter.logits(theta, method.features, pool.labels, classes).sigmoid()
    train, validation, _ = splitter.divide(shares.numpy(), 0.2, 0.5, fill=True, fewest=0.02)
    assert (~wrong[train]).mean() > (~wrong[validation]).mean() + 0.4


# --- runs ------------------------------------------------------------------------------------------------------------


def test_the_rows_of_each_epoch_are_those_of_the_least_probabilities(mnist):
    run = taken_to(run_of("lrwopt", OPTIONS, mnist, epochs=4), "joint")
    method = run.method
    for _ in range(2):
        held = copy.deepcopy(run.model)
        theta = {name: value.clone() for name, value in method.splitter.items()}
        run.advance()
        batch = run.course.part.take(torch.arange(method.pool))
        held.head = torch.nn.Identity()
        with torch.no_grad():
            shares = splitter.logits(theta, held.eval()(batch.inputs), batch.labels, 2).sigmoid().numpy()
        order = np.argsort(shares, kind="stable")
        assert method.validation_rows.tolist() == sorted(order[: method.size].tolist())
        assert run.course.members.tolist() == method.train_rows.tolist() == sorted(order[method.size :].tolist())
        while run.stage_step % run.course.steps_per_epoch:
            run.advance()


def test_what_an_epoch_logs_by_hand(mnist):
    run = taken_to(run_of("lrwopt", OPTIONS, mnist), "joint")
    trained_before, model = len(run.parts.train), copy.deepcopy(run.model).eval()
    before = range(trained_before, run.method.pool)
    run.advance()
    trace, rows = {name: values[0] for name, values in run.trace().items()}, run.method.validation_rows
    batch = run.course.part.take(torch.arange(run.method.pool))
    with torch.no_grad():
        logits = model(batch.inputs)
    wrong = (logits.argmax(1) != batch.labels).numpy()
    losses = F.cross_entropy(logits, batch.labels, reduction="none").numpy()
    assert trace["validation_error"] == pytest.approx(wrong[rows].mean())
    assert trace["validation_new"] == pytest.approx(1 - len(set(rows) & set(before)) / len(rows))
    assert trace["gap"] == pytest.approx(losses[rows].mean() - losses[run.method.train_rows].mean(), abs=1e-5)
    shares = [np.bincount(one, minlength=2) / len(one) for one in (batch.labels, batch.labels[rows])]
    assert trace["split_distance"] == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2, abs=1e-6)
    seen = len({*range(trained_before), *run.method.train_rows}) / run.method.pool
    assert trace["seen_share"] == pytest.approx(seen)


def test_outer_steps_come_at_the_end_of_each_block_of_steps(mnist):
    run = taken_to(run_of("lrwopt", OPTIONS, mnist), "joint")
    moved = []
    while not run.over and run.stage_step < 9:
        before = run.method.splitter["out.bias"].clone(), run.method.meta.parameters["head.bias"].clone()
        run.advance()
        after = run.method.splitter["out.bias"], run.method.meta.parameters["head.bias"]
        moved.append([not torch.equal(one, other) for one, other in zip(before, after, strict=True)])
    assert moved == [[False] * 2, [False] * 2, [True] * 2] * 3


@pytest.mark.parametrize("outer", ["interleaved", "grouped"])
def test_outer_steps_of_an_epoch_are_as_many_grouped_or_not(mnist, monkeypatch, outer):
    run = taken_to(run_of("lrwopt", {**OPTIONS, "outer": outer}, mnist, epochs=4), "joint")
    moves = []
    for name, optimiser in (("phi", run.method.meta.optimiser), ("theta", run.method.optimiser_of_splitter)):
        taken = optimiser.step
        monkeypatch.setattr(optimiser, "step", lambda by, n=name, t=taken: (moves.append((n, run.stage_step)), t(by)))
    steps = run.course.steps_per_epoch
    for _ in range(2 * steps + 1):
        run.advance()
    places = list(range(2, 2 * steps + 1, 3)) if outer == "interleaved" else [steps] * 6 + [2 * steps] * 6
    assert steps == 19 and moves == [(name, place) for place in places for name in ("theta", "phi")]


@pytest.mark.parametrize("outer", ["interleaved", "grouped"])
def test_the_hypergradient_of_the_network_is_that_of_double_backpropagation(mnist, monkeypatch, outer):
    run = taken_to(run_of("lrwopt", {**with_splitter(features="none"), "outer": outer}, mnist), "joint", 2)
    method, step = in_double(run, monkeypatch)
    if outer == "interleaved":
        objective_of(method, step)
    else:
        monkeypatch.setattr(method, "_seek", lambda number, at: None)
        monkeypatch.setattr(method.ahead, "batch", lambda number: step.batch)
        method._grouped_step(0, Position(0, 1, run.course.stage, 0, 19, 0.2), step.model)
    phi = {name: value.detach().clone().requires_grad_() for name, value in method.meta.parameters.items()}
    inner = {name: value for name, value in phi.items() if not name.startswith("head")}
    features = functional_call(method.meta.backbone, inner, (step.batch.inputs,))
    raw = torch.sigmoid(features @ phi["head.weight"].T + phi["head.bias"])[:, 0]
    outer = after_look_ahead(method, step, raw / raw.sum())
    for name, one in zip(phi, torch.autograd.grad(outer, list(phi.values())), strict=True):
        torch.testing.assert_close(method.meta.optimiser.gradient[name], one, rtol=1e-8, atol=1e-14)


def after_look_ahead(method, step, weights):
    """The mean loss of the validation batch after the look-ahead step with these weights, by plain autograd."""
    names, values = zip(*step.model.named_parameters(), strict=True)
    losses = F.cross_entropy(step.model(step.batch.inputs), step.batch.labels, reduction="none")
    slopes = torch.autograd.grad(weights @ losses, values, create_graph=True)
    ahead = {name: value - 0.2 * slope for name, value, slope in zip(names, values, slopes, strict=True)}
    held_out = method.teacher.current()
    return F.cross_entropy(functional_call(step.model, ahead, (held_out.inputs,)), held_out.labels)


def test_the_look_ahead_adversary_ascends_the_validation_loss_through_memberships(mnist, monkeypatch):
    options = with_splitter(adversary="lookahead", ratio=0.0, balance=0.0, clip=1e9)
    run = taken_to(run_of("lrwopt", options, mnist), "joint", 2)
    method, step = in_double(run, monkeypatch)
    method.splitter = doubled(method.splitter)
    method.features = method.features.double()
    recorder = method.optimiser_of_splitter = type(method.meta.optimiser)()
    held_out = method.teacher.current()
    method._move_splitter(step, held_out)

    headless = copy.deepcopy(step.model).eval()
    headless.head = torch.nn.Identity()
    with torch.no_grad():
        features, of_held_out = headless(step.batch.inputs), headless(held_out.inputs)
        right = step.model.eval()(held_out.inputs).argmax(1) == held_out.labels
    step.model.train()
    theta = {name: value.detach().clone().requires_grad_() for name, value in method.splitter.items()}
    shares = splitter.logits(theta, features, step.batch.labels, 2).sigmoid()
    soft = method.meta.weights_now(step.batch) * shares
    scores = splitter.logits(theta, of_held_out, held_out.labels, 2)
    total = F.binary_cross_entropy_with_logits(scores, right.double()) - after_look_ahead(
        method, step, soft / soft.sum()
    )
    for name, one in zip(theta, torch.autograd.grad(total, list(theta.values())), strict=True):
        torch.testing.assert_close(recorder.gradient[name], one, rtol=1e-7, atol=1e-13)


def test_a_run_killed_within_an_epoch_of_a_new_split_ends_with_the_same_bits(mnist):
    whole = run_of("lrwopt", OPTIONS, mnist, epochs=4)
    whole.finish()
    first = run_of("lrwopt", OPTIONS, mnist, epochs=4)
    taken_to(first, "joint", first.courses[1].steps_per_epoch + 2)
    lists = first.course.members.copy(), first.method.validation_rows.copy()
    state = copy.deepcopy(first.state())
    again = run_of("lrwopt", OPTIONS, mnist, epochs=4)
    again.load_state(state)
    assert np.array_equal(again.course.members, lists[0]) and np.array_equal(again.method.validation_rows, lists[1])
    again.finish()
    assert outcome(again) == outcome(whole)
    assert not np.array_equal(again.method.validation_rows, lists[1])  # another split came after it


# --- features that are kept ------------------------------------------------------------------------------------------

WARM = {**with_splitter(features="warm"), "network": {**STORED, "rate": 0.5, "head_sd": 0.3}}


@pytest.mark.parametrize("network", [NETWORK, WARM["network"]])
def test_kept_features_are_those_of_the_net_that_began_the_joint_stage(mnist, network):
    options = {**WARM, "network": network}
    run = taken_to(run_of("lrwopt", options, mnist, epochs=4), "joint")
    headless = copy.deepcopy(run.model).eval()
    headless.head = torch.nn.Identity()
    pool = run.course.part
    run.finish()
    batch = pool.take(torch.arange(run.method.pool))
    with torch.no_grad():
        torch.testing.assert_close(run.method.features, headless(batch.inputs), rtol=1e-4, atol=1e-5)
    assert set(run.trace()) >= {"share_hard", "seen_share"} and not {"gap", "validation_error"} & set(run.trace())


def test_the_splitter_learns_from_kept_features_and_from_what_the_net_gets_right_now(mnist, monkeypatch):
    run = taken_to(run_of("lrwopt", WARM, mnist), "joint", 2)
    method, step = in_double(run, monkeypatch)
    method.splitter, method.features = doubled(method.splitter), method.features.double()
    recorder = method.optimiser_of_splitter = type(method.meta.optimiser)()
    method.some.copy_(torch.arange(len(method.some)))
    held_out = method.teacher.current()
    method._move_splitter(step, held_out)
    with torch.no_grad():
        right = step.model.eval()(held_out.inputs).argmax(1) == held_out.labels
    shown = (method.features[held_out.rows], held_out.labels, right, torch.zeros(len(right)))
    some = (method.features[method.some], method.context.train.labels[method.some])
    theta = {name: value.detach().clone().requires_grad_() for name, value in method.splitter.items()}
    total = loss_by_hand(theta, {**SPLITTER, "features": "warm"}, shown, some, 2)
    slopes = dict(zip(theta, torch.autograd.grad(total, list(theta.values())), strict=True))
    for name, one in splitter.clipped(slopes, SPLITTER["clip"]).items():
        torch.testing.assert_close(recorder.gradient[name], one, rtol=1e-7, atol=1e-13)


def test_a_new_split_by_kept_features_looks_at_no_example_again(mnist):
    counts = {}
    for kept in ("current", "warm"):
        run = taken_to(run_of("lrwopt", {**WARM, "splitter": {**SPLITTER, "features": kept}}, mnist, epochs=4), "joint")
        run.advance()
        shown = []
        hook = run.model.register_forward_hook(lambda model, inputs, _, shown=shown: shown.append(len(inputs[0])))
        run._begin_epoch()
        hook.remove()
        counts[kept] = sum(shown)
    assert counts == {"current": run.method.pool, "warm": 0}


def test_a_run_with_kept_features_that_is_killed_ends_with_the_same_bits(mnist):
    whole = run_of("lrwopt", WARM, mnist, epochs=4)
    whole.finish()
    first = taken_to(run_of("lrwopt", WARM, mnist, epochs=4), "joint", 5)
    state = copy.deepcopy(first.state())
    again = run_of("lrwopt", WARM, mnist, epochs=4)
    again.load_state(state)
    again.finish()
    assert outcome(again) == outcome(whole)


# --- random splits, the control of the splitter's choice -------------------------------------------------------------

DRAWN = with_splitter(features="none")


def test_random_splits_are_drawn_anew_in_each_epoch_and_nothing_learns_to_choose(mnist):
    run = taken_to(run_of("lrwopt", DRAWN, mnist, epochs=5), "joint")
    method, at_first = run.method, {name: value.clone() for name, value in run.method.splitter.items()}
    phi = method.meta.parameters["head.bias"].clone()
    held_out = []
    for epoch in range(4):
        taken_to(run, "joint", epoch * run.course.steps_per_epoch + 1)
        held_out.append(set(method.validation_rows.tolist()))
        assert sorted([*method.train_rows, *method.validation_rows]) == list(range(method.pool))
    run.finish()
    assert [len(rows) for rows in held_out] == [method.size] * 4 and method.size > 30
    for one, other in itertools.pairwise(held_out):
        assert len(one & other) < 0.4 * method.size  # by chance a fifth at the most
    assert all(torch.equal(value, at_first[name]) for name, value in method.splitter.items())
    assert not torch.equal(phi, method.meta.parameters["head.bias"])
    other = taken_to(run_of("lrwopt", DRAWN, mnist, epochs=5, seed=1), "joint")
    other.advance()
    assert set(other.method.validation_rows.tolist()) != held_out[0]


def test_a_run_with_random_splits_that_is_killed_ends_with_the_same_bits(mnist):
    whole = run_of("lrwopt", DRAWN, mnist, epochs=4)
    whole.finish()
    first = taken_to(run_of("lrwopt", DRAWN, mnist, epochs=4), "joint", 5)
    again = run_of("lrwopt", DRAWN, mnist, epochs=4)
    again.load_state(copy.deepcopy(first.state()))
    again.finish()
    assert outcome(again) == outcome(whole)


def test_options_that_contradict_each_other_are_refused():
    with pytest.raises(ValidationError, match="soft_val wants a splitter that learns; set features to current or warm"):
        CARD.options(**with_splitter(features="none", adversary="soft_val"))
    with pytest.raises(ValidationError, match="memberships are divided by their sum; set it to mean"):
        CARD.options(**with_splitter(adversary="lookahead") | {"network": {**NETWORK, "normalise": "none"}})
    with pytest.raises(ValidationError, match="LRWOpt has a network; set it to network"):
        CARD.options(**{**OPTIONS, "network": {**NETWORK, "weights": "free"}})
