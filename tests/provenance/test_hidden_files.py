"""What the system hides from an audit is unverifiable, with the system's reason, and nothing is called broken."""

import errno
import io
import os
import shutil
import tempfile

import pytest
from support import tampering
from support.tampering import ER, FIGURE, LOCK, SCORECARD, SPLIT, TDR

from reweigh.provenance import audit
from reweigh.provenance.audit import sources
from reweigh.records import attestations, record

READ = {
    "a record": ("record", f"results/{ER}.json"),
    "a trace": ("trace", f"results/{TDR}.npz"),
    "a raw file": ("raw", "data/raw/mnist/t10k-labels-idx1-ubyte"),
    "where raw files are from": ("raw", "data/raw/mnist/SOURCE.json"),
    "a split": ("split", f"{SPLIT}.npz"),
    "the report of a split": ("split", f"{SPLIT}.json"),
    "a csv": ("figure", f"{FIGURE}.csv"),
    "a picture": ("rendering", f"{FIGURE}.png"),
    "a receipt": ("receipt", f"{FIGURE}.json"),
    "the scorecard": ("scorecard", f"{SCORECARD}.csv"),
    "a page": ("page", f"{SCORECARD}.md"),
    "the lock": ("lock", LOCK),
    "an attestation": ("attestation", "results/smoke/attestations/"),
}
ERRORS = (errno.EACCES, errno.EIO, errno.EMFILE, errno.ESTALE)


@pytest.fixture(scope="module")
def sound(sound_project):
    with pytest.MonkeyPatch.context() as patch:
        tampering.score_once(patch)
        assert audit.audit("smoke", sound_project, redraw=False).exit_code == 0
        yield sound_project


def hide(monkeypatch, root, name, number):
    """Let the system hide a file of the project, or all of a folder, from whoever opens it."""
    opened = io.open

    def refuse(file, *rest, **named):
        path = os.fsdecode(file) if isinstance(file, str | bytes | os.PathLike) else ""
        if path.startswith(str(root / name)) or (name.endswith("/") and path.startswith(f"{root}/{name}")):
            raise OSError(number, os.strerror(number), path)
        return opened(file, *rest, **named)

    monkeypatch.setattr(io, "open", refuse)
    monkeypatch.setattr("builtins.open", refuse)


@pytest.mark.parametrize(("kind", "name"), READ.values(), ids=READ)
def test_what_cannot_be_read_is_unverifiable(sound, tmp_path, monkeypatch, kind, name):
    root = tampering.copy(sound, tmp_path / "project")
    number = ERRORS[len(name) % len(ERRORS)]
    hide(monkeypatch, root, name, number)
    report = audit.audit("smoke", root, redraw=False)
    assert report.exit_code == 0, report.faults
    hidden = [link for link in report.faults if link.kind == kind and "cannot look: " in link.detail]
    assert [link.state for link in hidden] == ["unverifiable"] * len(hidden) and hidden, report.faults


def test_while_an_attestation_is_hidden_nothing_is_called_stale(sound, tmp_path, monkeypatch):
    """Nor is it taken as one that accepts nothing: the code may have changed, and nobody can say."""
    root = tampering.copy(sound, tmp_path / "project")
    tampering.edit_record(root, ER, lambda body: body["split"].update(recipe_digest="0" * 64))
    assert ("recipe", "stale") in {link[::2] for link in audit.audit("smoke", root, redraw=False).faults}
    hide(monkeypatch, root, "results/smoke/attestations/", errno.EIO)
    attestations._load.cache_clear()
    (link,) = (link for link in audit.audit("smoke", root, redraw=False).faults if link.kind == "recipe")
    assert link.state == "unverifiable" and "an attestation might cover it: cannot look: " in link.detail


def test_a_hidden_folder_of_records(sound, tmp_path, monkeypatch):
    root = tampering.copy(sound, tmp_path / "project")
    path = record.record_path(ER, root)
    seen = os.lstat

    def lstat(name, *rest, **named):
        if os.fspath(name).startswith(str(path.parent)):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(name))
        return seen(name, *rest, **named)

    shutil.rmtree(path.parent)
    monkeypatch.setattr(os, "stat", lambda name, *rest, **named: lstat(name, *rest) if named.get(
        "follow_symlinks") is False else STAT(name, *rest, **named))  # fmt: skip
    monkeypatch.setattr(os, "lstat", lstat)
    found = {link.state for link in audit.audit("smoke", root, redraw=False).faults if link.kind == "record"}
    assert found == {"unverifiable"}


STAT = os.stat


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, None], ids=["full", "not to be written", "none"])
def test_without_room_for_temporary_files_nothing_is_called_broken(sound, tmp_path, monkeypatch, number):
    root = tampering.copy(sound, tmp_path / "project")

    def refuse(*rest, **named):
        if number is None:
            raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")
        raise OSError(number, os.strerror(number), "/tmp/reweigh-audit-x")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    report = audit.audit("smoke", root, redraw=True)
    assert report.exit_code == 0, report.faults
    (link,) = (link for link in report.faults if link.kind == "embedded")
    assert link.state == "unverifiable" and link.detail.startswith("cannot look: "), link


def test_a_disk_that_fills_while_it_is_unpacked(sound, tmp_path, monkeypatch):
    root = tampering.copy(sound, tmp_path / "project")

    def full(packed, place, expected):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))

    monkeypatch.setattr(sources.transfer, "place", full)
    links = [link for link in audit.audit("smoke", root, redraw=True).links if link.kind == "embedded"]
    assert {link.state for link in links} == {"unverifiable"} and len(links) > 1
    assert all("the disk is full; free some space" in link.detail for link in links)
