"""What all commands have in common: where the project is, the nearest word, being stopped, completion, examples."""

import inspect
import os
import re
import shlex
import signal
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from support.project import ROOT
from typer.main import get_command
from typer.testing import CliRunner

from reweigh import __version__, cli
from reweigh.artifacts import beside
from reweigh.cli import base
from reweigh.config import home
from reweigh.config.loading import load
from reweigh.config.names import ArtifactName, RunName
from reweigh.errors import ConfigError
from reweigh.planning.plan import is_wide, runs_of_target, runs_with_splits

GROUP = get_command(cli.app)
CELL = "paper/tdr/mnist-4v9/rho0.005/tdr"


def said(*arguments):
    """What a command prints. Raises the error that it ends with."""
    done = CliRunner().invoke(cli.app, list(arguments))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


# --- where the project is ---


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a copy of a small project in it; the current one."""
    (tmp_path / "mine/config").mkdir(parents=True)
    (tmp_path / "mine/config/config.yaml").touch()
    (tmp_path / "mine/a/b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_project_is_found_from_below(place):
    assert [home.above(place / one) for one in ("mine", "mine/a/b", "mine/absent", ".")] == [place / "mine"] * 3 + [
        None
    ]


def test_outside_a_line_says_where_to_go(place, monkeypatch):
    assert home.not_here(place).endswith("first: cd mine")
    (place / "a b/config").mkdir(parents=True)
    (place / "a b/config/config.yaml").touch()
    assert home.not_here(place).endswith("first: cd 'a b' or cd mine")
    monkeypatch.chdir("/")
    assert home.not_here(Path()).endswith("first: cd to the project's own folder")


def arguments_of(name):
    """The least that a command takes."""
    command = GROUP.commands[name]
    return [name, *("x" for one in command.params if one.param_type_name == "argument" and one.required)]


@pytest.mark.parametrize("name", sorted(set(GROUP.commands) - set(base.ANYWHERE)))
def test_outside_of_a_project_every_command_says_so(place, name):
    with pytest.raises(ConfigError, match=r"no project here: no config/config.yaml in .*; first: cd mine"):
        said(*arguments_of(name))


def test_paths_count_from_where_a_command_is_given(monkeypatch):
    shown = []
    for one in ("fig5.csv", "fig5", "./fig5.pdf", "figures/paper/tdr/fig5"):
        monkeypatch.chdir(ROOT / "figures/paper/tdr")
        shown.append(said("explain", one, "--line", "2"))
    assert len(set(shown)) == 1 and shown[0].startswith("figures/paper/tdr/fig5.csv sha256")
    assert os.getcwd() == str(ROOT)


@pytest.mark.parametrize(
    ("here", "told", "parameter", "meant"),
    [
        ("docs", "x/report.json", "report", "docs/x/report.json"),
        ("docs", "../specs", "specs", "specs"),
        (".", "./report.json", "report", "./report.json"),
        ("docs", "/tmp/report.json", "report", "/tmp/report.json"),
        ("docs", "paper/tdr", "targets", "paper/tdr"),
        ("figures/paper/tdr", "fig5.ipynb", "targets", "figures/paper/tdr/fig5.ipynb"),
        (".", "./figures/paper/tdr/fig5.csv", "artifacts", "figures/paper/tdr/fig5.csv"),
        ("docs", f"{ROOT}/figures/paper/tdr/fig5.csv", "artifacts", "figures/paper/tdr/fig5.csv"),
        (".", f"{ROOT}/figures/paper/tdr/fig5", "artifacts", "figures/paper/tdr/fig5"),
        (".", "/etc/passwd", "target", "/etc/passwd"),
        ("docs", "a\0b", "target", "a\0b"),
    ],
)
def test_a_path_and_a_name(here, told, parameter, meant):
    assert base._from(ROOT, Path(os.path.normpath(ROOT / here)), told, parameter) == meant
    if parameter in base.PATHS:
        assert base._from(ROOT, Path(os.path.normpath(ROOT / here)), Path(told), parameter) == Path(meant)


def test_every_path_of_a_command_counts_from_where_it_is_given():
    for name, command in GROUP.commands.items():
        hints = typing.get_type_hints(inspect.unwrap(command.callback))
        paths = {key for key, hint in hints.items() if hint in (Path, Path | None)}
        assert paths <= {*base.PATHS, *base.NAMES}, name


# --- what is meant ---


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["pln"], "did you mean 'plan'?"),
        (["explian", "x"], "did you mean 'explain'?"),
        (["plan", "--sacle", "quick"], "--scale"),
        (["train", "x", "--agian"], "--again"),
    ],
)
def test_the_nearest_command_and_option(arguments, meant):
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 2 and meant in done.output


@pytest.mark.parametrize(
    ("target", "count"),
    [("quick/tdr/mnist-4v9", 0), ("quick/tdr/mnist-4v9/rho0.005", 0), ("quick/tdr/mnist-4v9/rho0.005/tdr", 0),
     ("quick/tdr/mnist-4v9/rho0.005/tdr/seed1", 1), ("figures/quick/tdr/fig5.csv", 0),
     ("quick/tdr/mnist-4v9/rho0.005/seed1", 1), ("data/splits/quick/tdr/mnist-4v9/rho0.005/seed1.npz", 1)],
)  # fmt: skip
def test_splits_are_drawn_for_whatever_plan_takes(config, target, count):
    runs = runs_with_splits(config, [target])
    assert runs and len({RunName.parse(run).split for run in runs}) == len(runs)
    if count:
        assert len(runs) == count
    else:
        assert {RunName.parse(run).split for run in runs} == {
            RunName.parse(run).split for run in runs_of_target(config, target)
        }


def test_what_stands_for_many_runs_is_told_apart():
    assert [is_wide(name) for name in (CELL, f"{CELL}/seed0", f"results/{CELL}/seed0.json")] == [False] * 3
    assert all(is_wide(name) for name in ("paper/tdr", "figures/paper/tdr/fig5.pdf", "paper/tdr/mnist-4v9/rho0.005"))


@pytest.mark.parametrize("form", ["figures/{}", "figures/{}.pdf", "./figures/{}.json", "{}", "figures/{}.csv/"])
def test_an_artifact_is_named_by_any_of_its_files(form):
    assert beside.checked(form.format("paper/tdr/fig5"), [], ROOT) == "figures/paper/tdr/fig5"
    assert ArtifactName.parse(form.format("paper/tdr/fig5")).name == "fig5"


@pytest.mark.parametrize("seed", ["plan {}/seed99", "plan {}/seed99 --why", "train {}/seed99", "explain {}/seed99",
                                  "explain results/{}/seed99.json", "attest {}/seed99 --dry-run"])  # fmt: skip
def test_a_seed_that_is_not_there_is_refused_with_those_that_are(seed, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=r"has no seed99, only seed0 to seed4; .*mnist.yaml:\d+$"):
        said(*seed.format(CELL).split())


def test_a_seed_of_a_split_that_is_not_there_is_refused(config):
    for name in ("quick/tdr/mnist-4v9/rho0.005/seed99", "quick/tdr/mnist-4v9/rho0.005/tdr/seed99"):
        with pytest.raises(ConfigError, match="has no seed99, only seed0"):
            runs_with_splits(config, [name])


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("fig5.csv", "no such file; did you mean .*figures/paper/tdr/fig5.csv"),
        ("paper/tdr/fig5.pdf", "no such file; did you mean figures/paper/tdr/fig5.csv"),
        ("results/paper/scorcard.csv", "no such file; did you mean results/paper/scorecard.csv"),
        ("data/publised/tdr.csv", "no such file; did you mean data/published/tdr.csv"),
        ("figures/paper/tdr/fig5.cvs", "no such file; did you mean figures/paper/tdr/fig5.csv"),
        ("zzzzzzzz.csv", "no such file; explain reads the csv of"),
        ("README.md", "cannot be explained; explain reads"),
    ],
)
def test_a_file_that_is_not_there_is_said_with_the_nearest(path, meant, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=meant):
        said("explain", path)


def test_a_folder_of_specs_that_is_not_there(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match="nowhere: no such spec; write specs with"):
        said("pack", "nowhere")


@pytest.mark.parametrize("folder", ["README.md", "README.md/specs", "/proc/specs"])
def test_what_is_no_folder_for_specs(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=rf"^{folder}: no folder for specs .*; name one"):
        said("plan", "smoke/tdr/mnist-4v9", "--specs", folder)


# --- being stopped ---

STOPPED = """
import signal, sys, time
from reweigh.cli import base
import os
with base.stopped_in_words(sys.argv[1]):
    if sys.argv[2:] == ["fork"]:
        if os.fork() == 0:
            print("ready", flush=True); time.sleep(60)
        pid, status = os.wait(); print(os.waitstatus_to_exitcode(status), flush=True); sys.exit(0)
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("number", "command", "code", "says"),
    [
        (
            signal.SIGINT,
            "train",
            130,
            "reweigh: stopped by Ctrl-C; what is finished stays, and the same command goes on",
        ),
        (
            signal.SIGTERM,
            "audit",
            143,
            "reweigh: stopped by SIGTERM; every file is whole, or as it was; to go on, give",
        ),
        (signal.SIGHUP, "render", 129, "reweigh: stopped by SIGHUP; what is finished stays, and the same command"),
    ],
)
def test_a_command_that_is_stopped_says_so(number, command, code, says):
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a shell's background jobs ignore some
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert error.startswith(says) and error.count("\n") == 1


def test_a_process_that_a_command_forked_ends_as_it_would():
    process = subprocess.Popen([sys.executable, "-c", STOPPED, "train", "fork"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGTERM)
    told, error = process.communicate(timeout=60)
    assert (told, error) == (f"{-signal.SIGTERM}\n", "")


# --- completion, the module, the examples ---


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "reweigh", "--version"], capture_output=True, text=True)
    assert done.stdout == f"reweigh {__version__}\n"


def test_bash_completes_commands_and_options():
    code = "import sys; sys.argv[0] = 'reweigh'; from reweigh.__main__ import main; main()"
    for words, place, found in (("reweigh pl", "1", "plan"), ("reweigh plan --s", "2", "--scale\n--specs")):
        environment = {**os.environ, "_REWEIGH_COMPLETE": "complete_bash", "COMP_WORDS": words}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                              env={**environment, "COMP_CWORD": place})  # fmt: skip
        assert done.stdout.strip() == found, done.stderr


def examples():
    """Every example of the help texts, as words."""
    for name, command in GROUP.commands.items():
        for line in re.findall(r"\[dim\](.*?)\[/dim\]", command.help):
            assert line.startswith("reweigh "), name
            yield pytest.param(shlex.split(line.partition(" > ")[0])[1:], id=line)


@pytest.mark.parametrize("words", list(examples()))
def test_an_example_can_be_given_as_it_stands(words, config):
    name = words[0]
    command = GROUP.commands[name]
    told = command.make_context(f"reweigh {name}", words[1:]).params
    if name in ("plan", "train", "attest") and not told.get("why"):
        for target in told.get("targets") or told.get("runs") or ():
            assert runs_of_target(config, target)
    if name == "split":
        assert runs_with_splits(config, told["runs"])
    if name == "render":
        assert all(config.artifact(*ArtifactName.parse(one)[1:]) for one in told["artifacts"])
    if name == "explain":
        assert (ROOT / told["target"]).with_suffix(".csv").is_file()
    if name in ("tune", "fetch"):
        assert {told.get("paper", "tdr")} <= set(load(ROOT).papers)
