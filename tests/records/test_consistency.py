"""Records that hold together have no contradictions; whatever is altered in one, and said twice, is found."""

import copy
import itertools
import json

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import project, synthetic_records
from support.forgeries import forged
from support.project import ROOT

from reweigh.config import loading as config
from reweigh.digest import digest
from reweigh.provenance import record_schema
from reweigh.provenance.consistency import contradictions
from reweigh.records import record
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.run import Job

CPU = torch.device("cpu")
COMMITTED = sorted((ROOT / "results" / "paper").glob("*/*/*/*/seed*.json"))
TDR = "smoke/tdr/mnist-4v9/rho0.1/tdr/seed0"
TRAINED = (
    TDR,
    "smoke/tdr/adult/sex/tdr/seed0",  # groups
    "smoke/tdr/adult/sex/constant/seed0",  # no stage
    "smoke/absgd/two-stage/lt-rho100/ncm/seed0",  # a last stage of no epochs
    "smoke/absgd/two-stage/lt-rho100/crt/seed0",  # stage one taken over; a second stage of other batches
    "smoke/absgd/tuning-cifar10-lt/lambda5-gamma0.5/absgd_ce/seed0",  # measured on validation examples
)
# What may be altered unseen, and why: no other part of a record depends on it.
UNSAID = {
    "curves.train_loss": "measured once",
    "curves.effective_weight": "measured once",
    "curves.train_seconds": "between its neighbours; its end is `seconds`",
    "peak_bytes": "measured once",
    "parameters": "measured once",
    "resumed": "measured once",
    "device.runs_at_once": "measured once",
    "raw": "the audit compares files",
    "trace.arrays": "the audit compares files",
    "seconds": "since version 3, for what follows the last epoch takes some; before, they are the end of a curve",
    "split.sizes": "but for the part that was measured; the audit draws splits again",
    "diverged_at_step": "within the last epoch",
    "stages.batch_size": "several sizes give as many steps",
    "curves.train_accuracy": "but for its end",
    "curves.train_balanced_accuracy": "but for its end",
    "curves.train_clean": "but for its end",
    "curves.validation_": "but for its end, where it is beside what is measured",
    "curves.test_balanced_accuracy": "but for its end",
    "prefix.seconds": "between the epochs before its end and after it",
    "prefix.peak_bytes": "up to that of the run",
    "stages.epochs": "of those that a diverged run did not come to; else they give its steps",
}


def problems(body):
    return contradictions(body) + record_schema.faults(body)


def test_committed_records_hold_together():
    assert len(COMMITTED) >= 120
    assert {path.name: contradictions(json.loads(path.read_text())) for path in COMMITTED} == {
        path.name: [] for path in COMMITTED
    }


def test_made_up_records_hold_together(tmp_path):
    root = synthetic_records.project(tmp_path)
    loaded = config.load(root)
    cells = {run.rpartition("/")[0] for scale in ("smoke", "paper") for run in runs_of(loaded, scale)}
    assert len(cells) > 200
    for cell in sorted(cells)[::3]:
        if config.resolve(f"{cell}/seed0")["training"].get("also_measure"):
            continue  # what is measured beside the test set is not made up here
        assert problems(synthetic_records.make(root, f"{cell}/seed0")) == [], cell
    assert problems(synthetic_records.make(root, TDR, "diverged", test_accuracy=0.123456)) == []


def runs_of(loaded, scale):
    return itertools.chain.from_iterable(loaded.runs(scale, paper) for paper in loaded.papers)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, raw_root):
    """Freshly trained records, by name: of several kinds of run, one that diverged, one that was stopped on the way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.make(tmp_path_factory.mktemp("trained"), raw_root))
        bodies = {run: Job(config.resolve(run), CPU).finish() for run in TRAINED}
        spec = config.resolve(TDR)
        spec["data"]["split"] |= {"noise": {"kind": "symmetric", "rate": 0.2}, "validation_size": 40}
        spec["training"] |= {"also_measure": ["train", "validation"], "keep_margins": True}
        bodies["also"] = Job({**spec, "setting": "noisy"}, CPU).finish()
        bodies["twin"] = Job({**config.resolve(TRAINED[4]), "experiment": "again"}, CPU).finish()
        spec = config.resolve(TRAINED[4])
        spec["training"] |= {"learning_rate": 1e6, "epochs": 3}
        bodies["diverged"] = Job(spec, CPU).finish()
        clock = Clock()
        clock.stop()
        with pytest.raises(OutOfTime):
            Job(config.resolve(TDR), CPU, clock).finish()
        bodies["stopped"] = Job(config.resolve(TDR), CPU).finish()
    return bodies


def test_trained_records_hold_together(trained):
    for name, body in trained.items():
        assert problems(body) == [], name
    assert trained["diverged"]["status"] == "diverged"
    assert trained["stopped"]["resumed"] == 1
    assert [trained[run]["prefix"]["reused"] for run in TRAINED[3:5]] == [False, True]
    assert trained["twin"]["prefix"]["stages"] == trained["twin"]["prefix"]["of"] == 2
    assert "validation_accuracy" in trained[TRAINED[5]]["metrics"]


@pytest.mark.slow
def test_every_method_trains_records_that_hold_together(tmp_path, raw_root, monkeypatch):
    monkeypatch.chdir(project.make(tmp_path, raw_root))
    seen, heads = set(), ("absgd_head", "crt", "joint", "lws", "ncm", "tau_norm")
    optional = [f"smoke/absgd/two-stage/lt-rho100/{method}/seed0" for method in heads]
    for run in [*optional, *runs_of(config.load(ROOT), "smoke")]:
        spec = config.resolve(run)
        kind = spec["uses"], spec["data"]["split"]["kind"], json.dumps(spec["method_options"].get("loss"))
        if kind not in seen and (raw_root / spec["data"]["dataset"]).is_dir():
            seen.add(kind)
            assert problems(Job(spec, CPU).finish()) == [], run
    assert len({uses for uses, _, _ in seen}) == 23


def test_a_run_on_a_gpu_costs_gpu_seconds_and_perhaps_energy(trained):
    body = on_gpu(trained[TDR], energy_joules=100.0)
    assert contradictions(body) == []
    assert found(on_gpu(body, energy_joules=1e9)) == ["energy_joules is"]
    assert found(on_gpu(body, gpu_seconds=0.0)) == ["gpu_seconds is 0.0 on a cuda"]


def on_gpu(body, **changes):
    device = {**body["device"], "kind": "cuda", "graph": {"captured": ["step"], "eager": {}}}
    return {**body, "device": device, "gpu_seconds": body["seconds"], **changes}


def found(body):
    """The first words of what is found."""
    return [one[: len(start)] for one in contradictions(body) for start in SAID if one.startswith(start)]


STAGE = {
    "name": "train",
    "train": "all",
    "part": "train",
    "fresh": False,
    "sampling": "uniform",
    "batch_size": 50,
    "steps_per_epoch": 5,
    "best_epoch": None,
    "best_epoch_test_accuracy": None,
}
SAID = ("energy_joules is", "gpu_seconds is 0.0 on a cuda")

FORGERIES = [
    ({"run": TDR.replace("seed0", "seed1")}, "run is"),
    ({"spec_digest": "0" * 64}, "spec_digest is not"),
    ({"spec.training.epochs": 7}, "spec_digest is not"),
    ({"code.files": {}}, "code.digest is not"),
    ({"split.path": "data/splits/smoke/tdr/mnist-4v9/rho0.1/seed1.npz"}, "split.path is"),
    ({"raw": []}, "raw names no file of mnist"),
    ({"device.precision": "bf16"}, "device.precision is bf16"),
    ({"device.threads": 64}, "device.threads is 64"),
    ({"trace.file": "seed1.npz"}, "trace.file is seed1.npz"),
    ({"started": "2030-01-01T00:00:00Z"}, "before it started"),
    ({"ended": "2020-01-01T00:00:00Z"}, "before it started"),
    ({"started": "2019-01-01T00:00:00Z"}, "before any version of torch"),
    ({"ended": "2999-01-01T00:00:00Z"}, "in the future"),
    ({"ended": "yesterday"}, "times cannot be checked"),
    ({"seconds": 1e6, "curves.train_seconds": [1e6]}, "do not fit between started and ended"),
    ({"gpu_seconds": 1.0}, "gpu_seconds is 1.0 on a cpu"),
    ({"energy_joules": 10.0}, "on a CPU"),
    ({"environment.cuda": "13.2"}, "environment.cuda is 13.2 on a CPU"),
    ({"device.graph": {"captured": [], "eager": {}}}, "CUDA graphs on a CPU"),
    ({"peak_bytes": 0}, "peak_bytes is 0"),
    ({"group_sizes": {"test": [1, 2]}}, "group_sizes is there, but mnist has no groups"),
    ({"split.sizes.target": [24, 25]}, "split.sizes.target sums to 49"),
    ({"metrics.per_group_accuracy": [0.5, 0.5]}, "but group_sizes None: only both or neither can be null"),
    ({"metrics.confusion": [[1, 0], [0, 1]]}, "do not sum to split.sizes.test"),
    ({"metrics.per_class_accuracy": [0.5]}, "does not have one entry for each class"),
    ({"curves.epoch": [2]}, "curves.epoch is not"),
    ({"curves.epoch": []}, "curves differ in length"),
    ({"curves.train_loss": [None]}, "was not finite"),
    ({"status": "diverged"}, "diverged_at_step is None"),
    ({"diverged_at_step": 1}, "diverged_at_step is 1"),
    ({"status": "diverged", "diverged_at_step": 99}, "but the last epoch was steps"),
    ({"stages": []}, "its stages and data give 0"),
    ({"steps": 4}, "which is not the end of an epoch"),
    ({"steps": 10**15, "stages": [{**STAGE, "epochs": 10**15 // 5}]}, "curves.epoch is not"),
    ({"metrics": {}}, "metrics cannot be checked: KeyError"),
    ({"record_version": 4}, "record_version is 4"),
    ({"record_version": 1}, "which does not have energy_joules"),
    ({"record_version": 2}, "which does not have also_measured"),
    ({"diverged_because": "it is Friday"}, "but diverged_at_step is None"),
    ({"curves.stage": [1]}, "is one of another stage"),
    ({"also_measured": {}}, "is not of the parts that its spec asks for"),
]


@pytest.mark.parametrize(("changes", "says"), FORGERIES, ids=lambda one: one if isinstance(one, str) else "+".join(one))
def test_a_forgery_is_found(trained, changes, says):
    body = forged(trained[TDR], changes)
    assert any(says in one for one in contradictions(body)), contradictions(body)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda women, men: [men, women], "metrics.per_group_accuracy is"),
        (lambda women, men: [women, women], "does not add up to confusion"),
        (lambda women, men: [women[:1], men], "is not a matrix like confusion for each group"),
        (lambda women, men: [[[sum(map(sum, women))] * 2] * 2, men], "does not add up to confusion"),
    ],
)
def test_the_confusion_of_groups_must_be_that_of_the_whole(trained, change, says):
    body = trained["smoke/tdr/adult/sex/tdr/seed0"]
    women, men = body["metrics"]["group_confusion"]
    found = contradictions(forged(body, {"metrics.group_confusion": change(women, men)}))
    assert any(says in one for one in found), found


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("train_loss", -0.1, "curves.train_loss is -0.1, which no train loss of tdr can be"),
        ("train_loss", float("inf"), "curves.train_loss has values that are not finite"),
        ("effective_weight", -1.0, "curves.effective_weight is -1.0, which no effective weight of tdr can be"),
    ],
)
def test_what_an_epoch_averages_has_a_sign(trained, key, value, says):
    body = copy.deepcopy(trained[TDR])
    body["curves"][key][-1] = value
    assert contradictions(body) == [says]


@pytest.mark.parametrize(
    ("key", "place", "name"), [("train_loss", "loss", "gce"), ("effective_weight", "uses", "meta")]
)
def test_what_may_be_negative_is_left_alone(trained, key, place, name):
    body = copy.deepcopy(trained[TDR])
    if place == "loss":
        body["spec"]["method_options"]["loss"] = {"name": name}
    else:
        body["spec"]["uses"] = name
    body["curves"][key][-1] = -0.1
    assert not [one for one in contradictions(body) if key in one]


def test_a_record_of_another_run_under_this_ones_name_is_found(trained):
    other = {
        **trained[TRAINED[1]],
        "run": TDR,
        "spec": trained[TDR]["spec"],
        "spec_digest": trained[TDR]["spec_digest"],
    }
    assert len(contradictions(other)) > 5


def numbers(value, path=()):
    """Every number in a record: the way to it."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from numbers(inner, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def test_what_is_unsaid_is_said_to_be(trained):
    names = {named(path) for body in trained.values() for path in numbers(body)}
    assert all(any(name.startswith(key) for name in names) for key in UNSAID), names


def named(path):
    return ".".join(str(key) for key in path if isinstance(key, str))


def said_twice(body):
    """The ways to all numbers of a record that nothing may alter, but for those of the spec, which has a digest."""
    said = {f"split.sizes.{body['spec']['training'].get('evaluate_on') or 'test'}"}
    if body["record_version"] < 3:
        said.add("seconds")
    if body["status"] == "finished":
        said.add("stages.epochs")
    for way in numbers({key: value for key, value in body.items() if key != "spec"}):
        if named(way) in said or not any(named(way).startswith(key) for key in UNSAID):
            yield way


@pytest.fixture(scope="module")
def bodies(trained):
    """Trained and committed records, with the ways to their numbers."""
    both = [*trained.values(), *(json.loads(path.read_text()) for path in COMMITTED[::17])]
    return Bodies((body, list(said_twice(body))) for body in both)


class Bodies(list):
    def __repr__(self):
        return f"{len(self)} records"


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_number_that_is_altered_is_found_unless_nothing_else_says_it(bodies, data):
    body, ways = bodies[data.draw(st.integers(0, len(bodies) - 1), "record")]
    body, way = copy.deepcopy(body), data.draw(st.sampled_from(ways), "number")
    part = body
    for key in way[:-1]:
        part = part[key]
    before = part[way[-1]]
    if isinstance(before, int):
        change = data.draw(st.integers(-5, 5).filter(bool), "change")
    else:
        change = data.draw(st.floats(1e-3, 0.5), "change") * data.draw(st.sampled_from((-1, 1)), "sign")
    part[way[-1]] = before + change
    if way[0] == "curves" and "accuracy" in way[1]:  # on a curve it may have been another one, of whole examples
        whole = change * sum(body["split"]["sizes"][body["spec"]["training"].get("evaluate_on") or "test"])
        assume(abs(whole - round(whole)) > 1e-3)
    assert contradictions(body), f"{way}: {before} -> {before + change}"


PREFIX_FORGERIES = [
    ({"stages": 0}, "prefix has 0 of 2 stages"),
    ({"of": 1}, "prefix has 1 of 1 stages"),
    ({"reused": False}, "prefix.reused is False, but"),
    ({"run": TRAINED[4], "reused": True, "stages": 2}, "prefix.reused is True, but"),
    ({"run": "somebody"}, "prefix cannot be checked"),
    ({"steps": 1}, "prefix.steps is 1"),
    ({"seconds": 0.0}, "prefix.seconds is 0.0"),
    ({"seconds": 1e9}, "prefix.seconds is 1000000000.0"),
    ({"peak_bytes": 10**15}, "prefix.peak_bytes is"),
    ({"energy_joules": 1.0}, "prefix.energy_joules is 1.0"),
]


@pytest.mark.parametrize(("changes", "says"), PREFIX_FORGERIES, ids=lambda one: one if isinstance(one, str) else "")
def test_a_forged_prefix_is_found(trained, changes, says):
    body = copy.deepcopy(trained[TRAINED[4]])
    body["prefix"] |= changes
    assert any(one.startswith(says) for one in contradictions(body)), contradictions(body)


def test_a_diverged_run_has_no_metrics(trained):
    body = copy.deepcopy(trained["diverged"])
    assert set(body["metrics"].values()) == {None} and contradictions(body) == []
    body["metrics"]["test_accuracy"] = 0.1
    assert contradictions(body) == ["status is diverged, but metrics has test_accuracy"]
    body = copy.deepcopy(trained["diverged"])
    body["curves"]["test_accuracy"][-1] = body["curves"]["test_accuracy"][-1] or 0.5
    assert contradictions(body)


ALSO_FORGERIES = [
    ({"train.accuracy": 0.375}, "also_measured.train.accuracy is 0.375"),
    ({"train_clean.balanced_accuracy": 0.375}, "also_measured.train_clean.balanced_accuracy is 0.375"),
    ({"validation.size": 41}, "also_measured.validation.confusion does not count"),
    ({"train.per_class_accuracy": [0.5, 0.375]}, "also_measured.train.per_class_accuracy is not"),
    ({"train.confusion": [[1, 0], [0, 1]]}, "also_measured.train.confusion does not count"),
]


@pytest.mark.parametrize(("changes", "says"), ALSO_FORGERIES, ids=lambda one: one if isinstance(one, str) else "")
def test_forged_metrics_of_other_parts_are_found(trained, changes, says):
    body = copy.deepcopy(trained["also"])
    assert set(body["also_measured"]) == {"train", "train_clean", "validation"}
    for path, value in changes.items():
        part, key = path.split(".")
        body["also_measured"][part][key] = value
    assert any(one.startswith(says) for one in contradictions(body)), contradictions(body)


def test_parts_that_the_spec_asks_for_are_all_measured(trained):
    body = copy.deepcopy(trained["also"])
    del body["also_measured"]["validation"]
    assert any("is not of the parts" in one for one in contradictions(body))
    assert any("is not of the parts" in one for one in contradictions({**body, "also_measured": None}))


def test_a_digest_made_anew_does_not_help(trained, tmp_path):
    body = copy.deepcopy(trained[TDR])
    body["metrics"]["test_accuracy"] += 0.01
    written = record.write(tmp_path / "seed0.json", {key: value for key, value in body.items() if key != "digest"})
    assert record.read(tmp_path / "seed0.json") == written and written["digest"] == digest(
        {key: value for key, value in written.items() if key != "digest"}
    )
    assert [one for one in contradictions(written) if one.startswith("metrics.test_accuracy is")]
