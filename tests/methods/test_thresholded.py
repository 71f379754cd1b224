"""The class threshold in whole runs: chosen by the fit on the validation set, by brute force, and predicted with."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import cells, every_method

from reweigh.config.cards import check_options
from reweigh.config.methods.blend import ALL
from reweigh.config.methods.thresholded import BY_ERRORS, BY_LOSSES
from reweigh.errors import ConfigError
from reweigh.methods import base, blend
from reweigh.thresholds import TIE

DEO = {"ce": 0.1, "ce_deo": 0.9}
WANTED = {"objective": DEO, "by": "errors", "temperatures": [1.0]}


def seen(run, part):
    """Logits of a part (N, 2) by the model alone, float64, and the cells of its examples."""
    run.model.eval()
    with torch.no_grad():
        logits = torch.cat([run.model(batch.inputs) for batch in part.in_order(64)])
    return logits.double().numpy(), part.groups.numpy()


def unfair(logits, groups, offset, temperature=1.0):
    """0.1 E + 0.9 E_deo with an offset, and 0.1 CE + 0.9 CE_deo."""
    adjusted = logits / temperature + [0.0, offset]
    values = (adjusted.argmax(1) != groups // 2).astype(float), cells.losses_and_slopes(adjusted, groups // 2)[0]
    found = []
    for value in values:
        means = [value[groups == cell].mean() for cell in range(4)]
        found.append(0.1 * value.mean() + 0.9 * (abs(means[0] - means[1]) + abs(means[2] - means[3])))
    return found


@pytest.fixture
def run_of(mnist, monkeypatch):
    monkeypatch.setattr("reweigh.checking.runs.draw", cells.drawn_in_cells)
    return lambda threshold: every_method.run_of("blend", {**ALL, "threshold": threshold}, mnist)


def test_by_errors_it_is_the_best_of_all_on_the_validation_set(run_of):
    run = run_of(WANTED)
    state = every_method.state_after(run, 1)
    run.finish()
    fit = run_of(WANTED)
    fit.model.load_state_dict(state["model"])
    logits, groups = seen(fit, fit.parts.validation)
    assert len(logits) == 20
    flips = np.unique(logits[:, 0] - logits[:, 1])
    tried = np.array([0.0, flips[0] - 1, flips[-1] + 1, *(flips[:-1] + flips[1:]) / 2])
    reached = np.array([unfair(logits, groups, offset)[0] for offset in tried])
    best = tried[reached <= reached.min() + TIE]
    trace = run.trace()
    np.testing.assert_allclose(trace["threshold_offset"], [best[np.abs(best).argmin()]], rtol=1e-6)
    np.testing.assert_allclose(trace["threshold_reached"], [reached.min()], rtol=1e-6)
    assert trace["threshold_temperature"].tolist() == [1.0]


def test_by_losses_it_is_as_good_as_any_on_a_fine_grid(run_of):
    threshold = {**BY_LOSSES, "objective": DEO, "temperatures": [1.0, 0.5, 4.0]}
    run = run_of(threshold)
    state = every_method.state_after(run, 1)
    run.finish()
    fit = run_of(threshold)
    fit.model.load_state_dict(state["model"])
    logits, groups = seen(fit, fit.parts.validation)
    trace = {name: float(value[0]) for name, value in run.trace().items()}
    reached = trace["threshold_reached"]
    assert unfair(logits, groups, trace["threshold_offset"], trace["threshold_temperature"])[1] == pytest.approx(
        reached
    )
    tried = [
        unfair(logits, groups, offset, temperature)[1]
        for temperature in (1, 0.5, 4)
        for offset in np.arange(-9, 9, 0.01)
    ]
    assert reached <= min(tried) + 1e-9 < unfair(logits, groups, 0.0)[1]


def test_predictions_of_the_last_stage_have_it_and_those_of_the_fit_have_not(run_of):
    run = run_of({**WANTED, "objective": {"ce_bal": 1.0}})
    every_method.state_after(run, 1)
    run.finish()
    run.method.chosen["offset"].fill_(100.0)
    assert run._measured(run.evaluation.row)["minority_recall"] == 0  # all are of the second class
    logits, groups = seen(run, run.parts.test)
    run.method.chosen["offset"].fill_(0.25)
    expected = (np.add(logits, [0.0, 0.25]).argmax(1) == groups // 2).mean()
    assert run._measured(run.evaluation.row)["test_accuracy"] == expected
    plain = run_of(None)
    plain.finish()
    assert [course.stage.name for course in plain.courses] == ["train"]
    (fit, last), (only,) = run.courses, plain.courses
    assert (fit.stage.name, fit.stage.part, last.stage) == ("fit", "train", replace(only.stage, fresh=True))
    assert plain.method.predict(plain.model, torch.zeros(1, 1, 28, 28)).dtype == torch.float32


def test_the_fit_is_plain_training_on_the_training_set(run_of, mnist):
    state = every_method.state_after(run_of(WANTED), 1)
    plain = every_method.run_of("none", {"scale": "mean"}, mnist)
    plain.finish()
    assert all(torch.equal(value, state["model"][name]) for name, value in plain.model.state_dict().items())
    assert state["curves"]["test_accuracy"] == plain.curves["test_accuracy"]  # it has no threshold yet


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"classes": 3}, "of two classes, and this set has 3"),
        ({"validation": None}, "set validation_size or validation_share"),
    ],
)
def test_a_set_that_has_no_threshold_is_refused(changed, says):
    context = replace(cells.context(validation=cells.part([0, 1, 2, 3], 3)), **changed)
    with pytest.raises(ConfigError, match=says):
        blend.Method({**ALL, "threshold": WANTED}, context)


def test_a_difference_of_groups_is_refused_where_groups_are_the_classes():
    held_out = cells.part([0, 1, 2, 3], 3)
    held_out.groups = held_out.labels
    with pytest.raises(ConfigError, match="ce_deo needs groups"):
        blend.Method(
            {**ALL, "threshold": WANTED},
            replace(cells.context(validation=held_out), group_counts=torch.tensor([35.0, 15.0])),
        )


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"temperatures": [1.0, 2.0]}, "temperatures change no error"),
        ({"objective": {"group_la": 1.0}}, "group_la is a loss to train with"),
        ({"by": "accuracy"}, "by"),
        ({"temperatures": []}, "temperatures"),
    ],
)
def test_thresholds_that_cannot_be_are_refused(changed, says):
    with pytest.raises(ConfigError, match=says):
        check_options("blend", {**ALL, "threshold": {**BY_ERRORS, **changed}}, "here")
    with pytest.raises(ConfigError, match=r"part is train\+validation"):
        check_options("blend", {**ALL, "part": "train", "threshold": BY_ERRORS}, "here")


def test_a_run_whose_fit_has_no_finite_logits_predicts_nothing():
    """NaN, for the engine to see, which ends such a run as one that diverged."""
    method = blend.Method({**ALL, "threshold": WANTED}, cells.context(validation=cells.part([0, 1, 2, 3], 3)))
    model = cells.linear().float()
    model.weight.data.fill_(torch.inf)
    method.end(base.Stage("fit", 1), model)
    assert not method.predict(cells.linear().float(), torch.ones(2, cells.FEATURES)).isfinite().all(1).any()
