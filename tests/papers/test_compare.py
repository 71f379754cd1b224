"""All methods on the same ground: sizes by hand, equal budgets, equal grids, nothing chosen on a test part."""

import math
from typing import Any

import pytest

from reweigh.analysis import tuning
from reweigh.config.grid import Config
from reweigh.config.sizes import training_sizes

DIGITS = ["lt100", "sym40", "crossed", "lt10", "step100", "step10", "hetero"]
PLACES = [*(("mnist", name) for name in DIGITS), ("adult", "sex"), ("waterbirds", "background")]
PHOTOGRAPHS = [(net, setting) for net in ("cifar-resnet8", "cifar-resnet32") for setting in ("lt100", "sym40")]
PLAIN = {"erm": 1, "erm_2x": 2, "erm_3x": 3, "erm_4x": 4}
CHOSEN = ["erm", "balanced", "focal", "la", "ldam_drw", "mixup", "group_dro", "tdr", "absgd", "absgd_noise",
          "autobalance", "lrwopt", "har"]  # fmt: skip
CONTROLS = ["erm_target", "erm_all"]
OF_PAPERS = {"tdr", "absgd", "absgd_noise", "autobalance", "lrwopt", "har"}


def spec(config: Config, experiment: str, setting: str, method: str = "erm", scale: str = "paper") -> dict[str, Any]:
    return config.resolve(f"{scale}/compare/{experiment}/{setting}/{method}/seed0")


def floor_root(largest: int, ratio: int, place: int) -> int:
    """⌊largest · ratio^(−place/9)⌋ in whole numbers."""
    return next(n for n in range(largest, -1, -1) if n**9 * ratio**place <= largest**9)


def trained(sizes: list[int]) -> list[int]:
    """What is left of each class where a tenth, rounded up, is held out."""
    return [size - math.ceil(size / 10) for size in sizes]


@pytest.mark.parametrize(
    ("setting", "sizes"),
    [
        ("lt10", [floor_root(730, 10, place) for place in range(10)]),
        ("lt100", [floor_root(1200, 100, place) for place in range(10)]),
        ("step10", [540] * 5 + [54] * 5),
        ("step100", [600] * 5 + [6] * 5),
        ("sym40", [300] * 10),
        ("hetero", [300] * 10),
        ("crossed", [47, 470, 47, 470, 47, 470, 470, 470, 470, 47]),
    ],
)
def test_sizes_of_digits(config: Config, setting: str, sizes: list[int]) -> None:
    assert 2900 <= sum(sizes) <= 3100  # one pool of images a setting, of one size
    assert training_sizes(spec(config, "mnist", setting)["data"]) == trained(sizes)
    noise = spec(config, "mnist", setting)["data"]["split"].get("noise")
    assert bool(noise) == (setting in ("sym40", "hetero", "crossed"))
    assert not noise or noise["rate"] == 0.4


@pytest.mark.parametrize(("experiment", "setting"), [*PLACES, *PHOTOGRAPHS])
def test_every_method_of_a_setting_has_the_same_data_net_and_epochs(
    config: Config, experiment: str, setting: str
) -> None:
    methods = config.methods_of("paper", "compare", experiment)
    assert set(methods) == {*CHOSEN, *PLAIN, *CONTROLS}
    plain = spec(config, experiment, setting)
    for method in methods:
        one, times = spec(config, experiment, setting, method), PLAIN.get(method, 1)
        assert one["data"] == plain["data"]
        head = {"head": "cosine"} if method == "ldam_drw" else {}  # its margins are meant for one
        assert one["model"] == {**plain["model"], "options": {**plain["model"]["options"], **head}}
        ours, theirs = dict(one["training"]), dict(plain["training"])
        schedules = [of.pop("schedule") for of in (ours, theirs)]
        assert ours.pop("epochs") == times * theirs.pop("epochs")
        assert schedules[0]["milestones"] == [times * epoch for epoch in schedules[1]["milestones"]]
        assert schedules[0]["factor"] == schedules[1]["factor"] == 0.1
        for of in (ours, theirs):
            of.pop("learning_rate")  # which is chosen
        assert ours == theirs
    assert plain["data"]["split"]["test"] == "all" and not plain["data"]["options"].get("official_validation")
    assert config.seeds("paper", "compare", experiment) == list(range(10))


@pytest.mark.parametrize(("experiment", "setting"), [*PLACES, *PHOTOGRAPHS])
def test_every_method_has_four_points_and_none_is_measured_on_a_test_part(
    config: Config, experiment: str, setting: str
) -> None:
    name = f"{experiment}-tuning"
    points = [f"{setting}-p{number}" for number in (1, 2, 3, 4)]
    assert config.methods_of("paper", "compare", name) == CHOSEN and config.seeds("paper", "compare", name) == [0, 1]
    for method in CHOSEN:
        specs = [spec(config, name, point, method) for point in points]
        rates = [one["training"]["learning_rate"] for one in specs]
        options = [repr(one["method_options"]) for one in specs]
        assert len(set(zip(rates, options, strict=True))) == 4
        if method == "erm":
            assert len(set(rates)) == 4
        else:
            assert (rates[0], rates[2]) == (rates[1], rates[3]) and rates[0] > rates[2]
            assert (options[0], options[1]) == (options[2], options[3])
        for one in specs:
            assert one["data"]["options"]["official_validation"] is True
            split, final = dict(one["data"]["split"]), dict(spec(config, experiment, setting)["data"]["split"])
            for of in (split, final):
                for key in ("test", "test_size", "test_seed"):
                    of.pop(key, None)
            assert split == final  # what is chosen is chosen on the same training part


def test_each_method_is_chosen_for_by_one_rule_at_each_setting(config: Config) -> None:
    rules, users = config.paper("compare").tuned, list[tuple[str, str, str]]()
    places = [*PLACES, *PHOTOGRAPHS]
    assert len(rules) == len(places) * len(CHOSEN)
    for rule in rules.values():
        of = rule.experiment.removesuffix("-tuning")
        assert rule.metric == ("worst_class_group_error" if of in ("adult", "waterbirds") else "balanced_accuracy")
        assert rule.over is not None and [name[-3:] for name in rule.over] == ["-p1", "-p2", "-p3", "-p4"]
        setting = rule.over[0].removesuffix("-p1")
        for use in rule.used_by:
            assert use.experiment == of and (use.settings or [setting]) == [setting]
            users += [(of, setting, method) for method in use.methods]
    assert len(users) == len(set(users)) == len(places) * (len(CHOSEN) + len(PLAIN) - 1 + len(CONTROLS))


def test_a_rule_takes_all_that_its_points_vary(config: Config) -> None:
    for name, rule in config.paper("compare").tuned.items():
        bare = []
        for point in rule.over or ():
            one = spec(config, rule.experiment, point, rule.method)
            options = {"training": one["training"], **one["method_options"]}
            for path in rule.takes:
                tuning.option_of(options, path)  # it is there
                *parents, last = path.split(".")
                block = options
                for parent in parents:
                    block = block[parent]
                block[last] = None
            bare.append(options)
        assert all(one == bare[0] for one in bare), name


def test_claims_speak_of_own_ground_as_the_figure_does(config: Config) -> None:
    own = config.artifact("compare", "fig4").options["own"]
    assert set(own) == OF_PAPERS
    claims = {claim.id: claim for claim in config.paper("compare").claims}
    at_equal_epochs = [claim for name, claim in claims.items() if name.endswith("-at-equal-epochs")]
    for method, grounds in own.items():
        for experiment, settings in grounds.items():
            mine = [one for one in at_equal_epochs if (one.better, one.experiment) == (method, experiment)]
            assert [sorted(one.settings or ()) for one in mine] == [sorted(settings)], (method, experiment)
    elsewhere = [claim for name, claim in claims.items() if name.endswith("-elsewhere")]
    assert {claim.better for claim in elsewhere} == OF_PAPERS
    for claim in elsewhere:
        assert not set(claim.settings or ()) & set(own[claim.better].get("mnist", ()))
    for name, claim in claims.items():
        if name.endswith("-at-equal-compute"):
            times = PLAIN[claim.worse[0]]
            bounds = [one for one in claims.values() if one.test == "costs_at_most" and one.better == claim.better]
            assert [one.margin for one in bounds] == [times] and f" {times} times " in claim.text


def test_scale_quick_is_small(config: Config) -> None:
    runs = config.runs("quick", "compare")
    assert len(runs) == 4 * 11 * 3 and set(config.experiments("quick", "compare")) == {"mnist", "adult", "waterbirds"}
    assert spec(config, "waterbirds", "background", scale="quick")["data"]["dataset"] == "waterbirds-small"
