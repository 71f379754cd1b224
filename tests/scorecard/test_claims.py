"""Claims on made-up records: degenerate sides, ties by the size of the test set, pairs of runs whose costs compare."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from support import synthetic_records
from support.project import ROOT

from reweigh import scorecard, stats
from reweigh.analysis.resolution import CLOCK, ratio_resolution, resolution
from reweigh.config.claim import Claim
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.records import record
from reweigh.scorecard import claims
from reweigh.scorecard.claim_tests import TESTS
from reweigh.scorecard.evidence import Evidence

RATIOS = ("rho0.1", "rho0.05", "rho0.02", "rho0.005")
CLAIM = {
    "id": "made-up", "text": "One is better.", "source": "ours", "test": "greater", "experiment": "mnist-4v9",
    "better": "tdr", "worse": ["er"], "rule": "made up",
}  # fmt: skip
TEST_SIZE = 1964


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return load(synthetic_records.project(tmp_path_factory.mktemp("project")))


def runs_of(
    method: str, setting: str, values: list[float | None], lost: str | list[str] = "", **columns: Any
) -> list[dict[str, Any]]:
    """Rows of a table of runs, one for each value; `lost` for all or each."""
    whys = [lost] * len(values) if isinstance(lost, str) else lost
    more = {"device": "a processor", "runs_at_once": 1, "packed": False, "seconds": 100.0, "steps": 1000, **columns}
    return [
        {
            "run": f"paper/tdr/mnist-4v9/{setting}/{method}/seed{seed}", "experiment": "mnist-4v9", "setting": setting,
            "method": method, "seed": seed, "test_accuracy": value, "lost": why, "digest": "0", **more,
        }
        for seed, (value, why) in enumerate(zip(values, whys, strict=True))
    ]  # fmt: skip


def evidence(config: Config, rows: list[dict[str, Any]], **claim: Any) -> Evidence:
    """Records say no more than the size of the test set; see `body`."""
    frame = pd.DataFrame(rows)
    records = {run: body() for run in frame["run"]}
    return Evidence(config, Claim(**{**CLAIM, **claim}), "paper", "tdr", frame, records)


def body(table: list[list[int]] | None = None, status: str = "finished") -> dict[str, Any]:
    confusion = table or [[TEST_SIZE // 2, 0], [0, TEST_SIZE // 2]]
    metrics = {"confusion": confusion, "test_size": int(np.sum(confusion))}
    return {"status": status, "metrics": metrics, "raw": [{"edition": "official"}]}


def decided(part: Evidence) -> tuple[str, list[stats.Comparison]]:
    places = TESTS[part.claim.test](part)
    sides = stats.claim_p(places)
    return stats.claim_verdict(*sides, stats.two_sided(*sides), stats.any_degenerate(places)), places


HIGH, LOW = [0.90, 0.91, 0.93, 0.92, 0.91], [0.80, 0.82, 0.81, 0.80, 0.83]
CHANCE = [0.5] * 5
ONE = "predict one class"


# --- degenerate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "more"),
    [
        ("greater", {}),
        ("within", {"margin": 0.5}),
        ("greater_on_average", {}),
        ("smaller_spread", {}),
        ("grows", {"settings": ["rho0.1", "rho0.005"]}),
        ("explained_by", {"by": "hard", "margin": 0.5}),
    ],
)
@pytest.mark.parametrize("lost", [ONE, "did not move", [ONE, ONE, ONE, "diverged", ONE]])
def test_a_comparison_with_runs_that_decide_nothing_is_degenerate(
    config: Config, test: str, more: dict[str, Any], lost: str | list[str]
) -> None:
    settings = more.get("settings", ["rho0.005"])
    chance = CHANCE if isinstance(lost, str) else [0.5, 0.5, 0.5, None, 0.5]
    rows = [row for name in settings for row in runs_of("tdr", name, HIGH) + runs_of("hard", name, LOW)]
    rows += [row for name in settings for row in runs_of("er", name, chance, lost)]
    verdict, places = decided(evidence(config, rows, test=test, **{"settings": settings, **more}))
    assert verdict == "degenerate"
    said = "5 of 5 runs of er " if isinstance(lost, str) else "4 of 5 runs of er predict one class, 1 diverged"
    assert all(place.degenerate.startswith(said) and place.p_for is None for place in places)
    sound = [{**row, "lost": ""} for row in rows if row["test_accuracy"] is not None]
    assert decided(evidence(config, sound, test=test, **{"settings": settings, **more}))[0] != "degenerate"


def test_one_run_of_a_side_that_may_decide_is_enough(config: Config) -> None:
    rows = runs_of("tdr", "rho0.005", HIGH) + runs_of("er", "rho0.005", [0.5, 0.52, 0.5, 0.5, 0.55], [ONE] * 4 + [""])
    assert decided(evidence(config, rows, settings=["rho0.005"]))[0] == "holds"


def test_only_what_is_compared_counts(config: Config) -> None:
    """The one run of the rival that is sound has no partner: the others, which are compared, predict one class."""
    ours = runs_of("tdr", "rho0.005", [0.9, 0.91, 0.92, 0.93, None], [""] * 4 + ["diverged"])
    rows = ours + runs_of("er", "rho0.005", [0.5, 0.5, 0.5, 0.5, 0.8], [ONE] * 4 + [""])
    verdict, places = decided(evidence(config, rows, settings=["rho0.005"]))
    assert (verdict, places[0].degenerate) == ("degenerate", "4 of 4 runs of er predict one class")


def test_a_constant_is_what_it_is_meant_to_be(config: Config) -> None:
    rows = runs_of("tdr", "rho0.005", HIGH) + runs_of(
        "er", "rho0.005", CHANCE
    )  # it takes no step, so that it is not lost
    assert decided(evidence(config, rows, settings=["rho0.005"]))[0] == "holds"


def test_a_degenerate_place_keeps_a_claim_from_holding_and_not_from_failing(config: Config) -> None:
    rows = [row for name in RATIOS for row in runs_of("tdr", name, HIGH) + runs_of("er", name, LOW)]
    assert decided(evidence(config, rows))[0] == "holds"
    at_one = [{**row, "lost": ONE} if row["method"] == "er" and row["setting"] == "rho0.02" else row for row in rows]
    assert decided(evidence(config, at_one))[0] == "degenerate"
    against = [{**row, "test_accuracy": 1.5 - row["test_accuracy"]} for row in at_one]
    verdict, places = decided(evidence(config, against))
    assert verdict == "fails" and [bool(place.degenerate) for place in places] == [False, False, True, False]
    against = [{**row, "lost": ONE if row["setting"] != "rho0.1" else ""} for row in against]
    sides = stats.claim_p(decided(evidence(config, against))[1])
    assert sides == (1.0, pytest.approx(4 * places[0].p_against))  # all places count, also those that are degenerate


def test_what_a_step_costs_does_not_depend_on_what_a_run_has_learned(config: Config) -> None:
    rows = runs_of("tdr", "rho0.005", HIGH, seconds=210.0) + runs_of("er", "rho0.005", CHANCE, ONE)
    part = evidence(config, rows, test="costs_more", settings=["rho0.005"], margin=2.0, metric="seconds")
    assert decided(part)[0] == "holds"


def test_lines_say_what_is_degenerate_and_their_p_is_not_corrected_for(tmp_path: Path) -> None:
    root = synthetic_records.project(tmp_path / "project")
    collapsed = {"test_accuracy": 0.5, "confusion": [[0, TEST_SIZE // 2], [0, TEST_SIZE // 2]]}
    for seed, name in ((seed, name) for seed in range(5) for name in RATIOS):
        run = f"paper/tdr/mnist-4v9/{name}/{{}}/seed{seed}"
        synthetic_records.make(root, run.format("tdr"), test_accuracy=0.9 + 0.01 * seed)
        synthetic_records.make(root, run.format("er"), **(collapsed if name in ("rho0.005", "rho0.1") else {}))
    lines = scorecard.score(load(root), "paper", ["tdr"]).set_index("id")
    line = lines.loc["accuracy-at-0.005-code"]
    assert line["verdict"] == "degenerate" and pd.isna(line["p"]) and pd.isna(line["p_holm"])
    assert "degenerate, rho0.005 against er: 5 of 5 runs of er predict one class" in line["note"]
    every = lines.loc["accuracy-at-every-ratio-code"]
    assert every["verdict"] == "degenerate" and every["effect"] == pytest.approx(0.42)
    assert "degenerate, rho0.1 against er: 5 of 5 runs of er predict one class" in every["note"]
    assert every["note"].endswith("10 of 20 runs of er predict one class")
    assert not {"holds", "fails"} & set(
        lines.loc[["accuracy-at-0.005-code", "accuracy-at-every-ratio-code"], "verdict"]
    )
    known = lines[(lines["kind"] == "claim") & lines["p"].notna()]
    assert known["p_holm"].tolist() == pytest.approx(stats.holm(known["p"].tolist()))


# --- ties ------------------------------------------------------------------------------------------------------------


def test_the_steps_of_a_metric_are_those_of_what_it_counts() -> None:
    counted = body([[8, 2], [10, 30]])
    assert resolution(counted, "test_accuracy") == resolution(counted, "best_epoch_test_accuracy") == 1 / 50
    assert resolution(counted, "minority_recall") == 1 / 10
    assert resolution(counted, "minority_precision") == 1 / 18
    assert resolution(counted, "balanced_accuracy") == pytest.approx(np.hypot(1 / 10, 1 / 40) / 2)
    nothing = body([[0, 10], [0, 40]])
    assert resolution(nothing, "minority_precision") == 0  # which has no value either
    assert resolution(body(status="diverged"), "test_accuracy") == 0
    assert ratio_resolution(1.0, 1.0) == pytest.approx(CLOCK * 2**0.5)


@pytest.mark.parametrize("test", ["greater", "within", "greater_on_average"])
def test_equal_differences_are_worth_what_the_test_set_can_tell(config: Config, test: str) -> None:
    step = 1 / TEST_SIZE
    rows = runs_of("tdr", "rho0.005", [0.5 + step] * 3) + runs_of("er", "rho0.005", [0.5] * 3)
    verdict, (found,) = decided(evidence(config, rows, test=test, settings=["rho0.005"]))
    assert verdict != "holds"  # one example more in each of three seeds: it was decided with p = 0
    assert found.p_for is not None and found.p_for > 0.005
    assert found.high - found.low == pytest.approx(2 * stats.t_quantile(2) * step / np.sqrt(6) / np.sqrt(3))


# --- costs -----------------------------------------------------------------------------------------------------------


def costs(config: Config, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> Evidence:
    rows = [{**row, **change} for row, change in zip(runs_of("tdr", "rho0.005", HIGH), ours, strict=True)]
    rows += [{**row, **change} for row, change in zip(runs_of("er", "rho0.005", HIGH), theirs, strict=True)]
    return evidence(config, rows, test="costs_more", settings=["rho0.005"], margin=1.5, metric="seconds")


def test_costs_compare_where_equally_many_ran_at_once(config: Config) -> None:
    """On a CPU too: two runs side by side slow each other down."""
    ours = [{"seconds": 200.0 + seed, "runs_at_once": 1 + (seed < 2)} for seed in range(5)]
    part = costs(config, [{**one, "seconds": one["seconds"] * one["runs_at_once"]} for one in ours], [{}] * 5)
    verdict, (found,) = decided(part)
    assert (verdict, found.n) == ("holds", 3)
    assert found.effect == pytest.approx((2.02 * 2.03 * 2.04) ** (1 / 3))
    assert claims._left_out(part) == ["2 of 5 pairs do not count: not one device, or not equally many at once"]
    both = costs(config, [{"seconds": 200.0, "runs_at_once": 2}] * 5, [{"runs_at_once": 2}] * 5)
    assert decided(both)[1][0].n == 5 and claims._left_out(both) == []


def test_without_a_pair_that_compares_a_claim_of_cost_is_not_run(config: Config) -> None:
    part = costs(config, [{"runs_at_once": 2}] * 5, [{}] * 5)
    assert claims._incomparable(part).startswith("no pair of runs at rho0.005 against er ran on one device")
    assert claims._incomparable(costs(config, [{"device": "another"}] * 5, [{}] * 5))
    assert not claims._incomparable(costs(config, [{}] * 5, [{}] * 5))


def test_costs_of_whole_runs_count_all_of_their_steps(config: Config) -> None:
    """A search and a retraining of 1,000 steps each cost twice as much as one of them, and the same a step."""
    rows = runs_of("tdr", "rho0.005", HIGH, seconds=200.0, steps=2000) + runs_of("er", "rho0.005", HIGH)
    for per, test, effect, verdict in (
        (None, "costs_more", 1.0, "fails"),
        ("run", "costs_more", 2.0, "holds"),
        ("run", "costs_at_most", 2.0, "fails"),
    ):
        claim = {"test": test, "per": per, "settings": ["rho0.005"], "margin": 1.5, "metric": "seconds"}
        found = decided(evidence(config, rows, **claim))
        assert (found[0], found[1][0].effect) == (verdict, pytest.approx(effect))
    with pytest.raises(ValidationError, match="a test of cost, and no other, may have per: run"):
        evidence(config, rows, per="run")


def test_the_cost_of_a_run_includes_what_others_trained_for_it() -> None:
    """In every record: stages that it took over count in seconds and steps, as if it had trained them itself."""
    bodies = [json.loads(path.read_text()) for path in (ROOT / "results/paper").glob("*/*/*/*/seed*.json")]
    shared = [body for body in bodies if (body.get("prefix") or {}).get("reused")]
    parts = [body for body in shared if body["prefix"]["stages"] < body["prefix"]["of"]]
    assert len(parts) > 10
    for body in shared:
        rest = body["steps"] - body["prefix"]["steps"]
        planned = sum(stage["epochs"] * stage["steps_per_epoch"] for stage in body["stages"])
        assert body["seconds"] >= body["prefix"]["seconds"] > 0 and rest >= 0, body["run"]
        assert body["status"] != "finished" or body["steps"] == planned, body["run"]
    assert all(body["seconds"] > body["prefix"]["seconds"] for body in parts)


def test_a_run_and_its_prefix_cost_at_most_so_much(config: Config) -> None:
    """A plain run of 100 s; one that begins with it and goes on for 130 s costs 2.3 of it, and 1.15 a step."""
    rows = runs_of("tdr", "rho0.005", HIGH, seconds=230.0, steps=2000) + runs_of("er", "rho0.005", HIGH)
    for margin, verdict in ((2.4, "holds"), (2.2, "fails")):
        claim = {"test": "costs_at_most", "per": "run", "settings": ["rho0.005"], "margin": margin, "metric": "seconds"}
        found = decided(evidence(config, rows, **claim))
        assert (found[0], found[1][0].effect) == (verdict, pytest.approx(2.3))


def test_costs_that_are_no_numbers_are_left_out(config: Config) -> None:
    found = decided(costs(config, [{"seconds": float("nan")}, {"steps": 0}, *[{}] * 3], [{}] * 5))[1][0]
    assert found.n == 3


# --- the rest --------------------------------------------------------------------------------------------------------


def test_two_runs_of_a_setting_show_no_spread_and_the_note_says_so(config: Config) -> None:
    rows = [row for name in RATIOS for row in runs_of("tdr", name, HIGH[:2]) + runs_of("er", name, LOW[:2])]
    part = evidence(config, rows, test="smaller_spread")
    verdict, (found,) = decided(part)
    assert (verdict, found.p_for) == ("inconclusive", None)
    assert claims._left_out(part) == [f"fewer than 3 runs, which show no spread: {', '.join(RATIOS)}"]


def test_of_an_error_the_lower_one_is_better(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = runs_of("tdr", "rho0.005", HIGH) + runs_of("er", "rho0.005", LOW)
    errors = [{**row, "balanced_error": 1 - row["test_accuracy"]} for row in rows]
    verdict, (found,) = decided(evidence(config, errors, settings=["rho0.005"], metric="balanced_error"))
    assert verdict == "holds"
    assert found.effect == pytest.approx(np.mean(HIGH) - np.mean(LOW))
    gaps = [{**row, "deo_error": (1 - row["test_accuracy"]) * (-1) ** row["seed"]} for row in rows]
    assert decided(evidence(config, gaps, settings=["rho0.005"], metric="deo_error"))[0] == "holds"


def test_a_diverged_run_that_logged_no_numbers_does_not_decide_about_weights(tmp_path: Path) -> None:
    from reweigh.data.arrays import npz_bytes
    from reweigh.digest import file_digest

    root = synthetic_records.project(tmp_path / "project")
    for seed in range(4):
        made = synthetic_records.make(root, f"paper/absgd/weights/lt-rho100/absgd_ce/seed{seed}")
        means, counts = np.full((200, 10), [1.0] * 5 + [3.0 + seed] * 5), np.ones((200, 10))
        means[:, 9] = np.nan if seed == 3 else means[:, 9]  # finished all the same, as by an older version
        path = record.record_path(made["run"], root)
        trace = path.with_suffix(".npz")
        trace.write_bytes(npz_bytes({"mean_weights": means, "weighted_examples": counts}))
        shapes = {"mean_weights": [200, 10], "weighted_examples": [200, 10]}
        stated = {"file": trace.name, "sha256": file_digest(trace), "arrays": shapes}
        record.write(path, {**{key: value for key, value in made.items() if key != "digest"}, "trace": stated})
    config = load(root)
    records = scorecard.scored_records(config, "paper", ["absgd"])
    claim = next(one for one in config.paper("absgd").claims if one.id == "rare-classes-weigh-more")
    from reweigh.analysis import tables

    part = Evidence(config, claim.model_copy(update={"settings": ["lt-rho100"]}), "paper", "absgd",
                    tables.table(records), records)  # fmt: skip
    (found,) = TESTS[claim.test](part)
    assert found.n == 3 and found.effect == pytest.approx(4.0) and 0 < found.p_for < 0.05
