"""What has no effect is refused before any job: what begins after the end, what changes no run. And placeholders."""

import json
import re
import shutil

import pytest
from support.config_files import replace
from support.project import ROOT

from reweigh.analysis.tables import why_not
from reweigh.config import effects
from reweigh.config.cards import card_of
from reweigh.config.loading import load
from reweigh.config.priorities import entries
from reweigh.errors import ConfigError
from reweigh.planning.plan import make
from reweigh.planning.spec_files import placeholders
from reweigh.planning.why import show

NOISE, LARGE = "config/papers/absgd/experiments/noise.yaml", "config/papers/absgd/experiments/large.yaml"
TCE = "sgd_tce: { training: { weight_decay: 0.005 } } }"


@pytest.fixture
def absgd_project(project):
    """A copy of the config with the published numbers' file, ABSGD alone."""
    for paper in ("tdr", "autobalance"):
        shutil.rmtree(project / "config/papers" / paper)
    replace(project, "papers: [tdr, absgd, autobalance, molere, har, compare]", "papers: [absgd]", "config/config.yaml")
    return project


def refusal(root):
    with pytest.raises(ConfigError) as refused:
        load(root)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- what changes no run ---------------------------------------------------------------------------------------------

# What by_method says -> what it says instead, which no run shows.
IDLE = {
    "what the run has anyway": (TCE, TCE.replace("0.005", "1.0e-4"), NOISE),
    "of a method that is not in the experiment": (TCE, TCE.replace("sgd_tce", "sgd_focal"), NOISE),
    "nothing": (TCE, "sgd_tce: {} }", NOISE),
    "what the setting says after it": (
        "        absgd_ce: { options: { lambda_: -5.0, gamma: 0.5, from_epoch: 5 } }\n",
        "        absgd_ce: { options: { lambda_: -5.0, gamma: 0.5, from_epoch: 5 } }\n"
        "        sgd_ce: { training: { epochs: 10 } }\n",
        LARGE,
    ),
}


@pytest.mark.parametrize("what", IDLE)
def test_what_by_method_says_must_change_a_run(absgd_project, what):
    old, new, file = IDLE[what]
    replace(absgd_project, old, new, file)
    said = refusal(absgd_project)
    assert re.match(rf"{file}:\d+: experiments\.[\w-]+\.\S*by_method\.\w+ changes no run: ", said)


def test_what_several_experiments_share_need_change_a_run_of_one_alone(config):
    """`lambda-on-cifar100` speaks of methods that gamma-cifar100 has not, and of others that cifar100 has not."""
    shared = config.experiment("absgd", "gamma-cifar100").by_method
    assert set(shared) > {"absgd_focal", "absgd_gamma0.1"}
    assert "absgd_focal" not in config.experiment("absgd", "gamma-cifar100").with_extensions
    effects.check_patches(config, "absgd")


# --- what would begin after the end ----------------------------------------------------------------------------------

FIVE = "absgd_ce: { options: { lambda_: -5.0, gamma: 0.5, from_epoch: 5"
PRUNED = "sgd_tce: { options: { loss: { refresh_from: 5 } }"
HEAD_CB = "value: { beta: 0.9999, from_epoch: 0, normalisation: none }"
LATE = {
    "class weights": ("from_epoch: { value: 72,", "from_epoch: { value: 90,", "class_balance.from_epoch is 90, but"),
    "λ": (FIVE, f"{FIVE[:-1]}10", "from_epoch is 10, but there are 10"),
    "pruning": (PRUNED, PRUNED.replace("5", "81"), "set loss.refresh_from to null"),
    "a drop of a second stage": (
        "milestones: [10],",
        "milestones: [10, 90],",
        "second_stage.schedule has a milestone at epoch 90",
    ),
    "class weights of a second stage, whatever stage one has": (
        HEAD_CB,
        HEAD_CB.replace("from_epoch: 0", "from_epoch: 30"),
        "class_balance.from_epoch is 30, but there are 30",
    ),
}


@pytest.mark.parametrize("what", LATE)
def test_what_begins_after_the_end_is_refused_in_experiments_that_are_not_run_too(absgd_project, what):
    old, new, said = LATE[what]
    replace(absgd_project, old, new, LARGE)
    assert said in refusal(absgd_project)


def test_a_run_may_leave_out_on_purpose_what_would_come_late(config):
    spec = config.resolve("quick/absgd/noise-cifar10/sym0.4/sgd_tce/seed0")
    assert spec["method_options"]["loss"]["refresh_from"] is None
    effects.check_ends(spec, "here")
    spec["method_options"]["loss"]["refresh_from"] = spec["training"]["epochs"]
    with pytest.raises(ConfigError, match=r"^here: loss.refresh_from is 6, .* set loss.refresh_from to null"):
        effects.check_ends(spec, "here")


def test_meta_never_goes_on_after_the_end(config):
    spec = config.resolve("paper/absgd/meta-cifar10/lt-rho100/meta_ce/seed0")
    effects.check_ends(spec, "here")
    late = {**spec, "method_options": {**spec["method_options"], "from_epoch": 200}}
    with pytest.raises(ConfigError, match=r"^here: from_epoch is 200, .* lower it$"):
        effects.check_ends(late, "here")
    with pytest.raises(ConfigError, match="meta_milestones has a milestone at epoch 180"):
        effects.check_ends({**spec, "training": {**spec["training"], "epochs": 180}}, "here")


@pytest.mark.parametrize(
    ("method", "epochs", "said"),
    [
        ("lrwopt", 5, "warm_epochs is 5, but there are 5 epochs, so that nothing comes after them; lower it"),
        ("lrwopt", 10, "joint_schedule has a milestone at epoch 5, but there are 5 epochs"),
        ("lrw_hard_early", 4, "margins.epochs is 5, but ERM is trained for 4; lower it"),
    ],
)
def test_first_epochs_leave_some_to_come(config, method, epochs, said):
    spec = config.resolve(f"paper/molere/mnist-ordering/clean/{method}/seed0")
    effects.check_ends(spec, "here")
    with pytest.raises(ConfigError, match=f"^here: {said}"):
        effects.check_ends({**spec, "training": {**spec["training"], "epochs": epochs}}, "here")


def test_every_method_stands_in_an_experiment(config):
    """A method that no experiment has would be said to be here, and never run."""
    for paper in config.project.papers:
        named = set().union(*(one.with_extensions for one in config.papers[paper].experiments.values()))
        assert set(config.papers[paper].methods) == named, paper


@pytest.mark.parametrize(
    ("method", "said"),
    [("meta_ce", "learns from a target set, but target_size is 0"), ("tau_norm", "needs examples held out")],
)
def test_a_method_without_its_part_is_refused_in_an_experiment_that_is_not_run(absgd_project, method, said):
    path = absgd_project / LARGE
    path.write_text(path.read_text().replace("{ like: joint-and-on-validation-lists }", "{ joint: not as printed }"))
    replace(
        absgd_project, "sgd_cbce, joint, ncm, crt, tau_norm, meta_ce, absgd_head", f"sgd_cbce, joint, {method}", LARGE
    )
    assert said in refusal(absgd_project)


# --- placeholders ----------------------------------------------------------------------------------------------------

CELL = "paper/absgd/imagenet-lt/resnet50/meta_ce"


def test_a_placeholder_is_no_cell_and_refuses_to_run(config):
    assert "meta_ce" in config.experiment("absgd", "imagenet-lt").methods
    assert CELL not in config.cells("paper", "absgd", "imagenet-lt")
    assert config.cells("paper", "absgd", "imagenet-lt")
    for name in (CELL, f"{CELL}/seed0"):
        with pytest.raises(ConfigError, match=f"^{CELL} is a placeholder, which nothing trains: META needs a balanced"):
            config.runs_named(name)


def test_plan_and_scorecard_say_why_a_placeholder_is_one(config, capsys):
    planned = make(["paper/absgd/imagenet-lt/resnet50"], "paper")
    assert not [run for run in planned if run.run.startswith(CELL)]
    lines = placeholders(config, planned)
    assert len(lines) == 3
    assert "paper/absgd/imagenet-lt: meta_ce is a placeholder, which nothing trains: META needs" in "\n".join(lines)
    assert why_not(config, "paper", "absgd", "imagenet-lt", "resnet50", "meta_ce").startswith(
        "a placeholder, not the paper's method: META needs a balanced set"
    )
    show([f"{CELL}/seed0"], config.root)
    assert "a placeholder, which nothing trains: META needs a balanced set" in capsys.readouterr().out
    assert "licence" in why_not(config, "paper", "absgd", "imagenet-lt", "resnet50", "ncm")


def test_in_an_experiment_that_is_run_a_placeholder_is_not_trained_either(absgd_project):
    replace(
        absgd_project,
        "    methods: [absgd_decay, absgd_fixed]\n",
        "    methods: [absgd_decay, absgd_fixed]\n    placeholders: { absgd_fixed: for a reason }\n",
        "config/papers/absgd/experiments",
    )
    config = load(absgd_project)
    for scale in ("smoke", "quick", "paper"):
        assert [cell.rpartition("/")[2] for cell in config.cells(scale, "absgd", "features")] == ["absgd_decay"]
        assert f"{scale}/absgd/features/lt-rho100/absgd_fixed" not in config.cells_of(scale, "absgd", "fig3")
    (absgd_project / "config/priorities.yaml").write_text(
        "priorities: [{ paper: absgd, cells: [features/lt-rho100/absgd_fixed], why: a test }]\n"
    )
    with pytest.raises(ConfigError, match="absgd_fixed is a placeholder, which nothing trains: for a reason"):
        entries(config)


@pytest.mark.parametrize(
    ("said", "message"),
    [("{ tau_nrom: a reason }", "did you mean 'tau_norm'"), ("{ tau_norm: ' ' }", "has no reason")],
)
def test_a_placeholder_is_a_method_of_the_experiment_with_a_reason(absgd_project, said, message):
    replace(absgd_project, "placeholders: { like: joint-and-on-validation-lists }", f"placeholders: {said}", LARGE)
    assert message in refusal(absgd_project)


# --- a search and a retraining of different lengths -------------------------------------------------------------------

SEARCH = {"from_epoch": 24, "search_epochs": 60, "upper_milestones": [44, 52], "search_schedule": None}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),  # though there are only 40 epochs of retraining
        ({"upper_milestones": [44, 60]}, "upper_milestones has a milestone at epoch 60, but there are 60 epochs"),
        ({"search_schedule": {"name": "step", "milestones": [52]}}, None),
        ({"search_schedule": {"name": "step", "milestones": [60]}}, "search_schedule has a milestone at epoch 60"),
        ({"search_schedule": {"name": "constant"}}, None),
    ],
)
def test_what_a_search_puts_off_begins_in_the_search(changes, says):
    options = {**card_of("autobalance").examples[0], **SEARCH, **changes}
    spec = {"uses": "autobalance", "method_options": options, "training": {"epochs": 40}}
    if says is None:
        effects.check_ends(spec, "here")
        return
    with pytest.raises(ConfigError, match=f"here: {says}"):
        effects.check_ends(spec, "here")


# --- settings --------------------------------------------------------------------------------------------------------

SAME = {
    ("paper", "tdr", "mnist-4v9-ablation", "t_in10", "target50"),  # the point at which two grids meet
    # second-hand numbers on another test set, which the reader does not have; not run
    ("paper", "har", "webvision", "webvision", "imagenet"),
    ("paper", "har", "webvision", "mini", "mini-imagenet"),
}


def test_no_two_settings_train_the_same_runs():
    """A smaller scale may take away what tells them apart; so may a setting that came along with a parent."""
    config, found = load(ROOT), set()
    for paper, content in config.papers.items():
        for name, experiment in content.experiments.items():
            for scale in ("paper", *experiment.scales):
                settings = config.settings_of(scale, paper, name)
                methods = config.methods_of(scale, paper, name) if scale != "paper" else experiment.methods
                for method in methods[:3]:
                    known = {}
                    for setting in settings:
                        spec = config.resolve(f"{scale}/{paper}/{name}/{setting}/{method}/seed0")
                        first = known.setdefault(json.dumps({**spec, "setting": ""}, sort_keys=True), setting)
                        if first != setting:
                            found.add((scale, paper, name, first, setting))
    assert found <= SAME
