"""What contradicts git: records removed, written anew, of code that no commit has, or older than the commit they name.

Every digest is made anew, as one would who wants not to be found.
"""

import datetime
import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from support import needs, tampering
from support.project import ROOT
from support.tampering import ER, edit_record

from reweigh.digest import digest, source_digest
from reweigh.provenance import audit
from reweigh.provenance.audit import attestation_facts
from reweigh.records import attestations, history, record

pytestmark = needs.GIT

CODE, MADE, LATER = "2023-12-30", "2024-01-02", "2024-02-01"  # of three commits; records are of 2024-01-01
OTHER = ER.replace("seed0", "seed1")
GONE = {("record", "missing")}
BROKEN = {("record", "broken")}
DOUBTED = {("record", "unverifiable")}


def git(root, *arguments, date=LATER):
    when = {"GIT_AUTHOR_DATE": f"{date}T00:00:00Z", "GIT_COMMITTER_DATE": f"{date}T00:00:00Z"}
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=root, env={**os.environ, **when}, check=True, capture_output=True
    )
    return done.stdout.decode().strip()


def commit(root, date=LATER):
    git(root, "add", "-A", date=date)
    git(root, "commit", "-m", "as it is", date=date)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def sound(sound_project, tmp_path_factory):
    """A sound project in git: its code, then the records that it made, then a commit that is younger than these."""
    root = tampering.copy(sound_project, tmp_path_factory.mktemp("history") / "project")
    shutil.copytree(ROOT / "src/reweigh", root / "src/reweigh", ignore=shutil.ignore_patterns("__pycache__"))
    git(root, "init")
    (root / ".git/info/exclude").write_text("/data/raw\n/data/splits\n/results\n/figures\n")
    code = commit(root, CODE)
    for run in record.files_of("smoke", root):
        edit_record(root, run, lambda body: body["git"].update(commit=code))
    (root / ".git/info/exclude").write_text("/data/raw\n/data/splits\n")
    commit(root, MADE)
    weights = root / "src/reweigh/weights.py"
    before = weights.read_text()
    weights.write_text(f"{before}\nEDITED = True\n")
    edit = commit(root, LATER)
    attested(root, edit, source_digest(weights.read_text()))
    weights.write_text(before)
    commit(root, LATER)
    return SimpleNamespace(root=root, edit=edit)


def attested(root, edit, weights):
    """An attestation of the commit that edits the weights, for all records."""
    shutil.rmtree(root / "results/smoke/attestations")
    bodies = {run: record.read(file) for run, file in record.files_of("smoke", root).items()}
    now = {body["code"]["digest"]: digest({**body["code"]["files"], "weights.py": weights}) for body in bodies.values()}
    git_state = {"commit": edit, "dirty": False}
    tampering.attest(root, bodies, now, git=git_state, date=f"{LATER}T10:00:00Z")


def found(root, *kinds):
    """What an audit says of links of some kinds: kinds and states, and all details."""
    faults = [link for link in audit.audit("smoke", root, from_raw=False).faults if link.kind in kinds]
    return {(link.kind, link.state) for link in faults}, " | ".join(f"{link.name}: {link.detail}" for link in faults)


def path(root, run):
    return record.record_path(run, root)


def losses(body, loss=0.123):
    body["curves"]["train_loss"] = [loss] * len(body["curves"]["epoch"])


def trained_again(body, days=10):
    """Other times: those of a training some days later."""
    for key in ("started", "ended"):
        when = datetime.datetime.fromisoformat(body[key]) + datetime.timedelta(days=days)
        body[key] = when.strftime("%Y-%m-%dT%H:%M:%SZ")


def without_mention(root, run=ER):
    """A record gone, and all that names it."""
    path(root, run).unlink()
    for name in ("results/smoke/attestations", "figures/smoke"):
        shutil.rmtree(root / name)
    for file in (root / "results/smoke").glob("scorecard.*"):
        file.unlink()


def removed_by_a_commit(root):
    without_mention(root)
    commit(root)


def lost_in_a_merge(root):
    """A branch has the record, as does its parent; the commit that merges it has not."""
    git(root, "checkout", "-b", "side")
    git(root, "commit", "--allow-empty", "-m", "aside")
    git(root, "checkout", "-")
    git(root, "merge", "--no-ff", "--no-commit", "side")
    removed_by_a_commit(root)


def removed_since_the_config_changed(root):
    removed_by_a_commit(root)
    tampering.replace(root / "config/protocols/mnist-lenet.yaml", "{ value: 0.01,", "{ value: 0.02,")


def rewritten_and_committed(root):
    edit_record(root, ER, losses)
    commit(root)


def cheaper(body):
    body["seconds"] /= 10
    body["curves"]["train_seconds"] = [value / 10 for value in body["curves"]["train_seconds"]]


def trained_otherwise(root, **device):
    """Another result of the same training, later."""
    if device:
        edit_record(root, ER, lambda body: (body["device"].update(device), trained_again(body, 5)))
        commit(root)
    edit_record(root, ER, lambda body: (losses(body), trained_again(body)))


def of_a_younger_commit(root, **changes):
    edit_record(
        root, ER, lambda body: (body["git"].update(commit=git(root, "rev-parse", "HEAD")), body.update(changes))
    )


def of_no_commit(root):
    edit_record(root, ER, lambda body: (trained_again(body), body["git"].update(commit=None, dirty=None)))


def ended_after_its_commit(root):
    edit_record(root, ER, trained_again)
    commit(root, MADE)


def linked(root, make):
    path(root, ER).rename(root / "elsewhere.json")
    make(root / "elsewhere.json", path(root, ER))


def one_file_twice(root):
    path(root, OTHER).unlink()
    os.link(path(root, ER), path(root, OTHER))


def edited_checkout(body, dirty=True):
    """A record of code that nobody has."""
    body["code"]["files"]["methods/er.py"] = "1" * 64
    body["code"]["digest"] = digest(body["code"]["files"])
    body["git"]["dirty"] = dirty


MUTATIONS = [
    ("nothing", lambda root: None, set(), ""),
    # removed
    ("a seed and all that names it", without_mention, GONE, f"{ER}: it does not exist, but HEAD has it"),
    ("the same in a commit", removed_by_a_commit, GONE, f"{ER}: it does not exist, but commit "),
    ("the same in a commit that merges", lost_in_a_merge, GONE, f"{ER}: it does not exist, but commit "),
    ("one that was removed when the config changed", removed_since_the_config_changed, set(), ""),
    # written anew
    ("another loss under the same end", lambda root: edit_record(root, ER, losses), BROKEN,
     "it is not the record that HEAD has: curves.train_loss[0]"),
    ("the same in a commit", rewritten_and_committed, BROKEN, "it is not the record that commit "),
    ("seconds divided by ten", lambda root: edit_record(root, ER, cheaper), BROKEN, "that HEAD has: curves.train_sec"),
    ("another result of the same training", trained_otherwise, DOUBTED, "the same training came out otherwise in HEAD"),
    ("the same where all is known that rounds", lambda root: trained_otherwise(root, capability="AVX2", settings={}),
     BROKEN, "the same training came out otherwise in HEAD: curves.train_loss[0]"),
    ("trained again, the same", lambda root: edit_record(root, ER, trained_again), set(), ""),
    # times
    ("a start before its commit", of_a_younger_commit, BROKEN, "started 2024-01-01T00:00:00Z, but its commit "),
    ("an end before its commit, stopped once", lambda root: of_a_younger_commit(root, resumed=1), DOUBTED,
     "ended 2024-01-01T00:10:00Z, but its commit "),
    ("stopped before its commit, and continued", lambda root: of_a_younger_commit(
        root, resumed=1, ended="2024-02-01T10:00:00Z"), set(), ""),
    ("an end after the commit that has it", ended_after_its_commit, BROKEN, "ended 2024-01-11T00:10:00Z, but commit "),
    # links
    ("a link", lambda root: linked(root, lambda file, place: place.symlink_to(file)), BROKEN,
     "elsewhere.json, and not a file of its own"),
    ("one file under two names", one_file_twice, BROKEN, f"{OTHER}: it is the same file as the record of {ER}"),
    # code
    ("no commit", of_no_commit, {("commit", "unverifiable")}, f"{ER}: it names no commit"),
    ("an edited checkout, its code in git all the same",
     lambda root: edit_record(root, ER, lambda body: (trained_again(body), body["git"].update(dirty=True))), set(), ""),
    ("an edited checkout of other code",
     lambda root: edit_record(root, ER, lambda body: (trained_again(body), edited_checkout(body))),
     {("commit", "unverifiable")}, f"an edited checkout of it, with other code in methods/er.py ({ER})"),
    ("other code of an unedited checkout",
     lambda root: edit_record(root, ER, lambda body: (trained_again(body), edited_checkout(body, False))),
     {("commit", "broken")}, f"its code is not what records say: methods/er.py ({ER})"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected", "said"), [one[1:] for one in MUTATIONS], ids=[one[0] for one in MUTATIONS]
)
def test_is_found_and_named(sound, tmp_path, change, expected, said):
    root = tampering.copy(sound.root, tmp_path / "project")
    change(root)
    kinds, details = found(root, "record", "commit")
    assert kinds == expected and said in details, details


def first_edit(body):
    return body["code"][0]


OF_ATTESTATIONS = [
    ("nothing", lambda body: None, "", ""),
    ("an edit that it does not name", lambda body: first_edit(body).update(changed=[]), "broken",
     "weights.py had changed too at its commit"),
    ("another lock", lambda body: body["environment"].update(lock_digest="1" * 64), "broken",
     "its lock 111111111111 is not that of its commit"),
    ("another lock, of an edited checkout", lambda body: (
        body["environment"].update(lock_digest="1" * 64), body["git"].update(dirty=True)), "unverifiable",
     "its checkout was edited"),
    ("a date before its commit", lambda body: body.update(date="2024-01-20T00:00:00Z"), "broken",
     "its date 2024-01-20T00:00:00Z is before that of its commit"),
    ("no commit", lambda body: body["git"].update(commit=None), "unverifiable", "it names no commit"),
    ("a commit that nobody has", lambda body: body["git"].update(commit="1" * 40), "unverifiable",
     "git does not have its commit 111111111111"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "state", "said"), [one[1:] for one in OF_ATTESTATIONS], ids=[one[0] for one in OF_ATTESTATIONS]
)
def test_facts_of_an_attestation_are_found_and_named(sound, tmp_path, change, state, said):
    root = tampering.copy(sound.root, tmp_path / "project")
    tampering.attestation(root, change)
    kinds, details = found(root, "attestation")
    assert kinds == ({("attestation", state)} if state else set()) and said in details, details


def test_code_that_the_commit_of_an_attestation_does_not_have(sound, tmp_path):
    root = tampering.copy(sound.root, tmp_path / "project")
    attested(root, sound.edit, "1" * 64)
    kinds, details = found(root, "attestation")
    assert kinds == {("attestation", "broken")} and "does not have the code" in details, details


def test_an_attestation_in_the_folder_of_another_scale_accepts_nothing(tmp_path):
    body = {
        part: [{"then": "1", "now": "2", "covers": {ER: "of smoke", ER.replace("smoke", "quick"): "of quick"}}]
        for part in attestations.PARTS
    }
    file = attestations.write(tmp_path, "quick", {**body, "date": MADE, "sample": {"runs": 1, "of": 2}})
    attested = attestations.Attestations([file])
    for part in attestations.PARTS:
        assert attested.step("of smoke", part, "1", "2") is None and attested.step("of quick", part, "1", "2")


def test_a_file_that_is_no_longer_imported_is_an_edit_too():
    then = {"a.py": "1", "b.py": "2", "c.py": "3"}
    leads = attestation_facts._leads_to
    edit = {"changed": ["a.py", "d.py"], "now": digest({"a.py": "4", "b.py": "2", "c.py": "3", "d.py": "5"})}
    assert leads(edit, then, {**then, "a.py": "4", "d.py": "5"})
    assert not leads(edit, then, {**then, "a.py": "6", "d.py": "5"})
    dropped = {"changed": ["a.py", "b.py"], "now": digest({"a.py": "4", "c.py": "3"})}
    assert leads(dropped, then, {**then, "a.py": "4"})  # it is in the commit, as it was
    assert leads(dropped, then, {**then, "a.py": "4", "b.py": "7"}) and leads(dropped, then, {"a.py": "4", "c.py": "3"})


def test_a_project_in_a_folder_of_a_repository(sound, tmp_path):
    """Git's names of files then begin above the project."""
    shutil.copytree(sound.root, tmp_path / "top/project", symlinks=True, ignore=shutil.ignore_patterns(".git"))
    root = tmp_path / "top/project"
    git(tmp_path / "top", "init")
    git(tmp_path / "top", "add", "-A")
    git(tmp_path / "top", "commit", "-m", "all")
    known = history.of_scale("smoke", root)
    assert sorted(known.head) == sorted(known.versions) == sorted(record.files_of("smoke", root))
    without_mention(root)
    assert "HEAD has it" in found(root, "record")[1]


def test_a_project_without_a_commit_has_no_history(tmp_path):
    assert history.of_scale("smoke", tmp_path) is None
    git(tmp_path, "init")
    assert history.of_scale("smoke", tmp_path) is None
    assert history.contents(tmp_path, ["nothing", "HEAD:none"]) == {}
