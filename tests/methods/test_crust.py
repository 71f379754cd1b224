"""CRUST: facility location against a naive search, gradients by autograd, coresets by numpy, mixtures, whole runs."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from support.every_method import part as pictures
from support.headed_problem import RATE, SIZE, Problem
from support.mnist_runs import run_of, spec_of

from reweigh.config import effects
from reweigh.config.cards import check_options
from reweigh.config.methods import crust as card
from reweigh.config.methods.crust import CODE
from reweigh.data import augment
from reweigh.data.batches import Batch
from reweigh.errors import ConfigError
from reweigh.methods import base, crust

OPTIONS = {**CODE, "warm_epochs": 1}


def method_of(problem, **options):
    method = crust.Method({**OPTIONS, **options}, problem.context)
    for stage in method.stages(4):
        method.begin(stage, problem.model)
    return method


def position(method, number, stage=1):
    return base.Position(number, number // 5, method.stages(4)[stage], number, 5, RATE)


def step_of(problem, method, number, batch=None, stage=1):
    program = method.prepare(position(method, number, stage))
    batch = problem.batches.batch(number) if batch is None else batch
    return base.Step(torch.tensor(number), program, problem.model, batch, None)


# --- facility location -----------------------------------------------------------------------------------------------


def greedy(distances, count):
    """The first of the best points, by the objective itself, again and again."""
    near, chosen = distances.max() - distances, []
    for _ in range(count):
        left = [place for place in range(len(near)) if place not in chosen]
        chosen.append(max(left, key=lambda place: (near[[*chosen, place]].max(0).sum(), -place)))
    return chosen


places_of_points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12)


@given(places_of_points, st.data())
def test_lazy_greedy_chooses_what_greedy_chooses(points, data):
    """Distances along the axes of whole numbers: gains are exact, many are equal, and points lie on each other."""
    points = np.array(points, float)
    distances = np.abs(points[:, None] - points[None]).sum(2)
    count = data.draw(st.integers(0, len(points)))
    assert crust.facility_location(distances, count).tolist() == greedy(distances, count)


@pytest.mark.parametrize("seed", range(5))
def test_on_points_in_space_too_each_choice_is_among_the_best(seed):
    """Two points that are each other's nearest gain the same, up to rounding: either is right."""
    points = np.random.default_rng(seed).normal(size=(40, 3))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    near = distances.max() - distances
    for values, error in ((distances, 1e-9), (distances.astype(np.float32), 1e-3)):
        found = crust.facility_location(values, 40).tolist()
        assert sorted(found) == list(range(40))
        for size in range(40):
            reached = [near[[*found[:size], place]].max(0).sum() for place in range(40)]
            assert reached[found[size]] >= max(reached) - error


def test_a_hand_computed_choice():
    """Points at 0, 1, 2, 10 and 12 of a line; near = 12 − D has rows that sum to 35, 38, 39, 31 and 23.

    After 2 the gains of 0, 1, 3, 4 are 2, 2 (1 of itself, 1 of 0), 8 + 8 and 6 + 10: the first of 3 and 4 is 3.
    After that those of 0, 1, 4 are 2 (of itself), 2 and 2: 0, 1, 4 in this order, as 0 leaves 1 to 1 and 2 to 4.
    """
    points = np.array([0.0, 1.0, 2.0, 10.0, 12.0])
    distances = np.abs(points[:, None] - points[None])
    assert crust.facility_location(distances, 2).tolist() == [2, 3]
    assert crust.facility_location(distances, 5).tolist() == greedy(distances, 5)


# --- the gradients ---------------------------------------------------------------------------------------------------


def test_gradients_are_those_of_the_mean_loss_by_the_features(single_as_double):
    """By autograd through the features of a net that normalises by each batch; nothing of it is changed."""
    problem = Problem()
    method, before = method_of(problem), copy.deepcopy(problem.model.state_dict())
    for epoch in (0, 2):
        with torch.no_grad():
            found = method.gradients(problem.model.eval(), epoch)
        seen = []
        for number in range(5 * epoch, 5 * epoch + 5):
            batch = method.looked_at.batch(number)
            twin = copy.deepcopy(problem.model).train()
            features = twin.features(batch.inputs)
            (expected,) = torch.autograd.grad(F.cross_entropy(twin.head(features), batch.labels), features)
            torch.testing.assert_close(found[batch.rows], expected)
            seen += batch.rows.tolist()
        assert sorted(seen) == list(range(60))
    assert not problem.model.training
    assert all(torch.equal(before[name], value) for name, value in problem.model.state_dict().items())


def test_the_gradient_at_a_linear_head_is_known(single_as_double):
    """Wᵀ (p − y)."""
    problem = Problem()
    features = torch.randn(7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels, head = torch.tensor([0, 1, 2, 0, 1, 2, 0]), problem.model.head
    residual = head(features).softmax(1) - torch.eye(3, dtype=torch.float64)[labels]
    found = crust.head_gradients(head, features, labels)
    torch.testing.assert_close(found, (residual @ head.weight).detach())


@pytest.mark.parametrize("examples", [60, 61, 25, 13, 7])
def test_no_example_is_looked_at_alone(examples, single_as_double):
    """Batches of 12 would leave one of 61, of 25 and of 13."""
    problem = Problem(examples)
    method = method_of(problem)
    sizes = [len(method.looked_at.batch(number)) for number in range(method.looked_at.per_cycle)]
    assert sum(sizes) == examples and min(sizes) > 1
    gradients = method.gradients(problem.model, 0)
    assert gradients.shape == (examples, 6) and (gradients.norm(dim=1) > 0).all()


# --- the coreset -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, 0.29, 1.0])
@pytest.mark.parametrize("radius", [0.004, 0.02, 2.0])
def test_a_coreset_is_that_of_numpy(share, radius, single_as_double):
    problem = Problem()
    method = method_of(problem, share=share, radius=radius)
    with torch.no_grad():
        gradients = method.gradients(problem.model, 0).numpy()
        method.begin_epoch(position(method, 0), problem.model)
    rows, shares = method.members(method.stages(4)[1]), []
    for label in range(3):
        of_class = np.flatnonzero(problem.train.labels.numpy() == label)
        points = gradients[of_class].astype(np.float64)
        distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(2))
        counts = (distances < radius).sum(1)
        chosen, best = np.flatnonzero(np.isin(of_class, rows)), greedy(distances, int(share * len(of_class) + 1e-9))
        assert len(chosen) == len(best)
        # How far the class is from its coreset, in all; of equal gains rounding decides, which moves it by a little.
        assert distances[chosen].min(0).sum() == pytest.approx(distances[best].min(0).sum(), rel=0.03)
        np.testing.assert_array_equal(method.weights.numpy()[of_class], counts)
        shares += (counts[chosen] / len(of_class)).tolist()
    assert float(method.logged["radius_share"]) == pytest.approx(np.mean(shares))
    assert (np.mean(shares) == 1) == (radius == 2.0)


@given(st.floats(0.01, 1), st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_coresets_have_one_length_and_the_card_knows_it(share, sizes):
    """From before the first selection on, with classes of no example, and of one."""
    sizes = [*sizes, 3]
    labels = np.repeat(np.arange(len(sizes)), sizes)
    problem = Problem()
    values = {name: getattr(problem.context, name) for name in problem.context.__dataclass_fields__}
    counts = torch.tensor(sizes).float()
    values |= {"classes": len(sizes), "class_counts": counts, "train": pictures(labels, 0)}
    method = crust.Method({**OPTIONS, "share": share}, base.RunContext(**values))
    _, planned = card.stages({**OPTIONS, "share": share}, 4)
    expected = list(planned.members(sizes))
    assert all(kept <= size and (kept > 0) == (size > 0) for kept, size in zip(expected, sizes, strict=True))
    stage = method.stages(4)[1]
    for _ in range(2):
        members = method.members(stage)
        assert np.bincount(labels[members], minlength=len(sizes)).tolist() == expected
        assert len(set(members.tolist())) == len(members)
        method._select(torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0)))


# --- the step --------------------------------------------------------------------------------------------------------


def test_weights_are_shares_of_counts_in_the_batch_and_equal_before():
    problem = Problem()
    method = method_of(problem)
    method.weights.copy_(torch.arange(60))
    batch = Batch(torch.zeros(3, 4), torch.zeros(3).long(), torch.zeros(3).long(), torch.tensor([10, 50, 20]))
    losses = torch.zeros(3, dtype=torch.float64)
    warm = method.example_weights(step_of(problem, method, 0, batch, stage=0), losses)
    assert warm.tolist() == [1 / 3] * 3
    for number in (0, 7):  # unmixed and mixed
        found = method.example_weights(step_of(problem, method, number, batch), losses)
        np.testing.assert_allclose(found.numpy(), [1 / 8, 5 / 8, 2 / 8])


def test_mixtures_are_those_of_the_formula_from_the_second_epoch_of_the_stage_on():
    problem = Problem()
    method = method_of(problem)
    for number in (0, 4):
        assert step_of(problem, method, number, stage=0).program == "warm"
        step = step_of(problem, method, number)
        assert step.program == "coreset" and method.inputs(step, step.batch) is step.batch.inputs
    for number in range(5, 20):
        step = step_of(problem, method, number)
        found, share = method.inputs(step, step.batch).numpy(), float(method.mixed)
        for one, label, shown in zip(step.batch.inputs.numpy(), step.batch.labels.numpy(), found, strict=True):
            of_class = problem.train.inputs[problem.train.labels == label].numpy()
            possible = share * one + (1 - share) * of_class
            assert np.abs(possible - shown).max(1).min() < 1e-12
    losses = method.example_losses(torch.zeros(SIZE, 3), step.batch)  # of the label as it is
    torch.testing.assert_close(losses, torch.full((SIZE,), np.log(3)).float())


def test_partners_are_any_of_the_class_and_draws_depend_on_seed_and_step_alone():
    problem = Problem()
    method, again = method_of(problem), method_of(problem)
    batch = Batch(problem.train.inputs[:4], problem.train.labels[:4], *[torch.arange(4)] * 2)  # a short one
    found = np.zeros((4, 60))
    for number in range(5, 3005):
        step_of(problem, method, number, batch)
        found[np.arange(4), method._partners(batch).rows.numpy()] += 1
    same = problem.train.labels[:4, None] == problem.train.labels
    expected = (3000 * same / same.sum(1, keepdim=True)).numpy()
    assert np.abs(found - expected).max() < 5 * np.sqrt(expected.max())
    step_of(problem, again, 3004, batch)
    assert torch.equal(method.places, again.places) and torch.equal(method.mixed, again.mixed)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.1), (2.0, 3.0)])
def test_shares_have_the_moments_of_a_beta(alpha, beta):
    problem = Problem()
    method, drawn = method_of(problem, alpha=alpha, beta=beta), []
    for number in range(5, 4005):
        method.prepare(position(method, number))
        drawn.append(float(method.mixed))
    variance = alpha * beta / ((alpha + beta) ** 2 * (alpha + beta + 1))
    assert np.mean(drawn) == pytest.approx(alpha / (alpha + beta), abs=5 * (variance / 4000) ** 0.5)
    assert np.var(drawn) == pytest.approx(variance, rel=0.2)


def test_partners_are_augmented_as_training_is():
    problem = Problem()
    labels = np.arange(40) % 2
    whole = pictures(labels, 1, (1, 6, 6))
    whole.augmentation = augment.Augmentation(flip=True)
    values = {name: getattr(problem.context, name) for name in problem.context.__dataclass_fields__}
    counts = torch.tensor([20.0, 20.0])
    context = base.RunContext(**{**values, "classes": 2, "class_counts": counts, "train": whole})
    method = crust.Method(OPTIONS, context)
    batch, mirrored = whole.take(torch.arange(SIZE)), 0
    for number in range(5, 45):
        method.prepare(position(method, number))
        partners = method._partners(batch)
        plain = whole.take(partners.rows).inputs
        flipped = (partners.inputs == plain.flip(3)).flatten(1).all(1)
        assert (flipped | (partners.inputs == plain).flatten(1).all(1)).all()
        mirrored += int(flipped.sum())
    assert mirrored == pytest.approx(240, abs=60)


# --- whole runs ------------------------------------------------------------------------------------------------------


def spec_with(**options):
    spec = spec_of("none")
    spec.update(uses="crust", method_options={**OPTIONS, **options})
    return spec


def test_a_run_trains_on_half_after_the_warm_epochs_and_its_radius_counts_whole_classes(mnist):
    run, members = run_of(spec_with(), mnist), []

    def tick(run):
        if run.stage == 1 and run.stage_step % run.course.steps_per_epoch == 1:
            members.append(run.course.members.tolist())
            labels = run.parts.train.labels
            assert torch.equal(run.method.weights, run.method.sizes[labels].float())

    run.finish(tick)
    stages = run.results()["stages"]
    assert [one["epochs"] for one in stages] == [1, 3] and not stages[1]["fresh"]
    assert [one["steps_per_epoch"] for one in stages] == [5, 2]  # of 50 examples, and of 25
    assert len(members) == 3 and len({tuple(one) for one in members}) > 1
    assert run.trace()["radius_share"].tolist() == [1.0] * 3
    smaller = run_of(spec_with(radius=1e-4), mnist)
    smaller.finish()
    assert (smaller.trace()["radius_share"] < 1).all()


def test_the_rate_goes_on_by_the_second_schedule(mnist):
    spec = spec_with(second_schedule={"name": "step", "milestones": [1], "factor": 0.1, "warmup_epochs": 0})
    run, rates = run_of(spec, mnist), {}
    rate = spec["training"]["learning_rate"]

    def tick(run):
        if not run.over:
            at = run.course.at(run.stage_step)
            rates.setdefault(at.epoch, at.learning_rate)

    run.finish(tick)
    assert [rates[epoch] / rate for epoch in (1, 2, 3)] == pytest.approx([1, 0.1, 0.1])


# --- what is refused -------------------------------------------------------------------------------------------------


def test_images_on_disk_are_refused():
    problem = Problem()
    values = {name: getattr(problem.context, name) for name in problem.context.__dataclass_fields__}
    with pytest.raises(ConfigError, match="stay on disk"):
        crust.Method(OPTIONS, base.RunContext(**{**values, "train": [0] * 60}))


@pytest.mark.parametrize("option", ["share", "radius", "alpha", "beta", "warm_epochs"])
def test_options_that_cannot_be_are_refused(option):
    with pytest.raises(ConfigError, match=option):
        check_options("crust", {**OPTIONS, option: 0}, "here")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"warm_epochs": 4}, "warm_epochs is 4, but there are 4 epochs"),
        (
            {"second_schedule": {"name": "step", "milestones": [3], "factor": 0.1, "warmup_epochs": 0}},
            "second_schedule has a milestone at epoch 3, but there are 3 epochs",
        ),
    ],
)
def test_a_second_stage_that_never_comes_to_it_is_refused_before_any_job(options, says):
    spec = {"uses": "crust", "method_options": {**OPTIONS, **options}, "training": {"epochs": 4}}
    with pytest.raises(ConfigError, match=says):
        effects.check_ends(spec, "here")
