"""The code that records say they executed, against what git has at the commit that they name.

A record states the digest of each source file and, besides, the commit that was checked out. Whoever forges the digests
would also have to name a commit whose code has them.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from reweigh.digest import is_foreign, source_digest
from reweigh.provenance.audit.links import Link
from reweigh.records.commit import git, has_repository
from reweigh.records.history import contents

PACKAGE = "src/reweigh"
SHOWN = 3  # files that a fault names

COMMITTER = re.compile(rb"^committer .* (\d+) [+-]\d{4}$", re.MULTILINE)
_digests: dict[str, str] = {}  # by the id of a blob: most files are the same in many commits

Pairs = dict[tuple[str, str], str]  # a file and a digest of it -> a run that says so
NOT_NAMED = "it names no commit, so that git cannot show that its code was ever committed"


def check_commits(records: dict[str, dict[str, Any]], root: Path) -> Iterator[Link]:
    """One link for each commit that records name, and for each record that names none; none without git.

    A commit is broken if a file in it has another digest than a record of an unedited checkout says; unverifiable if
    one of an edited checkout says so (it names the files, and nothing else has their content), if git does not have the
    commit, or if a file is not in it: git calls a checkout unedited although it has untracked files.
    """
    if not has_repository(root) or (inside := git(root, "rev-parse", "--show-prefix")) is None:
        return
    stated: dict[str, tuple[Pairs, Pairs]] = {}  # by commit: of unedited checkouts, of others
    for run, body in records.items():
        if not (commit := body["git"]["commit"]):
            yield Link("commit", run, "unverifiable", NOT_NAMED)
            continue
        pairs = stated.setdefault(commit, ({}, {}))[body["git"]["dirty"] is not False]
        for pair in body["code"]["files"].items():
            if not is_foreign(pair[0]):  # another package has a history of its own
                pairs.setdefault(pair, run)
    there = commit_times(stated, root)
    for commit, (unedited, edited) in sorted(stated.items()):
        if commit in there:
            yield Link("commit", commit, *_compared(commit, unedited, edited, root, inside.decode().strip()))
        else:
            yield Link("commit", commit, "unverifiable", "this clone's git does not have it; a full clone has")


def commit_times(commits: Iterable[str], root: Path) -> dict[str, int]:
    """When each of the commits that git has was made, by its committer: seconds since 1970."""
    texts = contents(root, sorted(commits))
    return {commit: int(found[1]) for commit, (_, text) in texts.items() if (found := COMMITTER.search(text))}


def _compared(commit: str, unedited: Pairs, edited: Pairs, root: Path, inside: str) -> tuple[str, str]:
    """State and detail of a commit that git has."""
    committed = code_at(commit, sorted({file for file, _ in (*unedited, *edited)}), root, inside)
    if different := _different(unedited, committed):
        return "broken", f"its code is not what records say: {_some(different)}"
    if lacking := sorted({file for file, _ in (*unedited, *edited) if file not in committed}):
        return "unverifiable", f"it lacks files that records say they executed: {_some(lacking)}"
    if different := _different(edited, committed):
        return "unverifiable", f"records were made by an edited checkout of it, with other code in {_some(different)}"
    return "intact", ""


def _different(pairs: Pairs, committed: dict[str, str]) -> list[str]:
    """The files that have another digest in the commit, each with a run that says so."""
    return [f"{file} ({run})" for (file, stated), run in pairs.items() if committed.get(file, stated) != stated]


def code_at(commit: str, files: list[str], root: Path, inside: str) -> dict[str, str]:
    """The digest of the code of each file that a commit has of the package, or why it has none.

    `inside` is where the project lies in its repository, "" or with a slash at its end.
    """
    names = {file: f"{commit}:{inside}{PACKAGE}/{file}" for file in files}
    found = contents(root, list(names.values()))
    for blob, content in found.values():
        if blob not in _digests:
            try:
                _digests[blob] = source_digest(content.decode())
            except (ValueError, SyntaxError) as error:
                _digests[blob] = f"no code: {error}"
    return {file: _digests[found[name][0]] for file, name in names.items() if name in found}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
