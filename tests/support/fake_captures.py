"""The training command as on a GPU that captures steps, on a CPU: a capture is a recording, a replay repeats it.

    python fake_captures.py SPEC...

As with torch on a GPU, a capture that failed hides its reason behind another error, and leaves the process in a state
in which every later one fails. Example reweighting asks for a value in its step, so that it cannot be captured.
"""

import os
import sys

import pytest
import torch

from reweigh.methods import er
from reweigh.training import __main__ as training
from reweigh.training import graph, interleave, run
from support import capture

CPU = torch.device("cpu")
failed = []  # captures of this process


class Graph:
    """A recorded step, which the recording has taken; so the first replay does nothing."""

    def __init__(self, operations):
        self.operations, self.taken = operations, True

    def replay(self):
        if not self.taken:
            with torch.no_grad():
                for operation in self.operations:
                    capture.replay(*operation)
        self.taken = False


def captured(executor, device_side):
    if failed:
        raise RuntimeError("the allocator is still in the capture that failed")
    try:
        with capture.Recording() as recording:
            logged = device_side()
    except RuntimeError:
        failed.append(True)
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")  # noqa: B904
    return Graph(recording.operations), logged


class Job(run.Job):
    """A job whose steps are captured although it is on a CPU."""

    def __init__(self, spec, device, *arguments, **keywords):
        super().__init__(spec, CPU, *arguments, **keywords)
        self.graphs = graph.CapturedSteps(run.afresh.start().eager.get(run.afresh.kind_of(spec)))
        self.run.execute = self.graphs


def asks_for_a_value(learn):
    def learning(method, step):
        step.number.item()
        learn(method, step)

    return learning


if __name__ == "__main__":
    print("process", os.getpid(), file=sys.stderr)
    capture.use_optimiser_of_a_gpu(pytest.MonkeyPatch())
    er.Method.learn = asks_for_a_value(er.Method.learn)
    graph.CapturedSteps.capture = captured
    run.Job, run.pick_device = Job, lambda: torch.device("cuda")
    train = interleave.train
    interleave.train = lambda specs, at_once, device, *rest: train(specs, at_once, CPU, *rest)
    sys.exit(training.main())
