"""Specs from elsewhere: what trains takes those that the config makes, and no other; nothing is written outside."""

import copy
import json
import math
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.project import ROOT

from reweigh.config import loading as config
from reweigh.config import spec_schema
from reweigh.config.specs import Spec
from reweigh.errors import ConfigError
from reweigh.training import spec_check
from reweigh.training.__main__ import main

RUN = "smoke/tdr/mnist-4v9/rho0.1/tdr/seed0"
RUNS = (
    RUN,
    "paper/har/mnist-lambda/lambda100/uniform/seed0",
    "paper/compare/mnist-tuning/sym40-p3/ldam_drw/seed0",
)


def spec_of(run=RUN):
    return copy.deepcopy(config.resolve(run, root=ROOT))


def edited(spec, path, value):
    """A copy of a spec with another value at a path of keys; without the key if the value is ...."""
    spec = copy.deepcopy(spec)
    *above, last = path
    block = spec
    for key in above:
        block = block[key]
    if value is ...:
        del block[last]
    else:
        block[last] = value
    return spec


def test_the_schema_is_that_of_the_models():
    text = spec_check.SCHEMA.read_text(encoding="utf-8")
    assert text == spec_schema.text(), "python -m reweigh.config.spec_schema > src/reweigh/training/spec.schema.json"


def every_spec():
    """A spec of every experiment, method and scale: the first setting, and of each setting the first method."""
    loaded = config.load(ROOT)
    for paper, content in loaded.papers.items():
        for name, experiment in content.experiments.items():
            if experiment.status != "ready":
                continue
            for scale in (content.whole, *experiment.scales):
                whole = scale == content.whole
                some = list(experiment.settings) if whole else loaded.settings_of(scale, paper, name)
                methods = experiment.with_extensions if whole else loaded.methods_of(scale, paper, name)
                cells = [(some[0], method) for method in methods] + [(one, methods[0]) for one in some[1:]]
                for setting, method in cells:
                    yield loaded.resolve(f"{scale}/{paper}/{name}/{setting}/{method}/seed0")


def test_every_spec_that_the_config_makes_is_taken():
    specs = list(every_spec())
    for spec in specs:
        spec_check.check(json.loads(json.dumps(spec)), "here")
    assert len(specs) > 500


WRONG = {
    "a scale that is a path": (("scale",), "/tmp/x", "scale"),
    "a scale that climbs": (("scale",), "../..", "scale"),
    "a paper that climbs": (("paper",), "..", "paper"),
    "an experiment that climbs": (("experiment",), "../../../x", "experiment"),
    "a setting with a line end": (("setting",), "rho\n", "setting"),
    "a hidden method": (("method",), ".ssh", "method"),
    "a name that is a list": (("method",), ["tdr"], "method: must be a text"),
    "a seed in words": (("seed",), "x", "seed: must be a whole number"),
    "a seed that is true": (("seed",), True, "seed: must be a whole number"),
    "a seed below 0": (("seed",), -1, "seed: is -1"),
    "epochs below 0": (("training", "epochs"), -1, "training.epochs: is -1"),
    "no end of epochs": (("training", "epochs"), 10**12, "training.epochs: is 1000000000000"),
    "half an epoch": (("training", "epochs"), 0.5, "training.epochs: must be a whole number"),
    "more threads than there can be": (("training", "threads"), 10**9, "training.threads"),
    "an infinite rate": (("training", "learning_rate"), math.inf, "not JSON"),
    "no training": (("training",), ..., "'training' is missing"),
    "no options of the data set": (("data", "options"), ..., "'data.options' is missing"),
    "no kind of split": (("data", "split", "kind"), ..., "data.split: 'kind' is missing"),
    "an unknown kind of split": (("data", "split", "kind"), "two", "did you mean 'two-class'?"),
    "a fraction in words": (("data", "split", "imbalance_ratio"), "10/3", "must be a number"),
    "a misspelt key": (("training", "epoch"), 3, "did you mean 'epochs'?"),
    "a split that is a list": (("data", "split"), [], "must be a block of keys"),
    "a module of Python": (("uses",), "os.path", "unknown method 'os.path'"),
    "a private module": (("uses",), "__init__", "unknown method"),
    "no method but what several share": (("uses",), "splitter", "no method but what several share"),
    "a model that is a path": (("model", "name"), "../lenet", "model.name"),
    "an unknown model": (("model", "name"), "lenett", "did you mean 'lenet'?"),
    "a reader that reads nothing": (("data", "dataset"), "pickled", "unknown data set"),
    "an option that the model has not": (("model", "options"), {"depth": 3}, "unknown option of model lenet"),
    "an option that the method has not": (("method_options", "outer"), 3, "did you mean 'outer_every'?"),
    "an option out of its range": (("method_options", "outer_every"), 0, "outer_every"),
    "a loss without a name": (("method_options", "loss"), {}, "loss: must be a block with a name"),
    "a loss that is a path": (("method_options", "loss"), {"name": "../x"}, "unknown loss"),
    "options that are a list": (("method_options",), [], "must be a block of keys"),
    "options nested deeply": (("model", "options"), {"head": [[[[[[[[[[[[[0]]]]]]]]]]]]]}, "nested too deeply"),
    "an option that no float holds": (("method_options", "outer_every"), 10**40, "is too large"),
    "more in a batch than there are": (("training", "batch_size"), 10**6, "less than one batch"),
    "twice the same class": (("data", "split", "classes"), [4, 4], "must be two classes"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_spec_that_cannot_be_is_refused_in_a_line_and_nothing_is_written(what, tmp_path, monkeypatch, capsys):
    path, value, says = WRONG[what]
    place = tmp_path / "a" / "b" / "project"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    (place / "spec.json").write_text(json.dumps(edited(spec_of(), path, value)))
    before = sorted(tmp_path.rglob("*"))
    assert main(["spec.json"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("reweigh: spec.json: ") and says in line and line.isprintable()
    assert sorted(tmp_path.rglob("*")) == before


TEXTS = {
    "nested deeply": "[" * 100_000,
    "a key twice": '{"spec_version": 1, "spec_version": 1}',
    "NaN": '{"spec_version": NaN}',
    "a number of many digits": '{"spec_version": ' + "1" * 10_000 + "}",
    "true for 1": '{"spec_version": true}',
    "letters for a terminal": '{"spec_version": 1, "\\u001b[31m": 1}',
    "megabytes": " " * (spec_check.MOST_BYTES + 1),
    "a mark of UTF-8 and nothing": "\ufeff",
    "half a letter": '{"spec_version": 1, "\\ud800": 1}',
}


@pytest.mark.parametrize("what", TEXTS)
def test_a_file_that_is_no_spec_is_refused_in_a_line(what, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.json").write_text(TEXTS[what])
    assert main(["spec.json"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("reweigh: spec.json: ") and line.isprintable() and len(line) < 500


def test_every_wrong_spec_is_named_and_none_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "right.json").write_text(json.dumps(spec_of()))
    for name in "ab":
        (tmp_path / f"{name}.json").write_text("{}")
    assert main(["a.json", "right.json", "b.json"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(".json")[0] for line in said] == ["reweigh: a", "reweigh: b"]
    assert not (tmp_path / "results").exists()


def test_an_order_names_files_of_its_own_folder_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "order.txt").write_bytes(b"../../secret.json /etc/passwd \xff\xfe\n")
    assert main(["specs"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all("specs/" in line and "no such spec" in line for line in said)


def test_without_pydantic_it_is_the_same_but_for_the_options_of_methods():
    code = f"""
import json, sys
sys.modules["pydantic"] = None
from reweigh.errors import ConfigError
from reweigh.training import spec_check
for path, value in json.load(sys.stdin):
    spec = json.loads({json.dumps(json.dumps(spec_of()))})
    block = spec
    for key in path[:-1]:
        block = block[key]
    block.update({{path[-1]: value}}) if value != "..." else block.pop(path[-1])
    try:
        spec_check.check(spec, "here")
        print("taken")
    except ConfigError as error:
        print(error)
"""
    asked = [[path, "..." if value is ... else value] for path, value, says in WRONG.values() if says != "not JSON"]
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(asked), capture_output=True, text=True, cwd=ROOT
    )
    taken = [path for (path, _), line in zip(asked, done.stdout.splitlines(), strict=True) if line == "taken"]
    assert done.stderr == "" and taken == [("method_options", "outer"), ("method_options", "outer_every")]


VALUES = st.sampled_from(
    [
        *(None, True, False, 0, 1, -1, 2, 3, 50, 10**9, 10**9 + 1, 2**32, 10**30, 0.0, 0.5, 1.0, -0.5, 1e6, 1e31),
        *("", "x", "..", "all", "step", "constant", "first", "test", "validation", "up", "10/3", "a\n", "é"),
        *([], [0], [0, 1], [1, 1], [[0, 1]], ["train"], ["validation"], [0.5], {}, {"name": "step"}, {"a": 1}),
        *({"kind": "instance", "rate": 0.5}, {"kind": "symmetric", "rate": 0.5, "first": True}),
        *({"mean": [0.5], "std": [0.5]}, {"mean": [0.5], "std": [0.0]}, {"mean": [0.5], "std": []}),
        {"name": "step", "milestones": [1, 2], "factor": 0.1, "warmup_epochs": 0},
        {"name": "step", "milestones": [2, 1], "factor": 0.1, "warmup_epochs": 0},
    ]
)


def places(block, above=()):
    """Every path of keys in a spec, but for options, which are anybody's."""
    for key, value in block.items() if isinstance(block, dict) else ():
        if key != "spec_version":  # which is 1 to pydantic if it is 1.0
            yield (*above, key)
        if key not in ("options", "method_options"):
            yield from places(value, (*above, key))


MORE = [
    *(("training", name) for name in ("evaluate_on", "also_measure", "keep_margins", "keep_features", "layout", "x")),
    *(("data", "split", name) for name in ("noise", "validation_share", "fixed_seed", "rounding", "rare", "test_seed")),
    *(("training", "schedule", name) for name in ("warmup_by", "milestones", "factor")),
]


def agrees(spec):
    """Whether the models of the config take a spec, and it is what they would make of it, where true is not 1."""
    try:
        return same(Spec.model_validate(spec).model_dump(), spec)
    except ValidationError:
        return False


def same(one, other):
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other and isinstance(one, bool) == isinstance(other, bool)


@seed(1)
@settings(max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_trains_and_the_config_refuse_the_same_specs(data):
    spec = BASES[data.draw(st.integers(0, len(BASES) - 1))]
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from([*places(spec), *MORE]))
        try:
            spec = edited(spec, path, data.draw(st.just(...) | VALUES))
        except (LookupError, TypeError, AttributeError):  # what was above it has been replaced
            continue
    try:
        spec_check.check_shape(spec)
        taken = True
    except ConfigError:
        taken = False
    assert taken == agrees(spec), spec


BASES = [spec_of(run) for run in RUNS]
