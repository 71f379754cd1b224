"""The commit that is checked out, also on a machine to which the project was copied without its `.git`.

    commit.described(root)       # at home, for the commit.json that `reweigh plan --specs` writes beside the specs
    commit.look_in(folders)      # where runs are trained: the folders of the specs
    commit.git_state()           # what git says, else what such a file says

The file has the digest of the package's source, so that it says nothing of code that was changed after it was written.
"""

import functools
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.digest import PACKAGE, digest, file_digest
from reweigh.listing import visible

NAME = "commit.json"
SOURCE = "src/reweigh"  # what a repository has at its commit, if that is one of the project
# A stale run trained again replaces its committed record. What runs write is no edit of what they are made from.
OUTPUTS = (":(exclude)results", ":(exclude)figures")
UNKNOWN = {"commit": None, "dirty": None}
# Of git's variables those that say what it may do, and not where its repository is.
GIT_KEPT = {"GIT_CEILING_DIRECTORIES", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM", "GIT_EXEC_PATH"}
SECONDS = 60  # git of a cold disk takes its time
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
        content = canonical_json.read(Path(folder) / NAME)
        if content["source_digest"] == source_digest():
            return {"commit": content["commit"], "dirty": content["dirty"]}
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return dict(UNKNOWN)


@functools.cache
def source_digest() -> str:
    """The digest of all Python files of the package that runs, as they were when it was first asked for."""
    return source_digest_of(PACKAGE)


def source_digest_of(package: Path) -> str:
    """The digest of all Python files of a package."""
    return digest({path.relative_to(package).as_posix(): file_digest(path) for path in visible(package, "**/*.py")})


@functools.cache
def _here() -> dict[str, Any]:
    return _asked(Path())


def git(root: str | Path, *command: str, stdin: bytes = b"") -> bytes | None:
    """What git prints of the repository in which `root` lies; None if it fails or there is none.

    Where it would look is not left to variables such as GIT_DIR, which hooks of another repository set. It takes no
    lock, so that it disturbs no other git.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in GIT_KEPT}
    environment = {**kept, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *command], cwd=root, env=environment, input=stdin, capture_output=True, timeout=SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def has_repository(root: str | Path) -> bool:
    """Whether the project in `root` is in git: not if it merely lies in a repository that does not have its code.

    One without code of its own, whose reweigh is installed, must have a repository to itself.
    """
    top = _line(root, "rev-parse", "--show-toplevel")
    if top is None:
        return False
    if Path(root, SOURCE).is_dir():
        return _line(root, "rev-parse", "--verify", "--quiet", f"HEAD:./{SOURCE}") is not None
    return os.path.samefile(top, root)


def _line(root: str | Path, *command: str) -> str | None:
    """What git prints, without the end of the line."""
    said = git(root, *command)
    return None if said is None else os.fsdecode(said).removesuffix("\n")


def _asked(root: Path) -> dict[str, Any]:
    """What git says: nothing, if the project merely lies in a folder of another repository."""
    commit = _line(root, "rev-parse", "HEAD") if has_repository(root) else None
    status = _line(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *OUTPUTS) if commit else None
    return {"commit": commit, "dirty": None if status is None else bool(status)}
