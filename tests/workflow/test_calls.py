"""A call of Snakemake as a user has it: one record, an hour of training, Ctrl-C, kill -9, a job that fails."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.project import ROOT
from support.workflow import PAIR, copy, planned, snakemake

from reweigh.config.loading import load
from reweigh.errors import ConfigError
from reweigh.planning import call, watch
from reweigh.planning.jobs import flow
from reweigh.provenance.audit.snakemake_metadata import check_snakemake_metadata
from reweigh.records import record

RECORDS = [f"results/{PAIR}/seed{seed}.json" for seed in (0, 1)]
SMOKE = ("--cores", "1", "--config", "scale=smoke", "--")
LONG = "paper/absgd/cifar10-lt"
SLEEPS = """
import pathlib, sys, time

if pathlib.Path("sleeps").exists() and "reweigh train" in " ".join(sys.orig_argv) and "snakemake" not in sys.orig_argv:
    pathlib.Path("asleep").touch()
    time.sleep(100)
"""
# Each training ends as the next letter of the file `ends` says: 1, an error; k, killed; s, stopped by its budget.
ENDS = """
import os, pathlib, sys

if "reweigh train" in " ".join(sys.orig_argv) and "snakemake" not in sys.orig_argv and (ends := pathlib.Path("ends")):
    how, left = ends.read_text()[:1], ends.read_text()[1:]
    ends.write_text(left)
    if how == "k":
        os.kill(os.getpid(), 9)
    if how:
        from reweigh.training import __main__ as training
        def train(*_):
            if how == "1":
                raise OSError(28, "No space left on device")
            return training.Outcome(out_of_time=True)
        training.train = train
"""


@pytest.fixture
def project(tmp_path, table3_project):
    """A copy in which the records of one cell are gone. While the file `sleeps` is there, training sleeps."""
    folder = Path(shutil.copytree(table3_project, tmp_path / "project", symlinks=True))
    (folder / "src/sitecustomize.py").write_text(SLEEPS)
    for path in RECORDS:
        (folder / path).unlink()
    return folder


def started(folder, *arguments):
    """Start Snakemake in a session of its own; once training sleeps, the process."""
    (folder / "sleeps").touch()
    (folder / "asleep").unlink(missing_ok=True)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src"), "PATH": path, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    for _ in range(600):
        if (folder / "asleep").exists():
            break
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    (folder / "sleeps").unlink()
    return process


# --- one record ---


@pytest.mark.slow
def test_one_record_asked_for_trains_one_run(project):
    """Its job is that of the whole batch, so that the others are trained later and this one is not trained again."""
    snakemake(project, *SMOKE, RECORDS[0])
    assert [(project / path).is_file() for path in RECORDS] == [True, False]
    body = record.read(project / RECORDS[0])
    links = check_snakemake_metadata(load(project), {body["run"]: body}, project)
    assert {link.name: link.state for link in links}[body["run"]] == "intact"
    said = snakemake(project, "--dry-run", *SMOKE, *RECORDS)
    assert "--only" in said  # both are asked for, of four
    assert planned(project, *SMOKE, RECORDS[0]) == {}


def test_records_beside_other_targets_train_whole_batches():
    targets = ["results/paper/tdr/adult/sex/tdr/seed0.json"]
    assert call.asked_for(targets) and not call.asked_for([*targets, "scorecard"]) and not call.asked_for([])
    assert call._targets(["--cores", "1", *targets, "--config", "scale=paper"]) == targets
    assert call._targets(["--cores", "1", *targets, "--", "tdr_fig5"]) == [*targets, "tdr_fig5"]
    assert call._targets(["--cores", "1", "--", "tdr_fig5"]) == []


# --- an hour of training ---


# --- targets ---


RECORD = "results/quick/tdr/mnist-4v9/rho0.1/tdr/seed0.json"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (RECORD.replace("seed0", "seed9"), "quick/tdr/mnist-4v9 has no seed9, only seed0 to seed2"),
        (RECORD.replace("rho0.1", "rho0.3"), "unknown setting 'rho0.3'; did you mean 'rho0.1'?"),
        (RECORD.replace("/tdr/seed", "/tdrr/seed"), "unknown method 'tdrr'; did you mean 'tdr'?"),
        (RECORD.replace("quick", "quik"), "unknown scale 'quik'; did you mean 'quick'?"),
        ("figures/quick/tdr/fig55.pdf", "unknown target 'fig55'; did you mean 'fig5'?"),
        ("figures/quick/trd/fig5.pdf", "unknown paper 'trd'; did you mean 'tdr'?"),
        ("figures/quik/tdr/fig5.pdf", "unknown scale 'quik'; did you mean 'quick'?"),
        ("figures/quick/tdr/fig5", "an artifact's files end in pdf, png, csv, ipynb, json; name one of them"),
    ],
)
def test_a_target_that_cannot_be_is_one_line_with_the_nearest_that_can(target, said):
    """Snakemake said where in our code it came to nothing, or that it has no rule for it."""
    with pytest.raises(ConfigError, match=re.escape(said)):
        call.check_target(load(ROOT), target)


def test_what_can_be_and_what_is_not_ours_is_left_to_snakemake():
    config = load(ROOT)
    ours = (RECORD, "figures/quick/tdr/fig5.csv", "figures/quick/tdr/fig5+mine.pdf", "results/quick/scorecard.csv")
    for target in (*ours, "tdr_fig5", "data/raw/mnist/SOURCE.json", "README.md"):
        call.check_target(config, target)


def test_snakemake_ends_in_that_line(project):
    command = [sys.executable, "-m", "snakemake", "--dry-run", *SMOKE, "figures/smoke/tdr/table33.pdf"]
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode
    assert (
        done.stderr.splitlines()[-1] == "reweigh: config/papers/tdr: unknown target 'table33'; did you mean 'table3'?"
    )


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return copy(tmp_path_factory.mktemp("clone"))


def long_call(clone, settings, runs):
    """A call that is to train some runs, with a stand-in for Snakemake's object."""
    this = flow({"scale": "paper", **settings}, clone)
    jobs = [SimpleNamespace(rule=SimpleNamespace(name="train_x"), output=[f"results/{run}.json" for run in runs])]
    dag = SimpleNamespace(needrun_jobs=lambda: jobs)
    return call.Call(this, SimpleNamespace(touch=False, dag=dag, cores=2, global_resources={}))


def test_more_than_an_hour_of_training_is_told_and_goes_on(clone, capsys):
    runs = load(clone).runs("paper", "absgd")
    long_call(clone, {}, runs[:40]).starts()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("reweigh: 40 runs to train: about ") and " h" in line and call.LESS in line
    long_call(clone, {}, []).starts()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("answer", "goes_on"), [("y\n", True), ("\n", False), ("", False)])
def test_it_asks_on_a_terminal(clone, capsys, monkeypatch, answer, goes_on):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True, readline=lambda: answer))
    this = long_call(clone, {"confirm": "ask"}, load(clone).runs("paper", "absgd")[:40])
    if goes_on:
        this.starts()
    else:
        with pytest.raises(SystemExit, match="nothing was run"):
            this.starts()
    assert "go on? [y/N]" in capsys.readouterr().err


@pytest.mark.slow
def test_without_a_terminal_it_does_not_hang(clone):
    run = load(clone).runs("paper", "absgd")[0]
    experiment = run.rpartition("/")[0].rpartition("/")[0].rpartition("/")[0]
    targets = [f"results/{one}.json" for one in load(clone).runs(*experiment.split("/"))]
    settings = ("--config", "scale=paper", "confirm=ask", "--")
    said = snakemake(clone, "--cores", "1", *settings, *targets, fails=True)
    assert "confirm=ask needs a terminal to ask on; to go on: --config confirm=tell" in said
    assert not (clone / "data/raw").exists()
    assert "runs to train" not in snakemake(clone, "--dry-run", *settings, *targets)


# --- Ctrl-C and kill -9 ---


@pytest.mark.slow
@pytest.mark.parametrize("watched", [False, True])
def test_ctrl_c_reads_like_a_pause(project, watched):
    through = ("reweigh.planning.watch", "logs/x.log", sys.executable, "-m") if watched else ()
    process = started(project, *through, "snakemake", *SMOKE, *RECORDS)
    os.killpg(process.pid, signal.SIGINT)
    before = time.monotonic()
    said, _ = process.communicate(timeout=60)
    assert time.monotonic() - before < 15  # 2 s on an idle machine
    assert process.returncode != 0
    assert "reweigh: stopped: 0 of 2 runs finished and saved, what was begun is kept; the same command goes on" in said
    assert "Error in rule" not in said and "Traceback" not in said
    if watched:
        assert len(said.splitlines()) < 6 and (project / "logs/x.log").is_file()


@pytest.mark.slow
def test_the_lock_of_a_killed_call_is_removed_and_that_of_a_living_one_is_not(project):
    process = started(project, "snakemake", *SMOKE, RECORDS[0])
    said = snakemake(project, *SMOKE, RECORDS[0], fails=True)
    assert "cannot be locked" in said and "left this folder locked" not in said
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert any((project / ".snakemake/locks").iterdir())
    said = snakemake(project, *SMOKE, RECORDS[0])
    assert "an earlier call was killed and left this folder locked; unlocked" in said
    assert (project / RECORDS[0]).is_file()


# --- a job that fails, and what is seen of a long call ---


def test_the_log_of_a_failed_job_is_shown_however_quiet_snakemake_is(clone, capsys, tmp_path):
    log = tmp_path / "split.log"
    log.write_text("".join(f"line {number}\n" for number in range(20)))
    job = SimpleNamespace(rule=SimpleNamespace(name="split_seed_0"), log=[log])
    call.Call(None, SimpleNamespace(scheduler=SimpleNamespace(failed=[job]))).failed()
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == f"reweigh: split_seed_0 failed; the last lines of {log}:"
    assert rest == [f"    line {number}" for number in range(12, 20)]


@pytest.mark.slow
def test_a_time_budget_repeats_what_ran_out_of_time_and_no_error(project):
    """Attempts are counted in the log: three without a budget, one with; two that are stopped before one that ends."""
    (project / "src/sitecustomize.py").write_text(ENDS)
    budget = ("--cores", "1", "--config", "scale=smoke", "time_budget=9m", "--")
    for arguments, ends, attempts in ((SMOKE, "1111", 3), (budget, "1111", 1), (budget, "kkkk", 3)):
        (project / "ends").write_text(ends)
        said = snakemake(project, *arguments, *RECORDS, fails=True)
        assert (
            said.count("Trying to restart job") == attempts - 1 and len((project / "ends").read_text()) == 4 - attempts
        )
    (project / "ends").write_text("sskss")
    said = snakemake(project, *budget, *RECORDS)
    assert said.count("Trying to restart job") == 5 and (project / RECORDS[0]).is_file()


SAYS = "import sys; print('rule x:'); print('1 of 4 steps (25%) done'); print('reweigh: x failed:'); print('    why')"


@pytest.mark.parametrize(
    ("code", "ended", "shown"),
    [
        (f"{SAYS}; print('    '); sys.exit(3)", 3, ["reweigh: x failed:", "    why", "", "all of the output: LOG"]),
        ("print('4 of 4 steps (100%) done')", 0, ["4 steps in 0 s; all of the output: LOG"]),
        ("pass", 0, ["nothing to be done"]),
        ("print('a'); print('b'); raise SystemExit(1)", 1, ["a", "b", "all of the output: LOG"]),
    ],
)
def test_what_is_seen_of_a_long_call(tmp_path, code, ended, shown):
    log = tmp_path / "logs/quick.log"
    command = [sys.executable, "-m", "reweigh.planning.watch", str(log), sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == ended
    assert done.stderr.splitlines() == [line.replace("LOG", str(log)) for line in shown]
    assert log.is_file()


def test_the_time_left(capsys):
    screen = watch.Screen(sys.stderr)
    screen.done, screen.total = 50, 150
    assert screen.so_far(screen.began + 300) == "50 of 150 steps, 5 min, about 10 min left"
    screen.done, screen.total = 3, 194  # `make quick` began with "about 78 min left"
    assert screen.so_far(screen.began + 73) == "3 of 194 steps, 73 s"
