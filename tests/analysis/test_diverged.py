"""A run that diverged is a result without a score: it is counted and named, and no number is made of it."""

import io

import pandas as pd
import pytest
from support import synthetic_records

from reweigh import scorecard
from reweigh.analysis import rows, tables
from reweigh.config.loading import load
from reweigh.config.names import ArtifactName, RunName
from reweigh.plots import bars, by_setting, curves
from reweigh.plots import tables as table_figures
from reweigh.provenance import recompute
from reweigh.provenance.audit import completeness
from reweigh.provenance.explain import files
from reweigh.records import record
from reweigh.records.lineage import value_of

SOME, ALL = "smoke/tdr/mnist-4v9/rho0.005/er/seed0", "smoke/tdr/mnist-4v9/rho0.005/hard"
SCORED = ("test_accuracy", "balanced_accuracy", "minority_recall", "minority_precision", "best_epoch_test_accuracy")


def diverge(root, run, stated=True):
    """Have a made-up run end as one that diverged in its last epoch; `stated`: as old records, with metrics."""
    synthetic_records.make(root, run, status="diverged", test_accuracy=0.5)
    path = record.record_path(run, root)
    body = record.read(path)
    if not stated:
        body["metrics"] = dict.fromkeys(body["metrics"])
        for name in ("test_accuracy", "minority_recall", "minority_precision"):
            body["curves"][name][-1] = None
        record.write(path, {key: value for key, value in body.items() if key != "digest"})


@pytest.fixture(scope="module", params=["as old records state it", "without metrics"])
def root(request, tmp_path_factory):
    """Made-up records of MNIST at scale smoke: one run of a cell diverged, and all runs of another."""
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    for artifact in ("fig3", "fig5"):
        synthetic_records.fill(root, "smoke", "tdr", artifact)
    for run in (SOME, *load(root).runs_of(ALL)):
        diverge(root, run, stated=request.param.startswith("as old"))
    return root


def test_the_table_has_no_metrics_of_it(root):
    cells = [str(RunName.parse(SOME).cell), ALL]
    table = tables.load_cells(load(root), cells).set_index("run")
    lost = table[table["status"] == "diverged"]
    assert set(lost.index) == {SOME, *load(root).runs_of(ALL)}
    assert lost[list(SCORED)].isna().all(axis=None) and not lost["collapsed"].any()
    kept = table[table["status"] == "finished"]
    assert kept["test_accuracy"].notna().all() and len(kept)


KINDS = {"fig5": by_setting, "fig3": curves, "bars": bars, "tables": table_figures}


@pytest.mark.parametrize("kind", KINDS)
def test_every_line_of_a_figure_is_what_its_runs_say(root, kind):
    """Number, n, status and runs, recomputed from the records; no run of a cell is left out, none has a number."""
    config, name = load(root), kind if kind.startswith("fig") else "fig5"
    material = tables.of_artifact("smoke", "tdr", name, root)
    figure = KINDS[kind].draw(material, KINDS[kind].rows(material))
    text = io.StringIO()
    rows.write_csv(figure.rows, text)
    text.seek(0)
    lines = pd.read_csv(text, keep_default_na=False, dtype=str).to_dict("records")
    if kind.startswith("fig"):
        name_of = ArtifactName("smoke", "tdr", name)
        assert completeness.incompleteness(lines, config, name_of, material.records, [*material.records]) == ""
    named = set()
    for line in lines:
        runs = tables.expand_runs(line["runs"])
        bodies = [material.records[run] for run in runs]
        named |= set(runs)
        if not bodies:
            assert line["status"] == "not run" and not line["mean"]
            continue
        assert recompute.unlike_its_runs(line, bodies, config, "tdr") == ""
        again = recompute.line(line, bodies, root)
        for key in ("mean", "n"):
            stated = None if line[key] == "" else float(line[key])
            assert stated == pytest.approx(again[key], abs=1e-5), (line["method"], key)
    assert {SOME, *config.runs_of(ALL)} & set(material.records) <= named
    if kind == "fig5":
        (whole,) = [
            line for line in lines if line["setting"] == "rho0.005" and line["method"] == "hard" and not line["seed"]
        ]
        count = len(config.runs_of(ALL))
        assert (whole["mean"], whole["n"], whole["status"]) == ("", "0", f"{count} diverged")
    said = " ".join(one.get_text() for one in figure.picture.findobj(lambda artist: hasattr(artist, "get_text")))
    assert "diverged, which have no score" in said or kind == "fig3"


def test_pairs_with_it_count_and_have_no_difference(root):
    material = tables.of_artifact("smoke", "tdr", "fig5", root)
    ours, others = (material.of("mnist-4v9", "rho0.005", name) for name in ("hard", "tdr"))
    row = rows.paired_row(ours, others, "test_accuracy")
    assert (row["n"], row["mean"], row["status"]) == (0, None, f"{len(ours)} diverged")
    assert set(tables.expand_runs(row["runs"])) == {*ours["run"], *others["run"]}


def test_the_scorecard_counts_it_and_decides_nothing_by_it(root):
    config = load(root)
    lines = scorecard.score(config, "smoke", ["tdr"])
    numbers = lines[
        (lines["kind"] == "number") & (lines["experiment"] == "mnist-4v9") & (lines["setting"] == "rho0.005")
    ]
    hard, partly = (numbers[numbers["method"] == name] for name in ("hard", "er"))
    for _, line in hard.iterrows():
        assert pd.isna(line["mean"]) and line["n"] == 0 and "diverged" in line["status"] and "diverged" in line["note"]
        assert not {"replicated", "better", "worse", "not run"} & {line["verdict"].removeprefix("smoke: ")}
    for _, line in partly.iterrows():
        assert line["n"] == len(config.runs_of(str(RunName.parse(SOME).cell))) - 1 and "1 diverged" in line["note"]
    claims = lines[(lines["kind"] == "claim") & lines["method"].str.contains("hard", na=False)]
    for _, claim in claims.iterrows():
        assert "holds" not in claim["verdict"] and "fails" not in claim["verdict"]


def test_one_value_of_it_is_none_and_its_chain_is_shown(root):
    body = record.read(record.record_path(SOME, root))
    assert value_of(body, "test_accuracy") is None
    first = body["curves"]["epoch"][0]
    if len(body["curves"]["epoch"]) > 1:
        assert value_of(body, "test_accuracy", first) == body["curves"]["test_accuracy"][0]
    assert recompute.feeds(body, "test_accuracy") and recompute.feeds(body, "test_accuracy", float(first))
    assert not recompute.feeds(body, "test_accuracy", 10_000.0)
    shown = files._record(SOME, root, "test_accuracy", None)
    assert shown["runs"][0]["value"] is None
