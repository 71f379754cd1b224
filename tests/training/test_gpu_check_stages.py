"""How the stages of a GPU check hang together: waiting, one lease, quiet stretches, signals, and what is left."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support import pretended_gpus, project
from support.gpu_runs import fields
from support.project import ROOT

from reweigh.methods import random_weights
from reweigh.planning import gpu_cases
from reweigh.training import device
from reweigh.training.gpu_check import capture, cases, child, missing, parent, throughput
from reweigh.training.gpu_check.checks import Context
from reweigh.training.gpu_check.report import Report

SHORT, LONG, GONE = (f"smoke/tdr/mnist-4v9/rho0.1/{method}/seed0" for method in ("none", "er", "hard"))


@pytest.fixture(scope="module")
def case_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cases") / "cases.json"
    path.write_text(json.dumps(gpu_cases.cases(ROOT)))
    return path


def check(stages, tmp_path, monkeypatch, context, budget=60.0, seconds=30.0, written=None):
    """Take some stages of tests/support; the exit code, and the lines of the log."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}")
    listed = [parent.Stage(name, f"support.{name}", seconds) for name in stages]
    code = parent.check(listed, context, Report(tmp_path / "log"), budget, written)
    return code, fields((tmp_path / "log").read_text())


# --- what passes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "seconds", "told"), [(1.0, 30.0, "nothing was checked; "), (9.0, 2.0, "of: slow_checks;")]
)
def test_what_checked_nothing_has_not_passed(tmp_path, monkeypatch, budget, seconds, told):
    stages = ("slow_checks", "following_checks")
    code, lines = check(stages, tmp_path, monkeypatch, Context("cpu"), budget, seconds)
    assert code == 1 and lines[-1][2] == "FAILED" and told in lines[-1][4]


def test_without_time_to_train_nothing_is_left_unchecked(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}")
    stages = [parent.Stage("told", "support.following_checks", 20)]
    stages += [parent.Stage("training", "support.slow_checks", 0, trains=True)]
    assert parent.check(stages, Context("cpu"), Report(tmp_path / "log"), 6.0) == 0
    assert fields((tmp_path / "log").read_text())[-1][2] == "ok"


def test_what_a_stage_has_measured_is_known_to_its_later_checks(case_file, monkeypatch):
    """The distance to the floor needs the time of a step, which the same process has just taken."""
    wanted = {"lenet channels-last fp32 1 lanes", "lenet floor"}
    context = Context("cpu", cases=str(case_file))
    done = [one.name for one in throughput.checks(context) if one.name not in wanted]
    monkeypatch.setattr(throughput, "NETS", ("lenet",))
    body = {key: value for key, value in vars(context).items() if key != "note"}
    reads, writes = os.pipe()
    order = {"module": "reweigh.training.gpu_check.throughput", "context": body, "done": done}
    child.main([str(writes), json.dumps(order)])
    said = [json.loads(line) for line in os.fdopen(reads)]
    detail = {one["check"]: one["detail"] for one in said if one["kind"] == "end"}
    assert set(detail) == wanted
    assert " ms at least; a step takes " in detail["lenet floor"] and detail["lenet floor"].endswith(" times as long")


def test_an_exception_that_another_suppressed_is_not_its_root():
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads('{"cut": ')
    assert child.told(caught.value).startswith("JSONDecodeError: Expecting value")


# --- waiting for the device -------------------------------------------------------------------------------------------


@pytest.fixture
def mode(monkeypatch):
    """The debug mode that would be in force on a GPU, as the one element of a list."""
    mode = ["default"]
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda new: mode.__setitem__(0, new))
    monkeypatch.setattr(cases, "device_of", lambda context: torch.device("cpu"))
    monkeypatch.setattr(cases, "on_a_stream", lambda device, action: action())
    return mode


def never_waits(case_file, method):
    context = Context("cuda", cases=str(case_file))
    return capture.never_waits(context, lambda: cases.spec_of(context, "lenet", method))


def waits(mode):
    """What torch does at a plain copy from the host, or at `item`."""
    if mode == ["error"]:
        raise RuntimeError("called a synchronizing CUDA operation")


@pytest.mark.parametrize("place", ["prepare", "example_weights", "never"])
def test_a_step_that_waits_for_the_device_on_either_side_is_found(mode, place, case_file, monkeypatch):
    def waiting(*arguments):
        waits(mode)
        return before(*arguments)

    before = getattr(random_weights.Method, place, None)
    if before is None:
        assert never_waits(case_file, "random_weights").startswith("46 steps of 2 programs; ")
        return
    monkeypatch.setattr(random_weights.Method, place, waiting)
    with pytest.raises(RuntimeError, match="synchronizing"):
        never_waits(case_file, "random_weights")
    assert mode == ["default"]


@pytest.mark.parametrize("method", ["none", "tdr", "er", "random_weights"])
def test_only_a_new_order_of_batches_may_wait(mode, method, case_file, monkeypatch):
    """A stream copies an order when it begins a pass; within a pass its seek, and every other copy, is watched."""
    from reweigh.data import batches

    seen, seek = [], batches.BatchStream.seek

    def watched(stream, number):
        seen.append((number % stream.per_cycle == 0, mode[0]))
        return seek(stream, number)

    monkeypatch.setattr(batches.BatchStream, "seek", watched)
    detail = never_waits(case_file, method)
    orders = int(detail.partition("; ")[2].split()[0])
    assert (False, "default") not in seen and (True, "error") not in seen and (False, "error") in seen
    assert orders == seen.count((True, "default"))
    assert batches.BatchStream.seek is watched  # as it was


# --- one lease --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """Two devices that do not exist, and a lock folder of the test's own."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("PATH", pretended_gpus.path(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_the_card_that_is_checked_is_the_one_that_trains_and_is_held_meanwhile(tmp_path, monkeypatch, cards):
    other = device.take_lease()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    held = []
    stages = ("leased_checks", "leased_checks")
    code, lines = check(
        stages, tmp_path, monkeypatch, Context("cuda"), written=lambda: held.append(dict(device.holders()))
    )
    assert held[0] == held[-1] == {"1": os.getpid()}
    assert code == 0 and [line[4] for line in lines[:-1]] == ["1"] * 4
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1" and device.HANDED_ON not in os.environ
    assert dict(device.holders()) == {"0": os.getpid(), "1": None}
    other.release()


def test_a_lease_lasts_as_long_as_any_process_that_was_started_under_it(cards, monkeypatch):
    lease = device.take_lease()
    lease.hand_on()
    with subprocess.Popen(["sleep", "60"], pass_fds=device.handed_on()) as process:
        lease.take_back()
        lease.release()
        assert dict(device.holders())["0"] is not None
        process.kill()
    assert dict(device.holders())["0"] is None and device.handed_on() == ()


def test_a_check_without_a_free_device_ends_in_time(tmp_path, monkeypatch, cards):
    leases = []
    for _ in range(2):
        leases.append(device.take_lease())
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(device.TrainingError, match="no device became free in 1 s"):
        check(("following_checks",), tmp_path, monkeypatch, Context("cuda"), budget=1.0)
    for lease in leases:
        lease.release()


# --- what must not be lost --------------------------------------------------------------------------------------------


def test_what_was_done_comes_home_while_a_check_says_nothing(tmp_path, monkeypatch):
    calls = []
    check(("slow_checks",), tmp_path, monkeypatch, Context("cpu"), 9.0, 4.0, lambda: calls.append(time.monotonic()))
    assert calls[-1] - calls[0] > 2.5 and len(calls) >= 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_has_the_runs_saved_that_are_trained(tmp_path, raw_root, case_file, number):
    """By the processes of a real call: the check, its stage, and the program that trains."""
    project.make(tmp_path, raw_root)
    (tmp_path / "specs/packed").mkdir(parents=True)
    (tmp_path / "specs/packed/cases.json").write_bytes(case_file.read_bytes())
    paths = [project.spec_file(tmp_path / "specs", SHORT), project.spec_file(tmp_path / "specs", LONG, epochs=10**5)]
    names = [path.name for path in paths]
    (tmp_path / "specs/order.txt").write_text("\n".join([f"{GONE.replace('/', '__')}.json", *names]) + "\n")
    arguments = ["--specs", "specs", "--device", "cpu", "--for", "4m", "--only", "training", "--log", "log"]
    command = [sys.executable, "-m", "reweigh.training.gpu_check", *arguments, "--home", "out"]
    changes = {"REWEIGH_CHECKPOINT_SECONDS": "9000"}
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=project.environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # whatever the tests inherit: nohup ignores some
    )
    end = time.monotonic() + 120
    while not (tmp_path / f"results/{SHORT}.json").exists() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.1)
    time.sleep(2)  # by now it trains the other
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number and "Traceback" not in out
    assert [path.parent.name for path in (tmp_path / ".reweigh/checkpoints").rglob("*.pt")] == ["seed0"]
    lines = {line[1]: line for line in fields((tmp_path / "log").read_text())}
    assert lines["call 1"][2] == "ok" and "1 of 2 runs ended" in lines["call 1"][4] and "saved" in lines["call 1"][4]
    assert lines["summary"][2] == "FAILED" and "did not come to its end" in lines["summary"][4]
    assert list((tmp_path / "out").iterdir())


LEAVES = """
import os, signal, sys, time
if os.fork():
    while not os.path.exists("ready"):
        time.sleep(0.01)
    os._exit(3)
def save(*_):
    open("asked", "a").write("once")
    time.sleep(1)
    open("saved", "w").close()
    os._exit(0)
signal.signal(signal.SIGTERM, save)
open("ready", "w").close()
time.sleep(60)
"""


def test_what_a_process_that_died_has_left_behind_is_asked_too(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", LEAVES], cwd=tmp_path, start_new_session=True)
    process.wait(30)
    parent._end(process)
    assert (tmp_path / "saved").exists() and (tmp_path / "asked").read_text() == "once"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


# --- what is left to train --------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path, config, monkeypatch):
    """A folder whose order changes its data set 24 times; nothing in it is current."""
    specs = [config.resolve(run) for run in (SHORT, "smoke/tdr/cifar10-4v9-convnet/rho0.3/none/seed0")]
    names = [f"{number:02}.json" for number in range(24)]
    for number, name in enumerate(names):
        (tmp_path / name).write_text(json.dumps({**specs[number % 2], "seed": number}))
    (tmp_path / "order.txt").write_text("\n".join(names) + "\n")
    monkeypatch.setattr(missing, "is_current", lambda spec: False)
    return Context("cpu", specs=str(tmp_path), seconds=36_000.0)


class Program:
    """In place of the program that trains: it ends with a code, after lines on stderr."""

    def __init__(self, code, *lines):
        self.stderr, self.code, self.specs = [f"{line}\n" for line in lines], code, []

    def __call__(self, command, **options):
        self.specs += [Path(word).name for word in command if word.endswith(".json")]
        return self

    def wait(self):
        return self.code


def taken(context):
    return [(one.name, child.outcome(one)) for one in missing.checks(context)]


def test_all_stretches_of_the_order_are_trained_however_many(many, monkeypatch):
    program = Program(0)
    monkeypatch.setattr(missing.subprocess, "Popen", program)
    lines = taken(many)
    assert program.specs == [f"{number:02}.json" for number in range(24)] and len(lines) == 25


@pytest.mark.parametrize(("code", "says"), [(missing.TRY_AGAIN, "time is up"), (1, "0 of 1 run")])
def test_runs_that_are_not_over_are_left(many, monkeypatch, code, says):
    monkeypatch.setattr(missing.subprocess, "Popen", Program(code, "reweigh: no memory"))
    *calls, (name, last) = taken(many)
    assert says in calls[0][1]["detail"] or code == 1
    assert name == "left" and last["status"] == "skipped" and last["detail"].startswith("24 runs left, ")
    assert last["detail"].endswith("; 24 of them tried")


def test_runs_that_earlier_checks_excluded_are_left_too(many):
    many.falls_back = {"nets": ["lenet", "convnet"]}
    ((name, last),) = taken(many)
    assert name == "left" and "24 runs not trained here: its net computes something else" in last["detail"]
    assert missing.what_is_left(Context("cpu"), 5.0, set()) == "0 runs left"


def test_a_run_that_ends_the_program_when_it_is_alone_does_not_keep_the_others_from_being_trained(many, monkeypatch):
    program = Program(-11, "going on")
    monkeypatch.setattr(missing.subprocess, "Popen", program)
    ended = child.outcome(next(missing.checks(many)))
    assert ended["status"] == "FAILED" and ended["falls_back"] == {"runs": [SHORT]}
    many.falls_back = ended["falls_back"]
    assert [path.name for path in missing.left(many)] == [f"{number:02}.json" for number in range(1, 24)]
    many.device, many.falls_back = "cuda", {}
    assert child.outcome(next(missing.checks(many)))["falls_back"] is None  # fewer side by side, as the check says


def test_a_net_whose_runs_do_not_resume_is_not_trained(case_file, config):
    from reweigh.training.gpu_check import lanes

    context = Context("cpu", cases=str(case_file))
    first = next(one for one in lanes.checks(context) if one.name.startswith("lenet ") and one.name.endswith(" resume"))
    context.falls_back = first.falls_back
    assert missing.excluded(context, config.resolve(SHORT))


def test_every_experiment_is_compared_with_home_however_many_differ(tmp_path, monkeypatch):
    from reweigh.training.gpu_check.__main__ import STAGES

    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}")
    machine = STAGES[0]
    assert machine.name == "machine"
    stage = parent.Stage("many", "support.faulty_experiments", 60, machine.failures)
    assert parent.check([stage], Context("cpu"), Report(tmp_path / "log"), 60.0) == 1
    assert [line[2] for line in fields((tmp_path / "log").read_text())] == ["FAILED"] * 9
