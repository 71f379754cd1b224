"""The grid of losses in whole runs on a long tail of ten classes: scores by numpy, the choice, and what comes of it."""

import copy

import numpy as np
import pytest
import torch
from support import two_stages
from support.cells import losses_and_slopes
from support.mnist_runs import outcome

from reweigh.config.cards import check_options
from reweigh.config.methods.loss_grid import EXAMPLE
from reweigh.config.methods.sgd import PLAIN as SGD
from reweigh.data import load
from reweigh.errors import ConfigError
from reweigh.methods import base, loss_grid, sgd

GRID = [{"tau": tau, "gamma": gamma} for tau, gamma in ((0.0, 0.0), (1.0, 0.0), (1.2, 0.2))]
TAUS = [{"tau": tau, "gamma": 0.0} for tau in (0.0, 0.5, 1.0, 1.5)]
GOALS = [({"ce_bal": 1.0}, "losses"), ({"ce": 0.2, "ce_bal": 0.8}, "errors")]


@pytest.fixture(scope="module")
def raw(raw_root):
    return load.read("cifar10-slice", root=raw_root)


def run_of(raw, options, uses="loss_grid"):
    spec = two_stages.spec_of("none")
    spec.update(uses=uses, method_options=copy.deepcopy(options))
    return two_stages.run_of(spec, raw)


def finished(raw, options):
    """A run at its end, and the logits of its validation examples after each stage, float64 (N, 10)."""
    run, seen = run_of(raw, options), []
    run.stage_over = lambda run: seen.append(logits_of(run, run.parts.validation))
    run.finish()
    return run, seen


def logits_of(run, part):
    """By the model alone, in inference mode, which it leaves as it was."""
    run.model.eval()
    with torch.no_grad():
        logits = torch.cat([run.model(batch.inputs) for batch in part.in_order(64)])
    run._set_mode()
    return logits.double().numpy()


def score(objective, by, logits, labels):
    """A blend of CE and CE_bal, or of the errors, by numpy; classes that have no example have no say."""
    values = (logits.argmax(1) != labels).astype(float) if by == "errors" else losses_and_slopes(logits, labels)[0]
    by_class = [values[labels == label].mean() for label in np.unique(labels)]
    return objective.get("ce", 0) * values.mean() + objective.get("ce_bal", 0) * np.mean(by_class)


def log_shares(part):
    return np.log(np.bincount(part.labels.numpy(), minlength=10) / len(part))


class Retrained(sgd.Method):
    """Plain training on both parts, after as many stages as the grid has candidates, none of which trains."""

    def stages(self, epochs):
        return [
            *[base.Stage(f"empty-{place}", 0) for place in range(len(GRID))],
            base.Stage("retrain", epochs, part="train+validation", fresh=True),
        ]


@pytest.mark.parametrize(("objective", "by"), GOALS, ids=["losses", "errors"])
def test_the_first_of_the_best_candidates_is_trained_again_on_both(raw, objective, by, monkeypatch):
    run, seen = finished(raw, {"grid": GRID, "post_hoc": False, "objective": objective, "by": by})
    labels = run.parts.validation.labels.numpy()
    expected = [score(objective, by, logits, labels) for logits in seen[:-1]]
    trace = run.trace()
    np.testing.assert_allclose(trace["scores"], [expected], rtol=1e-6)
    best = GRID[int(np.argmin(expected))]
    assert [float(trace[name].item()) for name in ("tau", "gamma")] == pytest.approx([best["tau"], best["gamma"]])
    assert [course.stage.name for course in run.courses] == ["candidate-0", "candidate-1", "candidate-2", "retrain"]
    monkeypatch.setattr(sgd, "Method", Retrained)
    twin = run_of(raw, {**SGD, "loss": {"name": "parametric", **best}}, "sgd")
    twin.finish()
    assert all(torch.equal(value, run.model.state_dict()[name]) for name, value in twin.model.state_dict().items())
    assert twin.results()["metrics"]["confusion"] == run.results()["metrics"]["confusion"]


def test_each_candidate_is_trained_on_the_training_set_with_its_loss(raw):
    """The first as plain training alone; and no two end alike."""
    run, seen = finished(raw, {**EXAMPLE, "grid": GRID[::-1]})
    plain = run_of(raw, {**SGD, "loss": {"name": "parametric", **GRID[-1]}}, "sgd")
    plain.finish()
    np.testing.assert_array_equal(seen[0], logits_of(plain, plain.parts.validation))
    assert len({logits.tobytes() for logits in seen}) == 4
    assert {course.stage.part for course in run.courses[:-1]} == {"train"}


@pytest.mark.parametrize("post_hoc", [True, "keep"])
@pytest.mark.parametrize(("objective", "by"), GOALS, ids=["losses", "errors"])
def test_after_training_tau_is_chosen_on_one_model(raw, objective, by, post_hoc):
    run, (fit, *_) = finished(raw, {"grid": TAUS, "post_hoc": post_hoc, "objective": objective, "by": by})
    labels, prior = run.parts.validation.labels.numpy(), log_shares(run.parts.train)
    expected = [score(objective, by, fit - candidate["tau"] * prior, labels) for candidate in TAUS]
    trace, best = run.trace(), TAUS[int(np.argmin(expected))]["tau"]
    np.testing.assert_allclose(trace["scores"], [expected], rtol=1e-6)
    assert trace["tau"].tolist() == [best] and best > 0
    plain = run_of(raw, {"scale": "mean"}, "none")
    plain.finish()
    np.testing.assert_array_equal(fit, logits_of(plain, plain.parts.validation))
    assert run.method.loss.tau == (0.0 if post_hoc == "keep" else best)
    logits, wanted = logits_of(run, run.parts.test), run.parts.test.labels.numpy()
    if post_hoc == "keep":
        logits = logits - best * log_shares(run.parts.train_and_validation)
    assert run.results()["metrics"]["test_accuracy"] == (logits.argmax(1) == wanted).mean()


def test_runs_that_begin_with_plain_training_share_it(raw):
    """Choices differ after it; those that begin otherwise have none to share."""
    prefixes = [run_of(raw, {**EXAMPLE, "grid": grid, "post_hoc": after}).method.prefix() for grid, after in (
        (GRID, False), (TAUS, False), (TAUS[1:], True), (TAUS, "keep"), (GRID[1:], False),
    )]  # fmt: skip
    assert prefixes == [base.Prefix(1, "none", {"scale": "mean"})] * 4 + [None]


def test_a_run_that_goes_on_in_its_last_stage_has_the_loss_that_was_chosen(raw):
    options = {**EXAMPLE, "grid": TAUS, "post_hoc": "keep"}
    run, _ = finished(raw, options)
    begun = run_of(raw, options)
    while begun.stage < 1 or begun.stage_step < 1:
        begun.advance()
    ended = run_of(raw, options)
    ended.load_state(two_stages.reloaded(begun.state()))
    ended.finish()
    assert outcome(ended) == outcome(run)


def test_a_score_that_is_no_number_is_never_the_best(raw):
    run = run_of(raw, {**EXAMPLE, "grid": GRID})
    method, nothing = run.method, torch.full((50, 10), torch.nan, dtype=torch.float64)
    assert float(method.score(nothing)) == float("inf")
    method.scores.copy_(torch.tensor([torch.inf, 0.5, 0.5]))
    assert method.best == GRID[1]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"grid": []}, "grid"),
        ({"grid": [*GRID, GRID[0]]}, "names a candidate twice"),
        ({"grid": GRID, "post_hoc": True}, "with post_hoc gamma is 0"),
        ({"post_hoc": "leave"}, "post_hoc"),
        ({"objective": {"group_la": 1.0}}, "group_la is a loss to train with"),
    ],
)
def test_options_that_cannot_be_are_refused(changed, says):
    with pytest.raises(ConfigError, match=says):
        check_options("loss_grid", {**EXAMPLE, **changed}, "here")


def test_it_needs_validation_examples_and_groups_where_they_are_compared(raw):
    run = run_of(raw, EXAMPLE)
    with pytest.raises(ConfigError, match="ce_deo needs groups"):
        loss_grid.Method({**EXAMPLE, "objective": {"ce_deo": 1.0}}, run.method.context)
    spec = two_stages.spec_of("none")
    spec.update(uses="loss_grid", method_options=EXAMPLE)
    spec["data"]["split"]["validation_size"] = 0
    with pytest.raises(ConfigError, match="set validation_size or validation_share"):
        two_stages.run_of(spec, raw)
