"""What can go wrong while images are read: files, workers, memory, words; each is one line that says what to do."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support import image_layouts
from support.image_layouts import CPU, CUT, PLAIN, bits, started, stream_of, whole
from support.project import ROOT, environment

from reweigh.data import files as data_files
from reweigh.data import load, loading
from reweigh.data.files import ImageFiles
from reweigh.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("no_workers")


def test_a_file_that_was_never_there_is_named_before_training(tmp_path, monkeypatch):
    image_layouts.imagenet_lt(tmp_path)
    raw = load.read("imagenet-lt", {"side": 16}, tmp_path)
    gone = tmp_path / "imagenet" / "train" / "n01440764" / "n01440764_2.JPEG"
    gone.unlink()
    with pytest.raises(DataError, match=r"n01440764_2\.JPEG is listed but missing; unpack"):
        raw.train_inputs.part(whole(7), PLAIN, CPU)
    monkeypatch.setattr(data_files, "LOOKED_FOR", 2)  # the first and the last row
    part = raw.train_inputs.part(whole(7), PLAIN, CPU)
    with pytest.raises(DataError, match=r"n01440764_2\.JPEG is listed but missing; unpack"):
        list(part.in_order(7))


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize("spoil", ["truncated", "empty", "text", "gone"])
def test_a_bad_file_is_named_in_one_line_when_its_batch_is_due(tmp_path, spoil, workers, monkeypatch):
    monkeypatch.setenv(loading.WORKERS, workers)
    paths = [image_layouts.picture(tmp_path / f"{k}.jpg", k, form="JPEG") for k in range(4)]
    stream = ImageFiles(tmp_path, [path.name for path in paths], 16).part(whole(4), CUT, CPU).stream(1, 0, "b", True)
    order = [stream.batch(number).labels.tolist() for number in range(4)]
    assert sorted(order) == [[0], [0], [1], [2]]
    bad = stream.part.files.path(int(stream._rows))  # that of the last batch
    content = {"truncated": bad.read_bytes()[:700], "empty": b"", "text": b"<html>not found</html>"}
    bad.unlink()
    if spoil != "gone":
        bad.write_bytes(content[spoil])
    again = stream.part.stream(1, 0, "b", True)
    for number in range(3):
        again.seek(number)
    with pytest.raises(DataError, match=bad.name) as raised:
        again.seek(3)
    assert "\n" not in str(raised.value) and ("missing" if spoil == "gone" else "get this file again") in str(
        raised.value
    )
    bad.unlink(missing_ok=True)
    image_layouts.picture(bad, 0)
    again.seek(3)  # mended, it goes on


def test_a_killed_worker_is_one_clear_line(pictures, monkeypatch):
    monkeypatch.setenv(loading.WORKERS, "1")
    stream = stream_of(pictures)
    (worker,) = started(stream)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    with pytest.raises(DataError, match=r"a loader worker died .*lower REWEIGH_LOADER_WORKERS, now 1$") as raised:
        [stream.seek(number) for number in range(1, 9)]
    assert "\n" not in str(raised.value)


OUTLIVES = """
import subprocess, sys, time
from pathlib import Path
from support.image_layouts import bits, image_files, started, stream_of

pictures = image_files(Path(sys.argv[1]))
expected = bits(stream_of(pictures).batch(6))
stream = stream_of(pictures)
(worker,) = started(stream)
subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)
time.sleep(0.1)
for number in range(1, 7):
    stream.seek(number)
assert bits(stream.current()) == expected and worker.is_alive()
worker.terminate()
worker.join(5)
assert not worker.is_alive()
"""


def test_a_worker_outlives_the_sigterm_of_its_job_but_not_its_parents(tmp_path):
    """In a process of its own: what other tests import may start threads after a fork, and these end a worker."""
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("src", "tests"))
    done = subprocess.run(
        [sys.executable, "-c", OUTLIVES, str(tmp_path)],
        env=environment(PYTHONPATH=paths, **{loading.WORKERS: "1"}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_full_shared_memory_is_one_clear_line(pictures, monkeypatch):
    def full(self):
        raise RuntimeError("unable to allocate shared memory(shm):\nNo space left on device")

    monkeypatch.setenv(loading.WORKERS, "1")
    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(DataError, match=r"shared memory.*No space left on device\); enlarge /dev/shm, or lower"):
        stream_of(pictures).seek(0)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_mistake_in_the_code_is_not_taken_for_a_dead_worker(pictures, workers, monkeypatch):
    def mistaken(self, row, seed=None):
        raise RuntimeError("a bug")

    monkeypatch.setenv(loading.WORKERS, workers)
    monkeypatch.setattr(ImageFiles, "pixels", mistaken)
    with pytest.raises(RuntimeError, match="a bug"):
        stream_of(pictures).seek(0)


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_workers_end_with_the_training_process(tmp_path, end):
    """However it ends. If it is killed, they find out within five seconds."""
    script = (
        "import os, pathlib, sys; sys.path.insert(0, sys.argv[2]); from support import image_layouts\n"
        "stream = image_layouts.stream_of(image_layouts.image_files(pathlib.Path(sys.argv[1])))\n"
        "print(*[worker.pid for worker in image_layouts.started(stream)], flush=True)\n"
        "if sys.argv[3] == 'kill': os.kill(os.getpid(), 9)"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path), str(ROOT / "tests"), end]
    done = subprocess.run(arguments, env=environment(REWEIGH_LOADER_WORKERS="1"), capture_output=True, text=True)
    worker = int(done.stdout)
    assert done.returncode == (-9 if end == "kill" else 0), done.stderr
    for _ in range(100):
        if not alive(worker):
            return
        time.sleep(0.1)
    pytest.fail("the worker lives on")


def alive(process):
    """Whether a process runs; one that ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_words_that_do_not_exist_are_refused(pictures, monkeypatch):
    with pytest.raises(ConfigError, match="images that stay on disk can be augmented by: none, crop-flip"):
        pictures.part(whole(2), {**PLAIN, "augment": {"rotation_degrees": 15}}, CPU)
    with pytest.raises(ConfigError, match="side 32, resize 31"):
        ImageFiles("x", [], 32, 31)
    monkeypatch.setenv(loading.WORKERS, "many")
    with pytest.raises(ConfigError, match="set it to a number of worker processes, 0 for none"):
        stream_of(pictures).seek(0)


def test_the_number_of_workers(monkeypatch):
    monkeypatch.delenv(loading.WORKERS)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert loading.worker_count() == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert loading.worker_count() == 1
    monkeypatch.setenv(loading.WORKERS, "12")
    assert loading.worker_count() == 12


def _report(pipe, pictures):
    pipe.send(bits(stream_of(pictures).batch(1)))


def test_a_run_in_a_daemonic_process_reads_by_itself(pictures, monkeypatch):
    monkeypatch.setenv(loading.WORKERS, "2")
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_report, args=(theirs, pictures), daemon=True)
    process.start()
    assert ours.poll(30) and ours.recv() == bits(stream_of(pictures).batch(1))
    process.join()
