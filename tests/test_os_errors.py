"""Errors of the machine: one line that says where, what it means and what to do; nothing is left behind."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import disks, project

from reweigh import canonical_json, cli, os_errors
from reweigh.os_errors import in_words

HELP = [sys.executable, "-m", "reweigh", "--help"]


def failing(number, path="results/a.json"):
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EMFILE", "ENAMETOOLONG", "EIO", "EFBIG"])
def test_each_is_one_line_with_a_remedy(name, monkeypatch, capsys):
    def raises():
        raise failing(getattr(errno, name), "results/a\n.json")

    monkeypatch.setattr(cli, "app", raises)
    assert cli._exit_code() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("reweigh: results/a\\n.json: ") and ";" in line and "Errno" not in line


def test_what_is_no_fault_of_the_machine_keeps_its_traceback(monkeypatch):
    for error in (failing(errno.ENOENT), OSError("of a library"), ValueError("x"), ImportError("no such name")):
        assert in_words(error) is None
    monkeypatch.setattr(cli, "app", lambda: Path("no-such-file").read_bytes())
    with pytest.raises(FileNotFoundError):
        cli._exit_code()


def test_want_of_memory(monkeypatch):
    assert "ulimit -v" in in_words(MemoryError())
    mapped = ImportError("libtorch.so: failed to map segment from shared object", name="torch")
    assert "to load torch" in in_words(mapped)


# --- disks -----------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(small_disk):
    path = canonical_json.write(small_disk / "a.json", "old")
    disks.fill(small_disk)
    with pytest.raises(OSError, match="No space") as caught:
        canonical_json.write(path, "new" * 9999)
    assert in_words(caught.value).startswith(f"{path}: the disk is full")
    assert disks.names(small_disk) == ["a.json"] and path.read_text() == "old"


def test_a_read_only_disk_names_the_file_and_not_its_temporary_name(small_disk):
    path = canonical_json.write(small_disk / "a.json", "old")
    assert disks.mount(small_disk, "remount", "ro")
    with pytest.raises(OSError, match="Read-only") as caught:
        canonical_json.write(path, "new")
    assert in_words(caught.value).startswith(f"{path}: the disk is read-only; work in a copy")


def test_training_on_a_full_disk_ends_at_the_first_run_in_one_line(small_disk, tmp_path, raw_root):
    """The others would only be trained to the same end. No traceback, no half record, no lock."""
    folder = project.make(tmp_path, raw_root)
    (folder / "results").symlink_to(small_disk)
    specs = [project.spec_file(folder, run, threads=1) for run in project.TRAINED[:2]]
    disks.fill(small_disk)
    process = project.start(folder, *specs, "--at-once", "1")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1, said
    assert "Traceback" not in said and said.count("the disk is full; free some space") == 1
    assert [name for name in disks.names(small_disk) if not (small_disk / name).is_dir()] == []
    assert list(folder.rglob("*.tmp")) == list(folder.rglob("*.lock")) == []


# --- readers who leave, signals, terminals ---------------------------------------------------------------------------


def test_a_reader_who_leaves_is_no_error(monkeypatch, capsys):
    """As 141, what shells say of it; Typer and rich turn it into 1 each in its way."""

    def leaves():
        try:
            raise BrokenPipeError
        except BrokenPipeError:
            raise SystemExit(1)  # noqa: B904 - as rich does

    for end in (leaves, lambda: (_ for _ in ()).throw(BrokenPipeError())):
        monkeypatch.setattr(cli, "app", end)
        assert cli._exit_code() == 141
    monkeypatch.setattr(cli, "app", lambda: (_ for _ in ()).throw(SystemExit(1)))
    assert cli._exit_code() == 1
    assert capsys.readouterr().err == ""


def test_a_pipe_that_nobody_reads_and_a_full_disk_under_stdout():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(HELP, stdout=writer, stderr=subprocess.PIPE, env=project.environment())
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
    if (device := Path("/dev/full")).exists():
        with device.open("wb") as full:
            done = subprocess.run(HELP, stdout=full, stderr=subprocess.PIPE, env=project.environment())
        assert done.returncode == 1 and done.stderr.startswith(b"reweigh: the disk is full")


def test_streams_that_were_closed(tmp_path):
    """What is opened first would get the number of the closed one, and be written to by whoever prints there."""
    code = (
        "import os, sys; os.close(1); os.close(2); sys.stdout = sys.stderr = None\n"
        "from reweigh.terminal import print_all_letters; print_all_letters()\n"
        "file = open(sys.argv[1], 'w'); print('lost'); print('lost', file=sys.stderr); os.write(1, b'lost')\n"
        "file.write(f'{file.fileno() > 2}')"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a"], env=project.environment(), check=True)
    assert (tmp_path / "a").read_text() == "True"


def test_sigterm_ends_a_command_so_that_it_can_clean_up(tmp_path):
    code = (
        "import os, signal, sys, tempfile; from reweigh.cli import base\n"
        "with base.stopped_in_words('render'), tempfile.TemporaryDirectory(dir=sys.argv[1]):\n"
        "    os.kill(os.getpid(), signal.SIGTERM); signal.pause()"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, env=project.environment())
    assert done.returncode == 143 and done.stderr.startswith(b"reweigh: stopped by SIGTERM; ")
    assert done.stderr.count(b"\n") == 1 and list(tmp_path.iterdir()) == []


def test_a_terminal_without_unicode():
    """Also no file of the project is read in its encoding: a source with an é was said to be broken."""
    code = (
        "from reweigh import cli, digest\n"
        "read = digest._parsed(digest.module_file('reweigh.models.lenet'))\n"
        "cli.app = lambda: print('\\xe9 \\xd7 9 \\u2265 2', bool(read))\n"
        "cli.main()"
    )
    old = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=project.environment(**old))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"? ? 9 ? 2 True\n", b"")


def test_every_error_of_the_disk_is_known():
    assert {*os_errors.DISK, *os_errors.LIMITS} <= {*os_errors._MEANING}
