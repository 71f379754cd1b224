"""Many methods on many settings: gains, aggregates and ranks are what other code finds in the records, and legible."""

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from support import many_methods, synthetic_records
from support.drawing import check_csv
from support.many_methods import BASELINE, PAPER, SEEDS
from support.molere_records import texts
from support.pages import layout_faults

from reweigh.analysis import across
from reweigh.analysis.rows import IMPROVEMENT, MIDDLE_GAIN, MIDDLE_GAIN_BY_SEED, RANK, RANK_BY_SEED
from reweigh.analysis.tables import Material
from reweigh.config.loading import load
from reweigh.errors import ConfigError
from reweigh.plots import critical_differences, improvement
from reweigh.plots.figure import Figure

METRIC = "test_accuracy"
METHODS = [BASELINE, "absgd_ce", "sgd_ldam", "absgd_focal", "sgd_focal"]
EXPERIMENTS = {"cifar10": METHODS, "cifar100": METHODS}
NOT_RUN = "resample_ce"  # named by the artifact, without a run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = synthetic_records.project(tmp_path_factory.mktemp("many"))
    many_methods.fill(root, EXPERIMENTS)
    return root


@pytest.fixture
def material(root: Path) -> Material:
    return many_methods.material(root, EXPERIMENTS)


def changed(material: Material, lines: dict[tuple[str, str, str], dict[str, object]]) -> Material:
    """The material with other columns in the last run of some cells (experiment, setting, method); None: no cell."""
    runs = material.runs.copy()
    for cell, values in lines.items():
        here = (runs[["experiment", "setting", "method"]] == list(cell)).all(axis=1)
        if not values:
            runs = runs[~here]
        for name, value in values.items():
            runs.loc[runs.index[here][-1], name] = value
    return Material(**{**{name: getattr(material, name) for name in material.__dataclass_fields__}, "runs": runs})


def settings_of(material: Material) -> list[tuple[str, str]]:
    return [(one, setting) for one in EXPERIMENTS for setting in material.config.settings_of("paper", PAPER, one)]


def accuracies(material: Material, place: tuple[str, str], method: str) -> list[float]:
    """By seed, read from the records."""
    bodies = [material.records.get(f"paper/{PAPER}/{place[0]}/{place[1]}/{method}/seed{seed}") for seed in range(SEEDS)]
    return [body["metrics"]["test_accuracy"] for body in bodies if body]


def footer(figure: Figure) -> str:
    """What stands below a figure, as one line."""
    return " ".join(text.get_text() for text in reversed(figure.picture.texts))


def test_each_setting_is_a_paired_t_test_with_holm(material: Material) -> None:
    lines = across.per_setting(material, BASELINE, METRIC)
    assert len(lines) == 8 * (len(METHODS) - 1)
    p_of = {}
    for line in lines.itertuples():
        ours, theirs = (accuracies(material, (line.experiment, line.setting), one) for one in (line.method, BASELINE))
        test = scipy_stats.ttest_rel(ours, theirs)
        low, high = test.confidence_interval(0.95)
        assert (line.mean, line.low, line.high, line.p) == pytest.approx(
            (np.subtract(ours, theirs).mean(), low, high, test.pvalue)
        )
        p_of[line.experiment, line.setting, line.method] = test.pvalue
    for line in lines.itertuples():
        here = [p for cell, p in p_of.items() if cell[:2] == (line.experiment, line.setting)]
        for found, family in ((line.p_holm, here), (line.p_holm_all, list(p_of.values()))):
            below = [other for other in family if other <= line.p + 1e-15]
            assert found == pytest.approx(min(1, max(p * (len(family) - sorted(family).index(p)) for p in below)))
    assert (lines["p_holm_all"] >= lines["p_holm"] - 1e-12).all() and (lines["p_holm"] >= lines["p"]).all()


def test_aggregates_are_those_of_loops_over_records(material: Material) -> None:
    lines = improvement.rows(material, BASELINE, METRIC).set_index(["method", "metric"])
    for method in METHODS[1:]:
        sides = [[accuracies(material, place, one) for place in settings_of(material)] for one in (method, BASELINE)]
        gains = np.subtract(*sides)
        values = sorted(gains.ravel())
        cut = len(values) // 4
        mean, by_seed, won = (
            lines.loc[(method, f"{METRIC}{ending}")] for ending in (MIDDLE_GAIN, MIDDLE_GAIN_BY_SEED, IMPROVEMENT)
        )
        assert mean["mean"] == pytest.approx(sum(values[cut : len(values) - cut]) / (len(values) - 2 * cut))
        each = [np.mean(sorted(gains[:, seed])[2:6]) for seed in range(SEEDS)]
        assert (by_seed["mean"], by_seed["n"]) == (pytest.approx(np.mean(each)), SEEDS)
        assert by_seed["high"] == pytest.approx(
            scipy_stats.t.interval(0.95, 2, np.mean(each), scipy_stats.sem(each))[1]
        )
        pairs = [np.mean([float(a > b) + (a == b) / 2 for a, b in itertools.product(*side)])
                 for side in zip(*sides, strict=True)]  # fmt: skip
        assert won["mean"] == pytest.approx(np.mean(pairs))
        for line in (mean, won):
            assert line["low"] <= line["mean"] <= line["high"] and (line["n"], line["settings"]) == (8 * SEEDS, 8)
    order = lines.xs(f"{METRIC}{MIDDLE_GAIN}", level="metric")["mean"]
    assert order.is_monotonic_decreasing


def test_ranks_are_those_of_pandas(material: Material) -> None:
    lines = critical_differences.rows(material, METRIC)
    means = pd.DataFrame(
        {one: [np.mean(accuracies(material, place, one)) for place in settings_of(material)] for one in METHODS}
    )
    expected = means.rank(axis=1, ascending=False).mean()
    first = lines[lines["metric"] == f"{METRIC}{RANK}"].set_index("method")
    assert first["mean"].to_dict() == pytest.approx(expected.to_dict())
    assert first["mean"].is_monotonic_increasing
    seeds = pd.DataFrame(
        {one: np.ravel([accuracies(material, at, one) for at in settings_of(material)]) for one in METHODS}
    )
    by_seed = lines[lines["metric"] == f"{METRIC}{RANK_BY_SEED}"].set_index("method")["mean"]
    assert by_seed.to_dict() == pytest.approx(seeds.rank(axis=1, ascending=False).mean().to_dict())
    difference = 2.728 * math.sqrt(5 * 6 / (6 * 8))
    for one, other in itertools.combinations(METHODS, 2):
        joined = bool(set(first["bars"][one]) & set(first["bars"][other]))
        assert joined == (abs(expected[one] - expected[other]) <= difference)


def test_an_error_is_turned(material: Material) -> None:
    """Lower is better: the same ranks, gains and probabilities as by the accuracy."""
    field = across.field_of(material, "balanced_error")
    accuracy = across.field_of(material, "balanced_accuracy")
    one, other = across.ranking(field), across.ranking(accuracy)
    assert one and other and one.methods == other.methods and one.average == pytest.approx(other.average)
    gains, other_gains = (
        improvement.rows(material, BASELINE, name)["mean"] for name in (field.metric, accuracy.metric)
    )
    assert gains.to_list() == pytest.approx(other_gains.to_list(), abs=1e-12)


def test_what_diverged_is_last_loses_and_is_named(material: Material) -> None:
    place = settings_of(material)[0]
    cell = (*place, "absgd_ce")
    lost = changed(material, {cell: {"status": "diverged", METRIC: math.nan, "lost": "diverged"}})
    field = across.field_of(lost, METRIC)
    found, before = across.ranking(field), across.ranking(across.field_of(material, METRIC))
    assert found and before
    assert field.scores("absgd_ce")[across.Place(*place).name][SEEDS - 1] == -math.inf
    at = found.methods.index("absgd_ce")
    scores = [np.mean(accuracies(material, place, one)) for one in METHODS]
    rank = sum(one > scores[1] for one in scores) + 1
    assert found.average[at] == pytest.approx(before.average[before.methods.index("absgd_ce")] + (5 - rank) / 8)
    lines = improvement.rows(lost, BASELINE, METRIC)
    mine = lines[lines["method"] == "absgd_ce"].set_index("metric")
    mean, won = mine.loc[f"{METRIC}{MIDDLE_GAIN}"], mine.loc[f"{METRIC}{IMPROVEMENT}"]
    assert (mean["settings"], mean["n"], won["settings"], won["n"]) == (7, 7 * SEEDS, 8, 8 * SEEDS)
    title = across.place_title(material, across.Place(*place))
    assert mean["note"] == f"left out, with a run that diverged: {title}; diverged: 1 run"
    assert won["note"] == "diverged: 1 run"
    assert f"{title}; diverged: 1 run" in footer(improvement.draw(lost, lines))


def test_settings_of_an_experiment_are_named_together(material: Material) -> None:
    first, second, *_ = places = [across.Place(*one) for one in settings_of(material)]
    assert across.places_title(material, [first]) == across.place_title(material, first)
    together = across.places_title(material, places)
    assert together.count(material.experiment(first.experiment).title) == 1
    assert all(material.label(*place) in together for place in (first, second))


def test_an_interval_that_hides_all_else_is_cut(material: Material) -> None:
    lines = improvement.rows(material, BASELINE, METRIC)
    ends = lines["metric"].str.endswith(MIDDLE_GAIN_BY_SEED)
    wide = lines.assign(low=lines["low"].where(~ends, -9.0), high=lines["high"].where(~ends, 9.0))
    low, high = improvement.draw(material, wide).picture.axes[0].get_xlim()
    shown = 100 * lines[lines["metric"].str.endswith(MIDDLE_GAIN)][["mean", "low", "high"]].to_numpy()
    assert -900 < low < min(0, shown.min()) and max(0, shown.max()) < high < 900


def test_what_all_methods_lack_is_said_once(material: Material) -> None:
    lines = improvement.rows(material, BASELINE, METRIC)
    shared = footer(improvement.draw(material, lines.assign(note="no pair of runs: here")))
    assert "all methods: no pair of runs: here" in shared
    one = lines["method"] == lines["method"].iloc[0]
    alone = footer(improvement.draw(material, lines.assign(note=one.map({True: "left out: there", False: ""}))))
    assert f"{lines['title'].iloc[0]}: left out: there" in alone and "all methods" not in alone


def test_what_predicts_one_class_counts_and_is_named(material: Material) -> None:
    cell = (*settings_of(material)[0], "sgd_ldam")
    lines = improvement.rows(changed(material, {cell: {"lost": "predict one class"}}), BASELINE, METRIC)
    mine = lines[lines["method"] == "sgd_ldam"]
    assert set(mine["note"]) == {"predict one class: 1 run"} and set(mine["settings"]) == {8}


def test_a_side_that_decides_nothing_has_no_p(material: Material) -> None:
    place = settings_of(material)[1]
    runs = material.runs.copy()
    here = (runs[["experiment", "setting", "method"]] == [*place, "sgd_focal"]).all(axis=1)
    runs.loc[here, "lost"] = "predict one class"
    lost = Material(**{**{name: getattr(material, name) for name in material.__dataclass_fields__}, "runs": runs})
    lines = across.per_setting(lost, BASELINE, METRIC).set_index(["experiment", "setting", "method"])
    line = lines.loc[(*place, "sgd_focal")]
    assert (
        pd.isna(line["p"]) and pd.isna(line["p_holm"]) and line["note"] == "3 of 3 runs of sgd_focal predict one class"
    )
    assert lines["p"].isna().sum() == 1


def test_a_setting_without_all_methods_is_left_out_of_the_ranks(material: Material) -> None:
    place = settings_of(material)[2]
    lines = critical_differences.rows(changed(material, {(*place, "sgd_ldam"): {}}), METRIC)
    title = across.place_title(material, across.Place(*place))
    assert set(lines["settings"]) == {7}
    assert set(lines["note"]) == {f"left out, not all methods were run: {title}"}
    gains = improvement.rows(changed(material, {(*place, "sgd_ldam"): {}}), BASELINE, METRIC)
    assert set(gains[gains["method"] == "sgd_ldam"]["note"]) == {f"no pair of runs: {title}"}


def test_a_method_without_a_run_is_named_and_no_rank(root: Path, tmp_path: Path) -> None:
    more = many_methods.material(root, {name: [*METHODS, NOT_RUN] for name in EXPERIMENTS})
    for rows, figure in (
        (lines := critical_differences.rows(more, METRIC), critical_differences.draw(more, lines, METRIC)),
        (lines := improvement.rows(more, BASELINE, METRIC), improvement.draw(more, lines)),
    ):
        mine = rows[rows["method"] == NOT_RUN]
        assert (
            mine["mean"].isna().all()
            and set(mine["status"]) == {"not run"}
            and set(mine["note"]) == {"not trained yet"}
        )
        assert more.title(NOT_RUN) in texts(figure)
        assert layout_faults(figure.picture) == []
        check_csv(figure, tmp_path / "figure")


@pytest.mark.parametrize("by", across.BARS)
def test_the_diagram_says_what_it_shows(material: Material, by: str) -> None:
    rows = critical_differences.rows(material, METRIC, by=by)
    figure = critical_differences.draw(material, rows, METRIC, by=by)
    written = footer(figure) + texts(figure)
    assert "Average rank of 5 methods by mean test accuracy over 8 settings, 3 seeds each" in written
    assert f"critical difference {2.728 * math.sqrt(30 / 48):.2f}" in written
    assert ("signed ranks (Holm" in written) == (by == across.SIGNED_RANKS)
    assert layout_faults(figure.picture, table=True) == []


def test_signed_ranks_over_few_settings_say_that_they_cannot(material: Material) -> None:
    few = [(name, setting) for name, setting in settings_of(material) if name == "cifar10"]
    rows = critical_differences.rows(material, METRIC, settings=few)
    written = footer(critical_differences.draw(material, rows, METRIC, settings=few))
    assert "over so few settings signed ranks with Holm's correction cannot tell any of 10 pairs apart" in written


def test_twenty_methods_do_not_overlap(tmp_path: Path) -> None:
    root = synthetic_records.project(tmp_path)
    methods = load(root).methods_of("paper", "molere", "cifar-ordering")[:20]
    many_methods.fill(root, {"cifar-ordering": methods}, "molere", seeds=2)
    material = many_methods.material(root, {"cifar-ordering": methods}, "molere")
    for seed in range(3):  # ranks that lie close together, at either end, and apart
        random = np.random.default_rng(seed)
        runs = material.runs.assign(test_accuracy=random.normal(0.5, 0.001, len(material.runs)))
        one = Material(**{**{name: getattr(material, name) for name in material.__dataclass_fields__}, "runs": runs})
        picture = critical_differences.draw(one, critical_differences.rows(one, METRIC), METRIC).picture
        assert layout_faults(picture, table=True) == []
        assert (
            sum(material.title(method) in text.get_text() for text in picture.axes[0].texts for method in methods) >= 20
        )


def test_what_cannot_be_is_refused(material: Material) -> None:
    with pytest.raises(ConfigError, match="absgd/ground shows no method tdr; name it in its `reads`"):
        improvement.rows(material, BASELINE, METRIC, ["tdr"])
    with pytest.raises(ConfigError, match="shows no setting cifar10 none"):
        critical_differences.rows(material, METRIC, settings=[("cifar10", "none")])
    with pytest.raises(ConfigError, match="bars by 'eye': known are nemenyi, signed ranks"):
        critical_differences.rows(material, METRIC, by="eye")
    none = changed(material, {(*place, BASELINE): {} for place in settings_of(material)})
    with pytest.raises(ConfigError, match="no run of sgd_ce, which gains are over; train it first"):
        improvement.rows(none, BASELINE, METRIC)


def test_without_any_run_figures_say_so(tmp_path: Path) -> None:
    nothing = many_methods.material(synthetic_records.project(tmp_path), EXPERIMENTS)
    rows = critical_differences.rows(nothing, METRIC)
    figure = critical_differences.draw(nothing, rows, METRIC)
    assert "not run" in texts(figure).lower() and rows["mean"].isna().all() and len(rows) == len(METHODS)
    assert layout_faults(figure.picture) == []


def test_an_artifact_that_shows_nothing_is_an_empty_frame(material: Material) -> None:
    """Such as a scale at which none of its settings is left, or plain training alone."""
    alone = many_methods.material(material.config.root, {"cifar10": [BASELINE]})
    for found in (across.per_setting(alone, BASELINE, METRIC), improvement.rows(alone, BASELINE, METRIC)):
        assert found.empty and found["mean"].dtype == float
    assert not texts(improvement.draw(alone, improvement.rows(alone, BASELINE, METRIC))).count("Traceback")
    bare = dataclasses.replace(material, artifact=material.artifact.model_copy(update={"reads": []}))
    rows = critical_differences.rows(bare, METRIC)
    assert rows.empty and rows["mean"].dtype == float
