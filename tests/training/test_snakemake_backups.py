"""A finished record replaces Snakemake's backup of it: at the place where Snakemake keeps it, in versions known to."""

from pathlib import Path

import pytest

from reweigh.training import snakemake_backups
from reweigh.training.snakemake_backups import FOLDER, is_known, replace_backup

RECORD = Path("results/smoke/tdr/adult/sex/tdr/seed0.json")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project in which Snakemake has a backup of a record that is newer by now."""
    monkeypatch.chdir(tmp_path)
    for path, text in ((RECORD, "new"), (FOLDER / RECORD, "old")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    snakemake_backups._is_known_here.cache_clear()
    yield tmp_path
    snakemake_backups._is_known_here.cache_clear()


def version(monkeypatch, text):
    monkeypatch.setattr(snakemake_backups.importlib.metadata, "version", lambda name: text)


def test_the_backup_becomes_the_finished_record(folder, capsys):
    assert replace_backup(RECORD)
    assert (FOLDER / RECORD).read_text() == "new"
    assert capsys.readouterr().err == ""


def test_without_a_backup_none_is_made(folder):
    other = RECORD.with_name("seed1.json")
    other.write_text("new")
    assert not replace_backup(other)
    assert not (FOLDER / other).exists()


def test_another_version_is_left_alone_and_named_once(folder, monkeypatch, capsys):
    version(monkeypatch, "10.1.0")
    assert not replace_backup(RECORD)
    assert not replace_backup(RECORD)
    assert (FOLDER / RECORD).read_text() == "old"
    assert capsys.readouterr().err.count("Snakemake 10.1.0 may keep its backups elsewhere") == 1


def test_outside_of_snakemake_nothing_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    version(monkeypatch, "10.1.0")
    assert not replace_backup(RECORD)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "known"), [("9.18.2", False), ("9.19.0", True), ("9.27.1", True), ("10.0.0", False), ("10.0a1", False)]
)
def test_versions(text, known):
    assert is_known(text) == known


def test_the_installed_snakemake_keeps_and_restores_its_backups_there(folder):
    """If this fails, look at how the new version restores outputs, and at `KNOWN`."""
    from snakemake.persistence import FileBackupMixin

    class Backups(FileBackupMixin):
        path = Path(".snakemake").absolute()

    assert Backups()._get_backup_path(RECORD) == (folder / FOLDER / RECORD)
    assert replace_backup(RECORD)
    RECORD.write_text("damaged")
    assert Backups().restore_output(RECORD)
    assert RECORD.read_text() == "new"
    assert not (FOLDER / RECORD).exists()


def test_of_another_version_a_failed_job_brings_the_stale_record_back_and_it_was_said(folder, monkeypatch, capsys):
    from snakemake.persistence import FileBackupMixin

    class Backups(FileBackupMixin):
        path = Path(".snakemake").absolute()

    version(monkeypatch, "10.1.0")
    assert not replace_backup(RECORD)
    assert Backups().restore_output(RECORD)
    assert RECORD.read_text() == "old"
    assert "Snakemake 10.1.0 may keep its backups elsewhere" in capsys.readouterr().err
