"""The allocator keeps what a step frees: no page is asked for twice, and nothing that is computed changes."""

import subprocess
import sys

import pytest
from support import needs
from support.project import environment

PROBE = """
import resource, sys, torch
from reweigh.training import memory

torch.set_num_threads(1)
set_ = {"kept": memory.keep_freed_memory, "returned": lambda: memory.return_freed_memory(8 << 20)}[sys.argv[1]]()

def step():
    buffers = [torch.ones(2 << 20) for _ in range(8)]  # 64 MiB, freed again
    return float(sum(buffer.sum() for buffer in buffers))

results = {step() for _ in range(3)}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
results |= {step() for _ in range(5)}
print(set_, results, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def probe(mode):
    """(whether the allocator could be set, what was computed, page faults of five steps of 16,384 pages each)."""
    done = subprocess.run([sys.executable, "-c", PROBE, mode], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    set_, *computed, faults = done.stdout.split()
    return set_ == "True", computed, int(faults)


@needs.LINUX
def test_freed_memory_is_kept_and_can_be_returned_again():
    could, kept, faults = probe("kept")
    if not could:
        pytest.skip("wants glibc")
    for _ in range(2):  # a system short of memory may take pages back between two steps: not the allocator's doing
        faults = min(faults, probe("kept")[2]) if faults >= 1000 else faults
    _, returned, more = probe("returned")
    assert kept == returned
    assert faults < 1000 < 20_000 < more
