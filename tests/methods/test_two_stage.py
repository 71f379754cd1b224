"""Second stages on real pictures against independent float64 computations; their runs repeat, resume and replay."""

import copy

import numpy as np
import pytest
import torch
from support.mnist_runs import outcome
from support.two_stages import (
    CLASSES,
    EPOCHS,
    METHODS,
    OPTIONS,
    SECOND,
    THAT_TRAIN,
    finished,
    reloaded,
    run_of,
    spec_of,
)

from reweigh.data import load
from reweigh.errors import ConfigError
from reweigh.methods.lws import ScaledHead
from reweigh.methods.ncm import NearestMean
from reweigh.methods.tau_norm import mean_recall
from reweigh.streams import stream_seed
from reweigh.weights import effective_number


@pytest.fixture(scope="module")
def raw(raw_root):
    return load.read("cifar10-slice", root=raw_root)


@pytest.fixture(scope="module")
def joint(raw):
    """A finished run of stage one alone."""
    return finished(spec_of("joint"), raw)


@pytest.fixture(scope="module")
def second(raw):
    """A finished run of each other method."""
    return {method: finished(spec_of(method), raw) for method in METHODS[1:]}


def seen(run, part):
    """Features of a part in float64 and its labels, by the model's own `features`, not by what the methods use."""
    run.model.eval()
    with torch.no_grad():
        features = torch.cat([run.model.features(batch.inputs) for batch in part.in_order(64)])
    return features.double().numpy(), part.labels.numpy()


def predicted(run, part):
    """A method's logits of a part, by its own `predict`."""
    run.model.eval()
    with torch.no_grad():
        return torch.cat([run.method.predict(run.model, batch.inputs) for batch in part.in_order(50)])


def head_of(run):
    """The head's weights and bias, float64."""
    return (value.detach().double().numpy() for value in (run.model.head.weight, run.model.head.bias))


def test_stage_one_is_plain_training(joint, raw):
    plain = spec_of("none")
    plain["method_options"] = {"scale": "mean"}
    (plain_results, *plain_rest), (results, *rest) = outcome(finished(plain, raw)), outcome(joint)
    assert [stage["epochs"] for stage in results.pop("stages")] == [EPOCHS, 0]
    assert [stage["epochs"] for stage in plain_results.pop("stages")] == [EPOCHS]
    assert (plain_results, *plain_rest) == (results, *rest)


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_second_stage_leaves_the_backbone_bit_identical_to_stage_one(method, joint, second):
    def backbone(run):
        return {name: value for name, value in run.model.state_dict().items() if not name.startswith("head.")}

    before, after = backbone(joint), backbone(second[method])
    assert before.keys() == after.keys() and len(before) > 40
    assert all(torch.equal(value, after[name]) for name, value in before.items())  # running statistics too
    curves = {name: values[:EPOCHS] for name, values in second[method].curves.items()}
    assert all(curves[name] == joint.curves[name] for name in curves if name != "train_seconds")


# --- nearest class mean ----------------------------------------------------------------------------------------------


def test_ncm_is_the_nearest_of_numpys_class_means(joint, second):
    run = second["ncm"]
    features, labels = seen(joint, joint.parts.train)
    mean = features.mean(0)
    directions = (features - mean) / np.linalg.norm(features - mean, axis=1, keepdims=True)
    centres = np.stack([directions[labels == label].mean(0) for label in range(CLASSES)])
    tests, wanted = seen(joint, joint.parts.test)
    placed = (tests - mean) / np.linalg.norm(tests - mean, axis=1, keepdims=True)
    distances = ((placed[:, None] - centres[None]) ** 2).sum(-1)
    found = predicted(run, run.parts.test).numpy()
    np.testing.assert_allclose(found, -distances, rtol=1e-4, atol=1e-6)
    results = run.results()
    assert results["metrics"]["test_accuracy"] == (distances.argmin(1) == wanted).mean()
    assert run.step == joint.step and len(run.curves["epoch"]) == EPOCHS  # nothing was trained
    assert results["metrics"]["test_accuracy"] != joint.results()["metrics"]["test_accuracy"]


def test_ncm_never_predicts_a_class_that_it_has_not_seen():
    head = NearestMean(torch.randn(20, 5), torch.arange(20) % 3, 4)
    found = head(torch.randn(50, 5))
    assert torch.isfinite(found).all() and (found[:, 3] == torch.finfo(torch.float32).min).all()
    assert (found[:, :3] >= -4).all()  # directions differ by 2 at most


# --- τ-normalisation -------------------------------------------------------------------------------------------------


def recalls_by_hand(joint, part, taus):
    """The mean of class recalls at each τ, by numpy."""
    features, labels = seen(joint, part)
    weight, _ = head_of(joint)
    found = []
    for tau in taus:
        guesses = (features @ (weight / np.linalg.norm(weight, axis=1, keepdims=True) ** tau).T).argmax(1)
        found.append(np.mean([(guesses[labels == label] == label).mean() for label in np.unique(labels)]))
    return np.array(found)


def test_tau_is_the_best_on_validation_and_the_head_is_rescaled_by_it(joint, second):
    run, taus = second["tau_norm"], np.linspace(0, 2, 21)
    expected = recalls_by_hand(joint, joint.method.context.validation, taus)
    trace = run.trace()
    np.testing.assert_allclose(trace["validation_recall"], expected[None], atol=1e-6)
    tau = taus[expected.argmax()]
    np.testing.assert_allclose(trace["tau"], [tau], atol=1e-6)
    weight, _ = head_of(joint)
    rescaled, bias = head_of(run)
    np.testing.assert_allclose(rescaled, weight / np.linalg.norm(weight, axis=1, keepdims=True) ** tau, rtol=1e-5)
    assert not bias.any()
    features, labels = seen(run, run.parts.test)
    assert run.results()["metrics"]["test_accuracy"] == ((features @ rescaled.T).argmax(1) == labels).mean()


def test_tau_zero_is_the_linear_head_without_its_bias(joint, raw):
    spec = spec_of("tau_norm")
    spec["method_options"]["tau_max"], spec["method_options"]["tau_step"] = 0.1, 0.2  # the grid is 0 alone
    run = finished(spec, raw)
    assert run.trace()["tau"].tolist() == [0] and torch.equal(run.model.head.weight, joint.model.head.weight)
    bias = joint.model.head.bias.detach()
    assert bias.abs().min() > 0
    torch.testing.assert_close(
        predicted(run, run.parts.test), predicted(joint, joint.parts.test) - bias, rtol=1e-5, atol=1e-6
    )


def test_the_choice_of_tau_weighs_classes_alike():
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
    logits = torch.nn.functional.one_hot(torch.tensor([0, 0, 0, 1, 1, 1, 1, 1]), 3).float()
    assert mean_recall(logits, labels).item() == 0.75  # of the classes that occur: (3/6 + 2/2) / 2


def test_tau_without_validation_examples_is_refused_before_training(raw):
    spec = spec_of("tau_norm")
    spec["data"]["split"]["validation_size"] = 0
    with pytest.raises(ConfigError, match="validation_size or validation_share"):
        run_of(spec, raw)


# --- stages that train the head --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", THAT_TRAIN)
def test_the_head_is_trained_as_multinomial_regression_on_fixed_features_is(method, joint, second):
    """Softmax regression by momentum SGD in float64, on the features of stage one and the batches of the run."""
    run, said = second[method], OPTIONS[method]
    features, labels = seen(joint, joint.parts.train)
    weight, bias = head_of(joint)
    if method == "crt":
        fresh = torch.nn.Linear(features.shape[1], CLASSES)
        generator = torch.Generator().manual_seed(stream_seed(0, "init", "head"))
        bound = 1 / np.sqrt(features.shape[1])
        for value in (fresh.weight, fresh.bias):
            torch.nn.init.uniform_(value, -bound, bound, generator=generator)
        weight, bias = (value.detach().double().numpy() for value in (fresh.weight, fresh.bias))
    factors, average = np.ones(CLASSES), 0.0  # of LWS; s of ABSGD
    learned = [factors] if method == "lws" else [weight, bias]
    momenta = [np.zeros_like(value) for value in learned]
    stream = joint.parts.train.stream(
        SECOND["batch_size"], 0, "batches-1", True, False, said["second_stage"]["sampling"]
    )
    total = SECOND["epochs"] * stream.per_cycle
    assert run.step == joint.step + total
    for step in range(total):
        rows = stream.batch(step).rows.numpy()
        seen_, wanted = features[rows], np.eye(CLASSES)[labels[rows]]
        unscaled = seen_ @ weight.T + bias
        odds = np.exp(factors * unscaled)
        odds /= odds.sum(1, keepdims=True)
        weights = np.full(len(rows), 1 / len(rows))
        if method == "absgd_head":
            tilted = (odds * wanted).sum(1) ** (-1 / said["lambda_"])  # exp(ℓ/λ) for ℓ = −log p
            average = (1 - said["gamma"]) * average + said["gamma"] * tilted.mean()
            weights = tilted / average / len(rows)
        error = weights[:, None] * (odds - wanted)
        gradients = [(error * unscaled).sum(0)] if method == "lws" else [error.T @ seen_, error.sum(0)]
        rate = SECOND["learning_rate"] * (1 + np.cos(np.pi * step / total)) / 2
        for value, gradient, momentum in zip(learned, gradients, momenta, strict=True):
            momentum *= SECOND["momentum"]
            momentum += gradient + SECOND["weight_decay"] * value
            value -= rate * momentum
    if method != "lws":
        np.testing.assert_allclose(run.model.head.weight.detach().numpy(), weight, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(run.model.head.bias.detach().numpy(), bias, rtol=1e-3, atol=1e-5)
    else:
        np.testing.assert_allclose(run.model.head.factors.detach().numpy(), factors, rtol=1e-3, atol=1e-5)
        assert np.abs(factors - 1).max() > 0.01
        for name, value in joint.model.head.state_dict().items():
            assert torch.equal(run.model.head.frozen.state_dict()[name], value)


def test_class_weights_of_absgd_act_in_the_second_stage_alone(joint, second, raw):
    said = spec_of("absgd_head")
    balance = {"beta": 0.9999, "from_epoch": 0, "normalisation": "none"}
    run = finished({**said, "method_options": {**said["method_options"], "class_balance": balance}}, raw)
    for name, value in joint.model.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(run.model.state_dict()[name], value), name
    assert run.curves["train_loss"][:EPOCHS] == joint.curves["train_loss"]
    assert not torch.equal(run.model.head.weight, second["absgd_head"].model.head.weight)
    counts = run.method.context.class_counts
    assert torch.equal(run.method.class_weights, effective_number(counts, 0.9999))


def test_the_new_head_of_crt_is_a_draw_of_its_own(raw):
    heads = []
    for seed in (0, 0, 1):
        run = run_of(spec_of("crt", seed=seed), raw)
        heads.append(run.model.head.weight.clone())
        run.method.begin_second(run.model)
        heads.append(run.model.head.weight.clone())
    assert torch.equal(heads[0], heads[2]) and torch.equal(heads[1], heads[3])
    assert not any(torch.equal(heads[5], other) for other in heads[:5])
    assert not torch.equal(heads[0], heads[1])


def test_lws_starts_from_the_logits_of_stage_one(joint):
    twin = copy.deepcopy(joint.model).eval()
    images = torch.randn(4, 3, 32, 32)
    before = twin(images)
    twin.head = ScaledHead(twin.head, torch.ones(CLASSES))
    assert torch.equal(twin(images), before)


def test_an_epoch_of_the_second_stage_shows_every_class_equally_often(raw):
    run, shown = run_of(spec_of("crt"), raw), []
    counts = np.bincount(run.parts.train.labels.numpy())
    assert counts.tolist() == [60, 46, 35, 27, 21, 16, 12, 10, 7, 6]

    def execute(program, device_side):
        if program[0] == 1:
            shown.append(run.course.batches.current().labels.numpy())
        return device_side()

    run.execute = execute
    run.finish()
    epochs = np.split(np.concatenate(shown), SECOND["epochs"])
    for labels in epochs:
        assert len(labels) == 60 * CLASSES and np.abs(np.bincount(labels) - 60).max() <= 4
    assert not np.array_equal(*epochs)


def test_class_means_are_of_features_in_the_precision_of_the_run(raw):
    run = finished(spec_of("ncm", precision="bf16"), raw)
    plain, _ = seen(run, run.parts.train)
    with torch.autocast("cpu", torch.bfloat16):
        halved, _ = seen(run, run.parts.train)
    found = run.model.head.mean.double().numpy()
    np.testing.assert_allclose(found, halved.mean(0), rtol=1e-5)
    assert np.abs(found - plain.mean(0)).max() > 1e-5


# --- the same run again ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_run_resumed_anywhere_ends_as_if_never_stopped(method, joint, second, raw):
    whole = joint if method == "joint" else second[method]
    kept, last = {}, joint.step
    stops = {5, last - 1, last, last + 1, last + 20, whole.step}

    def tick(run):
        if run.step in stops:
            kept[run.step] = reloaded(run.state())

    assert outcome(finished(spec_of(method), raw, tick)) == outcome(whole)
    assert len(kept) >= (5 if method in THAT_TRAIN else 3)
    for step, state in kept.items():
        run = run_of(spec_of(method), raw)
        run.load_state(state)
        assert run.step == step
        run.finish()
        assert outcome(run) == outcome(whole), f"stopped after step {step}"
