"""LRWOpt: the splitter's losses and division, which side is which, the outer steps, runs that are killed in a split."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from support.lrw_runs import NETWORK, doubled, in_double, objective_of, run_of, taken_to
from support.mnist_runs import outcome
from torch.func import functional_call

from reweigh.config.methods.meta_network import STORED
from reweigh.config.methods.splitter import SPLITTER
from reweigh.hypergrad.lookahead import gradient
from reweigh.methods import splitter
from reweigh.optimisers import Adam

OPTIONS = {
    "network": NETWORK, "splitter": SPLITTER, "warm_epochs": 1, "joint_schedule": None, "outer_every": 3,
    "outer": "interleaved", "outer_batch_size": 16,
}  # fmt: skip
DOUBLE = torch.float64


def with_splitter(**changed):
    return {**OPTIONS, "splitter": {**SPLITTER, **changed}}


# --- the losses of the splitter --------------------------------------------------------------------------------------


def test_the_ratio_loss_by_hand_in_both_directions():
    share, delta = torch.tensor(0.7, dtype=DOUBLE), 0.1
    forward = 0.9 * np.log(0.9 / 0.7) + 0.1 * np.log(0.1 / 0.3)
    backward = 0.7 * np.log(0.7 / 0.9) + 0.3 * np.log(0.3 / 0.1)
    assert float(splitter.ratio_loss(share, delta, "target_current")) == pytest.approx(forward, rel=1e-12)
    assert float(splitter.ratio_loss(share, delta, "current_target")) == pytest.approx(backward, rel=1e-12)


@given(st.floats(0.01, 0.99), st.floats(0.05, 0.45))
def test_the_ratio_loss_is_least_where_one_less_delta_are_training(share, delta):
    for kind in ("target_current", "current_target"):
        found = [float(splitter.ratio_loss(torch.tensor(q, dtype=DOUBLE), delta, kind)) for q in (share, 1 - delta)]
        assert found[0] >= found[1] - 1e-12 and abs(found[1]) < 1e-12


def test_near_the_target_both_directions_agree_to_second_order():
    for step in (1e-2, 1e-3):
        share = torch.tensor(0.9 + step, dtype=DOUBLE)
        one, other = (float(splitter.ratio_loss(share, 0.1, kind)) for kind in ("target_current", "current_target"))
        assert abs(one - other) < 100 * step * one


def balance_by_hand(shares, labels, classes):
    total = 0.0
    for side in (shares, [1 - q for q in shares]):
        for k in range(classes):
            everywhere = sum(label == k for label in labels) / len(labels)
            within = sum(q for q, label in zip(side, labels, strict=True) if label == k) / sum(side)
            if everywhere:
                total += everywhere * np.log(everywhere / max(within, 1e-6))
    return total


@given(st.lists(st.tuples(st.floats(0.05, 0.95), st.integers(0, 3)), min_size=2, max_size=30))
def test_the_balance_loss_equals_sums_over_classes_also_of_batches_that_lack_some(pairs):
    shares, labels = zip(*pairs, strict=True)
    found = splitter.balance_loss(torch.tensor(shares, dtype=DOUBLE), torch.tensor(labels), 6)
    assert float(found) == pytest.approx(balance_by_hand(shares, labels, 6), abs=1e-9)
    assert float(found) >= -1e-9


def test_the_balance_loss_has_a_gradient_where_a_class_is_missing():
    """The public code of learning to split gives NaN there, and falls back on a constant."""
    shares = torch.tensor([0.2, 0.6, 0.9], dtype=DOUBLE, requires_grad=True)
    splitter.balance_loss(shares, torch.tensor([0, 0, 5]), 100).backward()
    assert shares.grad.isfinite().all() and shares.grad.abs().max() > 1e-3


def examples(size=12, features=5, classes=3):
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(size, features, generator=generator, dtype=DOUBLE)
    labels = torch.randint(classes, (size,), generator=generator)
    right = torch.rand(size, generator=generator) < 0.6
    return drawn, labels, right, torch.rand(size, generator=generator, dtype=DOUBLE)


def loss_by_hand(theta, said, batch, pool, classes):
    """L_Θ, one example after the other."""

    def share(features, label):
        seen = torch.cat([features, torch.eye(classes, dtype=DOUBLE)[label]])
        hidden = (theta["hidden.weight"] @ seen + theta["hidden.bias"]).clamp(min=0)
        return torch.sigmoid((theta["out.weight"] @ hidden + theta["out.bias"])[0])

    shares = [share(x, y) for x, y in zip(batch[0], batch[1], strict=True)]
    total = -sum(q.log() if right else (1 - q).log() for q, right in zip(shares, batch[2], strict=True)) / len(shares)
    if said["adversary"] == "soft_val":
        total = total - sum((1 - q) * one for q, one in zip(shares, batch[3], strict=True)) / sum(1 - q for q in shares)
    of_pool = [share(x, y) for x, y in zip(*pool, strict=True)]
    q = sum(of_pool) / len(of_pool)
    delta = said["delta"]
    ratio = (1 - delta) * ((1 - delta) / q).log() + delta * (delta / (1 - q)).log()
    if said["ratio_kl"] == "current_target":
        ratio = q * (q / (1 - delta)).log() + (1 - q) * ((1 - q) / delta).log()
    balance = 0
    for side in (of_pool, [1 - one for one in of_pool]):
        for k in range(classes):
            everywhere = float((pool[1] == k).double().mean())
            within = sum(one for one, label in zip(side, pool[1], strict=True) if label == k) / sum(side)
            balance = balance + everywhere * (everywhere / within).log()
    if said["as_ls"]:
        ratio, balance = ratio / 2, balance / classes
    return (total + said["ratio"] * ratio + said["balance"] * balance) / (1 + said["ratio"] + said["balance"])


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"adversary": "soft_val"},
        {"ratio_kl": "current_target", "as_ls": True},
        {"ratio": 0.5, "balance": 2.0},
        {"ratio": 0.0, "balance": 0.0},
    ],
)
def test_the_loss_and_its_gradient_equal_a_literal_computation(changed):
    said, batch = {**SPLITTER, **changed}, examples()
    pool = (batch[0].flip(0) * 1.3, torch.tensor([0, 1, 2] * 4))
    theta = doubled(splitter.start(5, 3, 7, 1, torch.device("cpu")))
    found = splitter.loss(theta, said, batch, pool, 3)
    leaves = {name: value.clone().requires_grad_() for name, value in theta.items()}
    expected = loss_by_hand(leaves, said, batch, pool, 3)
    assert float(found) == pytest.approx(float(expected.detach()), rel=1e-10)
    slopes = torch.autograd.grad(expected, list(leaves.values()))
    own = gradient(lambda at: splitter.loss(at, said, batch, pool, 3), theta)
    for name, slope in zip(leaves, slopes, strict=True):
        torch.testing.assert_close(own[name], slope, rtol=1e-8, atol=1e-12)


def test_a_gradient_is_clipped_as_torch_does_it():
    slopes = {"a": torch.randn(3, 4), "b": torch.randn(5)}
    holders = [torch.zeros_like(value).requires_grad_() for value in slopes.values()]
    for limit in (0.5, 100.0):
        for holder, value in zip(holders, slopes.values(), strict=True):
            holder.grad = value.clone()
        torch.nn.utils.clip_grad_norm_(holders, limit)
        for holder, value in zip(holders, splitter.clipped(slopes, limit).values(), strict=True):
            torch.testing.assert_close(holder.grad, value)


# --- the division ----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=60), st.sampled_from([0.1, 0.2, 0.45]),
    st.sampled_from([0.2, 0.5]), st.booleans(),
)  # fmt: skip
def test_a_division_has_constant_lengths_and_puts_the_least_into_validation(values, delta, threshold, fill):
    shares = np.array(values, np.float32)
    train, validation, below = splitter.divide(shares, delta, threshold, fill, 0.05)
    size = max(1, round(delta * len(shares)))
    assert (len(train), len(validation)) == (len(shares) - size, size)
    assert len(set(train)) == len(train) and not set(train) & set(validation)
    assert below == pytest.approx(np.mean(shares < threshold))
    assert max(shares[validation]) <= min(shares[train])
    if fill:
        assert len(set(validation)) == size
    else:
        fewest = min(size, max(1, round(0.05 * len(shares))))
        assert all(shares[row] < threshold for row in validation) or len(set(validation)) == fewest


def test_a_division_by_hand():
    shares = np.array([0.9, 0.1, 0.4, 0.15, 0.8, 0.7, 0.6, 0.95, 0.3, 0.55], np.float32)
    train, validation, below = splitter.divide(shares, 0.4, 0.5, fill=True, fewest=0.02)
    assert train.tolist() == [0, 4, 5, 6, 7, 9] and validation.tolist() == [1, 2, 3, 8] and below == 0.4
    train, validation, below = splitter.divide(shares, 0.4, 0.2, fill=False, fewest=0.02)
    assert train.tolist() == [0, 4, 5, 6, 7, 9] and validation.tolist() == [1, 3, 1, 3] and below == 0.2
    assert splitter.divide(shares, 0.4, 0.05, fill=False, fewest=0.3)[1].tolist() == [1, 3, 8, 1]


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
    before, model = run.method.validation_rows.copy(), copy.deepcopy(run.model).eval()
    trained_before = len(run.parts.train)
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
    run = taken_to(run_of("lrwopt", {**OPTIONS, "outer": outer}, mnist), "joint")
    moves = []
    for name, optimiser in (("phi", run.method.meta.optimiser), ("theta", run.method.optimiser_of_splitter)):
        taken = optimiser.step
        monkeypatch.setattr(optimiser, "step", lambda by, n=name, t=taken: (moves.append((n, run.stage_step)), t(by)))
    steps = run.course.steps_per_epoch
    for _ in range(steps):
        run.advance()
    places = [2, 5, 8, 11, 14, 17] if outer == "interleaved" else [0] * 7
    assert steps == 19 and moves == [(name, place) for place in places for name in ("theta", "phi")]


def test_the_hypergradient_of_the_network_is_that_of_double_backpropagation(mnist, monkeypatch):
    run = taken_to(run_of("lrwopt", OPTIONS, mnist), "joint", 2)
    method, step = in_double(run, monkeypatch)
    objective_of(method, step)
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


def test_the_loss_of_a_validation_batch_says_nothing_to_the_splitter_as_printed():
    """Line 7 subtracts ℓ(y, f(x)) of the batch: whatever the losses are, the gradient is the same."""
    batch, theta = examples(), doubled(splitter.start(5, 3, 7, 1, torch.device("cpu")))
    found = [
        gradient(lambda at, one=one: splitter.loss(at, SPLITTER, one, batch[:2], 3), theta)
        for one in (batch, (*batch[:3], 100 * batch[3]))
    ]
    assert all(torch.equal(found[0][name], found[1][name]) for name in theta)


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
