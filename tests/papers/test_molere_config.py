"""MOLERE's config: where its published numbers and claims belong, and what the paper prints of training and sizes."""

from collections import Counter

import pytest
from support import synthetic_records
from support.config_files import replace

from reweigh.analysis.published import published as numbers_of
from reweigh.config.loading import load
from reweigh.config.sizes import training_sizes
from reweigh.data import imbalance
from reweigh.errors import ConfigError

OWN_BUDGET = ("mnist-", "cifar-ordering", "human-noise")  # sets of ours
TABLE2, TABLE3 = ["mwn", "fsr", "gdw", "lrwopt"], ["mwn", "fsr", "l2r", "maple", "gdw", "lrwopt"]
TABLE1 = ["lrw_easy", "lrw_hard", "lrw_random", "lrwopt", "mwn", "erm"]
TABLE5 = ["lrw_easy", "lrw_hard", "lrw_random", "lrwopt", "erm", "mbr", "rho", "fsr", "mwn", "maple", "bilaw"]
TABLE6 = ["lrw_hard", "lrw_easy", "lrw_random", "lrwopt", "maple", "stablenet", "rho", "fsr", "mwn", "mbr", "erm"]
PLACE = ("experiment", "setting_name", "method_name")
CELLS = {  # of each table: its experiments with their settings, and the methods of each cell
    "Table1": (["imagenet-vit/clean"], TABLE1),
    "Table2": ([f"cifar100-skew/skew{skew}" for skew in (200, 50, 10, 1)], TABLE2),
    "Table3": (["inst-cifar10/plain", "clothing1m/noisy"], TABLE3),
    "Table4": (
        [f"imagenet-{one}-val/{test}" for one in "ra" for test in ("clean", "ood")],
        ["lrw_ood", "erm", "erm_ood"],
    ),
    "Table5": (
        [f"{name}/clean" for name in ("cifar100", "aircraft", "cars", "imagenet-100", "imagenet", "pets", "dr")],
        TABLE5,
    ),
    "Table6": ([f"{name}/clean" for name in ("camelyon17", "iwildcam", "imagenet-a", "dr-ood")], TABLE6),
}


@pytest.fixture(scope="module")
def numbers(config):
    return numbers_of(config, "molere")


@pytest.fixture(scope="module")
def paper(config):
    return config.paper("molere")


def spec(config, cell):
    return config.resolve(f"paper/molere/{cell}/seed0")


# --- published numbers ---


def test_every_published_number_has_its_place(numbers):
    assert len(numbers) == 204 and not numbers["id"].duplicated().any()
    without = numbers[numbers["experiment"].isna()]
    assert set(without["table_or_figure"]) == {"SuppD1"} and len(without) == 2
    assert without["excluded"].notna().all() and numbers["excluded"].notna().sum() == 2


@pytest.mark.parametrize("table", CELLS)
def test_a_table_has_each_of_its_cells_once(numbers, table):
    rows = numbers[numbers["table_or_figure"] == table]
    cells, methods = CELLS[table]
    found = Counter(zip(rows["experiment"] + "/" + rows["setting_name"], rows["method_name"], strict=True))
    assert found == dict.fromkeys([(cell, method) for cell in cells for method in methods], 1)
    assert set(rows["metric"]) == {"test_accuracy"} and rows["against"].isna().all()


def test_numbers_that_compare_two_methods_say_which(numbers):
    rows = numbers[numbers["against"].notna()]
    assert Counter(rows["table_or_figure"]) == {"Table7": 12, "SuppE": 4, "text": 17}
    seven = rows[rows["table_or_figure"] == "Table7"]
    variants = ["lrw_hard_difficulty", "lrwopt_hardest", "lrw_hard_misclassified"]
    assert set(seven["method_name"]) == {"lrwopt"} and Counter(seven["against"]) == dict.fromkeys(variants, 4)
    assert seven.set_index("against").groupby(level=0)["experiment"].apply(set).map(len).eq(4).all()
    costs = numbers[numbers["table_or_figure"] == "SuppE"]
    assert costs[costs["against"].isna()]["metric"].tolist() == ["flops_ratio"] * 2  # no record has FLOPs
    accuracies = numbers[numbers["metric"] == "test_accuracy"]
    printed = dict(zip(zip(*(accuracies[key] for key in PLACE), strict=True), accuracies["mean"], strict=True))
    for _, row in rows[(rows["table_or_figure"] == "text") & (rows["metric"] == "acc_gain")].iterrows():
        cell = (row["experiment"], row["setting_name"])
        ours, other = (printed.get((*cell, name)) for name in (row["method_name"], row["against"]))
        assert (other is None) == (row["experiment"] == "clothing1m" and row["against"] == "erm")  # in no table
        assert other is None or ours - other == pytest.approx(row["mean"], abs=0.0012), row["id"]


def test_an_experiment_has_the_methods_of_its_numbers(paper, numbers):
    for _, row in numbers[numbers["experiment"].notna()].iterrows():
        methods = paper.experiments[row["experiment"]].with_extensions
        assert {row["method_name"], row["against"] or row["method_name"]} <= set(methods), row["id"]


def test_plain_training_is_what_gains_are_measured_from(paper):
    assert paper.published.baseline == "erm" and paper.methods["erm"].uses == "sgd"
    assert paper.published.stand_ins == {}


# --- what the paper prints ---


def printed_runs(paper):
    """A cell of each setting of each experiment with the paper's budget, with its first method that can be trained."""
    for name, experiment in paper.experiments.items():
        if not name.startswith(OWN_BUDGET):
            method = next(one for one in experiment.methods if one not in experiment.placeholders)
            yield from (f"{name}/{setting}/{method}" for setting in experiment.settings)


def test_training_is_that_of_d1(config, paper):
    cells = list(printed_runs(paper))
    assert len(cells) > 20
    for cell in cells:
        training = spec(config, cell)["training"]
        found = [training[key] for key in ("epochs", "batch_size", "learning_rate", "momentum")]
        assert found == [100, 64, 0.1, 0.9], cell
        schedule = training["schedule"]
        assert (schedule["name"], schedule["milestones"], schedule["factor"]) == ("step", [50], 0.1), cell
        assert not schedule["warmup_epochs"] and not training["nesterov"], cell


def test_dropout_is_that_of_d1(config, paper):
    for cell in printed_runs(paper):
        assert spec(config, cell)["model"]["options"]["dropout"] == 0.25, cell


def test_nets_are_those_of_d1(config, paper):
    def net(name):
        setting = next(iter(paper.experiments[name].settings))
        model = spec(config, f"{name}/{setting}/erm")["model"]
        return model["name"], model["options"].get("depth")

    assert net("cifar100")[0] == net("inst-cifar10")[0] == "wrn"
    large = ("imagenet", "dr", "dr-ood", "camelyon17", "iwildcam", "clothing1m", "imagenet-a", "imagenet-r-val")
    assert {net(name) for name in large} == {("torchvision_resnet", 50)}
    assert net("pets") == net("imagenet-a-val") == ("torchvision_resnet", 152)
    assert (net("imagenet-100")[0], net("imagenet-vit")[0]) == ("vgg16", "vit_b16")
    assert net("aircraft") == net("cars") == ("torchvision_resnet", 34)  # a ResNet-32 is for 32 pixels
    wide = spec(config, "cifar100/clean/erm")["model"]["options"]
    assert (wide["depth"], wide["width"]) == (28, 10)


def test_rates_and_intervals_are_those_of_d1(config):
    hard = spec(config, "cifar100/clean/lrw_hard")["method_options"]
    opt = spec(config, "cifar100/clean/lrwopt")["method_options"]
    for options in (hard, opt):
        assert (options["outer_every"], options["outer_batch_size"]) == (5, 64)
        network = options["network"]
        assert (network["rate"], network["momentum"], network["optimiser"], network["sees"]) == (0.001, 0.9, "sgd", "x")
    splitter = opt["splitter"]
    assert (splitter["rate"], splitter["momentum"], splitter["delta"], splitter["threshold"]) == (0.001, 0.9, 0.1, 0.5)
    assert opt["warm_epochs"] == 25 and hard["share"] == 0.1 and hard["margins"]["source"] == "once"


DIFFERENCES = {  # what a variant has otherwise than what it is a variant of
    ("lrw_easy", "lrw_hard"): {"validation"},
    ("lrw_random", "lrw_hard"): {"validation"},
    ("lrw_hard_difficulty", "lrw_hard"): {"difficulty"},
    ("lrw_hard_misclassified", "lrw_hard"): {"validation"},
    ("lrwopt_hardest", "lrwopt"): {"splitter"},
}


@pytest.mark.parametrize("pair", DIFFERENCES, ids="-".join)
def test_a_variant_differs_in_what_it_is_named_for(config, pair):
    one, other = (spec(config, f"cifar100/clean/{name}")["method_options"] for name in pair)
    assert {name for name in one if one[name] != other[name]} == DIFFERENCES[pair]


def test_only_the_threshold_makes_variant_2(config):
    one, other = (
        spec(config, f"cifar100/clean/{name}")["method_options"]["splitter"] for name in ("lrwopt", "lrwopt_hardest")
    )
    assert {name for name in one if one[name] != other[name]} <= {"threshold", "fill"} and other["threshold"] == 0.2


def test_the_variants_on_mnist_start_from_the_run_of_the_ordering(config):
    one, other = (spec(config, f"{name}/clean/lrwopt") for name in ("mnist-ordering", "mnist-choices"))
    assert {key for key in one if one[key] != other[key]} == {"experiment"}
    for name, experiment in config.paper("molere").experiments.items():
        for method in experiment.methods if name.startswith("mnist-") else ():
            options = spec(config, f"{name}/clean/{method}")["method_options"]
            if "warm_epochs" in options:  # a quarter of the epochs, and the rate falls after half of them
                epochs = one["training"]["epochs"]
                assert options["warm_epochs"] == epochs // 4, method
                assert options["joint_schedule"]["milestones"] == [epochs // 2 - epochs // 4], method


@pytest.mark.parametrize(
    ("cell", "skew", "pool"),
    [
        ("cifar100/clean", 1, 50000),
        ("cifar100-skew/skew200", 200, 9502),
        ("cifar100-skew/skew50", 50, 12608),
        ("cifar100-skew/skew10", 10, 19573),
        ("cifar100-skew/skew1", 1, 50000),
    ],
)
def test_sizes(config, cell, skew, pool):
    data = spec(config, f"{cell}/erm")["data"]
    whole = imbalance.long_tail_sizes(500, skew, 100, "exact") if skew > 1 else [500] * 100
    assert sum(whole) == pool
    assert training_sizes(data) == [size - -(-size // 10) for size in whole]  # a tenth of each class, rounded up
    assert data["split"]["validation_share"] == 0.1 and data["split"]["target_size"] == 0


@pytest.mark.parametrize(("name", "share", "images"), [("cars", 1000 / 8144, 1000), ("pets", 600 / 3680, 600)])
def test_validation_sets_that_d2_prints(config, name, share, images):
    found = spec(config, f"{name}/clean/lrw_hard")
    assert (
        found["data"]["split"]["validation_share"] == found["method_options"]["share"] == pytest.approx(share, abs=1e-4)
    )
    assert round(found["method_options"]["share"] * images / share) == images


# --- what is not run ---


def test_what_is_not_run_says_why(paper):
    waiting = {name: one for name, one in paper.experiments.items() if one.status == "not run"}
    assert len(waiting) == 14
    assert all(one.reason and len(one.reason) > 50 and not one.scales for one in waiting.values())
    assert {name for name, one in waiting.items() if one.absent} == {"imagenet-100", "imagenet-vit"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    absent: [model]\n    dataset: imagenet-100", "    dataset: imagenet-100", "unknown model 'vgg16'"),
        ("value: vgg16", "value: lenet", "absent names model, but model lenet is here; take it out"),
        ("absent: [model]\n    dataset", "absent: [model, dataset]\n    dataset", "absent names dataset, but data set"),
        ("absent: [model]\n    dataset", "status: ready\n    absent: [model]\n    dataset", "lacks its model (absent)"),
    ],
)
def test_what_is_absent_must_be(tmp_path, old, new, said):
    root = synthetic_records.project(tmp_path / "project")
    replace(root, old, new, "config/papers/molere")
    with pytest.raises(ConfigError) as refused:
        load(root)
    assert said in str(refused.value) and "config/papers/molere/experiments/large.yaml:" in str(refused.value)


# --- claims ---


def test_claims_about_what_the_tables_say_count_their_rows(paper):
    (order,) = [one for one in paper.claims if one.id == "easy-random-hard-in-print"]
    assert order.test == "not_by_runs" and order.in_print.order == ["LRW-Easy", "LRW-Random", "LRW-Hard"]
    ranks = [one for one in paper.claims if one.in_print and one.in_print.ranks]
    assert {one.in_print.against for one in ranks} == {"ERM"} and len(ranks) == 2


def test_the_order_of_the_paper_is_claimed_for_each_of_its_rows(paper, numbers):
    claimed = {
        one.experiment for one in paper.claims if one.id.startswith("easy-random-hard") and one.test == "ordered"
    }
    rows = numbers[(numbers["metric"] == "test_accuracy") & (numbers["method_name"] == "lrw_easy")]
    assert len(set(rows["experiment"])) == 12 and set(rows["experiment"]) <= claimed


def test_what_weights_add_is_measured_from_the_same_examples(paper):
    """Of lrw_hard, lrw_hard_adam and lrw_hard_oof it is measured from hard_removed, and hard_removed_oof.

    LRW-Random without hard examples removes two tenths, and has a control of its own.
    """
    found = [one for one in paper.claims if one.test == "gains_more"]
    assert len(found) >= 8
    for claim in found:
        for ours, plain in claim.pairs:
            if ours == "lrw_random_hard_removed":
                assert plain == "hard_and_random_removed"
                continue
            arm, *more = ours.removeprefix("lrw_").split("_")
            assert plain == "_".join([arm, "removed", *(one for one in more if one == "oof")])


def test_margins_are_those_that_are_declared(paper):
    accuracies = [one for one in paper.claims if one.metric == "test_accuracy" and one.trace is None]
    for claim in accuracies:
        if claim.test in ("greater", "grows"):
            assert claim.margin in ((0.01,) if claim.id.startswith("opt-gains-a-point") else (0.0, -0.003)), claim.id
        if claim.test == "within":
            assert claim.margin in (0.001, 0.003, 0.01), claim.id


def test_every_finding_that_a_claim_names_is_there(paper):
    known = {one.id for one in paper.findings}
    named = (
        "order-in-ten-of-twelve",
        "a-tie-is-no-lead",
        "who-comes-second",
        "who-comes-second-elsewhere",
        "cost-of-l2r",
    )
    assert set(named) <= known
    texts = [f"{one.source} {one.reason}" for one in paper.claims]
    assert all(any(name in text for text in texts) for name in named)
