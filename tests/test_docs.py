"""Every page: its commands, options and targets exist, its links and paths lead somewhere, its walks can be walked."""

import ast
import re
import shlex
import subprocess
import sys
import tomllib

import pytest
import typer
import yaml
from support.project import ROOT
from support.readme import PAGES, blocks, page

from reweigh import __version__
from reweigh.cli import app
from reweigh.config.project import ProjectConfig
from reweigh.training import __main__ as training

COMMANDS = typer.main.get_command(app).commands
PLACES = ("src", "config", "data", "docs", "envs", "notebooks", "profiles", "results", "tests", "tools", "workflow")
# Made by a run, or by the reader of a page; and what stands for any name.
MADE = re.compile(
    r"^(data/(raw|splits|local)|results/(quick|SCALE)|figures/(quick|SCALE)|crates)/?|sqrt|poly1|[<{*…]|\.\.\.|[A-Z]{4,}"
)


def command_lines(text):
    """The commands of a page: lines of its console blocks after `$`, and code in a sentence that begins like one."""
    shown = [line[2:] for block in blocks(text, "console") for line in block.splitlines() if line.startswith("$ ")]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    spans = re.findall(r"`((?:reweigh|make|snakemake|python -m reweigh\.training) [^`]+)`", prose)
    return [shlex.split(line, comments=True) for line in shown + spans]


def without_variables(words):
    """A command without the `NAME=value` before it."""
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return words


def options_of(words):
    return [word.split("=")[0] for word in words if word.startswith("--") and word != "--"]


@pytest.fixture(scope="module")
def snakemake_help():
    return subprocess.run([sys.executable, "-m", "snakemake", "--help"], capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", PAGES)
def test_every_command_of_reweigh_exists_with_its_options(name):
    for words in map(without_variables, command_lines(page(name))):
        if words[:1] == ["reweigh"]:
            assert words[1] in COMMANDS or words[1].startswith("--") or not words[1].islower(), words
            if words[1] in COMMANDS:
                known = {option for parameter in COMMANDS[words[1]].params for option in parameter.opts}
                assert set(options_of(words)) <= known, words


@pytest.mark.parametrize("name", PAGES)
def test_every_option_of_the_training_module_exists(name, capsys):
    with pytest.raises(SystemExit):
        training.main(["--help"])
    usage = capsys.readouterr().out
    for words in map(without_variables, command_lines(page(name))):
        if words[:3] == ["python", "-m", "reweigh.training"]:
            assert all(option in usage for option in options_of(words)), words


@pytest.mark.parametrize("name", PAGES)
def test_every_target_of_make_exists(name):
    targets = set(re.findall(r"^([a-z]+):", page("Makefile"), flags=re.MULTILINE))
    for words in command_lines(page(name)):
        if words[:1] == ["make"]:
            assert set(words[1:]) <= targets, words


@pytest.mark.parametrize("name", PAGES)
def test_every_option_and_config_key_given_to_snakemake_exists(name, snakemake_help):
    for words in map(without_variables, command_lines(page(name))):
        if words[:1] == ["snakemake"]:
            assert all(option in snakemake_help for option in options_of(words)), words
            given = words[words.index("--config") + 1 :] if "--config" in words else []
            keys = {word.split("=")[0] for word in given if "=" in word}
            assert keys <= set(ProjectConfig.model_fields), words


def anchors(text):
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page(name)):
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("name", PAGES)
def test_every_path_that_is_named_exists(name):
    """Paths in code spans: from the root, or as docs have it from src/reweigh (`training/graph.py`)."""
    prose = re.sub(r"```.*?```", "", page(name), flags=re.DOTALL)
    for path in re.findall(r"`([\w./-]+)`", prose):
        if "/" not in path or MADE.search(path) or path.startswith("/"):
            continue
        if path.startswith(PLACES) or path.endswith(".py"):
            assert (ROOT / path).exists() or (ROOT / "src/reweigh" / path).exists(), path


@pytest.mark.parametrize("name", PAGES)
def test_every_row_of_a_table_follows_its_head(name):
    """A blank line inside ends a table in Markdown, and shows the rows after it as text."""
    text = re.sub(r"```.*?```", "", page(name), flags=re.DOTALL)
    for block in re.split(r"\n\s*\n", text):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert not rows or (len(rows) > 2 and re.fullmatch(r"[|\s:-]+", rows[1])), rows[0]


def test_nothing_is_left_to_fill_in():
    for name in PAGES:
        assert not re.search(r"@[A-Z]+@|TODO|TBD|FIXME", page(name)), name


# --- the walks ---


def walks():
    """The walks of docs/architecture.md: title -> its stops, each a list of what it names in code spans."""
    sections = page("docs/architecture.md").split("## A stranger's walk")[1].split("\n### ")[1:]
    return {
        section.splitlines()[0]: [
            re.findall(r"`([^`]+)`", stop.partition(":")[0])
            for stop in re.findall(r"^\d\. ((?:.+\n?(?!\d\. ))+)", section, flags=re.MULTILINE)
        ]
        for section in sections
    }


def defined(path):
    """The functions, classes and methods that a file defines, as `name` and `Class.name`."""
    tree, kinds = ast.parse((ROOT / path).read_text()), (ast.FunctionDef, ast.ClassDef)
    top = [node for node in tree.body if isinstance(node, kinds)]
    inner = [
        (node.name, one.name)
        for node in top
        if isinstance(node, ast.ClassDef)
        for one in node.body
        if isinstance(one, kinds)
    ]
    return {node.name for node in top} | {".".join(pair) for pair in inner}


@pytest.mark.parametrize("title", walks())
def test_a_walk_has_at_most_six_stops_and_each_exists(title):
    stops = walks()[title]
    assert 3 <= len(stops) <= 6
    for path, *names in stops:
        assert (ROOT / path).is_file(), path
        assert names or not path.endswith(".py"), path
        assert set(names) <= (defined(path) if path.endswith(".py") else set()), (path, names)


def test_there_are_two_walks():
    assert len(walks()) == 2


def test_the_line_at_the_end_of_the_first_walk_is_there():
    stop = next(iter(walks()))
    section = page("docs/architecture.md").split(f"### {stop}\n")[1].split("\n### ")[0]
    path, line = re.findall(r"^6\. `([^`]+)`, `[^`]+`: `([^`]+)`", section, flags=re.MULTILINE)[0]
    assert line in (ROOT / path).read_text()


def test_the_workflow_of_github_runs_what_ci_runs():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    job = workflow["jobs"]["test"]
    assert workflow["permissions"] == {"contents": "read"} and "secrets" not in str(workflow)
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    oldest = tomllib.loads(page("pyproject.toml"))["project"]["requires-python"].removeprefix(">=")
    assert job["strategy"]["matrix"]["python"][0] == oldest


def test_version_citation_and_changelog_agree():
    newest = re.search(r"^## (\S+) \(\d{4}-\d{2}-\d{2}\)$", page("CHANGELOG.md"), flags=re.MULTILINE)[1]
    assert newest == __version__ == yaml.safe_load(page("CITATION.cff"))["version"]
