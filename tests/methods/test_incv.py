"""INCV: its noise rate, halves and walks, what it selects, and a whole run against plain loops."""

import copy
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.headed_problem import Problem
from support.mnist_runs import killed_and_resumed, outcome, run_of
from support.mnist_runs import spec_of as plain_spec
from torch import nn
from torch.nn import functional as F

from reweigh.methods import base, incv

SGD = {"name": "sgd"}
OPTIONS = {
    "iterations": 2, "search_epochs": 5, "search_rate": 1e-3, "noise": "symmetric", "warm_up": 2, "rises_over": 3,
    "optimiser": SGD,
}  # fmt: skip


def spec_of(**options):
    spec = plain_spec("none", learning_rate=0.02, weight_decay=0.0)
    spec.update(uses="incv", method_options=copy.deepcopy({**OPTIONS, **options}))
    return spec


def method_of(**options):
    """INCV on 60 examples of three classes."""
    return incv.Method({**OPTIONS, **options}, Problem().context)


# --- the noise rate --------------------------------------------------------------------------------------------------


def agreement_at(noise, classes):
    return (1 - noise) ** 2 + noise**2 / (classes - 1)


@given(st.floats(0, 1), st.integers(2, 100))
def test_the_noise_rate_is_the_smallest_that_explains_the_agreement(agreement, classes):
    """Up to 1 - 1/K the agreement falls from 1 to 1/K: bisected there."""
    low, high = 0.0, 1 - 1 / classes
    if agreement < agreement_at(high, classes):
        low = high
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if agreement_at(middle, classes) <= agreement else (middle, high)
    found = incv.estimated_noise(agreement, classes)
    assert found == pytest.approx(high, abs=2e-8)  # near the minimum a root is as exact as a square root
    assert 0 <= found <= 1 - 1 / classes


def test_hand_computed_noise_rates():
    assert incv.estimated_noise(0.8**2 + 0.2**2 / 9, 10) == pytest.approx(0.2)
    assert incv.estimated_noise(0.9**2 + 0.1**2, 2) == pytest.approx(0.1)
    assert incv.estimated_noise(0.5**2 + 0.5**2 / 99, 100) == pytest.approx(0.5)
    assert incv.estimated_noise(0.09, 10) == pytest.approx(0.9)  # no noise explains less than guessing


@pytest.mark.parametrize(("noise", "left"), [("symmetric", 0.04 / (0.04 + 2 * 0.64)), ("asymmetric", 0.04 / 0.68)])
def test_the_noise_that_is_left_in_what_is_selected(noise, left):
    method = method_of(noise=noise)
    method.noise_rate = 0.2
    assert method.left_noise == pytest.approx(left)


# --- who trains ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 6))
def test_a_walk_goes_round_its_rows_and_shuffles_at_each_turn(count, length, epochs):
    rows = np.arange(count) * 7 + 3
    walk = np.concatenate([incv.walked(rows, length, epoch, 0, "name") for epoch in range(epochs)])
    assert len(walk) == length * epochs
    for start in range(0, len(walk) - count + 1, count):
        assert sorted(walk[start : start + count]) == rows.tolist()
    assert len(set(walk[-(len(walk) % count) :])) == min(len(walk) % count or len(walk), count)


def test_a_walk_depends_on_its_name_and_may_be_empty():
    rows = np.arange(50)
    walks = [incv.walked(rows, 50, epoch, 0, name).tolist() for epoch, name in ((0, "a"), (1, "a"), (0, "b"))]
    assert len({tuple(walk) for walk in walks}) == 3
    assert walks[0] == incv.walked(rows, 50, 0, 0, "a").tolist()
    assert len(incv.walked(rows[:0], 0, 3, 0, "a")) == 0


def test_halves_divide_the_candidates_anew_in_each_iteration():
    method = method_of()
    method.status[:] = np.arange(60) % 3  # 20 of each kind
    halves = [method._half(number) for number in range(4)]
    for first, second in (halves[:2], halves[2:]):
        assert len(first) == len(second) == 10
        assert sorted([*first, *second]) == list(range(0, 60, 3))
    assert set(halves[0]) != set(halves[2])
    method.status[0] = incv.SELECTED
    assert [len(method._half(number)) for number in (0, 1)] == [9, 10]


def test_a_search_lists_what_is_selected_and_one_half():
    method = method_of()
    method.status[:] = np.arange(60) % 3
    for number in range(4):
        stage, seen = base.Stage(f"search-{number}", 5, part="members"), []
        method.begin(stage, None)
        for epoch in range(4):
            method.epoch = epoch
            rows = method.members(stage)
            assert len(rows) == 30 == len(set(rows.tolist()))  # just as many as there are
            seen.append(rows)
        expected = {*range(1, 60, 3), *method._half(number)}
        assert all(set(rows.tolist()) == expected for rows in seen)
        assert seen[0].tolist() != seen[1].tolist()


@pytest.mark.parametrize(
    ("selected", "candidates", "part"),
    [(40, 8, 50), (30, 30, 40), (24, 12, 40), (45, 15, 45), (60, 0, 60), (0, 60, 60)],
)
def test_the_final_stage_has_selected_and_candidates_in_the_ratio_of_the_code(selected, candidates, part):
    """|S| : min(|C|, |S|/2) of 60, from the warm-up on; `part` are of S. Where nothing is selected, candidates."""
    method = method_of()
    method.status[:] = incv.DISCARDED
    method.status[:selected], method.status[selected : selected + candidates] = incv.SELECTED, incv.CANDIDATE
    final = method.stages(6)[-1]
    for epoch in range(6):
        method.epoch = epoch
        rows = method.members(final)
        of_candidates = ((rows >= selected) & (rows < selected + candidates)).sum()
        joined = epoch >= 2 and selected
        assert len(rows) == 60
        assert of_candidates == (60 - part if joined else 60 if not selected else 0)
        assert (rows < selected + candidates).all()
        rate = [0, 0.5, 1, 1, 1, 1][epoch] * method.left_noise
        share = method.share_of(base.Position(0, 0, final, 7 * epoch, 7, 0.1))
        assert share == pytest.approx((part / 60 if joined else 1) * (1 - rate))


# --- what is selected ------------------------------------------------------------------------------------------------


class Says(nn.Module):
    """Logits that are a table's rows; the input's first column is the row. In training mode they are turned round."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def forward(self, inputs):
        return self.table[inputs[:, 0].long()] * (-1 if self.training else 1)


def planted(seed, labels):
    """Logits that speak for the label of about two thirds of the examples, and the loss of each by hand."""
    table = torch.tensor(np.random.default_rng(seed).normal(size=(len(labels), 3)))
    table[torch.arange(len(labels)), labels] += 0.5
    chances = np.exp(table.numpy()) / np.exp(table.numpy()).sum(1, keepdims=True)
    return table, -np.log(chances[np.arange(len(labels)), labels.numpy()])


@pytest.mark.parametrize("noise", ["symmetric", "asymmetric"])
def test_two_iterations_by_hand(noise, single_as_double):
    """With planted nets: what they get right of the half that they have not seen is selected, the worst discarded."""
    problem = Problem(61)
    problem.train.inputs[:, 0] = torch.arange(61)
    labels = problem.train.labels
    method = incv.Method({**OPTIONS, "noise": noise}, replace(problem.context, train=problem.train))
    selected, candidates, ratio = set(), set(range(61)), None
    for iteration in range(2):
        trained = [set(method._half(2 * iteration + second).tolist()) for second in (0, 1)]
        assert trained[0] | trained[1] == candidates and len(trained[0]) == len(candidates) // 2
        chosen, worst = set(), set()
        for second in (0, 1):
            number = 2 * iteration + second
            table, losses = planted(number, labels)
            stage = method.stages(4)[number]
            method.begin(stage, None)
            assert set(method._half(number).tolist()) == trained[second]  # nothing has moved meanwhile
            method.end(stage, Says(table).train())
            held_out = sorted(candidates - trained[second])
            right = [row for row in held_out if int(table[row].argmax()) == int(labels[row])]
            if number == 0:
                noise_rate = incv.estimated_noise(float(Fraction(len(right), len(held_out))), 3)
                assert method.noise_rate == pytest.approx(noise_rate) and 0.1 < noise_rate < 0.6
                ratio = noise_rate / (1 - noise_rate) if noise == "symmetric" else 0
            chosen.update(right)
            worst.update(sorted(held_out, key=lambda row: -losses[row])[: int(ratio * len(right))])
        selected |= chosen
        candidates -= chosen | worst
        assert set(np.flatnonzero(method.status == incv.SELECTED).tolist()) == selected
        assert set(np.flatnonzero(method.status == incv.CANDIDATE).tolist()) == candidates
        assert float(method.logged["selected_share"]) == pytest.approx(len(selected) / 61)
        assert float(method.logged["candidate_share"]) == pytest.approx(len(candidates) / 61)
    assert (len(selected) + len(candidates) < 61) == (noise == "symmetric")


def test_no_more_than_twice_as_many_are_discarded_as_selected():
    method = method_of()
    method.noise_rate = 0.9  # 9 : 1
    losses, agrees = np.arange(60.0), np.arange(60) < 5
    method._judge(np.arange(20), agrees, losses, first=False)
    assert np.flatnonzero(method.found == incv.SELECTED).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(method.found == incv.DISCARDED).tolist() == list(range(10, 20))


# --- a whole run -----------------------------------------------------------------------------------------------------


def recorded(spec, mnist):
    """A finished run, the nets that it began with, the batches of each stage, and the net at its end."""
    run = run_of(spec, mnist)
    nets = copy.deepcopy(run.model), copy.deepcopy(run.method.context.new_model("peer"))
    batches, ends = [[] for _ in run.courses], []
    run.stage_over = lambda run: ends.append(copy.deepcopy(run.model.state_dict()))
    while not run.over:
        stage = run.stage
        run.advance()
        batch = run.courses[stage].batches.current()
        batches[stage].append(replace(batch, rows=batch.rows.clone()))  # they may be a view of the epoch's order
    return run, nets, batches, ends


def rows_of(batches):
    return {int(row) for batch in batches for row in batch.rows}


def searched(net, batches, epochs):
    """A copy of a net, trained by Adam on these batches at the rates of a search of five epochs."""
    net = copy.deepcopy(net).train()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    for number, batch in enumerate(batches):
        optimiser.param_groups[0]["lr"] = 1e-3 * [1, 1, 0.5, 0.25, 0.1][number * epochs // len(batches)]
        optimiser.zero_grad()
        F.cross_entropy(net(batch.inputs), batch.labels).backward()
        optimiser.step()
    return net.eval()


def test_a_run_is_plain_loops_with_what_they_select(mnist):
    """Searches and co-teaching by loops that take the run's batches, and judge, select and forget by themselves."""
    spec = spec_of()
    spec["training"]["drop_last"] = False
    run, (first, second), batches, ends = recorded(spec, mnist)
    train = next(iter(run.parts.train.in_order(10**6)))
    labels, size = train.labels.numpy(), len(train)
    selected, candidates, noise_rate = set(), set(range(size)), None
    for iteration in range(2):
        halves = [rows_of(batches[2 * iteration + second]) - selected for second in (0, 1)]
        assert halves[0] <= candidates and not halves[0] & halves[1]
        chosen, worst = set(), set()
        for trained in (0, 1):
            net = searched(first, batches[2 * iteration + trained], 5)
            for name, value in net.state_dict().items():
                torch.testing.assert_close(ends[2 * iteration + trained][name], value, rtol=1e-3, atol=1e-4)
            with torch.no_grad():
                logits = net(train.inputs)
            losses = F.cross_entropy(logits, train.labels, reduction="none").numpy()
            held_out = halves[1 - trained]
            right = {row for row in held_out if int(logits[row].argmax()) == labels[row]}
            if noise_rate is None:
                noise_rate = 0.5 * (1 - (2 * len(right) / len(held_out) - 1) ** 0.5)  # of two classes
            chosen |= right
            ratio = noise_rate / (1 - noise_rate)
            worst |= set(sorted(held_out, key=lambda row: -losses[row])[: int(ratio * len(right))])
        selected |= chosen
        candidates -= chosen | worst
    assert run.trace()["noise_rate"] == pytest.approx(noise_rate, rel=1e-4) and noise_rate > 0
    assert run.trace()["selected_share"][1] == pytest.approx(len(selected) / size)
    assert run.trace()["candidate_share"][1] == pytest.approx(len(candidates) / size)
    left = noise_rate**2 / (noise_rate**2 + (1 - noise_rate) ** 2)
    nets = [copy.deepcopy(net).train() for net in (first, second)]
    moved = [torch.optim.SGD(net.parameters(), lr=0.02, momentum=spec["training"]["momentum"]) for net in nets]
    for number, batch in enumerate(batches[-1]):
        epoch = number * 4 // len(batches[-1])
        assert rows_of([batch]) <= (selected if epoch < 2 else selected | candidates)
        part = round(size * len(selected) / (len(selected) + min(len(candidates), len(selected) / 2))) / size
        share = (1 if epoch < 2 else part) * (1 - left * [0, 0.5, 1, 1][epoch])
        losses = [F.cross_entropy(net(batch.inputs), batch.labels, reduction="none") for net in nets]
        easy = [torch.argsort(one.detach(), stable=True)[: int(share * len(batch))] for one in losses]
        for one, taught, mover in zip(losses, easy[::-1], moved, strict=True):
            mover.zero_grad()
            one[taught].mean().backward()
            mover.step()
    found = run.model.state_dict()
    for beginning, net in zip(("", "peer."), nets, strict=True):
        for name, value in net.state_dict().items():
            torch.testing.assert_close(found[beginning + name], value, rtol=1e-3, atol=1e-4, msg=beginning + name)


def test_a_run_resumes_in_a_search_and_in_the_final_stage(mnist):
    spec = spec_of(search_epochs=2, optimiser={"name": "adam", "decay_from": 2, "late_beta1": 0.1})
    whole = run_of(spec, mnist)
    ends = np.cumsum([course.steps for course in whole.courses])
    whole.finish()
    for stop in (1, ends[0], ends[1] + 1, ends[3], ends[3] + 1, ends[4] - 1):
        assert outcome(killed_and_resumed(spec, mnist, int(stop))) == outcome(whole)
