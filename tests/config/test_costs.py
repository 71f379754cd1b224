"""config/costs.yaml: what it says, and what it may not say; each mistake is one line with its place."""

import math
import shutil

import pytest
from support.project import ROOT
from typer.testing import CliRunner

from reweigh import cli
from reweigh.config.costs import COSTS, assumed
from reweigh.errors import ConfigError
from reweigh.planning import plan


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config").mkdir()
    shutil.copy(ROOT / COSTS, tmp_path / COSTS)
    return tmp_path


def saying(folder, text):
    (folder / COSTS).write_bytes(text if isinstance(text, bytes) else text.encode())
    return assumed(folder)


def test_the_file_of_the_project_has_a_time_for_all_models(folder):
    costs = assumed(folder)
    assert costs.of("lenet") == 3.5 and costs.of("mlp") == 0.7 and costs.of("resnet_cifar") == 1500
    assert costs.of("torchvision_resnet") == costs.of("a model to come") == 50
    assert all(value > 0 and math.isfinite(value) for value in costs.milliseconds.values())


def test_a_time_of_a_model_is_in_the_cost_of_its_runs_alone(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data/manifest.yaml", tmp_path / "data")
    monkeypatch.setattr(plan, "devices", frozenset)
    runs = ["quick/tdr/mnist-4v9/rho0.1/none/seed0", "quick/tdr/adult/sex/none/seed0"]
    lenet, mlp = plan.make(runs, "", tmp_path)
    (tmp_path / COSTS).write_text("milliseconds: { lenet: 7, default: 0.7 }\n")
    slower, same = plan.make(runs, "", tmp_path)
    assert (lenet.source, slower.source, mlp.source) == ("assumed",) * 3
    assert min(lenet.seconds, mlp.seconds) > 0
    assert slower.seconds == pytest.approx(2 * lenet.seconds) and same.seconds == pytest.approx(mlp.seconds)


MISTAKES = [
    ("", "must hold keys and values, holds nothing"),
    ("{}\n", "'milliseconds' is missing"),
    ("milliseconds:\n", "milliseconds: must be a valid dictionary"),
    ("milliseconds: 5\n", "milliseconds: must be a valid dictionary, is 5"),
    ("milliseconds: [3.5]\n", "milliseconds: must be a valid dictionary"),
    ("milliseconds: {}\n", "milliseconds has no 'default', for models that it leaves out"),
    ("milliseconds: { lenet: 3.5 }\n", "milliseconds has no 'default', for models that it leaves out"),
    ("milliseconds: { lenett: 3.5, default: 50 }\n", "unknown model 'lenett'; did you mean 'lenet'?"),
    ("milliseconds: { layers: 3.5, default: 50 }\n", "unknown model 'layers'"),
    ("milliseconds: { lenet: fast, default: 50 }\n", "milliseconds.lenet: must be a valid number, is 'fast'"),
    ("milliseconds: { lenet: '3.5', default: 50 }\n", "milliseconds.lenet: must be a valid number, is '3.5'"),
    ("milliseconds: { lenet: true, default: 50 }\n", "milliseconds.lenet: must be a valid number, is True"),
    ("milliseconds: { lenet: , default: 50 }\n", "milliseconds.lenet: must be a valid number, is None"),
    ("milliseconds: { lenet: [1], default: 50 }\n", "milliseconds.lenet: must be a valid number"),
    ("milliseconds: { lenet: { cpu: 1 }, default: 50 }\n", "milliseconds.lenet: must be a valid number"),
    ("milliseconds: { lenet: 0, default: 50 }\n", "milliseconds.lenet: must be greater than 0, is 0"),
    ("milliseconds: { default: -1 }\n", "milliseconds.default: must be greater than 0, is -1"),
    ("milliseconds: { default: .nan }\n", "milliseconds.default: must be a finite number, is nan"),
    ("milliseconds: { default: .inf }\n", "milliseconds.default: must be a finite number, is inf"),
    ("milliseconds: { default: 1.0e+12 }\n", "milliseconds.default: must be less than or equal to 1000000000"),
    ("milliseconds: { default: 50 }\nmilisecond: {}\n", "unknown key 'milisecond'; did you mean 'milliseconds'?"),
    ("milliseconds: { 5: 3.5, default: 50 }\n", ""),
    ("milliseconds: { default: 50, default: 60 }\n", "twice"),
    ("milliseconds: { default: 50\n", "config/costs.yaml"),
    ("- 5\n", ""),
    ("5\n", ""),
    (b"milliseconds: { default: \xff }\n", ""),
]


@pytest.mark.parametrize(("text", "says"), MISTAKES)
def test_a_mistake_is_one_line_with_file_and_line(text, says, folder):
    with pytest.raises(ConfigError) as refused:
        saying(folder, text)
    assert says in str(refused.value) and "\n" not in str(refused.value)
    assert str(refused.value).startswith("config/costs.yaml")


def test_without_the_file_one_line_says_what_is_missing(folder):
    (folder / COSTS).unlink()
    with pytest.raises(ConfigError, match=r"^no config/costs\.yaml in .*; it says what a step"):
        assumed(folder)


def test_the_plan_refuses_it_and_does_not_fail(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    (tmp_path / COSTS).write_text("milliseconds: { lenett: 3.5, default: 50 }\n")
    done = CliRunner().invoke(cli.app, ["plan", "quick/tdr/mnist-4v9/rho0.1/none/seed0"])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == "config/costs.yaml:1: unknown model 'lenett'; did you mean 'lenet'?"
