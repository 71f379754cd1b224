"""`reweigh audit --redraw`: artifacts are rendered again in a fresh place, and their bytes compared."""

import pytest
from support import tampering
from support.tampering import FIGURE

from reweigh.artifacts import receipt
from reweigh.config.loading import load
from reweigh.digest import file_digest
from reweigh.provenance.audit import redraw

NAME = "figures/smoke/tdr/fig3"


def made(root, name, content=b"one", **changes):
    """The files of an artifact, and a receipt that is for them."""
    stem = root / name
    files = {ending: stem.with_suffix(f".{ending}") for ending in redraw.MADE}
    for ending, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content + ending.encode())
    basis = {"records": [], "inputs": {}, "rendering": "now"} | {k: v for k, v in changes.items() if k != "numpy"}
    receipt.write(stem.with_suffix(".json"), basis, files, root)
    if "numpy" in changes:
        numpy = changes["numpy"]
        change = {"environment": {**receipt.read(stem.with_suffix(".json"))["environment"], "numpy": numpy}}
        tampering.edit_json(stem.with_suffix(".json"), lambda body: body.update(change), reseal=True)
    return stem


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({}, "intact", ""),
        ({"content": b"forged"}, "broken", "other bytes: pdf, png, csv, ipynb"),
        ({"content": b"old", "numpy": "1.0"}, "unverifiable", "made with numpy 1.0, here"),
        ({"content": b"old", "rendering": "then"}, "unverifiable", "changed since (rendering)"),
        ({"content": b"old", "inputs": {"a": "b"}}, "unverifiable", "changed since (inputs)"),
    ],
)
def test_what_is_rendered_again_decides(tmp_path, changes, state, said):
    found = redraw.compared(made(tmp_path / "there", "fig", **changes), made(tmp_path / "again", "fig"))
    assert found[0] == state and said in found[1]


def test_files_that_git_does_not_keep_are_compared_by_the_receipt(tmp_path):
    there, again = made(tmp_path / "there", "fig"), made(tmp_path / "again", "fig")
    there.with_suffix(".pdf").unlink()
    assert redraw.compared(there, again) == ("intact", "")
    tampering.edit_json(there.with_suffix(".json"), lambda body: body["files"].update(pdf="0" * 64), reseal=True)
    assert redraw.compared(there, again) == ("broken", "other bytes: pdf")


def test_a_picture_with_a_receipt_of_its_own_is_found(sound_project, tmp_path):
    """A picture that shows something else, and a receipt that was written anew for it: no digest tells."""
    root = tampering.copy(sound_project, tmp_path / "project")
    tampering.write(root / f"{FIGURE}.png", b"a better picture")
    made = {ending: root / f"{FIGURE}.{ending}" for ending in redraw.MADE}
    (root / f"{FIGURE}.json").unlink()
    receipt.write(root / f"{FIGURE}.json", receipt.figure_basis(load(root), "smoke", "tdr", "fig3"), made, root)
    before = {path: file_digest(path) for path in sorted((root / "figures").rglob("*")) if path.is_file()}
    (link,) = redraw.redraw("smoke", root)
    assert link[:3] == ("redraw", NAME, "broken") and "png" in link.detail and "csv" not in link.detail, link
    assert before == {path: file_digest(path) for path in sorted((root / "figures").rglob("*")) if path.is_file()}


def test_what_cannot_be_rendered_is_unverifiable(sound_project, tmp_path):
    root = tampering.copy(sound_project, tmp_path / "project")
    (root / "notebooks/tdr/fig3.ipynb").unlink()
    (link,) = redraw.redraw("smoke", root, jobs=1)
    assert link.state == "unverifiable" and "cannot be rendered here" in link.detail
    assert "fig3.ipynb is missing" in link.detail


def test_an_artifact_of_which_some_runs_were_never_made_is_rendered_with_those_that_were(tmp_path, monkeypatch):
    called = []

    def run(command, **how):
        called.append(command)
        made(how["cwd"], "figures/smoke/tdr/fig3")
        return type("Done", (), {"returncode": 0})

    made(tmp_path, "figures/smoke/tdr/fig3")
    monkeypatch.setattr(redraw.subprocess, "run", run)
    assert [link.state for link in redraw.redraw("smoke", tmp_path)] == ["intact"]
    assert called[0][-3:] == ["figures/smoke/tdr/fig3", "--missing", "skip"]
