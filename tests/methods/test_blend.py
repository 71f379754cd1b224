"""Fixed blends of objectives: plain training bit for bit, and each blend as numpy computes it in float64."""

import numpy as np
import pytest
import torch
from support import capture, cells, every_method
from support.mnist_runs import finished, outcome
from support.mnist_runs import spec_of as spec_of_mnist

from reweigh.config.cards import check_options
from reweigh.config.methods.blend import ADJUSTED, ALL, PLAIN
from reweigh.config.methods.sgd import PLAIN as SGD
from reweigh.errors import ConfigError
from reweigh.methods import base, blend, none

LDAM = {"name": "ldam", "max_margin": 0.5, "scale": 2.0}
BALANCE = {"beta": 0.9999, "from_epoch": 1}


def ran(uses, options, mnist, module=None):
    spec = spec_of_mnist("none")
    spec.update(uses=uses, method_options=options)
    spec["data"]["split"].update(validation_size=20)
    return outcome(finished(spec, mnist))


@pytest.mark.parametrize(
    ("uses", "options", "own"),
    [
        ("none", {"scale": "mean"}, {}),
        ("sgd", SGD, {"objective": {"ce": 1.0, "ce_deo": 0.0}}),
        ("sgd", {**SGD, "loss": LDAM}, {"loss": LDAM}),
        ("sgd", {**SGD, "loss": LDAM, "class_balance": BALANCE}, {"loss": LDAM, "class_balance": BALANCE}),
    ],
)
def test_the_mean_alone_is_plain_training_bit_for_bit(uses, options, own, mnist):
    assert ran("blend", {**PLAIN, **own}, mnist) == ran(uses, options, mnist)


def test_on_training_and_validation_set_too(mnist, monkeypatch):
    on_train = ran("none", {"scale": "mean"}, mnist)
    whole = lambda self, epochs: [base.Stage("train", epochs, part="train+validation")]  # noqa: E731
    monkeypatch.setattr(none.Method, "stages", whole)
    plain = ran("none", {"scale": "mean"}, mnist)
    assert ran("blend", ALL, mnist) == plain != on_train


# --- by numpy --------------------------------------------------------------------------------------------------------


def mean_over(kinds, count):
    """Σ_i ℓ_i/n_{k(i)} / Σ_i 1/n_{k(i)} as weights of a batch, n the counts of the training set."""
    sizes = np.array(cells.SIZES).reshape(count, -1).sum(1)
    inverse = 1 / sizes[kinds]
    return inverse / inverse.sum()


def difference(losses, groups):
    """The weights of Σ_k |L_{k,1} − L_{k,2}| over classes of which the batch has both cells."""
    weights = np.zeros(len(losses))
    for first, second in ((0, 1), (2, 3)):
        pair = [groups == first, groups == second]
        if pair[0].any() and pair[1].any():
            sign = np.sign(losses[pair[0]].mean() - losses[pair[1]].mean())
            weights += sign * pair[0] / pair[0].sum() - sign * pair[1] / pair[1].sum()
    return weights


def by_hand(parts, logits, batch):
    """The weights (B,), the objective and its slopes by the logits (B, 2) of a blend."""
    labels, groups = batch.labels.numpy(), batch.groups.numpy()
    losses, slopes = cells.losses_and_slopes(logits, labels)
    table = np.array(cells.SIZES, float).reshape(2, 2)
    shifted = logits + np.log(table / table.sum(0)).T[groups % 2]
    of_group, group_slopes = cells.losses_and_slopes(shifted, labels)
    inverse = (table.sum() / table.sum(0))[groups % 2]
    ways = {
        "ce": (np.full(len(labels), 1 / len(labels)), losses, slopes),
        "ce_bal": (mean_over(labels, 2), losses, slopes),
        "ce_bal_g": (mean_over(groups, 4), losses, slopes),
        "ce_deo": (difference(losses, groups), losses, slopes),
        "group_la": (inverse / inverse.sum(), of_group, group_slopes),
    }
    weights, value, slope = 0, 0, 0
    for name, share in parts.items():
        way, its_losses, its_slopes = ways[name]
        weights, value = weights + share * way, value + share * way @ its_losses
        slope = slope + share * way[:, None] * its_slopes
    return weights, value, slope


BLENDS = [
    {"ce": 1.0},
    {"ce_bal": 1.0},
    {"ce_bal_g": 1.0},
    {"group_la": 1.0},
    {"ce": 0.1, "ce_deo": 0.9},
    {"ce": 0.3, "ce_bal_g": 0.2, "ce_deo": 0.4, "group_la": 0.1},
]


@pytest.mark.parametrize("parts", BLENDS, ids=lambda parts: "+".join(parts))
def test_each_blend_takes_the_steps_that_numpy_takes(parts):
    """Weights, objectives and the model after four steps, on batches that lack some of the cells."""
    model, rate = cells.linear(), 0.5
    twin = cells.Softmax(model)
    weights, objectives = cells.steps(blend.Method({**PLAIN, "objective": parts}, cells.context()), model, rate)
    assert len({len(np.unique(batch.groups)) for batch in cells.batches()}) > 1
    for batch, found, objective in zip(cells.batches(), weights, objectives, strict=True):
        expected, value, slopes = by_hand(parts, twin.logits(batch), batch)
        twin.descend(batch, slopes, rate)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
        assert objective == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(model.weight.detach().numpy(), twin.weight, rtol=1e-5, atol=1e-7)
    assert "ce_deo" not in parts or any((one < 0).any() for one in weights)


def test_the_loss_of_the_mean_is_the_methods_own_and_the_others_are_of_raw_logits():
    method = blend.Method({**PLAIN, "objective": {"ce": 0.4, "ce_deo": 0.6}, "loss": ADJUSTED}, cells.context())
    model = cells.linear()
    batch = cells.batches()[0]
    logits = cells.Softmax(model).logits(batch)
    _, (objective, *_) = cells.steps(method, model, 0.0)
    counts = np.array(cells.SIZES, float).reshape(2, 2).sum(1)
    seen = logits * (counts / counts.max()) ** ADJUSTED["gamma"] + ADJUSTED["tau"] * np.log(counts / counts.sum())
    labels = batch.labels.numpy()
    raw = by_hand({"ce_deo": 0.6}, logits, batch)[1]
    assert objective == pytest.approx(0.4 * cells.losses_and_slopes(seen, labels)[0].mean() + raw, rel=1e-6)


def test_a_difference_of_0_has_slope_0():
    weights = blend.Method({**PLAIN, "objective": {"ce_deo": 1.0}}, cells.context())
    model = cells.linear()
    for parameter in model.parameters():
        parameter.data.zero_()  # all losses are log 2
    found, _ = cells.steps(weights, model, 0.0)
    assert not np.concatenate(found).any()


@pytest.mark.parametrize("parts", BLENDS[1:], ids=lambda parts: "+".join(parts))
def test_whole_runs_on_cells_replay_and_resume(parts, mnist, monkeypatch):
    capture.use_optimiser_of_a_gpu(monkeypatch)
    monkeypatch.setattr("reweigh.checking.runs.draw", cells.drawn_in_cells)
    wanted = {"objective": {"ce": 0.1, "ce_deo": 0.9}, "by": "errors", "temperatures": [1.0]}
    watched = every_method.Watched("blend", {**ALL, "objective": parts, "threshold": wanted}, mnist)
    every_method.check_replay(watched)
    every_method.check_resume(watched)
    total = sum(share * (name != "ce_deo") for name, share in parts.items())
    assert watched.run.diverged_at is None
    assert watched.run.curves["effective_weight"] == pytest.approx([total] * 6, abs=1e-5)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"objective": {}}, "at least one part"),
        ({"objective": {"ce": -1.0}}, "ce"),
        ({"objective": {"ce_bal": 1.0}, "loss": LDAM}, "loss stands for ce"),
        ({"objective": {"ce": 0.5, "ce_deo": 0.5}, "class_balance": BALANCE}, "class_balance goes with ce alone"),
        ({"part": "validation"}, "part"),
    ],
)
def test_options_that_cannot_be_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        check_options("blend", {**PLAIN, **options}, "here")


def test_a_loss_that_drops_examples_is_refused_beside_others():
    loss = {"name": "gce", "q": 0.7, "truncation": 0.5, "refresh_from": 1, "refresh_every": 2}
    with pytest.raises(ConfigError, match="drops examples"):
        blend.Method({**PLAIN, "objective": {"ce": 0.5, "ce_deo": 0.5}, "loss": loss}, cells.context())


def test_cells_are_needed_where_they_are_asked_for():
    context = cells.context()
    classes = base.RunContext(**{name: getattr(context, name) for name in context.__dataclass_fields__} | {
        "group_counts": context.class_counts
    })  # fmt: skip
    with pytest.raises(ConfigError, match="ce_deo"):
        blend.Method({**PLAIN, "objective": {"ce_deo": 1.0}}, classes)
    assert torch.equal(blend.Method(PLAIN, classes).context.group_counts, context.class_counts)
