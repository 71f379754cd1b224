"""The audit that trains again: the sample, the comparison, and records that are honest, forged or made elsewhere."""

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support import project, workflow
from support.processes import wait_for

from reweigh.config.names import RunName
from reweigh.digest import digest
from reweigh.provenance import retraining
from reweigh.provenance.audit import rerun
from reweigh.provenance.audit.links import Link
from reweigh.provenance.audit.report import Report
from reweigh.records import record

RUNS = list(project.TRAINED)
TDR = RUNS[:2]

# --- the sample ---


def test_each_run_is_as_likely_as_any_other():
    runs = [f"run{number}" for number in range(12)]
    counted = Counter(run for seed in range(1200) for run in rerun.choose(runs, 3, seed))
    assert set(counted) == set(runs) and all(240 < count < 360 for count in counted.values())  # 300, sd 15
    assert (
        rerun.choose(runs, 3, 7) == rerun.choose(runs[::-1], 3, 7) == sorted(runs, key=lambda run: digest([7, run]))[:3]
    )
    assert len(rerun.choose(runs, 99, 0)) == 12


def test_only_what_is_sound_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "read", lambda path: {"spec": {"data": {"dataset": Path(path).parent.name}}})
    kinds = ("record", "spec", "code", "recipe", "trace")
    links = [Link(kind, f"s/p/e/s/mnist/seed{seed}", "intact") for seed in range(6) for kind in kinds]
    links.append(Link("record", "s/p/e/s/adult/seed0", "intact"))
    for seed, state in enumerate(("attested", "stale", "broken", "missing", "unverifiable")):
        links[5 * seed + seed] = links[5 * seed + seed]._replace(state=state)
    links += [Link("split", "s/p/e/s/seed5", "broken"), Link("raw", "adult/adult.data", "unverifiable")]
    assert sorted(rerun.eligible(links, tmp_path)) == ["s/p/e/s/mnist/seed0", "s/p/e/s/mnist/seed5"]


# --- the comparison ---


def body(accuracy, torch="2.11.0", **changes):
    return {
        "status": "finished",
        "diverged_at_step": None,
        "steps": 10,
        "parameters": 7,
        "seconds": 20.0,
        "metrics": {"test_accuracy": accuracy, "test_size": 100},
        "curves": {"epoch": [1], "train_loss": [0.5], "train_seconds": [1.0]},
        "trace": None,
        "split": {"digest": "a" * 64},
        "environment": {"torch": torch, "numpy": "2.0.0"},
        "device": {"kind": "cpu", "name": "one"},
    } | changes


OTHERS = [body(value) for value in (0.86, 0.88, 0.90, 0.92)]
SPREAD = 3 * statistics.stdev((0.86, 0.88, 0.90, 0.92))  # 0.0775


def by(capability, **settings):
    return {"device": {"kind": "cpu", "name": "one", "capability": capability, "settings": settings}}


def test_by_other_instructions_nothing_is_broken():
    """Someone who has set ATEN_CPU_CAPABILITY, or an older torch: no record is at fault."""
    native, limited = by("AVX512"), by("DEFAULT", ATEN_CPU_CAPABILITY="default")
    state, detail = rerun.compare(body(0.9, **native), body(0.9 + 2**-53, **limited), OTHERS)
    assert state == "unverifiable" and "made on one (cpu, AVX512)" in detail
    assert "trained again on one (cpu, DEFAULT, ATEN_CPU_CAPABILITY=default)" in detail
    far = body(0.1, **limited)
    assert rerun.compare(body(0.9, **native), far, OTHERS)[0] == "unverifiable"
    assert rerun.compare(body(0.9), far, OTHERS)[0] == "unverifiable"  # an older record
    assert rerun.compare(body(0.9), body(0.1, **native), OTHERS)[0] == "broken"
    assert rerun.compare(body(0.9, **native), body(0.1, **native), OTHERS)[0] == "broken"
    assert rerun.compare(body(0.9, **native), body(0.1, **limited, steps=9), OTHERS)[0] == "broken"  # no rounding


def test_on_the_same_device_and_versions_every_bit_counts():
    assert rerun.compare(body(0.9), body(0.9)) == ("intact", "bit for bit, in 1 times the processor seconds a step")
    assert rerun.compare(body(0.9), body(0.9 + 2**-53), OTHERS) == (
        "broken",
        "metrics.test_accuracy 0.9 -> 0.9000000000000001",
    )
    later = body(0.9, curves={"epoch": [1], "train_loss": [0.5], "train_seconds": [9.0]})
    assert rerun.compare(body(0.9), later)[0] == "intact"
    other = body(0.8, steps=9, parameters=8, status="diverged", diverged_at_step=3)
    assert rerun.compare(body(0.9), other)[1].endswith("; and 2 more")


@pytest.mark.parametrize(
    ("now", "others", "state", "said"),
    [
        (body(0.9, "2.12.0"), [], "intact", "bit for bit, though made on one (cpu) with torch 2.11.0, numpy 2.0.0, tr"),
        (
            body(0.9099, "2.12.0"),
            [],
            "unverifiable",
            "test_accuracy 0.9000 -> 0.9099, tolerance 0.0100: within it, which is no proof; made on one",
        ),
        (body(0.9101, "2.12.0"), [], "unverifiable", "0 other seeds are too few to know the spread"),
        (body(0.9101, "2.12.0"), OTHERS[:2], "unverifiable", "2 other seeds are too few to know the spread"),
        (body(0.9 + SPREAD - 1e-6, "2.12.0"), OTHERS, "unverifiable", "tolerance 0.0775: within it"),
        (body(0.9 - SPREAD - 1e-6, "2.12.0"), OTHERS, "broken", "0.8225, tolerance 0.0775 (3 sd of 4 other seeds)"),
        (body(0.95, "2.12.0"), [body(0.9)] * 3, "broken", "tolerance 0.0100"),
        (body(0.9, "2.12.0", split={"digest": "b" * 64}), OTHERS, "broken", 'split "aaaaaaaaaaaaaaaaaaa...'),
        (body(0.9, "2.12.0", steps=9), OTHERS, "broken", "steps 10 -> 9"),
        (body(0.9, "2.12.0", parameters=8), OTHERS, "broken", "parameters 7 -> 8"),
        (body(0.9, "2.12.0", status="diverged", steps=4), OTHERS, "broken", 'status "finished" -> "diverged"'),
        (body(0.9, "2.12.0", metrics={}), OTHERS, "broken", "metrics.test_accuracy 0.9 -> null"),
        (body(0.9, device={"kind": "cuda", "name": "two"}, steps=9), OTHERS, "broken", "trained again on two (cuda)"),
    ],
)
def test_elsewhere_within_the_tolerance(now, others, state, said):
    found = rerun.compare(body(0.9), now, others)
    assert found[0] == state and said in found[1]


def test_runs_that_diverge_need_not_do_so_at_the_same_step():
    then, now = (body(0.5, torch, status="diverged", diverged_at_step=step, steps=step) for torch, step in
                 (("2.11.0", 3), ("2.12.0", 4)))  # fmt: skip
    assert rerun.compare(then, now, OTHERS)[0] == "unverifiable"


@pytest.mark.parametrize(
    ("took", "takes", "state"),
    [(20, 59, "intact"), (20, 61, "unverifiable"), (61, 20, "unverifiable"), (2, 20, "broken"), (200, 20, "broken"),
     (0.01, 0.9, "intact"), (0.1, 1.5, "broken"), (0, 20, "intact")],
)  # fmt: skip
def test_seconds_a_step_are_compared_where_the_platform_is_the_same(took, takes, state):
    found = rerun.compare(body(0.9, seconds=took), body(0.9, seconds=takes))
    assert found[0] == state and (state == "intact" or f"it says {took:.4g} s, and took {takes:.4g} s" in found[1])
    assert rerun.compare(body(0.9, seconds=took), body(0.9, "2.12.0", seconds=takes))[0] == "intact"
    clock = {"device": {"kind": "cuda", "name": "one"}}
    on_gpu = rerun.compare(body(0.9, seconds=took, **clock), body(0.9, seconds=takes, **clock))
    assert on_gpu[0] == ("unverifiable" if state == "broken" else state)  # others may have shared it


# --- a project, really trained ---


@pytest.fixture
def root(trained_project, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(trained_project, tmp_path / "project", symlinks=True))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(folder)
    return folder


def report_of(runs=RUNS):
    """What an audit finds in a sound project, as far as training again asks."""
    return Report("smoke", [Link("record", run, "intact") for run in runs])


def forge(run, root, change):
    """Alter a record, and give it the digest of what it says now."""
    path = record.record_path(run, root)
    said = record.read(path)
    change(said)
    return record.write(path, said)


def flatter(said):
    """The forger was careful: metrics, curves and confusion agree with one another."""
    size = said["metrics"]["test_size"]
    half = [size // 2, size - size // 2]
    said["metrics"] |= {"test_accuracy": 1.0, "balanced_accuracy": 1.0, "best_epoch_test_accuracy": 1.0,
                        "per_class_accuracy": [1.0, 1.0], "confusion": [[half[0], 0], [0, half[1]]]}  # fmt: skip
    said["curves"]["test_accuracy"] = [1.0 for _ in said["curves"]["test_accuracy"]]


def test_honest_forged_and_from_elsewhere(root, capsys):
    """All in one call: an honest record, a forged one, and one that another version of torch is said to have made."""
    forge(TDR[1], root, flatter)
    forge(RUNS[2], root, lambda said: said["environment"].update(torch="2.0.0"))
    report = report_of()
    assert rerun.rerun(report, root, 3, seed=5) == 0
    links = {link.name: link for link in report.links if link.kind == "rerun"}
    assert links[TDR[0]].state == "intact" and links[TDR[0]].detail.startswith("bit for bit")
    assert links[TDR[1]].state == "broken" and re.match(r"metrics\.\w+ 1\.0 -> 0\.\d+; ", links[TDR[1]].detail)
    assert links[RUNS[2]].state == "intact" and "with torch 2.0.0" in links[RUNS[2]].detail
    assert report.exit_code == 1 and report.counts["rerun"] == {"intact": 2, "broken": 1}
    printed = capsys.readouterr().out
    assert "training 3 of 3 runs again, chosen with seed 5; the first time took" in printed
    assert not list(root.glob(".reweigh/rerun/*/"))
    said = report.as_dict()["rerun"]
    assert said | {"asked": 3, "seed": 5, "of": 3, "left_out": 0} == said and "torch" in said["environment"]
    assert [one["run"] for one in said["runs"]] == rerun.choose(RUNS, 3, 5)
    compared = {one["run"]: one["compared"] for one in said["runs"]}
    assert compared == dict.fromkeys(TDR, "bit for bit") | {RUNS[2]: rerun.TOLERANCE}
    for one in said["runs"]:
        assert one["record"] == record.read(record.record_path(one["run"], root))["digest"]


def test_splits_are_drawn_again_from_the_raw_bytes(root):
    """A split in place, altered with the record that names it, is not what training again reads."""
    forge(TDR[0], root, lambda said: said["split"].update(digest="0" * 64))
    report = report_of(TDR[:1])
    assert rerun.rerun(report, root, 1, seed=0) == 0
    (link,) = (link for link in report.links if link.kind == "rerun")
    assert link.state == "broken" and link.detail.startswith('split "00000')


# --- a place that nobody prepared ---


def test_what_was_prepared_proves_nothing(root, monkeypatch):
    """Folders of the names that workspaces have had, with records that bear a forged one out, and modules of Python."""
    forge(TDR[0], root, flatter)
    purpose = root / ".reweigh/rerun"
    monkeypatch.setenv("REWEIGH_PACKED", str(root / "nowhere"))
    for key in ("", f"-{digest(['smoke', 1, None])[:12]}", f"-{digest(['smoke', 1, 5])[:12]}"):
        prepared = purpose / f"{digest(retraining.platform_here())[:12]}{key}"
        shutil.copytree(root / "results", prepared / "results")
        (prepared / "json.py").write_text("raise SystemExit('told by a file in the folder')")
        (prepared / "seed").write_text("5")
    seen = []
    environment, trained = retraining._environment, retraining.Workspace.train

    def watched(place, specs):
        seen.append((place.folder, place.folder.stat().st_mode & 0o777, sorted(os.listdir(place.folder))))
        (place.folder / "json.py").write_text("raise SystemExit('told by a file in the folder')")
        return trained(place, specs)

    monkeypatch.setattr(retraining.Workspace, "train", watched)
    report = report_of(TDR[:1])
    assert rerun.rerun(report, root, 1, seed=5) == 0
    (link,) = (link for link in report.links if link.kind == "rerun")
    assert link.state == "broken" and link.detail.startswith("metrics.")
    ((folder, mode, there),) = seen
    assert folder.parent == purpose and mode == 0o700 and set(there) <= {"data", "envs", "in-use", "specs"}
    assert not folder.exists() and len(list(purpose.iterdir())) == 3
    assert environment()["REWEIGH_PACKED"] and "REWEIGH_PACKED" not in environment(retraining.LEADING_OUTSIDE)


def test_stopped_it_ends_with_75_and_keeps_nothing(root, monkeypatch, capsys):
    asked = []

    def stopped(place, specs):
        asked.append([str(RunName.of_spec(spec)) for spec in specs])
        return retraining.STOPPED

    seeds = iter(range(100, 200))
    monkeypatch.setattr(rerun.secrets, "randbelow", lambda _: next(seeds))
    monkeypatch.setattr(retraining.Workspace, "train", stopped)
    report = report_of()
    assert rerun.rerun(report, root, 1) == 75 and report.rerun is None
    said = capsys.readouterr().out
    assert "stopped, and nothing is kept; for the same runs: --rerun 1 --seed 100" in said
    assert "chosen with seed 100" in said and f"removed at the end: {root / '.reweigh/rerun/rerun-'}" in said
    assert rerun.rerun(report_of(), root, 1) == 75  # another seed
    assert rerun.rerun(report_of(), root, 1, seed=100) == 75
    assert asked == [rerun.choose(RUNS, 1, seed) for seed in (100, 101, 100)]
    assert not list(root.glob(".reweigh/rerun/*"))


def test_nothing_to_draw(root, capsys):
    report = Report("smoke", [Link("record", TDR[0], "broken", "altered")])
    assert rerun.rerun(report, root, 2, seed=0) == 0 and report.rerun["runs"] == []
    printed = capsys.readouterr().out
    assert "1 records are left out: they are stale or broken" in printed and "0 of 0 runs" in printed


# --- the command ---


@pytest.fixture
def made(tmp_path, trained_project):
    """A copy of the project with the three records, and the raw data and splits that they came from."""
    folder = workflow.copy(tmp_path)
    shutil.copytree(workflow.ROOT / "envs", folder / "envs")
    for name in ("results", "data/splits", "data/raw"):
        shutil.copytree(trained_project / name, folder / name, symlinks=True)
    return folder


def reweigh(folder, *arguments, before=(), **changes):
    """Start a command with the folder's own code, and what is in the folders `before` it."""
    return subprocess.Popen(
        [sys.executable, "-m", "reweigh.cli", *arguments],
        cwd=folder,
        env=project.environment(PYTHONPATH=os.pathsep.join(map(str, (*before, folder / "src"))), **changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(process):
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize("ends_by", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_in_the_middle_and_called_again(made, ends_by, tmp_path_factory):
    command = ("audit", "--scale", "smoke", "--rerun", "2", "--report", "report.json")
    slowly = project.saves_slowly(tmp_path_factory.mktemp("slowly"))
    process = reweigh(made, *command, before=[slowly], REWEIGH_CHECKPOINT_SECONDS="0")
    wait_for(lambda: any(map(project.checkpoints, made.glob(".reweigh/rerun/*/"))), "a checkpoint", process)
    if ends_by == signal.SIGTERM:
        process.terminate()
        code, said = ended(process)
        assert code == 75 and "stopped, and nothing is kept" in said, said
        assert "rerun" not in json.loads((made / "report.json").read_text())
        assert not list(made.glob(".reweigh/rerun/*"))
        return  # what is called again is what is called again after a kill
    os.killpg(process.pid, ends_by)
    assert ended(process)[0] == -ends_by
    code, said = ended(reweigh(made, *command))
    assert code == 0 and "training 2 of 3 runs again, chosen with seed" in said, said
    report = json.loads((made / "report.json").read_text())
    assert report["counts"]["rerun"] == {"intact": 2}
    assert all(one["detail"].startswith("bit for bit") for one in report["rerun"]["runs"])
    assert not list(made.glob(".reweigh/rerun/*"))  # nor that of the call that was killed
