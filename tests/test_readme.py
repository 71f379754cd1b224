"""What the README promises: its method trains as written, its commands exist, its pictures and links are there."""

import csv
import re

from support.project import ROOT
from support.readme import README, reweigh

from reweigh.config.grid import load
from reweigh.provenance import audit
from reweigh.provenance.audit import rerun
from reweigh.scorecard import readme, score


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_new_method_of_the_readme_trains_as_it_is_written_there(copy):
    code = next(block for block in blocks("python") if "class Method" in block)
    (copy / "src/reweigh/methods/sqrt.py").write_text(code)
    paper = copy / "config/papers/tdr.yaml"
    entry = blocks("yaml")[0]
    text = paper.read_text().replace("methods:\n", f"methods:\n{entry}", 1)
    paper.write_text(
        text.replace("methods: [tdr, er]", "methods: [tdr, er, sqrt]", 1).replace(
            "methods: [tdr, er, none, hard]", "methods: [tdr, er, none, hard, sqrt]", 1
        )
    )
    done = reweigh(copy, "train", "smoke/tdr/mnist-4v9/rho0.1/sqrt")
    assert done.returncode == 0, done.stderr
    assert len(list((copy / "results/smoke/tdr/mnist-4v9/rho0.1/sqrt").glob("seed*.json"))) == 2


def test_nothing_is_left_to_fill_in():
    assert not re.search(r"@[A-Z]+@", README)


def test_every_command_of_the_readme_exists():
    commands = {line.split()[2] for block in blocks("console") for line in block.splitlines() if "$ reweigh " in line}
    assert {"plan", "explain", "audit"} <= commands
    known = reweigh(ROOT, "--help").stdout
    assert all(command in known for command in commands)
    made = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:\$ |`)make ([a-z]+)", README):
        assert re.search(rf"^{target}:", made, flags=re.MULTILINE), target


def test_pictures_and_files_that_the_readme_names_are_there():
    for path in re.findall(r"\]\((?!https:)([^)#]+)\)", README) + re.findall(
        r"`((?:src|config|notebooks|results|data)/[^`* ]+)`", README
    ):
        if "sqrt" not in path and "poly1" not in path and "quick" not in path and not path.startswith("data/raw"):
            assert (ROOT / path).exists(), path


def test_the_table_of_results_is_what_the_figure_shows():
    """Each cell of the README's table is the mean in figures/paper/tdr/fig5.csv, to three decimals."""
    rows = list(csv.DictReader((ROOT / "figures/paper/tdr/fig5.csv").open()))
    means = {(row["value"], row["title"]): row["mean"] for row in rows if not row["seed"]}
    lines = [line for line in README.splitlines() if line.startswith(("| ρ |", "| 0."))]
    titles = [cell.strip() for cell in lines[0].strip("|").split("|")][1:]
    assert len(lines) == 5
    for line in lines[1:]:
        value, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for title, cell in zip(titles, cells, strict=True):
            mean = means[value, title]
            assert cell == (f"{float(mean):.3f}" if mean else "not run"), (value, title)


def test_the_chain_that_the_readme_shows_is_what_explain_prints():
    shown = next(block for block in blocks("console") if "$ reweigh explain" in block).splitlines()
    said = reweigh(ROOT, *shown[0].removeprefix("$ reweigh ").split()).stdout
    told = [line for line in shown[1:] if line.strip(" │") not in ("", "...")]
    assert len(told) > 5
    assert all(line.rstrip() in said for line in told)


def test_the_table_of_speeds_is_what_the_bench_measured():
    with open(ROOT / "results/bench/bench.csv") as file:
        measured = {(row["contender"], row["baseline"], f"{float(row['ratio']):.3g}") for row in csv.DictReader(file)}
    section = README.split("### Speed")[1].split("\n## ")[0]
    said = re.findall(r"^\| (.+) \| (.+) \| ([0-9.]+) × \|$", section, flags=re.MULTILINE)
    assert len(said) >= 8 and set(said) <= measured


def test_the_table_of_verdicts_is_what_the_records_give():
    config = load(ROOT)
    shown = README.partition("<!-- scorecard -->\n")[2].partition("\n<!-- /scorecard -->")[0]
    assert shown == readme.summary(config, score(config, "paper")), "reweigh scorecard --scale paper --readme"


def test_the_audit_that_the_readme_shows_is_what_audit_finds():
    """Kind by kind, as in a clone: without Snakemake's memory, pdf and notebooks, which git does not keep."""
    shown = next(block for block in blocks("console") if "$ reweigh audit --scale paper\n" in block)
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines() if line[0] == "│"]
    told = {kind: {s: int(n) for s, n in zip(audit.STATES, counts, strict=True) if n} for kind, *counts in rows}
    found = audit.audit("paper", ROOT).counts
    there = {"commit", "raw", "rendering", "witness"}  # of these a folder with more history has more, or other ones
    assert {kind: told[kind] for kind in told if kind not in there} == {
        kind: found[kind] for kind in found if kind not in there
    }
    assert set(told["raw"]) == set(found["raw"]) == {"intact"}
    assert told["rendering"] == {"intact": found["figure"]["intact"], "unverifiable": 2 * found["figure"]["intact"]}


def test_the_runs_that_the_readme_trains_again_are_those_that_its_seed_draws():
    shown = next(block for block in blocks("console") if "--rerun" in block)
    count, seed = map(int, re.search(r"--rerun (\d+) --seed (\d+)", shown).groups())
    records = (path.relative_to(ROOT / "results") for path in (ROOT / "results/paper").glob("*/*/*/*/seed*.json"))
    drawn = rerun.draw([path.with_suffix("").as_posix() for path in records], count, seed)
    assert re.findall(r"^intact: (\S+): bit for bit$", shown, flags=re.MULTILINE) == drawn
