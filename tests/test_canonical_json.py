"""Files are whole or not there, also after a kill; leftovers of killed processes go, those of living ones stay."""

import os
import signal
import subprocess
import sys

import pytest
from support.project import ROOT

from reweigh.canonical_json import LEFTOVER_SECONDS, atomic_file, put_in_place, write

KILLED = """
import os, sys
from reweigh import canonical_json

def kill(*arguments):
    os.kill(os.getpid(), 9)

setattr(os, sys.argv[2], kill)  # where in the writing the process is killed
canonical_json.write(sys.argv[1], "new")
"""


def hidden(folder):
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def test_text_and_bytes_are_written_and_nothing_else_is_left(tmp_path):
    path = write(tmp_path / "a" / "b" / "file.json", "text\n")
    assert path.read_bytes() == b"text\n"
    assert write(path, b"\x00\xff").read_bytes() == b"\x00\xff"
    assert list(path.parent.iterdir()) == [path]


def test_the_old_content_is_there_until_the_new_one_is_whole(tmp_path):
    path = write(tmp_path / "file", "old")
    with atomic_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    path = write(tmp_path / "file", "old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as file:  # noqa: PT012 - raised inside the writing
        file.write(b"ne")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize("before", ["old", None])
def test_a_kill_before_the_rename_leaves_the_old_file_or_none(tmp_path, moment, before):
    path = tmp_path / "file.json"
    if before:
        write(path, before)
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), moment])
    assert done.returncode == -signal.SIGKILL
    assert (path.read_text() if path.exists() else None) == before
    (leftover,) = hidden(tmp_path)
    assert leftover.read_text() == "new"
    write(path, "newer")
    assert leftover.exists(), "it is young: another process may be writing it"
    long_ago = leftover.stat().st_mtime - LEFTOVER_SECONDS - 1
    os.utime(leftover, (long_ago, long_ago))
    write(tmp_path / "another.json", "")
    assert leftover.exists(), "it is another file's"
    write(path, "newest")
    assert hidden(tmp_path) == []
    assert path.read_text() == "newest"


def test_content_and_name_are_on_the_disk_before_writing_returns(tmp_path, monkeypatch):
    """The content is synced before the rename, the folder after it."""
    calls, fsync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "content")
        fsync(descriptor)

    def replaced(source, target):
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write(tmp_path / "file", "new")
    assert calls == ["content", "rename", "folder"]


def test_two_writers_at_once_do_not_meet(tmp_path):
    path = tmp_path / "file"
    with atomic_file(path) as first, atomic_file(path) as second:
        first.write(b"first" * 1000)
        second.write(b"second")
    assert path.read_bytes() == b"first" * 1000  # the outer one ends last


def test_a_link_under_the_temporary_name_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".file.0.tmp").symlink_to(tmp_path / "victim")
    monkeypatch.setattr("secrets.token_hex", lambda count: "0")
    with pytest.raises(FileExistsError):
        write(tmp_path / "file", "new")
    assert (tmp_path / "victim").read_text() == "mine" and not (tmp_path / "file").exists()


def test_what_was_there_before_may_be_kept(tmp_path):
    path, previous = tmp_path / "file", tmp_path / "file.previous"
    for content in ("one", "two", "three"):
        with atomic_file(path, previous) as file:
            file.write(content.encode())
    assert (path.read_text(), previous.read_text()) == ("three", "two") and hidden(tmp_path) == []


def test_a_file_that_was_made_elsewhere_is_put_in_place(tmp_path):
    made, path = tmp_path / "made", write(tmp_path / "file", "old")
    made.write_text("new")
    put_in_place(made, path)
    assert path.read_text() == "new"
    assert not made.exists()


def test_no_other_module_renames_files_by_hand():
    source = ROOT / "src/reweigh"
    by_hand = {
        path.relative_to(source).as_posix() for path in source.rglob("*.py") if "os.replace(" in path.read_text()
    }
    assert by_hand == {"canonical_json.py", "provenance/crate/__init__.py"}  # a crate may be a folder
