"""HAR's config: sizes and schedules of the authors' code, what arms differ in, claims, what is not run."""

import pytest
from support import synthetic_records
from support.config_files import replace
from support.har_records import bodies
from support.project import ROOT

from reweigh.analysis import tuning
from reweigh.analysis.published import published as numbers_of
from reweigh.cells import CELLS, cells
from reweigh.config.known_sizes import GIVEN_SIZES
from reweigh.config.loading import load
from reweigh.config.sizes import training_sizes
from reweigh.errors import ConfigError
from reweigh.planning.once import prefix_part
from reweigh.records import record
from reweigh.scorecard import score

CODE = ("cifar10-hetero", "cifar10-step", "cifar100-hetero", "stage-one", "agnostic", "human-noise")  # its training
PAIRS, BLOCKS = [[1, 9], [3, 5]], [[8, 13, 48, 58, 90], [41, 69, 81, 85, 89]]


@pytest.fixture(scope="module")
def paper(config):
    return config.paper("har")


def spec(config, cell, scale="paper"):
    return config.resolve(f"{scale}/har/{cell}/seed0")


# --- data ---


@pytest.mark.parametrize("setting", ["varied", "released"])
def test_the_released_imbalance_has_32000_images(config, setting):
    sizes = training_sizes(spec(config, f"cifar10-step/{setting}/har")["data"])
    assert sizes == [5000, 500, 5000, 500, 5000, 500, 5000, 5000, 5000, 500] and sum(sizes) == 32000


def test_the_readme_trains_on_all_images(config):
    for setting in ("varied", "released"):
        split = spec(config, f"cifar10-hetero/{setting}/har")["data"]["split"]
        assert split["kind"] == "all" and not split.get("validation_share") and split["order"] == "legacy"
        assert split["noise"].get("seed") == (0 if setting == "released" else None)


@pytest.mark.parametrize(
    ("name", "groups"), [("cifar10-hetero", PAIRS), ("cifar10-step", PAIRS), ("cifar100-hetero", BLOCKS)]
)
def test_noise_is_that_of_the_code(config, name, groups):
    noise = spec(config, f"{name}/released/har")["data"]["split"]["noise"]
    assert noise == {"kind": "heteroskedastic", "rate": 0.4, "groups": groups, "seed": 0, "first": True}


@pytest.mark.parametrize(
    ("name", "pairs", "sizes"), [("cifar10-crossed", PAIRS, (475, 4750)), ("mnist-hetero", [[4, 9], [3, 5]], (54, 540))]
)
def test_the_crossed_design_has_every_cell_and_no_pair_of_one_rare_class(config, name, pairs, sizes):
    """Were one class of a pair rare, nearly all of its examples would carry the label of the other."""
    data = spec(config, f"{name}/crossed/har")["data"]
    found = cells(data["split"], 10)
    assert set(found) == set(CELLS) and [len(found[cell]) for cell in CELLS] == [2, 2, 2, 4]
    for pair in pairs:
        assert len(set(pair) & set(data["split"]["rare"])) in (0, 2)
    drawn = training_sizes(data)
    assert {drawn[label] for label in data["split"]["rare"]} == {sizes[0]}
    assert {drawn[label] for label in range(10) if label not in data["split"]["rare"]} == {sizes[1]}


def test_the_confounded_design_has_two_cells(config):
    for cell in ("mnist-hetero/confounded/har", "cifar10-step/varied/har"):
        assert set(cells(spec(config, cell)["data"]["split"], 10)) == {"noisy_rare", "clean_common"}


def test_the_shares_of_wrong_labels_that_co_teaching_is_told_are_those_of_the_design(config):
    for setting in ("crossed", "confounded", "balanced"):
        found = spec(config, f"mnist-hetero/{setting}/co_teaching")
        split = found["data"]["split"]
        large, small = split["largest_class"], split["largest_class"] / split["imbalance_ratio"]
        rare = split.get("rare") or []
        sizes = [small if label in rare else large for label in range(10)]
        wrong = 0.4 * sum(sizes[label] for group in split["noise"]["groups"] for label in group)
        assert found["method_options"]["noise_rate"] == pytest.approx(wrong / sum(sizes))
    assert spec(config, "cifar10-hetero/varied/co_teaching")["method_options"]["noise_rate"] == 0.16
    sizes = training_sizes(spec(config, "cifar10-step/varied/co_teaching")["data"])
    told = spec(config, "cifar10-step/varied/co_teaching")["method_options"]["noise_rate"]
    assert told == pytest.approx(0.4 * sum(sizes[label] for pair in PAIRS for label in pair) / sum(sizes))
    assert spec(config, "cifar10-hetero/varied/co_teaching_pairs")["method_options"]["noise_rate"] == 0.4


def test_the_quick_labels_that_people_gave_are_all_of_the_slice(config):
    sizes = training_sizes(spec(config, "human-noise/all/har", "quick")["data"])
    assert sizes == GIVEN_SIZES["cifar10n-slice"]["worse"]
    assert f"{sum(sizes):,} of 50,000 images" in config.cut("quick", "har", "human-noise")


# --- training and methods ---


@pytest.mark.parametrize("name", CODE)
def test_training_is_that_of_the_code(config, paper, name):
    setting, method = next(iter(paper.experiments[name].settings)), "har"
    found = spec(config, f"{name}/{setting}/{method}")
    training = found["training"]
    known = [
        training[key] for key in ("epochs", "batch_size", "learning_rate", "momentum", "weight_decay", "drop_last")
    ]
    assert known == [120, 128, 0.1, 0.9, 1e-4, False] and not training["nesterov"]
    schedule = training["schedule"]
    assert (schedule["milestones"], schedule["factor"], schedule["warmup_epochs"]) == ([80, 100], 0.1, 0)
    assert found["model"] == {"name": "resnet32", "options": {"shortcut": "A"}}
    assert found["data"]["augment"] == "crop-flip"


def test_har_has_the_values_of_the_code(config):
    options = spec(config, "cifar10-hetero/released/har")["method_options"]
    assert (options["noise_exponent"], options["density_exponent"], options["lambda_"]) == (0.6, 0.4, 10.0)
    assert options["layers"] == ["blocks.*.norm1", "blocks.*.norm2"]
    assert (options["half"], options["errors_after"], options["floor"]) == (0, None, None)
    assert (options["aggregate"], options["route"], options["strengths"]) == ("sum", "double-backward", "by-class")


DIFFERENCES = {  # what an arm has otherwise than HAR
    "density_only": {"noise_exponent", "half"},
    "noise_only": {"density_exponent"},
    "uniform_mean": {"strengths"},
    "har_floor": {"floor"},
    "har_rss": {"aggregate"},
    "har_difference": {"route", "epsilon"},
    "har_other_half": {"half"},
    "har_halves": {"half"},
    "har_at50": {"errors_after"},
    "har_drw": {"class_balance"},
}


@pytest.mark.parametrize("arm", DIFFERENCES)
def test_an_arm_differs_in_what_it_is_named_for(config, arm):
    one, other = (spec(config, f"mnist-hetero/crossed/{name}")["method_options"] for name in (arm, "har"))
    changed = {name for name in one if one[name] != other[name]} - {"lambda_"}  # each has the λ of its own grid
    assert changed == DIFFERENCES[arm]
    if arm not in ("density_only", "noise_only"):
        assert one["lambda_"] == other["lambda_"]


def test_arms_of_har_share_the_estimate(config):
    def prefix(cell):
        return prefix_part(spec(config, cell))  # of data, net, schedule and options

    own = prefix("mnist-hetero/crossed/har")
    assert own and own != prefix("mnist-hetero/confounded/har")
    for arm in ("noise_only", "uniform_mean", "har_floor", "har_rss", "har_difference", "har_at50", "har_drw"):
        assert prefix(f"mnist-hetero/crossed/{arm}") == own, arm
    assert prefix("mnist-hetero/crossed/har_other_half") != own
    assert prefix("mnist-lambda/lambda100/har") == own and prefix("mnist-hetero/crossed/density_only") is None


OWN = {  # of each baseline, from the sheet's table: options, and what it replaces of the training block
    "mixup": ({"alpha": 1.0}, {}),
    "co_teaching": (
        {"rises_over": 10, "optimiser": {"name": "adam", "decay_from": 80, "late_beta1": 0.1}},
        {"epochs": 200, "learning_rate": 0.001},
    ),
    "incv": (
        {"iterations": 4, "search_epochs": 50, "search_rate": 0.001, "warm_up": 80},
        {"epochs": 200, "learning_rate": 0.001},
    ),
    "mentornet": ({"percentile": 0.75, "decay": 0.95, "burn_in": 0.2}, {}),
    "crust": ({"warm_epochs": 5, "share": 0.5, "radius": 2.0, "alpha": 1.0, "beta": 0.1}, {"weight_decay": 5e-4}),
    "ldam": ({"loss": {"name": "ldam", "max_margin": 0.5, "scale": 30.0}}, {}),
    "ldam_drw": ({"class_balance": {"beta": 0.9999, "from_epoch": 80}}, {}),
    "drw": ({"class_balance": {"beta": 0.9999, "from_epoch": 80}}, {}),
    "reweight": ({"class_balance": {"beta": 0.9999, "from_epoch": 0}}, {}),
}
SHARED = {"epochs": 120, "learning_rate": 0.1, "weight_decay": 1e-4}


@pytest.mark.parametrize("name", OWN)
def test_a_baseline_has_its_own_settings(config, name):
    found = spec(config, f"cifar10-step/varied/{name}")
    options, training = OWN[name]
    assert {key: found["method_options"][key] for key in options} == options
    known = {key: found["training"][key] for key in SHARED}
    plain = ("co_teaching", "incv")  # Adam without decay
    assert known == SHARED | ({"weight_decay": 0.0} if name in plain else {}) | training


def test_second_stages_drop_their_rate_where_the_run_does(config):
    for cell, warm in (("cifar10-step/varied", 5), ("mnist-hetero/crossed", 5)):
        found = spec(config, f"{cell}/crust")
        drops = found["method_options"]["second_schedule"]["milestones"]
        assert [warm + one for one in drops] == found["training"]["schedule"]["milestones"]


@pytest.mark.parametrize("name", ["co_teaching", "incv"])
def test_on_digits_they_have_a_quarter_of_their_epochs(config, name):
    digits, photographs = (spec(config, f"{place}/{name}") for place in ("mnist-hetero/crossed", "cifar10-step/varied"))
    assert 4 * digits["training"]["epochs"] == photographs["training"]["epochs"]


def test_longer_training_has_the_same_shape(config):
    for cell in ("mnist-hetero/crossed", "cifar10-hetero/varied", "cifar10-step/varied", "cifar100-hetero/varied"):
        plain = spec(config, f"{cell}/erm")["training"]
        for times in (2, 3):
            longer = spec(config, f"{cell}/erm_{times}x")["training"]
            assert longer["epochs"] == times * plain["epochs"]
            assert longer["schedule"]["milestones"] == [times * one for one in plain["schedule"]["milestones"]]


# --- λ ---


def test_the_grids_of_lambda_train_on_what_its_users_train_on(config):
    one, other = spec(config, "mnist-lambda/lambda100/har"), spec(config, "mnist-hetero/crossed/har")
    assert one["data"] == other["data"] and one["training"] == other["training"]
    for cell in ("cifar10-lambda", "cifar10-step-lambda", "cifar100-lambda"):
        assert spec(config, f"{cell}/lambda10/har")["data"]["split"]["validation_share"] == 0.1


def test_lambda_is_the_one_that_held_out_noisy_labels_choose(config):
    choices = {choice.rule: choice for choice in tuning.choices(config, "har")}
    for choice in choices.values():
        assert choice.metric == "validation_balanced_accuracy"
        assert not choice.taken or choice.followed, f"{choice.rule}: chosen {choice.taken}, in use {choice.in_use}"
    assert all(choices[f"lambda-{name}"].taken for name in ("har", "uniform", "density", "noise"))  # on digits
    strengths = {name: choices[f"lambda-{name}"].in_use["lambda_"][0] for name in ("har", "uniform", "noise")}
    text = " ".join((ROOT / "docs/found.md").read_text().split())
    assert f"It chooses {strengths['uniform']:g} for uniform strength" in text
    assert f"HAR at {strengths['har']:g} " in text and f"at their λ, {strengths['noise']:g}, they have" in text


def runs_without(method, setting, part):
    """Runs of an arm on digits in which `part` of the classes is never predicted right."""
    recalls = [body["metrics"]["per_class_accuracy"] for body in bodies(ROOT, f"mnist-hetero/{setting}/{method}")]
    return sum(recall.count(0) >= part for recall in recalls), len(recalls)


def test_the_page_counts_the_runs_that_lose_classes():
    text = " ".join((ROOT / "docs/found.md").read_text().split())
    lost, runs = runs_without("co_teaching", "crossed", 1)
    assert f"In {lost} of {runs} runs of co-teaching and in all of MentorNet-PD" in text
    assert runs_without("mentornet", "crossed", 1) == (10, 10)
    assert runs_without("uniform", "balanced", 9) == (1, 10) and "with one run of ten that ends in one class" in text
    for setting, arms in (("crossed", ("erm", "har", "uniform")), ("confounded", ("erm", "har", "uniform"))):
        assert all(runs_without(arm, setting, 1)[0] == 0 for arm in arms)


def test_a_rule_must_choose_by_what_is_held_out(tmp_path):
    root = synthetic_records.project(tmp_path / "project")
    old = "    method: har\n    metric: validation_balanced_accuracy"
    replace(root, old, "    method: har\n    metric: balanced_accuracy", "config/papers/har/tuning.yaml")
    with pytest.raises(ConfigError, match=r"measures on the test set; set training\.evaluate_on: validation, or"):
        load(root)


def test_the_held_out_examples_choose_though_runs_are_tested(tmp_path):
    root = synthetic_records.project(tmp_path / "project")
    settings = load(root).settings_of("paper", "har", "mnist-lambda-parts")
    for place, setting in enumerate(settings):
        held_out = {"validation": {"balanced_accuracy": 0.6 - place / 100}}
        for run in load(root).runs_of(f"paper/har/mnist-lambda-parts/{setting}/noise_only"):
            body = synthetic_records.make(root, run, test_accuracy=0.5 + place / 10)
            record.write(record.record_path(run, root), {**body, "also_measured": held_out})
    assert tuning.choose(load(root), "har", "lambda-noise").setting == settings[0]


# --- claims and numbers ---


def test_claims_on_the_same_question_have_the_same_margin(paper):
    within = {one.margin for one in paper.claims if one.test == "within"}
    assert within == {0.005}
    hurt = [one for one in paper.claims if one.id.startswith("others-not-hurt")]
    assert {one.margin for one in hurt} == {-0.005} and len(hurt) == 4


def test_each_claim_of_the_abstract_is_asked_where_rare_and_noisy_are_apart(paper):
    ids, names = {one.id for one in paper.claims}, (
        "noisy-rare-beats-erm", "noisy-rare-beats-uniform", "others-as-erm-test", "others-as-erm-training",
        "others-not-hurt", "har-beats-uniform", "har-beats-mean", "har-beats-longer", "har-beats-density-only",
        "har-beats-noise-only", "strength-follows-noise-among-common", "strength-follows-rarity-among-clean",
    )  # fmt: skip
    assert {f"{name}-{place}" for name in names for place in ("mnist", "cifar10-crossed")} <= ids


ASKED = {  # of each claim on digits: its test, metric or cells, rivals and margin
    "noisy-rare-beats-erm": ("greater", "accuracy_noisy_rare", ["erm"], 0.0),
    "noisy-rare-beats-uniform": ("greater", "accuracy_noisy_rare", ["uniform"], 0.0),
    "noisy-common-beats-erm": ("greater", "accuracy_noisy_common", ["erm"], 0.0),
    "clean-rare-beats-erm": ("greater", "accuracy_clean_rare", ["erm"], 0.0),
    "others-as-erm-test": ("within", "accuracy_clean_common", ["erm"], 0.005),
    "others-as-erm-training": ("within", "train_clean_accuracy_clean_common", ["erm"], 0.005),
    "others-not-hurt": ("greater", "accuracy_clean_common", ["erm"], -0.005),
    "har-beats-uniform": ("greater", "balanced_accuracy", ["uniform"], 0.0),
    "har-beats-mean": ("greater", "balanced_accuracy", ["uniform_mean"], 0.0),
    "har-beats-longer": ("greater", "balanced_accuracy", ["erm_3x"], 0.0),
    "har-beats-density-only": ("greater", "balanced_accuracy", ["density_only"], 0.0),
    "har-beats-noise-only": ("greater", "balanced_accuracy", ["noise_only"], 0.0),
    "strength-follows-noise-among-common": ("cell_above", ["noisy_common", "clean_common"], [], 0.0),
    "strength-follows-rarity-among-clean": ("cell_above", ["clean_rare", "clean_common"], [], 0.0),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_claim_asks_what_its_text_says(paper, name):
    (claim,) = [one for one in paper.claims if one.id == f"{name}-mnist"]
    asked = claim.cells if claim.test == "cell_above" else claim.metric
    assert (claim.test, asked, claim.worse, claim.margin) == ASKED[name]
    assert (claim.better, claim.experiment, claim.settings) == ("har", "mnist-hetero", ["crossed"])


def test_the_six_second_hand_numbers_are_not_run_and_say_so(config):
    rows = numbers_of(config, "har")
    assert len(rows) == 6 and set(rows["experiment"]) == {"webvision"}
    lines = score(config, "paper")
    mine = lines[(lines["paper"] == "har") & (lines["kind"] == "number")]
    assert len(mine) == 6 and set(mine["verdict"]) == {"not run"}
    assert mine["note"].str.contains("second-hand").all()


def test_what_is_not_run_says_why(paper):
    waiting = {name: one for name, one in paper.experiments.items() if one.status == "not run"}
    assert set(waiting) == {"imdb", "webvision"}
    assert all(one.reason and one.absent for one in waiting.values())
    assert "second-hand" in waiting["webvision"].reason


def test_every_experiment_of_the_sheet_is_there(paper):
    """H1 to H8; H9 is computed."""
    expected = {"cifar10-hetero", "cifar10-step", "cifar10-crossed", "cifar100-hetero", "stage-one", "agnostic", "imdb",
                "webvision", "human-noise", "human-noise-100", "mnist-hetero"}  # fmt: skip
    assert expected <= set(paper.experiments) and "toy" in paper.artifacts
