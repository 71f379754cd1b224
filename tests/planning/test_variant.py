"""`reweigh train --set --as`: the entry that is written, that a second call is none, and what is refused."""

import pytest
import yaml

from reweigh.config.loading import load
from reweigh.errors import ConfigError
from reweigh.planning import variant
from reweigh.planning.variant import write

CELL = "smoke/tdr/mnist-4v9/rho0.1/tdr"
FILE = "config/papers/tdr/methods/tdr20.yaml"
EVERY = "options.outer_every=20"


def test_it_is_the_method_with_that_value_and_nothing_else(copy):
    old = load(copy).resolve(f"{CELL}/seed0")
    made = write([CELL, f"{CELL}/seed1"], [EVERY, "training.learning_rate=0.05"], "tdr20", copy)
    assert (made.file, made.written) == (FILE, True)
    assert made.runs == ["smoke/tdr/mnist-4v9/rho0.1/tdr20", "smoke/tdr/mnist-4v9/rho0.1/tdr20/seed1"]
    config = load(copy)
    new = config.resolve(f"{made.runs[0]}/seed0")
    assert new.pop("method") == "tdr20" and old.pop("method") == "tdr"
    old["method_options"]["outer_every"], old["training"]["learning_rate"] = 20, 0.05
    assert new == old
    assert config.paper("tdr").methods["tdr20"].title == "TDR (code), outer_every = 20, learning_rate = 0.05 (ours)"
    assert config.origins(f"{made.runs[0]}/seed0")["method_options.outer_every"].source == "ours: --set"
    assert config.resolve(f"{CELL}/seed0")["method_options"]["outer_every"] == 10


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e-3", 1e-3), ("1E-3", 1e-3), ("1.e-3", 1e-3), (".1e-2", 1e-3), ("+1e-3", 1e-3), ("2e-1", 0.2)],
)
def test_a_number_with_an_exponent_is_a_number(text, number, copy):
    made = write([CELL], [f"training.learning_rate={text}"], "slower", copy)
    assert load(copy).resolve(f"{made.runs[0]}/seed0")["training"]["learning_rate"] == number
    assert not write([CELL], [f"training.learning_rate={number}"], "slower", copy).written


def test_quoted_text_stays_text(copy):
    with pytest.raises(ConfigError, match="outer_every"):
        write([CELL], ["options.outer_every='1e-3x'"], "texts", copy)
    assert variant._value("", "'1e-3'") == "1e-3" and variant._value("", "e3") == "e3"


@pytest.mark.parametrize("at", ["load", "_check_same_but_for"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError, ValueError])
def test_whatever_goes_wrong_takes_back_what_was_written(at, error, copy, monkeypatch):
    write([CELL], [EVERY], "tdr20", copy)
    there = {path: path.read_bytes() for path in (copy / "config").rglob("*") if path.is_file()}
    calls = []

    def failing(*given):
        calls.append(given)
        if at != "load" or len(calls) > 1:
            raise error
        return load(*given)

    monkeypatch.setattr(variant, at, failing)
    for name, cell in (("tdr30", CELL), ("tdr20", CELL.replace("4v9", "lt"))):
        calls.clear()
        with pytest.raises(error):
            write([cell], [EVERY], name, copy)
        assert {path: path.read_bytes() for path in (copy / "config").rglob("*") if path.is_file()} == there


def test_a_second_call_writes_nothing_and_another_experiment_is_joined(copy):
    write([CELL], [EVERY], "tdr20", copy)
    text = (copy / FILE).read_text()
    assert not write([CELL], [EVERY], "tdr20", copy).written
    assert (copy / FILE).read_text() == text
    assert write([CELL.replace("4v9", "lt")], [EVERY], "tdr20", copy).written
    assert yaml.safe_load((copy / FILE).read_text())["methods"]["tdr20"]["joins"] == ["mnist-4v9", "mnist-lt"]
    assert "smoke/tdr/mnist-lt/rho0.1/tdr20" in load(copy).cells("smoke", "tdr")


def test_an_option_with_parts_keeps_its_other_parts(copy):
    config = load(copy)
    cell = next(
        one for one in config.cells("smoke", "absgd")
        if (config.resolve(f"{one}/seed0")["method_options"].get("loss") or {}).get("name") == "focal"
    )  # fmt: skip
    before = config.resolve(f"{cell}/seed0")["method_options"]["loss"]
    made = write([cell], ["options.loss.gamma=3.5"], "other_gamma", copy)
    assert load(copy).resolve(f"{made.runs[0]}/seed0")["method_options"]["loss"] == {**before, "gamma": 3.5}


@pytest.mark.parametrize(
    ("runs", "changes", "name", "says"),
    [
        ([CELL], ["options.outer_evry=3"], "new", "unknown key of options 'outer_evry'; did you mean 'outer_every'"),
        ([CELL], ["option.outer_every=3"], "new", "unknown block 'option'; did you mean 'options'"),
        ([CELL], ["options.outer_every=-3"], "new", "is -3 .valid: >= 1.*; nothing was written"),
        ([CELL], ["options.outer_every.x=3"], "new", "outer_every of tdr is 10, which has no parts"),
        ([CELL], ["options.outer_every"], "new", "write options.KEY=VALUE"),
        ([CELL], ["options.outer_every={"], "new", "write it as in the config"),
        ([CELL], [EVERY], "er", r"methods.yaml:\d+: tdr has a method er; choose another name"),
        ([CELL], [EVERY], "Bad", "'Bad' is no name of a method"),
        ([CELL, "smoke/tdr/mnist-4v9/rho0.1/er"], [EVERY], "new", "--as names one method"),
        (["smoke/tdr/mnist-4v9"], [EVERY], "new", "is not the name of a run or a cell"),
        ([CELL], ["training.epochs=3"], "new", "beside what was set.*another training.*nothing was written"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_the_config_as_it_was(runs, changes, name, says, copy):
    with pytest.raises(ConfigError, match=says):
        write(runs, changes, name, copy)
    assert not (copy / f"config/papers/tdr/methods/{name}.yaml").exists()
    load(copy)


def test_a_name_with_another_value_is_refused(copy):
    write([CELL], [EVERY], "tdr20", copy)
    text = (copy / FILE).read_text()
    with pytest.raises(ConfigError, match=r"tdr20\.yaml says something else of tdr20; choose another name"):
        write([CELL], ["options.outer_every=30"], "tdr20", copy)
    assert (copy / FILE).read_text() == text


@pytest.mark.parametrize("text", ["010", "1_0", "12:30", "no", "2026-11-30", "{a: 1, a: 2}", "[1"])
def test_a_value_that_can_be_read_in_two_ways_is_refused(text):
    with pytest.raises(ConfigError, match=r"^--set options.k=.*: .*; write it as in the config$") as refused:
        variant._value(f"options.k={text}", text)
    assert "\n" not in str(refused.value)
