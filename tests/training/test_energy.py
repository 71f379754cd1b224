"""Energy: what NVML's counter gives, None where it gives nothing, summed over the parts of a run that was stopped."""

import ctypes
from types import SimpleNamespace

import pytest
import torch
from support import project

from reweigh.config import loading as config
from reweigh.records import record
from reweigh.training import energy
from reweigh.training import run as training
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.energy import EnergyMeter
from reweigh.training.run import Job

RUN = "smoke/tdr/mnist-4v9/rho0.1/tdr/seed0"
CPU = torch.device("cpu")
UUID = "0a1b2c3d-0000-1111-2222-333344445555"


class Nvml:
    """Two cards as NVML would count them, in millijoules; a counter of None is one that the card does not have."""

    def __init__(self, **counters):
        self.uuids = [f"GPU-{name}".encode() for name in (UUID, "ffffffff")]
        self.counters = [5_000_000, counters.get("second", 7_000_000)]

    def nvmlInit_v2(self):
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid, handle):
        if uuid not in self.uuids:
            return 6  # not found
        handle._obj.value = 1000 + self.uuids.index(uuid)
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, count):
        found = self.counters[handle.value - 1000]
        if found is None:
            return 3  # not supported
        count._obj.value = found
        return 0

    def nvmlSystemGetDriverVersion(self, text, length):
        text.value = b"580.65.06"
        return 0


def test_the_counter_is_that_of_the_card_with_the_uuid_in_joules():
    nvml = Nvml()
    assert energy.joules_of(UUID, nvml)() == 5000
    assert energy.joules_of(f"GPU-{UUID}", nvml)() == 5000
    read = energy.joules_of("ffffffff", nvml)
    assert read() == 7000
    nvml.counters[1] += 1500
    assert read() == 7001.5
    assert energy.driver_version(nvml) == "580.65.06"


def test_a_counter_of_more_than_32_bits():
    nvml = Nvml(second=2**40)
    assert energy.joules_of("ffffffff", nvml)() == 2**40 / 1000


def test_a_card_that_does_not_count_or_is_not_there_gives_none():
    assert energy.joules_of("ffffffff", Nvml(second=None))() is None
    assert energy.joules_of("part-of-a-card", Nvml())() is None
    assert EnergyMeter(energy.joules_of("ffffffff", Nvml(second=None))).joules() is None


@pytest.mark.parametrize("missing", ["library", "driver", "function"])
def test_without_nvml_there_is_no_energy(monkeypatch, missing):
    def load(name):
        assert name == "libnvidia-ml.so.1"
        if missing == "library":
            raise OSError(f"{name}: cannot open shared object file")
        return SimpleNamespace(nvmlInit_v2=lambda: 9) if missing == "driver" else SimpleNamespace()

    monkeypatch.setattr(ctypes, "CDLL", load)
    energy.library.cache_clear()
    try:
        assert energy.library() is None
        assert energy.joules_of(UUID)() is None
        assert energy.driver_version() is None
    finally:
        energy.library.cache_clear()


def test_the_device_is_asked_for_by_its_own_uuid(monkeypatch):
    monkeypatch.setattr(energy, "library", lambda: nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=UUID))
    nvml = Nvml()
    meter = EnergyMeter.of(torch.device("cuda"))
    nvml.counters[0] += 250
    assert meter.joules() == pytest.approx(0.25)
    assert EnergyMeter.of(CPU).joules() is None


def test_a_meter_adds_what_came_before_and_knows_when_it_knows_nothing():
    values = iter([10.0, 14.0, 15.0, 16.0, 3.0, None])
    meter = EnergyMeter(lambda: next(values), before=100.0)
    assert meter.joules() == 104
    meter.add(7.0)
    assert meter.joules() == 112
    assert EnergyMeter(lambda: 1.0, before=None).joules() is None
    meter.add(None)
    assert meter.joules() is None  # reads 16
    meter.before = 0.0
    assert meter.joules() is None  # 3: the driver was loaded again
    assert meter.joules() is None  # nothing to be read


@pytest.fixture
def counted(monkeypatch):
    """A counter that moves by 2 J whenever it is read."""
    counter = iter(range(1000, 10**6, 2))
    monkeypatch.setattr(energy, "joules_of", lambda uuid: lambda: float(next(counter)))
    meter = classmethod(lambda cls, device, before=0.0: cls(energy.joules_of(""), before))
    monkeypatch.setattr(EnergyMeter, "of", meter)
    return counter


def test_the_energy_of_a_stopped_run_is_the_sum_of_its_parts(tmp_path, raw_root, monkeypatch, counted):
    monkeypatch.chdir(project.make(tmp_path, raw_root))
    times = (f"2026-01-01T00:00:0{second}Z" for second in range(9))
    monkeypatch.setattr(training, "now", lambda: next(times))
    spec = config.resolve(RUN)
    clock, taken = Clock(), []

    def stop_after_two(run):
        taken.append(run.step)
        if len(taken) == 2:
            clock.stop()

    first = Job(spec, CPU, clock)
    with pytest.raises(OutOfTime):
        first.finish(stop_after_two)
    spent = torch.load(first.keeper.path, weights_only=False)["facts"]
    assert spent["energy_joules"] == 2.0 and spent["resumed"] == 0
    next(counted)  # another program on the card, between the two parts
    second = Job(spec, CPU)
    body = second.finish()
    assert (body["energy_joules"], body["resumed"], body["steps"]) == (4.0, 1, second.run.total_steps)
    assert (body["started"], body["ended"]) == ("2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z")
    assert record.read(record.record_path(RUN))["energy_joules"] == 4.0


def test_no_step_reads_the_counter(tmp_path, raw_root, monkeypatch, counted):
    monkeypatch.chdir(project.make(tmp_path, raw_root))
    job = Job(config.resolve(RUN), CPU)
    at_start = next(counted)
    while not job.run.over:
        job.run.advance()
        job.keeper(job.run)
    assert next(counted) == at_start + 2


def test_a_prefix_that_is_taken_over_brings_its_energy(tmp_path, raw_root, monkeypatch, counted):
    monkeypatch.chdir(project.make(tmp_path, raw_root))
    runs = [f"smoke/absgd/two-stage/lt-rho100/{method}/seed0" for method in ("joint", "ncm")]
    first, second = (Job(config.resolve(run), CPU).finish() for run in runs)
    assert second["prefix"]["reused"]
    assert first["energy_joules"] == 4.0  # read when its prefix was kept, and at the end
    assert second["energy_joules"] == 2.0 + 2.0  # that of the prefix, and its own
