"""The C library's allocator, told to keep memory that a step gives back: the next step wants the same again.

By itself glibc returns large free blocks to the system after each step and asks for them anew, page by page: on a
ResNet-32 a tenth of the time of a step, and more of a step with a look-ahead. What is computed does not change.
"""

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of mallopt(3)
MOST_MMAP = 32 * 2**20  # the largest threshold that glibc accepts
NEVER = 2**31 - 1
AHEAD = 2**28  # bytes asked for at a time; what is never touched costs nothing


def keep_freed_memory() -> bool:
    """Let this process keep what it frees; False where the C library is not glibc."""
    return _set(((MMAP_THRESHOLD, MOST_MMAP), (TRIM_THRESHOLD, NEVER), (TOP_PAD, AHEAD)))


def return_freed_memory(largest_buffer_bytes: int) -> bool:
    """Back to the thresholds at which glibc by itself arrives in a program with buffers of up to that size."""
    page = 4096
    thresholds = ((MMAP_THRESHOLD, largest_buffer_bytes + page), (TRIM_THRESHOLD, 2 * (largest_buffer_bytes + page)))
    return _set((*thresholds, (TOP_PAD, 128 * 1024)))


def _set(options: tuple[tuple[int, int], ...]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no mallopt
        return False
    return all(mallopt(option, value) == 1 for option, value in options)
