"""Sentences whose numbers are looked up: each look-up against a value worked out by hand, and each way to be wrong."""

from typing import Any

import pandas as pd
import pytest
from support import synthetic_records

from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.errors import ReweighError
from reweigh.scorecard import prose

CELL = "paper/tdr/mnist-4v9/rho0.005"
CLAIM = {"kind": "claim", "paper": "tdr", "verdict": "holds", "n": 5, "p": 0.0321, "note": ""}
LINES = pd.DataFrame(
    [
        CLAIM | {"id": "difference", "effect": -0.2058, "effect_low": -0.447, "effect_high": 0.0354},
        CLAIM | {"id": "ratio", "effect": 4.352, "effect_low": None, "effect_high": None, "verdict": "fails"},
        CLAIM | {"id": "times", "effect": 17.83, "effect_low": 11.51, "effect_high": 27.61,
                 "note": "rule: a; effects: 1.6 at rho0.1 against a, 2.15 at rho0.05 against a; more"},
        CLAIM | {"id": "unknown", "effect": None, "effect_low": None, "effect_high": None, "verdict": "not run",
                 "note": "of rows; in print (Table5, Table6): A < B in 3 of 4 rows, not in C"},
        {"kind": "number", "paper": "tdr", "id": "a number", "verdict": "not run"},
    ]
)  # fmt: skip
CSV = """experiment,setting,value,method,title,metric,seed,mean
mnist-4v9,rho0.1,0.1,tdr,TDR,test_accuracy,,0.98649
mnist-4v9,rho0.005,0.005,tdr,TDR,test_accuracy,,0.91
mnist-4v9,rho0.005,0.005,tdr,TDR,test_accuracy,0,0.5
mnist-4v9,rho0.1,0.1,er,Example | reweighting,test_accuracy,,0.5
mnist-4v9,rho0.1,0.1,tdr,TDR,effective_weight,,0.25
mnist-lt,rho0.1,0.1,er,Example | reweighting,effective_weight,,0.75
"""

GAINS = """experiment,setting,method,metric,mean,low,high,n,p_holm
adult,sex,la,mean_group_accuracy_difference,0.0561,0.0539,0.0583,10,0.0001
adult,sex,la,worst_cell_accuracy_difference,-0.02,-0.03,-0.01,10,0.03
adult,sex,focal,mean_group_accuracy_difference,-0.0008,-0.0015,0.0001,10,0.2
adult,sex,har,mean_group_accuracy_difference,,,,0,
adult,sex,la,run_times_plain,1.551,1.5,1.6,10,
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Records of four runs of one method: one diverged, one of one class; a figure's csv; a measurement."""
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    for seed, status in enumerate(("finished", "finished", "diverged")):
        synthetic_records.make(root, f"{CELL}/tdr/seed{seed}", status)
    one_class = {"test_accuracy": 0.5, "confusion": [[0, 982], [0, 982]], "minority_recall": 0.0}
    synthetic_records.make(root, f"{CELL}/tdr/seed3", **one_class)
    for path, text in {
        "figures/paper/tdr/fig.csv": CSV,
        "figures/paper/tdr/gains.csv": GAINS,
        "results/bench/cost.csv": "group,contender,ratio\nLeNet; B = 1,double,3.2044\nLeNet; B = 2,double,4\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return load(root)


def filled(config: Config, template: str, lines: pd.DataFrame = LINES) -> str:
    folder = config.root / prose.FOLDER / "tdr"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "found.md").write_text(template)
    return prose.filled(config, "tdr", lines, "found.md")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("points('difference')", "−20.6 points (−44.7 to +3.5, n = 5)"),
        ("points('difference', -1, signed=False)", "20.6 points (−3.5 to 44.7, n = 5)"),
        ("gain('gains', 'adult', 'sex', 'la')", "+5.6 points (+5.4 to +5.8, n = 10)"),
        ("gain('gains', 'adult', 'sex', 'focal')", "−0.1 points (−0.1 to +0.0, n = 10)"),
        ("gain('gains', 'adult', 'sex', 'la', short=True)", "+5.6"),
        ("tells('gains', 'adult', 'sex', 'la')", "1"),
        ("tells('gains', 'adult', 'sex', 'la', metric='worst_cell_accuracy')", "-1"),
        ("tells('gains', 'adult', 'sex', 'focal')", "0"),
        ("times('gains', 'adult', 'sex', 'la')", "1.551"),
        ("learning_rate('mnist-4v9', 'rho0.005', 'tdr')", "0.01"),
        ("ratio('times')", "17.8 × (11.5 to 27.6, n = 5)"),
        ("ratio('ratio')", "4.35 × (n = 5)"),
        ("value('times', 1)", "17.8 (11.5 to 27.6, n = 5)"),
        ("places('times')", "1.6 to 2.15"),
        ("effects('times') | max", "2.15"),
        ("verdict('ratio', 'fails')", "fails"),
        ("count('claim')", "4"),
        ("count('claim', 'holds')", "2"),
        ("count('number')", "1"),
        ("mean('fig', '0.1', 'tdr')", "0.986"),
        ("mean('fig', '0.005', 'tdr', 1)", "0.9"),
        ("mean('fig', '0.1', 'er', metric='effective_weight', experiment='mnist-lt')", "0.750"),
        ("span('fig', 'tdr')", "0.986 to 0.910"),
        ("measured('cost', 'LeNet; B', 'double')", "3.2"),
        ("ended('mnist-4v9', 'rho0.005', 'tdr')", "{'runs': 4, 'lost': 2, 'diverged': 1, 'one_class': 1}"),
        ("ended('mnist-4v9', '*', 'tdr').runs", "4"),
        ("now('ratio')", "`fails`"),
        ("told('difference')", "`holds`, −20.6 points (−44.7 to +3.5, n = 5)"),
        ("told('unknown')", "`not run`"),
        ("logged('times')", "`holds`, 17.830 (11.510 to 27.610, n = 5)"),
        ("logged('unknown')", "`not run`"),
        ("value('difference', 0)", "0 (0 to 0, n = 5)"),  # no minus of nothing
        ("in_print('unknown')", "A < B in 3 of 4 rows, not in C"),
        ("run('mnist-4v9', 'rho0.005', 'tdr')", "3"),  # of four, one of which diverged
        ("run('mnist-4v9', 'rho0.005', 'er')", "0"),
    ],
)
def test_a_look_up_gives_what_was_worked_out_by_hand(project: Config, asked: str, told: str) -> None:
    assert filled(project, f"{{{{ {asked} }}}}") == told


def test_means_of_records_are_those_of_the_finished_runs(project: Config) -> None:
    bodies = [prose.record.read(project.root / f"results/{CELL}/tdr/seed{seed}.json") for seed in (0, 1, 3)]
    cell = "'mnist-4v9', 'rho0.005', 'tdr'"

    def number(asked: str) -> Any:
        return float(filled(project, f"{{{{ {asked} }}}}"))

    assert number(f"metric({cell}, 'test_accuracy')") == pytest.approx(
        sum(body["metrics"]["test_accuracy"] for body in bodies) / 3
    )
    losses = [loss for body in bodies for loss in body["curves"]["train_loss"][-2:]]
    assert number(f"curve({cell}, 'train_loss', 2)") == pytest.approx(sum(losses) / 6)
    reached = filled(project, f"{{{{ epochs_to({cell}, 2.0) }}}}")
    assert reached == "[None, None, None, None]"
    every = [prose.record.read(project.root / f"results/{CELL}/tdr/seed{seed}.json") for seed in range(4)]
    first = [
        next((epoch for epoch, value in zip(body["curves"]["epoch"], body["curves"]["test_accuracy"], strict=True)
              if value is not None and value >= 0.3), None)
        for body in every
    ]  # fmt: skip
    assert filled(project, f"{{{{ epochs_to({cell}, 0.3) }}}}") == str(first) and any(first)


def test_a_table_has_a_line_for_each_value_and_says_what_was_not_run(project: Config) -> None:
    told = filled(project, "{{ table('fig', 'ρ', ['tdr', 'er']) }}").split("\n")
    assert told == [
        "| ρ | TDR | Example \\| reweighting |",
        "| --- | --- | --- |",
        "| 0.1 | 0.986 | 0.500 |",
        "| 0.005 | 0.910 | not run |",
    ]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("verdict('ratio', 'holds')", "it says that ratio is 'holds'; it is 'fails'; rewrite the sentence"),
        ("points('unknown')", "unknown has no effect yet"),
        ("points('none-such')", "no claim 'none-such' of tdr"),
        ("check(1 > 2, 'one is more')", "one is more"),
        ("mean('fig', '0.3', 'tdr')", "fig shows no mean of tdr at 0.3"),
        ("span('fig', 'er')", "no means of er"),
        ("table('fig', 'ρ', ['none'])", "fig does not show none"),
        ("mean('fig9', '0.1', 'tdr')", "figures/paper/tdr/fig9.csv is not there; draw it: reweigh render"),
        ("gain('gains', 'adult', 'sex', 'har')", "gains has no mean_group_accuracy_difference of har at adult/sex"),
        ("ended('mnist-4v9', 'rho0.1', 'tdr')", "no records of mnist-4v9/rho0.1/tdr"),
        ("measured('cost', 'LeNet', 'triple')", "no 'triple' of 'LeNet'"),
        ("in_print('ratio')", "ratio counts nothing in print"),
        ("places('ratio')", "no effects at several places"),
        ("nothing", "'nothing' is undefined"),
        ("mean(", "unexpected"),
    ],
)
def test_a_sentence_that_cannot_be_filled_names_its_template(project: Config, asked: str, says: str) -> None:
    with pytest.raises(ReweighError, match=r"^docs/prose/tdr/found.md: ") as error:
        filled(project, f"{{{{ {asked} }}}}")
    assert says in str(error.value)


def test_paragraphs_are_wrapped_and_tables_are_not() -> None:
    row, long = "| " + "x " * 80 + "|", "word " * 40 + "n = 5"
    told = prose.wrapped(f"# Head\n{long}\n{long}\n\n* one\ntwo\n* {long}\n\n{row}\n{row}\nafter\n").split("\n")
    assert told[0] == "# Head" and told.count(row.strip()) == 2 and told[-1] == "after"
    assert "* one two" in told and max(len(line) for line in told if not line.startswith("|")) <= prose.WIDTH
    assert told[told.index("* one two") - 1] == ""
    assert all(line.startswith("  ") for line in told[told.index("* one two") + 2 : told.index(row.strip()) - 1])


@pytest.mark.parametrize("width", range(100, 120))
def test_an_equation_stays_in_one_line(width: int) -> None:
    assert "n = 5" in prose.wrapped("x" * width + " n = 5 and so on")


def test_a_page_has_the_sentences_of_each_paper_that_has_some(project: Config) -> None:
    folder = project.root / prose.FOLDER
    filled(project, "of TDR")
    (folder / "absgd").mkdir()
    (folder / "absgd/found.md").write_text("of ABSGD: {{ slips() }}\n")
    slips = len(project.paper("absgd").findings)
    lines = pd.concat([LINES, LINES.assign(paper="absgd")])
    assert prose.of_page(project, lines, "found.md") == f"of TDR\n\nof ABSGD: {slips}"
    assert prose.of_page(project, lines, "README.md") == ""


def test_a_paper_may_have_a_page_of_its_own(project: Config) -> None:
    alone = project.with_options(papers=["tdr", "har"])
    assert prose.own_pages(alone, LINES) == {}
    page = project.root / prose.FOLDER / "tdr" / prose.OWN
    page.parent.mkdir(parents=True, exist_ok=True)
    try:
        page.write_text("It is {{ now('ratio') }}.")
        assert prose.own_pages(alone, LINES) == {"tdr": "It is `fails`."}
        assert prose.own_pages(project.with_options(papers=["har"]), LINES) == {}
        page.write_text("It is {{ verdict('ratio', 'holds') }}.")
        with pytest.raises(ReweighError, match=r"tdr/page\.md: it says that ratio is 'holds'; it is 'fails'"):
            prose.own_pages(alone, LINES)
    finally:
        page.unlink()
