"""The check of a GPU, rehearsed on a CPU: every way in which a stage can fail."""

import json
import os
import subprocess
import sys
import tarfile
import time
from functools import partial

import pytest
import torch
from support import capture as stand_in
from support.gpu_runs import fields
from support.project import ROOT, environment

from reweigh.planning import gpu_cases
from reweigh.training.gpu_check import capture, cases, child, compare, missing, parent
from reweigh.training.gpu_check.checks import Context, Failed
from reweigh.training.gpu_check.homeward import Homeward
from reweigh.training.gpu_check.report import Report
from reweigh.training.graph import told_to_run_eagerly

RUNS = ("smoke/tdr/mnist-4v9/rho0.1/none/seed0", "smoke/tdr/cifar10-4v9-convnet/rho0.3/none/seed0")


@pytest.fixture(scope="module")
def case_file(tmp_path_factory):
    """What `reweigh pack` writes."""
    path = tmp_path_factory.mktemp("cases") / "cases.json"
    path.write_text(json.dumps(gpu_cases.cases(ROOT)))
    return path


@pytest.fixture
def context(case_file):
    return Context("cpu", cases=str(case_file))


def check(stages, tmp_path, monkeypatch, budget=600.0, seconds=600.0):
    """Take some stages of tests/support; the exit code, the lines of the log and all of it."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}")
    listed = [parent.Stage(name, f"support.{name}", seconds) for name in stages]
    code = parent.check(listed, Context("cpu"), Report(tmp_path / "log"), budget)
    text = (tmp_path / "log").read_text()
    return code, fields(text), text


# --- the parent -------------------------------------------------------------------------------------------------------


def test_whatever_a_check_does_the_next_ones_are_taken_and_told(tmp_path, monkeypatch):
    code, lines, text = check(("faulty_checks", "following_checks"), tmp_path, monkeypatch)
    assert code == 1
    status = {line[1]: line[2] for line in lines if line[0] == "faulty_checks"}
    assert status == {
        "first": "ok", "differs": "FAILED", "raises": "FAILED", "skips": "skipped", "hangs": "FAILED",
        "dies": "FAILED", "last": "ok",
    }  # fmt: skip
    detail = {line[1]: line[4] for line in lines}
    assert detail["differs"] == "state.model.conv1.weight: 3 of 150 values differ; falls back: nets without lenet"
    assert (
        "RuntimeError: operation not permitted when stream is capturing" in detail["raises"]
    )  # the root, not the mask
    assert "faulty_checks.py" not in detail["raises"] and "# what it printed" in text
    assert "hung: no answer in 2 s, at File" in detail["hangs"] and "faulty_checks.py" in detail["hangs"]
    assert "SIGSEGV" in detail["dies"]
    falls_back = {"nets": ["lenet"], "capture": ["er"], "lanes": ["16"], "precisions": ["bf16"]}
    told, facts = json.loads(detail["told"])
    assert told == falls_back and facts.pop("rate") == 7.0
    assert set(facts) == {"faulty_checks began", "following_checks began"}
    assert lines[-1][:3] == ["all", "summary", "FAILED"] and "3 ok, 4 FAILED, 1 skipped" in lines[-1][4]


def test_a_stage_whose_time_is_over_skips_the_rest(tmp_path, monkeypatch):
    """The check that was at work is skipped, not failed: it was not given its time, so nothing falls back."""
    take = parent._Watch._take

    def take_and_end(self, message):
        take(self, message)
        if message["check"] == "long":  # however long its process took to begin
            self.end = time.monotonic() + 0.5

    monkeypatch.setattr(parent._Watch, "_take", take_and_end)
    code, lines, _ = check(("slow_checks", "following_checks"), tmp_path, monkeypatch)
    assert [line[1:3] for line in lines[:2]] == [["long", "skipped"], ["rest", "skipped"]]
    assert code == 1 and json.loads(lines[2][4])[0] == {}  # though that stage has not passed


def test_a_stage_that_does_not_start_is_given_up(tmp_path, monkeypatch):
    code, lines, text = check(("no_such_stage", "following_checks"), tmp_path, monkeypatch)
    assert code == 1 and lines[0][1:3] == ["process", "FAILED"] and "No module named" in text
    assert [line[2] for line in lines if line[0] == "following_checks"] == ["ok"]


def test_the_log_is_written_line_by_line(tmp_path, capsys):
    report = Report(tmp_path / "deep" / "log")
    report.line("stage", "a|b", "ok", 1.234, "two\nlines")
    assert (tmp_path / "deep" / "log").read_text() == "stage | a/b | ok | 1.23 | two lines\n" == capsys.readouterr().out


def test_the_parent_imports_no_torch(tmp_path):
    """So that it cannot touch a GPU, and is not ended by what a GPU does."""
    code = "import sys, reweigh.training.gpu_check.__main__ as m; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), check=True)


def test_failures_without_end_and_a_device_that_is_not_there_cost_no_more_than_a_few_processes(tmp_path, monkeypatch):
    code, lines, _ = check(("hopeless_checks", "following_checks"), tmp_path, monkeypatch)
    assert code == 1 and [line[2] for line in lines[:-1]] == ["FAILED"] * 6 + ["skipped"] * 2
    assert lines[6][4] == "6 failed one after another" and lines[7][4] == "there is no device"


# --- what is compared -------------------------------------------------------------------------------------------------


def test_the_first_step_and_tensor_that_differ_are_named(context, monkeypatch):
    steps = []

    def spoilt(program, device_side):
        logged = device_side()
        steps.append(program)
        if len(steps) % 18 == 3:  # a captured run has 18 steps, and is made twice: once whole, once step by step
            run[-1].model.fc1.bias.data[5] += 1e-6
        return logged

    run, make = [], cases.run_of

    def run_of(spec, device, execute=None):
        made = make(spec, device, *([execute] if execute else []))
        run.extend([made] if execute else [])
        return made

    monkeypatch.setattr(cases, "run_of", run_of)
    monkeypatch.setattr(cases, "executor", lambda context: spoilt)
    with pytest.raises(Failed, match=r"after step 3: state\.model\.fc1\.bias: 1 of 120 values differ, by 1e-06"):
        capture.replays(context, partial(cases.spec_of, context, "lenet", "none"))


@pytest.mark.parametrize("method", ["none", "tdr"])
def test_a_replay_is_compared_with_its_eager_twin(method, context, monkeypatch):
    """By the stand-in for graphs that tests have: recorded and replayed, a run is the run that was only recorded."""
    make, executors = cases.run_of, [stand_in.observed, stand_in.Replayed()]

    def run_of(spec, device, execute=None):
        return make(spec, device, executors[execute is not None])

    monkeypatch.setattr(cases, "run_of", run_of)
    detail, facts = capture.replays(context, partial(cases.spec_of, context, "lenet", method))
    assert detail.startswith("18 steps, ") and facts == {f"replayed {method}": True, "replayed lenet": True}
    assert executors[1].replays > 5


def test_bits_are_compared_and_not_values():
    nan, zero = torch.tensor([float("nan")]), torch.zeros(1)
    assert compare.first_difference({"a": nan}, {"a": nan.clone()}) is None
    assert compare.first_difference({"a": zero}, {"a": -zero}).startswith("a: ")
    assert compare.first_difference({"a": zero}, {"a": zero.double()}).startswith("a: torch.float32")
    assert compare.first_difference({"a": [zero, 1]}, {"a": [zero]}) == "a[1] is missing from the second"
    assert compare.first_difference({"seconds": 1.0, "b": 2}, {"seconds": 3.0, "b": 2}) is None
    assert compare.first_distant({"a": zero}, {"a": zero + 5e-4}, 1e-2, 1e-3) is None
    assert "1 of 1 values differ" in compare.first_distant({"a": zero}, {"a": zero + 2e-3}, 1e-2, 1e-3)
    assert compare.first_distant({"a": zero}, {"a": nan}, 1e-2, 1e-3)


@pytest.mark.parametrize("net", ["lenet", "mlp", "resnet32"])
def test_made_up_data_have_every_class_and_every_part(net, context):
    raw, split = cases.made_up(cases.spec_of(context, net, "none"), 55)
    assert (split.class_counts > 0).all() and (split.group_counts > 0).all()
    assert len(split.target) and len(split.validation) and len(split.test)
    assert raw.train_inputs.std() > 0


def test_every_method_and_every_net_of_the_paper_scale_is_checked(case_file):
    body = json.loads(case_file.read_text())
    modules = {path.stem for path in (ROOT / "src/reweigh/methods").glob("[a-z]*.py")} - {"base", "template"}
    used = {case["uses"] for case in body["methods"]}
    assert used <= modules and {"tdr", "er", "absgd", "meta", "crt"} <= used
    assert set(body["nets"]) >= {"lenet", "convnet", "resnet20", "resnet32", "mlp"}


def test_what_an_earlier_stage_excludes_is_not_trained(context, config):
    spec = config.resolve("smoke/tdr/mnist-4v9/rho0.1/er/seed0")
    assert missing.excluded(context, spec) is None
    for falls_back in ({"nets": ["lenet"]}, {"precisions": ["fp32"]}, {"experiments": ["smoke/tdr/mnist-4v9"]}):
        assert missing.excluded(Context("cuda", falls_back=falls_back), spec)
    assert missing.excluded(Context("cuda", falls_back={"nets": ["mlp"], "lanes": ["all"]}), spec) is None


def test_what_no_check_has_shown_is_not_relied_upon(ordered):
    """A stage that had no time has shown nothing; one that nobody asked for is not missed."""
    specs = ordered[1][:2]
    facts = {"capture began": True, "replayed er": True, "replayed none": True, "lanes began": True}
    assert missing.eager(Context("cuda"), specs) == [] and missing.at_once(Context("cuda")) == 16
    context = Context("cuda", facts=facts)
    assert missing.eager(context, specs) == ["lenet"] and missing.at_once(context) == 1
    context.facts |= {"replayed lenet": True, "side by side": True}
    assert missing.eager(context, specs) == [] and missing.at_once(context) == 16
    context.falls_back = {"capture": ["er"]}
    assert missing.eager(context, specs) == ["er"]


def test_a_method_or_net_that_is_named_is_not_captured(config, monkeypatch):
    spec = config.resolve(RUNS[0])
    monkeypatch.setenv("REWEIGH_EAGER", "er,resnet32")
    assert told_to_run_eagerly(spec) is None
    monkeypatch.setenv("REWEIGH_EAGER", "er,lenet")
    assert told_to_run_eagerly(spec) == {"captured": [], "eager": {"all": "REWEIGH_EAGER names lenet"}}


def test_as_many_runs_side_by_side_as_the_checks_allow_and_pay():
    measured = {4: 900.0, 8: 1200.0, 16: 1100.0}
    rates = {f"resnet32 channels-last fp32 {lanes} lanes": rate for lanes, rate in measured.items()}
    assert missing.at_once(Context("cuda", facts=rates)) == 8
    assert missing.at_once(Context("cuda", facts=rates, falls_back={"lanes": ["8"]})) == 16
    assert missing.at_once(Context("cuda")) == 16
    assert missing.at_once(Context("cuda", falls_back={"lanes": ["all"]})) == 1


@pytest.fixture
def ordered(tmp_path, config):
    """A folder of three specs: two of MNIST, and one of another data set between them in no order but that of names."""
    runs = [RUNS[0], RUNS[0].replace("none", "er"), RUNS[1]]
    for name in runs:
        (tmp_path / f"{name.replace('/', '__')}.json").write_text(json.dumps(config.resolve(name)))
    names = [f"{name.replace('/', '__')}.json" for name in runs]
    (tmp_path / "order.txt").write_text("".join(f"{name}\n" for name in names))
    return Context("cpu", specs=str(tmp_path)), [tmp_path / name for name in names]


class Program:
    """In place of the program that trains: what it says, and the code that it ends with."""

    def __init__(self, code, *lines):
        self.stderr, self.code, self.commands = [f"{line}\n" for line in lines], code, []

    def __call__(self, command, **options):
        self.commands.append(command)
        return self

    def wait(self):
        return self.code


def test_runs_are_trained_in_the_declared_order_by_stretches_of_one_data_set(ordered, tmp_path, monkeypatch):
    context, paths = ordered
    monkeypatch.chdir(tmp_path)
    program = Program(1, f"1/2 {RUNS[0]}: finished, test accuracy 0.5, 5 steps in 0.0 s", "reweigh: er: no memory")
    monkeypatch.setattr(missing.subprocess, "Popen", program)
    monkeypatch.setattr("reweigh.data.obtain.recipe_digest", lambda spec: "")
    notes = []
    context.note = lambda *line: notes.append(line)
    taken = []
    for one in missing.checks(context):
        taken.append((one.name, child.outcome(one)["detail"]))
    assert [command[3:-4] for command in program.commands] == [[*map(str, paths[:2])], [str(paths[2])]]
    assert taken[0] == ("call 1", "1 of 2 runs ended, 1 side by side") and taken[-1][0] == "left"
    assert notes[:2] == [
        (RUNS[0], "ok", "finished, test accuracy 0.5, 5 steps in 0.0 s\n"),
        ("2 runs", "FAILED", "reweigh: er: no memory"),
    ]  # and what could not be trained is not tried again


def test_a_program_that_dies_is_called_again_with_fewer_lanes(ordered, tmp_path, monkeypatch):
    context, _ = ordered
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(missing.subprocess, "Popen", Program(-9, "going on"))
    first = next(missing.checks(context))
    with pytest.raises(Failed, match="0 of 2 runs ended, then the program did, with code -9: going on"):
        first.action()
    assert first.falls_back == {"lanes": ["1"]}
    context.device = "cuda"
    assert next(missing.checks(context)).falls_back == {"lanes": ["16"]}
    context.falls_back = {"lanes": ["16"]}
    assert missing.at_once(context) == 8


def test_an_exception_is_told_by_its_root():
    def masked():
        try:
            torch.zeros(2) @ torch.zeros(3)
        except RuntimeError as error:
            raise ValueError("a mask") from error

    with pytest.raises(ValueError, match="a mask") as caught:
        masked()
    assert child.told(caught.value).startswith("RuntimeError: inconsistent tensor size")


def test_what_comes_home_stays_below_the_size_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("reweigh.training.gpu_check.homeward.PART_BYTES", 5000)
    (tmp_path / "log").write_text("a line\n")
    home = Homeward(tmp_path / "home", tmp_path / "log")
    for seed in range(5):
        record = tmp_path / f"results/smoke/p/e/s/m/seed{seed}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_bytes(os.urandom(2000))
        if seed % 3 == 0:  # three records can be new at once
            home.update(now=True)
    home.update(now=True)
    names = []
    for path in sorted((tmp_path / "home").iterdir()):
        with tarfile.open(path) as archive:
            names.append(archive.getnames())
    assert [sum(name.endswith(".json") for name in part) for part in names] == [2, 2, 1]
    assert len({name for part in names for name in part}) == 6
    assert all(any(name.endswith("/log") for name in part) for part in names)


def test_an_archive_that_cannot_be_written_does_not_end_the_check(tmp_path, monkeypatch, capsys):
    log = tmp_path / "log"
    log.write_text("a line\n")
    home = Homeward(tmp_path / "home", log)
    (tmp_path / "home").write_text("a file where a folder is to be")
    home.update(now=True)
    assert "no archive could be written" in capsys.readouterr().err
    (tmp_path / "home").unlink()
    home.update(now=True)
    assert list((tmp_path / "home").iterdir())


SAVES = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: {answer})
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("answer", "code"), [("sys.exit(5)", 5), ("None", -9)])
def test_a_process_is_asked_to_save_before_it_is_ended(monkeypatch, answer, code):
    monkeypatch.setattr(parent, "KILL_SECONDS", 2.0)
    command = [sys.executable, "-c", SAVES.format(answer=answer)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout.readline() == b"ready\n"
        parent._end(process)
        assert process.returncode == code
