"""The logs of a job's attempts: what failed or was killed stays."""

import os

from reweigh.planning import attempts


def start(log):
    """As Snakemake starts a job: it removes the log, and the job's shell makes it anew."""
    log.unlink(missing_ok=True)
    log.write_text("")
    return attempts.begin(log)


def test_the_log_of_an_attempt_that_did_not_succeed_stays(tmp_path, capsys):
    log = tmp_path / "seed_0.log"
    killed = start(log)
    log.write_text("killed")
    failed = start(log)
    log.write_text("failed")
    attempts.end(failed, 1)
    succeeded = start(log)
    log.write_text("succeeded")
    attempts.end(succeeded, 0)
    assert [killed.name, failed.name, succeeded.name] == [f"seed_0.{number}.log" for number in (1, 2, 3)]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
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
    attempts.end(None, 0)
    assert capsys.readouterr().err.count("attempt 1 on ") == 2
