"""What only a GPU can show: capture, streams and resume change no bit, and a GPU computes what a CPU computes."""

import io
import os
import subprocess
import sys

import pytest
import torch
from support import needs
from support.gpu_runs import CELLS, bits, on_a_stream, run_of, spec_of

from reweigh.data import load
from reweigh.training import interleave, sealed
from reweigh.training.checkpoint import Clock, Keeper
from reweigh.training.graph import CapturedSteps

pytestmark = [
    pytest.mark.gpu,
    needs.GPU,
]


@pytest.fixture(scope="module", autouse=True)
def gpu():
    """The device, asked for algorithms that sum in one order, as training asks."""
    from reweigh.training.run import pick_device

    return pick_device()


@pytest.fixture(scope="module")
def raw(raw_root):
    return {dataset: load.read(dataset, root=raw_root) for _, dataset, _ in CELLS.values()}


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("method", ["none", "tdr", "er"])
@pytest.mark.parametrize("model", list(CELLS))
def test_captured_steps_are_the_same_steps(model, method, precision, raw, gpu):
    spec = spec_of(model, method, precision=precision)
    plain = run_of(spec, raw, gpu)
    on_a_stream(plain.finish)
    graphs = CapturedSteps()
    captured = run_of(spec, raw, gpu, graphs)
    on_a_stream(captured.finish)
    assert graphs.graphs and not graphs.refused, graphs.report()
    assert bits(captured) == bits(plain)


def test_a_refused_capture_says_why_and_spoils_the_process(raw, gpu):
    """In a process of its own: torch captures nothing in this one afterwards."""
    code = "from training.test_gpu import refused; refused()"
    paths = os.pathsep.join(["src", "tests", os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def refused():
    from reweigh.data import manifest
    from reweigh.training.run import pick_device

    device = pick_device()
    manifest.ensure("mnist")
    data = {"mnist": load.read("mnist")}
    runs = [run_of(spec_of("lenet", method), data, device, CapturedSteps()) for method in ("er", "none")]
    learn = runs[0].method.learn
    runs[0].method.learn = lambda step: (step.number.item(), learn(step))
    for run in runs:
        on_a_stream(run.finish)
    asking, other = (run.execute for run in runs)
    (reason,) = asking.report()["eager"].values()
    assert asking.spoiled and "capturing" in reason, reason  # not what the end of the capture says of it
    print("the other program:", other.report())


@pytest.mark.parametrize("model", list(CELLS))
def test_a_gpu_computes_what_a_cpu_computes(model, raw, gpu):
    """Twelve steps of TDR from the same weights, masks and crops: the same weights and losses but for rounding."""
    runs = [run_of(spec_of(model, "tdr"), raw, device) for device in (torch.device("cpu"), gpu)]
    for run in runs:
        for _ in range(12):
            run.advance()
    cpu, other = (torch.cat([value.detach().cpu().flatten() for value in run.model.parameters()]) for run in runs)
    torch.testing.assert_close(other, cpu, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(runs[1].method.weights.cpu(), runs[0].method.weights, rtol=1e-2, atol=1e-3)


def test_a_captured_run_resumes_exactly(raw, gpu):
    spec = spec_of("resnet20", "tdr")
    whole = run_of(spec, raw, gpu, CapturedSteps())
    on_a_stream(whole.finish)
    first, saved = run_of(spec, raw, gpu, CapturedSteps()), io.BytesIO()

    def stop_in_the_middle():
        for _ in range(17):
            first.advance()
        torch.save(first.state(), saved)

    on_a_stream(stop_in_the_middle)
    saved.seek(0)
    second = run_of(spec, raw, gpu, CapturedSteps())
    second.load_state(sealed.load(saved, gpu))
    on_a_stream(second.finish)
    assert bits(second) == bits(whole)


class Job:
    """As much of a job as taking turns needs."""

    def __init__(self, spec, raw, device, folder):
        self.spec, self.run = spec, run_of(spec, raw, device, CapturedSteps())
        self.keeper = Keeper(f"{spec['method']}{spec['seed']}", "key", Clock(), folder)

    def ready(self):
        return True

    def release(self):
        pass

    def write(self):
        return {"spec": self.spec, "bits": bits(self.run)}


def test_packed_runs_are_the_same_runs(raw, gpu, tmp_path):
    specs = [spec_of("resnet20", method, seed) for method in ("tdr", "er", "none") for seed in (0, 1, 2)]
    alone = []
    for spec in specs:
        run = run_of(spec, raw, gpu, CapturedSteps())
        on_a_stream(run.finish)
        alone.append(bits(run))
    packed = []
    interleave.train(specs, 8, gpu, lambda spec: Job(spec, raw, gpu, tmp_path), packed.append)
    assert len(packed) == len(specs)
    for found in packed:
        assert found["bits"] == alone[specs.index(found["spec"])]
