"""Group DRO as numpy computes it in float64, on batches that lack some of the groups."""

import numpy as np
import pytest
import torch
from support import capture, cells, every_method

from reweigh.methods import base, group_dro

OPTIONS = {"rate": 0.8, "part": "train", "threshold": None}


def by_hand(twin, rate, there):
    """q after each step of `cells.BATCHES`, the weights (B,) of each and the objectives; `twin` takes the steps."""
    q = np.array(there) / sum(there)
    rows = []
    for batch in cells.batches():
        losses, slopes = cells.losses_and_slopes(twin.logits(batch), batch.labels.numpy())
        groups = batch.groups.numpy()
        means = np.array([losses[groups == group].mean() if (groups == group).any() else 0.0 for group in range(4)])
        q = q * np.exp(OPTIONS["rate"] * means)
        q /= q.sum()
        weights = q[groups] / np.bincount(groups, minlength=4)[groups]
        twin.descend(batch, weights[:, None] * slopes, rate)
        rows.append((q, weights, q @ means))
    return rows


@pytest.mark.parametrize("sizes", [cells.SIZES, (30, 5, 0, 12)], ids=["all cells", "a cell without training examples"])
def test_it_is_algorithm_1_of_sagawa_et_al(sizes):
    """q, the weights, the objective and the model after each step; a group that a batch lacks is only divided."""
    model, rate = cells.linear(), 0.5
    twin = cells.Softmax(model)
    expected = by_hand(twin, rate, np.array(sizes) > 0)
    method = group_dro.Method(OPTIONS, cells.context(sizes))
    weights, objectives = cells.steps(method, model, rate)
    for (_, way, value), found, objective in zip(expected, weights, objectives, strict=True):
        np.testing.assert_allclose(found, way, rtol=1e-12, atol=1e-15)
        assert objective == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(method.logged["group_weights"].numpy(), expected[-1][0], rtol=1e-12)
    np.testing.assert_allclose(model.weight.detach().numpy(), twin.weight, rtol=1e-10)
    assert [round(float(one.sum()), 9) < 1 for one in weights] == [False, True, True, False] or sizes[2] == 0


def test_the_trace_has_a_row_an_epoch(mnist, monkeypatch):
    capture.use_optimiser_of_a_gpu(monkeypatch)
    monkeypatch.setattr("reweigh.checking.runs.draw", cells.drawn_in_cells)
    wanted = {"objective": {"ce": 0.1, "ce_deo": 0.9}, "by": "losses", "temperatures": [1.0, 2.0]}
    options = {"rate": 0.01, "part": "train+validation", "threshold": wanted}
    watched = every_method.Watched("group_dro", options, mnist)
    every_method.check_replay(watched)
    every_method.check_resume(watched)
    rows = watched.run.trace()["group_weights"]
    assert rows.shape == (2 * every_method.EPOCHS, 4)
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-6)
    assert [course.stage.name for course in watched.run.courses] == ["fit", "train"]


def test_each_stage_begins_with_equal_weights():
    method = group_dro.Method(OPTIONS, cells.context())
    cells.steps(method, cells.linear(), 0.0)
    assert (method.q - 0.25).abs().max() > 0.01
    method.follow(cells.context((30, 5, 0, 12)))
    assert method.q.tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])


def test_the_rate_decides_how_far_the_weights_move():
    found = {}
    for rate in (0.01, 0.1):
        method = group_dro.Method({**OPTIONS, "rate": rate}, cells.context())
        cells.steps(method, cells.linear(), 0.0)
        found[rate] = (method.q - 0.25).abs().max()
    assert 0 < found[0.01] < found[0.1] / 5


def test_it_says_when_an_epoch_ends():
    method = group_dro.Method(OPTIONS, cells.context())
    stage = base.Stage("train", 2)
    programs = [method.prepare(base.Position(step, step // 2, stage, step, 2, 0.1)) for step in range(4)]
    assert programs == ["step", "step, end of epoch"] * 2
    assert torch.equal(method.q, torch.full((4,), 0.25, dtype=torch.float64))
