"""MOLERE's figures and tables: they draw what records, formulas and the paper say, and name what is missing."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as MatplotlibFigure
from support import molere_records, synthetic_records
from support.drawing import check_csv, check_without_records, draw_all, draw_artifact
from support.molere_records import PAPER, accuracies, bodies, expected, summary, texts
from support.pages import layout_faults
from support.project import ROOT

from reweigh.analysis import tables
from reweigh.config.loading import load
from reweigh.plots.figure import Figure
from reweigh.plots.panels import settings_of
from reweigh.plots.papers.molere import arms, gains
from reweigh.provenance.audit.figures import check_figures
from reweigh.provenance.explain import formula

SEEDS = 3
ARMS = [
    "erm", "erm_pool", "random_removed", "easy_removed", "hard_removed", "lrw_easy", "lrw_random", "lrw_hard", "lrwopt",
    "lrw_random_adam", "mbr", "lrwopt_hardest", "lrwopt_tied",
]  # fmt: skip
CELLS = {
    "mnist-ordering/clean": ARMS,
    "mnist-ordering/sym0.2": ["erm", "lrw_easy", "lrw_random", "lrw_hard", "lrwopt"],
    "cifar100-skew/skew200": ["erm", "mwn", "lrwopt"],
    "cifar100-sensitivity/delta0.05": ["lrwopt"],
    "mnist-choices/clean": ["lrwopt", "lrwopt_q1"],
}
LOST = "mnist-ordering/clean/hard_removed"  # its last run diverges
TABLES = tuple(f"table{number}" for number in range(1, 8))
ARTIFACTS = ("fig1", "fig2", "fig3", "fig4", *TABLES, "ordering", "cost", "curves", "sensitivity")
CLOSED = ("fig2", "table1", "table3", "table4", "table6")  # of nothing that has a record here
COLUMNS = "device,torch,group,contender,baseline,milliseconds,ratio,q1,q3,peak_mebibytes,rounds,threads,precision"
BENCH = f"""{COLUMNS},model,batch_size,method,note
a made-up processor,2.0,"whole run, ResNet-32, B = 64",LRWOpt,ERM,3.1,1.55,1.5,1.6,,5,1,fp32,,,,
a made-up processor,2.0,"whole run, FLOPs, ResNet-32, B = 64","LRW-Hard, head of φ",ERM,5.1,2.55,2.5,2.6,,5,1,fp32,,,,
a made-up processor,2.0,"steps, ResNet-32, B = 64",LRWOpt,plain step,1,7.5,7,8,,5,1,fp32,,,,
a made-up processor,2.0,"whole run, ResNet-32, B = 64",something else,ERM,5.1,9.5,9,10,,5,1,fp32,,,,
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with made-up records of CELLS at three seeds, at scale paper; everything else is missing."""
    root = synthetic_records.project(tmp_path_factory.mktemp("molere"))
    (root / "results/bench").mkdir(parents=True)
    (root / "results/bench/reweighting.csv").write_text(BENCH)
    config = load(root)
    for place, methods in CELLS.items():
        for cell in [f"{PAPER}/{place}/{method}" for method in methods]:
            runs = config.runs_of(cell)[:SEEDS]
            for run in runs:
                lost = cell.endswith(LOST) and run == runs[-1]
                molere_records.make(root, run, "diverged" if lost else "finished")
    return root


@pytest.fixture(scope="module")
def drawn(root: Path) -> dict[str, Figure]:
    """Every artifact as its notebook draws it; csv and receipt lie where they belong."""
    return draw_all(root, "molere", ARTIFACTS)


# --- all of them -----------------------------------------------------------------------------------------------------


def test_every_artifact_of_the_config_is_here_with_notebook_and_caption(root):
    artifacts = load(root).paper("molere").artifacts
    assert set(artifacts) == set(ARTIFACTS)
    for name, artifact in artifacts.items():
        assert (root / artifact.notebook).is_file() and artifact.notebook == f"notebooks/molere/{name}.ipynb"
        assert (root / artifact.caption).read_text().strip()


def found(root: Path) -> list:
    runs = [
        path.relative_to(root / "results").with_suffix("").as_posix() for path in root.rglob("results/**/seed*.json")
    ]
    return list(check_figures(load(root), "paper", root, tables.records_of(sorted(runs), root)))


def test_an_audit_finds_every_figure_intact(root, drawn):
    """Each line is computed again from its records by other code, and none is missing."""
    links = found(root)
    assert len(links) == 5 * len(ARTIFACTS)
    assert [(link.name, link.detail) for link in links if link.state != "intact"] == []


@pytest.mark.parametrize(
    "edits",
    [
        {
            "fig1": "test_accuracy_relative_gain",
            "fig3": "margin_change",
            "fig4": "margin_change_in_bucket",
            "table2": "test_accuracy",
            "table7": "test_accuracy_difference",
            "ordering": "test_accuracy_difference",
            "cost": "run_times_plain",
            "curves": "train_accuracy",
            "sensitivity": "test_accuracy_difference",
        },
        {
            "fig3": "margin_change_median",
            "fig4": "margin_change_sd_in_bucket",
            "ordering": "test_accuracy_difference_in_differences",
            "curves": "train_loss",
            "sensitivity": "test_accuracy",
        },
        {"fig3": "margin_change_share", "fig4": "margin_change_sem_in_bucket"},
        {"fig4": "examples_in_bucket"},
    ],
    ids=["first", "second", "third", "fourth"],
)
def test_an_edited_number_of_every_kind_is_found(root, drawn, edits):
    """At most one number of each csv is edited at once."""
    paths = {name: root / "figures" / PAPER / f"{name}.csv" for name in edits}
    before, edited = {name: path.read_text() for name, path in paths.items()}, {}
    for name, metric in edits.items():
        lines = pd.read_csv(paths[name], dtype=str, keep_default_na=False)
        place = lines[(lines["metric"] == metric) & (lines["mean"] != "")].index[-1]
        lines.loc[place, "mean"] = str(float(lines.loc[place, "mean"]) + 0.003)
        lines.to_csv(paths[name], index=False)
        edited[name] = int(place) + 2
    try:
        faults = {Path(one.name).stem: one for one in found(root) if one.state != "intact"}
    finally:
        for name, text in before.items():
            paths[name].write_text(text)
    assert set(faults) == set(edits)
    assert all(fault.state == "broken" for fault in faults.values())
    assert [name for name, one in faults.items() if not one.detail.startswith(f"line {edited[name]}: mean ")] == []


@pytest.mark.parametrize("name", ARTIFACTS)
def test_nothing_is_written_outside_the_page_or_over_something_else(drawn, name):
    assert layout_faults(drawn[name].picture, table=name.startswith("table")) == []


@pytest.mark.parametrize("name", ARTIFACTS)
def test_each_says_its_scale_and_over_how_many_runs(drawn, name, tmp_path):
    written = texts(drawn[name])
    assert "scale: paper" in written
    counts = ("n = 3 seeds", "n = 2 to 3 seeds")
    assert any(count in written for count in counts) or name in CLOSED
    check_csv(drawn[name], tmp_path / name)


@pytest.mark.parametrize("name", ARTIFACTS)
def test_without_any_record_it_is_drawn_and_says_so(root, name, monkeypatch):
    monkeypatch.setattr(tables, "records_of", lambda *_: {})
    check_without_records(draw_artifact(root, "paper", "molere", name), table=name.startswith("table"))


@pytest.mark.parametrize("name", ["fig1", "fig2", "table7", "cost"])
def test_what_is_made_of_printed_numbers_comes_out_the_same_from_its_formula(root, drawn, name):
    lines = pd.read_csv(root / "figures" / PAPER / f"{name}.csv", dtype=str, keep_default_na=False).to_dict("records")
    computed = [line for line in lines if line["status"] == "computed"]
    assert computed
    for line in computed:
        again = formula.of_line(load(root), "paper", "molere", name, line)
        assert again is not None and float(line["y"]) == pytest.approx(again.again["y"], rel=1e-5)


# --- figures 1 and 2 -------------------------------------------------------------------------------------------------


def test_fig1_has_relative_gains_of_ours_seed_by_seed(root, drawn):
    rows = drawn["fig1"].rows
    line = rows[
        (rows["setting"] == "clean") & (rows["experiment"] == "mnist-ordering") & (rows["method"] == "lrw_hard")
    ]
    line = line[line["panel"] == "a"].iloc[0]
    gain = accuracies(root, "mnist-ordering/clean/lrw_hard") / accuracies(root, "mnist-ordering/clean/erm") - 1
    assert summary(line) == expected(gain)


@pytest.mark.parametrize(
    ("name", "experiment", "gains_of"),
    [
        # the sheet's derived gains, in per cent: easy, random, hard, LRWOpt
        ("fig1", "cifar100", (-0.40, 0.72, 2.16, 2.48)),
        ("fig1", "aircraft", (0.81, 0.59, 1.32, 1.94)),
        ("fig1", "cars", (-0.12, 1.28, 2.38, 2.68)),
        ("fig1", "imagenet-100", (-0.10, 0.82, 1.20, 0.87)),
        ("fig1", "imagenet", (-1.96, -1.02, 0.81, 1.27)),
        ("fig1", "pets", (-1.28, 0.05, 0.42, 0.82)),
        ("fig1", "dr", (-0.87, 0.39, 1.25, 1.37)),
        ("fig2", "camelyon17", (-0.13, 0.00, 1.20, 1.72)),
        ("fig2", "iwildcam", (1.12, 0.20, 1.74, 1.91)),
        ("fig2", "imagenet-a", (-7.55, -1.89, 5.66, 3.77)),
        ("fig2", "dr-ood", (-0.35, 0.00, 0.93, 0.81)),
    ],
)
def test_printed_gains_are_two_printed_numbers_divided(drawn, name, experiment, gains_of):
    rows = drawn[name].rows
    printed = rows[(rows["metric"] == gains.PRINTED) & (rows["panel"] == "a") & (rows["experiment"] == experiment)]
    by_method = printed.set_index("method")["y"]
    shown = [100 * by_method[method] for method in ("lrw_easy", "lrw_random", "lrw_hard", "lrwopt")]
    assert shown == pytest.approx(gains_of, abs=0.006)


def test_fig1_has_of_clothing_what_the_text_says_and_says_so(drawn):
    rows, written = drawn["fig1"].rows, texts(drawn["fig1"])
    printed = rows[(rows["metric"] == gains.PRINTED) & (rows["experiment"] == "clothing1m")].set_index("method")["y"]
    hard, easy = printed["lrw_hard"], printed["lrw_easy"]
    assert hard == 0.013 and (1 + hard) / (1 + easy) - 1 == pytest.approx(0.016, abs=1e-4)
    assert printed["lrwopt"] == pytest.approx(73.97 / (73.97 - 4.2) - 1, abs=1e-4)
    assert "from the paper's text" in written.replace("\n", " ")


def test_a_data_set_without_runs_is_labelled_as_printed_and_its_bars_are_outlined(drawn):
    panel = drawn["fig1"].picture.axes[0]
    labels = [label.get_text() for label in panel.get_xticklabels()]
    assert next(label for label in labels if label.startswith("MNIST\nclean")).endswith("(ours)")
    printed = [place for place, label in enumerate(labels) if label.endswith("(printed)")]
    ours = [place for place, label in enumerate(labels) if label.endswith("(ours)")]
    assert len(printed) == 8 and len(ours) == 2
    for bar in panel.patches:
        if bar.get_y() or bar.get_height():  # a bar, no band
            place = round(bar.get_x() + bar.get_width() / 2)
            white = bar.get_facecolor()[:3] == (1.0, 1.0, 1.0)
            assert white or place in ours or bar.get_width() > 0.99


# --- tables ----------------------------------------------------------------------------------------------------------


def test_table2_has_our_means_and_sds_above_the_papers(root, drawn):
    written = texts(drawn["table2"])
    ours = 100 * accuracies(root, "cifar100-skew/skew200/lrwopt")
    assert f"{ours.mean():.2f} ± {ours.std(ddof=1):.2f}" in written
    for number in ("42.33 ± 0.8", "40.11 ± 0.9", "40.36 ± 1.0", "74.41 ± 0.4"):
        assert number in written


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("table1", ("83.17", "85.09", "83.87", "84.94", "84.02", "84.11")),
        ("table3", ("71.87", "65.89", "73.97", "72.07")),
        ("table5", ("81.42", "79.22", "93.09", "80.12", "75.60")),
        ("table6", ("5.6", "86.9", "71.43", "72.68", "71.40")),
    ],
)
def test_tables_have_the_papers_numbers_of_what_is_not_run(drawn, name, numbers):
    written = texts(drawn[name])
    assert [number for number in numbers if number not in written] == []


def test_table7_has_gains_over_the_variants_in_points(root, drawn):
    gain = accuracies(root, "mnist-ordering/clean/lrwopt") - accuracies(root, "mnist-ordering/clean/lrwopt_hardest")
    written = texts(drawn["table7"])
    assert f"{100 * gain.mean():+.2f} ± {100 * gain.std(ddof=1):.2f}".replace("-", "−") in written
    for number in ("+1.1", "+1.3", "+1.5", "+0.6", "+0.9"):
        assert number in written


# --- ours ------------------------------------------------------------------------------------------------------------


def test_ordering_has_each_arm_against_its_reference_without_what_diverged(root, drawn):
    rows = drawn["ordering"].rows
    rows = rows[(rows["experiment"] == "mnist-ordering") & (rows["setting"] == "clean")]
    hard, removed = (accuracies(root, f"mnist-ordering/clean/{name}") for name in ("lrw_hard", "hard_removed"))
    line = rows[(rows["method"] == "lrw_hard") & (rows["against"] == "hard_removed") & (rows["note"] == "")].iloc[0]
    both = np.isfinite(hard) & np.isfinite(removed)
    assert both.sum() == SEEDS - 1 and line["status"] == "1 diverged"
    assert summary(line) == expected((hard - removed)[both])
    assert "diverged" in texts(drawn["ordering"])


def test_a_difference_far_beyond_the_others_is_an_arrow_with_its_value():
    """Also where it is that far only in one of several panels: what of it is farther than the others is no limit."""
    lines = [
        {"group": "", "label": name, "mean": one / 100, "low": (one - 0.1) / 100, "high": (one + 0.1) / 100}
        for name, one in (("MBR", -12.6), ("a", 1.6), ("b", -0.9), ("c", 0.1))
    ]
    low, high = arms._limits(lines)
    assert -1.3 < low < -1 and 1.6 < high < 2
    assert arms._limits([*lines, {**lines[0], "mean": -0.05}]) == (low, high)
    assert arms._limits(lines[1:]) == (low, high) and arms._limits([]) == (-0.07, 0.07)
    axes = MatplotlibFigure().subplots()
    axes.set_xlim(low, high)
    for place, line in enumerate(lines):
        arms._dot(axes, line, place, "black", (low, high))
    assert [text.get_text() for text in axes.texts] == ["−12.6"]
    assert [line.get_marker() for line in axes.lines].count("<") == 1


def test_ordering_holds_each_arm_against_a_control_that_trains_on_as_many_images():
    """LRW-Random without hard examples trains on eight tenths of the pool, the others on nine."""
    config = load(ROOT).paper("molere")
    of_pool = {"hard+validation": 0.8, None: 1.0}
    cells = json.loads((ROOT / "notebooks/molere/ordering.ipynb").read_text())["cells"]
    names: dict = {}
    (source,) = ["".join(cell["source"]) for cell in cells if "contrasts = [" in "".join(cell["source"])]
    exec(source.partition("rows = ")[0], names)
    added = [one for one in names["contrasts"] if one[0] in ("What reweighting adds", "What it adds, compared")]
    assert len(added) == 8
    for _, _, treated, control, *less in added:
        for pair in ((treated, control), *less):
            removed = [config.methods[name].options["removed"] for name in pair]
            assert len({of_pool.get(one, 0.9) for one in removed}) == 1, pair
    text = (ROOT / "workflow/report/molere/ordering.rst").read_text() + str(names["contrasts"])
    assert not re.search(r"\b[ABCDHW]\d\b", text)  # codes of the sheet that nobody can look up


@pytest.mark.parametrize("name", ["ordering", "fig1", "table5", "table3"])
def test_clean_data_come_before_noisy_ones(root, name):
    settings = settings_of(tables.of_artifact("paper", "molere", name, root), "mnist-ordering")
    assert settings == [one for one in ("clean", "sym0.1", "sym0.2") if name != "table3" or one != "clean"]


def test_ordering_has_differences_in_differences_of_the_seeds_of_all_four(root, drawn):
    rows = drawn["ordering"].rows
    rows = rows[(rows["experiment"] == "mnist-ordering") & (rows["setting"] == "clean")]
    names = ("lrw_hard", "hard_removed", "lrw_random", "random_removed")
    a, b, c, d = (accuracies(root, f"mnist-ordering/clean/{name}") for name in names)
    whole = ((a - b) - (c - d))[np.isfinite(a - b + c - d)]
    line = rows[rows["metric"].str.endswith("in_differences") & (rows["method"] == "lrw_hard")].iloc[0]
    assert summary(line) == expected(whole) and line["n"] == SEEDS - 1


def test_cost_has_ratios_of_runs_of_the_bench_and_of_the_paper(root, drawn):
    rows = drawn["cost"].rows
    ours = rows[(rows["metric"] == "run_times_plain") & (rows["setting"] == "clean") & (rows["method"] == "lrw_hard")]
    assert ours["mean"].iloc[0] == pytest.approx(molere_records.SLOWER["lrw_hard"])
    printed = rows[rows["metric"] == "printed_times_plain"].set_index(["method", "panel"])["y"]
    assert printed.to_dict() == {
        ("lrwopt", "a"): 1.6, ("lrw_hard", "a"): 2.4, ("mwn", "a"): 1.4, ("l2r", "a"): 1.4,
        ("lrwopt", "b"): 1.7, ("lrw_hard", "b"): 2.3,
    }  # fmt: skip
    measured = rows[rows["metric"] == "measured_times_plain"].set_index(["method", "panel"])["y"]
    assert measured.to_dict() == {("lrwopt", "a"): 1.55, ("lrw_hard", "b"): 2.55}


def test_curves_mark_the_plain_stretch_of_lrwopt(root, drawn):
    rows = drawn["curves"].rows
    mine = rows[(rows["experiment"] == "mnist-ordering") & (rows["setting"] == "clean") & (rows["method"] == "lrwopt")]
    runs = bodies(root, "mnist-ordering/clean/lrwopt")
    for metric in ("test_accuracy", "train_accuracy", "train_loss"):
        at = mine[(mine["metric"] == metric)].set_index("epoch")
        assert at.index.tolist() == runs[0]["curves"]["epoch"]
        last = [body["curves"][metric][-1] for body in runs]
        assert summary(at.iloc[-1]) == expected(np.array(last))
    plain = runs[0]["stages"][0]["epochs"]
    widths = [patch.get_width() for patch in drawn["curves"].picture.axes[0].patches]
    assert plain in [round(width, 6) for width in widths]


def test_sensitivity_has_variants_minus_lrwopt_and_accuracy_by_setting(root, drawn):
    rows = drawn["sensitivity"].rows
    tied = accuracies(root, "mnist-ordering/clean/lrwopt_tied") - accuracies(root, "mnist-ordering/clean/lrwopt")
    line = rows[(rows["method"] == "lrwopt_tied") & (rows["setting"] == "clean") & (rows["n"] > 0)].iloc[0]
    assert summary(line) == expected(tied)
    often = accuracies(root, "mnist-choices/clean/lrwopt_q1") - accuracies(root, "mnist-choices/clean/lrwopt")
    assert summary(rows[rows["method"] == "lrwopt_q1"].iloc[0]) == expected(often)
    swept = rows[(rows["setting"] == "delta0.05") & rows["seed"].isna() & (rows["metric"] == "test_accuracy")]
    assert summary(swept.iloc[0]) == expected(accuracies(root, "cifar100-sensitivity/delta0.05/lrwopt"))


def test_the_notebooks_are_stripped():
    for path in sorted((ROOT / "notebooks/molere").glob("*.ipynb")):
        assert '"outputs": []' in path.read_text() and '"execution_count": 1' not in path.read_text()
