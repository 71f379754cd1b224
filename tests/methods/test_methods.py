"""Each method against an independent computation of its formula, on a small net with real gradients."""

import numpy as np
import pytest
import torch
from support.small_problem import DECAY, RATE, TDR_CODE, TDR_PAPER, flat, gradient_of, moved, weights_at

from reweigh.methods import base, constant, er, hard, none, random_weights, tdr


def test_none_is_the_mean_and_its_c_th_part(problem):
    context, step = problem
    assert weights_at(none.Method({"scale": "mean"}, context), step(0)).tolist() == pytest.approx([0.1] * 10)
    assert weights_at(none.Method({"scale": "1c"}, context), step(0)).tolist() == pytest.approx([0.05] * 10)


def test_hard_weighs_each_class_by_the_other_ones_share(problem):
    context, step = problem
    expected = torch.where(step(0).batch.labels == 0, 0.8, 0.2) / 10
    torch.testing.assert_close(weights_at(hard.Method({"scale": "simplex"}, context), step(0)), expected)
    torch.testing.assert_close(weights_at(hard.Method({"scale": "mean"}, context), step(0)), 2 * expected)


class OnAGpu:
    """A tensor on a GPU that is not there: what is copied to it, and how."""

    is_cuda, copies = True, ()

    def __len__(self):
        return 4

    def copy_(self, drawn, non_blocking=False):
        self.copies = (*self.copies, (drawn, non_blocking))


def test_random_weights_do_not_wait_for_their_copy_to_a_gpu(problem, monkeypatch):
    method = random_weights.Method({"per": "example", "every": 1}, problem[0])
    expected = method.draw(4, 0)
    method.drawn = OnAGpu()
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda drawn: ("pinned", drawn))
    method.prepare(base.Position(0, 0, base.Stage("train", 1), 0, 1, 0.1))
    (((pinned, drawn), non_blocking),) = method.drawn.copies
    assert pinned == "pinned" and non_blocking and torch.equal(drawn, expected)


def test_random_weights_sum_to_one_and_change_when_they_should(problem):
    context, step = problem
    examples = random_weights.Method({"per": "example", "every": 1}, context)
    first, second = weights_at(examples, step(0)), weights_at(examples, step(1))
    assert first.sum().item() == pytest.approx(1) and (first >= 0).all() and not torch.equal(first, second)
    classes = random_weights.Method({"per": "class", "every": 10}, context)
    drawn = [classes.draw(2, number) for number in range(8)]
    assert all(weights.sum().item() in (0, pytest.approx(1)) for weights in drawn)
    batch = step(3).batch
    torch.testing.assert_close(weights_at(classes, step(3)), drawn[0][batch.groups] / 10)
    assert torch.equal(weights_at(classes, step(13)), drawn[1][step(13).batch.groups] / 10)


@pytest.mark.parametrize(("scale", "divisor"), [("sum", 1), ("mean", 10)])
def test_example_reweighting_is_algorithm_1_of_ren_et_al(problem, scale, divisor):
    """w ∝ max(⟨∇L_target, ∇ℓ_i⟩, 0), each gradient by its own backward pass; batch norm sees the whole batch."""
    context, step = problem
    at = step(4)
    target = context.target.batch(4)
    outer = gradient_of(at.model, target)[1]
    products = []
    for i in range(10):
        only = torch.zeros(10)
        only[i] = 1
        products.append(float(outer @ gradient_of(at.model, at.batch, only)[1]))
    positive = np.maximum(products, 0)
    found = weights_at(er.Method({"scale": scale}, context), at)
    np.testing.assert_allclose(found.numpy(), positive / positive.sum() / divisor, rtol=1e-3, atol=1e-6)


def test_tdr_by_the_code_is_sections_c1_to_c4_of_the_sheet(problem):
    context, step = problem
    method = tdr.Method(TDR_CODE, context)
    at = step(0, method)
    batch, target = context.fresh.batch(0), context.target.batch(0)
    inner = gradient_of(at.model, batch, torch.full((10,), 0.5 / 10))[1] + DECAY * flat(at.model)
    ahead = moved(at.model, -RATE * inner)
    outer = gradient_of(ahead, target, training=False)[1] + DECAY * flat(ahead)
    expected = torch.zeros(2)
    for label in (0, 1):
        share = (batch.labels == label).float() / 10
        h = -RATE * (outer @ gradient_of(at.model, batch, share)[1])
        expected[label] = (0.5 - 0.1 * h).clamp(0, 100)
    expected /= expected.sum()
    found = weights_at(method, at)
    torch.testing.assert_close(method.weights, expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found, expected[at.batch.labels] / 10, rtol=1e-5, atol=1e-7)
    assert not torch.equal(method.weights, torch.tensor([0.5, 0.5]))


def test_tdr_by_the_code_moves_every_tenth_step_only_and_stays_on_the_simplex(problem):
    context, step = problem
    method, seen, logged = tdr.Method({**TDR_CODE, "outer_learning_rate": 50.0}, context), [], []
    for number in range(21):
        method.learn(step(number, method))
        seen.append(method.weights.clone())
        logged.append(method.logged.pop("outer_step", None))
        assert (method.weights >= 0).all() and method.weights.sum().item() == pytest.approx(1, abs=1e-6)
    changes = [number for number in range(1, 21) if not torch.equal(seen[number], seen[number - 1])]
    assert changes == [10, 20] and [int(number) for number in logged if number is not None] == [0, 10, 20]


def test_tdr_as_printed_uses_the_last_inner_step_and_eq_6_7_9(problem):
    context, step = problem
    method = tdr.Method(TDR_PAPER, context)
    for number in range(9):
        weights_at(method, step(number, method))
    at = step(9, method)
    used = weights_at(method, at)
    assert used.sum().item() == pytest.approx(1) and used.tolist() == pytest.approx([0.1] * 10)  # w is still 1/2, 1/2
    ahead = moved(at.model, -RATE * gradient_of(at.model, at.batch, torch.full((10,), 0.1))[1])
    outer = gradient_of(ahead, context.target.batch(0), training=False)[1]
    expected = torch.zeros(2)
    for label in (0, 1):
        share = (at.batch.labels == label).float() / 10
        expected[label] = max(0.0, 0.5 + 0.2 * RATE * float(outer @ gradient_of(at.model, at.batch, share)[1]))
    found = weights_at(method, step(10, method))
    torch.testing.assert_close(method.weights, expected, rtol=1e-5, atol=1e-7)
    chosen = expected[step(10).batch.labels]
    torch.testing.assert_close(found, chosen / chosen.sum(), rtol=1e-5, atol=1e-7)


def test_collapsed_tdr_weights_go_back_to_even_and_the_trace_says_so(problem):
    context, _ = problem
    for options in (TDR_CODE, TDR_PAPER):
        weights, collapsed = tdr.Method(options, context).projected(torch.tensor([-1.0, 0.0]))
        assert weights.tolist() == [0.5, 0.5] and collapsed


@pytest.mark.parametrize(("module", "options"), [(er, {"scale": "sum"}), (tdr, TDR_CODE)])
def test_learning_leaves_the_model_as_it_is(problem, module, options):
    context, step = problem
    method = module.Method(options, context)
    at = step(0, method)
    before = {name: value.clone() for name, value in at.model.state_dict().items()}
    method.learn(at)
    assert all(torch.equal(value, before[name]) for name, value in at.model.state_dict().items())


def test_the_constant_predictor_says_the_majority_label_and_trains_nothing(problem):
    context, step = problem
    method = constant.Method({}, context)
    assert method.stages(50) == []
    assert method.predict(step(0).model, torch.zeros(3, 4)).argmax(1).tolist() == [1, 1, 1]
