"""Calls of Snakemake on a disk that takes nothing, and `make quick` there and when it is told to end."""

import errno
import io
import os
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from reweigh.planning import call, notes, watch


def test_a_call_that_can_write_nothing_ends_in_one_line(tmp_path, monkeypatch):
    def full(**options):
        raise OSError(errno.ENOSPC, "No space left on device")

    call.check_disk(tmp_path)
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(SystemExit, match=rf"^reweigh: {tmp_path}: the disk is full; free some space .*\Z"):
        call.check_disk(tmp_path)


def test_without_a_log_nothing_is_run(tmp_path):
    (tmp_path / "logs/quick.log").mkdir(parents=True)
    shown = io.StringIO()
    assert watch.watch(tmp_path / "logs/quick.log", [str(tmp_path / "nothing")], shown) == 1
    assert shown.getvalue() == f"reweigh: {tmp_path}/logs/quick.log: this is a folder and no file; " + (
        "move it away, or name a file\n"
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="wants /dev/full")
def test_a_log_on_a_full_disk_stops_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "reweigh.planning.watch", "/dev/full", sys.executable, "-c", "print('reweigh: on')"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, "reweigh: on")


def test_sigterm_ends_the_command_too(tmp_path):
    code = "import os, time; print('reweigh:', os.getpid(), flush=True); time.sleep(600)"
    process = subprocess.Popen(
        [sys.executable, "-m", "reweigh.planning.watch", tmp_path / "log", sys.executable, "-c", code],
        stderr=subprocess.PIPE,
        text=True,
    )
    child = int(process.stderr.readline().split()[1])
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_files_from_the_future_are_of_now(tmp_path):
    """By a clock that was wrong: Snakemake refuses what is older than what it was made from."""
    now, late, early = time.time(), tmp_path / "late", tmp_path / "early"
    for path, hours in ((late, 1), (early, -1)):
        path.touch()
        os.utime(path, (now + 3600 * hours,) * 2)
    notes.no_later([late, early, tmp_path / "absent"], now)
    assert late.stat().st_mtime == pytest.approx(now)
    assert early.stat().st_mtime == pytest.approx(now - 3600)
