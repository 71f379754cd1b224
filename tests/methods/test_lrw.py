"""LRW on chosen validation sets: margins, who trains and who teaches, the hypergradient, and the controls."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from support.lrw_runs import LRW, NETWORK, in_double, objective_of, run_of, taken_to
from support.mnist_runs import outcome
from torch.func import functional_call

from reweigh.config.methods import meta_network, train_twice
from reweigh.config.methods.lrw import CARD
from reweigh.errors import ConfigError
from reweigh.methods import lrw
from reweigh.methods.train_twice import margins_of

# --- margins ---------------------------------------------------------------------------------------------------------


def test_margins_by_hand():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.25, 0.25, 0.5]]))
    margin, logit_margin = margins_of(logits, torch.tensor([0, 2, 1]))
    torch.testing.assert_close(margin, torch.tensor([0.5, -0.6, -0.25]))
    torch.testing.assert_close(logit_margin, torch.log(torch.tensor([0.7 / 0.2, 0.1 / 0.7, 0.25 / 0.5])))


@given(st.lists(st.lists(st.floats(-50, 50), min_size=4, max_size=4), min_size=1, max_size=20), st.data())
def test_margins_are_within_one_and_positive_where_the_net_is_right(rows, data):
    logits = torch.tensor(rows, dtype=torch.float64)
    labels = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows))))
    margin, logit_margin = margins_of(logits, labels)
    assert ((margin >= -1) & (margin <= 1)).all()
    assert torch.equal(logit_margin > 0, logits.argmax(1).eq(labels) & (logit_margin != 0))
    assert not ((margin > 0) & (logit_margin < 0)).any()


def test_the_pool_is_scored_by_the_net_of_the_first_stage_in_evaluation_mode(mnist):
    run = run_of("lrw", LRW, mnist)
    while run.step < run.courses[0].steps - 1:
        run.advance()
    run.stage_over = lambda over: setattr(over, "net", {k: v.clone() for k, v in over.model.state_dict().items()})
    run.advance()
    found = []
    for part in (run.parts.train, run.parts.validation):
        logits = functional_call(run.model, run.net, (part.take(torch.arange(len(part))).inputs,))
        for shares, label in zip(F.softmax(logits, 1), part.labels, strict=True):
            found.append(float(shares[label] - max(shares[k] for k in range(2) if k != label)))
    assert run.method.margins[0].tolist() == pytest.approx(found, abs=1e-6)
    assert all(torch.equal(run.method.net[name], value) for name, value in run.net.items())


def test_of_equal_margins_the_smaller_difference_of_logits_is_harder_then_the_first(mnist):
    method = run_of("lrw", LRW, mnist).method
    method.margins[0] = 1.0
    method.margins[1] = torch.arange(method.pool).flip(0) // 2
    order = method.by_hardness()
    assert order[:4].tolist() == [method.pool - 2, method.pool - 1, method.pool - 4, method.pool - 3]


def test_out_of_fold_margins_are_those_of_nets_that_have_not_seen_the_example(mnist):
    run = run_of("lrw", {**LRW, "margins": {"source": "out-of-fold", "folds": 3, "epochs": None}}, mnist, epochs=1)
    folds, nets = run.method._folds(), []
    assert sorted(np.bincount(folds)) == sorted([(run.method.pool + k) // 3 for k in range(3)])
    run.stage_over = lambda over: nets.append({k: v.clone() for k, v in over.model.state_dict().items()})
    for k in range(3):
        assert run.course.stage.name == f"fold-{k}"
        assert not (set(run.course.members) & set(np.flatnonzero(folds == k)))
        taken_to(run, f"fold-{k + 1}" if k < 2 else "lrw")
    pool = run.parts.train_and_validation
    for k, net in enumerate(nets):
        rows = torch.from_numpy(np.flatnonzero(folds == k))
        batch = pool.take(rows)
        expected = margins_of(functional_call(run.model, net, (batch.inputs,)), batch.labels)
        torch.testing.assert_close(run.method.margins[:, rows], expected, atol=1e-6, rtol=1e-5)


def test_early_margins_are_the_mean_over_the_first_epochs(mnist):
    run = run_of("lrw", {**LRW, "margins": {"source": "early", "folds": None, "epochs": 2}}, mnist, epochs=3)
    pool, found = run.parts.train_and_validation, []
    while run.course.stage.name == "erm":
        run.advance()
        if run.stage_step and run.stage_step % run.course.steps_per_epoch == 0:
            batch = pool.take(torch.arange(len(pool)))
            with torch.no_grad():
                found.append(margins_of(run.model(batch.inputs), batch.labels))
    assert len(found) >= 2
    torch.testing.assert_close(run.method.margins, (found[0] + found[1]) / 2, atol=1e-6, rtol=1e-5)


# --- who trains, who teaches -----------------------------------------------------------------------------------------

WITH_MARGINS = [-0.9, 0.2, 0.8, -0.1, 0.5, 0.9, 0.3, 0.7, 0.1, 0.6]


def divided(mnist, **options):
    """T and V of a pool of twenty: the hardest are rows 0, 3, 8, 1 (of 10), and the same again from row 10 on."""
    method = run_of("lrw", {**LRW, "share": 0.2, **options}, mnist).method
    method.pool, method.size = 20, 4
    method.margins = torch.tensor([[*WITH_MARGINS, *(one + 0.001 for one in WITH_MARGINS)]] * 2)
    return [rows.tolist() for rows in method.divided()]


def without(*rows):
    return [row for row in range(20) if row not in rows]


def test_hard_and_easy_validation_sets_are_the_ends_of_the_order(mnist):
    assert divided(mnist) == [without(0, 3, 10, 13), [0, 3, 10, 13]]
    assert divided(mnist, validation="easy") == [without(2, 5, 12, 15), [2, 5, 12, 15]]


def test_a_random_validation_set_does_not_depend_on_margins(mnist):
    train, validation = divided(mnist, validation="random")
    assert train == without(*validation) and len(set(validation)) == 4
    drawn = lrw.chosen("random", np.arange(20)[::-1], 4, 0)
    assert validation == sorted(drawn.tolist())


def test_validation_may_be_kept_and_others_removed(mnist):
    train, validation = divided(mnist, removed="random")
    assert validation == [0, 3, 10, 13] and set(validation) <= set(train) and len(train) == 16


def test_the_hard_may_be_removed_and_random_ones_teach(mnist):
    train, validation = divided(mnist, validation="random", removed="hard+validation")
    assert not {0, 3, 10, 13} & {*train, *validation} and not set(train) & set(validation)
    assert (len(train), len(validation)) == (12, 4)


def test_only_misclassified_ones_teach_but_all_the_hard_are_removed(mnist):
    train, validation = divided(mnist, validation="misclassified", share=0.3)
    assert train == without(0, 3, 10, 13) and validation == [0, 3, 10, 13]
    method = run_of("lrw", {**LRW, "validation": "misclassified"}, mnist).method
    method.pool, method.size = 20, 6
    method.margins = torch.tensor([[*WITH_MARGINS, *(one + 0.001 for one in WITH_MARGINS)]] * 2)
    train, validation = (rows.tolist() for rows in method.divided())
    assert train == without(0, 3, 10, 13, 8, 18) and validation == [0, 3, 10, 13, 0, 3]
    method.margins += 2
    assert method.divided()[1].tolist() == [0] * 6  # nobody is: the hardest hundredth, one at least


def test_held_out_share_counts_what_the_first_training_has_not_seen(mnist):
    run = taken_to(run_of("lrw", LRW, mnist), "lrw")
    validation = run.method.divided()[1]
    share = float(run.trace()["held_out_share"][0])
    assert share == pytest.approx(np.mean(validation >= len(run.parts.train)))


# --- the hypergradient -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network",
    [
        NETWORK,
        {**NETWORK, "activation": "softplus", "normalise": "none", "sees": "xy"},
        {**NETWORK, "trains": "head"},
        {**meta_network.FREE, "rate": 1.0},
    ],
)
@pytest.mark.parametrize("difficulty", [None, 2.0])
def test_the_hypergradient_is_that_of_double_backpropagation(mnist, monkeypatch, network, difficulty):
    run = taken_to(run_of("lrw", {**LRW, "network": network, "difficulty": difficulty}, mnist), "lrw", 4)
    method, step = in_double(run, monkeypatch)
    weights, objective = objective_of(method, step)
    found = method.meta.optimiser.gradient

    phi = {name: value.detach().clone().requires_grad_() for name, value in method.meta.parameters.items()}
    names, values = zip(*step.model.named_parameters(), strict=True)
    losses = F.cross_entropy(step.model(step.batch.inputs), step.batch.labels, reduction="none")
    own = weights_by_hand(method, phi, step.batch, network)
    torch.testing.assert_close(weights, own.detach(), rtol=1e-12, atol=0)
    slopes = torch.autograd.grad(own @ losses, values, create_graph=True)
    ahead = {name: value - 0.2 * slope for name, value, slope in zip(names, values, slopes, strict=True)}
    held_out = method.teacher.current()
    shares = functional_call(step.model, ahead, (held_out.inputs,)).softmax(1)
    true = shares.gather(1, held_out.labels[:, None])[:, 0]
    outer = (-true.log() * (1 if difficulty is None else (1 - true) ** difficulty)).mean()
    expected = torch.autograd.grad(outer, list(phi.values()))
    assert max(one.abs().max() for one in expected) > 1e-9
    for name, one in zip(phi, expected, strict=True):
        torch.testing.assert_close(found[name], one, rtol=1e-8, atol=1e-14)

    # What the step minimises has the value and the gradient of the weighted losses, to the last bit.
    torch.testing.assert_close(objective.detach(), (weights @ losses).detach(), rtol=1e-15, atol=0)
    plain = torch.autograd.grad(weights @ losses, values, retain_graph=True)
    for name, one, other in zip(names, torch.autograd.grad(objective, values), plain, strict=True):
        assert torch.equal(one, other), name


def weights_by_hand(method, phi, batch, network):
    """What the docstring of the meta-network says, written down again. -> (B,)."""
    if network["weights"] == "free":
        scores = torch.stack([phi["scores"][row] for row in batch.rows])
    else:
        backbone = {name: value for name, value in phi.items() if not name.startswith("head")}
        features = functional_call(method.meta.backbone, backbone, (batch.inputs,))
        if network["sees"] == "xy":
            features = torch.cat([features, F.one_hot(batch.labels, 2).double()], 1)
        scores = (features * phi["head.weight"]).sum(1) + phi["head.bias"]
    raw = {"sigmoid": lambda x: 1 / (1 + (-x).exp()), "softplus": lambda x: (1 + x.exp()).log()}[network["activation"]]
    values = raw(scores)
    return values / values.sum() if network["normalise"] == "mean" else values / len(values)


def test_an_example_that_hurts_the_validation_set_loses_weight(mnist):
    """Of free weights: labels turned in training, not in validation, end below the others."""
    options = {**LRW, "network": {**meta_network.FREE, "rate": 200.0, "momentum": 0.0}, "validation": "random"}
    run = taken_to(run_of("lrw", {**options, "outer_every": 1}, mnist, epochs=6), "lrw")
    pool, train = run.course.part, run.method.second_members()
    wrong = torch.from_numpy(train[::4].copy())
    pool.labels[wrong] = 1 - pool.labels[wrong]
    run.finish()
    scores = run.method.meta.parameters["scores"]
    right = torch.from_numpy(np.setdiff1d(train, wrong.numpy()))
    assert scores[wrong].mean() < scores[right].mean() - 0.1


def test_stored_features_are_those_of_the_first_training(mnist):
    run = taken_to(run_of("lrw", {**LRW, "network": meta_network.STORED}, mnist), "lrw", 4)
    net = dict(run.method.net)
    pool = run.course.part.take(torch.tensor([3, 200]))
    head, run.model.head = run.model.head, torch.nn.Identity()
    expected = functional_call(run.model, {k: v for k, v in net.items() if not k.startswith("head")}, (pool.inputs,))
    run.model.head = head
    torch.testing.assert_close(run.method.meta.features[[3, 200]], expected)


# --- controls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["easy", "random", "hard"])
def test_frozen_equal_weights_are_the_removal_control_to_the_last_bit(mnist, kind):
    frozen = {**LRW, "network": {**NETWORK, "trains": "nothing", "head_sd": 0.0}, "validation": kind}
    uses, options = CARD.same_as(frozen, [9, 4])  # what the audit takes for the same training
    assert (uses, options) == ("remainder", {"margins": train_twice.ONCE, "removed": kind, "share": 0.1})
    ours, control = run_of("lrw", frozen, mnist, batch_size=64), run_of(uses, options, mnist, batch_size=64)
    for run in (ours, control):
        run.finish()
    one, other = outcome(ours), outcome(control)
    assert one[1] == other[1]
    skipped = {"name", "stages"}
    assert {k: v for k, v in one[0].items() if k not in skipped} == {
        k: v for k, v in other[0].items() if k not in skipped
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"network": {**NETWORK, "trains": "nothing", "head_sd": 0.3}},
        {"network": {**NETWORK, "trains": "nothing", "head_sd": 0.0, "normalise": "none"}},
        {"network": {**NETWORK, "trains": "head", "head_sd": 0.0}},
        {"network": {**NETWORK, "trains": "nothing", "head_sd": 0.0}, "removed": "random"},
        {"network": {**NETWORK, "trains": "nothing", "head_sd": 0.0}, "validation": "misclassified"},
    ],
)
def test_other_weights_and_lists_are_not_taken_for_the_removal_control(changed):
    assert CARD.same_as({**LRW, **changed}, [9, 4]) is None


def test_a_network_that_learns_is_not_the_removal_control(mnist):
    ours = run_of("lrw", {**LRW, "network": {**NETWORK, "head_sd": 0.0}}, mnist, batch_size=64)
    control = run_of("remainder", {"margins": train_twice.ONCE, "removed": "hard", "share": 0.1}, mnist, batch_size=64)
    for run in (ours, control):
        run.finish()
    assert outcome(ours)[1] != outcome(control)[1]


def test_without_a_validation_part_there_is_no_pool_to_divide(mnist):
    with pytest.raises(ConfigError, match="the split holds nothing out; set validation_share"):
        run_of("lrw", LRW, mnist, validation_size=0)


def test_margin_based_weights_by_hand(mnist):
    run = taken_to(run_of("mbr", {"margins": train_twice.ONCE, "slope": 2.0, "offset": 0.5}, mnist), "reweighted", 2)
    run.method.margins[0] = torch.linspace(-1, 1, run.method.pool)
    batch = run.course.batches.batch(2)
    step = type("Step", (), {"batch": batch})
    raw = [1 / (1 + np.exp(2 * (float(run.method.margins[0, row]) - 0.5))) for row in batch.rows]
    weights = run.method.example_weights(step, torch.zeros(len(batch)))
    assert weights.tolist() == pytest.approx([one / sum(raw) for one in raw], rel=1e-5)
