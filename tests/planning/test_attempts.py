"""The logs of a job's attempts: what failed or was killed stays."""

import os
from pathlib import Path

import pytest

from reweigh.planning import attempts


def start(log):
    """As Snakemake starts a job: it removes the log, and the job's shell makes it anew."""
    log.unlink(missing_ok=True)
    log.write_text("")
    return attempts.begin(log)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_log_of_an_attempt_that_did_not_succeed_stays(tmp_path, capsys):
    log = Path("seed_0.log")
    killed = start(log)
    log.write_text("killed")
    failed = start(log)
    log.write_text("failed")
    attempts.end(log, failed, 1)
    succeeded = start(log)
    log.write_text("succeeded")
    attempts.end(log, succeeded, 0)
    assert [killed.name, failed.name, succeeded.name] == [f"seed_0.{number}.log" for number in (1, 2, 3)]
    assert {path.name: path.read_text() for path in tmp_path.glob("*.log")} == {
        "seed_0.1.log": "killed",
        "seed_0.2.log": "failed",
        "seed_0.log": "succeeded",
    }
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" on ")[0] for line in said] == ["attempt 1", "attempt 2", "attempt 3"]


def test_where_no_second_name_can_be_given_the_job_goes_on(tmp_path, monkeypatch, capsys):
    def refused(*_):
        raise PermissionError

    assert attempts.begin(tmp_path / "absent.log") is None
    monkeypatch.setattr(os, "link", refused)
    assert start(tmp_path / "seed_0.log") is None
    attempts.end(tmp_path / "seed_0.log", None, 0)
    assert capsys.readouterr().err.count("attempt 1 on ") == 2


@pytest.mark.parametrize(
    ("ends", "left"),
    [
        ([], 2),  # a lost node leaves no note
        ([True] * 3, 5),  # what its budget stops gets further each time
        ([True] * 40, attempts.STOPPED),
        ([True, False], 0),  # an error would only come again
    ],
)
def test_with_a_time_budget_only_what_may_get_further_is_started_again(ends, left):
    log = Path("logs/train/seed_0.log")
    for time_is_up in ends:
        attempts.end(log, None, 1, time_is_up)
    assert attempts.starts_left([log], attempts.STOPPED) == left
    assert attempts.starts_left([log], 0) == attempts.starts_left(["another.log"], 0) == 0
    attempts.forget()
    assert attempts.starts_left([log], attempts.STOPPED) == attempts.LOST


def test_a_note_with_a_changed_byte_ends_no_call(tmp_path):
    log = Path("seed_0.log")
    attempts.end(log, None, 75, time_is_up=True)
    attempts._notes(log).write_bytes(attempts._notes(log).read_bytes() + b"\xcd\xff\n")
    assert attempts.starts_left([log], attempts.STOPPED) == attempts.LOST + 2


def test_an_end_that_cannot_be_noted_is_said_and_hides_no_error(capsys):
    Path(".reweigh").write_text("in the way")
    attempts.end(Path("seed_0.log"), None, 1)
    assert "how this attempt ended is not noted" in capsys.readouterr().err
