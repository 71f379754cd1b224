"""AutoBalance's figures and tables: they draw what records, formulas and the paper say, and name what is missing."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import autobalance_records, synthetic_records
from support.drawing import check_csv, check_without_records, draw_all, draw_artifact
from support.pages import layout_faults
from support.project import ROOT

from reweigh import metrics, stats
from reweigh.analysis import tables
from reweigh.config.loading import load
from reweigh.plots.figure import Figure
from reweigh.plots.papers.autobalance import cells, clusters
from reweigh.provenance.audit.figures import check_figures
from reweigh.provenance.explain import formula
from reweigh.records import record

PAPER = "paper/autobalance"
SEEDS = 2
CELLS = {
    "mnist-lt/rho100": ["ce", "la", "la_val", "delta", "l", "delta_l", "delta_l_auto", "delta_l_every"],
    "mnist-lt-tau/*": ["la"],
    **{f"mnist-lt-validation/val{size}": ["delta_l_auto"] for size in (108, 1084)},
    "waterbirds/linear": ["ce", "ce_bal_g", "autobalance", "autobalance_auto", "autobalance_exact", "ce_threshold"],
    "waterbirds/mlp": ["ce"],
    **{f"waterbirds-trade-off/lambda{share}": ["ce_deo", "autobalance", "ce_threshold"] for share in (0, 0.5, 1)},
}
LOST = "mnist-lt/rho100/delta_l_la"  # both runs diverge in the search
ARTIFACTS = ("fig1", "fig2", "fig3", "fig4", "fig5", "table1", "table2", "table3", "sign", "cost", "controls")
COMPUTED = ("fig1", "fig2")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with made-up records of CELLS at two seeds, at scale paper; everything else is missing."""
    root = synthetic_records.project(tmp_path_factory.mktemp("autobalance"))
    (root / "results").mkdir(exist_ok=True)
    (root / "results/bench").symlink_to(ROOT / "results/bench")
    config = load(root)
    for place, methods in CELLS.items():
        experiment, setting = place.split("/")
        names = config.experiment("autobalance", experiment).settings if setting == "*" else [setting]
        for cell in [f"{PAPER}/{experiment}/{name}/{method}" for name in names for method in methods]:
            for run in config.runs_of(cell)[:SEEDS]:
                autobalance_records.make(root, run)
    for run in config.runs_of(f"{PAPER}/{LOST}")[:SEEDS]:
        autobalance_records.make(root, run, "diverged")
    return root


@pytest.fixture(scope="module")
def drawn(root: Path) -> dict[str, Figure]:
    """Every artifact as its notebook draws it; csv and receipt lie where they belong."""
    return draw_all(root, "autobalance", ARTIFACTS)


def bodies(root: Path, cell: str) -> list[dict]:
    return [record.read(path) for path in sorted((root / "results" / PAPER / cell).glob("seed*.json"))]


def arrays(root: Path, body: dict) -> dict[str, np.ndarray]:
    return dict(np.load(record.trace_path(record.record_path(body["run"], root), body)))


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.picture.findobj(lambda artist: hasattr(artist, "get_text")))


# --- all of them -----------------------------------------------------------------------------------------------------


def test_every_artifact_of_the_config_is_here_with_notebook_and_caption(root):
    artifacts = load(root).paper("autobalance").artifacts
    assert set(artifacts) == set(ARTIFACTS)
    for name, artifact in artifacts.items():
        assert (root / artifact.notebook).is_file() and artifact.notebook == f"notebooks/autobalance/{name}.ipynb"
        assert (root / artifact.caption).read_text().strip()


def test_an_audit_finds_every_figure_intact(root, drawn):
    """Each line is computed again from its records by other code, and none is missing."""
    runs = [
        path.relative_to(root / "results").with_suffix("").as_posix() for path in root.rglob("results/**/seed*.json")
    ]
    found = list(check_figures(load(root), "paper", root, tables.records_of(sorted(runs), root)))
    assert len(found) == 5 * len(ARTIFACTS)
    assert [link for link in found if link.state != "intact"] == []


@pytest.mark.parametrize(
    ("artifact", "metric"),
    [
        ("fig3", "searched_multiplier"),
        ("fig3", "searched_offset"),
        ("fig4", "search_validation_error"),
        ("fig5", "deo_error"),
        ("sign", "largest_curvature"),
        ("sign", "gradient_beyond_two"),
        ("sign", "steps_beyond_two"),
        ("sign", "group_balanced_error_difference"),
        ("cost", "search_seconds"),
        ("cost", "training_seconds"),
        ("cost", "times_plain"),
        ("controls", "balanced_error_over_oracle"),
    ],
)
def test_an_edited_number_of_every_kind_is_found(root, drawn, artifact, metric):
    path = root / "figures" / PAPER / f"{artifact}.csv"
    before = path.read_text()
    lines = pd.read_csv(path, dtype=str, keep_default_na=False)
    edited = lines[(lines["metric"] == metric) & (lines["mean"] != "")].index[-1]
    lines.loc[edited, "mean"] = str(float(lines.loc[edited, "mean"]) + 0.003)
    lines.to_csv(path, index=False)
    runs = [one.relative_to(root / "results").with_suffix("").as_posix() for one in root.rglob("results/**/seed*.json")]
    try:
        records = tables.records_of(sorted(runs), root)
        (fault,) = (one for one in check_figures(load(root), "paper", root, records) if one.state != "intact")
    finally:
        path.write_text(before)
    assert fault.state == "broken" and fault.detail.startswith(f"line {edited + 2}: mean ")


@pytest.mark.parametrize("name", ARTIFACTS)
def test_nothing_is_written_outside_the_page_or_over_something_else(drawn, name):
    assert layout_faults(drawn[name].picture, table=name.startswith("table")) == []


@pytest.mark.parametrize("name", ARTIFACTS)
def test_each_says_its_scale_and_over_how_many_runs(drawn, name, tmp_path):
    written = texts(drawn[name])
    assert "the same at every scale" in written if name in COMPUTED else "scale: paper" in written
    assert name in COMPUTED or name == "table2" or f"n = {SEEDS} seeds" in written
    check_csv(drawn[name], tmp_path / name)


@pytest.mark.parametrize("name", [name for name in ARTIFACTS if name not in COMPUTED])
def test_without_any_record_it_is_drawn_and_says_so(root, name, monkeypatch):
    monkeypatch.setattr(tables, "records_of", lambda *_: {})
    check_without_records(draw_artifact(root, "paper", "autobalance", name), table=name.startswith("table"))


@pytest.mark.parametrize("name", ARTIFACTS)
def test_what_is_computed_without_runs_comes_out_the_same_from_its_formula(root, drawn, name):
    lines = pd.read_csv(root / "figures" / PAPER / f"{name}.csv", dtype=str, keep_default_na=False).to_dict("records")
    for line in [line for line in lines if line["status"] == "computed"][::7]:
        found = formula.of_line(load(root), "paper", "autobalance", name, line)
        assert found is not None and {key: float(line[key]) for key in found.again} == pytest.approx(
            found.again, rel=1e-5
        )


# --- figures 1 to 5 --------------------------------------------------------------------------------------------------


def test_fig1_has_the_cells_of_the_reader_and_halves_by_cell(drawn):
    waterbirds = pytest.importorskip("reweigh.data.readers.waterbirds")
    rows = drawn["fig1"].rows
    for part, sizes in waterbirds.SIZES.items():
        mine = rows[rows["note"] == part]
        assert mine["y"].tolist() == list(sizes) and mine["title"].tolist() == list(waterbirds.CELLS)
        assert mine["x"].tolist() == pytest.approx([size / sum(sizes) for size in sizes])
    halves = [rows[rows["note"] == half]["y"].tolist() for half in cells.HALVES]
    assert halves == [[1749, 92, 28, 529], [1749, 92, 28, 528]]


def test_fig1_shows_an_image_of_each_cell_where_the_archive_is_unpacked(tmp_path):
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "data/raw/waterbirds-images/archive"
    folder.mkdir(parents=True)
    assert cells.cell_images(tmp_path) is None
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    for cell in range(4):
        image.new("RGB", (8, 8), (50 * cell, 0, 0)).save(folder / f"{cell}.png")
        lines += [f"{cell},none.png,{cell // 2},0,{cell % 2},x", f"{cell + 4},{cell}.png,{cell // 2},2,{cell % 2},x"]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    images = cells.cell_images(tmp_path)
    assert images is not None and [one[0, 0, 0] for one in images] == [0, 50, 100, 150]


def test_fig3_draws_the_last_outer_step_of_each_epoch_by_fifths_of_the_classes(root, drawn):
    rows = drawn["fig3"].rows
    runs = bodies(root, "mnist-lt/rho100/delta_l")
    mine = rows[(rows["experiment"] == "mnist-lt") & (rows["method"] == "delta_l")]
    per_epoch = runs[0]["stages"][0]["steps_per_epoch"]
    for metric, name in (("searched_multiplier", "delta"), ("searched_offset", "l")):
        for fifth, epoch in ((0, 25), (2, 40), (4, 60)):
            values = []
            for body in runs:
                logged = arrays(root, body)
                last = [k for k, step in enumerate(logged["outer_step"].tolist()) if step < epoch * per_epoch][-1]
                raw = logged[name][last][2 * fifth : 2 * fifth + 2].astype(float)
                values.append(np.mean(1 / (1 + np.exp(-raw)) if name == "delta" else raw))
            line = mine[(mine["metric"] == metric) & (mine["class"] == fifth) & (mine["epoch"] == epoch)]
            expected = stats.summarise(values)
            assert line[["mean", "low", "high", "n"]].to_numpy(float)[0] == pytest.approx(
                [expected.mean, expected.low, expected.high, SEEDS], rel=1e-6
            )
    assert set(mine["epoch"]) == set(range(25, 61))  # nothing before the warm-up is over


def test_fig3_draws_of_a_method_only_what_it_searches(drawn):
    rows = drawn["fig3"].rows
    metrics_of = rows[rows["panel"] != "a"].groupby("method")["metric"].unique()
    assert metrics_of["delta"].tolist() == ["searched_multiplier"] and metrics_of["l"].tolist() == ["searched_offset"]
    sizes = rows[rows["panel"] == "a"]
    totals = sizes.groupby("note")["y"].sum()
    assert (totals["S_T"], totals["S_V"]) == (8719, 2180)
    assert "Not run: CIFAR-100" in texts(drawn["fig3"])


def test_fig3_shows_another_step_where_the_printed_one_was_not_trained(root):
    material = tables.material_of(load(root), "paper", "autobalance", "fig3")
    rows = clusters.rows(material, ["delta_l_cg", "delta_l"], ["delta_l_auto", "delta_l_auto"])
    shown = rows[(rows["experiment"] == "mnist-lt") & (rows["n"] > 0)].groupby("panel")["method"].unique()
    assert [names.tolist() for names in shown] == [["delta_l_auto"], ["delta_l"]]


def test_fig4_draws_errors_of_the_search_alone(root, drawn):
    rows = drawn["fig4"].rows
    runs = bodies(root, "mnist-lt-validation/val108/delta_l_auto")
    mine = rows[(rows["setting"] == "val108") & (rows["metric"] == "search_test_error")].set_index("epoch")
    curves = runs[0]["curves"]
    searched = [epoch for epoch, stage in zip(curves["epoch"], curves["stage"], strict=True) if stage == 0]
    assert mine.index.tolist() == searched and len(searched) < len(curves["epoch"])
    at = searched[3]
    errors = [1 - body["curves"]["test_balanced_accuracy"][body["curves"]["epoch"].index(at)] for body in runs]
    assert mine.loc[at, "mean"] == pytest.approx(np.mean(errors))


def test_fig5_has_a_point_a_share_with_its_control_hollow(root, drawn):
    rows = drawn["fig5"].rows
    for metric in ("standard_error_train_shares", "group_balanced_error", "deo_error"):
        values = [
            metrics.of_record(body)[metric] for body in bodies(root, "waterbirds-trade-off/lambda0.5/autobalance")
        ]
        line = rows[(rows["setting"] == "lambda0.5") & (rows["method"] == "autobalance") & (rows["metric"] == metric)]
        assert line["mean"].iloc[0] == pytest.approx(np.mean(values)) and line["n"].iloc[0] == SEEDS
    handles = {
        text.get_text(): handle
        for legend in drawn["fig5"].picture.legends
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True)
    }
    title = load(root).paper("autobalance").methods["ce_threshold"].title
    assert handles[title].get_markerfacecolor() == "white"
    assert handles["AutoBalance"].get_markerfacecolor() != "white"


# --- tables ----------------------------------------------------------------------------------------------------------


def test_table1_has_the_papers_numbers_beside_ours_and_what_is_not_run(drawn):
    written = texts(drawn["table1"])
    for number in (
        "30.45",
        "62.69",
        "55.47",
        "39.72",
        "21.15",
        "33.25",
    ):  # CE, and two of the last row
        assert number in written
    assert "surrogate" in written and "not run" in written
    rows = drawn["table1"].rows
    assert set(rows[rows["n"] > 0]["experiment"]) == {"mnist-lt"}
    assert set(rows["metric"]) == {"balanced_error"}


def test_table3_has_three_errors_of_a_row_and_those_of_its_control(root, drawn):
    rows, written = drawn["table3"].rows, texts(drawn["table3"])
    for number in ("23.38", "43.25", "33.75", "15.13", "30.33", "4.25"):
        assert number in written
    for method in ("ce", "ce_threshold"):
        for metric in ("group_balanced_error", "worst_class_group_error", "deo_error"):
            ours = [metrics.of_record(body)[metric] for body in bodies(root, f"waterbirds/linear/{method}")]
            line = rows[(rows["setting"] == "linear") & (rows["method"] == method) & (rows["metric"] == metric)]
            assert line["mean"].iloc[0] == pytest.approx(np.mean(ours))
            assert f"{100 * np.mean(ours):.1f} ± {100 * np.std(ours, ddof=1):.1f}" in written
    assert "with offset" in written.replace("\n", " ")


# --- ours ------------------------------------------------------------------------------------------------------------


def test_sign_says_how_many_outer_steps_lie_beyond_two(root, drawn):
    rows = drawn["sign"].rows
    shares = [(arrays(root, body)["lambda_max"] > 2).mean() for body in bodies(root, "waterbirds/linear/autobalance")]
    mine = rows[(rows["setting"] == "linear") & (rows["method"] == "autobalance")]
    assert mine[mine["metric"] == "steps_beyond_two"]["mean"].tolist() == pytest.approx([np.mean(shares)])
    means = []
    for body in bodies(root, "waterbirds/linear/autobalance"):
        logged, steps = arrays(root, body), body["stages"][0]["steps_per_epoch"]
        in_epoch = (logged["outer_step"] > 250 * steps) & (logged["outer_step"] <= 251 * steps)  # after its step of θ
        means.append(logged["lambda_max"][in_epoch].mean())
    line = mine[(mine["metric"] == "largest_curvature") & (mine["epoch"] == 251)]
    assert line["mean"].tolist() == pytest.approx([np.mean(means)])
    assert "Outer steps with λ_max above 2" in texts(drawn["sign"])


def test_sign_draws_the_filter_with_its_turn_at_two(drawn):
    rows = drawn["sign"].rows
    plain = rows[(rows["metric"] == "filter_of_series") & (rows["note"] == "ε = 1")].set_index("x")["y"]
    assert plain[2.0] == 0 and plain[2.5] == pytest.approx(-4.15625) and plain[10.0] == pytest.approx(-53_144)
    damped = rows[(rows["metric"] == "filter_of_series") & (rows["note"] != "ε = 1")]["y"]
    assert (damped > 0).all()


def test_runs_that_diverged_are_said_of_the_side_that_has_them(root, drawn):
    figure, methods = drawn["controls"], load(root).paper("autobalance").methods
    lines = sorted(figure.picture.texts, key=lambda text: -text.get_position()[1])
    footer = " ".join(text.get_text() for text in lines)
    note = footer.partition("With runs that diverged")[2].partition("Not run")[0]
    assert methods["delta_l_la"].title in note and methods["la"].title not in note
    lost = figure.rows[figure.rows["method"] == "delta_l_la"]
    assert (lost[lost["against"] == "la"]["status"] == f"{SEEDS} diverged").all() and lost["mean"].isna().all()


def test_cost_is_measured_against_the_plain_training_of_the_same_seed(root, drawn):
    rows = drawn["cost"].rows
    ours, plain = (bodies(root, f"mnist-lt/rho100/{method}") for method in ("delta_l", "ce"))
    ends = [other["curves"]["train_seconds"][-1] for other in plain]
    ratios = [body["curves"]["train_seconds"][-1] / end for body, end in zip(ours, ends, strict=True)]
    line = rows[(rows["metric"] == "times_plain") & (rows["experiment"] == "mnist-lt") & (rows["method"] == "delta_l")]
    assert line["mean"].tolist() == pytest.approx([np.mean(ratios)]) and line["against"].tolist() == ["ce"]
    products = rows[rows["metric"] == "product_in_plain_steps"]
    with open(ROOT / "results/bench/hessian.csv") as file:
        timed = {line["contender"]: line["ratio"] for line in csv.DictReader(file) if "ResNet-32" in line["group"]}
    assert len(products) == 8  # four routes in two layouts
    for title, value in zip(products["title"], products["y"], strict=True):
        assert value == float(timed[f"Hessian-vector product, {title}"])


def test_the_oracle_takes_the_best_tau_of_each_seed_by_the_test_set(root, drawn):
    rows = drawn["controls"].rows
    taus = load(root).experiment("autobalance", "mnist-lt-tau").settings
    grid = [bodies(root, f"mnist-lt-tau/{tau}/la") for tau in taus]
    best = [min(1 - runs[seed]["metrics"]["balanced_accuracy"] for runs in grid) for seed in range(SEEDS)]
    ours = [1 - body["metrics"]["balanced_accuracy"] for body in bodies(root, "mnist-lt/rho100/delta_l")]
    line = rows[(rows["metric"] == "balanced_error_over_oracle") & (rows["method"] == "delta_l")]
    assert line["mean"].tolist() == pytest.approx([np.mean(np.subtract(ours, best))])
    assert "a bound" in texts(drawn["controls"])
