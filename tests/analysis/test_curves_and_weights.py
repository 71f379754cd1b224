"""What a record's curves and learned weights come to, on examples by hand."""

import doctest

import numpy as np
import pytest

from reweigh.analysis import learned, reached
from reweigh.analysis.reached import Reached

NAN = float("nan")


def run(accuracies, epochs=None, planned=10, **changes):
    shown = epochs or list(range(1, len(accuracies) + 1))
    curves = {"epoch": shown, "train_seconds": [1.5 * epoch for epoch in shown], "test_accuracy": accuracies}
    return {"curves": curves, "spec": {"training": {"epochs": planned}}} | changes


def test_the_examples_hold():
    failed, tried = doctest.testmod(learned)
    assert tried and not failed


def test_the_first_time_at_a_level_or_above():
    body = run([0.5, 0.85, 0.2, 0.9])
    assert reached.epochs(body, "test_accuracy", 0.85) == Reached(2, True, 0.5)
    assert reached.seconds(body, "test_accuracy", 0.85) == Reached(3.0, True, 0.5)
    assert reached.epochs(body, "test_accuracy", 0.2) == Reached(1, True, 1.0)
    assert reached.epochs(run([0.1, 0.9], epochs=[5, 10]), "test_accuracy", 0.9) == Reached(10, True, 0.5)


def test_what_is_never_reached_has_all_of_the_training_as_its_bound():
    body = run([0.5] * 10)
    assert reached.epochs(body, "test_accuracy", 0.85) == Reached(10, False)
    assert reached.seconds(body, "test_accuracy", 0.85) == Reached(15.0, False)


@pytest.mark.parametrize("missing", [None, NAN])
def test_a_run_that_diverged_reaches_what_it_had_reached(missing):
    assert reached.epochs(run([0.9, missing]), "test_accuracy", 0.85) == Reached(1, True, 1.0)
    assert reached.epochs(run([0.5, missing]), "test_accuracy", 0.85) == Reached(10, False)  # of ten that it was given
    assert reached.seconds(run([0.5, missing]), "test_accuracy", 0.85) == Reached(15.0, False)
    assert reached.epochs(run([]), "test_accuracy", 0.85) == Reached(10, False)


def test_weights_act_by_their_share_and_not_below_nothing():
    weights = np.array([[2.0, 2.0], [-1.0, 3.0], [0.0, -0.5]])
    assert learned.shares(weights).tolist() == [[0.5, 0.5], [0.0, 1.0], [0.5, 0.5]]
    assert learned.distance_from_equal(weights) == 0.0  # at the end
    assert learned.distance_from_equal(weights[:2]) == 0.5


def test_the_slope_of_weights_over_size():
    sizes, weights = [1000, 100, 10, 1], np.array([[1.0, 3.0, 5.0, 40.0], [2.0, 1.0, 9.0, 8.0]])
    by_hand = np.polyfit([0, 1, 2, 3], np.log10(learned.shares(weights).mean(0)), 1)[0]
    assert learned.slope_on_inverse_size(weights, sizes) == pytest.approx(by_hand)
    assert learned.slope_on_inverse_size(np.ones((5, 4)), sizes) == 0
    left_out = learned.slope_on_inverse_size(np.array([[0.0, 1.0, 10.0, 100.0], [-1.0, 1.0, 10.0, 100.0]]), sizes)
    assert left_out == pytest.approx(1)  # of the three classes with a weight
    assert learned.slope_on_inverse_size(np.array([[0.0, 0.0, 1.0, 2.0]]), sizes) is None
    assert learned.slope_on_inverse_size(np.ones((1, 3)), [0, 10, 1]) is None  # two classes have examples
    assert learned.slope_on_inverse_size(np.ones((1, 3)), [10, 10, 10]) is None
