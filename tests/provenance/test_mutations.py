"""Every way to tamper with what was made, or to let it rot: each is found, named, and put in the right class.

A mutation changes a sound project; what the audit then finds beyond what it found before must be these kinds and states
and no others, and one of its links must say what is wrong. Sources, code and config: test_mutations_sources.py.
"""

import json
import shutil
from types import SimpleNamespace

import pytest
from support import tampering
from support.tampering import (
    ANOTHER,
    BROKEN,
    ER,
    FIGURE,
    RESTING,
    RUN_LINE,
    RUN_PLACE,
    SCORECARD,
    TDR,
    attestation,
    edit_csv,
    edit_json,
    edit_lines,
    edit_record,
    flip,
    replace,
)

from reweigh.digest import digest, file_digest
from reweigh.provenance import audit, retraining
from reweigh.records import record

OTHER = ER.replace("seed0", "seed1")
NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def path(root, run):
    return record.record_path(run, root)


def metric(root, reseal):
    edit_record(root, ER, lambda body: body["metrics"].update(test_accuracy=0.999), reseal)


def training_loss(root):
    edit_record(root, ER, lambda body: body["curves"].update(train_loss=[0.123] * len(body["curves"]["epoch"])))


def earlier(root):
    edit_record(root, ER, lambda body: body.update(started=body["ended"], ended=body["started"]))


def went_on(root):
    edit_record(root, ER, lambda body: body.update(started=body["ended"], ended=body["started"], resumed=1))


def copied(root):
    shutil.copy(path(root, ER), path(root, ER).with_name("seed1.copy"))
    path(root, ER).with_name("seed1.copy").replace(path(root, OTHER))


def later(root):
    """An attestation that is older than what it covers."""
    attestation(root, lambda body: body.update(date="2020" + body["date"][4:]))


def one_more(body):
    """A record that was not among those that were stale by code."""
    body["code"][0]["covers"][ER.replace("seed0", "seed9")] = "0" * 64


def another_outcome(body):
    edit = body["code"][0]
    edit["again"] = dict.fromkeys(edit["again"], "0" * 64)


def of_another_scale(body):
    covers = body["code"][0]["covers"]
    run = min(set(covers) - set(body["code"][0]["again"]), default=min(covers))
    covers[run.replace("smoke/", "paper/")] = covers.pop(run)


def another_sample(root):
    """Each edit with a run again, and what its record says of it, but not the one that was drawn."""

    def change(body):
        for edit in body["code"]:
            other = min(set(edit["covers"]) - set(edit["again"]))
            edit["again"] = {other: digest(retraining.outcome(record.read(path(root, other))))}

    attestation(root, change)


def undrawn(body):
    body["split"] = [{"then": "1" * 64, "now": "2" * 64, "covers": body["code"][0]["covers"], "again": ["3" * 64]}]


def forge(root, change):
    """A receipt that was changed, and its digest made anew."""
    edit_json(root / f"{FIGURE}.json", change, reseal=True)


def forged(root, file, ending, place, **changes):
    """A csv that was changed, its receipt with it, and that one's digest made anew: the records still know better."""
    edit_csv(root / f"{file}.{ending}", place, **changes)
    stated = file_digest(root / f"{file}.{ending}")
    edit_json(root / f"{file}.json", lambda body: body["files"].update({ending: stated}), reseal=True)


def trace(root, run=TDR):
    return path(root, run).with_suffix(".npz")


def other_shapes(root):
    edit_record(root, TDR, lambda body: body["trace"]["arrays"].update(class_weights=[1, 2]))


MUTATIONS = [
    # records
    ("a metric", lambda root: metric(root, False), BROKEN, "it was changed by hand"),
    ("a metric, digest anew", lambda root: metric(root, True), BROKEN, "confusion matrix gives"),
    ("a training loss, digest anew", training_loss, ANOTHER, f"it covers another record of {ER}"),
    ("an edited digest", lambda root: edit_record(root, ER, lambda body: body.update(digest="0" * 64), False), BROKEN,
     "but it says 000000000000"),
    ("a truncated record", lambda root: tampering.truncate(path(root, ER)), BROKEN, "not a readable record"),
    ("an empty record", lambda root: tampering.write(path(root, ER), b""), BROKEN, "not a readable record"),
    ("a record that lacks a part", lambda root: edit_record(root, ER, lambda body: body.pop("split")), BROKEN, "split"),
    ("clock times that contradict", earlier, BROKEN, "ended"),
    ("a clock set back before a run went on", went_on, {("record", "unverifiable"), *ANOTHER},
     "ended 2024-01-01T00:00:00Z, before it started at 2024-01-01T00:10:00Z; perhaps a clock was set back"),
    ("the same, and what no clock explains",
     lambda root: (went_on(root), edit_record(root, ER, lambda body: body["metrics"].update(test_accuracy=0.999))),
     BROKEN, "confusion matrix gives"),
    ("two records swapped", lambda root: tampering.swap(path(root, ER), path(root, OTHER)), BROKEN, "moved here"),
    ("a record of another seed, renamed", copied, BROKEN, f"the record of {ER}, moved here"),
    ("the same with its names changed and its digest anew", lambda root: tampering.rename(root, ER, OTHER),
     {*BROKEN, ("recipe", "stale")}, f"its results are those of {ER}, bit for bit"),
    ("a deleted record", lambda root: path(root, ER).unlink(),
     {("record", "missing"), *RESTING} - {("scorecard", "unverifiable"), ("page", "unverifiable")}
     | {("scorecard", "stale"), ("page", "stale")}, "it does not exist, but figures/smoke/tdr/fig3.json names it"),
    ("one bit of a trace", lambda root: flip(trace(root)), {("trace", "broken")}, "sha256"),
    ("a trace of another seed", lambda root: tampering.swap(trace(root), trace(root, TDR.replace("seed0", "seed1"))),
     {("trace", "broken")}, "sha256"),
    ("a deleted trace", lambda root: trace(root).unlink(), {("trace", "missing")}, "seed0.npz does not exist"),
    ("shapes of a trace, digest anew", other_shapes, {("trace", "broken"), *ANOTHER},
     "its arrays are {'class_weights'"),
    # figures
    ("a mean in a csv", lambda root: edit_csv(root / f"{FIGURE}.csv", RUN_PLACE, mean="0.999"), {("figure", "broken")},
     f"{RUN_LINE}: mean 0.999, should be"),
    ("a mean in a csv and its receipt", lambda root: forged(root, FIGURE, "csv", RUN_PLACE, mean="0.999"),
     {("figure", "broken")}, f"{RUN_LINE}: mean 0.999, should be"),
    ("the runs of a csv", lambda root: edit_csv(root / f"{FIGURE}.csv", RUN_PLACE, runs=ER), {("figure", "broken")},
     f"{RUN_LINE}: method tdr, but its runs are of er"),
    ("a deleted line", lambda root: edit_lines(root / f"{FIGURE}.csv", lambda lines: lines.pop(3)),
     {("figure", "broken")}, "its sha256 is"),
    ("two lines swapped", lambda root: edit_lines(root / f"{FIGURE}.csv", list.reverse), {("figure", "broken")},
     "its sha256 is"),
    ("a truncated csv", lambda root: tampering.truncate(root / f"{FIGURE}.csv"), {("figure", "broken")}, ""),
    ("an output of a notebook", lambda root: tampering.write(root / f"{FIGURE}.ipynb", json.dumps(NOTEBOOK)),
     {("rendering", "broken")}, "its sha256 is"),
    ("one bit of a png", lambda root: flip(root / f"{FIGURE}.png"), {("rendering", "broken")}, "its sha256 is"),
    ("one bit of a pdf", lambda root: flip(root / f"{FIGURE}.pdf"), {("rendering", "broken")}, "its sha256 is"),
    ("a receipt", lambda root: replace(root / f"{FIGURE}.json", '"smoke/', '"smokf/'),
     {("receipt", "broken"), ("figure", "unverifiable"), ("rendering", "unverifiable")}, "it was changed by hand"),
    ("a picture in a receipt, digest anew", lambda root: forge(root, lambda body: body["files"].update(png="0" * 64)),
     {("rendering", "broken")}, "its receipt says 000000000000"),
    ("a record in a receipt, digest anew",
     lambda root: forge(root, lambda body: body["records"][0].update(digest="0" * 64)), {("receipt", "stale")},
     "made from other records"),
    ("a receipt that lacks a part, digest anew", lambda root: forge(root, lambda body: body.pop("records")),
     {("receipt", "broken"), ("figure", "unverifiable"), ("rendering", "unverifiable")},
     "not a receipt, at its top, records"),
    # the scorecard
    ("a verdict", lambda root: edit_csv(root / f"{SCORECARD}.csv", 0, verdict="replicated"), {("scorecard", "broken")},
     "line 2: verdict replicated, should be "),
    ("a verdict and its receipt", lambda root: forged(root, SCORECARD, "csv", 0, verdict="better"),
     {("scorecard", "broken")}, "line 2: verdict better, should be "),
    ("a published number in the scorecard", lambda root: edit_csv(root / f"{SCORECARD}.csv", 0, published="0.5"),
     {("scorecard", "broken")}, "published 0.5, should be 0.9011"),
    ("a deleted line of the scorecard", lambda root: edit_lines(root / f"{SCORECARD}.csv", lambda lines: lines.pop()),
     {("scorecard", "broken")}, "lines, should be"),
    ("a line twice", lambda root: edit_lines(root / f"{SCORECARD}.csv", lambda lines: lines.insert(0, lines[0])),
     {("scorecard", "broken")}, "line 3: "),
    ("two lines of the scorecard swapped",
     lambda root: edit_lines(root / f"{SCORECARD}.csv", lambda lines: lines.insert(0, lines.pop())),
     {("scorecard", "broken")}, "should be in line"),
    ("a word in scorecard.md", lambda root: replace(root / f"{SCORECARD}.md", "0.9011", "0.5011"), {("page", "broken")},
     "should be"),
    ("a word in scorecard.html", lambda root: replace(root / f"{SCORECARD}.html", "0.9011", "0.5011"),
     {("page", "broken")}, "should be"),
    ("a deleted page", lambda root: (root / f"{SCORECARD}.html").unlink(), {("page", "missing")}, "is not there"),
    ("the receipt of the scorecard", lambda root: replace(root / f"{SCORECARD}.json", '"smoke/', '"smokf/'),
     {("receipt", "broken")}, "it was changed by hand"),
    # attestations
    ("an attestation", lambda root: attestation(root, one_more, False), {("attestation", "broken")}, "accepts nothing"),
    ("one record more, digest anew", lambda root: attestation(root, one_more), {("attestation", "broken")},
     "it states 4 records stale by code and covers 5"),
    ("a sample that is not covered, digest anew",
     lambda root: attestation(root, lambda body: body["code"][0].update(again={ER[:-1] + "9": "0" * 64})),
     {("attestation", "broken")}, "seed9 was trained again, but is not covered"),
    ("a larger sample, digest anew",
     lambda root: attestation(root, lambda body: body["sample"].update(runs=5, asked=5)), {("attestation", "broken")},
     "a sample of 5 of 4"),
    ("another outcome, digest anew", lambda root: attestation(root, another_outcome), {("attestation", "broken")},
     "did not come out as its record says"),
    ("a date before its records, digest anew", later, {("attestation", "broken")}, "it is older than the record of"),
    ("a record of another scale, digest anew", lambda root: attestation(root, of_another_scale),
     {("attestation", "broken")}, "which is not of scale smoke"),
    ("another sample than its seed draws, digest anew", another_sample, {("attestation", "broken")},
     "its seed 0 draws another sample"),
    ("a comparison of less, digest anew", lambda root: attestation(root, lambda body: body.update(compared=["steps"])),
     {("attestation", "broken")}, "it did not compare status, diverged_at_step, parameters, metrics"),
    ("another device, digest anew", lambda root: attestation(root, lambda body: body["device"].update(name="mine")),
     {("attestation", "broken")}, "it is of mine (cpu) with torch 2.11.0, numpy 2.0.0, but "),
    ("a split that was not drawn, digest anew", lambda root: attestation(root, undrawn), {("attestation", "broken")},
     "it did not draw again the splits that it covers"),
    ("no machine, digest anew", lambda root: attestation(root, lambda body: body.pop("device")),
     {("attestation", "broken")}, "does not have the form of an attestation"),
    ("an attestation that lacks a part, digest anew",
     lambda root: attestation(root, lambda body: body["code"][0].pop("covers")), {("attestation", "broken")},
     "lacks a part"),
    ("a deleted attestation that nothing needs", lambda root: shutil.rmtree(root / "results/smoke/attestations"),
     set(), ""),
    ("another code, digest anew", lambda root: attestation(root, lambda body: body["code"][0].update(then="0" * 64)),
     {("attestation", "broken")}, "was not made by the code that it names"),
]  # fmt: skip


@pytest.fixture(scope="module")
def sound(sound_project):
    """A sound project, and what an audit says of it: of splits that were not drawn again, and of nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        tampering.score_once(patch)
        before = audit.audit("smoke", sound_project, from_raw=False)
        assert {(link.kind, link.state) for link in before.faults} == {
            ("split", "unverifiable"), ("declared", "unverifiable"),
        }  # fmt: skip
        yield SimpleNamespace(root=sound_project, before=set(before.links))


@pytest.mark.parametrize(
    ("change", "expected", "said"), [one[1:] for one in MUTATIONS], ids=[one[0] for one in MUTATIONS]
)
def test_is_found_and_named(sound, tmp_path, change, expected, said):
    root = tampering.copy(sound.root, tmp_path / "project")
    change(root)
    new = [link for link in audit.audit("smoke", root, from_raw=False).faults if link not in sound.before]
    assert {(link.kind, link.state) for link in new} == expected
    assert not expected or any(said in link.detail for link in new), [link.detail for link in new]
    assert (audit.Report("smoke", new).exit_code == 1) == any(state in audit.FAILING for _, state in expected)
