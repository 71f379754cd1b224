"""Claims about trade-offs of two metrics, about curves, and about what is logged on the way, worked out by hand."""

import math

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats as scipy_stats
from support import synthetic_records
from support.made_up_claims import body, decided, evidence

from reweigh import scorecard
from reweigh.analysis import traces
from reweigh.config.loading import load
from reweigh.errors import ConfigError
from reweigh.provenance.explain import explain
from reweigh.scorecard.claim_tests import compared
from reweigh.scorecard.order_rates import decided as decided_by_simulation
from reweigh.scorecard.order_rates import simulate_trade_offs
from reweigh.scorecard.trade_off_tests import dominated

ONE = "predict one class"
TRADE = {
    "test": "dominates", "better": "a", "worse": ["b"], "metric": "balanced_error", "second_metric": "deo_error",
}  # fmt: skip


# --- dominated areas -------------------------------------------------------------------------------------------------


def test_the_area_is_what_lies_above_and_right_of_a_point():
    random = np.random.default_rng(0)
    spots = random.random((200_000, 2))
    for points in (random.random((1, 2)), random.random((6, 2)), np.array([[0.2, 0.5], [0.2, 0.3], [0.7, 0.3]])):
        share = (spots[:, None] >= points).all(2).any(1).mean()
        assert dominated(points) == pytest.approx(share, abs=0.005)


def test_a_dominated_point_adds_nothing():
    curve = np.array([[0.1, 0.6], [0.4, 0.2]])
    assert dominated(curve) == pytest.approx(0.3 * 0.4 + 0.6 * 0.8)
    assert dominated(np.vstack([curve, [[0.5, 0.5]]])) == pytest.approx(dominated(curve))
    assert dominated(np.vstack([curve, [[0.0, 0.9]]])) > dominated(curve) + 0.005
    assert dominated(np.array([[1.0, 0.0]])) == 0.0


# --- trade-offs ------------------------------------------------------------------------------------------------------

LAMBDAS = {"l0": (0.1, 0.3), "l1": (0.2, 0.1), "l2": (0.3, 0.05)}
CELL = [[90, 10], [10, 90]]


def curves(gain=0.0, seeds=3, lost=None, missing=(), claim=None, sign=1):
    """`a` is better than `b` by `gain` in both errors, with a little noise of each seed."""
    keys = [
        (setting, method, seed)
        for setting in LAMBDAS for method in "ab" for seed in range(seeds) if (setting, method, seed) not in missing
    ]  # fmt: skip
    noise = np.random.default_rng(7).normal(0, 0.002, (2, seeds, 2))
    values = {
        key: np.array(LAMBDAS[key[0]]) - (gain if key[1] == "a" else 0) + noise["ab".index(key[1])][key[2]]
        for key in keys
    }
    counts = {"confusion": CELL, "test_size": 200, "group_confusion": None}
    return evidence(
        TRADE | (claim or {}),
        {key: body(metrics=counts) for key in keys},
        lost={key: (lost or {}).get(key, (lost or {}).get(key[1], "")) for key in keys},
        balanced_error={key: sign * value[0] for key, value in values.items()},
        deo_error={key: value[1] for key, value in values.items()},
    )


def test_lower_errors_dominate():
    verdict, (place,) = decided(curves(0.02, seeds=5))
    assert (verdict, place.n, place.label) == ("holds", 5, "against b") and 0 < place.effect < 1
    verdict, (place,) = decided(curves(-0.02, seeds=5))
    assert verdict == "fails" and place.effect < 0
    assert decided(curves(0.0, seeds=5))[0] == "inconclusive"


def test_the_test_is_the_jackknife_of_the_areas_of_mean_curves():
    part = curves(0.01, seeds=4)
    runs = part.runs
    points = {
        (row.method, row.seed, row.setting): (row.balanced_error, row.deo_error) for row in runs.itertuples(index=False)
    }

    def mean(method, setting, seeds):
        return tuple(np.mean([points[method, seed, setting] for seed in seeds], axis=0))

    every = np.array([mean(method, one, range(4)) for method in "ab" for one in LAMBDAS])
    span = every.max(0) - every.min(0)
    least, most = every.min(0) - span / 10, every.max(0) + span / 10

    def gain(seeds):
        areas = []
        for method in "ab":
            x, y = np.array(sorted(mean(method, one, seeds) for one in LAMBDAS)).T
            x, y = (x - least[0]) / (most[0] - least[0]), (y - least[1]) / (most[1] - least[1])
            ends, best = [*x[1:], 1.0], np.minimum.accumulate(y)
            areas.append(sum((end - left) * (1 - low) for left, end, low in zip(x, ends, best, strict=True)))
        return areas[0] - areas[1]

    gains = [4 * gain(range(4)) - 3 * gain([one for one in range(4) if one != seed]) for seed in range(4)]
    step = math.sqrt(2) * math.hypot(math.hypot(0.01, 0.01) / 2 / (most - least)[0], 1 / 200 / (most - least)[1])
    error = max(np.std(gains, ddof=1), step / math.sqrt(12)) / 2
    (place,) = decided(part)[1]
    assert place.effect == pytest.approx(np.mean(gains))
    assert place.p_for == pytest.approx(scipy_stats.t.sf(np.mean(gains) / error, 3))


def test_of_a_higher_metric_more_is_better():
    claim = {"metric": "test_accuracy", "second_metric": "deo_error"}
    part = curves(0.02, seeds=5, claim=claim)
    part.runs["test_accuracy"] = 1 - part.runs["balanced_error"]
    assert decided(part)[0] == "holds"
    part.runs["test_accuracy"] = part.runs["balanced_error"]
    assert decided(part)[1][0].effect < decided(curves(0.02, seeds=5))[1][0].effect


def test_lost_runs_are_no_points_and_a_side_of_them_decides_nothing():
    whole = decided(curves(0.02, seeds=5))[1][0]
    lost = {("l2", "b", seed): ONE for seed in range(5)}  # constants, which have no gap
    part = decided(curves(0.02, seeds=5, lost=lost))[1][0]
    assert part.n == 5 and part.effect != whole.effect
    verdict, (place,) = decided(curves(0.02, seeds=5, lost={"b": ONE}))
    assert verdict == "degenerate" and "of b predict one class" in place.degenerate


def test_a_seed_counts_if_each_setting_has_it():
    assert decided(curves(0.02, seeds=5, missing=[("l1", "b", 0)]))[1][0].n == 4
    assert decided(curves(0.02, seeds=5, lost={(one, "a", 0): ONE for one in LAMBDAS}))[1][0].n == 4


def test_areas_are_shares():
    (place,) = compared(curves(0.5, seeds=3))
    assert -1 <= place.low <= place.effect <= place.high <= 1


def test_a_side_that_only_scatters_more_does_not_dominate():
    """Equal curves of eleven points, one with five times the sd: areas of single seeds called it larger in half."""
    rates = decided_by_simulation(simulate_trade_offs(10, 11, 0.0, (0.05, 0.01), draws=300))
    assert rates < 0.1


# --- total variation -------------------------------------------------------------------------------------------------

VARIES = {"test": "varies_less", "better": "a", "worse": ["b"], "trace": "delta"}
STAGES = [
    {"name": "search", "epochs": 3, "steps_per_epoch": 4},
    {"name": "retrain", "epochs": 2, "steps_per_epoch": 5},
]


def wandering(monkeypatch, arrays, lost="", **claim):
    """`arrays`: of each method, those of its seeds, by name; None logged nothing."""
    keys = [("s", method, seed) for method in arrays for seed in range(len(arrays[method]))]
    bodies = {key: body(run="/".join(map(str, key)), stages=STAGES) for key in keys}

    def logged(of, *names, root):
        _, method, seed = of["run"].split("/")
        known = arrays[method][int(seed)]
        return None if known is None or not set(names) <= set(known) else [known[name] for name in names]

    monkeypatch.setattr(traces, "logged", logged)
    return decided(evidence(VARIES | claim, bodies, lost={key: lost if key[1] == "b" else "" for key in keys}))


def test_the_steadier_value_varies_less(monkeypatch):
    still = [{"delta": np.linspace([0.0, 0.0], [1.0, 2.0], 5)}] * 3  # 1.5 on average, whatever the path
    wild = [{"delta": np.array([[0.0], [1.0 + seed], [0.0], [1.0]])} for seed in range(3)]  # 3, 5, 7
    verdict, (place,) = wandering(monkeypatch, {"a": still, "b": wild})
    logs = np.log(1.5 / np.array([3.0, 5.0, 7.0]))
    assert place.effect == pytest.approx(np.exp(logs.mean())) and verdict == "holds"
    assert place.p_for == pytest.approx(scipy_stats.ttest_1samp(logs, 0, alternative="less").pvalue)
    assert wandering(monkeypatch, {"a": wild, "b": still})[0] == "fails"
    assert wandering(monkeypatch, {"a": still, "b": wild}, margin=0.1)[0] == "fails"
    assert wandering(monkeypatch, {"a": still, "b": wild}, lost=ONE)[0] == "degenerate"


def test_an_epoch_counts_by_its_last_row(monkeypatch):
    rows = {"delta": np.array([0.0, 9.0, 1.0, 9.0, 2.0, 5.0]), "outer_step": np.array([0, 1, 3, 4, 7, 10])}
    monkeypatch.setattr(traces, "logged", lambda of, *names, root: [rows[name] for name in names])
    assert traces.by_epoch(body(stages=STAGES), "delta").tolist() == [1.0, 2.0, 5.0]
    rows["outer_step"] = np.array([0, 1, 8, 9, 12, 17])  # nothing in the second epoch; two in the retraining
    assert traces.by_epoch(body(stages=STAGES), "delta").tolist() == [9.0, 9.0, 2.0, 5.0]


def test_what_did_not_move_or_was_not_logged_has_no_ratio(monkeypatch):
    moved = [{"delta": np.arange(4.0)}] * 3
    _, (place,) = wandering(monkeypatch, {"a": moved, "b": [None, {"delta": np.zeros(4)}, {"delta": np.arange(3.0)}]})
    assert (place.n, place.effect, place.p_for) == (1, pytest.approx(1.5), None)


# --- in the config ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        (TRADE | {"second_metric": None}, "dominates, and no other test, needs second_metric"),
        (TRADE | {"test": "greater"}, "dominates, and no other test, needs second_metric"),
        (VARIES | {"trace": None}, "needs trace"),
        (VARIES | {"test": "greater"}, "needs trace"),
        (TRADE | {"stage": "search"}, "and may have stage"),
    ],
)
def test_a_claim_that_says_too_little_is_refused(claim, says):
    with pytest.raises(ValidationError, match=says):
        evidence(claim, {("s", "a", 0): body()})


CLAIMS = """
claims:
  - { id: made-up-order, text: A., source: ours, test: ordered, order: methods, experiment: mnist-4v9, better: tdr,
      worse: [tdr_p, er], rule: "r", settings: [rho0.1, rho0.02] }
  - { id: made-up-growth, text: B., source: ours, test: ordered, order: settings, experiment: mnist-4v9, better: tdr,
      metric: balanced_error, rule: "r", settings: [rho0.02, rho0.05, rho0.1] }
  - { id: made-up-curve, text: C., source: ours, test: dominates, experiment: mnist-4v9, better: tdr, worse: [er],
      metric: balanced_error, second_metric: minority_recall, rule: "r" }
  - { id: made-up-steadiness, text: D., source: ours, test: varies_less, experiment: mnist-4v9, better: tdr,
      worse: [tdr_p], trace: class_weights, metric: class_weights, rule: "r", settings: [rho0.1] }
  - { id: made-up-level, text: E., source: ours, test: reaches, experiment: mnist-4v9, better: tdr, part: test,
      metric: test_accuracy, level: 0.5, margin: 0.01, rule: "r", settings: [rho0.1] }
  - { id: made-up-frequency, text: F., source: ours, test: follows_frequency, experiment: mnist-4v9, better: tdr,
      trace: class_weights, metric: class_weights, margin: 0.5, rule: "r", settings: [rho0.1] }
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    (root / "config/papers/tdr/claims/made-up.yaml").write_text(CLAIMS)
    synthetic_records.fill(root, "paper", "tdr", "fig5", seeds=3)
    scorecard.write("paper", root, ["tdr"])
    return root


@pytest.mark.parametrize("name", ["order", "growth", "curve", "steadiness", "level", "frequency"])
def test_a_claim_of_the_config_goes_through_every_page(project, name):
    (row,) = (one for one in scorecard.score(load(project), "paper", ["tdr"]).to_dict("records")
              if one["id"] == f"made-up-{name}")  # fmt: skip
    assert row["status"] == "run" and row["n"] == 3 and row["verdict"] in ("holds", "fails", "inconclusive")
    (cell,) = explain("results/paper/scorecard.csv", row=row["id"], root=project)["cells"]
    assert (cell["fault"], cell["check"][-8:]) == ("", "the same")
    assert f"made-up-{name}" in (project / "results/paper/scorecard.html").read_text()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("second_metric: minority_recall", "second_metric: minority_recal", "unknown metric 'minority_recal'"),
        ("metric: test_accuracy, level", "metric: seconds, level", "unknown metric of a curve 'seconds'"),
        ("settings: [rho0.02, rho0.05, rho0.1]", "settings: [rho0.02, rho0.05]", "test ordered needs 3 settings"),
        ("test: reaches, experiment: mnist-4v9, better: tdr, part: test,\n      metric: test_accuracy",
         "test: reaches_in_fewer_epochs, experiment: mnist-4v9, better: tdr, worse: [none],\n      metric: "
         "balanced_error", "unknown metric of every curve 'balanced_error'"),
        ("part: test,", "part: train,", "mnist-4v9/rho0.1/tdr has no curve of test_accuracy on train; mend its"),
        ("metric: test_accuracy, level", "metric: balanced_error, level", "no curve of balanced_error on test"),
        ("test: reaches, experiment: mnist-4v9, better: tdr, part: test,\n      metric: test_accuracy, level: 0.5,",
         "test: tracks_test, experiment: mnist-4v9, better: tdr, part: validation,\n      metric: test_accuracy,",
         "mnist-4v9/rho0.1/tdr has no curve of test_accuracy on train"),
    ],
)  # fmt: skip
def test_a_claim_about_what_is_not_there_is_refused(tmp_path, old, new, says):
    root = synthetic_records.project(tmp_path / "project")
    assert old in CLAIMS
    (root / "config/papers/tdr/claims/made-up.yaml").write_text(CLAIMS.replace(old, new))
    with pytest.raises(ConfigError) as refused:
        load(root)
    assert says in str(refused.value) and "made-up.yaml:" in str(refused.value) and "\n" not in str(refused.value)
