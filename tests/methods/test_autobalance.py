"""AutoBalance: the path of α against the same algorithm with dense matrices; its steps, its log, what is refused."""

import numpy as np
import pytest
import torch
from support.searches import EPOCHS, STEPS, ByHand, Search

from reweigh.config.methods.autobalance import CODE, PRINTED, Options
from reweigh.errors import ConfigError
from reweigh.hypergrad.krylov import filter_gain
from reweigh.losses import parametric
from reweigh.methods import base

LONG = {"search_epochs": EPOCHS, "from_epoch": 1, "upper_milestones": [3], "batch_size": 8}
CASES = {
    "printed": {**PRINTED, **LONG, "upper_learning_rate": 0.5},
    "printed, two batches every second step": {**PRINTED, **LONG, "batches": 2, "outer_every": 2},
    "code, coasting": {**CODE, **LONG, "upper_learning_rate": 0.5, "upper_weight_decay": 0.1, "expand": "piecewise"},
    "code, not coasting": {**CODE, **LONG, "coast": False, "take": "end"},
    "coasting to the end": {**CODE, **LONG, "take": "end", "outer_every": 1},
    "tau from logit adjustment": {**PRINTED, **LONG, "design": ["tau"], "start": "la", "weights": "none"},
    "multipliers alone, plain": {**PRINTED, **LONG, "design": ["delta"], "multiplier": "plain"},
    "offsets alone, a small step": {**PRINTED, **LONG, "design": ["l"], "neumann_step": 0.1, "terms": 3},
    "by cell": {**PRINTED, **LONG, "by": "cell"},
    "by cell, exact": {**PRINTED, **LONG, "by": "cell", "solver": "exact", "damping": 0.1},
    "exact": {**PRINTED, **LONG, "solver": "exact", "damping": 0.05, "batches": 2},
    "graphs kept": {**PRINTED, **LONG, "products": "kept", "batches": 3},
    "forward products": {**PRINTED, **LONG, "products": "forward", "batches": 2},
}

NEAR = {"rtol": 1e-4, "atol": 1e-6}  # logits of other parameters are float32 in a method


def checked(options):
    return Options(**options).model_dump()


@pytest.mark.parametrize("name", CASES)
def test_the_path_of_the_design_is_that_of_the_algorithm_with_dense_matrices(name):
    options = checked(CASES[name])
    search = Search(options).run()
    expected = ByHand(options, Search(options)).run()
    # After an inner step the method has still to coast, or to take an inner-first outer step: compared one step on.
    late = options["order"] == "inner-first"
    same = {
        number: number - 1 if late else number
        for number in range(1, EPOCHS * STEPS)
        if late or not options["coast"] or number < STEPS
    }
    for number, other in same.items():
        for key, value in expected.taken[other].items():
            assert torch.allclose(search.taken[number][key], value, **NEAR), number
    for key, value in expected.taken[-1].items():
        assert torch.allclose(search.taken[-1][key], value, **NEAR), "what is retrained with"
        assert (search.taken[-1][key] - search.taken[0][key]).abs().max() > 1e-6, "it has moved"
    flat = torch.cat([value.detach().flatten() for value in search.model.parameters()])
    assert torch.allclose(flat, expected.theta, **NEAR)


def test_nothing_moves_before_from_epoch_and_steps_are_as_many_as_said():
    search = Search(checked(CASES["printed"])).run()
    quiet = search.taken[: STEPS + 1]
    assert all(torch.equal(one["l"], torch.zeros(4).double()) for one in quiet)
    assert [bool(logged) for logged in search.logged] == [False] * (STEPS + 1) + [True] * ((EPOCHS - 1) * STEPS)
    code = Search(checked(CASES["code, coasting"])).run()
    outer = [number for number, program in enumerate(code.programs) if "outer" in program]
    assert outer == [3, 5, 6, 8, 9, 11]  # steps 0 and 2 of each epoch from the second on
    assert sum("coast" in program for program in code.programs) == (EPOCHS - 1) * (STEPS - 1)
    # The others are where an epoch ends.


def test_what_is_logged_is_what_a_dense_hessian_says():
    """λ_max, its share of the gradient beyond 2, the norms of the c_j."""
    options = checked(
        {**CASES["printed"], "terms": 16, "neumann_step": 0.1}
    )  # as many products as parameters see the whole spectrum
    search = Search(options).run()
    again = ByHand(options, Search(options))
    spectra = []
    plain = again.outer_step

    def watched(number):
        plain(number)
        spectra.append(again.spectrum)

    again.outer_step = watched
    again.run()
    logged = [one for one in search.logged if one]
    for found, spectrum in zip(logged, spectra, strict=False):
        assert float(found["lambda_max"]) == pytest.approx(float(spectrum[-1]), rel=1e-4)
        assert found["direction_norms"].shape == (17,)
        assert float(found["direction_norms"][0]) == pytest.approx(float(found["gradient_norm"]))
        beyond = spectrum[-1] > 2
        assert bool(found["share_beyond"] > 0) == bool(beyond) and 0 <= float(found["share_beyond"]) <= 1 + 1e-9
    assert any(float(one["lambda_max"]) > 2 for one in logged), "the literal step is beyond its reach even here"


def test_an_automatic_step_turns_no_direction():
    """ε = 1/λ_max: the gain of every eigenvalue in (0, λ_max] is positive; with ε = 1 it is not where λ > 2."""
    assert min(filter_gain(at / 10, step=1 / 30) for at in range(1, 301)) > 0
    options = checked({**CASES["printed"], "neumann_step": "auto"})
    search = Search(options).run()
    assert all(torch.isfinite(value).all() for one in search.taken for value in one.values())
    norms = torch.stack([one["direction_norms"] for one in search.logged if one])
    assert (norms.diff(dim=1) <= 1e-9).all(), "a series that does not grow"


def test_conjugate_gradients_come_near_the_exact_solve():
    paths = {
        solver: Search(checked({**CASES["exact"], "solver": solver, "terms": 16})).run().taken[-1]["l"]
        for solver in ("exact", "cg")
    }
    assert torch.allclose(paths["exact"], paths["cg"], rtol=1e-4, atol=1e-6)


def test_differences_are_near_and_not_equal():
    near, exact = (Search(checked({**CASES["printed"], "products": way})).run().taken[-1]["l"] for way in
                   ("difference", "reverse"))  # fmt: skip
    assert torch.allclose(near, exact, rtol=0.2, atol=0.02) and not torch.allclose(near, exact, rtol=1e-6)


def test_the_stages_are_a_search_and_a_retraining_afresh_on_both_parts():
    search, retrain = Search(checked(CASES["printed"])).method.stages(7)
    assert (search.name, search.epochs, search.part, search.fresh) == ("search", EPOCHS, "train", False)
    assert (retrain.name, retrain.epochs, retrain.part, retrain.fresh) == ("retrain", 7, "train+validation", True)


def test_the_retraining_uses_the_last_design_and_no_longer_moves_it():
    search = Search(checked(CASES["printed"])).run()
    method = search.method
    last = method.design.values
    assert torch.allclose(method.offset, last["l"]) and torch.allclose(method.multiplier, last["delta"].sigmoid())
    assert method.prepare(search.position(0).__class__(99, 9, method.stages(2)[1], 0, STEPS, 0.1)) == "inner"


def test_interpolation_is_for_the_retraining_alone():
    options = checked({**CASES["code, not coasting"], "expand": "interpolated"})
    search = Search(options).run()
    first, second = search.method.design.values["l"].tolist()
    # Middles of the clusters are ranks 1 and 3 of 0 … 3.
    expected = [first + (second - first) * (rank - 1) / 2 for rank in range(4)]
    assert search.method.offset.tolist() == pytest.approx(expected)


def test_a_fitted_design_is_the_nearest_vs_loss_in_the_retraining_alone():
    plain, fitted = (Search(checked({**CASES["printed"], "expand": how})).run() for how in ("piecewise", "fitted"))
    values = {name: value.numpy() for name, value in plain.method.design.values.items()}
    assert all(torch.equal(fitted.method.design.values[name], plain.method.design.values[name]) for name in values)
    counts = plain.method.context.class_counts.numpy()
    shares = np.log(counts / counts.sum())
    multipliers = 1 / (1 + np.exp(-values["delta"]))
    (gamma, level), (tau, offset) = (np.polyfit(shares, of, 1) for of in (np.log(multipliers), values["l"]))
    assert fitted.method.offset.numpy() == pytest.approx(tau * shares + offset)
    assert fitted.method.multiplier.numpy() == pytest.approx(np.exp(gamma * shares + level))
    assert fitted.logged[-1]["fitted"].numpy() == pytest.approx([tau, gamma])
    # Up to a factor of all logits, which the last layer can take over, and an offset of all, those of VS.
    vs = parametric.multipliers(torch.tensor(counts), gamma).numpy()
    assert np.ptp(fitted.method.multiplier.numpy() / vs) == pytest.approx(0, abs=1e-12)


def test_logit_adjustment_is_fitted_by_itself():
    options = checked({**CASES["printed"], "design": ["tau"], "start": "la", "weights": "none", "expand": "fitted"})
    method = Search(options).method
    method.design.expand_as("fitted")
    assert method.design.fit().tolist() == pytest.approx([1.0, 0.0])
    assert torch.allclose(method.design.tables()[1], method.design.log_shares)


def test_a_search_that_ran_away_has_a_fit_too():
    method = Search(checked({**CASES["printed"], "expand": "fitted"})).method
    method.design.values["delta"][0] = -2000.0  # whose s(Δ) is 0 in any precision
    method.design.expand_as("fitted")
    assert method.design.fit().isfinite().all() and all(table.isfinite().all() for table in method.design.tables())


def test_a_step_along_the_hypergradient_lowers_what_s_v_says_of_the_optimum():
    """With the minus sign of the implicit function theorem; with the printed plus it rises. θ at its optimum for α."""
    options = checked({**CASES["exact"], "damping": 0.02, "batches": 9, "batch_size": 40, "design": ["l"]})
    hand = ByHand(options, Search(options))
    whole = (hand.pieces(hand.method.outer_train, 0), hand.pieces(hand.method.outer_validation, 0))

    def fair_at(offset):
        theta = torch.zeros(16, dtype=torch.float64, requires_grad=True)
        descent = torch.optim.LBFGS(
            [theta], max_iter=500, tolerance_grad=1e-10, tolerance_change=1e-15, line_search_fn="strong_wolfe"
        )

        def closure():
            descent.zero_grad()
            loss = mean(hand.training_loss(theta, {"l": offset}, batch) for batch in whole[0])
            loss = loss + 0.01 * theta.square().sum()  # the damping, as weight decay
            loss.backward()
            return loss

        descent.step(closure)
        counts = torch.bincount(hand.method.context.validation.labels, minlength=4).double()
        return float(mean(hand.validation_loss(theta.detach(), batch, counts) for batch in whole[1])), theta.detach()

    start = torch.zeros(4, dtype=torch.float64)
    before, theta = fair_at(start)
    search = Search(options)
    with torch.no_grad():
        search.model.head.weight.copy_(theta[:12].view(4, 3))
        search.model.head.bias.copy_(theta[12:])
    search.method.outer_train.seek(0)
    search.method.outer_validation.seek(0)
    step = base.Step(torch.tensor(0), "outer", search.model, search.batches.batch(0), None)
    gradient = search.method.hypergradient(step)[0]["l"]
    slopes = [(fair_at(start + 1e-3 * one)[0] - fair_at(start - 1e-3 * one)[0]) / 2e-3 for one in torch.eye(4).double()]
    assert torch.allclose(gradient, torch.tensor(slopes, dtype=torch.float64), rtol=1e-2, atol=1e-4)
    rate = 0.01 / float(gradient.norm())
    assert fair_at(start - rate * gradient)[0] < before < fair_at(start + rate * gradient)[0]


def mean(values):
    return torch.stack(list(values)).mean()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"by": "cell"}, "by cell needs groups, but the groups of this set are its classes"),
        ({"solver": "exact", "damping": 0.1}, "needs a linear model; use neumann or cg"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(changed, message):
    options = checked({**CASES["printed"], **changed})
    search = Search({**options, "by": "cluster"})

    def asked():
        method = type(search.method)(options, search.context)
        method.begin(search.stage, torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh()))

    with pytest.raises(ConfigError, match=message):
        asked()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"design": ["tau", "l"]}, "tau says what l is; search one of them"),
        ({"design": ["l", "l"]}, "names something twice"),
        ({"from_epoch": 4}, "the search is over before"),
        ({"coast": True}, "which is outer-first"),
        ({"take": "last-epoch"}, "which is outer-first"),
        ({"solver": "exact"}, "the solver exact needs one above 0"),
        ({"neumann_step": 0.0}, "greater than 0"),
        ({"upper": {"ce_bal": 0.0}}, "at least one part must have a weight above 0"),
        ({"upper": {"ce_bla": 1.0}}, "'ce', 'ce_bal', 'ce_bal_g', 'ce_deo' or 'group_la'"),
    ],
)
def test_options_that_mean_nothing_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        checked({**CASES["printed"], **changed})
