"""What a record says of its raw files and its commit, and a manifest that was changed: each is found, and named."""

import functools
import shutil
import subprocess
from collections import Counter

import pytest
from support import needs, tampering
from support.project import ROOT
from support.tampering import ER, LOCK, TDR, edit_json, edit_record, replace

from reweigh import canonical_json
from reweigh.config.loading import load
from reweigh.data import obtain
from reweigh.data.catalogue import Manifest
from reweigh.errors import DataError
from reweigh.provenance.audit import commits, links, lockfile, sources
from reweigh.provenance.audit.records import check_records
from reweigh.records import attestations, record

LABELS = "mnist/t10k-labels-idx1-ubyte"
SHA256 = "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"


@pytest.fixture
def root(sound_project, tmp_path):
    obtain._content.cache_clear()
    return tampering.copy(sound_project, tmp_path / "project")


def check(root, from_raw=False):
    bodies = {run: record.read(record.record_path(run, root)) for run in (TDR, ER)}
    return list(sources.check_sources(bodies, root, from_raw))


def faults(root, from_raw=False):
    return [link for link in check(root, from_raw) if link.state in links.FAILING]


@pytest.mark.parametrize(
    ("change", "state", "said"),
    [
        (lambda raw: raw[3].update(url="http://mine/x"), "stale", f"raw.url of {LABELS} is 'http://mine/x'"),
        (lambda raw: raw[3].update(url=None), "stale", f"raw.url of {LABELS} is None"),
        (lambda raw: raw[3].update(source="tape"), "stale", f"raw.source of {LABELS} is 'tape'"),
        (lambda raw: raw[3].update(bytes=10009), "broken", f"raw.bytes of {LABELS} is 10009, the manifest says 10008"),
        (lambda raw: [one.update(edition="mine") for one in raw], "broken", "mnist is of edition 'mine'"),
        (lambda raw: raw[3].update(edition="mine"), "broken", "of edition 'mine and official'"),
        (lambda raw: raw.pop(), "broken", "does not name the files of mnist, edition official"),
        (lambda raw: raw.append(raw[0]), "broken", "does not name the files of mnist, edition official"),
        (lambda raw: raw.append(raw[0] | {"dataset": "adult"}), "broken", "other data sets than mnist"),
    ],
)
def test_each_record_is_held_to_the_manifest_not_the_first_alone(root, change, state, said):
    edit_record(root, ER, lambda body: change(body["raw"]))
    (fault,) = (link for link in faults(root) if link.name.startswith("results/"))
    assert (fault.kind, fault.name, fault.state) == ("raw", f"results/{ER}.json", state) and said in fault.detail
    assert links.remedy(fault) == f"restore it from git, or delete it and train it again: snakemake results/{ER}.json"


@pytest.mark.parametrize(("there", "from_raw"), [(True, False), (False, True)])
def test_a_changed_manifest_is_what_has_to_be_restored(root, there, from_raw):
    replace(root / "data/manifest.yaml", SHA256, SHA256[::-1])
    if not there:  # then what is embedded speaks for the records
        shutil.rmtree(root / "data/raw")
    found = [link for link in faults(root, from_raw) if link.kind in ("raw", "embedded")]
    kinds = {link.kind for link in found if link.name == f"data/manifest.yaml ({LABELS})"}
    assert kinds == ({"raw", "embedded"} if from_raw else {"raw"})
    assert {links.remedy(link) for link in found if link.name.startswith("data/")} == {"restore it from git"}
    assert all(LABELS.partition("/")[2] not in link.name or "manifest" in link.name for link in found)


def test_a_changed_size_in_the_manifest_is_no_fault_of_the_records(root):
    replace(root / "data/manifest.yaml", "bytes: 10008", "bytes: 10009")
    (fault,) = (link for link in faults(root) if link.name != "mnist/SOURCE.json")
    assert fault.name == f"data/manifest.yaml ({LABELS})" and "has 10008 bytes, the manifest says 10009" in fault.detail


@pytest.mark.parametrize("stated", ["1" * 64, "abc", "'" + "G" * 64 + "'"])
def test_a_digest_in_the_manifest_that_is_none_is_refused(root, stated):
    replace(root / "data/manifest.yaml", SHA256, stated)
    with pytest.raises(DataError, match=r"the sha256 of t10k-labels-idx1-ubyte is .*write 64 hex characters"):
        Manifest.load(root / "data/manifest.yaml")


def test_an_audit_that_puts_raw_files_in_place_finds_the_same_links_when_it_is_asked_again(root):
    shutil.rmtree(root / "data/raw")
    first, second = check(root), check(root)
    assert first == second and Counter(link.kind for link in first)["raw"] == 5
    assert (root / "data/raw/mnist/SOURCE.json").is_file()


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("content", [DEEP, '{"edition": []}', '{"edition": 1, "edition": 2}', "[]", b"\xff", "{NaN}"])
@pytest.mark.parametrize("file", ["data/raw/mnist/SOURCE.json", f"{tampering.SPLIT}.json"])
def test_whatever_lies_there_is_a_fault_and_no_end(root, file, content):
    tampering.write(root / file, content)
    (fault,) = faults(root)
    assert fault.state == "broken" and "does not have the form of" in fault.detail


@pytest.mark.parametrize("odd", [{"odd": [1]}, [None], -1])
def test_whatever_a_record_holds_is_a_fault_and_no_end(root, odd):
    path, config, none = record.record_path(TDR, root), load(root), attestations.Attestations([])
    body = record.read(path)
    for key in sorted(record.KEYS - {"digest"}):
        tampering.write(path, canonical_json.text_of(canonical_json.seal({**body, key: odd})))
        sound, found = check_records(config, "smoke", root, none)
        (link,) = (link for link in found if (link.kind, link.name) == ("record", TDR))
        assert link.state == "broken" and TDR not in sound, key


def test_a_lock_that_cannot_be_read_is_a_fault_and_no_end(root):
    body = record.read(record.record_path(TDR, root))
    odd = {**body, "environment": {**body["environment"], "python": [1], "lock_digest": 5, "torch": None}}
    assert len(list(lockfile.check_lock({TDR: body, ER: odd}, root))) == 2
    tampering.write(root / LOCK, b"\xff\xfe")
    (found,) = lockfile.check_lock({TDR: body}, root)
    assert found.state == "broken" and "cannot be compared" in found.detail and "restore" in links.remedy(found)


# --- commits ---------------------------------------------------------------------------------------------------------


def test_committed_records_executed_what_git_has_at_their_commits():
    paths = sorted((ROOT / "results/paper").glob("*/*/*/*/seed*.json"))
    found = list(commits.check_commits({str(path): record.read(path) for path in paths}, ROOT))
    assert {link.state for link in found} <= {"intact", "unverifiable"}  # the latter where a clone is shallow


@pytest.fixture
def history(tmp_path):
    """A project with one file of code, and two commits of it."""
    git = functools.partial(subprocess.run, cwd=tmp_path, check=True, capture_output=True, text=True)
    named = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    code = tmp_path / "src/reweigh/weights.py"
    code.parent.mkdir(parents=True)
    git(["git", "init", "-q"])
    made = []
    for text in ("A = 1\n", "A = 2\n"):
        code.write_text(text)
        git(["git", "add", "src"])
        git([*named, "commit", "-qm", text])
        made.append(git(["git", "rev-parse", "HEAD"]).stdout.strip())
    return tmp_path, made


def said(commit, dirty=False, **files):
    return {"git": {"commit": commit, "dirty": dirty}, "code": {"files": {f"{k}.py": v for k, v in files.items()}}}


@needs.GIT
def test_code_of_today_at_a_commit_of_then_is_found(history):
    root, (then, now) = history
    old, new = commits.source_digest("A = 1\n"), commits.source_digest("A = 2  # two\n")

    def state(*bodies):
        return [(link.name, link.state) for link in commits.check_commits(dict(zip("ab", bodies, strict=False)), root)]

    assert state(said(then, weights=old), said(now, weights=new)) == sorted([(then, "intact"), (now, "intact")])
    assert state(said(then, weights=old), said(then, weights=new)) == [(then, "broken")]
    assert state(said(then, dirty=True, weights=new), said(None, weights=new)) == []
    assert state(said(then, weights=old, other=old)) == [(then, "unverifiable")]  # an untracked file
    assert state(said("0" * 40, weights=old)) == [("0" * 40, "unverifiable")]
    shutil.rmtree(root / ".git")
    assert state(said(then, weights=new)) == []


@needs.GIT
def test_a_forged_digest_of_code_is_named(history):
    root, (then, _) = history
    (found,) = commits.check_commits({TDR: said(then, weights="0" * 64)}, root)
    assert f"weights.py ({TDR})" in found.detail and "train again" in links.remedy(found)


def test_a_raw_receipt_has_each_name_once(root):
    edit_json(root / "data/raw/mnist/SOURCE.json", lambda body: body["files"].append(body["files"][0]))
    (fault,) = faults(root)
    assert "does not name the files" in fault.detail
