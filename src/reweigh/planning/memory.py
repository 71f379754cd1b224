"""How much memory this machine has left, for what is refused before it would run out."""

import os
from pathlib import Path


def left() -> int:
    """Bytes of memory that are free on this machine, or all it has where it does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 33
