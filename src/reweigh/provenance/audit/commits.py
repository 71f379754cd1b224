"""The code that records say they executed, against what git has at the commit that they name.

A record states the digest of each source file and, besides, the commit that was checked out. Whoever forges the digests
would also have to name a commit whose code has them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reweigh.digest import is_foreign, source_digest
from reweigh.provenance.audit.links import Link
from reweigh.records.commit import git, has_repository

PACKAGE = "src/reweigh"
SHOWN = 3  # files that a fault names


def check_commits(records: dict[str, dict[str, Any]], root: Path) -> Iterator[Link]:
    """One link for each commit that records of an unedited checkout name; none without a git repository of the project.

    It is broken if a file at that commit has another digest than a record says; unverifiable if git does not have the
    commit, or if a file is not in it: git calls a checkout unedited although it has untracked files.
    """
    if not has_repository(root) or (inside := git(root, "rev-parse", "--show-prefix")) is None:
        return
    stated: dict[str, dict[tuple[str, str], str]] = {}  # commit -> (file, digest) -> a run that says so
    for run, body in records.items():
        if body["git"]["commit"] and body["git"]["dirty"] is False:
            pairs = stated.setdefault(body["git"]["commit"], {})
            for pair in body["code"]["files"].items():
                if not is_foreign(pair[0]):  # another package has a history of its own
                    pairs.setdefault(pair, run)
    known: dict[bytes, str] = {}
    for commit, pairs in sorted(stated.items()):
        yield Link("commit", commit, *_compared(commit, pairs, root, inside.decode().strip(), known))


def _compared(
    commit: str, pairs: dict[tuple[str, str], str], root: Path, inside: str, known: dict[bytes, str]
) -> tuple[str, str]:
    if git(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}") is None:
        return "unverifiable", "this clone's git does not have it; a full clone has"
    committed = _digests(commit, sorted({file for file, _ in pairs}), root, inside, known)
    if different := [
        f"{file} ({run})" for (file, stated), run in pairs.items() if committed.get(file, stated) != stated
    ]:
        return "broken", f"its code is not what records say: {_some(different)}"
    if lacking := sorted({file for file, _ in pairs if file not in committed}):
        return "unverifiable", f"it lacks files that records say they executed: {_some(lacking)}"
    return "intact", ""


def _digests(commit: str, files: list[str], root: Path, inside: str, known: dict[bytes, str]) -> dict[str, str]:
    """The digest of the code of each file that a commit has of the package, or why it has none.

    `known` are those of other commits by git's object id, since most files are the same in many commits.
    """
    names = "".join(f"{commit}:{inside}{PACKAGE}/{file}\n" for file in files)
    answer, digests = git(root, "cat-file", "--batch", stdin=names.encode()) or b"", {}
    for file in files:
        head, _, answer = answer.partition(b"\n")  # OBJECT TYPE SIZE, or NAME missing
        if head.endswith(b" missing"):
            continue
        blob, size = head.split()[0], int(head.split()[-1])
        if blob not in known:
            known[blob] = _digest(answer[:size])
        digests[file] = known[blob]
        answer = answer[size + 1 :]
    return digests


def _digest(content: bytes) -> str:
    try:
        return source_digest(content.decode())
    except (ValueError, SyntaxError) as error:
        return f"no code: {error}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
