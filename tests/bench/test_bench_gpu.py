"""The group for GPUs, executed on a CPU: streams and graphs that only know where they are, CUDA's refusals included."""

import contextlib

import pytest
import torch

from reweigh.bench import contenders as make
from reweigh.bench import gpu, measure
from reweigh.bench.measure import Bench
from reweigh.data import load
from reweigh.training import graph
from reweigh.training.graph import CapturedSteps

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Replays:
    """A graph that takes the step again, as it comes."""

    def __init__(self, device_side):
        self.device_side = device_side

    def replay(self):
        self.device_side()


class Device:
    """What happens on a device that is not there: the current stream, and where steps were captured and replayed."""

    def __init__(self, refuses=False):
        self.stream, self.refuses, self.captured_on = None, refuses, []

    @contextlib.contextmanager
    def on(self, stream):
        before, self.stream = self.stream, stream
        yield
        self.stream = before

    def capture(self, executor, device_side):
        if self.stream is None:
            raise RuntimeError("CUDA graphs must be captured on a non-default stream")
        if self.refuses:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.captured_on.append(self.stream)
        return Replays(device_side), {}


@pytest.fixture
def on(monkeypatch, raw_root):
    """Have the group for GPUs run on a device that is not there."""

    def put(device):
        full, run_of = make.spec_of, make.run_of

        def spec_of(*arguments, **keywords):
            spec = full(*arguments, **keywords)
            spec["model"]["options"] = {"width": 0.25, "blocks": 1}
            spec["training"] |= {"batch_size": 8, "precision": "fp32"}
            return spec

        monkeypatch.setattr(make, "raw_data", lambda dataset: load.read(dataset, root=raw_root))
        monkeypatch.setattr(make, "cifar", lambda: "cifar10-slice")
        monkeypatch.setattr(make, "spec_of", spec_of)
        monkeypatch.setattr(make, "run_of", lambda spec, _, *execute: run_of(spec, CPU, *execute))
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: object())
        monkeypatch.setattr(torch.cuda, "stream", device.on)
        monkeypatch.setattr(CapturedSteps, "capture", capture_by(device))
        monkeypatch.setattr(measure, "wait", lambda device: None)
        monkeypatch.setattr(measure, "device_name", lambda device: "a device that is not there")
        monkeypatch.setattr(gpu, "_floor", lambda *arguments: [])
        make.split_of.cache_clear()
        return Bench(CUDA, 1, lambda text: None)

    torch.set_num_threads(1)
    yield put
    make.split_of.cache_clear()


def capture_by(device):
    return lambda executor, device_side: device.capture(executor, device_side)


def test_what_is_timed_as_captured_was_captured_each_on_a_stream_of_its_own(on):
    device = Device()
    lines = gpu.graphs(on(device))
    names = [line.contender for line in lines]
    assert names == [
        f"{what}, {precision}"
        for precision in ("fp32", "bf16")
        for what in ("eager step", "captured step", "one captured run", "a step of 8 packed runs")
    ]
    assert all(line.milliseconds > 0 for line in lines)
    lanes = 2 * (1 + gpu.SIDE_BY_SIDE)
    assert len(device.captured_on) == len(set(device.captured_on)) == lanes


def test_nothing_is_timed_where_a_capture_was_refused(on):
    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        gpu.graphs(on(Device(refuses=True)))


def test_a_run_that_was_never_captured_is_refused_too(on):
    bench = on(Device())
    run = make.run_of(make.spec_of("resnet32"), bench.device, CapturedSteps())
    with pytest.raises(RuntimeError, match="it was not tried"):
        gpu.check_captured(run)
    assert gpu.WARM > graph.WARM_UP_STEPS


def test_the_floor_of_a_step_by_hand(monkeypatch, raw_root):
    monkeypatch.setattr(make, "raw_data", lambda dataset: load.read(dataset, root=raw_root))
    make.split_of.cache_clear()
    run = make.run_of(make.spec_of("lenet"), CPU)
    outputs = 50 * (6 * 24 * 24 + 16 * 8 * 8 + 120 + 84 + 2)
    assert gpu.floor_bytes(run) == 4 * (5 * outputs + 8 * 43_746)


def test_there_is_nothing_to_measure_on_a_cpu():
    assert gpu.graphs(Bench(CPU, 1, lambda text: None)) == []
