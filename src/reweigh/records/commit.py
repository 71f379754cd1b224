"""The commit that is checked out, also on a machine to which the project was copied without its `.git`.

    commit.carry()        # at home, by `reweigh plan --specs`: writes .reweigh/commit.json, which is copied along
    commit.git_state()    # where runs are trained: what git says, else what that file says

The file names the digest of the package's source, so that it says nothing of code that was changed after it.
"""

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.digest import PACKAGE, digest, file_digest

CARRIED = Path(".reweigh") / "commit.json"
UNKNOWN = {"commit": None, "dirty": None}


@functools.cache
def git_state() -> dict[str, Any]:
    """The checked-out commit, and whether tracked files differ from it; None where neither git nor a file can tell."""
    state = _asked()
    return state if state["commit"] else carried()


def carry(root: str | Path = ".") -> Path | None:
    """Write the commit, whether tracked files differ from it, and the digest of the source; the file, None without git.

    A file of an earlier commit is removed where git cannot tell.
    """
    path, state = Path(root) / CARRIED, _asked(root)
    if state["commit"] is None:
        path.unlink(missing_ok=True)
        return None
    content = {**state, "source_digest": source_digest()}
    return canonical_json.write(path, (json.dumps(content, indent=1) + "\n").encode())


def carried(root: str | Path = ".") -> dict[str, Any]:
    """What the file says, if it is about the source that is here; else nothing."""
    try:
        content = json.loads((Path(root) / CARRIED).read_text())
        if content["source_digest"] == source_digest():
            return {"commit": str(content["commit"]), "dirty": bool(content["dirty"])}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return dict(UNKNOWN)


def source_digest(package: Path = PACKAGE) -> str:
    """The digest of all Python files of the package."""
    return digest({path.relative_to(package).as_posix(): file_digest(path) for path in sorted(package.rglob("*.py"))})


def _asked(root: str | Path = ".") -> dict[str, Any]:
    """What git says."""

    def ask(*command: str) -> str | None:
        try:
            done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = ask("rev-parse", "HEAD")
    status = ask("status", "--porcelain", "--untracked-files=no") if commit else None
    return {"commit": commit, "dirty": None if status is None else bool(status)}
