"""What a process may know of the Slurm job that it runs in: which it is, how long it has, and how to queue it again.

Nothing here needs Slurm: without a job, or where its commands do not answer, there is nothing to know.
"""

import os
import re
import socket
import subprocess
import sys

from reweigh.errors import TrainingError

JOB = "SLURM_JOB_ID"
SAVING = (15.0, 120.0)  # seconds kept for saving all runs before a job ends: a tenth of its limit, between these


def job() -> str | None:
    """The id of the job, or None outside of Slurm."""
    return os.environ.get(JOB) or None


def restarts() -> int | None:
    """How often Slurm has started the job anew under its id; None where that is not known, and outside of Slurm.

    Snakemake's plugin hides the variable that says so.
    """
    number = job()
    if number is None:
        return None
    said = os.environ.get("SLURM_RESTART_COUNT")
    said = said or ask("squeue", "--noheader", "--jobs", number, "--Format", "restartcnt") or ""
    return int(said) if re.fullmatch("[0-9]{1,6}", said.strip()) else None


def where() -> str:
    """The host and, under Slurm, the job: `gpu03, Slurm job 4711, restart 2`."""
    host, number = socket.gethostname(), job()
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    named = f", Slurm job {number}" if number else ""
    named += f" ({array}_{task})" if number and array and task else ""
    again = restarts()
    return host + named + (f", restart {again}" if again else "")


def duration(text: str) -> float | None:
    """Seconds of a duration as Slurm prints it; None for what is no limit.

    >>> duration("1-02:03:04"), duration("2:30"), duration("UNLIMITED")
    (93784.0, 150.0, None)
    """
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip(), re.ASCII)
    if not match:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 86400 * days + 3600 * hours + 60 * minutes + seconds


def seconds_to_train() -> float | None:
    """How long this process may train before the job must save its runs and end; None if nothing limits it.

    Raises TrainingError if the limit leaves no time at all.
    """
    number = job()
    if number is None:
        return None
    said = ask("squeue", "--noheader", "--jobs", number, "--format", "%L %l")
    left, limit = (duration(part) for part in [*(said or "").split(), "", ""][:2])
    if left is None:
        return None
    least, most = SAVING
    time = left - max(least, min(most, (limit or left) / 10))
    if time <= 0:
        raise TrainingError(
            f"{where()}: {left:.0f} s are left of the job's time limit, too few to train and to save; "
            "ask for more: set-resources, train: { runtime: MINUTES } in the profile"
        )
    return time


def requeue() -> bool:
    """Put this job back into the queue, so that it goes on from what was saved; whether that could be done.

    Slurm then ends its processes, this one too.
    """
    number = job()
    if number is None:
        return False
    done = ask("scontrol", "requeue", number) is not None
    print(f"job {number} was put back into the queue" if done else f"job {number} cannot be requeued", file=sys.stderr)
    sys.stderr.flush()
    return done


def ask(*command: str) -> str | None:
    """What a command of Slurm printed; None if it failed, or is not there."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, encoding="utf-8").stdout
    except (OSError, subprocess.SubprocessError):
        return None
