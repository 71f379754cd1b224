"""What a training knows of its Slurm job, with commands of Slurm that are pretended."""

import pytest

from reweigh.errors import TrainingError
from reweigh.training import slurm


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Sets what squeue says of the job, and how scontrol ends; what they were asked comes into a file."""

    def to(left="", code=0):
        for name in ("squeue", "scontrol"):
            program = tmp_path / name
            program.write_text(f"#!/bin/sh\necho {name} \"$@\" >> {tmp_path}/asked\necho '{left}'\nexit {code}\n")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        monkeypatch.setenv("SLURM_JOB_ID", "4711")
        return tmp_path / "asked"

    return to


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        ("0:58 1:00", 43.0),  # at least a quarter of a minute is kept for saving
        ("9:00 10:00", 480.0),  # a tenth of the limit
        ("1-00:00:00 1-00:00:00", 86400 - 120.0),  # at most two minutes
        ("UNLIMITED UNLIMITED", None),
        ("", None),
    ],
)
def test_a_job_ends_its_training_in_time_to_save(pretend, left, seconds):
    asked = pretend(left)
    assert slurm.seconds_to_train() == seconds
    assert asked.read_text() == "squeue --noheader --jobs 4711 --format %L %l\n"


def test_a_limit_that_leaves_no_time_is_an_error(pretend):
    pretend("0:10 1:00")
    with pytest.raises(TrainingError, match="Slurm job 4711: 10 s are left of the job's time limit, too few"):
        slurm.seconds_to_train()


def test_without_slurm_or_without_its_commands_nothing_is_known(pretend, monkeypatch):
    pretend("0:10 1:00", code=1)
    assert slurm.seconds_to_train() is None and slurm.requeue() is False
    monkeypatch.setenv("PATH", "")
    assert slurm.seconds_to_train() is None and slurm.requeue() is False
    monkeypatch.delenv("SLURM_JOB_ID")
    assert slurm.seconds_to_train() is None and slurm.requeue() is False


def test_a_job_is_put_back_into_the_queue_by_its_own_number(pretend, capsys):
    asked = pretend()
    assert slurm.requeue() and asked.read_text() == "scontrol requeue 4711\n"
    assert capsys.readouterr().err == "job 4711 was put back into the queue\n"


def test_where_a_process_is(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "gpu03")
    for name in ("JOB_ID", "ARRAY_JOB_ID", "ARRAY_TASK_ID", "RESTART_COUNT"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    assert slurm.where() == "gpu03"
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("SLURM_JOB_ID", "4712")
    assert slurm.where() == "gpu03, Slurm job 4712"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert slurm.where() == "gpu03, Slurm job 4712 (4711_1), restart 2"


def test_how_often_a_job_was_started_is_asked_where_the_environment_hides_it(pretend, monkeypatch):
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    asked = pretend("3                   ")
    assert slurm.restarts() == 3 and asked.read_text() == "squeue --noheader --jobs 4711 --Format restartcnt\n"
