"""Checks of an audit side by side: the same links as one after the other, whatever becomes of the processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import tampering
from support.project import ROOT
from support.tampering import ER, FIGURE

from reweigh.errors import DataError
from reweigh.provenance import audit
from reweigh.provenance.audit import side_by_side
from reweigh.provenance.audit.links import Link
from reweigh.provenance.audit.side_by_side import Check, answers, begun

HERE = os.getpid()


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    monkeypatch.setattr(side_by_side, "cores", lambda: 2)
    monkeypatch.setattr(side_by_side.sys, "platform", sys.platform)
    if sys.platform != "linux":
        pytest.skip("wants Linux, where processes are forked")


def links(*names):
    """Links that say which process they are from."""
    return [Link("record", name, "intact", "here" if os.getpid() == HERE else "elsewhere") for name in names]


def of_weight(*weights):
    return [Check(lambda place=place: links(f"{place}a", f"{place}b"), weight) for place, weight in enumerate(weights)]


def test_the_links_are_in_the_order_of_the_checks():
    found = answers(of_weight(1, 5, 0, 3, 0, 2))
    assert [link.name for link in found] == [f"{place}{letter}" for place in range(6) for letter in "ab"]
    assert {link.detail for link in found} == {"elsewhere"}


@pytest.mark.parametrize(
    ("weights", "cores", "platform"),
    [((1, 1), 2, "linux"), ((9, 9), 1, "linux"), ((9, 9), 2, "darwin"), ((9,), 2, "linux")],
)
def test_a_small_project_one_core_and_a_system_without_fork_start_no_process(monkeypatch, weights, cores, platform):
    monkeypatch.setattr(side_by_side, "cores", lambda: cores)
    monkeypatch.setattr(side_by_side.sys, "platform", platform)
    assert {link.detail for link in answers(of_weight(*weights))} == {"here"}


def test_checks_can_begin_before_others_are_ready():
    with begun(of_weight(3, 3)) as found:
        assert [link.detail for links in found().values() for link in links] == ["elsewhere"] * 4


def test_what_was_begun_and_did_not_end_is_not_among_the_answers(monkeypatch):
    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    def raising():
        raise DataError("no")

    one, other = of_weight(1, 1)
    with begun([one, Check(raising, 9), other]) as found:
        assert sorted(found()) == [0, 2]
    with begun([one, Check(killed, 9), other]) as found:
        assert sorted(found()) == [0]
    monkeypatch.setattr(side_by_side, "cores", lambda: 1)
    with begun(of_weight(9, 9)) as found:
        assert found() == {}


def test_what_a_killed_process_owes_is_checked_here():
    def killed():
        if os.getpid() != HERE:
            os.kill(os.getpid(), signal.SIGKILL)
        return links("killed")

    checks = [*of_weight(1, 1, 1), Check(killed, 9.0), Check(killed, 8.0), *of_weight(1)]
    found = answers(checks)
    assert [link.name for link in found] == ["0a", "0b", "1a", "1b", "2a", "2b", "killed", "killed", "0a", "0b"]


def test_what_a_check_raises_is_raised_here():
    def raises():
        raise DataError(f"no disk in {os.getpid()}")

    with pytest.raises(DataError, match=f"no disk in {HERE}"):
        answers([*of_weight(5), Check(raises, 5.0)])


def test_without_a_further_process_or_file_all_is_checked_here(monkeypatch):
    def refused(self):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.context.ForkProcess.start", refused)
    assert {link.detail for link in answers(of_weight(5, 5))} == {"here"}


def test_an_audit_on_all_cores_says_the_same(sound_project, tmp_path, monkeypatch):
    root = tampering.copy(sound_project, tmp_path / "project")
    (root / f"{FIGURE}.png").unlink()
    (root / f"results/{ER}.json").unlink()
    monkeypatch.setattr(side_by_side, "WORTH_IT", 1e9)
    alone = audit.audit("smoke", root)
    monkeypatch.setattr(side_by_side, "WORTH_IT", 0.0)
    forked, started = side_by_side._forked, []
    monkeypatch.setattr(side_by_side, "_forked", lambda *how: started.append(how) or forked(*how))
    together = audit.audit("smoke", root)
    assert len(started) == 1  # the few records are a single check
    assert together.links == alone.links
    assert together.as_dict() == alone.as_dict()
    assert together.exit_code == 1


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_audit(tmp_path, end):
    program = f"""
import os, pathlib, time
from reweigh.provenance.audit import side_by_side as s
s.cores = lambda: 2
def slow():
    pathlib.Path(r"{tmp_path}", str(os.getpid())).touch()
    time.sleep(1.5)
    return []
s.answers([s.Check(slow, 5.0) for _ in range(40)])
"""
    group = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, start_new_session=True, cwd=ROOT)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    if end == signal.SIGINT:
        os.killpg(group.pid, end)  # as a terminal does
    else:
        group.kill()
    said = group.communicate(timeout=30)[1].decode()
    assert said.count("Traceback") == (end == signal.SIGINT)  # that of KeyboardInterrupt, in the parent alone
    processes = [int(path.name) for path in tmp_path.iterdir()]
    assert len(processes) == 2
    while any(map(runs, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(runs, processes))


def runs(process):
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
