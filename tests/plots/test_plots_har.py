"""HAR's figures and tables: they draw what records say, name what is missing, and other code finds the same numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from support import har_records, synthetic_records
from support.drawing import check_csv, check_without_records, draw_all, draw_artifact
from support.har_records import PAPER, bodies, line_of, recalls, traced
from support.molere_records import expected, summary, texts
from support.pages import layout_faults
from support.project import ROOT

from reweigh.analysis import tables
from reweigh.config.loading import load
from reweigh.plots import gains_by_metric, tables_of_metrics
from reweigh.plots.figure import Figure
from reweigh.plots.papers.har import by_lambda, common, cost
from reweigh.provenance.audit.figures import check_figures
from reweigh.provenance.explain import read
from reweigh.provenance.explain.evidence import cell as evidence_of

SEEDS = 3
PARTS = ["erm", "uniform", "uniform_mean", "density_only", "noise_only", "har"]
CELLS = {
    "mnist-hetero/crossed": [*PARTS, "har_floor", "har_halves", "erm_3x", "co_teaching"],
    "mnist-hetero/confounded": ["erm", "har"],
    "mnist-hetero/balanced": ["erm", "har"],
    "cifar10-hetero/varied": ["erm", "uniform", "har"],
    "cifar10-step/varied": ["erm", "uniform", "har"],
    **{f"mnist-lambda/lambda{strength}": ["uniform", "har"] for strength in ("10", "30", "100", "300")},
    "stage-one/varied": ["har", "har_halves"],
    "human-noise/lt10": ["erm", "har"],
}
LOST = "mnist-hetero/crossed/uniform_mean"  # its last run diverges
TABLES = ("table1", "table2", "table3", "table4", "human-noise")
ARTIFACTS = (*TABLES, "crossed", "ablation", "lambda", "strengths", "cost")
CLOSED = ("table3",)  # of nothing that has a record here
NAMES = {"noisy_rare": [4, 9], "noisy_common": [3, 5], "clean_rare": [0, 2], "clean_common": [1, 6, 7, 8]}
COLUMNS = "device,torch,group,contender,baseline,milliseconds,ratio,q1,q3,peak_mebibytes,rounds,threads,precision"
GROUP = '"penalised steps, ResNet-32, B = 128, {} threads"'
BENCH = f"""{COLUMNS},model,batch_size,method,note
a processor,2.0,{GROUP.format(1)},"HAR, double backward",plain step,3,2.55,2.5,2.6,,5,1,fp32,,,,
a processor,2.0,{GROUP.format(2)},"HAR, double backward",plain step,3,2.35,2.3,2.4,,5,2,fp32,,,,
a processor,2.0,{GROUP.format(2)},"HAR, difference",plain step,3,2.05,2.0,2.1,,5,2,fp32,,,,
a processor,2.0,{GROUP.format(2)},"something else",plain step,9,9.5,9,10,,5,2,fp32,,,,
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with made-up records of CELLS at three seeds, at scale paper; everything else is missing."""
    root = synthetic_records.project(tmp_path_factory.mktemp("har"))
    (root / "results/bench").mkdir(parents=True)
    (root / "results/bench/penalty.csv").write_text(BENCH)
    config = load(root)
    for place, methods in CELLS.items():
        for method in methods:
            runs = config.runs_of(f"{PAPER}/{place}/{method}")[:SEEDS]
            for run in runs:
                lost = f"{place}/{method}" == LOST and run == runs[-1]
                har_records.make(root, run, "diverged" if lost else "finished")
    return root


@pytest.fixture(scope="module")
def drawn(root: Path) -> dict[str, Figure]:
    """Every artifact as its notebook draws it; csv and receipt lie where they belong."""
    return draw_all(root, "har", ARTIFACTS)


# --- all of them -----------------------------------------------------------------------------------------------------


def test_every_artifact_of_the_config_is_here_with_notebook_and_caption(root):
    artifacts = load(root).paper("har").artifacts
    assert set(artifacts) - {"toy"} == set(ARTIFACTS)
    for name in ARTIFACTS:
        artifact = artifacts[name]
        assert (root / artifact.notebook).is_file() and artifact.notebook == f"notebooks/har/{name}.ipynb"
        assert (root / artifact.caption).read_text().strip()
        assert artifact.kind == ("table" if name in TABLES else "figure")


def faults(root: Path) -> list[Any]:
    runs = [
        path.relative_to(root / "results").with_suffix("").as_posix() for path in root.rglob("results/**/seed*.json")
    ]
    links = list(check_figures(load(root), "paper", root, tables.records_of(sorted(runs), root)))
    assert len(links) == 5 * len(ARTIFACTS)
    return [link for link in links if link.state != "intact"]


def test_an_audit_finds_every_figure_intact(root, drawn):
    """Each line is computed again from its records by other code, and none is missing."""
    assert [(link.name, link.detail) for link in faults(root)] == []


@pytest.mark.parametrize(
    "edits",
    [
        {
            "table1": "balanced_accuracy",
            "table2": "accuracy_noisy_rare",
            "table4": "train_clean_accuracy_clean_common",
            "human-noise": "tail_recall",
            "crossed": "class_strength",
            "ablation": "accuracy_noisy_common_difference",
            "lambda": "validation_balanced_accuracy",
            "strengths": "class_strength",
            "cost": "run_times_plain",
        },
        {"table4": "best_epoch_test_accuracy", "crossed": "class_error", "lambda": "accuracy_clean_rare"},
        {"crossed": "accuracy_clean_common_difference"},
    ],
    ids=["first", "second", "third"],
)
def test_an_edited_number_of_every_kind_is_found(root, drawn, edits):
    paths = {name: root / "figures" / PAPER / f"{name}.csv" for name in edits}
    before, edited = {name: path.read_text() for name, path in paths.items()}, {}
    for name, metric in edits.items():
        lines = pd.read_csv(paths[name], dtype=str, keep_default_na=False)
        place = lines[(lines["metric"] == metric) & (lines["mean"] != "")].index[-1]
        lines.loc[place, "mean"] = str(float(lines.loc[place, "mean"]) + 0.003)
        lines.to_csv(paths[name], index=False)
        edited[name] = int(place) + 2
    try:
        found = {Path(one.name).stem: one for one in faults(root)}
    finally:
        for name, text in before.items():
            paths[name].write_text(text)
    assert set(found) == set(edits) and all(fault.state == "broken" for fault in found.values())
    assert [name for name, one in found.items() if not one.detail.startswith(f"line {edited[name]}: mean ")] == []


def test_a_class_that_is_left_out_or_does_not_exist_is_found(root, drawn):
    path = root / "figures" / PAPER / "strengths.csv"
    before = path.read_text()
    lines = pd.read_csv(path, dtype=str, keep_default_na=False)
    try:
        lines.iloc[1:].to_csv(path, index=False)
        (fault,) = faults(root)
        assert fault.state == "broken"
        lines.assign(**{"class": lines["class"].where(lines.index != 4, "11")}).to_csv(path, index=False)
        (fault,) = faults(root)
        assert fault.detail.startswith("line 6: class 11")
    finally:
        path.write_text(before)


@pytest.mark.parametrize("name", ARTIFACTS)
def test_nothing_is_written_outside_the_page_or_over_something_else(drawn, name):
    assert layout_faults(drawn[name].picture, table=name in TABLES) == []


@pytest.mark.parametrize("name", ARTIFACTS)
def test_each_says_its_scale_and_over_how_many_runs(drawn, name, tmp_path):
    written = texts(drawn[name])
    assert "scale: paper" in written
    assert "n = 3 seeds" in written or "n = 2 to 3 seeds" in written or name in CLOSED
    check_csv(drawn[name], tmp_path / name)


@pytest.mark.parametrize("name", ARTIFACTS)
def test_without_any_record_it_is_drawn_and_says_so(root, name, monkeypatch):
    monkeypatch.setattr(tables, "records_of", lambda *_: {})
    check_without_records(draw_artifact(root, "paper", "har", name), table=name in TABLES)


@pytest.mark.parametrize("name", ["table1", "crossed", "ablation", "lambda", "strengths", "cost"])
def test_explain_walks_a_line_of_each_kind_down_to_raw_files(root, drawn, name):
    table, _ = read(Path("figures") / PAPER / f"{name}.csv", root)
    first: dict[str, Any] = {}
    for number, line in table.lines:
        if line["mean"]:
            first.setdefault(line["metric"], evidence_of(number, line, table))
    assert first
    for metric, one in first.items():
        assert one["check"] == "computed again from these records: the same" and not one["fault"], (
            metric,
            one["check"],
        )
        assert one["runs"] and all(part["raw"] for part in one["runs"])
        assert "check" in one["columns"]["mean"]
    for metric in set(first) & {"class_strength", "class_error"}:
        assert "as logged" in first[metric]["columns"]["mean"]["how"]


def test_explain_says_where_the_bench_s_number_is_from(root, drawn):
    table, _ = read(Path("figures") / PAPER / "cost.csv", root)
    found = [evidence_of(*one, table) for one in table.lines if one[1]["metric"] == "measured_times_plain"]
    assert len(found) == 3
    for one in found:
        assert not one["fault"] and one["columns"]["y"]["check"] == "computed again: the same"
        assert "reweigh bench" in one["formula"]["how"]
        assert one["formula"]["code"]["file"] == "src/reweigh/plots/costs.py"


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", NAMES)
def test_accuracy_by_cell_is_the_mean_recall_of_its_classes(root, drawn, cell):
    for method in ("erm", "har"):
        line = line_of(
            drawn["table4"].rows, experiment="mnist-hetero", method=method, metric=f"accuracy_{cell}", setting="crossed"
        )
        assert summary(line) == expected(recalls(root, f"mnist-hetero/crossed/{method}", NAMES[cell]))
    values = 100 * recalls(root, "mnist-hetero/crossed/har", NAMES[cell])
    written = texts(drawn["table4"]).replace("\u2009", " ")
    assert f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" in written


def test_a_table_has_training_accuracy_by_true_labels_and_the_best_epoch_beside_it(root, drawn):
    found = bodies(root, "mnist-hetero/crossed/har")
    clean = [np.mean([of["also_measured"]["train_clean"]["per_class_accuracy"][k] for k in NAMES["clean_common"]])
             for of in found]  # fmt: skip
    rows = drawn["table4"].rows
    names = {"experiment": "mnist-hetero", "method": "har"}
    assert summary(line_of(rows, metric="train_clean_accuracy_clean_common", **names)) == expected(np.array(clean))
    best = np.array([of["metrics"]["best_epoch_test_accuracy"] for of in found])
    assert summary(line_of(rows, metric="best_epoch_test_accuracy", **names)) == expected(best)
    written = texts(drawn["table4"]).replace("\n", " ")
    assert "by the test set" in written and "as the authors' code reports it" in written


def test_a_table_has_a_block_for_each_setting_that_was_run_and_names_the_others(drawn):
    rows, written = drawn["table1"].rows, texts(drawn["table1"])
    assert common.places_of(rows) == [("cifar10-hetero", "varied"), ("mnist-hetero", "balanced")]
    assert "another noise for each seed (n\u00a0=\u00a03\u00a0seeds)" in written
    assert "Not run: CIFAR-10" in written and "the noise of the code" in written
    assert set(rows["metric"]) >= {"accuracy_noisy_common", "accuracy_clean_common"}
    assert "co_teaching" not in set(rows["method"])  # optional, and not run here


def test_a_method_with_fewer_seeds_says_so_and_one_that_diverged_too(drawn):
    written = texts(drawn["table4"])
    assert "Uniform at HAR's mean (n = 2)" in written and "diverged" in written
    line = line_of(drawn["table4"].rows, method="uniform_mean", metric="balanced_accuracy", experiment="mnist-hetero")
    assert (line["n"], line["status"]) == (2, "1 diverged")


def test_what_was_not_measured_is_a_dash(root):
    material = tables.of_artifact("paper", "har", "human-noise", root)
    columns = [("balanced_accuracy", "all"), ("accuracy_noisy_rare", "no such classes here")]
    rows = tables_of_metrics.rows(material, columns, ["erm", "har", "uniform"])
    assert set(zip(rows["method"], rows["metric"], strict=True)) == {
        ("erm", "balanced_accuracy"), ("har", "balanced_accuracy"),
        ("uniform", "balanced_accuracy"), ("uniform", "accuracy_noisy_rare"),  # not run
    }  # fmt: skip
    figure = tables_of_metrics.draw(material, rows, columns)
    assert "–: not measured" in texts(figure)


# --- figures ---------------------------------------------------------------------------------------------------------


def test_gains_by_cell_are_paired_differences_without_what_diverged(root, drawn):
    for name in ("ablation", "crossed"):
        rows = drawn[name].rows
        rows = rows[(rows["experiment"] == "mnist-hetero") & (rows["against"] == "erm")]
        for method in ("har", "uniform_mean", "density_only"):
            for cell, labels in NAMES.items():
                gain = recalls(root, f"mnist-hetero/crossed/{method}", labels)
                gain = gain - recalls(root, "mnist-hetero/crossed/erm", labels)
                line = line_of(rows, method=method, metric=f"accuracy_{cell}_difference")
                assert summary(line) == expected(gain[np.isfinite(gain)])
                assert line["n"] == SEEDS - (method == "uniform_mean")
        assert "1 diverged" in texts(drawn[name])


def test_ablation_holds_estimates_of_cifar_against_har(root, drawn):
    rows = drawn["ablation"].rows
    line = line_of(rows[rows["against"] == "har"], method="har_halves", metric="balanced_accuracy_difference")
    ours, theirs = (recalls(root, f"stage-one/varied/{name}", list(range(10))) for name in ("har_halves", "har"))
    assert summary(line) == expected(ours - theirs)
    assert not rows[(rows["experiment"] == "stage-one") & rows["metric"].str.contains("clean_rare")].size


def test_an_axis_of_gains_shows_no_difference_and_cuts_wide_intervals():
    lines = [{"mean": 0.01, "low": -0.2, "high": 0.22}, {"mean": 0.004, "low": None, "high": None}]
    low, high = gains_by_metric.limits(lines)
    assert low < -2 < 1 < high and high == pytest.approx(2.2 + 0.06 * 4.4)
    assert gains_by_metric.limits([]) == pytest.approx((-0.224, 0.224))


def test_strengths_are_those_that_runs_logged_by_class(root, drawn):
    for name in ("strengths", "crossed"):
        rows = drawn[name].rows
        for label in range(10):
            mine = {"experiment": "mnist-hetero", "setting": "crossed", "method": "har", "class": label}
            found = traced(root, "mnist-hetero/crossed/har", "strengths")[:, label]
            assert summary(line_of(rows, metric="class_strength", **mine)) == expected(found)
            if name == "crossed":
                errors = traced(root, "mnist-hetero/crossed/har", "class_errors")[:, label]
                assert summary(line_of(rows, metric="class_error", **mine)) == expected(errors)
    bars = {round(bar.get_height(), 6) for bar in drawn["strengths"].picture.axes[0].patches}
    assert bars == {round(value, 6) for value in traced(root, "mnist-hetero/crossed/har", "strengths").mean(0)}


def test_strengths_name_classes_and_settings_by_what_is_rare(root, drawn):
    written = texts(drawn["strengths"])
    for words in ("automobile", "MNIST, rare and noisy apart", "CIFAR-10, the noisy classes are rare"):
        assert words in written
    material = tables.of_artifact("paper", "har", "strengths", root)
    assert common.cells_of(material, "mnist-hetero", "crossed") == NAMES
    assert common.cells_of(material, "cifar10-crossed", "crossed") == {}
    assert common.class_name(material, "cifar10-step", 9) == "truck"
    assert common.class_name(material, "mnist-hetero", 9) == "9"


def test_crossed_draws_a_class_in_the_colour_of_its_cell_and_lines_with_the_rule_s_slope(drawn):
    lines = drawn["crossed"].picture.axes[0].lines
    marked = {one.get_ydata()[0]: (one.get_color(), one.get_marker()) for one in lines if one.get_marker() in [*"^o"]}
    for label, cell in ((label, cell) for cell, labels in NAMES.items() for label in labels):
        mine = {"experiment": "mnist-hetero", "setting": "crossed", "class": label, "metric": "class_strength"}
        look = common.COLOURS[cell], "^" if cell.endswith("rare") else "o"
        assert marked[line_of(drawn["crossed"].rows, **mine)["mean"]] == look
    ends = [np.log(one.get_xydata()[[0, -1]]) for one in lines if one.is_dashed()]
    assert [float(rise / run) for run, rise in (last - first for first, last in ends)] == pytest.approx([0.6, 0.6])


def test_lambda_marks_what_held_out_examples_choose_and_draws_erm_as_a_band(root, drawn):
    rows = drawn["lambda"].rows
    held_out = [
        body["also_measured"]["validation"]["balanced_accuracy"] for body in bodies(root, "mnist-lambda/lambda30/har")
    ]
    names = {"setting": "lambda30", "method": "har", "experiment": "mnist-lambda"}
    line = line_of(rows, metric="validation_balanced_accuracy", **names)
    assert summary(line) == expected(np.array(held_out))
    plain = line_of(rows, method="erm", metric="accuracy_noisy_rare")
    assert summary(plain) == expected(recalls(root, "mnist-hetero/crossed/erm", NAMES["noisy_rare"]))
    material = tables.of_artifact("paper", "har", "lambda", root)
    sweep = by_lambda.Sweep([("mnist-lambda", ["uniform", "har"])])
    assert by_lambda._chosen(material, rows, sweep) == {"uniform": "lambda30", "har": "lambda30"}
    panel = drawn["lambda"].picture.axes[0]
    ringed = [line for line in panel.lines if line.get_markeredgewidth() == 1.1 and line.get_marker() != "None"]
    assert len(ringed) == 2 and {line.get_ydata()[0] for line in ringed} == {
        100 * line_of(rows, metric="validation_balanced_accuracy", **{**names, "method": method})["mean"]
        for method in ("uniform", "har")
    }  # fmt: skip
    assert sum(isinstance(patch, Rectangle) for patch in drawn["lambda"].picture.axes[2].patches) == 1  # ERM's band
    partial = rows.copy()
    partial.loc[(rows["setting"] == "lambda10") & (rows["method"] == "har"), "status"] = "not run"
    assert by_lambda._chosen(material, partial, sweep) == {"uniform": "lambda30"}
    titles = [axes.get_title(loc="left") for axes in drawn["lambda"].picture.axes]
    assert titles == ["held-out, given labels", "test, all classes", "test, noisy and rare", "test, noisy and common",
                      "test, clean and rare", "test, clean and common"]  # fmt: skip


def test_a_lambda_that_keeps_a_net_from_learning_hides_nothing_else():
    means = [0.80, 0.82, 0.83, 0.81, 0.10]
    rows = pd.DataFrame({"mean": means, "low": [one - 0.01 for one in means], "high": [one + 0.01 for one in means]})
    low, high = by_lambda.limits(rows, [0.79])
    assert 77 < low < 79 and 83 < high < 86
    assert by_lambda.limits(rows.iloc[:1], []) == pytest.approx((79 - 0.16, 81 + 0.16))


def test_cost_has_ratios_of_whole_runs_and_of_the_bench(root, drawn):
    rows = drawn["cost"].rows
    mine = rows[(rows["experiment"] == "mnist-hetero") & (rows["metric"] == "run_times_plain")]
    for method, ratio in (("har", 3.7), ("uniform", 3.1), ("co_teaching", 2.0)):
        epochs = [bodies(root, f"mnist-hetero/crossed/{name}")[0]["curves"]["epoch"][-1] for name in (method, "erm")]
        line = line_of(mine, method=method)
        assert line["n"] == SEEDS and line["mean"] == pytest.approx(ratio * epochs[0] / epochs[1])
    measured = rows[rows["metric"] == "measured_times_plain"]
    assert list(zip(measured["method"], measured["y"], strict=True)) == [
        ("har", 2.55), ("har", 2.35), ("har_difference", 2.05)
    ]  # fmt: skip
    assert "a step: ours" in texts(drawn["cost"]) and "grey: penalised steps, ResNet-32" in texts(drawn["cost"])


def test_the_bench_is_optional(root):
    material = tables.of_artifact("paper", "har", "cost", root)
    options = {**material.artifact.options, "measured": "results/bench/absent.csv"}
    object.__setattr__(material, "artifact", material.artifact.model_copy(update={"options": options}))
    rows = cost.rows(material, ["uniform", "har"])
    assert set(rows["metric"]) == {"run_times_plain"}
    assert "Bench: not measured" in texts(cost.draw(material, rows, ["uniform", "har"]))


def test_the_notebooks_are_stripped():
    for name in ARTIFACTS:
        cells = json.loads((ROOT / f"notebooks/har/{name}.ipynb").read_text())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert len(code) > 2 and not any(cell["outputs"] or cell["execution_count"] for cell in code), name
