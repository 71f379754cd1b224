"""`reweigh plan RUN --why`: every value of a resolved spec, with the file and line where it stands, and its source."""

import pytest
from support.config_files import line_of
from support.project import ROOT
from typer.testing import CliRunner

from reweigh.cli import app
from reweigh.config.sources import leaves
from reweigh.errors import ConfigError
from reweigh.planning import why

RUN = "quick/tdr/mnist-4v9/rho0.02/er_ren/seed1"
MNIST, LENET, METHODS = (
    "config/papers/tdr/experiments/mnist.yaml",
    "config/protocols/mnist-lenet.yaml",
    "config/papers/tdr/methods.yaml",
)


def place(file, text):
    return f"{file}:{line_of(ROOT, file, text)}"


def test_each_value_says_where_it_stands_and_why(config):
    found = {one.key: one for one in why.values(config, RUN)}
    spec = config.resolve(RUN)
    parts = {part: spec[part] for part in ("data", "model", "uses", "method_options", "training")}
    assert list(found) == [".".join(path) for path in leaves(parts)]
    known = {key: tuple(one[1:]) for key, one in found.items()}
    cut = f"scale quick: {config.cut('quick', 'tdr', 'mnist-4v9')}"
    assert known["training.batch_size"] == (50, place(LENET, "batch_size: { value: 50"), "TDR §4.1 and code")
    assert known["training.epochs"] == (20, place(MNIST, "epochs: 20"), cut)
    assert known["training.learning_rate"] == (
        0.001,
        place(METHODS, '0.001, source: "Ren'),
        "Ren et al., code for MNIST",
    )
    ratio = (50.0, place(MNIST, "imbalance_ratio: 50"), "paper §4.1.1 (ρ from 0.1 to 0.005)")
    assert known["data.split.imbalance_ratio"] == ratio
    assert known["training.schedule"][1:] == (place(MNIST, "schedule: { name: step, milestones: [18]"), cut)
    assert known["uses"][:2] == ("er", place("config/methods/look-ahead.yaml", "uses: er"))
    assert known["training.nesterov"] == (False, "", "default")


def test_what_a_scale_puts_earlier_stands_at_its_from_epoch(config):
    found = {one.key: one for one in why.values(config, "quick/absgd/cifar10/lt-rho100/absgd_cbce/seed0")}
    where = place("config/protocols/cifar-resnet32.yaml", "from_epoch: 16")
    for key in ("method_options.from_epoch", "method_options.class_balance.from_epoch"):
        assert found[key][1:3] == (16, where)


@pytest.mark.parametrize("run", ["paper/tdr/adult/sex/constant/seed0", "paper/absgd/two-stage/lt-rho100/lws/seed2"])
def test_every_value_is_a_default_or_stands_in_a_file(config, run):
    for one in why.values(config, run):
        assert (one.source == "default") == (one.place == "")
        assert one.source or one.key in ("uses", "data.dataset") or one.value == {}


def test_the_command_prints_them_as_a_table(monkeypatch):
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, ["plan", f"results/{RUN}.json", "--why"])
    assert done.exit_code == 0
    line = next(line for line in done.stdout.splitlines() if line.startswith("training.epochs"))
    assert line.split() == ["training.epochs", "20", place(MNIST, "epochs: 20"), "scale", "quick"]
    assert "scale quick: 2 of 4 ratios, the values of the code only, 20 of 100 epochs, 3 of 5 seeds" in done.stdout


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([], "--why is about one run, not 0"),
        ([RUN, RUN], "--why is about one run, not 2"),
        (["quick/tdr/mnist-4v9"], "is not the name of a run; write SCALE/PAPER/EXPERIMENT/SETTING/METHOD/seedN"),
        ([RUN.replace("er_ren", "er_rem")], "unknown method 'er_rem'; did you mean 'er_ren'?"),
    ],
)
def test_what_is_no_run_is_refused(targets, said):
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        why.show(targets, ROOT)
