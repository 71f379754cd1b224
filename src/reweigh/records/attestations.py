"""Attestations: statements that an edit of the code changed no number, so that older records stay current.

A record has two digests of code: of what trained it ("code") and of what drew its split ("split", the recipe). An
attestation, a JSON in `results/SCALE/attestations/`, lists records by their own digests, and says which digest of today
is equivalent to the one in the record, and how this was tested: a sample of runs, whose size it states, was trained
again and came out bit for bit the same; each split was drawn again. `reweigh attest` writes them
(`provenance/attest.py`).

    attested = load(root)
    attested.step(body["digest"], "code", then, now)     # the step that makes `now` equivalent to `then`, or None

One attestation may start where another ends: then -> A -> B. Each file is read once; nothing heavy is imported.
"""

import functools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from reweigh import canonical_json
from reweigh.errors import RecordError
from reweigh.listing import visible
from reweigh.os_errors import UnseenError, hides, unseen
from reweigh.terminal import say

VERSION = 1
PARTS = ("code", "split")  # what an attestation can be about; another spec asks for other numbers


class Step(NamedTuple):
    """For one record: `now` is equivalent to `then`. Of `of` records stale by code, `again` were trained again."""

    then: str
    now: str
    part: str  # "code" or "split"
    file: str
    date: str  # UTC, 2026-11-21T10:00:00Z
    again: int
    of: int

    @property
    def text(self) -> str:
        """In words: `attested on 2026-11-21: 12 of 120 runs again, bit-equal`."""
        done = f"{self.again} of {self.of} runs again, bit-equal" if self.part == "code" else "split drawn again, equal"
        return f"attested on {self.date[:10]}: {done}"


class Attestations:
    """All attestations of a project. `refused` has the files that were altered or cannot be read, with the reason.

    Those of them that the system lets nobody look at, and which may be sound, are in `unseen` too.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.files: list[str] = []
        self.refused: dict[str, str] = {}
        self.unseen: dict[str, str] = {}
        self._steps: dict[tuple[str, str], list[Step]] = {}
        bodies = []
        for path in paths:
            name = "/".join(path.parts[-4:])  # results/SCALE/attestations/FILE
            self.files.append(name)
            try:
                bodies.append((name, read(path)))
            except RecordError as error:
                self.refused[name] = str(error)
                if isinstance(error, UnseenError):
                    self.unseen[name] = str(error)
        for name, body in sorted(bodies, key=lambda item: (item[1]["date"], item[0])):
            self._add(name, body)

    def of_scale(self, scale: str) -> list[str]:
        """The files of one scale, below the root."""
        return [name for name in self.files if name.startswith(f"results/{scale}/")]

    def chain(self, record: str, part: str, then: str) -> list[Step]:
        """The steps that start at `then` for the record with that digest, each after the one that it continues."""
        waiting, reached, chain = list(self._steps.get((record, part), ())), {then}, []
        # Not simply by date: the clocks of two machines differ.
        while step := next((step for step in waiting if step.then in reached), None):
            waiting.remove(step)
            reached.add(step.now)
            chain.append(step)
        return chain

    def step(self, record: str, part: str, then: str, now: str) -> Step | None:
        """The latest step that leads from `then` to `now` for the record with that digest; None if none does."""
        return next((step for step in reversed(self.chain(record, part, then)) if step.now == now), None)

    def _add(self, name: str, body: dict[str, Any]) -> None:
        for part in PARTS:
            for edit in body[part]:
                sample = (body["sample"]["runs"], body["sample"]["of"])
                step = Step(edit["then"], edit["now"], part, name, body["date"], *sample)
                for run, covered in edit["covers"].items():
                    if not run.startswith(f"{Path(name).parts[1]}/"):  # of another scale it accepts nothing
                        continue
                    self._steps.setdefault((covered, part), []).append(step)


def load(root: str | Path = ".") -> Attestations:
    """The attestations of a project, read once while no file changes. Refused files are printed once."""
    results = Path(os.path.abspath(root), "results")
    files = [(os.fspath(file), file.stat()) for file in visible(results, "*/attestations/*.json")]
    return _load(tuple((file, about.st_mtime_ns, about.st_size) for file, about in files))


@functools.lru_cache(maxsize=4)
def _load(files: tuple[tuple[str, int, int], ...]) -> Attestations:
    attested = Attestations(Path(file) for file, _, _ in files)
    for reason in attested.refused.values():
        say(f"reweigh: {reason}", err=True)
    return attested


def read(path: Path) -> dict[str, Any]:
    """One attestation, checked against its own digest. Raises RecordError if it was altered or cannot be read.

    Where the system lets nobody look at it, that is an UnseenError.
    """
    try:
        content = path.read_bytes()
        body = canonical_json.parse(content)
        version = body["attestation_version"]
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and hides(error):
            raise unseen(error, path) from None
        raise RecordError(f"{path}: not a readable attestation ({error!r}); it accepts nothing: delete it") from None
    if version != VERSION:
        raise RecordError(
            f"{path}: an attestation of version {str(version)[:20]}, not {VERSION}; it accepts nothing: attest again"
        )
    if why := canonical_json.altered(body, content):
        raise RecordError(
            f"{path}: {why}; it was changed by hand and accepts nothing: restore it, or delete it and attest again"
        )
    if not _is_whole(body):
        raise RecordError(f"{path}: an attestation that lacks a part; it accepts nothing: delete it and attest again")
    return body


def _is_whole(body: dict[str, Any]) -> bool:
    """Whether an attestation has all its parts, with values of the right types."""
    try:
        edits = [edit for part in PARTS for edit in body[part]]
        texts = [body["date"], *(edit[end] for edit in edits for end in ("then", "now"))]
        counts = [body["sample"][name] for name in ("runs", "of")]
        covered = [stated for edit in edits for stated in edit["covers"].values()]
    except (KeyError, TypeError, AttributeError):
        return False
    return all(isinstance(text, str) for text in texts + covered) and all(isinstance(count, int) for count in counts)


def write(root: str | Path, scale: str, body: dict[str, Any]) -> Path:
    """Write an attestation with its own digest; its path."""
    body = canonical_json.seal({**body, "attestation_version": VERSION})
    path = Path(root, "results", scale, "attestations", f"{body['date'][:10]}-{body['digest'][:12]}.json")
    return canonical_json.write(path, canonical_json.text_of(body))
