"""Claims about the curves of parts: a level that is reached, and what validation tells of the test set. By hand."""

import math

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats as scipy_stats
from support.made_up_claims import body, decided, evidence

from reweigh.scorecard.claim_tests import compared
from reweigh.scorecard.order_rates import decided as decided_by_simulation
from reweigh.scorecard.order_rates import simulate_tracking

ONE = "predict one class"
STAGES = [
    {"name": "search", "epochs": 3, "steps_per_epoch": 4},
    {"name": "retrain", "epochs": 2, "steps_per_epoch": 5},
]

# --- levels ----------------------------------------------------------------------------------------------------------

REACHES = {"test": "reaches", "better": "a", "part": "train", "metric": "balanced_error", "level": 0.0, "margin": 0.01}


def reached(accuracies, lost="", **claim):
    """Runs whose curve of the balanced accuracy on the training part is that: three epochs of search, two after."""
    keys = [("s", "a", seed) for seed in range(len(accuracies))]
    bodies = {
        key: body(
            curves={"epoch": [1, 2, 3, 4, 5], "stage": [0, 0, 0, 1, 1], "train_balanced_accuracy": curve},
            stages=STAGES,
            split={"sizes": {"train": [4000, 400]}},
        )
        for key, curve in zip(keys, accuracies, strict=True)
    }
    columns = {"lost": dict.fromkeys(keys, lost), "balanced_error": dict.fromkeys(keys, 0.2)}
    return decided(evidence(REACHES | claim, bodies, **columns))


def test_an_error_reaches_zero_from_above():
    verdict, (place,) = reached([[0.5, 0.999, 0.9, 0.5, 0.5], [0.5, 0.998, None, 0.5, 0.5], [0.9, 1.0, 0.9, 0.5, 0.5]])
    assert verdict == "holds" and place.effect == pytest.approx(0.001)  # (0.001 + 0.002 + 0) / 3
    least = math.hypot(1 / 4000, 1 / 400) / 2 / math.sqrt(12)
    t = (0.001 - 0.01) / (max(0.001, least) / math.sqrt(3))
    assert place.p_for == pytest.approx(scipy_stats.t.cdf(t, 2))
    verdict, (place,) = reached([[0.5, 0.8, 0.7, 0.5, 0.5], [0.5, 0.81, 0.7, 0.5, 0.5], [0.5, 0.79, 0.7, 0.5, 0.5]])
    assert verdict == "fails" and place.effect == pytest.approx(0.2)


def test_an_accuracy_reaches_its_level_from_below():
    curves = [[0.5, 0.90, 0.7, 0.5, 0.5], [0.5, 0.91, 0.7, 0.5, 0.5], [0.5, 0.89, 0.7, 0.5, 0.5]]
    verdict, (place,) = reached(curves, metric="balanced_accuracy", level=0.8, margin=0.02)
    assert verdict == "holds" and place.effect == pytest.approx(-0.1)
    verdict, (place,) = reached(curves, metric="balanced_accuracy", level=1.0, margin=0.02)
    assert verdict == "fails" and place.effect == pytest.approx(0.1)


def test_a_stage_counts_alone_if_it_is_named():
    late = [[0.5, 0.6, 0.7, 0.5, 1.0]] * 3
    assert reached(late)[1][0].effect == 0.0
    assert reached(late, stage="search")[1][0].effect == pytest.approx(0.3)
    assert reached(late, stage="finish")[1][0].n == 0


def test_a_curve_that_was_not_measured_reaches_nothing():
    verdict, (place,) = reached([[1.0] * 5] * 3, part="validation")
    assert (verdict, place.n) == ("inconclusive", 0)
    assert reached([[1.0] * 5] * 3, lost=ONE)[0] == "degenerate"


def test_no_interval_beyond_what_is_possible():
    keys = [("s", "a", seed) for seed in range(2)]
    curve = {"epoch": [1], "stage": [0], "train_balanced_accuracy": [1.0]}
    bodies = {key: body(curves=curve, stages=STAGES, split={"sizes": {"train": [4, 4]}}) for key in keys}
    columns = {"balanced_error": dict.fromkeys(keys, 0.2)}
    (place,) = compared(evidence(REACHES, bodies, **columns))
    assert place.low == 0.0 < place.high
    (place,) = compared(evidence(REACHES | {"metric": "balanced_accuracy", "level": 1.0}, bodies, **columns,
                                 balanced_accuracy=dict.fromkeys(keys, 0.2)))  # fmt: skip
    assert place.low == 0.0 < place.high


# --- what validation tells of the test set ---------------------------------------------------------------------------

TRACKS = {
    "test": "tracks_test", "better": "a", "part": "validation", "metric": "balanced_error", "stage": "search",
}  # fmt: skip
SIZES = {"train": [4000, 400], "validation": [1000, 100], "test": [1000, 1000]}
SEEN, HELD, TEST = [1.0, 0.99, 0.98, 1.0], [0.75, 0.82, 0.7, 0.8], [0.7, 0.8, 0.75, 0.79]  # of four seeds, in the end


def tracked(seen=SEEN, held=HELD, test=TEST, lost="", status="finished", ending="balanced_accuracy", **claim):
    """Runs whose search ends with these accuracies on the three parts; None: there is no such curve.

    Before and after, S_V has no accuracy at all.
    """
    bodies = {}
    for seed, (one, other, third) in enumerate(zip(seen, held, test, strict=True)):
        curves = {"train": [0.3, 0.4, one, 0.5, 0.5], "test": [0.5, 0.5, third, 0.5, 0.5]}
        if other is not None:
            curves["validation"] = [0.0, 0.0, other, 0.0, 0.0]
        bodies["s", "a", seed] = body(
            curves={"epoch": [1, 2, 3, 4, 5], "stage": [0, 0, 0, 1, 1]}
            | {f"{part}_{ending}": curve for part, curve in curves.items()},
            stages=STAGES,
            split={"sizes": SIZES},
            status=status if seed == 0 else "finished",
        )
    columns = {"lost": dict.fromkeys(bodies, lost), "balanced_error": dict.fromkeys(bodies, 0.2)}
    return decided(evidence(TRACKS | claim, bodies, **columns))


def test_validation_tracks_the_test_set_if_it_is_nearer_than_training():
    verdict, (place,) = tracked()
    gains = [0.3 - 0.05, 0.19 - 0.02, 0.23 - 0.05, 0.21 - 0.01]  # S_V is off either way
    found = scipy_stats.ttest_1samp(gains, 0.0, alternative="greater")
    assert (verdict, place.n, place.effect) == ("holds", 4, pytest.approx(np.mean(gains)))
    assert (place.p_for, place.statistic) == (pytest.approx(found.pvalue), pytest.approx(found.statistic))
    (wide,) = tracked(margin=0.1)[1]
    assert wide.p_for == pytest.approx(scipy_stats.ttest_1samp(gains, 0.1, alternative="greater").pvalue)
    (exchanged,) = tracked(seen=HELD, held=SEEN)[1]
    assert exchanged.effect == pytest.approx(-place.effect)
    assert tracked(seen=HELD, held=SEEN)[0] == "fails"


def test_of_an_accuracy_the_distances_are_those_of_the_error():
    expected = tracked()[1][0].effect
    assert tracked(metric="balanced_accuracy")[1][0].effect == pytest.approx(expected)
    (place,) = tracked(metric="test_accuracy", ending="accuracy")[1]
    assert place.effect == pytest.approx(expected)


def test_a_difference_of_distances_is_known_in_the_steps_of_three_parts():
    (place,) = tracked([1.0] * 3, [0.8] * 3, [0.75] * 3)[1]
    steps = [math.hypot(1 / 4000, 1 / 400) / 2, math.hypot(1 / 1000, 1 / 100) / 2, 2 * math.hypot(1e-3, 1e-3) / 2]
    t = (0.25 - 0.05) / (math.hypot(*steps) / math.sqrt(12) / math.sqrt(3))
    assert place.statistic == pytest.approx(t) and place.p_for == pytest.approx(scipy_stats.t.sf(t, 2))


def test_the_last_epoch_of_the_stage_counts_or_that_of_the_run():
    assert tracked(stage=None)[1][0].effect == pytest.approx(-0.5)  # in the end S_V is the farther one, by far
    assert tracked(stage="finish")[1][0].n == 0


def test_a_run_without_one_of_the_curves_says_nothing():
    whole, (place,) = tracked(held=[None, *HELD[1:]])
    assert (whole, place.n, place.effect) == ("holds", 3, pytest.approx((0.17 + 0.18 + 0.2) / 3))
    assert tracked(test=[*TEST[:3], None])[1][0].n == 3  # no number at that epoch
    assert tracked(status="diverged")[1][0].n == 3
    verdict, (place,) = tracked(held=[None] * 4)
    assert (verdict, place.n, place.effect) == ("inconclusive", 0, None)
    assert tracked(lost=ONE)[0] == "degenerate"


def test_distances_that_are_equal_on_average_seldom_decide():
    rates = [decided_by_simulation(simulate_tracking(n, math.sqrt(2 / math.pi), 1.0)) for n in (3, 10)]
    assert max(rates) < 0.1


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        (REACHES | {"part": None}, "reaches and tracks_test, and no other test, need part"),
        (REACHES | {"test": "greater", "level": None}, "reaches and tracks_test, and no other test, need part"),
        (REACHES | {"worse": ["b"]}, "reaches speaks of better alone"),
        (REACHES | {"better": None, "pairs": [["a", "b"]]}, "reaches speaks of better alone"),
        (REACHES | {"level": None}, "needs level"),
        (REACHES | {"margin": 0.0}, "reaches needs a margin above 0"),
        (TRACKS | {"part": None, "stage": None}, "reaches and tracks_test, and no other test, need part"),
        (TRACKS | {"part": "train"}, "tracks_test needs part: validation"),
        (TRACKS | {"margin": -0.01}, "a margin of 0 or more"),
        (TRACKS | {"level": 0.5}, "needs level"),
        (TRACKS | {"worse": ["b"]}, "tracks_test speaks of better alone"),
    ],
)
def test_a_claim_that_says_too_little_is_refused(claim, says):
    with pytest.raises(ValidationError, match=says):
        evidence(claim, {("s", "a", 0): body()})
