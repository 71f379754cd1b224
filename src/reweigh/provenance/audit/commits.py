"""The code that records say they executed, against what git has of it at the commit that they name.

A record states the digest of each source file and, apart from these, the commit that was checked out. Who makes the
digests of another day's code look like today's has to name a commit that has today's code too.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reweigh.digest import source_digest
from reweigh.provenance.audit.links import Link

PACKAGE = "src/reweigh"
SHOWN = 3  # files that a detail names


def check_commits(records: dict[str, dict[str, Any]], root: Path) -> Iterator[Link]:
    """One link for each commit that records of an unedited checkout name; none where there is no git repository.

    Broken where a file at that commit has another digest than a record says; unverifiable where git does not know the
    commit, or where a file is not in it: an untracked one leaves a checkout unedited.
    """
    inside = _git(root, "rev-parse", "--show-prefix")
    if inside is None:
        return
    stated: dict[str, dict[tuple[str, str], str]] = {}  # commit -> (file, digest) -> a run that says so
    for run, body in records.items():
        if body["git"]["commit"] and body["git"]["dirty"] is False:
            pairs = stated.setdefault(body["git"]["commit"], {})
            for pair in body["code"]["files"].items():
                pairs.setdefault(pair, run)
    for commit, pairs in sorted(stated.items()):
        yield Link("commit", commit, *_compared(commit, pairs, root, inside.decode().strip()))


def _compared(commit: str, pairs: dict[tuple[str, str], str], root: Path, inside: str) -> tuple[str, str]:
    if _git(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}") is None:
        return "unverifiable", "git does not know it here; a whole clone has it"
    there = _digests(commit, sorted({file for file, _ in pairs}), root, inside)
    if wrong := [f"{file} ({run})" for (file, stated), run in pairs.items() if there.get(file, stated) != stated]:
        return "broken", f"it has other code than records say: {_some(wrong)}"
    if lacking := sorted({file for file, _ in pairs if file not in there}):
        return "unverifiable", f"it lacks what records say they executed: {_some(lacking)}"
    return "intact", ""


def _digests(commit: str, files: list[str], root: Path, inside: str) -> dict[str, str]:
    """Of each file of the package that a commit has, the digest of its code, or why it has none."""
    asked = "".join(f"{commit}:{inside}{PACKAGE}/{file}\n" for file in files)
    answer, found = _git(root, "cat-file", "--batch", asked=asked) or b"", {}
    for file in files:
        head, _, answer = answer.partition(b"\n")  # OBJECT TYPE SIZE, or QUESTION missing
        if head.endswith(b" missing"):
            continue
        size = int(head.split()[-1])
        try:
            found[file] = source_digest(answer[:size].decode())
        except (ValueError, SyntaxError) as error:
            found[file] = f"no code: {error}"
        answer = answer[size + 1 :]
    return found


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _git(root: Path, *arguments: str, asked: str = "") -> bytes | None:
    """What git says; None where it fails, or there is no git."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, input=asked.encode(), capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout
