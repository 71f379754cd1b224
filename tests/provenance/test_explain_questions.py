"""What can be asked of explain, and how it answers a question that is unclear: on the project's own records."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.project import ROOT, environment

from reweigh.analysis import tables
from reweigh.digest import file_digest
from reweigh.errors import ConfigError
from reweigh.provenance.explain import as_tree, explain
from reweigh.records import lineage, record

FIG3, FIG5, FIG6 = (f"figures/paper/tdr/fig{number}" for number in (3, 5, 6))
CARD = "results/paper/scorecard.csv"
RUN = "paper/tdr/adult/sex/tdr/seed0"


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def ask(path: str, **question: Any) -> list[dict[str, Any]]:
    return explain(path, **question)["cells"]


@pytest.mark.parametrize("ending", ["", ".png", ".pdf", ".ipynb", ".json"])
def test_for_a_figure_the_csv_beside_it_answers(ending: str) -> None:
    asked = explain(f"{FIG5}{ending}", row="tdr", column="0.005")
    assert asked == explain(f"{FIG5}.csv", row="tdr", column="0.005")
    assert asked["file"] == f"{FIG5}.csv"


@pytest.mark.parametrize("ending", ["", ".html", ".md"])
def test_for_a_scorecards_page_its_csv_answers(ending: str) -> None:
    asked = explain(f"results/paper/scorecard{ending}", row="tdr/accuracy-at-0.005")
    assert asked == explain(CARD, row="accuracy-at-0.005")


def test_a_path_may_be_absolute() -> None:
    assert explain(ROOT / f"{FIG5}.csv", row="tdr", column="0.005") == explain(FIG5, row="tdr", column="0.005")
    assert explain(ROOT / f"results/{RUN}.json") == explain(f"results/{RUN}.json")


def test_a_line_by_its_number() -> None:
    lines = (ROOT / f"{FIG3}.csv").read_text().splitlines()
    place = next(place for place, text in enumerate(lines, 1) if ",tdr,TDR (code),test_accuracy,1,50," in text)
    (by_line,) = ask(FIG3, line=place)
    (by_name,) = ask(FIG3, row="tdr", where={"epoch": "50", "seed": "1"})
    assert by_line == by_name and by_line["number"] == place
    assert [run["run"][-5:] for run in by_line["runs"]] == ["seed1"]
    with pytest.raises(ConfigError, match=r"no line 1; it has lines 2 to 4801"):
        ask(FIG3, line=1)


def test_a_column_of_the_csv_with_and_without_a_setting() -> None:
    (cell,) = ask(FIG5, row="tdr", column="0.005/sd")
    assert (cell["column"], cell["line"]["setting"], cell["line"]["sd"]) == ("sd", "rho0.005", "0.0117406")
    assert cell == ask(FIG5, row="tdr", column="rho0.005/sd")[0]
    assert len(ask(FIG5, row="tdr", column="sd")) == 4  # at every setting
    (gain,) = ask(CARD, row="Table3/tdr_p", column="gain")
    assert {"runs", "baseline"} <= set(gain) and "published" not in gain
    (published,) = ask(CARD, row="Table3/tdr_p", column="published")
    assert published["runs"] == [] and published["published"]["table"] == "Table3"


def test_a_column_alone_is_asked_of_the_lines_that_have_it() -> None:
    cells = ask(CARD, column="gain")
    assert cells and all(cell["line"]["gain"] for cell in cells)


def test_an_empty_field_says_why() -> None:
    cells = ask(CARD, row="Table1/ConvNet/TDR", column="mean")
    assert {cell["check"] for cell in cells} == {"empty: not trained yet"}
    assert all(cell["columns"] == {} and not cell["fault"] for cell in cells)


def test_what_is_drawn_beside_the_numbers_is_answered_where_it_is_asked_for() -> None:
    (cell,) = ask(FIG6, row="inverse_frequency", where={"class": "9", "method": "tdr"})
    assert cell["columns"]["mean"]["how"].startswith("the weight in proportion to 1/n")
    assert {one["line"]["metric"] for one in ask(FIG6, where={"class": "9"})} == {"class_weight"}


def test_a_record() -> None:
    tree = explain(f"results/{RUN}.json")
    (run,) = tree["runs"]
    body = record.read(f"results/{RUN}.json")
    assert run == {**lineage.of_run(RUN, ".", "test_accuracy")[0], "metric": "test_accuracy"}
    assert run["value"] == body["metrics"]["test_accuracy"]
    assert tree["kind"] == "record" and tree["fault"] == ""
    for name in (RUN, f"results/{RUN}", f"results/{RUN}.npz"):
        assert explain(name)["runs"] == tree["runs"]
    (point,) = explain(RUN, column="train_loss", where={"epoch": "3"})["runs"]
    assert point["value"] == body["curves"]["train_loss"][body["curves"]["epoch"].index(3)]
    with pytest.raises(ConfigError, match=r"no F1; metrics: .*test_accuracy.*; on curves: .*train_loss"):
        explain(RUN, column="F1")
    with pytest.raises(ConfigError, match="has no seed9, only seed0 to seed4"):
        explain(RUN.replace("seed0", "seed9"))
    with pytest.raises(ConfigError, match="seed09' is not the name of a run"):
        explain(f"{RUN}9")


def test_a_split_names_the_runs_that_read_it() -> None:
    tree = explain("data/splits/paper/tdr/adult/sex/seed0.npz")
    trained = sorted(path.parent.name for path in Path("results/paper/tdr/adult/sex").glob("*/seed0.json"))
    assert [run["run"].split("/")[4] for run in tree["runs"]] == trained and len(trained) >= 5
    assert len({run["split"]["digest"] for run in tree["runs"]}) == 1 and tree["fault"] == ""
    assert explain("paper/tdr/adult/sex/seed0") == tree
    with pytest.raises(ConfigError, match="unknown setting 'sexx'; did you mean 'sex'"):
        explain("data/splits/paper/tdr/adult/sexx/seed0.npz")


def test_a_raw_file_names_the_runs_that_read_it() -> None:
    tree = explain("data/raw/adult/adult.data")
    runs = [run for cell in tree["used_by"] for run in tables.expand_runs(cell)]
    named = [
        path
        for path in Path("results").glob("*/*/*/*/*/seed*.json")
        if any(file["name"] == "adult.data" for file in json.loads(path.read_text())["raw"])
    ]
    assert sorted(runs) == sorted(path.relative_to("results").with_suffix("").as_posix() for path in named)
    assert len(tree["stated_sha256"]) == 64 and tree["url"].startswith("https://")
    with pytest.raises(ConfigError, match=r"has no 'adult.dat' by data/manifest.yaml; known: adult.data"):
        explain("data/raw/adult/adult.dat")
    with pytest.raises(ConfigError, match="no data set 'adul'; did you mean 'adult'"):
        explain("data/raw/adul/adult.data")


@pytest.mark.parametrize(
    ("path", "question", "says"),
    [
        (FIG5, {"row": "Nobody"}, ["no line matches; rows: TDR (printed), ", "columns: 0.1, 0.05"]),
        (FIG5, {"row": "никто"}, ["no line matches; rows: TDR (printed), "]),  # letters of any script count
        (FIG5, {"row": "無人/tdr"}, ["no line matches"]),
        (FIG5, {"row": "–"}, ["no line matches"]),  # no letter at all
        (FIG5, {"row": "tdr/"}, ["no line matches"]),
        (f"{FIG3}.csv", {"line": 2, "row": "none"}, ["no line matches"]),
        (CARD, {"column": "n"}, ["lines match; ask for fewer with --row", "they differ in", "metric ("]),
        (CARD, {"row": "table9"}, ["no line matches; rows: ", "or of the csv published, published_sd, mean, "]),
        ("figures/paper/absgd/fig1.png", {}, ["they differ in title (SGD, ABSGD", "panel (a, b", "example ("]),
        ("README.md", {}, ["README.md: cannot be explained; explain reads"]),
        ("data/manifest.yaml", {}, ["cannot be explained; explain reads"]),
        ("figures/paper/tdr/fig55.png", {}, ["unknown artifact 'fig55'; did you mean 'fig5'?"]),
        ("figures/papre/tdr/fig5.png", {}, ["did you mean 'paper'"]),
        ("data/published/tdr.csv", {}, ["64 lines match", "they differ in method ("]),
        ("/etc/passwd", {}, ["/etc/passwd: outside of the project; explain reads"]),
        (ROOT.parent, {}, ["outside of the project"]),
        ("../fig5.csv", {}, ["outside of the project"]),
        (".", {}, [".: a folder; explain reads"]),
        ("", {}, [".: a folder; explain reads"]),
        ("results/paper/tdr", {}, ["a folder"]),
        (RUN, {"where": {"epoch": "x"}}, ["epoch=x: an epoch is a whole number"]),
        (RUN, {"where": {"epoch": "inf"}}, ["epoch=inf: an epoch is a whole number"]),
        (RUN, {"where": {"epoch": "9" * 400}}, ["an epoch is a whole number"]),
        (RUN, {"where": {"seed": "0"}}, ["--where seed=0 does not apply; a record takes --column METRIC"]),
        (RUN, {"row": "tdr"}, ["--row does not apply"]),
        (RUN, {"line": 2}, ["--line does not apply"]),
        ("data/splits/paper/tdr/adult/sex/seed0.npz", {"column": "n"}, ["--column does not apply; a split takes no"]),
        ("data/raw/adult/adult.data", {"line": 1}, ["--line does not apply; a raw file takes no"]),
    ],
)
def test_an_unclear_question_gets_one_line_that_offers_others(path: Any, question: Any, says: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:  # the command ends with 2
        explain(path, **question)
    message = str(caught.value)
    assert all(part in message for part in says) and "\n" not in message
    assert len(message) < 1200


def test_a_published_number_leads_to_its_paper_and_to_where_it_is_used() -> None:
    tree = explain("data/published/tdr.csv", line=3)
    (cell,) = tree["cells"]
    said = Path("data/published/tdr.csv").read_text().splitlines()[2].split(",")
    assert (cell["line"]["mean"], cell["line"]["table_or_figure"]) == (said[6], said[1])
    assert tree["sha256"] == cell["published"]["sha256"] == file_digest(Path("data/published/tdr.csv"))
    assert cell["published"]["url"].startswith("https://doi.org/")
    assert cell["check"].endswith("compared with tdr/cifar10-4v9-resnet20/rho0.2/tdr, test_accuracy")
    for file in ("data/published/tdr.csv", "data/published/absgd.csv"):
        lines = Path(file).read_text().splitlines()
        cells = [explain(file, line=place)["cells"][0] for place in range(2, len(lines) + 1)]
        assert all(one["published"]["line"] == one["number"] and not one["fault"] for one in cells)
        assert all(
            ("not judged: " if one["published"]["not_judged"] else "compared with ") in one["check"] for one in cells
        )
    assert any(one["published"]["not_judged"] for one in cells)


def test_the_measured_speeds_are_answered_whole_and_lead_no_further() -> None:
    tree = explain("results/bench/bench.csv")
    assert tree["sha256"] == file_digest(Path("results/bench/bench.csv")) and not tree["fault"]
    assert len(tree["cells"]) == len(Path("results/bench/bench.csv").read_text().splitlines()) - 1
    assert all("it has no further sources" in cell["check"] for cell in tree["cells"])


def test_a_name_is_compared_with_the_config_or_said_not_to_be_checked() -> None:
    for column in ("title", "value"):
        assert ask(FIG5, row="tdr", column=f"0.005/{column}")[0]["check"] == "as the config has it"
    (cell,) = ask(FIG5, row="tdr", column="0.005/status")
    assert cell["check"].endswith("not checked by itself")


def test_the_tree_is_legible_on_a_narrow_terminal_and_holds_what_json_holds() -> None:
    from rich.console import Console

    tree = explain(CARD, row="Table3/tdr_p")
    console = Console(width=100, file=open("/dev/null", "w"), record=True)  # noqa: SIM115
    console.print(as_tree(tree))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    joined = "".join(line.strip(" │├└─") for line in text.splitlines()).replace(" ", "")
    (cell,) = tree["cells"]
    for run in [*cell["runs"], *cell["baseline"]]:
        assert run["run"] in joined and run["digest"][:12] in joined
        assert all(file["sha256"] in joined and file["url"] in joined for file in run["raw"])
    assert cell["published"]["sha256"] in joined and cell["published"]["url"] in joined


def test_the_command_ends_with_zero_and_its_json_is_versioned() -> None:
    command = [sys.executable, "-m", "reweigh.cli", "explain", FIG5, "--row", "tdr", "--column", "0.005/mean", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment())
    assert done.returncode == 0, done.stderr
    tree = json.loads(done.stdout)
    assert tree["explain_version"] == 1 and tree["kind"] == "table"
    assert tree == json.loads(json.dumps(explain(FIG5, row="tdr", column="0.005/mean")))
