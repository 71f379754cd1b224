"""What tuning runs choose: the best mean on held-out data, of equals the first, and nothing before all are there."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import synthetic_records
from support.config_files import replace
from support.project import ROOT

from reweigh.analysis import tuning
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.errors import ConfigError

RULE = "lambda-cifar10-lt"
GRID = "smoke/absgd/tuning-cifar10-lt"  # two settings at this scale


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return synthetic_records.project(tmp_path / "project")


def fill(root: Path, scale: str = "paper", status: str = "finished", **values: float) -> None:
    """Records of the rule's settings; balanced accuracy 0.3 but where `values` says otherwise."""
    config = load(root)
    for setting in config.settings_of(scale, "absgd", "tuning-cifar10-lt"):
        accuracy = values.get(setting.replace("-", "_").replace(".", "_"), 0.3)
        metrics = {"balanced_accuracy": accuracy, "validation_accuracy": 1 - accuracy}
        synthetic_records.make(root, f"{scale}/absgd/tuning-cifar10-lt/{setting}/absgd_ce/seed0", status, **metrics)


def test_the_best_on_held_out_data_is_chosen(root: Path) -> None:
    fill(root, lambda2_gamma0_9=0.41, lambda1_gamma0_1=0.40)
    found = tuning.choose(load(root), "absgd", RULE)
    assert found.setting == "lambda2-gamma0.9"
    assert found.taken == {"lambda_": 2.0, "gamma": 0.9}
    assert found.in_use == {"lambda_": [5.0], "gamma": [0.5]}
    assert not found.followed
    assert len(found.scores) == 18
    assert found.scores["lambda2-gamma0.9"] == 0.41


def test_of_an_error_the_lowest_is_chosen(root: Path) -> None:
    """It follows from what a record states: 1 - balanced accuracy. One that a record cannot have is no choice."""
    replace(root, "metric: balanced_accuracy", "metric: balanced_error", "config/papers/absgd/tuning.yaml")
    fill(root, lambda2_gamma0_9=0.41, lambda1_gamma0_1=0.40, lambda3_gamma0_1=0.1)
    found = tuning.choose(load(root), "absgd", RULE)
    assert found.setting == "lambda2-gamma0.9" and found.scores["lambda2-gamma0.9"] == pytest.approx(0.59)
    replace(root, "metric: balanced_error", "metric: deo_error", "config/papers/absgd/tuning.yaml")
    with pytest.raises(ConfigError, match="its records have no symmetric difference of equal opportunity"):
        tuning.choose(load(root), "absgd", RULE)


def test_of_equals_the_mildest_comes_first(root: Path) -> None:
    fill(root)
    assert tuning.choose(load(root), "absgd", RULE).taken == {"lambda_": 10.0, "gamma": 0.5}


def test_test_accuracy_has_no_say(root: Path) -> None:
    fill(root, lambda3_gamma0_5=0.4)
    better = {"balanced_accuracy": 0.3, "validation_accuracy": 0.99, "test_accuracy": 0.99}
    synthetic_records.make(root, "paper/absgd/tuning-cifar10-lt/lambda1-gamma0.1/absgd_ce/seed0", **better)
    assert tuning.choose(load(root), "absgd", RULE).setting == "lambda3-gamma0.5"


def test_part_of_the_runs_chooses_nothing(root: Path) -> None:
    fill(root)
    (root / "results/paper/absgd/tuning-cifar10-lt/lambda1-gamma0.1/absgd_ce/seed0.json").unlink()
    found = tuning.choose(load(root), "absgd", RULE)
    assert (found.setting, found.taken, found.missing) == (None, {}, ["lambda1-gamma0.1"])


BEST = {"balanced_accuracy": 0.9, "validation_accuracy": 0.9}  # what a run that diverged may have had before


def diverge(root: Path, *settings: str) -> None:
    for setting in settings:
        synthetic_records.make(root, f"paper/absgd/tuning-cifar10-lt/{setting}/absgd_ce/seed0", "diverged", **BEST)


def test_a_diverged_run_has_no_score_and_is_not_chosen(root: Path) -> None:
    fill(root)
    diverge(root, "lambda1-gamma0.1", "lambda10-gamma0.5")  # the second would be first of equals
    found = tuning.choose(load(root), "absgd", RULE)
    assert found.setting == "lambda10-gamma0.9"
    assert found.diverged == {"lambda10-gamma0.5": 1, "lambda1-gamma0.1": 1}
    assert found.scores["lambda1-gamma0.1"] is None and found.missing == []


def test_where_all_diverged_nothing_is_chosen(root: Path) -> None:
    config = load(root)
    fill(root)
    diverge(root, *config.settings_of("paper", "absgd", "tuning-cifar10-lt"))
    found = tuning.choose(config, "absgd", RULE)
    assert (found.setting, found.taken, found.missing) == (None, {}, [])
    (line,) = [one for one in tuning.lines(config, "absgd", "paper") if one["rule"] == RULE]
    assert line["chosen"] == "nothing: all diverged"


def test_one_seed_that_diverged_leaves_its_setting_without_a_score(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its other seeds do not speak for it, however good they are."""
    fill(root)
    runs_of = Config.runs_of
    monkeypatch.setattr(
        Config,
        "runs_of",
        lambda self, cell: [run.replace("seed0", f"seed{n}") for run in runs_of(self, cell) for n in (0, 1)],
    )
    for setting in load(root).settings_of("paper", "absgd", "tuning-cifar10-lt"):
        level = 0.99 if setting == "lambda5-gamma0.5" else 0.3
        for seed in (0, 1):
            lost = setting == "lambda5-gamma0.5" and seed == 1
            run = f"paper/absgd/tuning-cifar10-lt/{setting}/absgd_ce/seed{seed}"
            synthetic_records.make(root, run, "diverged" if lost else "finished", balanced_accuracy=level)
    found = tuning.choose(load(root), "absgd", RULE)
    assert found.setting == "lambda10-gamma0.5" and found.diverged == {"lambda5-gamma0.5": 1}


def test_the_command_names_what_diverged(root: Path) -> None:
    fill(root)
    diverge(root, "lambda1-gamma0.1")
    (line,) = [one for one in tuning.lines(load(root), "absgd", "paper") if one["rule"] == RULE]
    assert line[""] == "differs; no score where runs diverged, 1 of 18: lambda1-gamma0.1"


def test_a_choice_that_is_in_use_is_followed(root: Path) -> None:
    fill(root, lambda5_gamma0_5=0.5)
    assert tuning.choose(load(root), "absgd", RULE).followed


def test_options_inside_others(root: Path) -> None:
    config = load(root)
    for setting in config.settings_of("paper", "absgd", "tuning-sce-cifar10-asym"):
        accuracy = 0.8 if setting == "alpha6-beta2" else 0.7
        run = f"paper/absgd/tuning-sce-cifar10-asym/{setting}/sgd_sce/seed0"
        synthetic_records.make(root, run, validation_accuracy=accuracy, balanced_accuracy=1 - accuracy)
    found = tuning.choose(config, "absgd", "sce-cifar10-asym")
    assert found.taken == {"loss.alpha": 6.0, "loss.beta": 2.0}
    assert found.in_use == {"loss.alpha": [0.2, 6.0], "loss.beta": [2.0]}


def test_the_command_prints_the_choice(root: Path) -> None:
    fill(root, "smoke", lambda1_gamma0_5=0.4)
    command = [sys.executable, "-m", "reweigh.cli", "tune", "absgd", "--scale", "smoke"]
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith(RULE))
    assert line.split() == f"{RULE} 0.4000 lambda 1.0, gamma 0.5 lambda 5.0, gamma 0.5 differs".split()


def test_a_rule_that_is_not_there(root: Path) -> None:
    with pytest.raises(ConfigError, match="unknown rule of tuning 'lambda-cifar10'"):
        tuning.choose(load(root), "absgd", "lambda-cifar10")
    assert tuning.choices(load(root), "tdr") == []
