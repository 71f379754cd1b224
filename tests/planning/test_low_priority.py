"""Giving way to other sessions too: a session of one's own, ended with its parent, and no trace in the user's."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import project
from support.processes import gone, wait_for

from reweigh.planning import low_priority

needs_autogroups = pytest.mark.skipif(
    not (low_priority._sessions_compete() and os.access(low_priority.OWN_AUTOGROUP, os.W_OK)),
    reason="wants a Linux with autogroups",
)

WORK = """
import os, signal, sys, time
from pathlib import Path
from types import SimpleNamespace
from reweigh.planning.low_priority import give_way, in_a_session_of_its_own

def work():
    signal.signal(signal.SIGTERM, lambda *_: (Path("told").write_text("to stop"), os._exit(7)))
    give_way(5)
    group = Path("/proc/self/autogroup").read_text().split()[-1]
    print(os.getpid(), os.getsid(0), group, os.nice(0), flush=True)
    for line in sys.stdin:
        return int(line)
    time.sleep(60)

before = os.getsid(0)
code = in_a_session_of_its_own(work)
if os.getsid(0) == before:
    print(os.getsid(0), *Path("/proc/self/autogroup").read_text().split()[-1:], flush=True)
sys.exit(code)
"""


def start(folder):
    """A process that does the work above in a session of its own; process, and the words of the work."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORK], cwd=folder, env=project.environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    return process, process.stdout.readline().split()


@needs_autogroups
@pytest.mark.parametrize("code", [0, 3])
def test_the_session_that_gives_way_is_not_the_users(tmp_path, code):
    process, (pid, session, group, nice) = start(tmp_path)
    assert pid == session != str(process.pid) and group == "5" and int(nice) == min(os.nice(0) + 5, low_priority.LOWEST)
    theirs, _ = process.communicate(f"{code}\n", timeout=60)
    own = Path("/proc/self/autogroup").read_text().split()[-1:]  # nothing in a session from before there were groups
    assert theirs.split() == [str(os.getsid(0)), *own] and process.returncode == code


@needs_autogroups
def test_a_signal_is_handed_on(tmp_path):
    process, _ = start(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 7 and (tmp_path / "told").exists()
    process.stdin.close(), process.stdout.close()


@needs_autogroups
def test_it_stops_with_a_parent_that_is_killed(tmp_path):
    process, (pid, *_) = start(tmp_path)
    keep_waiting = os.dup(process.stdin.fileno())  # or the end of its input would end it
    process.kill()
    process.communicate(timeout=60)
    wait_for(lambda: gone(int(pid)), "the end of the work")
    os.close(keep_waiting)
    assert (tmp_path / "told").exists()


@pytest.mark.parametrize(
    ("refusals", "written"), [((), ["5"]), ((BlockingIOError,) * 2, ["5"]), ((PermissionError,), [])]
)
def test_the_niceness_of_a_session_is_set_again_where_another_was_set_just_before(monkeypatch, refusals, written):
    """Linux answers so to all but root. Another refusal is final."""
    answers, seen = iter(refusals), []

    def write_text(text, encoding="utf-8"):
        if answer := next(answers, None):
            raise answer
        seen.append(text)

    monkeypatch.setattr(low_priority, "OWN_AUTOGROUP", SimpleNamespace(write_text=write_text))
    monkeypatch.setattr(low_priority, "PAUSE_SECONDS", 0)
    low_priority._set_niceness_of_the_session(5)
    assert seen == written


def test_no_process_more_where_niceness_counts_among_all(monkeypatch, tmp_path):
    for text in ("0\n", None):
        path = tmp_path / f"autogroups{text is None}"
        if text:
            path.write_text(text)
        monkeypatch.setattr(low_priority, "AUTOGROUPS", path)
        assert low_priority.in_a_session_of_its_own(os.getpid) == os.getpid()
