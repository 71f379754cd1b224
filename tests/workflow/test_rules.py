"""The workflow's files: one minimum version of Snakemake, rules that can be read, no functions among them."""

import re

import pytest
from support.project import ROOT

from reweigh.training.snakemake_backups import KNOWN

MINIMUM = "9.19"  # the first version that reads profiles/default/profile.yaml
FILES = ["workflow/Snakefile", *(f"workflow/rules/{path.name}" for path in sorted(ROOT.glob("workflow/rules/*.smk")))]
RULE = re.compile(r"^( *)rule(?: \w+)?:\n((?:\1    .*\n|\n)+)", re.MULTILINE)


def rules(file):
    return [match[0].rstrip() for match in RULE.finditer((ROOT / file).read_text())]


def test_one_minimum_version_of_snakemake():
    stated = {
        "pyproject.toml": r"snakemake>=([\d.]+)",
        "workflow/Snakefile": r"min_version\(\"([\d.]+)\"\)",
        "profiles/default/profile.yaml": r"Snakemake ([\d.]+) or newer",
        "profiles/slurm/profile.yaml": r"Snakemake ([\d.]+) or newer",
    }
    for file, pattern in stated.items():
        assert re.findall(pattern, (ROOT / file).read_text()) == [MINIMUM], file
    assert ".".join(map(str, KNOWN[0])) == MINIMUM
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        if page.is_file():
            told = re.findall(r"[Ss]nakemake ?(?:>=|≥|from)? ?v?(\d+\.\d+)", page.read_text())
            assert set(told) <= {MINIMUM}, page


def test_the_locked_snakemake_is_new_enough():
    (locked,) = re.findall(r"^snakemake==(\d+)\.(\d+)", (ROOT / "envs/requirements.lock").read_text(), re.MULTILINE)
    assert KNOWN[0] <= tuple(map(int, locked)) < KNOWN[1]


@pytest.mark.parametrize("file", FILES)
def test_a_rule_is_short_and_says_what_it_does(file):
    for rule in rules(file):
        assert len(rule.splitlines()) <= 25, rule
        assert '"""' in rule.splitlines()[1], rule
        if "shell:" in rule:
            assert "log:" in rule and "resources:" in rule and rule.rstrip().endswith('> {log} 2>&1"'), rule


@pytest.mark.parametrize("file", FILES)
def test_rules_name_their_files_and_call_the_command_line(file):
    for rule in rules(file):
        if "shell:" not in rule:
            continue
        for part in ("input", "output"):
            lines = re.findall(rf"^ +{part}:\n((?:.+\n)+?) +\w+:", rule, re.MULTILINE)
            assert all(re.match(r" +\w+=", line) for line in "".join(lines).splitlines() if line.strip(") "))
        (command,) = re.findall(r"shell:\n +\"(.*)\"", rule)
        assert command.startswith("reweigh ")


def test_there_are_rules_to_look_at():
    assert sum(len(rules(file)) for file in FILES) == 12


@pytest.mark.parametrize("file", FILES)
def test_no_functions_in_the_workflow(file):
    text = (ROOT / file).read_text()
    assert not re.search(r"^\s*(def |run:|script:|notebook:|checkpoint )|lambda", text, re.MULTILINE)


def test_the_snakefile_is_short():
    assert len((ROOT / "workflow/Snakefile").read_text().splitlines()) <= 50
