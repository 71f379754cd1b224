"""`reweigh doctor`: who holds the devices."""

import fcntl
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import ROOT, pretended_gpus
from typer.testing import CliRunner

from reweigh.cli import app
from reweigh.data.manifest import PATH as MANIFEST
from reweigh.planning import doctor
from reweigh.training import device

HOLD = """
import sys
from reweigh.training.device import take_lease
lease = take_lease()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def slot(tmp_path, monkeypatch):
    """The lock file of the only device, which is made up."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("PATH", pretended_gpus.path(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("REWEIGH_SLOTS_PER_DEVICE", raising=False)
    ((_, path),) = device.slots(["0"])
    return path


def said():
    return dict(doctor.facts())["GPU 0"]


def test_a_device_is_free_or_held_by_a_process(slot):
    assert said() == "free"
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    assert said() == f"held by process {process.pid}"
    process.communicate("")
    assert said() == "free"


@pytest.mark.parametrize("content", ["", "\n", "no number\n", "²\n"])
def test_a_holder_that_has_not_written_its_id_is_one_too(slot, content):
    """Between its lock and its id, a process has the device."""
    with open(slot, "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(content)
        lock.flush()
        assert said() == "held by a process that has not said which"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder with commands of Slurm that are pretended: sets what one of them says."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.chdir(ROOT)

    def says(command, text, code=0):
        (tmp_path / command).write_text(f"#!/bin/sh\ncat <<'E'\n{text}\nE\nexit {code}\n")
        (tmp_path / command).chmod(0o755)

    return says


def test_partitions_are_shown_with_limits_that_no_job_could_meet(cluster):
    cluster("sinfo", "short*|up|1:00:00|4|32|128000|(null)\nlong|up|2-00:00:00|2|64|256000|gpu:a100:4")
    cluster("scontrol", "MessageTimeout = 10 sec\nMinJobAge               = 60 sec")
    facts = dict(doctor._slurm())
    assert facts["Slurm plugin"] == importlib.metadata.version(doctor.PLUGIN)
    assert facts["partition short*"] == (
        "up, up to 1:00:00, 4 nodes of 32 cores and 128000 MB, GPUs: (null); profiles/slurm/profile.yaml asks for 240 "
        "minutes: such a job would wait for ever; lower runtime there"
    )
    assert facts["partition long"] == "up, up to 2-00:00:00, 2 nodes of 64 cores and 256000 MB, GPUs: gpu:a100:4"
    assert facts["MinJobAge"].startswith("60 s; with less than 120, set slurm-status-command: sacct")
    cluster("scontrol", "MinJobAge               = 300 sec")
    assert "MinJobAge" not in dict(doctor._slurm())


def test_a_cluster_that_does_not_answer_is_said_to_be_so(cluster, monkeypatch):
    cluster("sinfo", "slurm_load_partitions: Unable to contact slurm controller", code=1)
    assert dict(doctor._slurm())["partitions"] == "sinfo does not answer"
    monkeypatch.setenv("PATH", "")
    assert dict(doctor._slurm()) == {"Slurm": "none here"}


def test_whether_torch_can_use_cuda_and_a_variable_that_does_not_exist_are_said(monkeypatch):
    monkeypatch.setenv("REWEIGH_MIROR", "/mirror")
    facts = dict(doctor.facts())
    assert facts["torch and CUDA"].startswith(("built for CUDA", "CUDA", "this torch is built without"))
    assert facts["environment"] == "REWEIGH_MIROR: no such variable; did you mean 'REWEIGH_MIRROR'?"


JUNK = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"", b"\0", b"[" * 5000, b"a: " * 2000, b"9" * 5000, b"\x1b[31mnumpy==1\n", b"numpy==1\x1b[31m\n"]
    ),
    st.sampled_from([b"default-resources: [runtime]", b"set-resources: {a: 1}", b"set-resources: 5", b"? [a]\n: b"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lock=JUNK, profile=JUNK, held=JUNK, partitions=JUNK)
def test_whatever_stands_in_its_files_it_answers_in_lines(tmp_path_factory, slot, lock, profile, held, partitions):
    """And in none of them is a control character: a terminal would do what it says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "_cuda", lambda: "none")
        patch.setattr(doctor.slurm, "ask", lambda *command: partitions.decode(errors="replace"))
        patch.setattr(doctor.shutil, "which", lambda name: name)
        patch.chdir(tmp_path_factory.mktemp("anybody's"))
        catalogue = (ROOT / MANIFEST).read_bytes()
        for path, content in ((MANIFEST, catalogue), (doctor.LOCK, lock), (doctor.PROFILE, profile), (slot, held)):
            path = Path(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        cli = CliRunner().invoke(app, ["doctor"])
    assert cli.exit_code == 0 and cli.exception is None, cli.exception
    assert not [letter for letter in cli.output if not letter.isprintable() and letter != "\n"]
