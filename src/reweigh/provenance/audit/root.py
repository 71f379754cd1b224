"""`reweigh audit --root`: one sha256 over everything that git has of the project, by which all of it can be named.

The root is the sha256 of a list with one line, `sha256  path`, for each file that git lists below the project's folder,
sorted by the bytes of the paths: what this prints, with no program of ours:

    git ls-files -z | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum

It is over the files as they lie there, so that any edit, committed or not, changes it. Two clones of a commit have the
same root. Whoever signs a tag that states it vouches for code, config, records, figures and pages as a whole.
"""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from reweigh.errors import ConfigError
from reweigh.records.commit import git, has_repository

COMMAND = "git ls-files -z | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
CHUNK = 1 << 20
SHOWN = 5  # files that are not as committed


class Root(NamedTuple):
    """The root, the number of files that it is over, the commit, and the files that are not as it has them."""

    digest: str
    files: int
    commit: str
    edited: list[str]


def root_of(root: str | Path = ".") -> Root:
    """The root of the project in a folder. Raises ConfigError without git, or where a file that git lists is gone."""
    root = Path(root)
    if not has_repository(root) or (listed := git(root, "ls-files", "-z")) is None:
        raise ConfigError("the root is over the files that git lists, and there is no git here; use a clone")
    whole, names = hashlib.sha256(), sorted({name for name in listed.split(b"\0") if name})
    for name in names:
        path = os.path.join(os.fsencode(root), name)
        if not os.path.isfile(path):
            raise ConfigError(f"{os.fsdecode(name)}: git lists it, and it is not there; restore it: git restore .")
        with open(path, "rb") as file:
            whole.update(_line(hashlib.file_digest(file, "sha256").hexdigest(), name))
    commit = (git(root, "rev-parse", "HEAD") or b"").decode().strip()
    return Root(whole.hexdigest(), len(names), commit, _edited(root))


def _line(digest: str, name: bytes) -> bytes:
    """A line of sha256sum: with a backslash before it where the name had to be escaped."""
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return (b"\\" if escaped != name else b"") + digest.encode() + b"  " + escaped + b"\n"


def _edited(root: Path) -> list[str]:
    """The files that are not as the commit has them, and those that git was never told of and does not ignore."""
    status = git(root, "status", "--porcelain", "-z", "--no-renames", "--", ".") or b""
    return [os.fsdecode(entry[3:]) for entry in status.split(b"\0") if entry]


def text(found: Root) -> str:
    """What the command prints: the root alone on its first line, then what it is over."""
    lines = [
        found.digest,
        f"sha256 over {found.files} files at commit {found.commit[:12]}; the same by: {COMMAND}",
    ]
    if found.edited:
        more = f" and {len(found.edited) - SHOWN} more" if len(found.edited) > SHOWN else ""
        lines.append(f"not committed: {', '.join(found.edited[:SHOWN])}{more}")
    return "\n".join(lines)
