"""Figures 3 and 4 of MOLERE: changes of test margins, pair by pair, by buckets, without regression to the mean."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import molere_records, synthetic_records
from support.drawing import draw_artifact
from support.molere_records import PAPER, bodies, expected, kept, summary, texts

from reweigh.analysis import margins
from reweigh.config.loading import load
from reweigh.plots.figure import Figure

SEEDS = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with made-up records of what the two figures read, at three seeds of one setting."""
    root = synthetic_records.project(tmp_path_factory.mktemp("margins"))
    config = load(root)
    for method in ("erm", "lrw_easy", "lrw_hard", "lrwopt"):
        for run in config.runs_of(f"{PAPER}/mnist-ordering/clean/{method}")[:SEEDS]:
            molere_records.make(root, run)
    return root


@pytest.fixture(scope="module")
def drawn(root: Path) -> dict[str, Figure]:
    return {name: draw_artifact(root, "paper", "molere", name) for name in ("fig3", "fig4")}


def of(rows: pd.DataFrame, metric: str, method: str, note: str = "", setting: str = "clean") -> pd.DataFrame:
    mine = rows[(rows["experiment"] == "mnist-ordering") & (rows["setting"] == setting) & (rows["method"] == method)]
    return mine[(mine["metric"] == metric) & (mine["note"] == note)]


def test_fig3_draws_changes_of_margins_of_the_same_seed(root, drawn):
    rows = drawn["fig3"].rows
    pairs = zip(*(kept(root, f"mnist-ordering/clean/{name}") for name in ("lrwopt", "erm")), strict=True)
    changes = [one - two for one, two in pairs]
    assert summary(of(rows, margins.MEAN, "lrwopt").iloc[0]) == expected(np.array([c.mean() for c in changes]))
    median = of(rows, margins.MEDIAN, "lrwopt").iloc[0]
    assert summary(median) == expected(np.array([np.median(c) for c in changes]))
    shares = of(rows, margins.SHARE, "lrwopt").set_index("x")
    inside = [((c >= 0.1) & (c < 0.15)).mean() for c in changes]
    assert shares.loc[0.125, "mean"] == pytest.approx(np.mean(inside))
    assert shares["mean"].sum() == pytest.approx(1)


def test_fig3_takes_buckets_by_the_margin_under_erm(root, drawn):
    rows = drawn["fig3"].rows
    means, errors = [], []
    for one, two in zip(*(kept(root, f"mnist-ordering/clean/{name}") for name in ("lrw_hard", "erm")), strict=True):
        change = (one - two)[(two >= 0.4) & (two < 0.6)]
        means.append(change.mean())
        errors.append(change.std(ddof=1) / np.sqrt(len(change)))
    line = of(rows, margins.BUCKET, "lrw_hard").set_index("x").loc[0.4]
    assert summary(line) == expected(np.array(means))
    assert of(rows, margins.SEM_IN, "lrw_hard").set_index("x").loc[0.4, "mean"] == pytest.approx(np.mean(errors))
    starts = of(rows, margins.BUCKET, "lrw_hard")["x"].tolist()
    assert starts == pytest.approx(np.arange(-1, 1, 0.2).tolist())


def test_fig3_has_a_line_of_erm_against_erm_of_another_seed(root, drawn):
    rows = drawn["fig3"].rows
    erm = kept(root, "mnist-ordering/clean/erm")
    after = [*erm[1:], erm[0]]
    means = [(new - old)[old < -0.8].mean() for new, old in zip(after, erm, strict=True)]
    line = of(rows, margins.BUCKET, "erm", margins.ANOTHER).set_index("x").loc[-1.0]
    assert summary(line) == expected(np.array(means))
    assert line["mean"] > 0.03  # no method is in it: margins regress to their mean


def test_fig4_takes_the_regression_out_by_buckets_of_a_third_run(root, drawn):
    rows = drawn["fig4"].rows
    hard, erm = (kept(root, f"mnist-ordering/clean/{name}") for name in ("lrw_hard", "erm"))
    after = [*erm[1:], erm[0]]
    inside = [(one - two)[by < -0.8].mean() for one, two, by in zip(hard, erm, after, strict=True)]
    apart = of(rows, margins.BUCKET, "lrw_hard", margins.APART).set_index("x").loc[-1.0]
    own = of(rows, margins.BUCKET, "lrw_hard").set_index("x").loc[-1.0]
    assert apart["mean"] == pytest.approx(np.mean(inside))
    assert abs(apart["mean"]) < 0.5 * own["mean"]


def test_margins_of_different_test_examples_are_not_paired(root):
    one, other = bodies(root, "mnist-ordering/clean/erm")[:2]
    assert margins.same_examples(one, other)  # the whole test set, whatever the seed
    for side in (one, other):
        side["spec"]["data"]["split"] |= {"test": "balanced", "test_size": 1000}
    assert not margins.same_examples(one, other)
    for side in (one, other):
        side["spec"]["data"]["split"]["test_seed"] = 7
    assert margins.same_examples(one, other)
    other["spec"]["data"]["split"]["test_size"] = 2000
    assert not margins.same_examples(one, other)


def test_a_margin_of_one_lies_in_the_last_bucket():
    rows = margins.bucket_rows(np.array([1.0, 3.0, 5.0]), np.array([1.0, 0.8, -0.2]))
    assert rows[margins.BUCKET] == [(-0.2, 5.0), (0.8, 2.0)]
    assert rows[margins.SD_IN] == [(0.8, pytest.approx(np.sqrt(2)))]
    assert sum(share for _, share in rows[margins.IN_BUCKET]) == pytest.approx(1)


def test_margins_that_were_not_kept_are_said_to_be(tmp_path):
    root = synthetic_records.project(tmp_path)
    for method in ("erm", "lrwopt"):
        molere_records.make(root, f"{PAPER}/mnist-ordering/clean/{method}/seed0", margins=False)
    figure = draw_artifact(root, "paper", "molere", "fig3")
    assert "margins were not kept" in texts(figure).replace("\n", " ")
