"""The committed results, as a clone has them: sound, and whatever is changed in a copy of them is found and named."""

import json
import shutil
import subprocess
from collections import Counter

import pytest
from support import needs, tampering
from support.project import ROOT
from support.tampering import edit_csv, edit_json, edit_lines, edit_record, flip, replace

from reweigh.provenance import audit
from reweigh.records import record

pytestmark = needs.CLONE

TDR = "paper/tdr/mnist-4v9"
ADULT = "paper/tdr/adult/sex"
KEPT = ("config", "data", "envs", "figures/paper", "notebooks", "results/paper", "results/bench")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What git has of the results and of what they are made from, and what an audit says of it."""
    root = tmp_path_factory.mktemp("clone")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *KEPT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    files = [name for name in done.stdout.split() if (ROOT / name).is_file()]
    for name in files:
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    return root


@pytest.fixture(scope="module")
def before(clone):
    return audit.audit("paper", clone, from_raw=False)


def test_a_clone_is_sound_and_what_it_lacks_is_said(before):
    assert before.exit_code == 0, before.faults[:5]
    assert {(link.kind, link.state, link.name.rpartition(".")[2]) for link in before.faults} == {
        ("split", "unverifiable", "npz"), ("rendering", "unverifiable", "pdf"), ("rendering", "unverifiable", "ipynb"),
        ("declared", "unverifiable", "config"),
    }  # fmt: skip
    counts = {kind: sum(states.values()) for kind, states in before.counts.items()}
    assert counts["record"] == counts["spec"] == counts["code"] == counts["recipe"] >= 120
    assert before.counts["record"] == {"intact": counts["record"]}
    assert before.counts["figure"] == {"intact": counts["figure"]} and counts["rendering"] == 3 * counts["figure"]


# Each in a place of its own, so that one audit finds them all.
TAMPERED = {
    ("record", f"{TDR}/rho0.1/hard/seed0"): ("broken", "it was changed by hand"),
    ("record", f"{TDR}/rho0.1/hard/seed1"): ("broken", "moved here"),
    ("record", f"{TDR}/rho0.1/hard/seed2"): ("broken", "moved here"),
    ("record", f"{TDR}/rho0.1/none/seed0"): ("broken", "not a readable record"),
    ("record", f"{TDR}/rho0.1/none/seed1"): ("missing", "names it"),
    ("record", f"{TDR}/rho0.1/none/seed2"): ("broken", "confusion matrix gives"),
    ("record", f"{ADULT}/none/seed1"): ("broken", "ended"),
    ("trace", f"{TDR}/rho0.005/tdr/seed0"): ("broken", "sha256"),
    ("trace", f"{TDR}/rho0.005/tdr/seed1"): ("missing", "seed1.npz does not exist"),
    ("figure", "figures/paper/tdr/fig3.csv"): ("broken", "line 2: mean 0.123, should be 0.5"),
    ("figure", "figures/paper/tdr/fig4.csv"): ("broken", "its sha256 is"),
    ("figure", "figures/paper/absgd/fig1.csv"): ("broken", "its sha256 is"),
    ("rendering", "figures/paper/tdr/fig4.png"): ("broken", "its sha256 is"),
    ("rendering", "figures/paper/absgd/fig2.png"): ("missing", "other files of its figure are"),
    ("receipt", "figures/paper/tdr/fig3.json"): ("stale", "changed since: notebooks/tdr/fig3.ipynb"),
    ("scorecard", "results/paper/scorecard.csv"): ("broken", "its sha256 is"),
    ("page", "results/paper/scorecard.md"): ("broken", "its sha256 is"),
    ("page", "results/paper/scorecard.html"): ("broken", "its sha256 is"),
    ("lock", ""): ("stale", "the lock pins numpy 2.4.6, torch 2.15.1 now"),
}


def tamper(root):
    def path(run):
        return record.record_path(run, root)

    def runs(cell, *seeds):
        return [f"{TDR}/{cell}/seed{seed}" for seed in seeds]

    hard, none, figures = runs("rho0.1/hard", 0, 1, 2), runs("rho0.1/none", 0, 1, 2), root / "figures/paper"
    edit_record(root, hard[0], lambda body: body["metrics"].update(test_accuracy=0.99), reseal=False)
    tampering.swap(path(hard[1]), path(hard[2]))
    tampering.truncate(path(none[0]))
    path(none[1]).unlink()
    edit_record(root, none[2], lambda body: body["metrics"].update(test_accuracy=0.99))
    edit_record(root, f"{ADULT}/none/seed1", lambda body: body.update(started=body["ended"], ended=body["started"]))
    flip(path(f"{TDR}/rho0.005/tdr/seed0").with_suffix(".npz"))
    path(f"{TDR}/rho0.005/tdr/seed1").with_suffix(".npz").unlink()
    edit_csv(figures / "tdr/fig3.csv", 0, mean="0.123")
    edit_lines(figures / "tdr/fig4.csv", lambda lines: lines.pop(7))
    edit_lines(figures / "absgd/fig1.csv", lambda lines: lines.insert(0, lines[0]))
    flip(figures / "tdr/fig4.png")
    (figures / "absgd/fig2.png").unlink()
    edit_json(root / "notebooks/tdr/fig3.ipynb", lambda body: body["cells"].pop())
    edit_csv(root / "results/paper/scorecard.csv", 0, verdict="replicated")
    for page in ("md", "html"):
        replace(root / f"results/paper/scorecard.{page}", "0.9011", "0.5011")
    replace(root / tampering.LOCK, "torch==2.15.0", "torch==2.15.1")


def test_twenty_changes_at_once_are_all_found_and_nothing_else(clone, before, tmp_path):
    root = tampering.copy(clone, tmp_path / "tampered")
    tamper(root)
    after = audit.audit("paper", root, from_raw=False)
    found = {(link.kind, "" if link.kind == "lock" else link.name): link[2:] for link in after.faults}
    for key, (state, said) in TAMPERED.items():
        assert key in found, key
        assert found[key][0] == state and said in found[key][1], (key, found[key])
    known = {(link.kind, link.name) for link in before.faults}
    rest = Counter((kind, state) for (kind, name), (state, _) in found.items()
                   if (kind, name) not in known and (kind, name) not in TAMPERED)  # fmt: skip
    # What rests on the broken records, and on the broken traces (fig6), cannot be checked.
    assert {state for _, state in rest} == {"unverifiable"}
    assert {kind for kind, _ in rest} <= {"figure", "receipt"}


def test_without_its_attestation_what_it_covers_is_stale(clone, before, tmp_path):
    root = tampering.copy(clone, tmp_path / "bare")
    shutil.rmtree(root / "results/paper/attestations")
    after = audit.audit("paper", root, from_raw=False)
    for kind in ("code", "recipe"):
        covered = before.counts[kind].get("attested", 0)
        assert covered and after.counts[kind].get("stale") == covered
    assert json.dumps(after.as_dict()) != json.dumps(before.as_dict())
