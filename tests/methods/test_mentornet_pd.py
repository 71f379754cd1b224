"""MentorNet's closed form: percentile, moving bound and weights by a loop in numpy; burn-in; what a run logs."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.absgd_methods import batch_of
from support.headed_problem import Problem
from support.mnist_runs import finished, outcome, spec_of
from support.positions import STEPS_PER_EPOCH, at

from reweigh.config.cards import check_options
from reweigh.config.methods.mentornet_pd import SHEET
from reweigh.errors import ConfigError
from reweigh.methods import base, mentornet_pd

losses_of_a_batch = st.lists(st.floats(0, 50), min_size=1, max_size=9)
shares = st.floats(0.01, 0.99)


def method_of(**options):
    return mentornet_pd.Method({**SHEET, **options}, Problem().context)


def weights_of(method, number, losses, labels=None):
    losses = torch.tensor(losses, dtype=torch.float64)
    batch = batch_of(torch.zeros(len(losses), dtype=torch.int64) if labels is None else labels)
    step = base.Step(torch.tensor(number), method.prepare(at(number)), torch.nn.Identity(), batch, None)
    return method.example_weights(step, losses).numpy()


@given(losses_of_a_batch, shares)
def test_the_percentile_is_that_of_numpy(losses, share):
    found = mentornet_pd.percentile(torch.tensor(losses, dtype=torch.float64), share)
    assert float(found) == pytest.approx(np.percentile(losses, 100 * share), rel=1e-12, abs=1e-12)


def test_a_hand_computed_run():
    """Percentile ½, decay ½: bounds 2, then (2 + 6)/2 = 4, then (4 + 1)/2 = 2.5."""
    method = method_of(percentile=0.5, decay=0.5, burn_in=0.0)
    assert weights_of(method, 0, [1.0, 2.0, 3.0]).tolist() == [1 / 3, 1 / 3, 0]
    assert weights_of(method, 1, [4.0, 6.0, 8.0]).tolist() == [1 / 3, 0, 0]
    assert weights_of(method, 2, [2.5, 1.0, 0.0, 1.0]).tolist() == [1 / 4] * 4
    assert float(method.bound) == 2.5


@given(st.lists(losses_of_a_batch, min_size=1, max_size=8), shares, st.floats(0, 0.99), st.floats(0, 0.99))
def test_weights_are_those_of_a_loop_in_numpy(batches, share, decay, burn_in):
    method, bound = method_of(percentile=share, decay=decay, burn_in=burn_in), None
    for number, losses in enumerate(batches):
        now = np.percentile(losses, 100 * share)
        bound = now if bound is None else decay * bound + (1 - decay) * now
        clear = [abs(one - bound) > 1e-9 for one in losses]  # rounding decides nothing
        found = weights_of(method, number, losses)
        in_burn_in = number // STEPS_PER_EPOCH < burn_in * 4
        expected = [(in_burn_in or one <= bound) / len(losses) for one in losses]
        np.testing.assert_allclose(found[clear], np.array(expected)[clear], rtol=1e-12)
        assert float(method.bound) == pytest.approx(bound, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("burn_in", "epochs"), [(0.0, 0), (0.25, 1), (0.3, 2), (0.5, 2), (0.99, 4)])
def test_the_burn_in_is_the_first_share_of_the_four_epochs(burn_in, epochs):
    """It keeps all, while the bound moves on."""
    method = method_of(burn_in=burn_in, decay=0.5)
    for number in range(4 * STEPS_PER_EPOCH):
        weights = weights_of(method, number, [0.0, 1.0, 2.0, 10.0 + number])
        assert (weights == 0.25).all() == (number < epochs * STEPS_PER_EPOCH)
    assert float(method.bound) == pytest.approx(2 + (8 + number - 1) / 4, rel=0.01)  # it lags by one step


def test_a_share_of_epochs_is_not_rounded_up_by_floats():
    """0.28 · 25 is 7 epochs, though as floats 7.000000000000001."""
    context = Problem().context
    values = {name: getattr(context, name) for name in context.__dataclass_fields__}
    longer = base.RunContext(**{**values, "epochs": 25})
    method = mentornet_pd.Method({**SHEET, "burn_in": 0.28}, longer)
    assert 0.28 * 25 > 7
    programs = [method.prepare(at(epoch * STEPS_PER_EPOCH + 1)) for epoch in range(9)]
    assert programs == ["burn-in"] * 7 + ["curriculum"] * 2


def test_the_trace_has_the_share_kept_of_each_class():
    method = method_of(percentile=0.5, decay=0.0, burn_in=0.0)
    for number in range(STEPS_PER_EPOCH):
        assert not method.logged
        weights_of(method, number, [1.0, 2.0, 3.0, 4.0], [0, 0, 0, 1])  # the bound is 2.5
    torch.testing.assert_close(method.logged["kept_share"], torch.tensor([2 / 3, 0.0, 0.0]).double())
    assert not method.seen.any() and not method.kept.any()


def test_a_run_that_burns_in_almost_to_its_end_is_plain_until_then(mnist):
    def accuracies(run):
        return run.curves["test_accuracy"]

    spec = spec_of("none")
    plain = finished(spec, mnist)
    spec.update(uses="mentornet_pd", method_options={**SHEET, "burn_in": 0.75})
    run = finished(spec, mnist)
    assert accuracies(run)[:3] == accuracies(plain)[:3] and outcome(run) != outcome(plain)
    assert run.curves["effective_weight"][:3] == plain.curves["effective_weight"][:3] == [1.0] * 3
    assert 0.5 < run.curves["effective_weight"][3] < 1
    kept = run.trace()["kept_share"]
    assert kept.shape == (4, 2) and (kept[:3] == 1).all() and kept[3].min() < 1


@pytest.mark.parametrize(
    ("option", "value"),
    [("percentile", 75.0), ("percentile", 0.0), ("decay", 1.0), ("burn_in", 1.0), ("burn_in", -0.1)],
)
def test_options_that_cannot_be_are_refused(option, value):
    with pytest.raises(ConfigError, match=option):
        check_options("mentornet_pd", {**SHEET, option: value}, "here")
