"""Snakemake on a real Slurm: trainings side by side, time limits, cancelled jobs, errors, leases within a job."""

import json
import os
import re
import socket
import subprocess
import sys
import time

import pytest
from support import needs, slurm
from support.workflow import copy

pytestmark = [pytest.mark.slow, needs.SLURM]

METHOD = '''"""Weights all alike, after a nap (compare nothing)."""

import os
import time

import torch

from reweigh.methods import base


class Method(base.Method):
    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        time.sleep(float(os.environ.get("NAP", "0")) * (0.4 if self.options["called"] == "cancelled" else 1))
        if self.options["broken"]:
            raise RuntimeError("this method is broken")
        return torch.full_like(losses, 1 / len(losses))
'''
CARD = '''"""The card of naps."""

from reweigh.config.cards import Card
from reweigh.config.specs import Frozen


class Options(Frozen):
    broken: bool
    called: str  # so that no two are the same run, which would be trained once


CARD = Card(options=Options, examples=({"broken": False, "called": "it"},))
'''
NAMES = ("limited", "cancelled", "broken")
ENTRY = """  {name}:
    title: Naps {name}
    uses: naps
    joins: [adult]
    about: takes a nap at each step
    options: {{ source: ours, value: {{ broken: {broken}, called: {name} }} }}
"""
PLACE = "smoke/tdr/adult/sex"
SAID = "said.txt"
PROFILE = (
    "--workflow-profile",
    "profiles/slurm",
    "--latency-wait",
    "20",
    "--slurm-init-seconds-before-status-checks",
    "1",
)


def project(folder):
    """A copy of the project with a method that takes as long as it is told to, and one that is broken."""
    folder.mkdir()
    copy(folder)
    (folder / "src/reweigh/methods/naps.py").write_text(METHOD)
    (folder / "src/reweigh/config/methods/naps.py").write_text(CARD)
    entries = "".join(ENTRY.format(name=name, broken=str(name == "broken").lower()) for name in NAMES)
    (folder / "config/papers/tdr/methods").mkdir(exist_ok=True)
    (folder / "config/papers/tdr/methods/naps.yaml").write_text(f"methods:\n{entries}")
    return folder


def environment(folder, **changes):
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "CUDA_"))}
    return {**kept, "PYTHONPATH": str(folder / "src"), "PATH": path, "OMP_NUM_THREADS": "1", **changes}


def snakemake(folder, *arguments, **changes):
    """Start Snakemake. What it says goes to a file: nobody reads a pipe meanwhile, and when it is full it blocks."""
    command = [*slurm.WITH_US, sys.executable, "-m", "snakemake", *PROFILE, *arguments]
    with (folder / SAID).open("w") as said:
        return subprocess.Popen(
            command, cwd=folder, env=environment(folder, **changes), stdout=said, stderr=subprocess.STDOUT
        )


def jobs():
    """Each job of Slurm: its number, state, comment (rule and wildcards), and the indices of its GPUs."""
    for block in slurm.ask("scontrol", "--details", "show", "job").split("\n\n"):
        if number := re.search(r"JobId=(\d+)", block):
            found = (re.search(pattern, block) for pattern in (r"JobState=(\w+)", r"Comment=(\S+)", r"IDX:(\S+?)\)"))
            yield (number[1], *(one[1] if one else "" for one in found))


def body(folder, name):
    """What a record says of the run, without the time that it took."""
    record = json.loads((folder / f"results/{PLACE}/{name}/seed0.json").read_text())
    record["curves"].pop("train_seconds")
    return record["steps"], record["metrics"], record["curves"]


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Three trainings on two GPUs, a minute each at a time: one is cancelled once, one is broken. What was seen."""
    folder = project(tmp_path_factory.mktemp("slurm") / "project")
    records = [f"results/{PLACE}/{name}/seed0.json" for name in NAMES]
    for command in (["fetch", "adult"], ["split", f"{PLACE}/seed0"]):
        subprocess.run([sys.executable, "-m", "reweigh", *command], cwd=folder, env=environment(folder), check=True)
    with slurm.running():
        process = snakemake(
            folder, "--config", "scale=smoke", "jobs=cell", "device=cpu",
            "--default-resources", "mem_mb=500", "runtime=5", "--set-resources", "train:gpu=1", "train:runtime=1",
            "--", *records, NAP="0.085",
        )  # fmt: skip
        seen, cancelled, end = [], None, time.monotonic() + 1200
        try:
            while process.poll() is None and time.monotonic() < end:
                now = list(jobs())
                seen.append([job for job in now if job[1] == "RUNNING" and job[3]])
                trains = [job for job in seen[-1] if job[2].endswith("_cancelled")]
                log = folder / f"logs/train/{PLACE}/cancelled/seed_0.1.log"
                if trains and cancelled is None and log.exists() and time.time() - log.stat().st_ctime > 6:
                    cancelled = trains[0][0]
                    slurm.ask("scancel", cancelled)
                time.sleep(0.5)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        yield folder, seen, (folder / SAID).read_text(), cancelled


def log_of(folder, name, attempt=""):
    return (folder / f"logs/train/{PLACE}/{name}/seed_0{attempt}.log").read_text()


def test_trainings_run_side_by_side_each_on_a_gpu_of_its_own(grid):
    _, seen, said, _ = grid
    both = [running for running in seen if len(running) == 2]
    assert both, said
    assert all({job[3] for job in running} == {"0", "1"} for running in both)


def test_a_job_that_runs_out_of_time_goes_on_and_ends_with_the_same_bits(grid, tmp_path):
    folder, _, said, _ = grid
    first, last = log_of(folder, "limited", ".1"), log_of(folder, "limited")
    assert "time is up with 1 of 1 runs left" in first and "was put back into the queue" in first, said
    (number,) = re.findall(r"^attempt 1 on \S+, Slurm job (\d+), 2", first)
    then = re.match(rf"attempt (\d+) on \S+, Slurm job {number}, restart (\d+), 2", last)
    assert then and int(then[1]) == int(then[2]) + 1 > 1  # more than once where the machine is busy
    where = json.loads((folder / f"results/{PLACE}/limited/seed0.json").read_text())["environment"]
    assert (where["slurm_job"], where["slurm_attempt"]) == (number, int(then[1]))
    alone = project(tmp_path / "alone")
    names = [f"{PLACE}/{name}/seed0" for name in ("limited", "cancelled")]
    command = [sys.executable, "-m", "reweigh", "train", *names]
    subprocess.run(command, cwd=alone, env=environment(alone), check=True, capture_output=True)
    assert [body(folder, name) for name in NAMES[:2]] == [body(alone, name) for name in NAMES[:2]]


def test_a_cancelled_job_is_started_again_and_goes_on(grid):
    folder, _, said, cancelled = grid
    assert cancelled and f"SLURM-job '{cancelled}' failed, SLURM status is: 'CANCELLED'" in said
    assert f"attempt 1 on {socket.gethostname()}, Slurm job {cancelled}, " in log_of(folder, "cancelled", ".1")
    last = log_of(folder, "cancelled")
    assert re.match(r"attempt [2-9] on ", last) and f"Slurm job {cancelled}," not in last and "finished" in last


def test_a_job_that_fails_is_tried_three_times_and_each_log_is_kept(grid):
    folder, _, said, _ = grid
    assert len(re.findall(r"^ +message: SLURM-job '\d+' failed, SLURM status is: 'FAILED'", said, re.MULTILINE)) == 3, (
        said
    )
    for attempt in (1, 2, 3):
        log = log_of(folder, "broken", f".{attempt}")
        assert log.startswith(f"attempt {attempt} on ") and log.count("attempt ") == 1
        assert "this method is broken" in log


# Each of two writes down what it leased, and holds it until the other has, too.
LEASES = """
import os, pathlib, sys, time
from reweigh.training import device
device._has_gpu = lambda: True  # Slurm pretends
lease = device.take_lease()
folder = pathlib.Path(sys.argv[1])
(folder / f"{os.getpid()}.part").write_text(f"{lease.device} {device.lock_folder().name}")
(folder / f"{os.getpid()}.part").rename(folder / f"{os.getpid()}.txt")
for _ in range(1000):
    if len(list(folder.glob("*.txt"))) == 2:
        break
    time.sleep(0.1)
"""


def test_two_trainings_in_one_job_of_two_gpus_lease_one_each(grid, tmp_path):
    both = '"$0" -c "$1" "$2" & "$0" -c "$1" "$2"; wait'
    command = ["srun", "--gpus=2", "--time=3", "bash", "-c", both, sys.executable, LEASES, tmp_path]
    done = subprocess.run(command, env=environment(grid[0]), capture_output=True, text=True, timeout=300)
    leased = [path.read_text().split() for path in tmp_path.glob("*.txt")]
    assert sorted(device for device, _ in leased) == ["0", "1"], done.stdout + done.stderr
    assert len({folder for _, folder in leased}) == 1 and re.search(r"-job-\d+$", leased[0][1])


def test_another_scale_keeps_the_gpu(grid):
    arguments = ("--config", "scale=quick", "--dry-run", "--", "results/quick/tdr/adult/sex/tdr/seed0.json")
    snakemake(grid[0], *arguments).wait(200)
    said = (grid[0] / SAID).read_text()
    assert re.search(r"resources: .*\bgpu=1\b", said), said
