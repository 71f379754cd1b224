"""Attestations: what an edit that changes no number needs to stay current, and everything that must not pass for one.

Each test works on real records, real splits and raw bytes in a project of its own. An edit of the code is another
digest of a source file, and what the sample's training would give is handed over. Parts and real edits of code that is
really trained: test_attest_parts.py.
"""

import json
import shutil
from pathlib import Path

import pytest
from support import project
from support.config_files import replace

from reweigh.config.loading import load
from reweigh.config.names import RunName
from reweigh.data import obtain
from reweigh.digest import digest
from reweigh.errors import ConfigError
from reweigh.planning import plan
from reweigh.provenance import attest, audit, retraining
from reweigh.provenance.explain import tree
from reweigh.records import attestations, lineage, record
from reweigh.records.staleness import Dependencies
from reweigh.training.__main__ import is_current

RUNS = list(project.TRAINED)
TDR = RUNS[:2]


class Edited:
    """A project whose code has been edited, as far as digests can tell, and what training gives since then."""

    def __init__(self, root, patch):
        self.root, self.patch, self.trained = root, patch, []
        self.outcome = lambda body: body  # what a run trained again says, from what its record says
        self.sources, self.drawing = record.code_files, obtain._code

    def edit(self, text, file="training/engine.py"):
        """Another content of a file that every run executes."""
        changed = {file: digest(text)} if text else {}
        self.patch.setattr(record, "code_files", lambda spec: {**self.sources(spec), **changed})

    def edit_drawing(self, text):
        """Another content of a file that draws splits."""
        self.patch.setattr(obtain, "_code", lambda name: {**self.drawing(name), "data/split.py": digest(text)})

    def attest(self, *targets, sample=1, seed=0, dry_run=False):
        return attest.main(list(targets), "smoke", sample, seed, dry_run, self.root)

    def stale(self, run):
        """Why a run is stale: by what plans, by what trains, by what `reweigh plan` shows; all must agree."""
        config = load(self.root)
        spec, planned = config.resolve(run), Dependencies(config).stale(run)
        state = f"stale: {' and '.join(planned)} changed" if planned else "current"
        body = record.read(record.record_path(run, self.root))
        recipe = obtain.recipe_digest(spec, self.root / "data")
        assert record.stale_because(body, spec, recipe, attestations.load(self.root)) == planned
        assert is_current(spec) == (planned == [])
        assert plan.state_of(run, spec, self.root) == state
        return planned

    def written(self):
        return sorted(self.root.glob("results/smoke/attestations/*.json"))

    def links(self, kind):
        """States of the audit's links of one kind."""
        return audit.audit("smoke", self.root, from_raw=False).counts[kind]

    def train_again(self, place, specs):
        for spec in specs:
            run = str(RunName.of_spec(spec))
            body = self.outcome(record.read(record.record_path(run, self.root)))
            files = record.code_files(spec)
            record.write(
                record.record_path(run, place.folder), {**body, "code": {"digest": digest(files), "files": files}}
            )
            self.trained.append(run)
        return 0


@pytest.fixture
def edited(trained_project, tmp_path, monkeypatch):
    root = Path(shutil.copytree(trained_project, tmp_path / "a project [1]", symlinks=True))
    made = Edited(root, monkeypatch)
    body = record.read(record.record_path(TDR[0], root))
    device = {key: body["device"][key] for key in (*retraining.HARDWARE[:2], *retraining.INSTRUCTIONS)}
    monkeypatch.setattr(retraining, "here", lambda: {**body["environment"], **device, "git": body["git"]})
    monkeypatch.setattr(retraining.Workspace, "train", lambda place, specs: made.train_again(place, specs))
    monkeypatch.chdir(root)
    made.edit("tidier")
    return made


# --- an edit that changes no number ---


def test_what_comes_out_the_same_is_current_again(edited, capsys):
    then = {run: Dependencies(load(edited.root)).recorded(run) for run in RUNS}
    assert [edited.stale(run) for run in RUNS] == [["code"]] * 3
    assert edited.links("code") == {"stale": 3}
    assert edited.attest() == 0
    assert "2 of 3 runs to train again" in capsys.readouterr().out  # of each method's code at least one
    assert len(edited.trained) == 2
    for run in RUNS:
        assert edited.stale(run) == []
        assert Dependencies(load(edited.root)).of(run) == then[run]  # so that Snakemake's memory stays true
    assert edited.links("code") == {"attested": 3}
    assert edited.links("attestation") == {"intact": 1}
    faults = audit.audit("smoke", edited.root).faults
    assert {link.kind for link in faults} <= {"lock", "embedded"}  # which this small project does not have
    assert not list(edited.root.glob(".reweigh/attest/*/"))
    assert (
        edited.attest() == 0
        and "0 records are stale only because of the code, 3 are current" in capsys.readouterr().out
    )
    assert len(edited.written()) == 1


def test_an_attestation_says_what_was_done(edited):
    assert edited.attest(sample=2, seed=5) == 0
    (path,) = edited.written()
    body = json.loads(path.read_text())
    assert path.name == f"{body['date'][:10]}-{body['digest'][:12]}.json"
    assert body["sample"] | {"asked": 2, "seed": 5, "runs": 2, "of": 3, "outcome": "bit-equal"} == body["sample"]
    assert body["split"] == [] and body["device"]["kind"] == "cpu" and "torch" in body["environment"]
    assert sorted(body["git"]) == ["commit", "dirty"]
    bodies = {run: record.read(record.record_path(run)) for run in RUNS}
    covered = {run: stated for edit in body["code"] for run, stated in edit["covers"].items()}
    assert covered == {run: bodies[run]["digest"] for run in RUNS}
    outcomes = {run: outcome for edit in body["code"] for run, outcome in edit["again"].items()}
    assert sorted(outcomes) == sorted(edited.trained)
    assert outcomes == {run: digest(retraining.outcome(bodies[run])) for run in outcomes}
    for edit in body["code"]:
        assert edit["changed"] == ["training/engine.py"]
        assert {bodies[run]["code"]["digest"] for run in edit["covers"]} == {edit["then"]}
        assert {record.code_digest(bodies[run]["spec"]) for run in edit["covers"]} == {edit["now"]}


def test_explain_says_attested_and_how(edited):
    edited.attest()
    date = json.loads(edited.written()[0].read_text())["date"][:10]
    said = tree._made(lineage.of_run(TDR[0], edited.root)[0])
    assert f"files, attested on {date}: 2 of 3 runs again, bit-equal)" in said
    edited.edit("once more")
    assert "changed since: training/engine.py" in tree._made(lineage.of_run(TDR[0], edited.root)[0])


def test_a_dry_run_says_what_it_would_do_and_does_nothing(edited, capsys):
    assert edited.attest(dry_run=True) == 0
    said = capsys.readouterr().out
    assert "3 records are stale only because of the code" in said
    assert "(tdr): 1 of 2 runs again\n" in said and "(er): 1 of 1 runs again\n" in said
    assert "  changed since they were trained: training/engine.py\n" in said
    assert "2 of 3 runs to train again, about " in said and f"  {RUNS[2]} (" in said
    assert edited.trained == edited.written() == [] and not Path(".reweigh/attest").exists()


def test_attestations_follow_one_another(edited):
    edited.attest(sample=3)
    first = edited.written()
    edited.edit("tidier still")
    assert edited.stale(TDR[0]) == ["code"]
    assert edited.attest(sample=3) == 0
    (second,) = set(edited.written()) - set(first)
    steps = [json.loads(path.read_text())["code"] for path in (*first, second)]
    assert {edit["now"] for edit in steps[0]} == {edit["then"] for edit in steps[1]}
    assert [edited.stale(run) for run in RUNS] == [[]] * 3
    edited.edit("tidier")  # back to what the first one accepted
    assert edited.stale(TDR[0]) == []
    edited.edit("tidier still")
    first[0].unlink()  # the second one starts from what nothing leads to any more
    assert edited.stale(TDR[0]) == ["code"]


def test_attested_records_count_as_one_group_with_those_trained_since(edited):
    """A sample of each edit, not of each history."""
    edited.attest(TDR[0])
    fresh = record.record_path(TDR[1])
    body, files = record.read(fresh), record.code_files(load().resolve(TDR[1]))
    record.write(fresh, {**body, "code": {"digest": digest(files), "files": files}})
    edited.edit("another")
    edited.trained.clear()
    assert edited.attest(*TDR) == 0
    assert len(edited.trained) == 1 and edited.stale(TDR[0]) == edited.stale(TDR[1]) == []


# --- splits ---


def test_splits_drawn_by_other_code_are_all_drawn_again(edited, capsys):
    edited.edit("")
    edited.edit_drawing("tidier")
    assert [edited.stale(run) for run in RUNS] == [["split"]] * 3
    assert edited.links("recipe") == {"stale": 3}
    assert edited.attest() == 0
    assert "splits drawn by other code: 2, all drawn again" in capsys.readouterr().out
    assert edited.trained == [] and [edited.stale(run) for run in RUNS] == [[]] * 3
    assert edited.links("recipe") == {"attested": 3} and edited.links("code") == {"intact": 3}


def test_code_and_split_together(edited):
    edited.edit_drawing("tidier")
    assert edited.stale(TDR[0]) == ["code", "split"]
    assert edited.attest() == 0
    assert edited.stale(TDR[0]) == [] and len(edited.trained) == 2
    edited.edit_drawing("another")
    assert edited.stale(TDR[0]) == ["split"]


def test_a_split_that_comes_out_differently_refuses_everything(edited, monkeypatch, capsys):
    draw = retraining.draw
    monkeypatch.setattr(retraining, "draw", lambda raw, how, seed: draw(raw, how, seed + 7 if seed == 1 else seed))
    edited.edit_drawing("not the same")
    assert edited.attest() == 1
    said = capsys.readouterr().out
    assert "refused: the splits of 1 runs, drawn again, came out differently; nothing is attested" in said
    assert f"  {TDR[1]}: split digest " in said and f"  {TDR[0]}: split" not in said
    assert edited.written() == edited.trained == []


def test_a_split_of_other_raw_files_stays_stale(edited, capsys):
    path = record.record_path(TDR[0])
    body = record.read(path)
    body["raw"][0]["sha256"] = "0" * 64
    record.write(path, body)
    edited.edit_drawing("tidier")
    assert edited.attest() == 1
    why = "its split cannot be drawn again: it came from other raw files"
    assert f"stays stale: {TDR[0]}: {why}" in capsys.readouterr().out
    assert edited.stale(TDR[0]) == ["code", "split"] and edited.stale(TDR[1]) == []


# --- what is refused ---


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("metrics", {"test_accuracy": 0.123456789}, "metrics.test_accuracy"),
        ("status", "diverged", 'status "finished" -> "diverged"'),
        ("steps", 7, "steps 5 -> 7"),
        ("trace", {"sha256": "0" * 64}, "trace.sha256"),
        ("split", {"digest": "0" * 64}, "split "),
        ("curves", {"train_loss": [0.5]}, "curves.train_loss[0]"),
    ],
)
def test_one_difference_refuses_everything_and_is_named(edited, capsys, key, value, said):
    def other(body):
        if body["run"] != TDR[1]:
            return body
        return {**body, key: {**body[key], **value} if isinstance(value, dict) else value}

    edited.outcome = other
    assert edited.attest(sample=3) == 1
    printed = capsys.readouterr().out
    assert "refused: 1 of 3 runs, trained again, came out differently; nothing is attested" in printed
    assert f"  {TDR[1]}: {said}" in printed
    assert edited.written() == [] and [edited.stale(run) for run in RUNS] == [["code"]] * 3


def test_times_and_memory_do_not_count(edited):
    def slower(body):
        curves = {**body["curves"], "train_seconds": [99.0]}
        return {**body, "curves": curves, "seconds": 99.0, "peak_bytes": 1, "started": "", "ended": ""}

    edited.outcome = slower
    assert edited.attest() == 0


def test_a_long_sample_begins_with_its_cheapest_run(edited, monkeypatch, capsys):
    monkeypatch.setattr(attest, "PATIENCE_SECONDS", 0)
    edited.outcome = lambda body: {**body, "steps": 0}
    assert edited.attest(sample=3) == 1
    assert len(edited.trained) == 1 and "refused: 1 of 1 runs, trained again, came out" in capsys.readouterr().out


def test_another_spec_is_never_attested(edited, capsys):
    old, new = "learning_rate: { value: 0.01,", "learning_rate: { value: 0.02,"
    assert replace(edited.root, old, new, "config/protocols") == "config/protocols/mnist-lenet.yaml"
    assert edited.attest() == 1
    assert f"stays stale: {RUNS[2]} and 2 more: its spec differs from the config" in capsys.readouterr().out
    assert edited.written() == edited.trained == [] and edited.stale(TDR[0]) == ["spec", "code"]


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [("device", "name", "another processor"), ("device", "kind", "cuda"), ("environment", "torch", "2.11.0"),
     ("environment", "numpy", "1.0"), ("device", "threads", 8)],
)  # fmt: skip
def test_a_record_of_another_machine_stays_stale_and_the_others_do_not(edited, capsys, part, key, value):
    path = record.record_path(TDR[0])
    body = record.read(path)
    record.write(path, {**body, part: {**body[part], key: value}})
    assert edited.attest() == 1
    printed = capsys.readouterr().out
    assert f"stays stale: {TDR[0]}: made " in printed and str(value) in printed
    assert edited.stale(TDR[0]) == ["code"] and edited.stale(TDR[1]) == []
    assert TDR[0] not in edited.trained


def test_a_diverged_record_with_metrics_stays_stale(edited, capsys):
    path = record.record_path(TDR[0])
    record.write(path, {**record.read(path), "status": "diverged"})
    assert edited.attest() == 1
    assert f"stays stale: {TDR[0]}: it states metrics of a run that diverged" in capsys.readouterr().out
    assert edited.stale(TDR[0]) == ["code"] and edited.stale(TDR[1]) == []


def test_broken_records_stay_stale(edited, capsys):
    record.record_path(TDR[0]).with_suffix(".npz").unlink()
    path = record.record_path(TDR[1])
    path.write_text(path.read_text().replace('"status": "finished"', '"status": "diverged"'))
    assert edited.attest() == 1
    printed = capsys.readouterr().out
    assert "seed0.npz: missing" in printed and "was changed by hand" in printed
    covered = json.loads(edited.written()[0].read_text())["code"][0]["covers"]
    assert list(covered) == [RUNS[2]]


def test_targets_of_two_scales_and_unknown_ones(edited):
    with pytest.raises(ConfigError, match="quick and smoke"):
        edited.attest(TDR[0], "quick/tdr/mnist-4v9/rho0.1/tdr")
    with pytest.raises(ConfigError, match="did you mean 'tdr'"):
        edited.attest("smoke/tdr/mnist-4v9/rho0.1/tdrr")


def test_a_wish_to_stop_ends_with_75_and_leaves_the_place(edited, monkeypatch, capsys):
    monkeypatch.setattr(retraining.Workspace, "train", lambda place, specs: retraining.STOPPED)
    assert edited.attest() == 75 and "the same command continues" in capsys.readouterr().out
    assert edited.written() == [] and len(list(edited.root.glob(".reweigh/attest/*/"))) == 1


# --- what an attestation does not cover ---


def test_only_the_records_that_it_names(edited):
    """A record of the same code, of another seed, that came later or was not asked for."""
    assert edited.attest(TDR[0]) == 0
    assert edited.stale(TDR[0]) == [] and edited.stale(TDR[1]) == ["code"]
    assert edited.links("code") == {"attested": 1, "stale": 2}


def test_a_record_that_is_another_since(edited):
    edited.attest()
    path = record.record_path(TDR[0])
    body = record.read(path)
    record.write(path, {**body, "steps": body["steps"] + 1})
    assert edited.stale(TDR[0]) == ["code"] and edited.stale(TDR[1]) == []


def test_a_record_altered_by_hand_since_is_broken_and_trained_again(edited):
    edited.attest()
    path = record.record_path(TDR[0])
    path.write_text(path.read_text().replace('"status": "finished"', '"status": "diverged"'))
    assert not is_current(load().resolve(TDR[0]))
    assert edited.links("record") == {"intact": 2, "broken": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace('"seed":0', '"seed":1'), "changed by hand and accepts nothing"),
        (lambda text: text[: len(text) // 2], "not a readable attestation"),
        (lambda text: text.replace('"attestation_version": 1', '"attestation_version": 2'), "version 2, not 1"),
        (lambda text: "[]", "not a readable attestation"),
    ],
)
def test_an_altered_attestation_accepts_nothing_and_is_named(edited, capsys, change, said):
    edited.attest()
    (path,) = edited.written()
    assert change(path.read_text()) != path.read_text()
    path.write_text(change(path.read_text()))
    assert edited.stale(TDR[0]) == ["code"]
    printed = capsys.readouterr().err
    assert path.name in printed and said in printed and printed.count(path.name) == 1
    fault = next(
        link for link in audit.audit("smoke", edited.root, from_raw=False).faults if link.kind == "attestation"
    )
    assert fault.state == "broken" and fault.name == f"results/smoke/attestations/{path.name}" and said in fault.detail
    assert edited.links("code") == {"stale": 3}
