"""Where the data have groups, a run is measured by them, whatever its weights are by; against counts by hand."""

import copy

import numpy as np
import pytest
import torch
from support.mnist_runs import CPU, outcome

from reweigh import evaluate, metrics
from reweigh.config import loading as config
from reweigh.data.arrays import PARTS, RawData
from reweigh.data.split import draw
from reweigh.provenance import record_schema
from reweigh.provenance.consistency import contradictions
from reweigh.training.engine import Run
from reweigh.training.run import Job, group_sizes

GROUPS = ("north", "east", "south", "west")
KINDS = {
    "all": {},
    "long-tail": {"largest_class": 60, "imbalance_ratio": 3.0},
    "step": {"largest_class": 60, "imbalance_ratio": 3.0},
    "two-class": {"classes": [2, 0], "total": 80, "imbalance_ratio": 3.0},
    "groups": {},
}


def raw_of(grouped=True, seed=0):
    """Three classes of points in the plane, in four groups that lie apart, of which one is rare."""
    rng = np.random.default_rng(seed)
    found = {}
    for part, size in (("train", 300), ("test", 120)):
        labels = rng.permutation(np.arange(size) % 3)
        groups = rng.choice(4, size, p=[0.4, 0.3, 0.2, 0.1])
        inputs = rng.normal(size=(size, 5)).astype(np.float32)
        inputs[:, 0] += labels + 0.7 * groups
        found |= {f"{part}_inputs": inputs, f"{part}_labels": labels}
        found |= {f"{part}_groups": groups} if grouped else {}
    return RawData(**found, class_names=("a", "b", "c"), group_names=GROUPS if grouped else ())


def spec_of(kind, method="none", options=None, training=None, **split):
    spec = copy.deepcopy(config.resolve("smoke/tdr/adult/sex/tdr/seed0"))
    spec.update(method=method, uses=method, method_options=options or {"scale": "mean"})
    said = {"kind": kind, "target_size": 0, "target_inside": False, "validation_size": 24, "test": "all", **KINDS[kind]}
    spec["data"]["split"] = {"order": "random", "test_size": None, **said, **split}
    spec["training"].update(epochs=2, batch_size=20, target_batch_size=12, **(training or {}))
    return spec


def finished(spec, raw):
    torch.set_num_threads(1)
    run = Run(spec, raw, draw(raw, spec["data"]["split"], spec["seed"]), CPU)
    run.finish()
    return run


def by_hand(run, raw, part, train):
    """Counts (groups, labels, predictions), one example after the other."""
    inputs, groups = (raw.train_inputs, raw.train_groups) if train else (raw.test_inputs, raw.test_groups)
    classes = len(run.parts.split.class_names)
    counts = np.zeros((4, classes, classes), int)
    run.model.eval()
    with torch.no_grad():
        for row, label in zip(part.index.tolist(), part.label.tolist(), strict=True):
            guess = int(run.model(torch.from_numpy(inputs[row : row + 1])).argmax())
            counts[groups[row], label, guess] += 1
    return counts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", [None, "class", "group"])
@pytest.mark.parametrize("measured", ["test", "validation"])
def test_every_run_on_grouped_data_is_measured_by_group(kind, by, measured):
    raw = raw_of()
    spec = spec_of(kind, training={"evaluate_on": measured}, **({"weights_by": by} if by else {}))
    run = finished(spec, raw)
    split = run.parts.split
    found = run.results()["metrics"]
    counts = by_hand(run, raw, getattr(split, measured), measured == "validation")
    assert found["group_confusion"] == counts.tolist() and found["confusion"] == counts.sum(0).tolist()
    shares = [np.trace(table) / table.sum() if table.sum() else None for table in counts]
    assert found["per_group_accuracy"] == pytest.approx(shares)
    worst = metrics.DERIVED["worst_group_accuracy"]({"metrics": found})
    assert worst == min(share for share in shares if share is not None)
    known = {name: raw.test_groups if name == "test" else raw.train_groups for name in PARTS}
    assert group_sizes(run) == {
        name: [int((known[name][getattr(split, name).index] == group).sum()) for group in range(4)] for name in PARTS
    }


def test_being_measured_by_group_changes_nothing_else():
    plain, grouped = (outcome(finished(spec_of("all"), raw_of(known))) for known in (False, True))
    assert plain[0]["metrics"].pop("per_group_accuracy") is None and grouped[0]["metrics"].pop("per_group_accuracy")
    assert grouped[0]["metrics"].pop("group_confusion") and "group_confusion" not in plain[0]["metrics"]
    assert plain == grouped
    assert group_sizes(finished(spec_of("all"), raw_of(False))) is None


@pytest.mark.parametrize(("kind", "by", "width"), [("groups", None, 4), ("groups", "class", 3), ("all", "group", 4)])
def test_weights_are_by_what_the_split_says(kind, by, width):
    tdr = config.resolve("paper/tdr/adult/sex/tdr/seed0")["method_options"]
    spec = spec_of(kind, "tdr", {**tdr, "outer_every": 3}, target_size=12, **({"weights_by": by} if by else {}))
    run = finished(spec, raw_of())
    weights = run.trace()["class_weights"]
    assert weights.shape[1] == width and (weights[-1] != weights[0]).any()
    assert len(run.results()["metrics"]["per_group_accuracy"]) == 4


def test_a_record_states_no_more_counts_by_group_than_somebody_can_read(monkeypatch):
    monkeypatch.setattr(evaluate, "MOST_COUNTS", 4 * 3 * 4 - 1)
    found = finished(spec_of("all"), raw_of()).results()["metrics"]
    assert "group_confusion" not in found and len(found["per_group_accuracy"]) == 4
    monkeypatch.setattr(evaluate, "MOST_COUNTS", 4 * 3 * 4)
    assert "group_confusion" in finished(spec_of("all"), raw_of()).results()["metrics"]


def adult(method, **split):
    spec = copy.deepcopy(config.resolve(f"smoke/tdr/adult/sex/{method}/seed0"))
    spec["data"]["split"].update({"test": "all", **split})
    spec["training"].update(batch_size=2000)
    return spec


@pytest.mark.parametrize(
    "split", [{"kind": "all"}, {"kind": "all", "weights_by": "group"}, {"kind": "groups", "weights_by": "class"}]
)
def test_a_record_of_adult_by_class_states_the_sexes_and_holds_together(split, folder):
    body = Job(adult("none", **split), CPU).finish()
    assert contradictions(body) + record_schema.faults(body) == []
    assert body["group_sizes"]["test"] == [4913, 10147] and len(body["metrics"]["group_confusion"]) == 2
    assert [sum(map(sum, table)) for table in body["metrics"]["group_confusion"]] == [4913, 10147]
    forged = copy.deepcopy(body)
    forged["group_sizes"]["test"] = [5913, 9147]
    assert any("per_group_accuracy does not give" in one for one in contradictions(forged))
    forged["group_sizes"] = None
    assert any("only both or neither can be null" in one for one in contradictions(forged))
