"""ABSGD's config: its grid, where its published numbers belong, what its methods differ in."""

import json
import re
import shutil

import pytest
from support.config_files import replace
from support.project import ROOT

from reweigh.config.loading import load
from reweigh.errors import ConfigError

SETTINGS = ("lt-rho100", "lt-rho10", "st-rho100", "st-rho10")


@pytest.fixture(scope="module")
def numbers(published):
    return published("absgd")


def spec(config, run):
    return config.resolve(f"{run}/seed0")


# --- the grid ---


def test_the_grid_at_scale_paper(config):
    def count(*names):
        return sum(len(config.runs("paper", "absgd", name)) for name in names)

    assert count("cifar10", "cifar100") == 96 + 192  # Tables 1 and 2
    assert count("meta-cifar10", "meta-cifar100") == 36
    assert count("gamma-cifar10", "gamma-cifar100") == 36  # Figure 4, left
    assert count("noise-cifar10", "noise-cifar100") == 200  # Table 6
    # One run each in the paper; three here, as one decides none of its claims about them: 8 more than 564.
    assert (count("features"), count("weights")) == (2 * 3, 2 * 3)
    everything = config.runs("paper", "absgd")
    assert len(everything) == 564 + 8
    # Not among them: the stand-in for the data sets of Tables 3 to 5, which the paper does not have.
    assert count("two-stage") == 18
    assert not any("/two-stage/" in run for run in everything)


def test_the_ablations_at_scale_paper(extended):
    def count(name):
        return len(extended.runs("paper", "absgd", name))

    assert count("normalised-logits") == 36
    assert count("hidden-rate") + count("hidden-rate-noise") == 42  # all four variants and three rates on both
    assert count("tuning-cifar10-lt") == count("tuning-noise-cifar100-asym") == 18
    assert {f"{one}-{kind}" for one in ("tuning-cifar10", "tuning-cifar100") for kind in ("lt", "st")} <= set(
        extended.experiments("paper", "absgd")
    )


def test_every_run_of_every_scale_resolves(extended):
    for scale in ("smoke", "quick", "paper"):
        runs = extended.runs(scale, "absgd")
        assert runs
        for cell in dict.fromkeys(run.rpartition("/")[0] for run in runs):
            assert spec(extended, cell)["scale"] == scale


def test_every_artifact_can_be_drawn_at_quick(config):
    paper = config.paper("absgd")
    cells = {name: config.cells_of("quick", "absgd", name) for name in paper.artifacts}
    assert {name for name, found in cells.items() if not found} == {"fig1", "fig2", "table7"}
    runs = {run for found in cells.values() for cell in found for run in config.runs_of(cell)}
    assert len(runs | set(config.runs("quick", "absgd"))) <= 80  # about nine minutes of two cores
    for artifact in paper.artifacts.values():
        for reads in artifact.reads:
            if reads.methods and config.experiment("absgd", reads.experiment).status == "ready":
                assert config.cut("quick", "absgd", reads.experiment) or reads.experiment == "meta-cifar100"


def test_stages_exist_at_every_scale(extended):
    """Whatever a method puts off begins before the end; under imbalance with the first drop of the learning rate."""

    def epochs(tree):
        for key, value in tree.items():
            if isinstance(value, dict):
                yield from epochs(value)
            elif key in ("from_epoch", "refresh_from") and value is not None:
                yield value

    for scale in ("smoke", "quick", "paper"):
        for cell in extended.cells(scale, "absgd"):
            found = spec(extended, cell)
            training = found["training"]
            deferred = [epoch for epoch in epochs(found["method_options"]) if epoch]
            assert all(0 < epoch < training["epochs"] for epoch in deferred), cell
            assert len(set(deferred) - {81}) <= 1, cell
            if cell.split("/")[2] in ("cifar10", "cifar100") and deferred:
                early = scale == "paper" and cell.endswith("_code")  # the authors' rate drops an epoch before λ begins
                assert training["schedule"]["milestones"][0] == deferred[0] - early, cell


# --- published numbers ---


def test_every_published_number_is_mapped_or_excluded(config, numbers):
    assert len(numbers) == 207
    published = config.paper("absgd").published
    metrics, unmapped = set(), []
    for row in numbers:
        target = published.target(row)
        if target is None:
            unmapped.append(row)
            assert published.excluded_because(row), row
            continue
        experiment, setting, method, metric = target
        metrics.add(metric)
        one = config.experiment("absgd", experiment)
        config.run_name(f"paper/absgd/{experiment}/{setting}/{method}/seed0")
        assert method in one.methods, row
        assert one.status == "ready" or one.reason
    assert metrics == {"test_accuracy"}
    # META's own paper has no step imbalance; three methods of Table 4 and one of Table 5 are not here.
    assert len(unmapped) == 6 * 2 + 3 + 2
    assert {row["table_or_figure"] for row in unmapped if row["mean"] != "NA"} == {"Table4", "Table5"}


def test_no_two_published_numbers_belong_to_one_cell(config, numbers):
    published = config.paper("absgd").published
    targets = [target for row in numbers if (target := published.target(row))]
    assert len(set(targets)) == len(targets)


LT10, ST10 = "model=ResNet32;imb=LT;rho=10", "model=ResNet32;imb=ST;rho=10"
BELONGS = [
    ("Table1", "CIFAR100-ST", ST10, "SGD(Focal)", "cifar100/st-rho10/sgd_focal"),
    ("Table2", "CIFAR10-LT", LT10, "META(CB-LDAM)", "meta-cifar10/lt-rho10/meta_ldam"),
    ("Table2", "CIFAR10-LT", LT10, "SGD(CB-LDAM)", "cifar10/lt-rho10/sgd_cbldam"),
    ("Table6", "CIFAR10-noisy", "model=SCE-CNN;noise=asymmetric;rate=0.4", "SGD(CE)", "noise-cifar10/asym0.4/sgd_ce"),
    ("Table3", "ImageNet-LT", "anything", "ABSGD", "imagenet-lt/resnet50/absgd_head"),
    ("Table5", "iNaturalist2018", "model=ResNet152;stage2TV=FC", "LWS(CB-CE)", "inaturalist2018/resnet152/lws"),
    ("Table7", "Clothing1M", "model=ResNet50(ImageNet);loss=TCE", "EG(TCE)", "clothing1m/noisy/eg_tce"),
]


@pytest.mark.parametrize(("table", "dataset", "setting", "method", "cell"), BELONGS)
def test_where_a_number_belongs(config, table, dataset, setting, method, cell):
    row = {"table_or_figure": table, "dataset": dataset, "setting": setting, "method": method}
    found = config.paper("absgd").published.target({**row, "metric": "top1_test_accuracy_pct"})
    assert found == (*cell.split("/"), "test_accuracy")


LARGE = {"table3": "imagenet-lt", "table4": "places-lt", "table5": "inaturalist2018", "table7": "clothing1m"}


@pytest.mark.parametrize("table", LARGE)
def test_large_sets_are_declared_and_not_run(config, table):
    one = config.experiment("absgd", LARGE[table])
    assert one.status == "not run"
    assert f"data/raw/{LARGE[table]}/" in " ".join(one.reason.split())
    assert not any(f"/{LARGE[table]}/" in cell for cell in config.cells_of("paper", "absgd", table))


# --- values ---


def test_every_value_of_every_spec_has_a_source(extended):
    for cell in extended.cells("paper", "absgd"):
        run = f"{cell}/seed0"
        sources = extended.sources_of(run)
        found = extended.resolve(run)
        for block in ("training", "method_options"):
            for key, value in found[block].items():
                if value is None or value == {}:
                    continue
                known = [path for path in sources if path == f"{block}.{key}" or path.startswith(f"{block}.{key}.")]
                assert known or key == "nesterov", (run, key)  # off unless said


def test_a_value_of_one_method_at_one_setting(config):
    run = "paper/absgd/noise-cifar10/asym0.4"
    sgd, absgd, plain, code = (
        spec(config, f"{run}/{name}") for name in ("sgd_sce", "absgd_sce", "sgd_ce", "absgd_sce_code")
    )
    for one in (sgd, absgd):
        assert one["method_options"]["loss"] == {"name": "sce", "alpha": 6.0, "beta": 2.0}
        assert one["training"]["learning_rate"] == 0.001
    assert absgd["method_options"]["lambda_"] == -2.0
    assert (absgd["method_options"]["alpha"], absgd["method_options"]["uniform"]) == (1.0, False)
    assert plain["method_options"]["loss"] is None
    assert code["method_options"]["loss"]["normalise_logits"]
    assert (code["method_options"]["alpha"], code["method_options"]["uniform"]) == (0.5, True)
    assert spec(config, "paper/absgd/noise-cifar10/sym0.2/absgd_sce")["method_options"]["lambda_"] == -0.5
    sources = config.sources_of(f"{run}/absgd_sce_code/seed0")
    assert "script" in sources["method_options.lambda_"]
    assert "script" in sources["training.learning_rate"]


@pytest.mark.parametrize("setting", ["sym0.2", "sym0.4", "asym0.2", "asym0.4"])
@pytest.mark.parametrize("experiment", ["noise-cifar10", "noise-cifar100"])
def test_all_methods_on_sce_have_the_same_loss_rate_and_decay(config, experiment, setting):
    found = [spec(config, f"paper/absgd/{experiment}/{setting}/{name}") for name in ("sgd_sce", "eg_sce", "absgd_sce")]
    assert found[0]["training"] == found[1]["training"] == found[2]["training"]
    losses = [one["method_options"]["loss"] for one in found]
    assert losses[0] == losses[1] == losses[2]
    eg, absgd = (one["method_options"] for one in found[1:])
    assert (eg["lambda_"], eg["from_epoch"]) == (absgd["lambda_"], absgd["from_epoch"])


def test_the_nets_of_table_6(config):
    models = [
        spec(config, f"paper/absgd/noise-cifar100/{name}/sgd_ce")["model"]["options"] for name in ("sym0.4", "asym0.4")
    ]
    assert models == [{"depth": 18}, {"depth": 34}]
    cnn = spec(config, "paper/absgd/noise-cifar10/sym0.2/sgd_ce")
    assert cnn["model"] == {"name": "sce_cnn", "options": {}}
    assert cnn["training"]["layer_weight_decay"] == {"fc1": 0.01}
    assert "layer_weight_decay" not in spec(config, "paper/absgd/noise-cifar100/sym0.2/sgd_ce")["training"]


@pytest.mark.parametrize("experiment", ["cifar10", "cifar100"])
def test_absgd_differs_from_sgd_in_its_weights_alone(config, experiment):
    for loss in ("ce", "focal", "cbce", "cbfocal", "cbldam"):
        sgd, absgd = (spec(config, f"paper/absgd/{experiment}/lt-rho100/{one}_{loss}") for one in ("sgd", "absgd"))
        for part in ("data", "model", "training"):
            assert sgd[part] == absgd[part]
        assert sgd["method_options"]["loss"] == absgd["method_options"]["loss"]
        weights = [one["method_options"]["class_balance"] for one in (sgd, absgd)]
        assert (weights[0] is None) == (weights[1] is None)
        if weights[0]:
            assert weights[1] == {**weights[0], "normalisation": "none"}
        assert absgd["method_options"]["lambda_"] == {"cifar10": 5.0, "cifar100": 3.0}[experiment]
    cosine = {name for name in config.paper("absgd").methods if "ldam" in name}
    for name in config.experiment("absgd", experiment).with_extensions:
        options = spec(config, f"paper/absgd/{experiment}/lt-rho100/{name}")["model"]["options"]
        assert options == ({"head": "cosine"} if name in cosine else {})


def test_controls_have_the_rate_that_the_hidden_factors_make(config):
    """Σp of ABSGD is 1/alpha in the long run, and 1 more with the uniform term."""

    def size(options):
        return 1 / options["alpha"] + options["uniform"]

    for experiment, setting, loss in (("hidden-rate", "lt-rho100", "ce"), ("hidden-rate-noise", "sym0.4", "sce")):
        run = f"paper/absgd/{experiment}/{setting}"
        for suffix, control in (("alpha0.5", "rate2"), ("uniform", "rate2"), ("alpha0.5_uniform", "rate3")):
            absgd, sgd = (
                spec(config, f"{run}/{name}")["method_options"]
                for name in (f"absgd_{loss}_{suffix}", f"sgd_{loss}_{control}")
            )
            assert size(absgd) == sgd["rate_factor"]["factor"]
            assert absgd["from_epoch"] == sgd["rate_factor"]["from_epoch"]


@pytest.mark.parametrize("experiment", ["gamma-cifar10", "gamma-cifar100"])
def test_without_momentum_either_term_is_off_and_nothing_else_differs(extended, experiment):
    """§3.5: "without the momentum term, i.e. γ = 1"; or the β of eq. (2), at the same rate and at the same step."""
    cells = extended.cells("paper", "absgd", experiment)
    base = spec(extended, f"paper/absgd/{experiment}/lt-rho100/absgd_gamma0.5")
    for method, where, changed in (
        ("absgd_gamma1", "method_options", {"gamma": 1.0}),
        ("absgd_beta0", "training", {"momentum": 0.0}),
        ("absgd_beta0_rate10", "training", {"momentum": 0.0, "learning_rate": 1.0}),
    ):
        cell = f"paper/absgd/{experiment}/lt-rho100/{method}"
        assert cell in cells
        assert spec(extended, cell) == {**base, "method": method, where: {**base[where], **changed}}


def test_nothing_is_tuned_on_test_data(extended):
    rules = extended.paper("absgd").tuned
    assert {rule.experiment for rule in rules.values()} == {
        name for name in extended.paper("absgd").experiments if name.startswith("tuning-")
    }
    for rule in rules.values():
        for setting in extended.experiment("absgd", rule.experiment).settings:
            found = spec(extended, f"paper/absgd/{rule.experiment}/{setting}/{rule.method}")
            assert found["training"]["evaluate_on"] == "validation"
            assert found["data"]["split"]["validation_share"] == 0.1


def test_what_a_rule_takes_varies_over_its_grid_and_nothing_else_does(extended):
    for name, rule in extended.paper("absgd").tuned.items():
        run = f"paper/absgd/{rule.experiment}"
        specs = [
            spec(extended, f"{run}/{setting}/{rule.method}")
            for setting in extended.experiment("absgd", rule.experiment).settings
        ]
        same = [{part: one[part] for part in ("data", "model", "training")} for one in specs]
        assert all(one == same[0] for one in same), name
        flat = []
        for one in specs:
            options = one["method_options"]
            parts = {f"loss.{key}": value for key, value in (options["loss"] or {}).items()}
            flat.append({**options, **parts})
        varied = {key for key in flat[0] if key != "loss" and len({json.dumps(one[key]) for one in flat}) > 1}
        assert varied == set(rule.takes), name
        assert len({tuple(one[key] for key in rule.takes) for one in flat}) == len(specs), name


# --- the file ---


def test_what_is_said_elsewhere_is_in_words(config):
    paper = config.paper("absgd")
    assert len({claim.id for claim in paper.claims}) == len(paper.claims)
    assert len({finding.id for finding in paper.findings}) == len(paper.findings)
    for name, method in paper.methods.items():
        assert method.title, name
    titles = [method.title for method in paper.methods.values()]
    assert len(set(titles)) == len(titles)
    for name, one in paper.experiments.items():
        for extension in one.extensions:
            assert extension.why, name


ON_TEST_DATA = 'source: "ours: the authors choose on the test set" }'
SCE = 'alpha: 0.1, beta: 2.0, normalise_logits: false }, source: "script'
DEPTH = '{ depth: { value: 18, source: "ABSGD §5.1: ResNet-18 for symmetric noise; 34 in the script" } }'
REFUSED = {  # what: (old, new, what is said)
    "a method without a home": ("sgd_ce: { training: {", "sdg_ce: { training: {", "did you mean 'sgd_ce'?"),
    "a claim about a method that is not run": (
        "better: absgd_decay",
        "better: absgd_ce",
        "unknown method of features 'absgd_ce'",
    ),
    "a claim that compares nothing": ("    better: absgd_decay\n", "", "either better and worse, or pairs"),
    "a claim that explains by nothing": ("    by: sgd_ce_norm\n", "", "needs by"),
    "growth over more than two settings": ("    settings: [sym0.2, sym0.4]\n    better", "    better", "name two"),
    "a rule that looks at the test set": (
        f"evaluate_on: {{ value: validation, {ON_TEST_DATA}",
        "evaluate_on: { value: test, source: x }",
        "measures on the test set",
    ),
    "an exclusion of nothing": ("method: OLTR,", "method: OTLR,", "has no Table4 OTLR"),
    "a loss's option that is not there": (SCE, SCE.replace("alpha", "alhpa"), "did you mean 'alpha'?"),
    "a model's option that is forgotten": (
        f"options: {DEPTH}",
        "options: { width: { value: 1.0, source: x } }",
        "needs its option 'depth'",
    ),
    "a drawing's value without a source": (
        "lambda_: { value: 0.2, source: code }",
        "lambda_: 0.2",
        "artifacts.fig1.options.lambda_ has no source",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_in_one_line_that_helps(what, tmp_path):
    old, new, said = REFUSED[what]
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/published").symlink_to(ROOT / "data/published")
    replace(tmp_path, old, new, "config")
    with pytest.raises(ConfigError) as refused:
        load(tmp_path)
    assert said in str(refused.value)
    assert re.match(r"config/papers/absgd/[\w/-]+\.yaml:\d+: ", str(refused.value))
    assert "\n" not in str(refused.value)
