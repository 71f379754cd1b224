"""ABSGD and its rivals as whole runs on real MNIST: plain SGD bit for bit, the switch of λ, the trace, exact resume."""

import numpy as np
import pytest
import torch
from support.absgd_methods import ABSGD, EG, SGD, spec_of
from support.mnist_runs import finished, outcome, run_of
from support.mnist_runs import spec_of as tdr_spec

from reweigh.methods import abadam
from reweigh.weights import effective_number

PLAIN = {"momentum": 0.0, "weight_decay": 0.0, "learning_rate": 2.0**-7}


def trained(spec, mnist):
    """All that a run computed: metrics, weights, what it logged."""
    return outcome(finished(spec, mnist))


def test_a_step_of_a_run_moves_along_the_weighted_sum_of_the_gradients_of_single_losses(mnist):
    """Step 2 of a real run without momentum: −lr Σ_i p_i ∇ℓ_i, each gradient alone, p from the formula in float64."""
    run = run_of(spec_of("absgd", ABSGD | {"lambda_": 1.5}, momentum=0.0, weight_decay=0.0), mnist)
    s = 0.0
    for _ in range(3):
        run.course.batches.seek(run.stage_step)
        batch = run.course.batches.current()
        rows, losses = [], []
        for loss in torch.nn.functional.cross_entropy(run.model(batch.inputs), batch.labels, reduction="none"):
            gradients = torch.autograd.grad(loss, list(run.model.parameters()), retain_graph=True)
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]).double())
            losses.append(loss.item())
        e = np.exp(np.array(losses) / 1.5)
        s = 0.5 * s + 0.5 * e.mean()
        before = torch.cat([value.detach().flatten() for value in run.model.parameters()]).double()
        run.advance()
        moved = torch.cat([value.detach().flatten() for value in run.model.parameters()]).double() - before
        rate = run.optimiser.rate.value
        expected = -rate * torch.tensor(e / (s * len(batch))) @ torch.stack(rows)
        assert moved.norm() > 1e-4
        torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-6)


# --- plain SGD, bit for bit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sgd", SGD),
        ("sgd", SGD | {"loss": {"name": "cross_entropy"}, "class_balance": {"beta": 0.9999, "from_epoch": 99}}),
        ("sgd", SGD | {"rate_factor": {"factor": 2.0, "from_epoch": 99}}),
        ("absgd", ABSGD | {"lambda_": None}),
        (
            "absgd",
            ABSGD | {"from_epoch": 99, "class_balance": {"beta": 0.9, "from_epoch": 99, "normalisation": "batch"}},
        ),
        ("absgd", ABSGD | {"lambda_": 1e30, "gamma": 1.0}),
        ("absgd", ABSGD | {"lambda_": -1e30, "gamma": 1.0}),
        ("eg", EG | {"lambda_": -1e30}),
        ("eg", EG | {"from_epoch": 99}),
    ],
)
def test_an_infinite_lambda_or_a_later_epoch_is_plain_sgd_bit_for_bit(name, options, mnist):
    assert trained(spec_of(name, options), mnist) == trained(tdr_spec("none"), mnist)


def test_a_run_is_plain_until_the_switch_and_not_after(mnist):
    runs = [run_of(spec, mnist) for spec in (tdr_spec("none"), spec_of("absgd", ABSGD | {"from_epoch": 2}))]
    staged = runs[1]
    for epoch in range(4):
        for run in runs:
            for _ in range(run.course.steps_per_epoch):
                run.advance()
        weights = [torch.cat([value.flatten() for value in run.model.parameters()]) for run in runs]
        assert torch.equal(*weights) == (epoch < 2)
        assert staged.method.log_s.isfinite() == (epoch >= 2)
    assert staged.curves["effective_weight"][:2] == [1, 1]
    assert staged.curves["effective_weight"][2] > 1.05  # the start of s from 0


def test_a_rate_factor_multiplies_every_weight_from_its_epoch_on(mnist):
    options = SGD | {"rate_factor": {"factor": 2.0, "from_epoch": 2}}
    run = finished(spec_of("sgd", options), mnist)
    assert run.curves["effective_weight"] == [1, 1, 2, 2]
    # Without momentum and decay it is the learning rate.
    twice = trained(spec_of("sgd", SGD | {"rate_factor": {"factor": 2.0, "from_epoch": 0}}, **PLAIN), mnist)
    doubled = trained(spec_of("sgd", SGD, **PLAIN | {"learning_rate": 2 * PLAIN["learning_rate"]}), mnist)
    assert twice[1] == doubled[1]


def test_real_resampling_draws_small_classes_more_often(mnist):
    run = run_of(spec_of("sgd_resampled"), mnist)
    counts, drawn = run.method.context.class_counts, torch.zeros(2)
    for number in range(4 * run.course.steps_per_epoch):
        run.course.batches.seek(number)
        drawn += torch.bincount(run.course.batches.current().labels, minlength=2)
    effective = 1 / effective_number(counts, 0.9999)
    expected = counts / effective
    torch.testing.assert_close(drawn / drawn.sum(), expected / expected.sum(), rtol=0, atol=0.1)
    assert drawn[0] > 3 * 4 * counts[0]


# --- the trace of the weights ----------------------------------------------------------------------------------------


def test_the_trace_has_the_mean_weight_of_each_class_a_row_an_epoch(mnist):
    run = run_of(spec_of("absgd_two_lambdas"), mnist)
    seen, weigh = [], run.method.example_weights

    def watched(step, losses):
        weights = weigh(step, losses)
        seen.append((step.batch.labels.clone(), weights.double() * len(losses)))
        return weights

    run.method.example_weights = watched
    run.finish()
    trace = run.trace()
    assert trace["mean_weights"].shape == trace["weighted_examples"].shape == (4, 2)
    for epoch in range(4):
        labels, weights = (torch.cat(parts) for parts in zip(*seen[5 * epoch : 5 * epoch + 5], strict=True))
        for label in (0, 1):
            mine = labels == label
            assert trace["weighted_examples"][epoch, label] == mine.sum()
            mean = weights[mine].mean().item() if mine.any() else 0.0
            assert trace["mean_weights"][epoch, label] == pytest.approx(mean, rel=1e-6)
    assert not finished(spec_of("absgd", ABSGD), mnist).trace()


def test_curves_have_the_mean_sum_of_the_weights(mnist):
    curves = finished(spec_of("absgd", ABSGD | {"alpha": 0.25, "gamma": 1.0}), mnist).curves
    assert curves["effective_weight"] == pytest.approx([4] * 4, rel=1e-6)


def test_abadam_learns_and_follows_the_schedule(mnist):
    run = finished(spec_of("abadam", learning_rate=0.001), mnist)
    assert isinstance(run.optimiser, abadam.PaperAdam)
    assert run.curves["train_loss"][-1] < 0.8 * run.curves["train_loss"][0]
