"""What came from home and what goes there: a folder that arrived in part, other code, a full disk, archives."""

import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from support.gpu_runs import fields
from support.project import ROOT

from reweigh.planning import gpu_cases, spec_files
from reweigh.planning.plan import make
from reweigh.training.gpu_check import __main__ as program
from reweigh.training.gpu_check import child, folder, machine, missing
from reweigh.training.gpu_check.checks import Context, merged
from reweigh.training.gpu_check.homeward import Homeward
from reweigh.training.gpu_check.report import Report

RUNS = (
    "smoke/tdr/mnist-4v9/rho0.1/none/seed0",
    "smoke/tdr/mnist-4v9/rho0.1/er/seed0",
    "smoke/tdr/mnist-lt/rho0.1/er/seed0",
)
MNIST, LONG_TAILED = "smoke/tdr/mnist-4v9", "smoke/tdr/mnist-lt"


@pytest.fixture(scope="module")
def sent(tmp_path_factory, config):
    """A folder of specs as it is sent, with a case file. Its splits were not drawn at home."""
    place = tmp_path_factory.mktemp("sent")
    (place / "data").mkdir()
    shutil.copy(ROOT / "data/manifest.yaml", place / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        spec_files.write(make(list(RUNS), "smoke"), place / "specs", place)
    specs = [config.resolve(run) for run in RUNS]
    case_file = place / "specs/packed/cases.json"
    case_file.parent.mkdir()
    case_file.write_text(json.dumps(gpu_cases.cases(ROOT, specs)))
    return place / "specs"


@pytest.fixture
def arrived(sent, tmp_path, monkeypatch):
    """A copy of it, in a project of its own; the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data/manifest.yaml", tmp_path / "data")
    return Path(shutil.copytree(sent, tmp_path / "specs"))


def context_of(specs):
    folder.cases.cache_clear()
    return Context("cpu", str(specs), str(specs / "packed/cases.json"), seconds=60.0)


def file_of(run):
    return f"{run.replace('/', '__')}.json"


def checked(specs, *names):
    """The outcome of some checks of the first stage, and of training what they leave: the names of runs."""
    context, found = context_of(specs), {}
    for one in machine.checks(context):
        if one.name in names:
            found[one.name] = result = child.outcome(one)
            if result["status"] == "FAILED":
                falls_back = one.falls_back if result["falls_back"] is None else result["falls_back"]
                context.falls_back = merged(context.falls_back, falls_back)
    return found, [path.name for path in missing.left(context)]


# --- a folder that arrived in part ------------------------------------------------------------------------------------


def test_a_whole_folder_is_trained_in_its_order(arrived):
    found, left = checked(arrived, "specs", "code")
    assert found["specs"]["detail"] == "3 specs" and found["code"]["status"] == "ok"
    assert left == [file_of(run) for run in RUNS]


@pytest.mark.parametrize("damage", ["missing", "cut", "emptied", "a folder"])
def test_a_spec_that_did_not_arrive_leaves_the_others_as_they_are(arrived, damage):
    path = arrived / file_of(RUNS[1])
    content = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(content[:300] if damage == "cut" else b'{"spec_version": 1}')
    found, left = checked(arrived, "specs", "code")
    assert found["specs"]["status"] == "FAILED" and found["code"]["status"] == "ok"
    assert (
        found["specs"]["detail"].startswith("1 of 3 specs cannot be trained: ")
        and path.name in found["specs"]["detail"]
    )
    assert left == [file_of(RUNS[0]), file_of(RUNS[2])]
    *_, last = missing.checks(Context("cpu", str(arrived), seconds=1.0))
    assert "3 runs left, 0 s for them; 1 run not trained here: " in child.outcome(last)["detail"]


@pytest.mark.parametrize("damage", ["missing", "cut", "another file"])
def test_without_the_digests_of_home_nothing_is_trained(arrived, damage):
    path = arrived / folder.EXPECTED
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:100] if damage == "cut" else b"[1]")
    found, left = checked(arrived, "specs")
    assert found["specs"]["status"] == "FAILED" and folder.EXPECTED in found["specs"]["detail"]
    assert left == []


@pytest.mark.parametrize("said", [None, {"run": RUNS[0]}, {"recipe_digest": 7, "split_digest": None}])
def test_a_split_of_which_home_said_nothing_is_not_equal_to_home(arrived, said):
    path = arrived / folder.EXPECTED
    body = json.loads(path.read_bytes())
    body.pop(file_of(RUNS[2]))
    path.write_text(json.dumps(body | ({file_of(RUNS[2]): said} if said else {})))
    found, left = checked(arrived, f"splits {LONG_TAILED}")
    assert found[f"splits {LONG_TAILED}"]["status"] == "FAILED"
    assert left == [file_of(run) for run in RUNS[:2]]


def test_runs_whose_code_is_not_that_of_home_are_not_trained(arrived):
    path = arrived / "packed/cases.json"
    body = json.loads(path.read_bytes())
    altered = [
        entry for entry in body["code"] if entry["spec"]["uses"] == "none" and entry["spec"]["model"]["name"] == "lenet"
    ]
    assert altered
    for entry in altered:
        entry["digest"] = "0" * 64
    path.write_text(json.dumps(body))
    found, left = checked(arrived, "code", f"splits {MNIST}")
    assert found["code"]["falls_back"] == {"experiments": [MNIST]} and "at home" in found["code"]["detail"]
    assert left == [file_of(RUNS[2])]
    context = context_of(arrived)
    context.falls_back = found["code"]["falls_back"]
    later = {one.name: one for one in machine.checks(context)}[f"splits {MNIST}"]
    assert child.outcome(later)["status"] == "skipped"
    body["code"] = []  # of no kind of runs
    path.write_text(json.dumps(body))
    found, left = checked(arrived, "code")
    assert "home stated no code" in found["code"]["detail"] and left == []


@pytest.mark.parametrize("fault", ["no folder", "no spec", "order", "cases", "empty cases"])
def test_what_cannot_be_used_at_all_is_one_line(sent, arrived, fault, capsys):
    if fault == "no folder":
        shutil.rmtree(arrived)
    elif fault == "no spec":
        for path in arrived.glob("*.*"):
            path.unlink()
    elif fault == "order":
        (arrived / "order.txt").write_bytes(b"\xff\xfe\xff")
    else:
        content = b"{}" if fault == "empty cases" else (arrived / "packed/cases.json").read_bytes()[:500]
        (arrived / "packed/cases.json").write_bytes(content)
        folder.cases.cache_clear()
    arguments = ["--specs", str(arrived), "--device", "cpu", "--log", "log", "--for", "60s"]
    assert program.main(arguments, sent / "packed/cases.json") == 2
    out, error = capsys.readouterr()
    assert error.startswith("reweigh: ") and error.count("\n") == 1 and not out


# --- the log ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", [".", "/proc/nope/x", "specs/order.txt/log"])
def test_a_log_that_cannot_be_opened_is_one_line(arrived, log, capsys):
    assert program.main(["--specs", str(arrived), "--device", "cpu", "--log", log, "--for", "60s"]) == 2
    out, error = capsys.readouterr()
    assert error.startswith(f"reweigh: {log}: ") and "--log FILE" in error and error.count("\n") == 1 and not out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="wants /dev/full")
def test_a_full_disk_does_not_end_the_check(capsys):
    report = Report(Path("/dev/full"))
    for number in range(3):
        report.line("stage", str(number), "ok", None, "")
    out, error = capsys.readouterr()
    assert out.count("\n") == 3 and error.count("\n") == 1 and "No space left" in error


def test_what_a_full_disk_did_not_take_is_written_later(tmp_path):
    report, room = Report(tmp_path / "log"), [0]

    class Full:
        """A file on a disk with little room."""

        def __init__(self, file):
            self.file, self.fileno = file, file.fileno

        def write(self, content):
            if not room[0]:
                raise OSError(28, "No space left on device")
            taken, room[0] = content[: room[0]], max(0, room[0] - len(content))
            return self.file.write(taken)

    report.file = Full(report.file)
    report.line("stage", "one", "ok", None, "")
    room[0] = 7
    report.line("stage", "two", "ok", None, "")
    room[0] = 1000
    report.line("stage", "three", "ok", None, "")
    assert [line[1] for line in fields((tmp_path / "log").read_text())] == ["one", "two", "three"]


def test_a_log_that_is_there_is_continued(tmp_path):
    for name in ("first", "second"):
        Report(tmp_path / "log").line("stage", name, "ok", None, "")
    assert [line[1] for line in fields((tmp_path / "log").read_text())] == ["first", "second"]


def test_an_output_that_nobody_reads_does_not_end_the_check(tmp_path, monkeypatch, capsys):
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as closed:
        monkeypatch.setattr("sys.stdout", closed)
        report = Report(tmp_path / "log")
        report.line("stage", "one", "ok", None, "")
        report.line("stage", "two", "ok", None, "")
        with pytest.raises(BrokenPipeError):
            closed.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writes)
    assert (tmp_path / "log").read_text().count("\n") == 2
    assert "nothing more is printed" in capsys.readouterr().err


# --- archives ---------------------------------------------------------------------------------------------------------


def record_of(place, seed):
    path = place / f"results/smoke/p/e/s/m/seed{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{seed}")


def seeds_in(path):
    with tarfile.open(path) as archive:
        return sorted(Path(name).stem for name in archive.getnames() if name.endswith(".json"))


def test_a_second_call_leaves_the_archives_of_the_first_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").write_text("a line\n")
    for seeds in ((0, 1), (2,)):
        home = Homeward(Path("home"), Path("log"))
        for seed in seeds:
            record_of(tmp_path, seed)
        home.update(now=True)
        home.update(now=True)
    assert {path.name: seeds_in(path) for path in Path("home").iterdir()} == {
        "gpu-check-0.tar.gz": ["seed0", "seed1"],
        "gpu-check-1.tar.gz": ["seed2"],
    }


def test_two_calls_at_one_time_take_different_archives(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").write_text("a line\n")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/gpu-check-11.tar.gz").write_bytes(b"")  # 0 to 10 were taken away
    homes = [Homeward(Path("home"), Path("log")) for _ in range(2)]
    record_of(tmp_path, 0)
    for home in homes:
        home.update(now=True)
    assert {path.name for path in Path("home").iterdir()} == {f"gpu-check-{number}.tar.gz" for number in (11, 12, 13)}


def test_a_record_is_new_whatever_the_clock_of_its_disk_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").write_text("a line\n")
    record_of(tmp_path, 0)
    home = Homeward(Path("home"), Path("log"))
    record_of(tmp_path, 1)
    os.utime("results/smoke/p/e/s/m/seed1.json", (1e9, 1e9))
    home.update(now=True)
    assert seeds_in("home/gpu-check-0.tar.gz") == ["seed1"]
