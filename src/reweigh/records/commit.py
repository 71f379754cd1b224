"""The commit that is checked out, also on a machine to which the project was copied without its `.git`.

    commit.described(root)       # at home, for the commit.json that `reweigh plan --specs` writes beside the specs
    commit.look_in(folders)      # where runs are trained: the folders of the specs
    commit.git_state()           # what git says, else what such a file says

The file has the digest of the package's source, so that it says nothing of code that was changed after it was written.
"""

import functools
import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reweigh.digest import PACKAGE, digest, file_digest
from reweigh.listing import visible

NAME = "commit.json"
SOURCE = "src/reweigh"  # what a repository has at its commit, if that is one of the project
# A stale run trained again replaces its committed record. What runs write is no edit of what they are made from.
OUTPUTS = (":(exclude)results", ":(exclude)figures")
UNKNOWN = {"commit": None, "dirty": None}
_folders: list[Path] = []


def git_state() -> dict[str, Any]:
    """The checked-out commit, and whether tracked files differ from it, results and figures aside.

    None where neither git nor a file can tell.
    """
    state = _here()
    if state["commit"]:
        return dict(state)
    return next((found for folder in _folders if (found := carried(folder))["commit"]), dict(UNKNOWN))


def look_in(folders: Iterable[str | Path]) -> None:
    """Where the files lie that came with the specs."""
    _folders[:] = dict.fromkeys(map(Path, folders))


def described(root: str | Path = ".") -> dict[str, Any]:
    """What the file says: the commit that is checked out in `root`, whether it was edited, the source's digest.

    Commit and difference are None where git cannot tell.
    """
    return {**_asked(Path(root)), "source_digest": source_digest()}


def carried(folder: str | Path) -> dict[str, Any]:
    """What the file in a folder says, if it is about the source that is here; else nothing."""
    try:
        content = json.loads((Path(folder) / NAME).read_text())
        if content["source_digest"] == source_digest():
            return {"commit": content["commit"], "dirty": content["dirty"]}
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return dict(UNKNOWN)


@functools.cache
def source_digest(package: Path = PACKAGE) -> str:
    """The digest of all Python files of the package, as they were when it was first asked for."""
    return digest({path.relative_to(package).as_posix(): file_digest(path) for path in visible(package, "**/*.py")})


@functools.cache
def _here() -> dict[str, Any]:
    return _asked(Path())


def _asked(root: Path) -> dict[str, Any]:
    """What git says: nothing, if the project merely lies in a folder of another repository."""

    def ask(*command: str) -> str | None:
        try:
            done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    top = ask("rev-parse", "--show-toplevel")
    known = top and (os.path.samefile(top, root) or ask("rev-parse", "--verify", "--quiet", f"HEAD:./{SOURCE}"))
    commit = ask("rev-parse", "HEAD") if known else None
    status = ask("status", "--porcelain", "--untracked-files=no", "--", ".", *OUTPUTS) if commit else None
    return {"commit": commit, "dirty": None if status is None else bool(status)}
