"""What git knows of records: each version that a commit had, and what HEAD has now.

    history = of_scale("paper", root)          # None without git
    history.versions["paper/.../seed0"]        # newest first: commit, its time, the blob; no blob where it was removed
    contents(root, blobs)                      # the bytes of blobs, by id

A commit cannot be changed without its name, so a record in git is evidence that nobody can write anew later: not where
all of history is forged, which a signed tag would show. A shallow clone has a part of it.
"""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from reweigh.records.commit import git, has_repository

RUN_FILE = re.compile(r"results/((?:[^/]+/){5}seed\d+)\.json")
NOTHING = re.compile("0+")  # the id of no blob


class Version(NamedTuple):
    """What a commit made of a record. `blob` is the id of its content, None where the commit removed it."""

    commit: str
    time: int  # the committer's, seconds since 1970
    blob: str | None


@dataclass
class History:
    """The versions of each run's record, newest first, and the blobs of those that HEAD has."""

    versions: dict[str, list[Version]] = field(default_factory=dict)
    head: dict[str, str] = field(default_factory=dict)

    def blobs(self, run: str) -> list[str]:
        """The ids of all different contents that a run's record has had, newest first."""
        found = (version.blob for version in self.versions.get(run, ()) if version.blob)
        return list(dict.fromkeys(filter(None, (self.head.get(run), *found))))


def of_scale(scale: str, root: Path) -> History | None:
    """The history of the records of a scale; None if the project is in no repository, or that has no commit.

    A commit that merges counts with what it changed against each of its parents: a record may be lost in one.
    """
    if not has_repository(root):
        return None
    folder = f"results/{scale}"
    at_head = git(root, "-c", "core.quotePath=off", "ls-tree", "-r", "HEAD", folder)
    options = ("--full-history", "-m", "--raw", "--no-abbrev", "--no-renames", "--relative", "--format=%x00%H %ct")
    changes = git(root, "-c", "core.quotePath=off", "log", *options, "--", folder)
    if at_head is None or changes is None:
        return None
    history, commit, time = History(), "", 0
    for line in at_head.decode(errors="replace").splitlines():  # MODE TYPE ID, a tab, the path
        what, _, path = line.partition("\t")
        if match := RUN_FILE.fullmatch(path):
            history.head[match[1]] = what.split()[2]
    for line in changes.decode(errors="replace").splitlines():
        if line.startswith("\0"):
            commit, _, seconds = line[1:].partition(" ")
            time = int(seconds)
        elif line.startswith(":"):  # :MODE MODE ID ID STATUS, a tab, the path
            what, _, path = line.partition("\t")
            if match := RUN_FILE.fullmatch(path):
                after = what.split()[3]
                version = Version(commit, time, None if NOTHING.fullmatch(after) else after)
                history.versions.setdefault(match[1], []).append(version)
    return history


def contents(root: Path, names: Collection[str]) -> dict[str, tuple[str, bytes]]:
    """Id and content of each object that git has, by the names (`ID`, `COMMIT:PATH`) that were asked for."""
    asked = list(dict.fromkeys(names))
    answer = git(root, "cat-file", "--batch", stdin="".join(f"{name}\n" for name in asked).encode()) if asked else b""
    found, place, answer = {}, 0, answer or b""
    for name in asked:
        end = answer.find(b"\n", place)
        if end < 0:
            break
        head, place = answer[place:end], end + 1  # ID TYPE SIZE, or NAME missing
        if head.endswith((b" missing", b" ambiguous")):
            continue
        identity, _, size = head.split()
        found[name] = identity.decode(), answer[place : place + int(size)]
        place += int(size) + 1
    return found


def blob_of(content: bytes, like: str) -> str:
    """The id that git would give to a content, in a repository with ids `like` this one."""
    kind = hashlib.sha1 if len(like) == 40 else hashlib.sha256
    return kind(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
