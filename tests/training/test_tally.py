"""The rows of an epoch: their means, and the first step with a fault."""

import math

import pytest
import torch

from reweigh.training.tally import ALL_ZERO, LOSS, OBJECTIVE, WEIGHT, Tally

CPU = torch.device("cpu")


def epoch_of(steps, may_rest=False):
    """What a tally says of an epoch with these (losses, weights, what was minimised), after an epoch of other steps."""
    tally = Tally(len(steps) + 2, CPU)
    for number in range(len(steps) + 2):
        tally.prepare(number)
        tally.add(torch.full((2,), math.nan), torch.zeros(2), torch.tensor(0.0), torch.tensor(5.0))
    for number, (losses, weights, loss) in enumerate(steps):
        tally.prepare(number)
        tally.add(torch.tensor(losses), torch.tensor(weights), torch.tensor(weights).sum(), torch.tensor(loss))
    return tally.epoch(len(steps), may_rest)


SOUND = ([1.0, 3.0], [0.25, 0.75], 2.5)


def test_means_are_over_the_steps_of_the_epoch():
    assert epoch_of([SOUND, ([0.0, 2.0], [0.5, 0.0], 0.0)]) == (1.5, 0.75, None)


@pytest.mark.parametrize("seed", range(20))
def test_means_are_sums_in_float64_in_the_order_of_the_steps(seed):
    """On every Python: from 3.12 on, sum() rounds less than additions one by one do."""
    random = torch.Generator().manual_seed(seed)
    losses = (10 ** (-8 * torch.rand(3000, generator=random)) * torch.rand(3000, generator=random)).tolist()
    total = torch.zeros((), dtype=torch.float64)
    for loss in losses:
        total += torch.tensor(loss)
    assert epoch_of([([loss], [1.0], loss) for loss in losses])[0] == float(total / len(losses))


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        (([math.inf, 0.0], [1.0, 0.0], 0.0), LOSS),
        (([math.nan, 0.0], [math.nan, 0.0], math.nan), LOSS),  # what is computed from it is no cause
        ((*SOUND[:2], math.nan), OBJECTIVE),
        (([0.0], [-math.inf], 0.0), WEIGHT),
        (([0.0], [math.nan], math.nan), WEIGHT),
    ],
)
def test_the_first_fault_counts(broken, kind):
    zero = ([1.0, 1.0], [0.0, 0.0], 0.0)
    assert epoch_of([SOUND, broken, zero])[2] == (1, kind)
    assert epoch_of([SOUND, zero, broken])[2] == (1, ALL_ZERO)
    assert epoch_of([SOUND, zero, broken], may_rest=True)[2] == (2, kind)


def test_what_is_known_of_the_step_before():
    tally = Tally(2, CPU)
    tally.prepare(0)
    tally.add(torch.tensor([1e5, 3e5]), torch.ones(2), torch.tensor(2.0), torch.tensor(1.0))
    assert tally.before(1) == "; the step before it had a mean loss of 2e+05" and tally.before(0) == ""


def test_weights_that_cancel_out_are_not_zero():
    assert epoch_of([([1.0, 2.0], [0.5, -0.5], 0.1)])[2] is None


def test_a_method_that_may_rest_may_not_do_so_for_an_epoch():
    zero = ([1.0, 1.0], [0.0, 0.0], 0.0)
    assert epoch_of([zero, SOUND], may_rest=True)[2] is None
    assert epoch_of([zero, zero, zero], may_rest=True)[2] == (2, ALL_ZERO)


def test_a_checkpoint_in_the_middle_of_an_epoch_has_its_first_steps():
    tally, other = Tally(2, CPU), Tally(2, CPU)
    add = lambda to, row: (to.prepare(row), to.add(*map(torch.tensor, ([4.0], [1.0], 1.0, 4.0))))  # noqa: E731
    add(tally, 0)
    kept = {name: value.clone() for name, value in tally.state().items()}
    where = other.rows.data_ptr()
    other.load_state(kept)
    add(other, 1)
    assert other.epoch(2, may_rest=False) == (4.0, 1.0, None) and other.rows.data_ptr() == where
