"""The scikit-learn classifier: its contract, that each method does what it is for, its errors, and no scikit-learn."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks
from support.project import environment

from reweigh.errors import TrainingError
from reweigh.sklearn import OPTIONS, ReweighClassifier
from reweigh.torch import ABSGDWeights, ArgumentError


# Of scikit-learn's checks one is skipped, check_array_api_input: it wants SCIPY_ARRAY_API, and inputs are made NumPy's.
@parametrize_with_checks([ReweighClassifier(method, random_state=0) for method in OPTIONS])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def table(size=600, rare=0.05, seed=0):
    """Two classes of overlapping normals; the second is rare."""
    generator = np.random.default_rng(seed)
    y = (generator.random(size) < rare).astype(int)
    return generator.normal(size=(size, 3)) + 1.2 * y[:, None], y


def recall(model, X, y, label=1):
    return (model.predict(X)[y == label] == label).mean()


@pytest.mark.parametrize("method", ["class-balanced", "ldam", "la", "tdr"])
def test_what_is_for_rare_classes_finds_more_of_them(method):
    X, y = table()
    plain = ReweighClassifier("none", random_state=0).fit(X, y)
    model = ReweighClassifier(method, random_state=0).fit(X, y)
    assert recall(model, X, y) > recall(plain, X, y) + 0.1


def test_absgd_attends_to_the_losses_that_lambda_says():
    """The examples that are most surely of the first class have wrong labels: λ < 0 looks away from them."""
    X, y = table(rare=0.5)
    wrong = (y == 0) & (X.sum(1) < -1.5)
    found = [
        ReweighClassifier("absgd", options={"lam": lam}, random_state=0).fit(X, np.where(wrong, 1, y)).score(X, y)
        for lam in (-0.5, 0.5)
    ]
    assert found[0] > found[1] + 0.05


def test_it_is_the_loop_of_the_library():
    """The same bits as a loop by hand over the same batches."""
    X, y = table(100)
    model = ReweighClassifier("absgd", hidden=(5,), epochs=3, batch_size=30, standardise=False, random_state=0)
    seen, by_hand, weigh = [], copy.deepcopy(model), ABSGDWeights()

    def objective(net, batch):
        losses = F.cross_entropy(net(batch.inputs), batch.labels, reduction="none")
        seen.append(len(losses))
        return (weigh(losses.detach()) * losses).sum()

    run = by_hand._run
    by_hand._run = lambda train, _, seed: run(train, objective, seed)
    model.fit(X, y), by_hand.fit(X, y)
    assert seen == [30, 30, 30, 10] * 3
    for one, other in zip(model.model_.parameters(), by_hand.model_.parameters(), strict=True):
        assert torch.equal(one, other)


def test_tdr_learns_a_weight_for_each_group_and_holds_its_target_set_out():
    X, y = table()
    groups = np.where(np.arange(len(y)) % 3, "common", "rare")
    model = ReweighClassifier("tdr", random_state=0)
    by_group = clone(model).fit(X, y, groups).weights_
    assert by_group.shape == (2,) and by_group.sum() == pytest.approx(1)
    assert not np.array_equal(by_group, clone(model).fit(X, y).weights_)
    sizes = []
    model._run = lambda train, objective, seed: sizes.append((len(train), torch.bincount(train.groups).tolist()))
    model.fit(X, y, groups)
    assert sizes == [(480, [340, 140])]  # a fifth, half of it of each group


def test_equal_seeds_give_equal_models_and_others_do_not():
    X, y = table(200)
    found = [ReweighClassifier(random_state=seed, epochs=2).fit(X, y).predict_proba(X) for seed in (3, 3, 4)]
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


def test_it_lies_in_a_search():
    X, y = table(200)
    grid = {"method": ["none", "la"], "hidden": [(), (4,)]}
    search = GridSearchCV(ReweighClassifier(epochs=2, random_state=0), grid, cv=2, error_score="raise").fit(X, y)
    assert set(search.best_params_) == set(grid)


REFUSED = [
    ({"method": "lad"}, "method: none, class-balanced"),
    ({"method": "focal", "options": {"lam": 1.0}}, "focal has no 'lam'; it has: gamma"),
    ({"epochs": 0}, "epochs: a whole number"),
    ({"hidden": (0,)}, "hidden: a whole number"),
    ({"learning_rate": 0.0}, "learning_rate: a finite number above 0"),
    ({"momentum": 1.0}, r"momentum in \[0, 1\)"),
    ({"method": "tdr", "options": {"target_share": 1.0}}, "target_share: between 0 and 1"),
    ({"method": "absgd", "options": {"gamma": 2.0}}, "gamma: above 0 and at most 1"),
]


@pytest.mark.parametrize(("said", "text"), REFUSED)
def test_a_parameter_that_cannot_be_is_refused(said, text):
    with pytest.raises(ArgumentError, match=text):
        ReweighClassifier(**said).fit(*table(50, rare=0.3))


def test_groups_and_classes_that_cannot_be():
    X, y = table(50, rare=0.3)
    with pytest.raises(ArgumentError, match="groups: la weighs classes"):
        ReweighClassifier("la").fit(X, y, y)
    with pytest.raises(ArgumentError, match=r"groups: one for each example, \(50,\)"):
        ReweighClassifier("tdr").fit(X, y, y[:9])
    with pytest.raises(ArgumentError, match="has one example"):
        ReweighClassifier("tdr").fit(X, np.arange(50) == 3)


def test_a_model_that_diverges_is_no_model():
    X, y = table(50, rare=0.3)
    with pytest.raises(TrainingError, match="none diverged; lower learning_rate"):
        ReweighClassifier("none", learning_rate=1e30, hidden=(4,), standardise=False).fit(X, y)


def test_without_scikit_learn_it_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None; import reweigh.sklearn"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    said = 'ModuleNotFoundError: reweigh.sklearn needs scikit-learn: pip install "reweigh[sklearn]"'
    assert done.stderr.splitlines()[-1].startswith(said)
