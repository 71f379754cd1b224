"""HAR: halves, held-out errors, strengths, what acts in which stage, and which stages runs share."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.absgd_methods import spec_of
from support.mnist_runs import killed_and_resumed, outcome, run_of
from torch import nn

from reweigh.config import effects
from reweigh.config.methods.har import CARD, CODE, NO_ERRORS
from reweigh.config.methods.penalised import PENALTY
from reweigh.config.validation import validated
from reweigh.errors import ConfigError
from reweigh.methods import class_errors, har
from reweigh.models.layers import without_trace

DENSITY_ONLY = {**CODE, **NO_ERRORS}


def spec_with(uses="har", **options):
    """Of a run that learns within its four epochs: MNIST 4 against 9, 100 and 200 examples."""
    known = {"har": CODE, "uniform_penalty": PENALTY}[uses]
    spec = spec_of(uses, {**known, **options}, learning_rate=0.05, momentum=0.9)
    spec["data"]["split"]["imbalance_ratio"] = 2.0
    return spec


def run_with(mnist, uses="har", **options):
    return run_of(spec_with(uses, **options), mnist)


def taken_to(run, stage, step=0):
    """The run before a step of a stage."""
    while (run.stage, run.stage_step) != (stage, step):
        run.advance()
    return run


# --- strengths -------------------------------------------------------------------------------------------------------


def test_the_strengths_of_the_sheet():
    errors, counts = torch.tensor([0.60, 0.25, 0.45, 0.10]), torch.tensor([500.0, 500.0, 5000.0, 5000.0])
    found = har.strengths(errors, counts, 0.6, 0.4)
    assert found.dtype == torch.float32 and found.tolist() == pytest.approx([1.0, 0.591, 0.335, 0.136], abs=5e-4)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 10**6)), min_size=1, max_size=12),
    st.floats(0, 2),
    st.floats(0, 2),
    st.sampled_from([None, "1/n"]),
)
def test_they_rise_with_the_error_and_fall_with_the_count(classes, noise, density, floor):
    errors, counts = (torch.tensor(values, dtype=torch.float64) for values in zip(*classes, strict=True))
    found = har.strengths(errors, counts, noise, density, floor)
    assert torch.isfinite(found).all() and (found >= 0).all() and found.max() in (0, 1)
    raised = torch.tensor([min(1.0, error + 0.1) for error in errors.tolist()], dtype=torch.float64)
    for one in range(len(classes)):
        more = torch.where(torch.arange(len(classes)) == one, raised, errors)
        share = har.strengths(more, counts, noise, density, floor)
        assert share[one] >= found[one] - 1e-6
        fewer = torch.where(torch.arange(len(classes)) == one, (counts / 2).clamp(min=1), counts)
        assert har.strengths(errors, fewer, noise, density, floor)[one] >= found[one] - 1e-6


def test_a_class_without_an_error_has_no_strength_unless_there_is_a_floor():
    errors, counts = torch.tensor([0.5, 0.0, 0.001]), torch.tensor([100.0, 400.0, 400.0])
    assert har.strengths(errors, counts, 0.6, 0.4)[1] == 0
    floored = har.strengths(errors, counts, 0.6, 0.4, "1/n")
    largest = 0.5**0.6 / 100**0.4
    assert floored.tolist() == pytest.approx([1, *[(1 / 400) ** 0.6 / 400**0.4 / largest] * 2])
    assert har.strengths(torch.zeros(2), torch.ones(2), 0.6, 0.4).tolist() == [0, 0]


def test_a_class_without_training_examples_has_no_part():
    errors = torch.tensor([0.5, 1.0, 0.25])
    for floor in (None, "1/n"):
        found = har.strengths(errors, torch.tensor([100.0, 0.0, 100.0]), 0.6, 0.4, floor)
        assert found.tolist() == pytest.approx([1, 0, 0.5**0.6])


def test_exponents_of_zero_switch_off():
    errors, counts = torch.tensor([0.5, 0.0]), torch.tensor([100.0, 1600.0])
    assert har.strengths(errors, counts, 0.0, 0.5).tolist() == pytest.approx([1, 0.25])
    assert har.strengths(errors, counts, 1.0, 0.0).tolist() == [1, 0]
    assert har.strengths(errors, counts, 0.0, 0.0).tolist() == [1, 1]


# --- halves ----------------------------------------------------------------------------------------------------------


@given(st.integers(2, 500), st.integers(0, 2**40))
def test_halves_divide_the_training_set(size, seed):
    first, second = class_errors.halves_of(size, seed)
    assert len(first) == size // 2 and sorted([*first, *second]) == list(range(size))


def test_the_halves_are_those_of_the_released_code():
    np.random.seed(3)  # noqa: NPY002 - as there
    order = np.random.permutation(11)  # noqa: NPY002
    first, second = class_errors.halves_of(11, 3)
    assert first.tolist() == order[:5].tolist() and second.tolist() == order[5:].tolist()


def test_they_are_not_by_class():
    """Of 500 rare examples among 50,000 the half has 250, and a standard deviation of 11."""
    drawn = [int((class_errors.halves_of(50_000, seed)[0] < 500).sum()) for seed in range(60)]
    assert np.mean(drawn) == pytest.approx(250, abs=4) and 8 < np.std(drawn) < 14


@pytest.mark.parametrize(("half", "first"), [(0, [0]), (1, [1]), ("both", [0, 1])])
def test_each_estimate_trains_on_its_half(mnist, half, first):
    run = run_with(mnist, half=half)
    halves = class_errors.halves_of(len(run.parts.train), run.seed)
    stages = [course.stage for course in run.courses]
    assert [stage.name for stage in stages] == [*(f"estimate-{k}" for k in first), "regularise"]
    assert [stage.epochs for stage in stages] == [4] * len(stages)
    assert [stage.fresh for stage in stages] == [False] + [True] * (len(stages) - 1)
    for number, own in enumerate(first):
        assert sorted(run.courses[number].members) == sorted(halves[own])
    assert run.courses[-1].part is run.parts.train and run.courses[-1].members is None


# --- errors ----------------------------------------------------------------------------------------------------------


def errors_of(model, part, rows):
    """1 − the share of each class that a net in evaluation mode gets right: a plain evaluation."""
    batch = part.take(torch.from_numpy(np.sort(rows)))
    with without_trace(model, training=False):
        right = (model(batch.inputs).argmax(1) == batch.labels).numpy()
    labels = batch.labels.numpy()
    return [1 - right[labels == label].mean() for label in (0, 1)]


@pytest.mark.parametrize("half", [0, 1, "both"])
def test_errors_are_those_of_a_plain_evaluation_on_the_other_half(mnist, half):
    spec = spec_with(half=half)
    spec["data"]["augment"] = {"crop_padding": 2, "padding": "zero", "flip": True, "rotation_degrees": 0.0}
    spec["data"]["split"]["total"] = 1101  # more than a batch in a half
    run = run_of(spec, mnist)
    halves = class_errors.halves_of(len(run.parts.train), run.seed)
    estimates = len(run.courses) - 1
    expected = []

    def over(run):
        if run.stage < estimates:
            held_out = halves[1 - class_errors.NAMES.index(run.course.stage.name)]
            expected.append(errors_of(run.model, run.parts.train, held_out))

    run.stage_over = over
    run.finish()
    trace = run.trace()
    assert trace["held_out_errors"].shape == (4 * estimates, 2)
    np.testing.assert_allclose(trace["held_out_errors"][3::4], expected, rtol=1e-6)
    assert trace["class_errors"][0].tolist() == pytest.approx(np.mean(expected, 0).tolist(), rel=1e-6)
    counts = run.courses[-1].class_counts
    strengths = har.strengths(torch.tensor(np.mean(expected, 0)), counts, 0.6, 0.4)
    torch.testing.assert_close(run.method.strengths, strengths)
    assert trace["strengths"].shape == (1, 2) and set(trace) >= CARD.traces(CODE, run.step)


def test_errors_may_be_those_after_an_earlier_epoch(mnist):
    run = run_with(mnist, errors_after=2)
    run.finish()
    trace = run.trace()
    assert trace["class_errors"][0].tolist() == trace["held_out_errors"][1].tolist()
    assert trace["held_out_errors"][1].tolist() != trace["held_out_errors"][3].tolist()


class Constant(nn.Module):
    """Gives every example class 0; in training mode, class 1."""

    def forward(self, inputs):
        return torch.eye(3)[torch.full((len(inputs),), int(self.training))]


class Fake:
    """Labels 0 and 1 in both halves, label 2 nowhere in some."""

    per_cycle = 1

    def __init__(self, labels):
        self.labels = torch.tensor(labels)

    def batch(self, _):
        return dataclasses.make_dataclass("Batch", ["inputs", "labels"])(self.labels[:, None].float(), self.labels)


def test_a_class_that_the_held_out_half_lacks_counts_as_wrong():
    wrong, seen = class_errors.wrong_by_class(Constant(), Fake([0, 0, 1]), 3)
    assert wrong.tolist() == [0, 1, 0] and seen.tolist() == [2, 1, 0]
    method = object.__new__(class_errors.Method)
    method.wrong, method.held_out = wrong[None, None], seen[None, None]
    assert method.class_errors().tolist() == [0, 1, 1]
    # Where another half has some of it, that half alone says what its error is.
    method.wrong = torch.stack([method.wrong[0], torch.tensor([[1.0, 0.0, 1.0]])])
    method.held_out = torch.stack([method.held_out[0], torch.tensor([[4.0, 2.0, 4.0]])])
    assert method.class_errors().tolist() == [0.125, 0.5, 0.25]


# --- what acts where -------------------------------------------------------------------------------------------------


def test_uniform_strength_at_an_equal_mean(mnist):
    by_class, mean = (run_with(mnist, strengths=kind) for kind in ("by-class", "mean"))
    for run in (by_class, mean):
        taken_to(run, 1)
    counts = run.courses[1].class_counts
    expected = float(by_class.method.strengths @ counts / counts.sum())
    assert by_class.method.strengths.tolist() != mean.method.strengths.tolist()
    assert mean.method.strengths.tolist() == pytest.approx([expected] * 2)


def test_loss_and_class_balance_act_in_the_last_stage_alone(mnist):
    """Their epochs count from its start; the stages before are those of a run without them, bit for bit."""
    loss = {"name": "focal", "gamma": 2.0, "weight_leaks": False}
    plain, own = run_with(mnist), run_with(mnist, loss=loss, class_balance={"beta": 0.99, "from_epoch": 1})
    for run in (plain, own):
        taken_to(run, 1)
    assert all(torch.equal(value, own.model.state_dict()[name]) for name, value in plain.model.state_dict().items())
    assert plain.method.strengths.tolist() == own.method.strengths.tolist()
    assert own.method.loss.__class__.__module__.endswith("focal")
    assert own.method.class_weights.tolist() == [1, 1]
    taken_to(own, 1, own.course.steps_per_epoch).advance()
    assert own.method.class_weights[0] != own.method.class_weights[1]


def test_the_first_stage_is_not_penalised_and_the_last_one_is(mnist):
    weak, strong = run_with(mnist, lambda_=0.01), run_with(mnist, lambda_=10.0)
    for run in (weak, strong):
        taken_to(run, 1)
    first = weak.model.state_dict()
    assert all(torch.equal(value, strong.model.state_dict()[name]) for name, value in first.items())
    for run in (weak, strong):
        run.finish()
    assert strong.trace()["penalty"][-1] < weak.trace()["penalty"][-1]
    assert strong.trace()["penalty"].shape == (4,)


SIZES, ERRORS = [500, 500, 5000, 5000], [0.60, 0.25, 0.45, 0.10]
STRENGTHS = [1.0, (25 / 60) ** 0.6, 0.75**0.6 * 0.1**0.4, (1 / 6) ** 0.6 * 0.1**0.4]


@pytest.mark.parametrize(
    ("options", "errors", "expected"),
    [
        ({}, ERRORS, STRENGTHS),
        ({"floor": "1/n"}, ERRORS, STRENGTHS),
        ({}, [0.60, 0.0, 0.45, 0.10], [1.0, 0.0, *STRENGTHS[2:]]),
        ({"floor": "1/n"}, [0.60, 0.0, 0.45, 0.10], [1.0, (1 / 500 / 0.6) ** 0.6, *STRENGTHS[2:]]),
        ({"density_exponent": 0.0}, ERRORS, [1.0, (25 / 60) ** 0.6, 0.75**0.6, (1 / 6) ** 0.6]),
        (NO_ERRORS, None, [1.0, 1.0, 0.1**0.4, 0.1**0.4]),
        ({"strengths": "mean"}, ERRORS, [(500 * sum(STRENGTHS[:2]) + 5000 * sum(STRENGTHS[2:])) / 11000] * 4),
    ],
)
def test_the_audit_knows_the_strengths_by_errors_and_sizes(options, errors, expected):
    logged = {"strengths": [expected], **({} if errors is None else {"class_errors": [errors]})}
    assert CARD.contradicts({**CODE, **options}, SIZES, logged) == ""
    logged["strengths"] = [[*expected[:3], 1.001 * expected[3]]]
    assert "not those of its errors" in CARD.contradicts({**CODE, **options}, SIZES, logged)


def test_without_a_first_stage_density_decides(mnist):
    run = run_with(mnist, **NO_ERRORS)
    assert [course.stage.name for course in run.courses] == ["regularise"] and run.method.prefix() is None
    counts = run.courses[0].class_counts
    torch.testing.assert_close(run.method.strengths, (counts.min() / counts) ** 0.4)


def test_with_both_exponents_zero_it_is_the_uniform_penalty_to_the_last_bit(mnist):
    options = {**DENSITY_ONLY, "density_exponent": 0.0}
    uses, known = CARD.same_as(options, [9, 4])
    assert (uses, known) == ("uniform_penalty", PENALTY) == CARD.same_as(DENSITY_ONLY, [9, 9])
    assert CARD.same_as(DENSITY_ONLY, [9, 4]) == ("har", DENSITY_ONLY)
    noise_only = {**CODE, "density_exponent": 0.0}
    assert CARD.same_as(noise_only, [9, 4]) == ("har", noise_only) == CARD.same_as({**CODE, "floor": "1/n"}, [9, 9])
    ours, uniform = run_with(mnist, **options), run_with(mnist, uses, **known)
    for run in (ours, uniform):
        run.finish()
    (_, weights, trace), (_, others, theirs) = outcome(ours), outcome(uniform)
    assert weights == others and {name: trace[name] for name in theirs} == theirs


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_run_that_was_killed_within_a_stage_goes_on_bit_for_bit(mnist, stage):
    spec = spec_with(half="both", errors_after=3)
    whole = run_of(spec, mnist)
    stop = whole.courses[stage].first_step + whole.courses[stage].steps_per_epoch + 1
    whole.finish()
    assert outcome(killed_and_resumed(spec, mnist, stop)) == outcome(whole)


def test_whatever_comes_after_them_shares_the_first_stages():
    """Only the half that was asked for is in their key."""
    changed = [{"lambda_": 9.0}, {"errors_after": 1}, {"strengths": "mean"}, {"density_exponent": 0.0}]
    assert all(CARD.prefix({**CODE, **one}) == CARD.prefix(CODE) for one in changed)
    assert CARD.prefix({**CODE, "half": 1}) != CARD.prefix(CODE) and CARD.prefix(DENSITY_ONLY) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"half": None}, "half: errors are taken on one unless noise_exponent is 0"),
        ({"noise_exponent": 0.0}, "half: errors are taken on one unless noise_exponent is 0"),
        ({**NO_ERRORS, "floor": "1/n"}, "floor: with noise_exponent 0 there are no errors; write null"),
        ({**NO_ERRORS, "errors_after": 3}, "errors_after: with noise_exponent 0 there are no errors; write null"),
        ({"half": 2}, "half"),
        ({"errors_after": 0}, "errors_after"),
        ({"epsilon": 0.01}, "epsilon: route difference, and no other, needs it"),
    ],
)
def test_options_that_cannot_be_are_refused(changed, said):
    with pytest.raises(ConfigError, match=said):
        validated(CARD.options, {**CODE, **changed}, "here")


def test_errors_after_the_end_are_refused():
    spec = spec_of("har", {**CODE, "errors_after": 5})
    with pytest.raises(ConfigError, match=r"^here: errors_after is 5, but the first stage has 4 epochs; lower it"):
        effects.check_ends(spec, "here")
