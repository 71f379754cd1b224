"""What a CUDA graph needs of a step, on a CPU: nothing waits for a value, and only tensors carry on to the next."""

import copy

import pytest
import torch
from support import capture, two_stages
from support.mnist_runs import outcome

from reweigh.config import loading as config
from reweigh.data import load
from reweigh.data.split import draw
from reweigh.training.engine import Run
from reweigh.training.graph import WARM_UP_STEPS, CapturedSteps

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def optimiser_of_a_gpu(monkeypatch):
    capture.use_optimiser_of_a_gpu(monkeypatch)


def executed(spec, raw, executor):
    torch.set_num_threads(spec["training"]["threads"])
    run = Run(spec, raw, draw(raw, spec["data"]["split"], spec["seed"]), CPU, executor)
    run.finish()
    return outcome(run)


@pytest.mark.parametrize(
    ("method", "model", "precision"),
    [
        ("tdr", "convnet", "fp32"),
        ("er", "convnet", "fp32"),
        ("tdr", "resnet20", "fp32"),
        ("er", "resnet20", "fp32"),
        ("hard", "resnet20", "bf16"),  # watched, forward mode mixes its types in bf16; unwatched it does not
    ],
)
def test_dropout_batch_norm_and_augmentation_replay_too(method, model, precision, raw_root):
    spec = copy.deepcopy(config.resolve(f"quick/tdr/cifar10-4v9-{model}/rho0.3/{method}/seed0"))
    spec["model"]["options"] = {"width": 0.5 if model == "resnet20" else 0.25}
    spec["data"]["split"].update(total=60, test_size=20, imbalance_ratio=2.0, target_size=10)
    spec["data"]["augment"] = {"crop_padding": 4, "padding": "reflect", "flip": True, "rotation_degrees": 15.0}
    spec["training"].update(
        epochs=6, batch_size=25, target_batch_size=5, precision=precision, drop_last=False, gradient_clip=1.0
    )
    spec["training"].update(nesterov=True, momentum=0.9)
    spec["method_options"].update({"outer_every": 3} if method == "tdr" else {})
    raw = load.read("cifar10-slice", root=raw_root)
    executor = capture.Replayed()
    assert executed(spec, raw, executor) == executed(spec, raw, capture.observed)
    sizes = {program[-1] for program in executor.programs}
    assert sizes == {25, 10} and executor.replays >= 10  # the short last batch of an epoch is a program of its own


@pytest.mark.parametrize("method", two_stages.METHODS)
def test_second_stages_replay_too(method, raw_root):
    spec, raw = two_stages.spec_of(method), load.read("cifar10-slice", root=raw_root)
    executor = capture.Replayed()
    assert executed(spec, raw, executor) == executed(spec, raw, capture.observed)
    stages = [program[0] for program in executor.programs]  # each has programs of its own: two sizes of batch
    assert sorted(stages) == ([0, 0, 1, 1] if method in two_stages.THAT_TRAIN else [0, 0])


def test_a_step_that_asks_for_a_value_is_refused():
    with pytest.raises(RuntimeError, match="waits for a value"), capture.Recording():
        torch.ones(3).sum().item()


class FakeGraph:
    """Counts what CapturedSteps does with a graph."""

    def __init__(self, work):
        self.work = work

    def replay(self):
        self.work()


def test_a_captured_program_warms_up_and_is_then_only_replayed(monkeypatch):
    taken, executor = [], CapturedSteps()
    monkeypatch.setattr(executor, "capture", lambda side: (FakeGraph(lambda: taken.append("replay")), {}))
    for _ in range(WARM_UP_STEPS + 2):
        executor("inner", lambda: taken.append("eager") or {})
    assert taken == ["eager"] * WARM_UP_STEPS + ["replay"] * 2
    assert executor.report() == {"captured": ["inner"], "eager": {}}


def test_a_program_that_cannot_be_captured_goes_on_as_it_comes_and_the_report_says_why(monkeypatch):
    taken, executor = [], CapturedSteps()

    def refuse(side):
        raise RuntimeError("operation not permitted when stream is capturing\nCompile with ...")

    monkeypatch.setattr(executor, "capture", refuse)
    for _ in range(WARM_UP_STEPS + 3):
        executor("outer", lambda: taken.append("eager") or {})
    assert taken == ["eager"] * (WARM_UP_STEPS + 3)
    assert executor.report() == {
        "captured": [],
        "eager": {"outer": "operation not permitted when stream is capturing"},
    }


def test_running_out_of_memory_in_a_capture_is_not_taken_for_a_refusal(monkeypatch):
    executor = CapturedSteps()

    def too_large(side):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(executor, "capture", too_large)
    for _ in range(WARM_UP_STEPS):
        executor("step", dict)
    with pytest.raises(torch.OutOfMemoryError):
        executor("step", dict)
