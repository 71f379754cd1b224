"""Energy: what NVML's counter gives, None where it gives nothing, summed over the parts of a run that was stopped."""

import ctypes
import time
from types import SimpleNamespace

import pytest
import torch
from support import project

from reweigh.config import loading as config
from reweigh.records import record
from reweigh.training import energy, interleave, sealed
from reweigh.training import run as training
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.energy import EnergyMeter, SharedCounter
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


@pytest.fixture
def no_counters():
    energy.counter_of.cache_clear()
    yield
    energy.counter_of.cache_clear()


def test_the_device_is_asked_for_by_its_own_uuid(monkeypatch, no_counters):
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


def test_runs_on_one_card_share_its_energy_by_how_many_are_there():
    joules = 100.0
    counter = SharedCounter(lambda: joules)
    first = EnergyMeter(counter.join())
    joules += 10  # `first` alone
    second = EnergyMeter(counter.join(), before=1000.0)
    joules += 20  # both
    assert (first.joules(), second.joules()) == (10 + 10, 1000 + 10)
    first.stop()
    joules += 7  # `second` alone
    assert (first.joules(), second.joules()) == (20, 1017)
    third = EnergyMeter(counter.join())
    joules += 8
    del second  # its run was taken from the device
    joules += 4  # read next: all of it is shared by those that are left
    assert third.joules() == 12
    assert third.joules() == 12  # asking twice charges nothing twice


def test_a_run_that_is_put_off_keeps_no_share(tmp_path, raw_root, monkeypatch):
    """All that the card spends is charged to the runs that have been there, whatever keeps those that left."""
    monkeypatch.chdir(project.make(tmp_path, raw_root))
    spent, jobs, bodies = [0.0], [], []
    counter = SharedCounter(lambda: spent[0])
    monkeypatch.setattr(EnergyMeter, "of", classmethod(lambda cls, device, before=0.0: cls(counter.join(), before)))

    def make(spec):
        job = Job(spec, CPU, Clock())
        jobs.append(job)
        advance = job.run.advance

        def guarded():
            if len(jobs) == 4 and jobs[3].run.step == 3:
                job.keeper.save(job.run)  # so that none of its joules are lost
                jobs.append(None)
                raise torch.OutOfMemoryError("CUDA out of memory")
            advance()
            spent[0] += 1

        job.run.advance = guarded
        return job

    spec = config.resolve(RUN)
    spec["training"]["epochs"] = 4
    specs = [{**spec, "seed": seed} for seed in range(4)]
    interleave.train(specs, 4, CPU, make, bodies.append, clock=time.perf_counter)
    assert len(bodies) == 4 and None in jobs
    assert sum(body["energy_joules"] for body in bodies) == pytest.approx(spent[0]) and spent[0] > 20
    assert not counter.shares


def test_one_counter_serves_all_runs_of_a_process(monkeypatch, no_counters):
    nvml = Nvml()
    monkeypatch.setattr(energy, "library", lambda: nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=UUID))
    meters = [EnergyMeter.of(torch.device("cuda")) for _ in range(4)]
    nvml.counters[0] += 1000
    assert [meter.joules() for meter in meters] == [0.25] * 4


@pytest.mark.parametrize("later", [3.0, None])
def test_a_counter_that_was_reset_or_lost_leaves_no_energy_known(later):
    joules = 5.0
    counter = SharedCounter(lambda: joules)
    meter = EnergyMeter(counter.join())
    joules = later  # the driver was loaded again, or does not answer
    assert meter.joules() is None
    joules = 9.0
    assert meter.joules() is None  # also when it answers again
    fresh = EnergyMeter(counter.join())
    joules = 10.0
    assert fresh.joules() == 0.5 and meter.joules() is None


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
    spent = sealed.read(first.keeper.path, CPU)[0]["facts"]
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


def test_a_stage_one_that_is_taken_over_brings_its_energy(tmp_path, raw_root, monkeypatch, counted):
    monkeypatch.chdir(project.make(tmp_path, raw_root))
    runs = [f"smoke/absgd/two-stage/lt-rho100/{method}/seed0" for method in ("joint", "ncm")]
    first, second = (Job(config.resolve(run), CPU).finish() for run in runs)
    assert second["prefix"]["reused"]
    assert first["energy_joules"] == 4.0  # read when stage one was kept, and at the end
    assert second["energy_joules"] == 2.0 + 2.0  # that of stage one, and its own


def test_a_run_that_is_over_leaves_the_card_to_the_others(tmp_path, raw_root, monkeypatch):
    monkeypatch.chdir(project.make(tmp_path, raw_root))
    joules = [0.0]
    counter = SharedCounter(lambda: joules[0])
    meter = classmethod(lambda cls, device, before=0.0: cls(counter.join(), before))
    monkeypatch.setattr(EnergyMeter, "of", meter)
    jobs = [Job(config.resolve(RUN.replace("seed0", f"seed{seed}")), CPU) for seed in range(2)]
    joules[0] = 10.0
    first = jobs[0].finish()
    joules[0] = 16.0
    second = jobs[1].finish()
    assert (first["energy_joules"], second["energy_joules"]) == (5.0, 5.0 + 6.0)
