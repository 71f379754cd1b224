"""Gains over plain training on a user's own data: the sentence, by an independent computation; what decides nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from scipy.stats import ttest_rel
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score
from support import compared_data
from support.compared_data import body, confusion

from reweigh import class_rates
from reweigh.analysis import against_plain
from reweigh.analysis.tables import material_of
from reweigh.config.loading import load
from reweigh.planning import compare

SIZES = [800, 300, 100]


@pytest.fixture
def found(tmp_path, monkeypatch):
    """The lines of a comparison of plain training, two others and as many seeds, by the recalls of each run."""
    compared_data.project(tmp_path / "project", monkeypatch)
    compared_data.card(tmp_path / "project")

    def of(recalls, seeds, status=None, seconds=None):
        compare.ask("claims", ",".join(recalls), seeds, 1)
        config = load()
        records = {}
        for run in config.runs("local", "claims"):
            method, seed = run.split("/")[4], int(run.rpartition("seed")[2])
            if recalls[method][seed] is not None:
                told = recalls[method][seed]
                counts = told if np.ndim(told) == 2 else confusion(told, SIZES)
                ended = (status or {}).get((method, seed), "finished")
                records[run] = body(config, run, counts, (seconds or {}).get(method, 10.0), ended)
        return against_plain.lines(material_of(config, "local", "claims", "compare", records))

    return of


def drawn(generator, mean, seeds):
    return [np.clip(mean + generator.normal(0, 0.02, 3), 0, 1) for _ in range(seeds)]


def by_hand(recalls, other):
    """Mean difference and two-sided p of a paired t test, from recalls alone."""
    means = [np.mean([np.round(r * SIZES) / SIZES for r in recalls[name]], axis=1) for name in (other, "none")]
    return float(np.mean(means[0] - means[1])), float(ttest_rel(*means).pvalue)


def holm_by_hand(p_values):
    order = sorted(p_values, key=p_values.get)
    found, worst = {}, 0.0
    for rank, name in enumerate(order):
        worst = max(worst, min(1.0, p_values[name] * (len(order) - rank)))
        found[name] = worst
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_sentence_says_what_paired_tests_say(found, seed):
    generator = np.random.default_rng(seed)
    lift = {"none": 0.0, "hard": 0.05 * (seed % 3), "la": 0.03 * (seed % 2) - 0.02 * (seed == 4)}
    recalls = {name: drawn(generator, 0.6 + more, 5) for name, more in lift.items()}
    lines = {line.method: line for line in found(recalls, 5)}
    hand = {name: by_hand(recalls, name) for name in ("hard", "la")}
    corrected = holm_by_hand({name: p for name, (_, p) in hand.items()})
    for name in ("hard", "la"):
        assert lines[name].gain.effect == pytest.approx(hand[name][0], abs=1e-9)
        assert lines[name].p == pytest.approx(hand[name][1], rel=1e-6)
        assert lines[name].p_holm == pytest.approx(corrected[name], rel=1e-6)
    sure = {name: hand[name][0] for name in corrected if corrected[name] < 0.05}
    better = [name for name in sure if sure[name] > 0]
    said = against_plain.sentence(list(lines.values()))
    if better:
        best = max(better, key=sure.get)
        title = {"hard": "Balanced weights", "la": "Logit adjustment"}[best]
        assert said.startswith(f"best: {title}, by {100 * hand[best][0]:.1f} points (")
    elif sure:
        assert said == "nothing is better than plain training (n = 5)"
    else:
        assert said == "nothing can be told apart from plain training (n = 5)"


def test_a_better_mean_that_is_not_certain_is_not_called_best(found):
    recalls = {"none": [[0.6] * 3, [0.7] * 3], "hard": [[0.7] * 3, [0.72] * 3]}
    assert against_plain.sentence(found(recalls, 2)) == "nothing can be told apart from plain training (n = 2)"


def test_equal_gains_are_known_to_the_step_of_a_difference(found):
    """By hand: both sides are rounded, so that the step of a gain is √2 times that of a mean of the three recalls."""
    lines = found({"none": [[0.6] * 3] * 3, "hard": [[0.61] * 3] * 3}, 3)
    of_a_mean = math.sqrt(sum((1 / size) ** 2 for size in SIZES)) / 3
    sd = math.sqrt(2) * of_a_mean / math.sqrt(12)
    assert lines[1].gain.effect == pytest.approx(0.01)
    assert lines[1].p == pytest.approx(2 * student.sf(0.01 / (sd / math.sqrt(3)), 2), rel=1e-6)


def test_one_seed_tells_nothing(found):
    lines = found({"none": [[0.6] * 3], "hard": [[0.9] * 3]}, 1)
    assert "n = 1; a test needs two seeds" in against_plain.sentence(lines)
    assert against_plain.sentence(found({"none": [None], "hard": [None]}, 1)) == (
        "nothing can be told apart from plain training (no run has ended yet)"
    )


def test_what_is_worse_is_a_remark(found):
    generator = np.random.default_rng(0)
    lines = found({"none": drawn(generator, 0.8, 5), "hard": drawn(generator, 0.6, 5)}, 5)
    assert against_plain.sentence(lines) == "nothing is better than plain training (n = 5)"
    assert against_plain.remarks(lines)[0].startswith("worse than plain training: Balanced weights, by −")


def test_what_the_best_one_loses_elsewhere_is_said(found):
    generator = np.random.default_rng(0)
    recalls = {
        "none": [np.array([0.95, 0.75, 0.55]) + generator.normal(0, 0.005, 3) for _ in range(5)],
        "hard": [np.array([0.4, 0.98, 0.98]) + generator.normal(0, 0.005, 3) for _ in range(5)],
    }
    lines = found(recalls, 5)
    plain, hard = (line.means["macro_f1"] for line in lines)
    assert against_plain.sentence(lines).startswith("best: Balanced weights, by ") and hard < plain
    loss, first = f"{100 * (plain - hard):.1f}", against_plain.remarks(lines)[0]
    assert first == (
        f"best in balanced accuracy, but below plain training in mean F1 of the classes (by {loss} points)"
    )


def test_a_method_whose_runs_diverged_is_not_best(found):
    generator = np.random.default_rng(0)
    recalls = {"none": drawn(generator, 0.5, 5), "hard": drawn(generator, 0.9, 5)}
    lines = found(recalls, 5, {("hard", 0): "diverged"})
    assert not lines[1].better and lines[1].n == 4 and lines[1].gain.n == 4
    assert (
        "1 of 5 runs of Balanced weights diverged; its gain decides nothing; its mean is that of the others"
        in " ".join(against_plain.remarks(lines))
    )
    everywhere = found(recalls, 5, {("hard", seed): "diverged" for seed in range(5)})
    assert everywhere[1].nothing and everywhere[1].p is None and everywhere[1].n == 0


def test_where_plain_training_collapsed_nothing_can_be_told(found):
    generator, collapsed = np.random.default_rng(0), [[size, 0, 0] for size in SIZES]
    lines = found({"none": [collapsed] * 5, "hard": drawn(generator, 0.7, 5)}, 5)
    assert against_plain.sentence(lines) == "nothing can be told: 5 of 5 runs of Plain training predict one class"
    assert lines[1].p is None and not lines[1].better
    one = found({"none": drawn(generator, 0.5, 5), "hard": [*drawn(generator, 0.9, 4), collapsed]}, 5)
    told = "1 of 5 runs of Balanced weights predict one class"
    assert f"{told}; its gain decides nothing" in against_plain.remarks(one)
    assert one[1].p is None and against_plain.sentence(one) == f"nothing can be told: {told}"
    two = found({"none": [*drawn(generator, 0.5, 4), collapsed], "hard": drawn(generator, 0.9, 5)}, 5)
    assert two[1].p is None
    assert against_plain.sentence(two) == "nothing can be told: 1 of 5 runs of Plain training predict one class"


def test_what_is_better_too_is_named_as_not_tested_against_the_best(found):
    generator = np.random.default_rng(0)
    recalls = {name: drawn(generator, rate, 5) for name, rate in (("none", 0.5), ("hard", 0.7), ("la", 0.9))}
    lines = found(recalls, 5)
    assert against_plain.sentence(lines).startswith("best: ") and all(line.better for line in lines[1:])
    first = against_plain.remarks(lines)
    assert any(text.startswith("better than plain training too, and not tested against the best: ") for text in first)


def test_missing_runs_are_named(found):
    lines = found({"none": [[0.5] * 3] * 2 + [None], "hard": [[0.6] * 3, None, None]}, 3)
    assert (
        against_plain.remarks(lines)[-1]
        == "runs that are not trained yet: Plain training 1 of 3, Balanced weights 2 of 3"
    )


def test_costs_are_ratios_of_pairs(found):
    lines = found({"none": [[0.5] * 3] * 2, "hard": [[0.6] * 3] * 2}, 2, seconds={"none": 4.0, "hard": 10.0})
    assert (lines[0].seconds, lines[1].seconds, lines[1].times) == (4.0, 10.0, 2.5)


tables = st.integers(2, 5).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(0, 30), min_size=size, max_size=size).filter(any), min_size=size, max_size=size
    )
)


@settings(max_examples=60)
@given(tables)
def test_metrics_are_those_of_scikit_learn(counts):
    labels, predictions = (
        [k for i, row in enumerate(counts) for j, count in enumerate(row) for k in [(i, j)[side]] * count]
        for side in (0, 1)
    )
    recalls = [row[label] / sum(row) for label, row in enumerate(counts)]
    metrics = {"confusion": counts, "test_size": sum(map(sum, counts)), "per_class_accuracy": recalls}
    sizes = {"sizes": {"train": list(range(len(counts), 0, -1))}}
    record = {"metrics": metrics, "split": sizes}
    named = sorted({*labels, *predictions})
    assert class_rates.macro_f1(record) == pytest.approx(
        f1_score(labels, predictions, labels=named, average="macro", zero_division=0)
    )
    rarest = len(counts) - 1
    assert class_rates.rarest_recall(record) == pytest.approx(
        recall_score(labels, predictions, labels=[rarest], average=None)[0]
    )
    assert np.mean(recalls) == pytest.approx(balanced_accuracy_score(labels, predictions))


def test_metrics_that_are_not_defined():
    whole = {"confusion": [[3, 1], [0, 2]], "test_size": 7, "per_class_accuracy": [0.75, None]}
    assert class_rates.macro_f1({"metrics": whole}) is None  # an example has no prediction
    assert class_rates.macro_f1({"metrics": {"confusion": None}}) is None
    assert class_rates.rarest_recall({"metrics": whole, "split": {"sizes": {"train": [5, 5]}}}) is None
    assert class_rates.rarest_recall({"metrics": whole, "split": {"sizes": {"train": [9, 5]}}}) is None
    three = {"per_class_accuracy": [0.9, 0.2, 0.4]}
    assert class_rates.rarest_recall({"metrics": three, "split": {"sizes": {"train": [9, 5, 5]}}}) == pytest.approx(0.3)
