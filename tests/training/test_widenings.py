"""A method that uses every widening of the engine at once: what it computes, how it is killed, that it replays."""

import io
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import capture, image_layouts, widened
from support.mnist_runs import outcome
from support.project import ROOT, environment

from reweigh.data import load
from reweigh.data.arrays import Part, RawData, Split
from reweigh.data.batches import DevicePart
from reweigh.data.split import draw
from reweigh.errors import ConfigError
from reweigh.losses import ldam
from reweigh.methods.base import Stage
from reweigh.training import engine, sealed

MODELS = {"lenet": "mnist", "resnet": "cifar10-slice"}
EPOCHS = {"search": 2, "half": 3, "shrink": 0, "head": 1, "retrain": 2}


def saved(run):
    file = io.BytesIO()
    torch.save(run.state(), file)
    return file.getvalue()


class Whole:
    """A run that nobody stops, and its state after every step and at the end of every stage."""

    def __init__(self, model, raw):
        self.spec, self.raw = widened.spec_of(model), raw
        self.run = widened.run_of(self.spec, raw)
        self.first_weights = {name: value.clone() for name, value in self.run.model.state_dict().items()}
        self.after_step, self.between, self.members, self.fresh_weights = {}, {}, {}, None
        self.run.stage_over = lambda run: self.between.update({run.stage: saved(run)})
        self.run.finish(self.tick)
        self.outcome = outcome(self.run)

    def tick(self, run):
        self.after_step[run.step] = saved(run)
        if not run.over and run.course.stage.name == "half" and run.stage_step % run.course.steps_per_epoch == 1:
            self.members[run.stage_step // run.course.steps_per_epoch] = run.method.rows.tolist()
        if not run.over and run.course.stage.name == "retrain" and run.stage_step == 0:
            self.fresh_weights = {name: value.clone() for name, value in run.model.state_dict().items()}

    def resumed(self, state):
        """The outcome of a run in another object that goes on from a state."""
        run = widened.run_of(self.spec, self.raw)
        run.load_state(sealed.load(io.BytesIO(state)))
        run.finish()
        return outcome(run)


@pytest.fixture(scope="module", params=list(MODELS))
def whole(request, raw_root):
    return Whole(request.param, load.read(MODELS[request.param], root=raw_root))


# --- killed -----------------------------------------------------------------------------------------------------------


def places(whole):
    """Steps to stop after: the first, middle and last ones of each stage, ends of epochs, and some at random."""
    chosen = set(random.Random(11).sample(sorted(whole.after_step), 6))
    for course in whole.run.courses:
        if course.steps:
            inside = (0, 1, course.steps_per_epoch, course.steps_per_epoch + 1, course.steps - 1)
            chosen |= {course.first_step + step for step in inside}
    return [*sorted(chosen - {0}), whole.run.total_steps]


def test_stopped_after_any_step_it_ends_bit_identical(whole):
    for step in places(whole):
        assert whole.resumed(whole.after_step[step]) == whole.outcome, f"stopped after step {step}"


def test_stopped_between_two_stages_it_ends_bit_identical(whole):
    assert sorted(whole.between) == [0, 1, 2, 3, 4]
    for stage, state in whole.between.items():
        assert whole.resumed(state) == whole.outcome, f"stopped before stage {stage}"


def test_stopped_again_and_again_it_ends_bit_identical(whole):
    run, generator = widened.run_of(whole.spec, whole.raw), random.Random(5)
    while not run.over:
        for _ in range(generator.randint(1, 15)):
            if not run.over:
                run.advance()
        state, run = saved(run), widened.run_of(whole.spec, whole.raw)
        run.load_state(sealed.load(io.BytesIO(state)))
    assert outcome(run) == whole.outcome


def test_a_state_that_was_loaded_is_not_moved_by_what_comes_after(whole):
    state = sealed.load(io.BytesIO(whole.after_step[3]))
    run = widened.run_of(whole.spec, whole.raw)
    run.load_state(state)
    run.finish()
    again = sealed.load(io.BytesIO(whole.after_step[3]))
    assert str(state) == str(again)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from support import widened
from reweigh.data import load
from reweigh.training.checkpoint import Keeper
raw_root, folder = sys.argv[2:]
run = widened.run_of(widened.spec_of("lenet"), load.read("mnist", root=raw_root))
keeper = Keeper("widened", "key", folder=Path(folder))
print("resumed" if keeper.resume(run) else "began", run.step, flush=True)

def tick(run):
    keeper(run)
    print("step", run.step, flush=True)

run.finish(tick)
print("over", run.model.head.weight.double().sum().item().hex(), run.step, flush=True)
"""


def test_killed_by_the_system_in_each_stage_it_ends_bit_identical(raw_root, tmp_path):
    whole = Whole("lenet", load.read("mnist", root=raw_root))
    stops = [course.first_step + course.steps // 2 for course in whole.run.courses if course.steps]
    command = [sys.executable, "-c", KILLED, str(ROOT / "tests"), str(raw_root), str(tmp_path)]
    for stop in [*stops, None]:
        with subprocess.Popen(
            command, env=environment(REWEIGH_CHECKPOINT_SECONDS="0"), stdout=subprocess.PIPE, text=True
        ) as process:
            first = process.stdout.readline().split()
            assert first[0] == ("began" if stop == stops[0] else "resumed")
            for line in process.stdout:
                if stop is not None and line.startswith("step") and int(line.split()[1]) >= stop:
                    time.sleep(random.Random(stop).random() / 50)  # somewhere in a later step, or in writing its state
                    os.kill(process.pid, signal.SIGKILL)
                    break
            else:
                assert line.split() == ["over", whole.run.model.head.weight.double().sum().item().hex(), "93"]


# --- captured ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", list(MODELS))
def test_recorded_once_and_replayed_it_ends_bit_identical(model, raw_root, monkeypatch):
    raw, spec = load.read(MODELS[model], root=raw_root), widened.spec_of(model)
    monkeypatch.setattr(engine, "MomentumSGD", lambda *given: widened.MomentumSGD(*given, captured=True))
    executor = capture.Replayed()
    outcomes = []
    for execute in (executor, capture.observed):
        run = widened.run_of(spec, raw, execute)
        run.finish()
        outcomes.append(outcome(run))
    assert outcomes[0] == outcomes[1]
    stages = {stage for stage, _, _ in executor.programs}
    assert stages == {0, 1, 3, 4} and executor.replays > run.step / 3
    assert {program for stage, program, _ in executor.programs if stage == 0} == {"outer", "plain"}


# --- what it trains on ------------------------------------------------------------------------------------------------


def counts_of(labels, classes):
    return np.bincount(labels, minlength=classes).tolist()


def test_stages_are_as_long_as_their_own_streams(whole):
    split = draw(whole.raw, whole.spec["data"]["split"], 0)
    labels, held_out = split.train.label, split.validation.label
    classes = len(split.class_counts)
    size, head = 32, 16
    expected = {
        "search": -(-len(labels) // size),
        "half": -(-(len(labels) // 2) // size),
        "shrink": -(-len(labels) // size),
        "head": -(-max(counts_of(labels, classes)) * classes // head),
        "retrain": -(-(len(labels) + len(held_out)) // size),
    }
    results = whole.run.results()
    stages = {stage["name"]: stage for stage in results["stages"]}
    assert {name: stage["steps_per_epoch"] for name, stage in stages.items()} == expected
    assert results["steps"] == whole.run.total_steps == sum(EPOCHS[name] * steps for name, steps in expected.items())
    curves = results["curves"]
    assert curves["stage"] == [0, 0, 1, 1, 1, 3, 4, 4] and curves["epoch"] == list(range(1, 9))
    assert whole.run.trace()["epochs_begun"].tolist() == list(range(8))
    firsts = [course.first_step for course in whole.run.courses]
    assert firsts == np.cumsum([0] + [EPOCHS[name] * steps for name, steps in expected.items()])[:-1].tolist()
    for number, (name, stage) in enumerate(stages.items()):
        own = [
            (accuracy, -epoch)
            for accuracy, epoch, at in zip(curves["test_accuracy"], curves["epoch"], curves["stage"], strict=True)
            if at == number
        ]
        best = max(own, default=None)
        assert stage["best_epoch"] == (None if best is None else -best[1]), name
        assert stage["best_epoch_test_accuracy"] == (None if best is None else best[0])
        assert (stage["part"], stage["fresh"], stage["batch_size"]) == {
            "search": ("train", False, 32), "half": ("members", False, 32), "shrink": ("train", False, 32),
            "head": ("train", False, 16), "retrain": ("train+validation", True, 32),
        }[name]  # fmt: skip
    assert results["metrics"]["best_epoch_test_accuracy"] == stages["retrain"]["best_epoch_test_accuracy"]


def test_labels_and_counts_follow_the_part(whole):
    split = draw(whole.raw, whole.spec["data"]["split"], 0)
    labels, both = split.train.label, np.concatenate([split.train.label, split.validation.label])
    classes = len(split.class_counts)
    half, shrink, train, every = whole.run.method.followed
    assert shrink == train == (len(labels), counts_of(labels, classes))
    assert every == (len(both), counts_of(both, classes))
    assert half[0] == len(labels) and sum(half[1]) == len(labels) // 2
    members = [whole.members[epoch] for epoch in range(3)]
    assert len({tuple(rows) for rows in members}) == 3, "the members are to move"
    counted = [counts_of(labels[rows], classes) for rows in members]
    assert whole.run.trace()["counts"].tolist() == counted and len({tuple(row) for row in counted}) > 1


def test_what_a_loss_and_its_class_weights_make_of_counts_follows_them(whole):
    run = widened.run_of(whole.spec, whole.raw)
    while run.course.stage.name != "half" or run.stage_step <= run.course.steps_per_epoch:
        run.advance()
    counts = run.method.context.class_counts
    labels = draw(whole.raw, whole.spec["data"]["split"], 0).train.label
    assert counts.tolist() == counts_of(labels[run.method.members(run.course.stage)], len(counts))
    assert torch.equal(run.method.loss.margins, ldam.margins(counts, 0.5))
    share = (1 - 0.99) / (1 - 0.99 ** counts.double())
    assert run.method.class_weights.tolist() == pytest.approx((share / share.sum() * len(counts)).tolist())
    batch = run.course.batches.batch(run.stage_step)
    assert set(batch.rows.tolist()) <= set(run.method.rows.tolist())


def test_a_fresh_stage_starts_from_the_weights_that_its_seed_starts_from(whole):
    assert whole.fresh_weights.keys() == whole.first_weights.keys()
    for name, value in whole.first_weights.items():
        assert torch.equal(value, whole.fresh_weights[name]), name
    other = widened.run_of(widened.spec_of("lenet" if "fc1.weight" in whole.first_weights else "resnet", 1), whole.raw)
    assert any(not torch.equal(value, whole.first_weights[name]) for name, value in other.model.state_dict().items())


def test_the_search_and_the_hooks_matter(whole):
    """Nothing of what the method does is without effect: the test would not see it lost."""
    trace = whole.run.trace()
    assert np.abs(trace["offset"][-1]).max() > 1e-3 and np.abs(trace["log_weight"][-1]).max() > 1e-3
    assert len(trace["norm"]) == 2 and len(trace["head_norm"]) == 1
    for option, value in (("mixup", 5.0), ("penalty", 0.0), ("rate", 0.01)):
        spec = widened.spec_of("lenet" if len(whole.run.method.context.class_counts) == 2 else "resnet")
        spec["method_options"][option] = value
        run = widened.run_of(spec, whole.raw)
        run.finish()
        assert outcome(run)[1] != whole.outcome[1], option


# --- members on disk --------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    return image_layouts.image_files(tmp_path)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), size=st.integers(2, 7), batch_size=st.integers(1, 8), drop_last=st.booleans())
def test_members_of_images_on_disk_are_those_of_images_in_memory(tmp_path_factory, data, size, batch_size, drop_last):
    files = image_layouts.image_files(tmp_path_factory.mktemp("pictures"))
    part = image_layouts.whole(image_layouts.COUNT)
    arrays = torch.stack([files.pixels(row) for row in range(image_layouts.COUNT)]).numpy()
    lists = [
        np.array(data.draw(st.permutations(range(image_layouts.COUNT)))[:size]) for _ in range(3)
    ]  # fmt: skip
    plain = image_layouts.PLAIN
    asked = (batch_size, 2, "batches", True, drop_last, "uniform", lists[0])
    in_memory = DevicePart(arrays, part, plain["scale_inputs"], image_layouts.CPU).stream(*asked)
    on_disk = files.part(part, plain, image_layouts.CPU).stream(*asked)
    assert on_disk.per_cycle == in_memory.per_cycle
    number = 0
    for members in lists:
        for stream in (in_memory, on_disk):
            stream.follow(members)
        seen = []
        for _ in range(on_disk.per_cycle):
            one, other = in_memory.batch(number), on_disk.batch(number)
            assert image_layouts.bits(one) == image_layouts.bits(other) and torch.equal(one.rows, other.rows)
            seen += other.rows.tolist()
            number += 1
        assert set(seen) <= set(members.tolist()) and len(seen) == len(set(seen))
        assert drop_last or sorted(seen) == sorted(members.tolist())
    for stream in (in_memory, on_disk):
        with pytest.raises(ConfigError, match="must keep its length"):
            stream.follow(np.arange(size + 1))


def test_members_on_disk_that_stay_keep_what_was_read_ahead(pictures):
    stream = pictures.part(image_layouts.whole(8), image_layouts.PLAIN, image_layouts.CPU).stream(
        2, 0, "batches", True, members=np.arange(6)
    )
    stream.seek(0)
    ahead = stream._ahead
    stream.follow(np.arange(6))
    stream.seek(1)
    assert stream._ahead is ahead
    stream.follow(np.arange(1, 7))
    stream.seek(2)
    assert stream._ahead is not ahead


@pytest.mark.parametrize("augment", ["none", "crop-flip"])
def test_a_whole_run_on_images_on_disk(pictures, augment):
    """It ends as one whose images lie in memory, where none is cut at random; and it resumes in every stage."""
    labels = np.arange(image_layouts.COUNT) % 3
    part = Part(np.arange(image_layouts.COUNT, dtype=np.int32), labels, labels)
    split = Split(part, _none(part), part, part, tuple("abc"), tuple("abc"))
    arrays = torch.stack([pictures.pixels(row) for row in range(image_layouts.COUNT)]).numpy()
    spec = widened.spec_of("resnet")
    spec["data"].update(augment=augment, scale_inputs=image_layouts.PLAIN["scale_inputs"])
    spec["training"].update(batch_size=6)
    states = {}

    def finished(inputs, state=None):
        widened.registered()
        raw = RawData(inputs, labels, inputs, labels, tuple("abc"))
        run = engine.Run(spec, raw, split, widened.CPU)
        if state:
            run.load_state(sealed.load(io.BytesIO(state)))
        run.finish(None if state else lambda at: states.update({at.step: saved(at)}))
        return outcome(run)

    whole = finished(pictures)
    for stop in (1, 4, 8, 9, len(states) - 3):
        assert finished(pictures, states[stop]) == whole, f"stopped after step {stop}"
    if augment == "none":
        assert finished(arrays) == whole


def _none(part):
    return Part(*(values[:0] for values in (part.index, part.label, part.group)))


def test_the_checks_of_stages(raw_root, monkeypatch):
    raw, spec = load.read("mnist", root=raw_root), widened.spec_of("lenet")
    refused = {
        "no part 'everything'": Stage("a", 1, part="everything"),
        "cannot replace learning_rte": Stage("a", 1, training={"learning_rte": 1.0}),
        "trains 'tail'; it can be": Stage("a", 1, train="tail"),
        "no parameters of the name head.tail": Stage("a", 1, train="head.tail"),
    }
    for text, stage in refused.items():
        monkeypatch.setattr(widened, "STAGES", [stage])
        with pytest.raises(ConfigError, match=text):
            widened.run_of(spec, raw)
    monkeypatch.setattr(widened, "STAGES", [Stage("a", 1, part="members")])
    monkeypatch.setattr(widened.Method, "members", lambda self, stage: np.zeros(0, np.int64))
    with pytest.raises(ConfigError, match="no example"):
        widened.run_of(spec, raw)


def test_what_chooses_by_the_validation_part_may_not_train_on_it(raw_root, monkeypatch):
    raw, spec = load.read("mnist", root=raw_root), widened.spec_of("lenet", evaluate_on="validation")
    with pytest.raises(ConfigError, match="a stage trains on it"):
        widened.run_of(spec, raw)
    monkeypatch.setattr(widened, "STAGES", widened.STAGES[:2])
    assert widened.run_of(spec, raw).total_steps
