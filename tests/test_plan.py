"""`reweigh plan`: which runs a target stands for, their steps and cost, and the state of their records."""

import json
import shutil
from pathlib import Path

import pytest

from reweigh import plan, record
from reweigh.config import load
from reweigh.config_models import Spec
from reweigh.data.obtain import recipe_digest
from reweigh.digest import digest
from reweigh.errors import ConfigError

ROOT = Path(__file__).parents[1]
CELL = "quick/tdr/mnist-4v9/rho0.1/tdr"


@pytest.fixture(scope="module")
def config():
    return load(ROOT)


@pytest.fixture
def project(tmp_path):
    """A folder with config and manifest, and no record."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data/manifest.yaml", tmp_path / "data")
    return tmp_path


def leave_record(project, run, seconds=10.0, **changes):
    """Write a record as a finished run would, as far as the plan reads it."""
    spec = load(project).resolve(run)
    body = {
        "spec": spec,
        "spec_digest": digest(spec),
        "code": {"digest": record.code_digest(spec)},
        "split": {"recipe_digest": recipe_digest(spec, project / "data")},
        "steps": 1000,
        "seconds": seconds,
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
    assert all(config.parse(run) for run in runs)


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


def test_cost_is_measured_where_records_are_and_assumed_elsewhere(project):
    before = plan.make([CELL, "quick/tdr/mnist-4v9/rho0.1/er"], "quick", project)
    assert not any(one.measured for one in before)
    leave_record(project, f"{CELL}/seed0", seconds=20.0)
    after = plan.make(
        [f"{CELL}/seed1", "paper/tdr/mnist-4v9/rho0.1/tdr/seed0", "paper/tdr/mnist-4v9/rho0.1/er/seed0"], "", project
    )
    assert [one.measured for one in after] == [True, True, False]
    assert after[0].seconds == pytest.approx(after[0].steps * 0.02)
    assert after[1].seconds == pytest.approx(9900 * 0.02)


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
