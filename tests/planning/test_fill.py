"""`reweigh fill`: the order of the list, whole seeds only, stopped and resumed, and what it says is left."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from support import project
from support.processes import children, wait_for

from reweigh.config.loading import load
from reweigh.errors import TrainingError
from reweigh.planning import fill, low_priority
from reweigh.records import record
from reweigh.records.record import record_path
from reweigh.training.__main__ import Outcome

LIST = """priorities:
  - paper: tdr
    cells: [mnist-4v9/rho0.005/er]
    why: First.
  - paper: tdr
    cells: [mnist-lt/rho0.1]
    gpu: true
    why: Only where there is a GPU.
  - paper: tdr
    cells: [mnist-4v9/*/er, mnist-4v9/rho0.1/tdr]
    why: The rest; one of its cells stands above.
"""
FIRST, SECOND, THIRD = (f"smoke/tdr/mnist-4v9/{cell}" for cell in ("rho0.005/er", "rho0.1/er", "rho0.1/tdr"))


@pytest.fixture
def folder(tmp_path, raw_root, monkeypatch):
    project.make(tmp_path, raw_root)
    (tmp_path / "config/priorities.yaml").write_text(LIST)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(folder, *arguments, **environment):
    # At the lowest priority a process beside busy tests would not get a turn.
    command = [sys.executable, "-m", "reweigh.cli", "fill", "--scale", "smoke", "--nice", "1", *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=project.environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder, *arguments, **environment):
    process = start(folder, *arguments, **environment)
    said = process.communicate(timeout=600)
    return process.returncode, *said


def with_epochs(folder, epochs):
    """Let the smoke runs of mnist-4v9 take so many epochs."""
    path = folder / "config/papers/tdr/experiments/mnist.yaml"
    before, after = path.read_text().split("      smoke:\n", 1)
    after, count = re.subn(r"epochs: \d+", f"epochs: {epochs}", after, count=1)
    assert count == 1
    path.write_text(f"{before}      smoke:\n{after}")


def records(folder):
    return sorted(path.stat().st_mtime_ns for path in folder.glob("results/**/seed*.json"))


def test_the_order_of_the_list_is_that_of_its_entries_each_run_at_its_first(folder):
    runs = [one.run for one in fill.wanted(load(), "smoke", gpu=False)]
    assert runs == [f"{cell}/seed{seed}" for cell in (FIRST, SECOND, THIRD) for seed in (0, 1)]
    assert [len(one.runs) for one in fill.listed(load(), "smoke")] == [2, 2, 4]
    everywhere = [one.run for one in fill.wanted(load(), "smoke")]
    assert everywhere[2].startswith("smoke/tdr/mnist-lt/rho0.1/") and set(runs) < set(everywhere)


def test_a_batch_ends_where_four_times_the_time_is_spent(folder, monkeypatch):
    monkeypatch.setattr(fill, "cores_allow", lambda specs: 2)
    pending = fill.wanted(load(), "smoke", gpu=False)
    cost = pending[0].seconds
    assert cost > 0 and fill.next_of(pending, 0.0) == pending[:1]
    assert fill.next_of(pending, cost / 8) == pending[:1]
    assert fill.next_of(pending, 1000 * cost) == pending


def test_all_is_trained_in_order_and_a_second_call_finds_nothing_to_do(folder):
    code, told, said = run(folder, "--for", "1h", "--at-once", "1")
    assert code == 0, said
    trained = re.findall(r"^\d/6 (\S+): finished", said, re.MULTILINE)
    assert trained == [f"{cell}/seed{seed}" for cell in (FIRST, SECOND, THIRD) for seed in (0, 1)]
    assert "6 of the" in told and "Left to a machine with a GPU: 2 runs" in told
    before = records(folder)
    assert len(before) == 6
    assert run(folder, "--for", "1h")[0] == 0 and records(folder) == before
    code, told, _ = run(folder, "--list")
    assert code == 0 and "4 current" in told and "Only where there is a GPU" in told


def test_it_gives_way_as_far_as_a_process_can():
    code = "import os; from reweigh.planning.low_priority import give_way; give_way(); print(os.nice(0))"
    done = subprocess.run([sys.executable, "-c", code], env=project.environment(), capture_output=True, text=True)
    assert done.stdout == "19\n", done.stderr


def niceness_of_the_trainer(process):
    """That of its child, where it needs one to give way."""
    return max(os.getpriority(os.PRIO_PROCESS, pid) for pid in (process.pid, *children(process.pid)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_what_is_not_finished_and_the_next_call_goes_on(folder, number):
    with_epochs(folder, 60)
    process = start(folder, "--for", "1h", "--at-once", "1", REWEIGH_CHECKPOINT_SECONDS="0")
    wait_for(lambda: project.checkpoints(folder), "a checkpoint", process)
    assert niceness_of_the_trainer(process) == min(os.getpriority(os.PRIO_PROCESS, 0) + 1, low_priority.LOWEST)
    refused = run(folder, "--for", "1s")
    assert refused[0] == 1 and "another `reweigh fill` is at work" in refused[2]
    process.send_signal(number)
    told, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "the same command resumes from here" in said and "Traceback" not in said
    assert "Left: " in told and project.checkpoints(folder)
    done = len(records(folder))
    assert done < 6, "whole seeds only"
    assert run(folder, "--for", "1h")[0] == 0 and len(records(folder)) == 6
    interrupted = record.read(record_path(f"{(FIRST, SECOND, THIRD)[done // 2]}/seed{done % 2}", folder))
    assert interrupted["resumed"] == 1
    assert not project.checkpoints(folder)


def test_the_end_of_the_time_saves_too_and_is_no_failure(folder):
    # TDR alone: ER may diverge within a second, and a run that has diverged is done.
    (folder / "config/priorities.yaml").write_text(
        "priorities:\n  - { paper: tdr, cells: [mnist-4v9/rho0.1/tdr], why: It goes on. }\n"
    )
    with_epochs(folder, 40000)
    code, told, said = run(folder, "--for", "6s", "--at-once", "1")
    assert code == 0, said
    assert "time is up" in said and f"Next: {THIRD}" in told
    assert project.checkpoints(folder) and not records(folder)


def test_a_time_that_ends_before_any_run_begins_is_said(folder, capsys):
    with fill.alone() as lock:
        assert fill._train_until(time.monotonic() - 1, "smoke", 1, False, lock) == 0
    assert "time is up; the same command goes on" in capsys.readouterr().err
    assert not project.checkpoints(folder) and not records(folder)


def test_a_data_set_that_is_not_there_costs_a_line_and_the_others_are_trained(folder, raw_root):
    path = folder / "config/priorities.yaml"
    path.write_text(path.read_text().replace("mnist-4v9/rho0.005/er", "cifar10-4v9-convnet/rho0.3/tdr"))
    (folder / "data/raw").unlink()
    (folder / "data/raw").mkdir()
    (folder / "data/raw/mnist").symlink_to(raw_root / "mnist")
    code, _, said = run(folder, "--for", "1h", REWEIGH_MIRROR="/nowhere", https_proxy="http://127.0.0.1:9")
    assert code == 1 and said.count("reweigh: no runs on cifar10") == 1 and "Traceback" not in said
    assert record_path(f"{THIRD}/seed0", folder).is_file()


def test_a_process_that_replaces_itself_does_not_begin_its_time_again(monkeypatch):
    monkeypatch.setenv(fill.UNTIL, "")
    first = fill.end_of_time(10)
    assert first == fill.end_of_time(1000) and 0 < first - time.monotonic() <= 10
    monkeypatch.setenv(fill.UNTIL, f"{os.getpid() + 1} {first}")  # of a process that started this one
    assert fill.end_of_time(1000) > first


def test_on_a_cpu_what_an_entry_for_a_gpu_shares_with_later_ones_is_in_their_cost(folder):
    two_stage = "two-stage/lt-rho100"
    (folder / "config/priorities.yaml").write_text(f"""priorities:
  - {{ paper: absgd, cells: [{two_stage}/joint], gpu: true, why: first }}
  - {{ paper: absgd, cells: [{two_stage}/ncm, {two_stage}/tau_norm], why: second }}
""")
    for_gpu, here = fill.listed(load(), "smoke")
    ncm, tau_norm = fill.wanted(load(), "smoke", gpu=False)
    assert [run.seconds > 0 for run in (*for_gpu.runs, ncm, tau_norm)] == [False, True, False]
    assert here.runs == [ncm, tau_norm]
    assert [run.seconds > 0 for run in fill.wanted(load(), "smoke")] == [True, False, False]


class Replaced(BaseException):
    """Stands in for the end of this program, in whose place another begins."""


def test_a_process_that_replaces_itself_knows_what_it_has_tried_and_gives_way_once(folder, monkeypatch):
    batches, gave_way = [], []

    def train(specs, *rest, **options):
        names = [f"{spec['setting']}/{spec['method']}/seed{spec['seed']}" for spec in specs]
        batches.append(names)
        if len(batches) == 2:
            environment.update(os.environ)
            raise Replaced
        return Outcome(failed={names[0]: TrainingError("no")} if len(batches) == 1 else {})

    environment = {}
    monkeypatch.setattr(fill, "give_way", gave_way.append)
    monkeypatch.setattr(fill, "train", train)
    monkeypatch.setattr(fill, "next_of", lambda pending, left: pending[:2])
    with pytest.raises(Replaced):
        fill.fill(600, "smoke", nice=5)
    monkeypatch.setenv(fill.UNTIL, environment[fill.UNTIL])
    assert fill.fill(600, "smoke", nice=5) == 1  # the failure of the first batch
    first, second, again, third = batches
    assert second == again and not {*first} & {*second, *third} and not {*second} & {*third}
    assert gave_way == [5] and fill.UNTIL not in os.environ
    assert fill.fill(600, "smoke", nice=5) == 0 and gave_way == [5, 5]  # a call of its own
    assert batches[4] == first


def test_the_time_is_asked_for(folder):
    code, _, said = run(folder)
    assert code == 2 and "--for 2h" in said
    assert run(folder, "--for", "soon")[0] == 2
