"""Which instructions a run is trained by: they are in its record and in the key of all that it could go on from."""

import json
import os
import socket

import pytest
import torch
from support import project
from support.project import ROOT

from reweigh.config.loading import resolve
from reweigh.provenance import record_schema
from reweigh.records.record import record_path
from reweigh.training import run
from reweigh.training.checkpoint import Clock, OutOfTime

RUN = "smoke/tdr/mnist-4v9/rho0.1/tdr/seed0"
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path, raw_root, monkeypatch):
    project.make(tmp_path, raw_root)
    monkeypatch.chdir(tmp_path)
    for name in run.ARITHMETIC:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_record_says_by_which_instructions_and_where(folder):
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_RESTART_COUNT": "2"}
    done = project.train(folder, project.spec_file(folder, RUN))
    assert done.returncode == 0, done.stderr
    plain = json.loads((folder / record_path(RUN)).read_text())
    assert plain["device"]["capability"] and plain["device"]["settings"] == {}
    assert plain["environment"]["host"] == socket.gethostname()
    assert plain["environment"]["slurm_job"] is plain["environment"]["slurm_attempt"] is None
    again = ("--again", project.spec_file(folder, RUN))
    done = project.train_from_command_line(folder, *again, ATEN_CPU_CAPABILITY="default", **slurm)
    assert done.returncode == 0, done.stderr
    body = json.loads((folder / record_path(RUN)).read_text())
    assert body["device"]["capability"] == "DEFAULT"
    assert body["device"]["settings"] == {"ATEN_CPU_CAPABILITY": "default"}
    assert (body["environment"]["slurm_job"], body["environment"]["slurm_attempt"]) == ("4711", 3)
    assert record_schema.faults(plain) == record_schema.faults(body) == []
    for keys in (("environment", ("host", "slurm_job", "slurm_attempt")), ("device", ("capability", "settings"))):
        for key in keys[1]:
            del body[keys[0]][key]  # as older records are
    assert record_schema.faults(body) == []


@pytest.mark.parametrize("change", ["capability", "settings", "name", "numpy"])
def test_a_run_does_not_go_on_from_what_was_trained_by_others(folder, monkeypatch, change):
    """Else it would end with the bits of neither, under the name of the last."""
    stop = Clock()
    job = run.Job(resolve(RUN, ROOT), CPU, stop)
    with pytest.raises(OutOfTime):
        job.finish(lambda one: stop.stop())
    assert job.run.step == 1
    same = run.Job(resolve(RUN, ROOT), CPU)
    assert same.keeper.facts["resumed"] == 1 and same.run.step == 1
    same.release()
    others = {
        "capability": lambda: monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "OTHER"),
        "settings": lambda: monkeypatch.setenv("MKL_CBWR", "COMPATIBLE"),
        "name": lambda: monkeypatch.setattr(run, "_processor", lambda: "another processor"),
        "numpy": lambda: monkeypatch.setattr(run.np, "__version__", "0.1"),
    }
    whole = run.surroundings(resolve(RUN, ROOT), same.split.digest(), CPU)
    others[change]()
    assert run.surroundings(resolve(RUN, ROOT), same.split.digest(), CPU) != whole  # so no kept stages either
    other = run.Job(resolve(RUN, ROOT), CPU)
    assert other.keeper.facts["resumed"] == 0 and other.run.step == 0
    other.release()


@pytest.mark.parametrize(
    ("slurm", "job", "attempt"),
    [({}, None, None), ({"SLURM_RESTART_COUNT": "3"}, None, None),
     ({"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "0"}, "7", 1),
     ({"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "odd"}, "7", None),
     ({"SLURM_JOB_ID": "7"}, "7", None)],  # and squeue does not answer
)  # fmt: skip
def test_the_attempt_is_counted_from_one(monkeypatch, slurm, job, attempt):
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", "")
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    assert run.place() == {"host": socket.gethostname(), "slurm_job": job, "slurm_attempt": attempt}
