"""What the command `reweigh scorecard` prints, and what it writes into README.md and docs/found.md."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest
from support import synthetic_records
from typer.testing import CliRunner

from reweigh import scorecard
from reweigh.cli import app
from reweigh.config.loading import load
from reweigh.errors import ConfigError, ReweighError
from reweigh.scorecard import readme

FINDINGS = "<!-- findings -->\n<!-- /findings -->\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with made-up records of one table."""
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    synthetic_records.fill(root, "paper", "tdr", "table3")
    (root / "README.md").write_text(f"before\n{FINDINGS}<!-- scorecard -->\n<!-- /scorecard -->\nafter\n")
    (root / "docs").mkdir()
    (root / "docs/found.md").write_text(f"before\n{FINDINGS}<!-- decided -->\n<!-- /decided -->\nafter\n")
    return root


def test_the_command_prints_counts_and_writes_the_readme(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    done = CliRunner().invoke(app, ["scorecard", "--scale", "paper", "--readme"])
    assert done.exit_code == 0, done.output
    with open(project / "results/paper/scorecard.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    for kind in ("number", "claim"):
        said = next(line for line in done.stdout.splitlines() if line.startswith(f"{kind}s: "))
        counted = {word: int(count) for count, word in re.findall(r"(\d+) ([a-z ]+)", said)}
        assert counted == Counter(line["verdict"] for line in lines if line["kind"] == kind)
        assert not re.search(r"\d\.\d|%|mean|average|score ", said.partition(": ")[2])
    text = (project / "README.md").read_text()
    assert "after\n" not in text.split("<!-- scorecard -->\nVerdicts on published numbers")[0]
    assert text.endswith("<!-- /scorecard -->\nafter\n")
    assert done.stdout.splitlines()[-2:] == ["README.md", "docs/found.md"]
    found = (project / "docs/found.md").read_text()
    shown = (*readme.DECIDED, "degenerate")
    decided = [line for line in lines if line["kind"] == "claim" and line["verdict"] in shown]
    assert found.count("| `tdr` |") == len(decided) and found.endswith("<!-- /decided -->\nafter\n")
    counted_by = Counter((line["kind"], line["verdict"]) for line in lines if line["paper"] == "tdr")
    for kind, words in (("number", readme.NUMBER_VERDICTS), ("claim", readme.CLAIM_VERDICTS)):
        row = next(
            row
            for row in text.split("\n")
            if row.startswith("| `tdr` | ") and row.count("|") == len(words) + 2 + (kind == "number")
        )
        cells = [int(part) for part in row.strip("| ").split("|")[1:]]
        assert cells[: len(words)] == [counted_by[kind, word] for word in words]
        assert sum(cells) == sum(count for (one, _), count in counted_by.items() if one == kind)


def test_the_readme_shows_scale_paper_only_and_needs_its_markers(project: Path) -> None:
    lines = scorecard.score(load(project), "paper", ["tdr"])
    with pytest.raises(ConfigError, match="not quick"):
        readme.write(lines.assign(scale="quick"), project)
    (project / "README.md").write_text(f"{FINDINGS}<!-- scorecard -->\n")
    with pytest.raises(ReweighError, match="<!-- /scorecard -->"):
        readme.write(lines, project)
    with pytest.raises(ReweighError, match="no column for the verdicts odd"):
        readme.summary(lines.assign(verdict="odd"))


def test_without_a_decided_claim_that_is_said(project: Path) -> None:
    config = load(project)
    lines = scorecard.score(config, "paper", ["tdr"])
    assert readme.decided(config, lines.assign(verdict="not run")) == "No claim is decided yet."


def test_found_gives_decided_claims_with_their_evidence(project: Path) -> None:
    config = load(project)
    lines = scorecard.score(config, "paper", ["tdr"])
    name = "table3-tdr-beats-a-constant"
    lines.loc[lines["id"] == name, ["effect", "effect_low", "effect_high", "n", "p_holm", "verdict"]] = (
        0.0835, 0.0802, 0.0868, 5, 0.00002, "holds")  # fmt: skip
    text = "TDR predicts income better than always naming the more frequent label, at the paper's values."
    row = next(row for row in readme.decided(config, lines).split("\n") if text in row)
    assert row.startswith(f"| `tdr` | {text} *(ours)* |")
    assert "| paired t test | +8.3 points | +8.0 to +8.7 points | 5 | < 0.0001 | **holds** | " in row
    assert row.endswith(" against Constant predictor |")  # the notes that a reader must know, without rule and effects


def test_what_is_degenerate_stands_in_readme_and_found_with_the_reason(project: Path) -> None:
    config = load(project)
    lines = scorecard.score(config, "paper", ["tdr"])
    name, why = "table3-tdr-beats-a-constant", "5 of 5 runs of tdr predict one class"
    rule = next(claim.rule for claim in config.paper("tdr").claims if claim.id == name)
    note = f"rule: {rule}; TDR against Constant predictor; degenerate, sex against constant: {why}"
    lines.loc[lines["id"] == name, ["verdict", "note"]] = ("degenerate", note)
    found = readme.decided(config, lines)
    row = next(row for row in found.split("\n") if "more frequent label, at the paper's values" in row)
    assert row.endswith(f"| **degenerate** | TDR against Constant predictor; degenerate, sex against constant: {why} |")
    said = readme.summary(lines)
    assert f"* `tdr`, degenerate (`{name}`): {why}." in said
    assert "| paper | holds | fails | inconclusive | degenerate | not run |" in said


def test_what_speaks_against_a_decided_claim_stands_in_the_readme(project: Path) -> None:
    lines = scorecard.score(load(project), "paper", ["tdr"])
    name, why = "table3-tdr-beats-a-constant", "2 of 5 pairs do not count: not one device, or not equally many at once"
    for note, told in (
        (f"rule: any; {why}", True),
        ("rule: runs that diverged are fewer; effects: 1 at a place", False),
    ):
        lines.loc[lines["id"] == name, ["verdict", "note"]] = ("fails", note)
        said = "* `tdr`: 1 fails although some of their runs decide nothing, or the effect is a bound only; "
        assert (said in readme.summary(lines)) == told
        assert readme.summary(lines).count(f"`{name}`") == told
        assert not told or why in readme.decided(load(project), lines)
