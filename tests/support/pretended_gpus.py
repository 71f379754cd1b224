"""GPUs that are not there, as far as a process asks nvidia-smi for them: torch still finds none."""

import os

LISTED = """#!/bin/sh
printf 'GPU 0: Pretended (UUID: GPU-0)\\nGPU 1: Pretended (UUID: GPU-1)\\n'
"""


def path(folder):
    """A PATH on which nvidia-smi lists two."""
    program = folder / "nvidia" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(LISTED)
    program.chmod(0o755)
    return os.pathsep.join((str(program.parent), os.environ["PATH"]))
