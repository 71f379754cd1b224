"""What README, CONTRIBUTING and docs promise: what is shown is what the programs print and the records say."""

import csv
import re

import pages
import pytest
from support.project import ROOT
from support.readme import README, blocks, page, reweigh, table

from reweigh.bench import APART
from reweigh.bench import table as speeds
from reweigh.config.loading import load
from reweigh.provenance import audit
from reweigh.provenance.audit import rerun
from reweigh.scorecard import prose, readme, score

FOUND = page("docs/found.md")


def test_the_readme_is_five_minutes():
    assert len(README.splitlines()) <= 200


TABLES = {  # how the line above a table of docs/found.md begins -> the figure, its metric and experiment
    "Test accuracy on MNIST 4 against 9, by imbalance ratio ρ (fours / nines)": ("fig5", "test_accuracy", "mnist-4v9"),
    "Test accuracy on MNIST 4 against 9, by imbalance ratio ρ, at the": ("fig5", "test_accuracy", "mnist-4v9"),
    "What collapses example reweighting": ("er-collapse", "test_accuracy", "mnist-4v9"),
    "How much is the size of the loss": ("loss-scale", "test_accuracy", "mnist-4v9"),
    "Mean weight of a batch in the last epoch": ("loss-scale", "effective_weight", "mnist-4v9"),
    "Test accuracy on long-tailed MNIST, by imbalance": ("fig6", "test_accuracy", "mnist-lt"),
    "The same at the code's values": ("fig6", "test_accuracy", "mnist-lt"),
    "Much of that is the size of the steps": ("loss-scale", "test_accuracy", "mnist-lt"),
}


@pytest.mark.parametrize("begins", TABLES)
def test_a_table_of_results_is_what_the_figure_shows(begins):
    """Each cell is the mean in the figure's csv, to three decimals."""
    figure, metric, experiment = TABLES[begins]
    with open(ROOT / f"figures/paper/tdr/{figure}.csv") as file:
        rows = [row for row in csv.DictReader(file) if not row["seed"] and row["metric"] == metric]
    shown = {(row["value"], row["title"]): row["mean"] for row in rows if row["experiment"] == experiment}
    (_, *titles), *rows = table(FOUND.split(begins)[1])
    assert len(rows) == 4 and len(titles) >= 2
    for value, *cells in rows:
        for title, cell in zip(titles, cells, strict=True):
            mean = shown.get((value, title))
            assert cell == (f"{float(mean):.3f}" if mean else "not run"), (value, title)


def test_no_result_in_a_template_is_written_by_hand():
    """Outside of look-ups there are only published numbers and values of the config."""
    for path in sorted((ROOT / prose.FOLDER).glob("*/*.md")):
        paper = path.parent.name
        config = "".join(file.read_text() for file in (ROOT / f"config/papers/{paper}").rglob("*.yaml"))
        published = ROOT / f"data/published/{paper}.csv"  # ours, `compare`, has no published numbers
        printed = published.read_text() if published.is_file() else ""
        known = set(re.findall(r"[\d.]+", printed + config))
        written = re.findall(r"\d+\.\d+", re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", path.read_text(), flags=re.DOTALL))
        assert set(written) <= known, path


@pytest.mark.parametrize("name", ["README.md", "docs/audit.md"])
def test_the_chain_that_is_shown_is_what_explain_prints(name):
    """Line by line, in the order of printing; a line that ends in ... is the beginning of one."""
    shown = next(block for block in blocks(page(name), "console") if "$ reweigh explain" in block).splitlines()
    printed = reweigh(ROOT, *shown[0].removeprefix("$ reweigh ").split()).stdout
    lines = [line.rstrip() for line in shown[1:] if line.strip(" │") not in ("", "...")]
    assert len(lines) > 5
    for line in lines:
        begins = line.removesuffix("...") if line.endswith("...") else f"{line}\n"
        assert begins in printed, line
        printed = printed.partition(begins)[2]


def test_the_tables_of_speeds_are_what_the_bench_measured():
    text = page("docs/speed.md")
    assert len(speeds.ROW.findall(text)) >= 20
    assert speeds.with_measured(text, speeds.read(ROOT / speeds.CSV)) == text, "make pages"
    for name in APART:
        shown = text.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- /{name} -->")[0]
        assert shown == speeds.whole_table(speeds.read(ROOT / f"results/bench/{name}.csv")), "make pages"


def test_sentences_and_verdicts_are_what_the_records_give():
    config = load(ROOT)
    for name, parts in readme.bodies(config, score(config, "paper")).items():
        for marker, body in parts.items():
            shown = page(name).partition(f"<!-- {marker} -->\n")[2].partition(f"\n<!-- /{marker} -->")[0]
            assert shown == body, "reweigh scorecard --scale paper --readme"


@pytest.fixture(scope="module")
def counts():
    """What an audit of scale paper counts: kind -> state -> number."""
    return audit.audit("paper", ROOT).counts


def shown_counts(text):
    """The same, of the block that a page shows; all of its lines, or some."""
    shown = next(block for block in blocks(text, "console") if "$ reweigh audit --scale paper\n" in block)
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines() if line[0] == "│"]
    return {kind: {s: int(n) for s, n in zip(audit.STATES, numbers, strict=True) if n} for kind, *numbers in rows}


# Of these a folder with more history (raw files, renderings, Snakemake's metadata) has more, or other ones.
BY_HISTORY = {"commit", "raw", "rendering", "snakemake"}


def of_any_machine(counts):
    """The same where a data set that the repository does not hold is at hand, and where it is not (unverifiable)."""
    split = dict(counts["split"])
    unverifiable = split.pop("unverifiable", 0)
    return {**counts, "split": {**split, "intact": split["intact"] + unverifiable}}


def test_the_audit_that_is_shown_is_what_audit_finds(counts):
    """Kind by kind, as in a clone: without Snakemake's metadata, pdf and notebooks, which git does not keep."""
    told, found = of_any_machine(shown_counts(page("docs/audit.md"))), of_any_machine(counts)
    assert {kind: told[kind] for kind in told if kind not in BY_HISTORY} == {
        kind: found[kind] for kind in found if kind not in BY_HISTORY
    }
    assert {*told["raw"], *counts["raw"]} <= {"intact", "unverifiable"}
    assert told["rendering"] == {"intact": counts["figure"]["intact"], "unverifiable": 2 * counts["figure"]["intact"]}


def test_the_lines_of_the_audit_in_the_readme_are_among_them(counts):
    told, found = of_any_machine(shown_counts(README)), of_any_machine(counts)
    assert len(told) >= 5
    assert {kind: told[kind] for kind in told if kind != "raw"} == {kind: found[kind] for kind in told if kind != "raw"}
    assert told["raw"] == shown_counts(page("docs/audit.md"))["raw"]


def test_the_runs_that_are_trained_again_are_those_that_the_seed_chooses():
    shown = next(block for block in blocks(page("docs/audit.md"), "console") if "--rerun" in block)
    count, seed = map(int, re.search(r"--rerun (\d+) --seed (\d+)", shown).groups())
    records = (path.relative_to(ROOT / "results") for path in (ROOT / "results/paper").glob("*/*/*/*/seed*.json"))
    chosen = rerun.choose([path.with_suffix("").as_posix() for path in records], count, seed)
    assert (
        re.findall(
            r"^intact: (\S+): bit for bit, in [0-9.]+ times the processor seconds a step$", shown, flags=re.MULTILINE
        )
        == chosen
    )


PRINTED = """figures/a.csv sha256 12ab, made by code 9f9f with numpy 2.4.6
└── TDR: mean 0.91, n 5
    ├── record results/a/seed0.json, intact, digest 2ca0, spec f820
    └── code 95c0 (21 files, attested: 12 of 120 runs again), commit 4dc6
│ code        │        │ 120      │  │
│ rendering   │ 7      │          │  │
"""


@pytest.mark.parametrize(
    ("shown", "now"),
    [
        ("figures/a.csv sha256 12ab, made by code ...", "figures/a.csv sha256 12ab, made by code ..."),
        ("figures/a.csv sha256 34cd, made by code ...", "figures/a.csv sha256 12ab, made by code ..."),
        ("    ├── code 95c0 (21 files, attested: 12 of 119...", "    └── code 95c0 (21 files, attested: 12 of 120..."),
        ("└── TDR: mean 0.90, n 5\n    ...", "└── TDR: mean 0.91, n 5\n    ..."),
        ("    ├── record results/a/seed7.json, ...", "    ├── record results/a/seed0.json, ..."),
        ("│ code        │ 1      │ 119      │  │\n│ ...", "│ code        │        │ 120      │  │\n│ ..."),
    ],
)
def test_a_page_keeps_what_is_printed_and_what_it_leaves_out(shown, now):
    assert pages.updated(f"{shown}\n", PRINTED) == f"{now}\n"


def test_a_page_shows_lines_in_the_order_of_printing():
    """The second run's value stays with the second run's record, however like the first's its old digest is."""
    printed = "a/seed0 = 0.52\n  record a/seed0.json, digest 24f9\na/seed1 = 0.91\n  record a/seed1.json, digest 5525\n"
    shown = "a/seed0 = 0.90\n  record a/seed0.json, digest 5526\n"
    assert pages.updated(shown, printed) == "".join(printed.splitlines(keepends=True)[:2])
    with pytest.raises(ValueError, match="nothing like this"):
        pages.updated(f"{printed}a/seed2 = 0.1\n", printed)
