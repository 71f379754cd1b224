"""Splits in the config: what is refused before anything is read, what a spec says of them, how many examples it has."""

import json

import pytest
from support import needs
from support.config_files import replace
from support.needs import MIRROR_FOLDER
from support.project import ROOT

from reweigh.config.inputs import IMAGES
from reweigh.config.known_sizes import ASYMMETRIC, INSTANCE, TRAINING_ROWS
from reweigh.config.loading import load
from reweigh.config.sizes import check, training_size
from reweigh.data import load as readers
from reweigh.data.noise import KINDS, KNOWN
from reweigh.data.split import draw
from reweigh.errors import ConfigError

LONG_TAIL = 'kind: { value: long-tail, source: "paper §4.1.1" }'
TWO_CLASS = 'kind: { value: two-class, source: "paper §4.1.1" }'
NOISE = "{ value: { kind: symmetric, rate: 0.2 }, source: x }"


def with_keys(kind, *keys):
    return "\n      ".join((kind, *keys))


REFUSED = {
    "rate of 1": (LONG_TAIL, f"noise: {NOISE.replace('0.2', '1.0')}", "noise.rate: must be less than 1, is 1.0"),
    "negative rate": (LONG_TAIL, f"noise: {NOISE.replace('0.2', '-0.1')}", "greater than or equal to 0, is -0.1"),
    "unknown noise": (LONG_TAIL, f"noise: {NOISE.replace('symmetric', 'symetric')}", "'symmetric', 'asymmetric'"),
    "noise without rate": (LONG_TAIL, "noise: { value: { kind: symmetric }, source: x }", "noise.rate' is missing"),
    "noise without source": (LONG_TAIL, "noise: { kind: symmetric, rate: 0.2 }", "has no source"),
    "no map": (
        LONG_TAIL,
        f"noise: {NOISE.replace('symmetric', 'asymmetric')}",
        "noise kind asymmetric is not defined for mnist; use symmetric",
    ),
    "map on two classes": (
        TWO_CLASS,
        f"noise: {NOISE.replace('symmetric', 'asymmetric-ported')}",
        "noise kind asymmetric-ported is not defined for two classes of mnist; use symmetric",
    ),
    "noise of images in a tail": (
        LONG_TAIL,
        f"noise: {NOISE.replace('symmetric', 'instance')}",
        "is drawn for the whole training part, and kind long-tail keeps a part of it; use kind all",
    ),
    "share of 1": (LONG_TAIL, "validation_share: { value: 1.0, source: x }", "validation_share: must be less than 1"),
    "misspelt share": (LONG_TAIL, "valdation_share: { value: 0.1, source: x }", "did you mean 'validation_share'?"),
    "two validation parts": (
        LONG_TAIL,
        "validation_share: { value: 0.1, source: x }\n      validation_size: { value: 10, source: x }",
        "use one of them",
    ),
    "legacy two-class": (
        TWO_CLASS,
        "order: { value: legacy, source: x }",
        "order legacy does not go with kind two-class",
    ),
    "unknown rounding": (LONG_TAIL, "rounding: { value: up, source: x }", "'exact'"),
    "tail and share": (
        LONG_TAIL,
        "validation_share: { value: 0.1, source: x }\n      validation_largest_class: { value: 10, source: x }",
        "use one of them",
    ),
    "inside of nothing": (LONG_TAIL, "validation_inside: { value: true, source: x }", "needs validation_largest_class"),
    "rounding of nothing": (LONG_TAIL, "validation_rounding: { value: up, source: x }", "leave it out"),
    "tail of a pair": (
        TWO_CLASS,
        "validation_largest_class: { value: 9, source: x }",
        "validation_largest_class",
    ),
    "noise without groups": (
        LONG_TAIL,
        f"noise: {NOISE.replace('symmetric', 'heteroskedastic')}",
        "noise: noise of kind heteroskedastic needs groups, lists of classes taken for one another",
    ),
    "groups of other noise": (
        LONG_TAIL,
        f"noise: {NOISE.replace('rate', 'groups: [[4, 9]], rate')}",
        "noise groups go with kind heteroskedastic only, not symmetric; leave them out",
    ),
    "a group of nobody": (
        LONG_TAIL,
        f"noise: {NOISE.replace('symmetric', 'heteroskedastic, groups: [[4, 10]]')}",
        "noise groups [[4, 10]]: no class 10; known: 0 to 9",
    ),
    "noise first and a target": (
        LONG_TAIL,
        f"noise: {NOISE.replace('rate', 'first: true, rate')}",
        "leaves no clean examples for a target set; set target_size to 0",
    ),
    "noise first of a pair": (
        TWO_CLASS,
        f"noise: {NOISE.replace('rate', 'first: true, rate')}",
        "noise that comes first does not go with kind two-class; leave 'first' out",
    ),
    "rare in a tail": (LONG_TAIL, "rare: { value: [1], source: x }", "unknown key"),
    "seed too large": (LONG_TAIL, "fixed_seed: { value: 4294967296, source: x }", "less than 4294967296"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_in_one_line_that_helps(tdr_project, what):
    old, keys, said = REFUSED[what]
    replace(tdr_project, old, with_keys(old, keys))
    with pytest.raises(ConfigError) as refused:
        load(tdr_project)
    assert said in str(refused.value)
    assert "config/papers/tdr/experiments/mnist.yaml:" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("rare", "said"),
    [("[10]", "rare [10]: no class 10; known: 0 to 9"), ("[1, 1]", "name at least one class, and each once")],
)
def test_rare_classes_that_cannot_be_are_refused(tdr_project, rare, said):
    step = LONG_TAIL.replace("long-tail", "step")
    replace(tdr_project, LONG_TAIL, with_keys(step, f"rare: {{ value: {rare}, source: x }}"))
    with pytest.raises(ConfigError) as refused:
        load(tdr_project)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_an_impossible_step_is_refused(tdr_project):
    replace(tdr_project, LONG_TAIL, LONG_TAIL.replace("long-tail", "step"))
    # Of 60 images in each class of the majority, a ratio of 200 leaves none in the minority (scale smoke).
    smoke = "seeds: 1\n        settings: [rho0.1, rho0.02]"
    replace(tdr_project, smoke, smoke.replace("rho0.02", "rho0.005"))
    with pytest.raises(
        ConfigError, match=r"mnist-lt, rho0.005, scale smoke: .* leaves no example of class 9; lower it"
    ):
        load(tdr_project)
    replace(tdr_project, "split: { largest_class: 60,", "split: { largest_class: 6000,")
    with pytest.raises(ConfigError, match="class 0 needs 6005 images"):
        load(tdr_project)


def test_new_keys_stand_in_a_spec_only_if_given(tdr_project):
    run = "paper/tdr/mnist-lt/rho0.1/tdr/seed3"
    before = load(tdr_project).resolve(run)
    newer = {"noise", "fixed_seed", "validation_share", "rounding", "validation_rounding"}
    newer |= {"validation_largest_class", "validation_inside"}
    assert not newer & set(before["data"]["split"])
    keys = (f"noise: {NOISE}", "fixed_seed: { value: 0, source: x }", "validation_share: { value: 0.1, source: x }")
    replace(tdr_project, LONG_TAIL, with_keys(LONG_TAIL, *keys, "rounding: { value: exact, source: x }"))
    config = load(tdr_project)
    after = config.resolve(run)
    added = {"noise": {"kind": "symmetric", "rate": 0.2}, "fixed_seed": 0, "validation_share": 0.1, "rounding": "exact"}
    assert after["data"]["split"] == before["data"]["split"] | added
    assert config.sources_of(run)["data.split.noise.rate"] == "x"
    # A layer above takes a key back with null.
    replace(tdr_project, "rho0.1: { value: 0.1, split: { imbalance_ratio: 10 } }",
           "rho0.1: { value: 0.1, split: { imbalance_ratio: 10, noise: null, fixed_seed: null } }",
           "config/papers/tdr/experiments/mnist.yaml")  # fmt: skip
    settings = load(tdr_project).resolve(run)["data"]["split"]
    assert settings == before["data"]["split"] | {"validation_share": 0.1, "rounding": "exact"}


def test_a_step_and_everything_resolve(tdr_project):
    replace(tdr_project, LONG_TAIL, LONG_TAIL.replace("long-tail", "step"))
    split = load(tdr_project).resolve("paper/tdr/mnist-lt/rho0.1/tdr/seed0")["data"]["split"]
    assert (split["kind"], split["largest_class"], split["imbalance_ratio"]) == ("step", 5000, 10.0)


def data_of(dataset, **split):
    base = {"kind": "all", "target_size": 0, "target_inside": False, "validation_size": 0, "order": "random"}
    return {"dataset": dataset, "options": {}, "split": base | {"test": "all", "test_size": None} | split}


@pytest.mark.parametrize(
    "split",
    [
        {},
        {"target_size": 20, "validation_size": 40},
        {"validation_share": 0.1},
        {"kind": "step", "largest_class": 40, "imbalance_ratio": 10.0, "validation_share": 0.25},
        {"kind": "long-tail", "largest_class": 100, "imbalance_ratio": 10.0, "target_size": 20, "target_inside": True},
        {"kind": "long-tail", "largest_class": 100, "imbalance_ratio": 10.0, "rounding": "exact"},
        {"kind": "long-tail", "largest_class": 60, "imbalance_ratio": 10.0, "rounding": "ceil"},
        {"kind": "long-tail", "largest_class": 60, "imbalance_ratio": 10.0, "rounding": "round"},
        {"kind": "two-class", "classes": [3, 1], "total": 60, "imbalance_ratio": 2.0, "validation_share": 0.1},
    ],
)
@pytest.mark.parametrize("dataset", ["cifar10-slice-large", "cifar100-slice"])
def test_planned_sizes_are_those_that_are_drawn(raw_root, dataset, split):
    data = data_of(dataset, **split)
    drawn = draw(readers.read(dataset, {}, raw_root), data["split"], 0)
    assert training_size(data) == len(drawn.train)


def test_the_config_of_absgd_asks_for_the_sizes_of_its_sheet():
    config = load(ROOT)
    totals = {
        "cifar10": {"lt-rho100": 12406, "lt-rho10": 20431, "st-rho100": 25250, "st-rho10": 27500},
        "cifar100": {"lt-rho100": 10847, "lt-rho10": 19573, "st-rho100": 25250, "st-rho10": 27500},
        "meta-cifar10": {"lt-rho100": 12380, "lt-rho10": 20391},
        "meta-cifar100": {"lt-rho100": 10626, "lt-rho10": 19183},
    }
    for experiment, settings in totals.items():
        for setting, total in settings.items():
            method = config.experiment("absgd", experiment).methods[0]
            spec = config.resolve(f"paper/absgd/{experiment}/{setting}/{method}/seed0")
            assert training_size(spec["data"]) == total, (experiment, setting)


def test_data_sets_without_known_classes_are_planned_whole():
    assert training_size(data_of("imagenet-lt")) == 115846
    assert training_size(data_of("places-lt", validation_share=0.1)) == 56250
    assert training_size(data_of("adult", kind="groups", target_size=50)) == 30112
    assert training_size(data_of("somebody-s")) == 1


def test_asymmetric_noise_is_allowed_where_it_is_defined(raw_root):
    for dataset in ("mnist", "cifar10-slice", "cifar10-slice-large", "cifar100-slice"):
        raw = readers.read(dataset, {}, raw_root)
        for kind in set(KINDS) - {"symmetric", "agnostic"}:
            split = data_of(dataset, noise={"kind": kind, "rate": 0.2})["split"]
            if kind in ASYMMETRIC.get(dataset, ()):
                draw(raw, split, 0)
            else:
                with pytest.raises(ConfigError, match="use symmetric"):
                    draw(raw, split, 0)


INSTANCE_NOISE = {"kind": "instance", "rate": 0.3}


@pytest.mark.parametrize(
    ("dataset", "split", "says"),
    [
        ("cifar10", {}, None),
        ("mnist", {"validation_share": 0.1}, None),
        ("cifar10", {"target_size": 10, "target_inside": True}, None),
        ("cifar10", {"target_size": 10}, "and target_size takes examples out of it"),
        ("cifar10", {"validation_size": 10}, "and validation_size takes examples out of it; use validation_share"),
        ("cifar10", {"kind": "step", "largest_class": 50, "imbalance_ratio": 1.0}, "and kind step keeps a part of it"),
        ("cifar10", {"noise": {"kind": "instance", "rate": 0.0}}, "leave noise out"),
        ("clothing1m", {}, "noise kind instance is not defined for clothing1m; use symmetric"),
        ("cifar10n", {}, "noise kind instance is not defined for cifar10n; use symmetric"),
        ("adult", {"kind": "groups"}, "noise does not go with kind groups"),
    ],
)
def test_noise_that_looks_at_images_takes_all_of_them_by_the_config_too(dataset, split, says):
    data = data_of(dataset, **({"noise": INSTANCE_NOISE} | split))
    if says is None:
        check(data, "here")
        return
    with pytest.raises(ConfigError) as refused:
        check(data, "here")
    assert str(refused.value).startswith("here: ") and says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_data_sets_whose_images_noise_can_look_at_have_images_in_memory():
    assert set(INSTANCE) <= set(IMAGES)


@needs.MIRROR
def test_rows_of_the_lists_are_counted(tmp_path):
    assert len((MIRROR_FOLDER / "lists" / "Places_LT_train.txt").read_text().splitlines()) == TRAINING_ROWS["places-lt"]


def test_kinds_of_noise_are_the_same_everywhere():
    schema = json.loads((ROOT / "config/schema.json").read_text())
    kinds = json.dumps(schema["$defs"]["Noise"])
    assert all(f'"{kind}"' in kinds for kind in KNOWN)
