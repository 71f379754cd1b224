"""Lines about published numbers: degenerate cells, remarks, value sets, plain training with the same values."""

from pathlib import Path

import pandas as pd
import pytest
from support import synthetic_records
from support.config_files import replace
from support.project import ROOT

from reweigh import scorecard
from reweigh.config.loading import load
from reweigh.errors import ConfigError
from reweigh.provenance.explain import explain
from reweigh.scorecard import readme
from reweigh.scorecard.rates import false_decisions

CELL = "paper/tdr/cifar10-4v9-convnet/rho0.3"
ER = "Table1/cifar10-4v9-convnet/rho0.3/er/test_accuracy"
ONE_CLASS = {"test_accuracy": 0.5, "confusion": [[0, 1000], [0, 1000]]}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up records: Adult at the printed values, cells of Table 1 that collapsed or diverged, wholly or in part."""
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    for seed in range(5):
        for method, accuracy in (("tdr_p", 0.871), ("none_p", 0.869), ("tdr", 0.80), ("none", 0.70)):
            name = f"paper/tdr/adult/sex/{method}/seed{seed}"
            synthetic_records.make(root, name, test_accuracy=accuracy + 0.001 * seed)
        synthetic_records.make(root, f"paper/tdr/adult/sex/constant/seed{seed}", test_accuracy=0.7875)
    for seed in range(3):
        synthetic_records.make(root, f"{CELL}/er/seed{seed}", **ONE_CLASS)
        synthetic_records.make(root, f"{CELL}/hard/seed{seed}", status="diverged")
        status = "diverged" if seed == 2 else "finished"
        synthetic_records.make(root, f"{CELL}/tdr/seed{seed}", status, test_accuracy=0.93 + 0.001 * seed)
        one = ONE_CLASS if seed else {"test_accuracy": 0.6}
        synthetic_records.make(root, f"{CELL}/none/seed{seed}", **one)
    scorecard.write("paper", root, ["tdr"])
    return root


@pytest.fixture(scope="module")
def lines(root: Path) -> pd.DataFrame:
    return scorecard.score(load(root), "paper", ["tdr"]).set_index("id")


def test_a_cell_that_collapsed_is_degenerate_and_never_replicates(lines: pd.DataFrame) -> None:
    """Ours scores 0.5 three times and 0.4999 is published: not `replicated`; the note says that theirs is no better."""
    line = lines.loc[ER]
    assert (line["mean"], line["published"], line["verdict"]) == (0.5, 0.4999, "degenerate")
    assert "the published number looks like that of collapsed runs" in line["note"]
    assert "3 of 3 runs of er predict one class" in line["note"]


def test_a_cell_that_diverged_is_degenerate(lines: pd.DataFrame) -> None:
    line = lines.loc[ER.replace("/er/", "/hard/")]
    assert (line["n"], line["verdict"]) == (0, "degenerate") and "3 of 3 runs of hard diverged" in line["note"]


def test_a_cell_that_collapsed_in_part_is_judged_and_says_so(lines: pd.DataFrame) -> None:
    part, some = lines.loc[ER.replace("/er/", "/none/")], lines.loc[ER.replace("/er/", "/tdr/")]
    assert part["verdict"] != "degenerate" and "2 of 3 runs of none predict one class" in part["note"]
    assert (some["n"], some["verdict"]) == (2, "replicated") and "1 of 3 runs of tdr diverged" in some["note"]


def test_explain_finds_the_same_verdicts(root: Path, lines: pd.DataFrame) -> None:
    for name in (
        ER,
        ER.replace("/er/", "/hard/"),
        ER.replace("/er/", "/none/"),
        "Table3/adult/sex/tdr_p/test_accuracy",
    ):
        (cell,) = explain("results/paper/scorecard.csv", row=name, root=root)["cells"]
        assert (cell["fault"], cell["check"][-8:]) == ("", "the same"), name


def test_the_numbers_of_adult_say_what_they_are(lines: pd.DataFrame) -> None:
    plain, tdr = lines.loc["Table3/adult/sex/none_p/test_accuracy"], lines.loc["Table3/adult/sex/tdr_p/test_accuracy"]
    assert {plain["verdict"], tdr["verdict"]} == {"better"}
    assert "0.7511 is the share of the more frequent label in the training set" in plain["note"]
    assert "0.7906 is about what a constant prediction scores" in tdr["note"]
    assert "a constant prediction scores 0.787" in tdr["note"]


def test_a_gain_is_over_plain_training_with_the_same_values(lines: pd.DataFrame) -> None:
    """The printed values against the code's would measure the values, not the method."""
    line = lines.loc["Table3/adult/sex/tdr_p/test_accuracy"]
    assert line["gain"] == pytest.approx(0.002, abs=5e-4)
    assert line["published_gain"] == pytest.approx(0.7906 - 0.7511)
    paper = load(ROOT).paper("tdr")
    assert [paper.plain(name) for name in ("tdr_p", "hard_p", "tdr", "none_1c", "rand", "constant")] == [
        "none_p", "none_p", "none", "none", "none", "none",
    ]  # fmt: skip
    assert load(ROOT).paper("absgd").plain("absgd_ce") == "sgd_ce"


def test_a_paper_without_published_numbers_names_its_plain_training() -> None:
    config = load(ROOT)
    assert config.paper("compare").published is None
    assert config.paper("compare").plain("tdr") == config.plain("compare", "tdr") == "erm"


def test_lines_name_the_value_set(lines: pd.DataFrame) -> None:
    assert lines.loc["Table3/adult/sex/tdr_p/test_accuracy", "value_set"] == "printed"
    assert lines.loc[ER, "value_set"] == "code"
    claims = lines[lines["kind"] == "claim"]
    assert claims["value_set"].notna().all() and set(" ".join(claims["value_set"]).split()) <= {
        "printed",
        "code",
        "ours",
    }
    assert scorecard.score(load(ROOT), "paper", ["absgd"])["value_set"].isna().all()


def test_a_value_set_is_no_part_of_a_spec(tmp_path: Path) -> None:
    other = synthetic_records.project(tmp_path / "project")
    run = "paper/tdr/mnist-4v9/rho0.1/tdr/seed0"
    before = load(other).resolve(run)
    replace(other, "    values: code", "    values: ours", "config/papers/tdr/methods.yaml")
    assert load(other).paper("tdr").methods["tdr"].values == "ours"
    assert load(other).resolve(run) == before
    replace(other, "    values: ours", "    values: theirs", "config/papers/tdr/methods.yaml")
    with pytest.raises(ConfigError, match=r"methods.yaml:\d+: methods.tdr.values: must be 'printed', 'code' or 'ours'"):
        load(other)


def test_a_remark_on_no_number_is_refused(tmp_path: Path) -> None:
    other = synthetic_records.project(tmp_path / "project")
    replace(other, "    - table: Table3\n      method: NoReweighting", "    - table: Table3\n      method: Reweighting")
    with pytest.raises(ConfigError, match=r"published.yaml:\d+: published.remarks: .* has no Table3 Reweighting"):
        load(other)


def test_readers_are_told_what_chance_would_decide(root: Path, lines: pd.DataFrame, capsys, monkeypatch) -> None:
    text = false_decisions(lines.reset_index()).text
    assert text.startswith("3 of 4 published numbers with an interval of ours are better or worse.")
    for ending in ("md", "html"):
        assert text in (root / f"results/paper/scorecard.{ending}").read_text()
    monkeypatch.chdir(root)
    readme.main("paper")
    assert "published numbers with an interval of ours are better or worse. If all" in capsys.readouterr().out


def test_the_readme_says_what_is_better_and_degenerate(lines: pd.DataFrame) -> None:
    text = readme.summary(lines.reset_index())
    assert "| paper | replicated | better | worse | inconclusive | degenerate | not run |" in text
    assert "* `tdr`, 1 better (Table3 No reweighting (printed)): the published 0.7511 is the share of" in text
    assert "1 degenerate (Table1 Example reweighting (code)): the published number looks like that of collapsed" in text


def test_the_readme_says_which_runs_of_a_replicated_number_were_lost(lines: pd.DataFrame) -> None:
    text = readme.summary(lines.reset_index())
    assert "1 replicated (Table1 TDR (code)): " in text and "1 of 3 runs of tdr diverged" in text


# --- data that stand in for the paper's ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adult and MNIST, whose edition the config declares a stand-in for the data of the paper."""
    root = synthetic_records.project(tmp_path_factory.mktemp("stand-ins"))
    file = "  file: data/published/tdr.csv"
    replace(root, file, f"{file}\n  stand_ins: {{ official: stand-in features }}")
    for seed in range(5):
        for method, accuracy in (("tdr_p", 0.871), ("none_p", 0.869)):
            name = f"paper/tdr/adult/sex/{method}/seed{seed}"
            synthetic_records.make(root, name, test_accuracy=accuracy + 0.001 * seed)
    synthetic_records.fill(root, "paper", "tdr", "fig5")
    scorecard.write("paper", root, ["tdr"])
    return root


def test_a_number_on_stand_in_data_is_not_comparable(on_stand_ins: Path, lines: pd.DataFrame) -> None:
    name = "Table3/adult/sex/tdr_p/test_accuracy"
    found = scorecard.score(load(on_stand_ins), "paper", ["tdr"]).set_index("id")
    line = found.loc[name]
    assert (line["verdict"], line["n"], line["mean"]) == ("not comparable", 5, pytest.approx(0.873))
    assert pd.isna(line["difference"]) and "stand-in features" in line["note"]
    assert line["gain"] == pytest.approx(0.002, abs=5e-4)
    numbers = found[(found["kind"] == "number") & (found["n"] > 0)]
    assert set(numbers["verdict"]) == {"not comparable"}
    assert lines.loc[name, "verdict"] == "better"  # as it is on the paper's own
    (cell,) = explain("results/paper/scorecard.csv", row=name, root=on_stand_ins)["cells"]
    assert (cell["fault"], cell["check"][-8:]) == ("", "the same")


def test_a_claim_on_stand_in_data_is_decided(on_stand_ins: Path) -> None:
    found = scorecard.score(load(on_stand_ins), "paper", ["tdr"])
    claims = found[(found["kind"] == "claim") & (found["status"] == "run")]
    assert len(claims) and set(claims["verdict"]) <= {"holds", "fails", "inconclusive", "degenerate"}
    assert {"holds", "fails"} & set(claims["verdict"])


def test_readers_are_told_of_stand_ins(on_stand_ins: Path, root: Path) -> None:
    lines = scorecard.score(load(on_stand_ins), "paper", ["tdr"])
    assert "| degenerate | not run | not comparable | not judged or not reported |" in readme.summary(lines)
    for folder, told in ((on_stand_ins, True), (root, False)):
        assert ("A number is `not comparable` where" in (folder / "results/paper/scorecard.md").read_text()) == told
    assert "stand in for the paper" in (on_stand_ins / "results/paper/scorecard.html").read_text()


def test_a_smaller_scale_does_not_stand_before_not_comparable() -> None:
    assert "not comparable" in scorecard.UNDECIDED


def test_runs_that_are_cut_short_replicate_nothing_whatever_they_score(tmp_path: Path) -> None:
    """At scale quick the very number is not comparable, one class is degenerate, and explain finds the same."""
    root = synthetic_records.project(tmp_path / "project")
    for seed in range(2):
        synthetic_records.make(root, f"quick/tdr/cifar10-4v9-convnet/rho0.3/er/seed{seed}", **ONE_CLASS)
        synthetic_records.make(root, f"quick/tdr/cifar10-4v9-convnet/rho0.3/tdr/seed{seed}", test_accuracy=0.9)
        synthetic_records.make(root, f"quick/tdr/adult/sex/constant/seed{seed}", test_accuracy=0.7875)
    found = scorecard.write("quick", root, ["tdr"]).lines.set_index("id")
    exact, collapsed = found.loc[ER.replace("/er/", "/tdr/")], found.loc[ER]
    assert (exact["verdict"], collapsed["verdict"]) == ("not comparable", "quick: degenerate")
    assert exact["note"].startswith("our runs are cut short at scale quick") and pd.isna(exact["difference"])
    verdicts = set(found[found["kind"] == "number"]["verdict"])
    assert verdicts == {"not comparable", "quick: degenerate", "not run", "not reported"}
    for name in (ER, ER.replace("/er/", "/tdr/")):
        (cell,) = explain("results/quick/scorecard.csv", row=name, root=root)["cells"]
        assert (cell["fault"], cell["check"][-8:]) == ("", "the same"), name
