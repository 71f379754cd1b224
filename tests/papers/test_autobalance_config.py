"""AutoBalance's config: its grid, where its published numbers belong, sizes, and what paper and code have otherwise."""

import pytest
from support import synthetic_records
from support.project import ROOT

from reweigh.config.cards import PlannedStage
from reweigh.config.loading import load
from reweigh.config.sizes import stage_sizes, training_sizes
from reweigh.errors import ConfigError

BOTH = PlannedStage(1, part="train+validation")


@pytest.fixture(scope="module")
def numbers(published):
    return published("autobalance")


def spec(config, cell):
    return config.resolve(f"paper/autobalance/{cell}/seed0")


def options(config, cell):
    return spec(config, cell)["method_options"]


# --- the grid ---


def test_the_grid_at_scale_paper(config, extended):
    def count(name, of=config):
        return len(of.runs("paper", "autobalance", name))

    assert count("cifar10-lt") == count("cifar100-lt") == 12 * 3  # nine rows of Table 1, three more of Table 2
    assert count("waterbirds") == 4 * 7 * 10  # heads and features, rows of Table 3, seeds
    assert count("waterbirds-trade-off") == 11 * 4 * 5
    assert count("cifar10-lt-axes", extended) == 3 * 2 * 2 * 2 * 3
    assert count("mnist-lt-tau", extended) == 7 * 5
    assert count("cifar10-lt-tau", extended) == count("cifar100-lt-tau", extended) == 7 * 3
    assert count("waterbirds-tuning-dro", extended) == 3 * 2 * 5
    assert count("waterbirds-trade-off", extended) == 11 * (4 + 5 + 1) * 5  # offsets, and the step that turns no sign
    assert not any("/mnist-lt" in run for run in config.runs("paper", "autobalance"))  # not in the paper


def test_every_published_number_has_its_place(config, numbers):
    published = config.paper("autobalance").published
    assert len(numbers) == 72
    targets = [published.target(row) for row in numbers]
    assert None not in targets
    # A row of Table 1 stands in Table 2 again, on three sets; the range of the run time has one run and three metrics.
    assert len(set(targets)) == 72 - 3
    by_experiment = {name: sum(target[0] == name for target in targets) for name in {target[0] for target in targets}}
    assert by_experiment == {
        "cifar10-lt": 9 + 4 + 3,
        "cifar100-lt": 9 + 4,
        "imagenet-lt": 9 + 4,
        "inaturalist": 9,
        "waterbirds": 21,
    }


def test_the_stand_in_features_cannot_be_held_against_table_3(config):
    published = config.paper("autobalance").published
    for edition in ("efficientnet-lite0", "efficientnet-lite0-256"):
        assert "ResNet-18" in published.not_comparable([edition])
    assert published.not_comparable(["official"]) is None


# --- data ---


@pytest.mark.parametrize(
    ("cell", "kept", "whole"),
    [
        ("cifar10-lt/rho100/delta_l", [4000, 2398, 1438, 862, 517, 310, 186, 112, 67, 41], 9931 + 2487),
        ("cifar100-lt/rho100/delta_l", 8719, 8719 + 2180),
        ("mnist-lt/rho100/delta_l", 10763, 13449),
        ("waterbirds/linear/autobalance", 2398, 4795),
    ],
)
def test_sizes(config, cell, kept, whole):
    data = spec(config, cell)["data"]
    sizes = training_sizes(data)
    assert sum(stage_sizes(data, BOTH)) == whole
    assert sizes == kept if isinstance(kept, list) else sum(sizes) == kept


def test_s_t_is_the_same_for_every_size_of_s_v(config):
    for name, settings in (
        ("cifar10-lt-validation", ("val100", "val500", "val1000")),
        ("mnist-lt-validation", ("val108", "val542", "val1084")),
    ):
        (method,) = config.experiment("autobalance", name).methods
        data = [spec(config, f"{name}/{setting}/{method}")["data"] for setting in settings]
        assert len({tuple(training_sizes(one)) for one in data}) == 1
        held_out = [sum(stage_sizes(one, BOTH)) - sum(training_sizes(one)) for one in data]
        assert held_out == sorted(set(held_out))
    largest, whole = (
        spec(config, cell) for cell in ("cifar10-lt-validation/val1000/delta_l", "cifar10-lt/rho100/delta_l")
    )
    assert (largest["data"], largest["method_options"]) == (whole["data"], whole["method_options"])


# --- methods ---


def test_delta_and_l_have_what_the_paper_prints(config):
    found, training = (
        options(config, "cifar10-lt/rho100/delta_l"),
        spec(config, "cifar10-lt/rho100/delta_l")["training"],
    )
    assert (found["upper_learning_rate"], found["coast"], found["weights"], found["expand"]) == (
        0.05,
        False,
        "inverse",
        "piecewise",
    )
    assert (found["search_epochs"], found["from_epoch"], training["epochs"]) == (300, 120, 300)
    assert training["schedule"]["milestones"] == found["upper_milestones"] == [220, 260]
    assert (found["outer_every"], found["batches"], found["terms"], found["neumann_step"]) == (
        20,
        10,
        5,
        1.0,
    )  # the code's
    sizes = [options(config, f"{name}/rho100/delta_l")["cluster_size"] for name in ("cifar10-lt", "cifar100-lt")]
    assert sizes == [1, 10] and options(config, "imagenet-lt/rho256/delta_l")["cluster_size"] == 20
    assert options(config, "inaturalist/rho500/delta_l")["cluster_size"] == 40


SEARCHES = ("tau", "l", "delta", "delta_l", "delta_l_la", "madao", "pda")
DIFFERENCES = {  # what each variant has otherwise than what it is a variant of
    ("tau_inverse", "tau"): {"start", "weights"},
    ("tau", "delta_l"): {"design", "start", "weights"},
    ("delta_l_la", "delta_l"): {"start", "weights"},
    ("delta_l_every", "delta_l"): {"outer_every", "order", "batches"},
    **{(f"{name}_auto", name): {"neumann_step"} for name in SEARCHES},
    ("ldam_drw", "ldam"): {"class_balance"},
    ("delta_l_small", "delta_l"): {"neumann_step"},
    ("delta_l_cg", "delta_l"): {"solver", "damping"},
    ("pda_delta_l", "delta_l"): {"augmentation"},
    ("pda", "madao"): {"augmentation"},
    ("delta_l_code", "delta_l"): {
        "weights", "search_epochs", "take", "upper_learning_rate", "upper_warmup_epochs", "coast", "search_schedule",
    },
}  # fmt: skip


@pytest.mark.parametrize("pair", DIFFERENCES, ids="-".join)
def test_a_variant_differs_in_what_it_is_named_for(config, pair):
    one, other = (options(config, f"cifar10-lt/rho100/{name}") for name in pair)
    assert {name for name in one if one[name] != other[name]} == DIFFERENCES[pair]


def test_the_codes_values_by_data_set(config):
    small, large = (options(config, f"{name}/rho100/delta_l_code") for name in ("cifar10-lt", "cifar100-lt"))
    assert [small[name] for name in ("upper_learning_rate", "upper_warmup_epochs", "expand")] == [0.01, 10, "piecewise"]
    assert [large[name] for name in ("upper_learning_rate", "upper_warmup_epochs", "expand")] == [
        0.1,
        40,
        "interpolated",
    ]
    assert small["search_epochs"] == 301  # both of its loops have one epoch more than it says
    assert spec(config, "cifar100-lt/rho100/delta_l_code")["training"]["epochs"] == 201


def test_steps_that_turn_no_sign_have_clusters_of_ten_on_cifar100(config):
    for name in ("l", "delta", "delta_l", "delta_l_la", "pda"):
        assert options(config, f"cifar100-lt/rho100/{name}_auto")["cluster_size"] == 10


def test_deferred_weights_of_ldam_begin_as_the_rate_decays(config):
    found = spec(config, "cifar10-lt/rho100/ldam_drw")
    assert found["method_options"]["class_balance"]["from_epoch"] == found["training"]["schedule"]["milestones"][0]
    assert found["model"] == spec(config, "cifar10-lt/rho100/ldam")["model"]


@pytest.mark.parametrize(("name", "every"), [("cifar10-lt", 1), ("cifar100-lt", 1), ("mnist-lt", 5)])
def test_every_search_is_measured_on_all_parts(config, extended, name, every):
    seen = set()
    for run in extended.runs("paper", "autobalance", name):
        found = config.resolve(run)
        searched = found["uses"] == "autobalance"
        assert found["training"].get("also_measure") == (["train", "validation"] if searched else None), run
        assert found["training"]["evaluate_every"] == every
        seen |= {run.split("/")[4]} if searched else set()
    assert {f"{search}{step}" for search in SEARCHES[:5] for step in ("", "_auto")} <= seen


@pytest.mark.parametrize(("name", "trainings"), [("cifar10-lt", 21), ("cifar100-lt", 21), ("mnist-lt", 8)])
def test_the_grid_of_vs(config, name, trainings):
    pairs = [(one["tau"], one["gamma"]) for one in options(config, f"{name}/rho100/vs_grid")["grid"]]
    assert len(pairs) == trainings and {(0.0, 0.0), (1.2, 0.2)} <= set(pairs)
    assert any(tau and not gamma for tau, gamma in pairs) and any(gamma and not tau for tau, gamma in pairs)
    gammas = {0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4}
    assert {gamma for _, gamma in pairs} <= gammas  # those that CDT's is chosen from


def test_the_rates_of_a_tuned_group_dro(config):
    tuned = [
        spec(config, f"waterbirds-tuning-dro/q{q}-rate{rate}/group_dro_tuned")
        for q in (0.01, 0.1, 1)
        for rate in (0.1, 0.01)
    ]
    found = [(one["method_options"]["rate"], one["training"]["learning_rate"]) for one in tuned]
    assert found == [(q, rate) for q in (0.01, 0.1, 1.0) for rate in (0.1, 0.01)]
    assert all(one["data"]["options"]["official_validation"] for one in tuned)
    plain, used = (spec(config, f"waterbirds/linear/{name}") for name in ("group_dro", "group_dro_tuned"))
    assert used["data"] == plain["data"] and plain["method_options"]["rate"] == 0.01


def test_the_shares_of_the_trade_off(config):
    for share, rest in ((0.0, 1.0), (0.3, 0.7), (1.0, 0.0)):
        place = f"waterbirds-trade-off/lambda{share:g}"
        assert options(config, f"{place}/ce_bal_g")["objective"] == {"ce": rest, "ce_bal_g": share}
        for name in ("autobalance", "autobalance_auto"):
            assert options(config, f"{place}/{name}")["upper"] == {"ce": rest, "ce_deo": share}
        for name in ("ce", "ce_deo", "ce_bal_g", "group_la", "autobalance"):
            threshold = options(config, f"{place}/{name}_threshold")["threshold"]
            assert threshold == {"objective": {"ce": rest, "ce_deo": share}, "by": "losses", "temperatures": [1.0]}


def test_an_offset_is_all_that_a_control_adds(config):
    rows = ("ce", "ce_bal_g", "group_la", "ce_deo", "ce_deo_blend", "group_dro", "autobalance", "autobalance_auto")
    for name in rows:
        one, other = (spec(config, f"waterbirds/linear/{method}") for method in (name, f"{name}_threshold"))
        assert {key for key in one["method_options"] if one["method_options"][key] != other["method_options"][key]} == {
            "threshold"
        }
        assert one["training"] == other["training"] and one["data"] == other["data"]


def test_every_artifact_can_be_drawn_at_quick(config):
    paper = config.paper("autobalance")
    cells = {name: config.cells_of("quick", "autobalance", name) for name in paper.artifacts}
    assert {name for name, found in cells.items() if not found} == {"fig1", "fig2"}  # nothing is trained for them
    runs = {run for found in cells.values() for cell in found for run in config.runs_of(cell)}
    assert len(runs | set(config.runs("quick", "autobalance"))) <= 110  # about three minutes of two cores
    for artifact in paper.artifacts.values():
        assert (ROOT / artifact.notebook).is_file() and (ROOT / artifact.caption).is_file()


# --- claims ---


@pytest.mark.parametrize(("group", "step"), [("cifar10", ""), ("mnist", "_auto")])
def test_both_halves_of_figure_4_are_claims_about_the_search(config, group, step):
    """Validation error tracks test error, while training error goes to zero: the same runs at each size of S_V."""
    claims = {one.id: one for one in config.paper("autobalance").claims}
    falls, tracks = claims[f"training-error-reaches-zero-{group}"], claims[f"validation-tracks-test-{group}"]
    for claim in (falls, tracks):
        assert (claim.metric, claim.stage, claim.better) == ("balanced_error", "search", f"delta_l{step}")
        assert (claim.experiment, claim.settings) == (f"{group}-lt-validation", None)
    assert (falls.parts, tracks.parts) == (["train"], ["train", "validation", "test"])


def test_a_claim_about_a_curve_needs_runs_that_have_it(tmp_path):
    root = synthetic_records.project(tmp_path / "project")
    file, both = (
        root / "config/papers/autobalance/experiments/mnist-more.yaml",
        "also_measure: { value: [train, validation]",
    )
    assert file.read_text().count(both) == 1
    file.write_text(file.read_text().replace(both, "also_measure: { value: [train]"))
    with pytest.raises(ConfigError) as refused:
        load(root)
    assert "claims/figures.yaml:" in str(refused.value) and "\n" not in str(refused.value)
    assert "claim validation-tracks-test-mnist: mnist-lt-validation/val108/delta_l_auto" in str(refused.value)
    assert "has no curve of balanced_error on validation; mend its training.also_measure" in str(refused.value)
