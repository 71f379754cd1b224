"""The same for what everything is made from: config, code, lock, published numbers, raw files, splits, the manifest.

Code is edited in a copy of the package, which digests are then taken of.
"""

import json
import shutil
from types import SimpleNamespace

import pytest
from support import tampering
from support.tampering import LOCK, SPLIT, edit_csv, edit_json, flip, replace

from reweigh import digest
from reweigh.artifacts import receipt
from reweigh.data import obtain
from reweigh.provenance import audit
from reweigh.records import record

LENET, TDR = "config/protocols/mnist-lenet.yaml", "config/papers/tdr"
LABELS = "data/raw/mnist/t10k-labels-idx1-ubyte"
SHA256 = "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
SOURCE = "data/raw/mnist/SOURCE.json"
RAW = {("raw", "broken"), ("split", "unverifiable")}  # of altered bytes nothing can be drawn again


def source(root, change):
    edit_json(root / SOURCE, change)


def flip_embedded(root):
    shutil.copytree((root / "data/embedded").resolve(), root / "data/own")
    (root / "data/embedded").unlink()
    (root / "data/own").rename(root / "data/embedded")
    flip(root / "data/embedded/mnist/t10k-labels-idx1-ubyte.xz", 500)


def change_first(array):
    array[0] += 1


MUTATIONS = [
    # config
    ("a value in the config", lambda root: replace(root / LENET, "{ value: 0.01,", "{ value: 0.02,"),
     {("spec", "stale")}, "training.learning_rate 0.01 -> 0.02"),
    ("a claim", lambda root: replace(root / TDR / "claims/mnist-figures.yaml", "TDR reaches a", "TDR has a"),
     {("receipt", "stale"), ("scorecard", "stale"), ("page", "stale")}, "what the config says of it"),
    ("a comment in the config", lambda root: replace(root / TDR / "artifacts.yaml", "fig3:\n", "fig3:  # as it is\n"),
     set(), ""),
    # lock
    ("the lock", lambda root: replace(root / LOCK, "torch==2.11.0", "torch==2.12.0"), {("lock", "stale")},
     "the lock pins numpy 2.0.0, torch 2.12.0 now"),
    ("another library in the lock", lambda root: replace(root / LOCK, "0.26.0", "0.27.0"), set(), ""),
    ("a deleted lock", lambda root: (root / LOCK).unlink(), {("lock", "missing")}, "does not exist"),
    # published numbers
    ("a published number", lambda root: edit_csv(root / "data/published/tdr.csv", 0, mean="0.5"),
     {("receipt", "stale"), ("scorecard", "stale"), ("page", "stale")}, "changed since: data/published/tdr.csv"),
    ("a deleted file of published numbers", lambda root: (root / "data/published/tdr.csv").unlink(),
     {("figure", "stale"), ("receipt", "stale"), ("scorecard", "unverifiable"), ("page", "unverifiable")},
     "data/published/tdr.csv"),
    # raw files
    ("one bit of a raw file", lambda root: flip(root / LABELS), RAW, f"records say {SHA256[:12]}"),
    ("a truncated raw file", lambda root: tampering.truncate(root / LABELS), RAW, "records say"),
    ("a raw digest in SOURCE.json", lambda root: source(root, lambda body: body["files"][3].update(sha256="0" * 64)),
     {("raw", "broken")}, "the manifest does not"),
    ("a file in SOURCE.json", lambda root: source(root, lambda body: body["files"].pop()), {("raw", "broken")},
     "does not name the files of edition official"),
    ("the edition in SOURCE.json", lambda root: source(root, lambda body: body.update(edition="mine")),
     {("raw", "broken")}, "edition mine"),
    ("a URL in SOURCE.json", lambda root: source(root, lambda body: body["files"][0].update(url="http://mine/x")),
     {("raw", "stale")}, "the manifest does not have the address http://mine/x"),
    ("a deleted SOURCE.json", lambda root: (root / SOURCE).unlink(), {("raw", "missing")}, "though raw files do"),
    ("a truncated SOURCE.json", lambda root: tampering.truncate(root / SOURCE), {("raw", "broken")},
     "form of a source file"),
    ("a sha256 in the manifest", lambda root: replace(root / "data/manifest.yaml", SHA256, SHA256[::-1]),
     {*RAW, ("recipe", "stale")}, f"records say sha256 {SHA256[:12]}, the manifest {SHA256[:-13:-1]}"),
    ("a sha256 less in the manifest", lambda root: replace(root / "data/manifest.yaml", f"sha256: {SHA256}", "note: x"),
     {("recipe", "stale")}, "digests in the manifest have changed"),
    # splits
    ("an index of a split", lambda root: tampering.edit_split(root / f"{SPLIT}.npz", "index", change_first),
     {("split", "broken")}, "records say"),
    ("a label of a split", lambda root: tampering.edit_split(root / f"{SPLIT}.npz", "label", lambda y: y.sort()),
     {("split", "broken")}, "records say"),
    ("one bit of a split", lambda root: flip(root / f"{SPLIT}.npz", 300), {("split", "broken")}, ""),
    ("a truncated split", lambda root: tampering.truncate(root / f"{SPLIT}.npz"), {("split", "broken")},
     "it cannot be read"),
    ("the split of another seed",
     lambda root: tampering.swap(root / f"{SPLIT}.npz", root / f"{SPLIT[:-1]}1.npz"), {("split", "broken")}, "digest"),
    ("sizes in a split's report",
     lambda root: edit_json(root / f"{SPLIT}.json", lambda body: body["sizes"].update(train=[1, 2])),
     {("split", "broken")}, "seed0.json contradicts the records: sizes"),
    ("a raw digest in a split's report",
     lambda root: edit_json(root / f"{SPLIT}.json", lambda body: body["raw"][0].update(sha256="0" * 64)),
     {("split", "broken")}, "seed0.json contradicts the records: raw"),
    ("a deleted report of a split", lambda root: (root / f"{SPLIT}.json").unlink(), {("split", "missing")},
     "seed0.json does not exist"),
]  # fmt: skip

EDITS = [
    ("a method", "methods/tdr.py", {("code", "stale")}, "changed since: methods/tdr.py"),
    ("a loss", "losses/cross_entropy.py", {("code", "stale")}, "changed since: losses/cross_entropy.py"),
    ("the engine", "training/engine.py", {("code", "stale")}, "changed since: training/engine.py"),
    ("how splits are drawn", "data/split.py", {("recipe", "stale")}, "the code that draws it"),
    ("how figures are drawn", "plots/curves.py", {("receipt", "stale")}, "the code that makes it"),
    (
        "what figures and verdicts count with",
        "analysis/resolution.py",
        {("receipt", "stale")},
        "the code that makes it",
    ),
    ("the model of the config", "config/models.py", set(), ""),
    ("how claims are decided", "scorecard/claim_tests.py", {("receipt", "stale")}, "the code that makes it"),
    ("a template of the scorecard", "scorecard/page.css", {("receipt", "stale")}, "the code that makes it"),
    ("another method", "methods/abs_gd.py", set(), ""),
]


@pytest.fixture(scope="module")
def sound(sound_project):
    """A sound project, and what an audit says of it."""
    with pytest.MonkeyPatch.context() as patch:
        tampering.score_once(patch)
        yield SimpleNamespace(root=sound_project, before=set(audit.audit("smoke", sound_project, from_raw=False).links))


def check(sound, root, expected, said, from_raw=False):
    new = [link for link in audit.audit("smoke", root, from_raw).faults if link not in sound.before]
    assert {(link.kind, link.state) for link in new} == expected
    assert not expected or any(said in link.detail for link in new), [link.detail for link in new]


@pytest.mark.parametrize(
    ("change", "expected", "said"), [one[1:] for one in MUTATIONS], ids=[one[0] for one in MUTATIONS]
)
def test_is_found_and_named(sound, tmp_path, change, expected, said):
    root = tampering.copy(sound.root, tmp_path / "project")
    obtain._content.cache_clear()
    change(root)
    check(sound, root, expected, said)


@pytest.mark.parametrize(("file", "expected", "said"), [one[1:] for one in EDITS], ids=[one[0] for one in EDITS])
def test_edited_code_is_found_and_named(sound, package, file, expected, said):
    with open(package / file, "a") as text:
        text.write("\nbody { color: red }\n" if file.endswith(".css") else "\nCHANGED = True\n")
    check(sound, sound.root, expected, said)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, of which digests of code are taken while the test lasts."""
    copied = tmp_path / "reweigh"
    shutil.copytree(digest.PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    remembered = (record._closure, obtain._code, receipt.code_digest)
    for module in (digest, receipt):
        monkeypatch.setattr(module, "PACKAGE", copied)
    for function in remembered:
        function.cache_clear()
    yield copied
    for function in remembered:
        function.cache_clear()


def test_one_bit_of_what_is_embedded(sound, tmp_path):
    root = tampering.copy(sound.root, tmp_path / "project")
    flip_embedded(root)
    faults = audit.audit("smoke", root, from_raw=True).faults  # the raw files of before are here and right
    assert [link[:3] for link in faults if link.kind != "declared"] == [
        ("embedded", "data/embedded/mnist/t10k-labels-idx1-ubyte.xz", "broken"),
    ]


def test_a_source_file_is_not_repaired_by_the_audit_that_finds_it(sound, tmp_path):
    root = tampering.copy(sound.root, tmp_path / "project")
    source(root, lambda body: body["files"][3].update(sha256="0" * 64))
    first, second = (json.dumps(audit.audit("smoke", root, from_raw=False).as_dict()) for _ in range(2))
    assert first == second and '"broken"' in first
