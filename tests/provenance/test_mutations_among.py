"""What agrees with itself and not with the rest: forged csv files of figures, copied results and traces, false dates.

Every digest is made anew here, as one would who wants not to be found: a csv comes with a receipt that fits it.
"""

import copy
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from support import tampering
from support.project import ROOT
from support.tampering import ANOTHER, BROKEN, ER, FIGURE, RUN_LINE, RUN_PLACE, TDR, attestation, edit_json, edit_record

from reweigh.config.names import RunName
from reweigh.digest import file_digest
from reweigh.provenance import audit
from reweigh.provenance.audit import traces
from reweigh.provenance.audit.duplicates import duplicate_results, duplicates
from reweigh.records import record

CSV = {("figure", "broken")}
TRACE = {("trace", "broken")}
SEED1 = TDR.replace("seed0", "seed1")


def forged(change):
    """A csv with other lines, and a receipt of it that fits; `change` gets the lines and says which there are now."""

    def mutate(root):
        path = root / f"{FIGURE}.csv"
        lines = list(csv.DictReader(io.StringIO(path.read_text())))
        tampering.write_csv(path, change(lines) or lines)
        edit_json(root / f"{FIGURE}.json", lambda body: body["files"].update(csv=file_digest(path)), reseal=True)

    return mutate


def said(which=RUN_PLACE, **words):
    """A csv of which one line says other words."""
    return forged(lambda lines: lines[which].update(words))


def without(fits):
    return forged(lambda lines: [line for line in lines if not fits(line)])


def methods_exchanged(lines):
    names = {line["method"]: line["title"] for line in lines if line["runs"]}
    other = dict(zip(names, reversed(names), strict=True))
    for line in filter(lambda line: line["runs"], lines):
        line["method"] = other[line["method"]]
        line["title"] = names[line["method"]]


def a_seed_left_out(lines):
    """The mean of one method is that of its first seed alone, and nothing is there of the second."""
    single = next(line for line in lines if line["seed"] == "0")
    mean = next(line for line in lines if not line["seed"] and line["epoch"] == single["epoch"])
    mean.update({name: single[name] for name in single if name != "seed"})
    second = [line for line in lines if line["seed"] == "1" and line["method"] == single["method"]]
    return [line for line in lines if line not in second]


def said_not_run(lines):
    """A method that was run is said not to have been."""
    kept = [line for line in lines if line["method"] != "er"]
    line = next(line for line in lines if line["method"] == "er")
    empty = dict.fromkeys(("seed", "epoch", "minutes", "mean", "sd", "low", "high", "runs", "records"), "")
    return [*kept, {**line, **empty, "n": "0", "status": "not run"}]


def first_single(line):
    return line["seed"] == "0" and line["method"] == "tdr" and line["epoch"] == "1"


def another_trace(run, change):
    """Other arrays in a run's trace, and a record that names them."""

    def mutate(root):
        path = record.record_path(run, root).with_suffix(".npz")
        with np.load(path) as stored:
            arrays = {name: np.array(stored[name]) for name in stored.files}
        content = io.BytesIO()
        np.savez(content, **(change(arrays, root) or arrays))
        replaced(root, run, content.getvalue())

    return mutate


def replaced(root, run, content):
    path = record.record_path(run, root).with_suffix(".npz")
    tampering.write(path, content)
    edit_record(root, run, lambda body: body["trace"].update(sha256=file_digest(path)))


def not_finite(arrays, root):
    arrays["class_weights"][3, 1] = np.nan


def of_seed_1(arrays, root):
    with np.load(record.record_path(SEED1, root).with_suffix(".npz")) as stored:
        return {name: np.array(stored[name]) for name in stored.files}


def trace_of_nobody(root, run):
    place = record.record_path(run, root).with_suffix(".npz")
    place.write_bytes(record.record_path(TDR, root).with_suffix(".npz").read_bytes())


def cut_off(root):
    """The first half of a zip file, whose directory is at its end, and one with a garbled inside."""
    content = record.record_path(TDR, root).with_suffix(".npz").read_bytes()
    replaced(root, TDR, content[: len(content) // 2])


def garbled(root):
    content = bytearray(record.record_path(TDR, root).with_suffix(".npz").read_bytes())
    content[60:160] = bytes(100)
    replaced(root, TDR, bytes(content))


def a_folder(root):
    path = record.record_path(ER, root)
    path.unlink()
    path.mkdir()


def tomorrow_week(body):
    body["date"] = (datetime.now(UTC) + timedelta(days=8)).strftime("%Y-%m-%dT%H:%M:%SZ")


def no_edit(body):
    body["code"][0]["now"] = body["code"][0]["then"]


MUTATIONS = [
    # lines of a csv
    ("another method", said(method="er", title="Example reweighting (code)"), CSV,
     f"{RUN_LINE}: method er, but its runs are of tdr"),
    ("another setting", said(setting="rho0.1", value="0.1"), CSV,
     f"{RUN_LINE}: setting rho0.1, but its runs are of rho0.005"),
    ("another experiment", said(experiment="mnist-lt", setting="rho0.02", value="0.02"), CSV,
     f"{RUN_LINE}: experiment mnist-lt, but its runs are of mnist-4v9"),
    ("runs that are none", said(runs="nonsense"), CSV, "'nonsense' is not the name of a run"),
    ("no such setting", said(setting="rho0.3"), CSV, f"{RUN_LINE}: the config has no mnist-4v9/rho0.3/tdr"),
    ("another value", said(value="0.05"), CSV, f"{RUN_LINE}: value 0.05, the config says 0.005"),
    ("another title", said(title="TDR+"), CSV, f"{RUN_LINE}: title TDR+, the config says TDR"),
    ("another metric", said(metric="worst_accuracy"), CSV, f"{RUN_LINE}: no record has a metric worst_accuracy"),
    ("another seed", said(which=-1, seed="0"), CSV, "seed 0, but its runs are of seed 1"),
    ("another status", said(status="2 diverged"), CSV, f"{RUN_LINE}: status 2 diverged, its runs say run"),
    ("a cell without names", said(experiment=""), CSV, f"{RUN_LINE}: it names runs, but no cell"),
    ("an epoch beyond numbers", said(epoch="inf"), CSV, RUN_LINE),
    ("two methods exchanged", forged(methods_exchanged), CSV, f"{RUN_LINE}: method er, but its runs are of tdr"),
    # what a csv lacks or has twice
    ("no line of a seed", without(first_single), CSV,
     f"of {TDR}, test_accuracy after epoch 1, it lacks a line of its own"),
    ("no line of a method", without(lambda line: line["method"] == "er"), CSV,
     f"it has no line of {ER.rpartition('/')[0]}"),
    ("no line at all of a seed", forged(a_seed_left_out), CSV, f"{RUN_LINE}: it leaves out {SEED1}"),
    ("a method said not to be run", forged(said_not_run), CSV, f"it leaves out {ER}"),
    ("a line twice", forged(lambda lines: [*lines[:3], *lines[2:]]), CSV, "line 5: the same as line 4"),
    ("lines in another order", forged(lambda lines: lines[::-1]), CSV, "line 2: method er, should be tdr"),
    # traces
    ("a weight that is no number", another_trace(TDR, not_finite), {*TRACE, *ANOTHER}, "class_weights: not finite"),
    ("the trace of another seed", another_trace(TDR, of_seed_1), {*TRACE, *ANOTHER}, f"that of {SEED1}, bit for bit"),
    ("half a trace", cut_off, {*TRACE, *ANOTHER}, ""),
    ("a garbled trace", garbled, {*TRACE, *ANOTHER}, ""),
    ("a trace without a record", lambda root: trace_of_nobody(root, TDR.replace("seed0", "seed7")),
     {("trace", "stale")}, "seed7.npz has no record"),
    ("a trace of a method that logs none", lambda root: trace_of_nobody(root, ER), TRACE, "its record names no trace"),
    # records and attestations
    ("a folder in the place of a record", a_folder, BROKEN, ""),
    ("a date to come", lambda root: attestation(root, tomorrow_week), {("attestation", "broken")}, "is in the future"),
    ("an attestation of no edit", lambda root: attestation(root, no_edit), {("attestation", "broken")},
     "did not change the digest"),
]  # fmt: skip


@pytest.fixture(scope="module")
def sound(sound_project):
    with pytest.MonkeyPatch.context() as patch:
        tampering.score_once(patch)
        before = audit.audit("smoke", sound_project, from_raw=False)
        assert before.exit_code == 0
        yield SimpleNamespace(root=sound_project, before=set(before.links))


@pytest.mark.parametrize(
    ("change", "expected", "told"), [one[1:] for one in MUTATIONS], ids=[one[0] for one in MUTATIONS]
)
def test_is_found_and_named(sound, tmp_path, change, expected, told):
    root = tampering.copy(sound.root, tmp_path / "project")
    change(root)
    new = [link for link in audit.audit("smoke", root, from_raw=False).faults if link not in sound.before]
    assert {(link.kind, link.state) for link in new} == expected
    assert not expected or any(told in link.detail for link in new), [link.detail for link in new]


# --- among the committed records -----------------------------------------------------------------------------

CELL = "paper/tdr/mnist-4v9/rho0.1"
NONE, HARD = f"{CELL}/none/seed0", f"{CELL}/hard/seed3"


@pytest.fixture(scope="module")
def committed():
    folder = ROOT / "results/paper"
    bodies = [json.loads(path.read_text()) for path in sorted(folder.glob("*/*/*/*/seed*.json"))]
    return {body["run"]: body for body in bodies}


def test_a_method_that_logs_must_have_left_its_trace(committed):
    run = f"{CELL}/tdr/seed0"
    (link,) = traces.check_trace(run, {**committed[run], "trace": None}, ROOT)
    assert link[2:] == ("broken", "its method logs class_weights, but its record names no trace")
    stopped = {**committed[run], "trace": None, "steps": 9}  # before the first outer step
    assert "names no trace" in next(traces.check_trace(run, stopped, ROOT)).detail
    for name, body in committed.items():
        left = body["trace"] is not None  # a run that diverged may have, and need not
        assert bool(traces.logs(body)) == left or (left and body["status"] == "diverged"), name


def test_no_two_committed_records_are_copies(committed):
    assert len(committed) >= 120 and duplicate_results(committed) == {}


def test_the_losses_of_another_method_and_seed_are_found_in_both(committed):
    altered = {**committed, HARD: copy.deepcopy(committed[HARD])}
    altered[HARD]["curves"]["train_loss"] = committed[NONE]["curves"]["train_loss"]
    found = duplicate_results(altered)
    assert sorted(found) == [HARD, NONE]
    assert found[HARD] == f"its results are those of {NONE}, bit for bit: one of the two is a copy"


def test_one_training_under_two_names_is_no_copy(committed):
    twin = copy.deepcopy(committed[NONE])
    twin["spec"] |= {"experiment": "another", "method": "plain"}
    twin["spec"]["training"]["keep_features"] = 100
    both = {**committed, "paper/tdr/another/rho0.1/plain/seed0": twin}
    assert duplicate_results(both) == {}
    twin["spec"]["training"]["learning_rate"] *= 2
    assert len(duplicate_results(both)) == 2


def test_runs_that_share_all_that_was_trained_are_no_copies(committed):
    joint, ncm = f"{CELL}/joint/seed0", f"{CELL}/ncm/seed0"
    for version in (2, 3):
        ends = with_a_prefix(committed[NONE], version, joint, ncm)
        assert duplicate_results(ends) == {}
        for altered in (
            {"stages": [*STAGES, {"epochs": 5}]},
            shared_key(version, "2" * 64),
            {"stage_one": None, "prefix": None},
            {"spec": {**ends[ncm]["spec"], "training": {**ends[ncm]["spec"]["training"], "batch_size": 7}}},
        ):
            both = {joint: ends[joint], ncm: {**ends[ncm], **altered}}
            assert sorted(duplicate_results(both)) == [joint, ncm], altered


STAGES = [{"epochs": 100}, {"epochs": 0}]


def shared_key(version, key):
    if version == 2:
        return {"stage_one": {"key": key, "reused": True}}
    return {"prefix": {"key": key, "stages": 1, "of": 2, "reused": True, "run": f"{CELL}/crt/seed0"}}


def with_a_prefix(body, version, *runs):
    """Records of methods that share their first stage and train no other."""
    ends = {run: copy.deepcopy(body) for run in runs}
    for run, body in ends.items():
        body |= {**shared_key(version, "1" * 64), "stages": STAGES, "run": run}
        body["spec"] |= {"uses": RunName.parse(run).method, "method_options": {"tau": len(run)}}
    return ends


def test_a_second_name_of_a_run_that_shares_its_prefix_is_no_copy(committed):
    joint, ncm, twin = f"{CELL}/joint/seed0", f"{CELL}/ncm/seed0", f"{CELL}/plain/seed0"
    ends = with_a_prefix(committed[NONE], 3, joint, ncm)
    ends[twin] = {**copy.deepcopy(ends[joint]), "run": twin}
    ends[twin]["spec"]["method"] = "plain"
    ends[twin]["prefix"] = {"key": "3" * 64, "stages": 2, "of": 2, "reused": True, "run": joint}
    assert duplicate_results(ends) == {}
    ends[twin]["spec"]["uses"] = "er"  # and not what `joint` is
    assert twin in duplicate_results(ends)
    ends[twin]["prefix"]["run"] = twin
    assert twin in duplicate_results(ends)


def test_what_was_logged_in_a_common_prefix_may_be_in_both_traces(committed):
    search, other = f"{CELL}/search/seed0", f"{CELL}/retrained/seed0"
    ends = with_a_prefix(committed[NONE], 3, search, other)
    for body in ends.values():
        body["stages"] = [*STAGES, {"epochs": 5}]
    prints = {run: ["weights"] for run in ends}
    assert duplicates(ends, prints, "fault", of_prefix=True) == {} and len(duplicates(ends, prints, "fault")) == 2
    ends[other]["prefix"] = None
    assert len(duplicates(ends, prints, "fault", of_prefix=True)) == 2
