"""Short versions of `make stress`: a replication that is disturbed a few times, and some changes of bytes of each kind."""

import subprocess
import sys
import time

import pytest
from stress import changes, kills
from stress.byte_changes import WAYS, Change, apply
from stress.failures import Failure
from stress.faults import Faults
from stress.kept_files import Kept
from support import project

TRIED = 200


@pytest.mark.slow
def test_a_replication_that_is_killed_at_random_moments_ends_as_if_nothing_had_happened(tmp_path, raw_root):
    said = []
    done = kills.stress(tmp_path, raw_root, kills=2, seed=1, grid=kills.SMALL, tell=said.append)
    assert done.total() == 2, said


# --- bytes -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory, raw_root):
    return Kept(tmp_path_factory.mktemp("stress") / "kept", raw_root.resolve())


@pytest.mark.slow
def test_no_changed_byte_of_what_is_read_again_gives_a_wrong_answer(kept):
    tried = changes.Changes(kept)
    for change in changes.several(TRIED, seed=18):
        tried.try_(change)
    assert tried.counted.total() == TRIED
    assert {kind for kind, _ in tried.counted} == set(changes.KINDS)
    assert {outcome for _, outcome in tried.counted} == set(changes.OUTCOMES)


def test_a_wrong_answer_is_told_with_the_change_that_gave_it(kept, monkeypatch):
    """What `record.read` would be without its digest, and a program that waits for ever."""
    change = next(one for one in changes.several(100, seed=1) if one.kind == "record")
    monkeypatch.setattr("reweigh.canonical_json.altered", lambda body, content: "")
    monkeypatch.setattr("reweigh.records.record.KEYS", set())
    tried = changes.Changes(kept)
    with pytest.raises(Failure, match=rf"^change {change.number} of a file of kind 'record', .*: "):
        for number in range(change.number, change.number + 40 * len(changes.KINDS), len(changes.KINDS)):
            change = changes.numbered(number, 1)
            monkeypatch.undo() if change.kind != "record" else None
            tried.try_(change)
