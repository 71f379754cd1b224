"""`reweigh plan`: which runs a target stands for, their steps and cost, and the state of their records."""

import json
import shutil
import subprocess
import sys

import pytest
from support.project import ROOT

from reweigh.bench.table import CSV, Line, write
from reweigh.config.loading import load
from reweigh.config.specs import Spec
from reweigh.data.obtain import recipe_digest
from reweigh.digest import digest
from reweigh.errors import ConfigError
from reweigh.planning import plan
from reweigh.records import record

CELL = "quick/tdr/mnist-4v9/rho0.1/tdr"
HERE = "a processor"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with config and manifest, and no record; this machine has one processor, HERE."""
    monkeypatch.setattr(plan, "devices", lambda: frozenset([HERE]))
    monkeypatch.setattr(plan, "processor", lambda: HERE)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data/manifest.yaml", tmp_path / "data")
    return tmp_path


def leave_record(project, run, seconds=10.0, **changes):
    """Write a record as a finished run would, as far as the plan reads it."""
    spec = load(project).resolve(run)
    body = {
        **dict.fromkeys(record.KEYS - {"record_version", "digest"}),
        "spec": spec,
        "spec_digest": digest(spec),
        "code": {"digest": record.code_digest(spec)},
        "split": {"recipe_digest": recipe_digest(spec, project / "data")},
        "steps": 1000,
        "seconds": seconds,
        "device": {"name": HERE},
    }
    return record.write(record.record_path(run, project), body | changes)


@pytest.mark.parametrize(
    ("target", "count"),
    [
        ("paper/tdr", 445),
        ("paper/tdr/mnist-4v9", 80),
        ("paper/tdr/mnist-4v9/rho0.005", 20),
        ("paper/tdr/mnist-4v9/rho0.005/tdr", 5),
        ("paper/tdr/mnist-4v9/rho0.005/tdr/seed3", 1),
        ("results/paper/tdr/mnist-4v9/rho0.005/tdr/seed3.json", 1),
        ("figures/paper/tdr/fig5.pdf", 40),
        ("paper/tdr/table3", 15),
        ("paper/tdr/fig8", 0),
    ],
)
def test_targets(config, target, count):
    runs = plan.runs_of_target(config, target)
    assert len(runs) == count
    assert all(config.run_name(run) for run in runs)


@pytest.mark.parametrize(
    "target", ["paper", "paper/tdr/mnist-4v8", "paper/tdr/mnist-4v9/rho1", "figures/paper/tdr/fig55"]
)
def test_targets_that_do_not_exist(config, target):
    with pytest.raises(ConfigError):
        plan.runs_of_target(config, target)


@pytest.mark.parametrize(
    ("cell", "steps"),
    [
        ("paper/tdr/mnist-4v9/rho0.1/tdr", 100 * (4999 // 50)),
        ("paper/tdr/mnist-lt/rho0.1/er", 100 * (20431 // 50)),
        ("paper/tdr/adult/sex/tdr", 50 * (30112 // 50)),
        ("paper/tdr/adult/sex/constant", 0),
    ],
)
def test_steps(config, cell, steps):
    assert plan.steps_of(config.resolve(f"{cell}/seed0")) == steps


def test_states(project):
    leave_record(project, f"{CELL}/seed0")
    leave_record(project, f"{CELL}/seed1", spec_digest="another", code={"digest": "another"})
    states = [one.state for one in plan.make([CELL], "quick", project)]
    assert states == ["current", "stale: spec and code changed", "missing"]
    path = record.record_path(f"{CELL}/seed0", project)
    path.write_text(path.read_text().replace("10.0", "9.0"))
    assert "changed by hand" in plan.make([f"{CELL}/seed0"], "quick", project)[0].state


def bench_line(method, milliseconds, ratio, **changes):
    """A line as `reweigh bench` writes it for a step of LeNet."""
    said = {"device": HERE, "torch": "2", "group": "steps", "contender": method, "baseline": "plain step"}
    said |= {"milliseconds": milliseconds, "ratio": ratio, "q1": None, "q3": None, "peak_mebibytes": None, "rounds": 3}
    return Line(
        **said | {"threads": 1, "precision": "fp32", "model": "lenet", "batch_size": 50, "method": method} | changes
    )


def sources(project, *runs):
    return {one.run: (one.source, one.seconds / one.steps) for one in plan.make(list(runs), "quick", project)}


def test_cost_is_measured_where_records_are_and_assumed_elsewhere(project):
    before = plan.make([CELL, "quick/tdr/mnist-4v9/rho0.1/er"], "quick", project)
    assert {one.source for one in before} == {"assumed"}
    leave_record(project, f"{CELL}/seed0", seconds=20.0)
    after = plan.make(
        [f"{CELL}/seed1", "paper/tdr/mnist-4v9/rho0.1/tdr/seed0", "paper/tdr/mnist-4v9/rho0.1/er/seed0"], "", project
    )
    assert [one.source for one in after] == ["records", "records", "assumed"]
    assert after[0].seconds == pytest.approx(after[0].steps * 0.02)
    assert after[1].seconds == pytest.approx(9900 * 0.02)


def test_the_bench_comes_after_records_made_here_and_before_those_made_elsewhere(project):
    run = f"{CELL}/seed1"
    leave_record(project, f"{CELL}/seed0", seconds=20.0, device={"name": "another"})
    assert sources(project, run)[run] == ("records made elsewhere", pytest.approx(0.02))
    write([bench_line("none 1", 4.0, 1.0), bench_line("tdr 10", 5.0, 1.25)], project / CSV)
    assert sources(project, run)[run] == ("bench", pytest.approx(0.005))
    leave_record(project, f"{CELL}/seed0", seconds=20.0)
    assert sources(project, run)[run] == ("records", pytest.approx(0.02))


def test_a_bench_of_another_machine_says_nothing(project):
    write([bench_line("tdr 10", 5.0, 1.25, device="another")], project / CSV)
    assert sources(project, f"{CELL}/seed1")[f"{CELL}/seed1"][0] == "assumed"


def test_a_method_that_was_not_timed_with_a_model_takes_its_ratio_elsewhere_or_the_assumed_one(project):
    er, none = (f"quick/tdr/mnist-4v9/rho0.1/{method}/seed0" for method in ("er", "none"))
    plain = bench_line("none 1", 4.0, 1.0)
    write([plain], project / CSV)
    assert sources(project, er)[er] == ("bench", pytest.approx(0.004 * 2.8))
    write([plain, bench_line("er 1", 900.0, 3.0, model="resnet32", batch_size=128)], project / CSV)
    assert sources(project, er)[er] == ("bench", pytest.approx(0.004 * 3.0))
    write([bench_line("none 1", 4.0, 1.0, threads=2)], project / CSV)
    assert sources(project, none)[none] == ("bench", pytest.approx(0.008))  # the run asks for one thread


@pytest.mark.parametrize("change", [{"batch_size": 64}, {"model": "resnet32"}, {"precision": "bf16"}])
def test_a_bench_of_another_model_batch_size_or_precision_is_not_taken(project, change):
    write([bench_line("none 1", 4.0, 1.0, **change), bench_line("tdr 10", 5.0, 1.25, **change)], project / CSV)
    assert sources(project, f"{CELL}/seed1")[f"{CELL}/seed1"][0] == "assumed"


def test_planning_needs_no_torch():
    code = "import sys, reweigh.planning.plan, reweigh.bench; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_quick_scale_is_quick():
    planned = plan.make([], "quick", ROOT)
    work = sum(one.steps * plan.Costs(ROOT).assumed["milliseconds"]["lenet"] / 1000 for one in planned)
    assert work < 1200  # two cores, ten minutes, were every step as cheap as LeNet's


def test_table_names_what_is_stale_and_the_command(project, capsys):
    leave_record(project, f"{CELL}/seed0", code={"digest": "another"})
    plan.show(plan.make([CELL], "quick", project))
    said = capsys.readouterr().out
    assert "1 stale, 2 missing" in said
    assert f"{CELL}/seed0: stale: code changed" in said
    assert f"reweigh train {CELL}" in said
    assert "3 of 3 runs to train" in said


def test_specs_are_written_complete(project, tmp_path):
    leave_record(project, f"{CELL}/seed0")
    planned = plan.make([CELL], "quick", project)
    assert plan.write_specs(planned, tmp_path / "all") == 3
    assert plan.write_specs(planned, tmp_path / "pending", pending_only=True) == 2
    written = json.loads((tmp_path / "all" / f"{CELL.replace('/', '__')}__seed0.json").read_text())
    assert written == load(project).resolve(f"{CELL}/seed0")
    Spec.model_validate(written)


@pytest.mark.parametrize(("seconds", "said"), [(4, "4 s"), (89, "89 s"), (120, "2 min"), (7200, "2.0 h")])
def test_duration(seconds, said):
    assert plan.duration(seconds) == said
