"""The command line: every command has help with an example, starts fast, and ends mistakes with one line and a code."""

import subprocess
import sys

import pytest
from support.project import ROOT
from typer.testing import CliRunner

from reweigh import __version__, cli
from reweigh.config.schema import text as schema_text

COMMANDS = (
    "fetch", "split", "train", "render", "scorecard", "explain", "audit", "attest", "plan", "bench", "tune", "doctor",
    "crate", "schema", "new", "fill", "pack", "gpu-check", "features", "import", "compare", "check",
)  # fmt: skip


def reweigh(*arguments, cwd=ROOT):
    command = [sys.executable, "-m", "reweigh.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.fixture(autouse=True)
def in_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_every_command_is_listed():
    said = CliRunner().invoke(cli.app, ["--help"]).output
    assert all(command in said for command in COMMANDS)
    assert {command.name or command.callback.__name__ for command in cli.app.registered_commands} == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    done = CliRunner().invoke(cli.app, [command, "--help"])
    assert done.exit_code == 0
    assert f"reweigh {command}" in done.output.partition("Usage")[2].partition("\n")[2]


def test_version():
    assert CliRunner().invoke(cli.app, ["--version"]).output == f"reweigh {__version__}\n"


def test_help_loads_nothing_heavy():
    code = "import sys, reweigh.cli; print([name for name in ('torch', 'pandas', 'pydantic') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("train", "quick/tdr/mnist-4v9/rho0.005/tdrr"), 2, "did you mean 'tdr'?"),
        (("split", "quick/tdr/mnist-4v9/rho0.5/seed0"), 2, "did you mean 'rho0.05'?"),
        (("plan", "fill", "--scale", "papre"), 2, "did you mean 'paper'?"),
        (("plan", "quick/tdr/adult", "--pending"), 2, "add --specs DIR"),
        (("plan", "quick/tdr/adult", "--wanted"), 2, "add --specs DIR"),
        (("plan", "quick/tdr/adult/sex/tdr/seed0", "--why", "--specs", "results"), 2, "leave out one or the other"),
        (("train", "--at-once", "²", "quick/tdr/adult/sex/tdr"), 2, "a whole number from 1"),
        (("train", "--time-budget", "soon", "quick/tdr/adult/sex/tdr"), 2, "is not a duration"),
        (("fetch", "mnsit"), 1, "did you mean"),
        (("explain", "figures/quick/tdr/nothing.csv"), 2, "unknown artifact 'nothing'"),
        (("explain", "figures/paper/tdr/fig5.csv", "--row", "TDRR"), 2, "no line matches; rows: TDR"),
        (("explain", "/etc/passwd"), 2, "outside of the project"),
        (("audit", "--seed", "1"), 2, "without --rerun N"),
        (("audit", "--report", "results"), 2, "a report is a file"),
        (("audit", "--report", "README.md/audit.json"), 2, "a report is a file"),
    ],
)
def test_a_mistake_is_one_line_and_a_code(arguments, code, said):
    done = reweigh(*arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.startswith("reweigh: ")
    assert done.stderr.count("\n") == 1


def test_outside_a_project(tmp_path):
    for command in (("plan",), ("schema", "--check"), ("schema", "--records", "--check")):
        done = reweigh(*command, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr


def test_schema_prints_and_checks():
    assert CliRunner().invoke(cli.app, ["schema"]).output == schema_text()
    assert CliRunner().invoke(cli.app, ["schema", "--check"]).exit_code == 0


def test_fetch_lists_what_is_where():
    said = CliRunner().invoke(cli.app, ["fetch", "--list"]).output
    assert all(name in said for name in ("mnist", "adult", "cifar10-slice", "nexrad", "by hand"))
