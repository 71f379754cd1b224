"""The allocator keeps what a step frees: no page is asked for twice, and nothing that is computed changes."""

import subprocess
import sys

import pytest
from support import needs
from support.project import environment

PROBE = """
import ctypes, resource, sys
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: no huge pages, where the system has them
import torch
from reweigh.training import memory

torch.set_num_threads(1)
set_ = {"kept": memory.keep_freed_memory, "returned": lambda: memory.return_freed_memory(8 << 20)}[sys.argv[1]]()

def step():
    buffers = [torch.ones(2 << 20) for _ in range(8)]  # 64 MiB, freed again
    return float(sum(buffer.sum() for buffer in buffers))

results = {step() for _ in range(3)}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
results |= {step() for _ in range(5)}
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(set_, results, faults * resource.getpagesize() / 2**20)
"""


def probe(mode):
    """(whether the allocator could be set, what was computed, the MiB of new pages of five steps of 64 MiB each)."""
    done = subprocess.run([sys.executable, "-c", PROBE, mode], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    set_, *computed, asked_for = done.stdout.split()
    return set_ == "True", computed, float(asked_for)


@needs.LINUX
def test_freed_memory_is_kept_and_can_be_returned_again():
    could, kept, asked_for = probe("kept")
    if not could:
        pytest.skip("wants glibc")
    for _ in range(2):  # a system short of memory may take pages back between two steps: not the allocator's doing
        asked_for = min(asked_for, probe("kept")[2]) if asked_for >= 4 else asked_for
    _, returned, more = probe("returned")
    assert kept == returned
    assert asked_for < 4 < 80 < more
