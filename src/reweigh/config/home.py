"""Where the project is: the folder that has config/config.yaml. Imports only the standard library."""

import os
import shlex
from pathlib import Path

CONFIG = "config/config.yaml"
SHOWN = 3  # projects that an error names


def above(folder: Path) -> Path | None:
    """The project that a folder is, or lies in; None if it is in none."""
    folder = Path(os.path.abspath(folder))
    return next((one for one in (folder, *folder.parents) if (one / CONFIG).is_file()), None)


def not_here(folder: Path) -> str:
    """That a folder is in no project, in one line, and where to go: into one that lies in it, if there is one."""
    try:
        there = sorted(one.name for one in os.scandir(folder) if one.is_dir() and Path(one, CONFIG).is_file())
    except OSError:
        there = []
    go = " or ".join(f"cd {shlex.quote(name)}" for name in there[:SHOWN]) or "cd to the project's own folder"
    return f"no project here: no {CONFIG} in {os.path.abspath(folder)} or above it; first: {go}"
