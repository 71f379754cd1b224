"""The libraries that made records and artifacts, against the versions that the lock file pinned then and pins now.

Whether any other pin was changed since the runs: `audit.declared`.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from reweigh.artifacts import receipt
from reweigh.errors import RecordError
from reweigh.listing import visible
from reweigh.provenance.audit.links import Link
from reweigh.provenance.audit.looking import looked
from reweigh.records.commit import git

LOCK = "envs/requirements.lock"
DECIDING = ("torch", "numpy")  # the libraries that a record's bits depend on
DRAWING = ("matplotlib", "pandas")  # those that an artifact's depend on besides


def check_lock(records: dict[str, dict[str, Any]], root: Path) -> Iterator[Link]:
    """One link for all records of the same versions and the same lock."""
    made = Counter(
        (str(body["environment"]["lock_digest"] or ""), str(body["environment"]["python"]).split("+")[0],
         *(str(body["environment"][name]) for name in DECIDING))
        for body in records.values()
    )  # fmt: skip
    for stated, python, *versions in sorted(made):
        used = dict(zip(DECIDING, versions, strict=True))
        lock = f"lock {stated[:12]}" if stated else "no lock"
        yield Link("lock", f"{LOCK} ({lock}, Python {python}, {_text(used)})", *_told(stated, python, used, root))


def check_rendering_lock(scale: str, root: Path) -> Iterator[Link]:
    """The same for the artifacts of a scale and its scorecard, by their sound receipts."""
    paths = [*visible(root / "figures" / scale, "*/*.json"), root / "results" / scale / "scorecard.json"]
    made = set()
    for path in filter(Path.is_file, paths):
        with contextlib.suppress(RecordError, KeyError, TypeError, AttributeError):  # that is its own link's business
            body = receipt.read(path)
            versions = [str(body["environment"][name]) for name in ("python", *DRAWING)]
            made.add((str(body["lock_digest"] or ""), *versions))
    for stated, python, *versions in sorted(made):
        used = dict(zip(DRAWING, versions, strict=True))
        lock = f"lock {stated[:12]}" if stated else "no lock"
        name = f"{LOCK} ({lock}, Python {python}, {_text(used)})"
        yield Link("lock", name, *_told(stated, python, used, root))


def _told(stated: str, python: str, used: dict[str, str], root: Path) -> tuple[str, str]:
    try:
        return looked(_state, stated, python, used, root)
    except (ValueError, OSError) as error:  # a record may state anything as a version; a lock may be no text
        return "broken", f"it cannot be compared: {' '.join(str(error).split())}"


def _state(stated: str, python: str, used: dict[str, str], root: Path) -> tuple[str, str]:
    path = root / LOCK
    if not path.is_file():
        return "missing", f"{LOCK} does not exist"
    content = path.read_bytes()
    now = pins(content.decode(), python, tuple(used))
    if not stated:
        return "unverifiable", f"made without a lock file; the lock pins {_text(now)} now"
    same = sha256(content).hexdigest() == stated
    then = now if same else _earlier_pins(stated, python, root, tuple(used))
    if then is not None and not _meets(used, then):
        return (
            "unverifiable",
            f"made with other versions than its own lock pinned ({_text(then)}), for no stated reason",
        )
    if same or _meets(used, now):
        return "intact", ""
    return "stale", f"the lock pins {_text(now)} now"


def _earlier_pins(stated: str, python: str, root: Path, names: tuple[str, ...]) -> dict[str, str] | None:
    """What the lock with that digest pinned, from git's history; None if git has no such lock."""
    commits = (git(root, "log", "--format=%H", "--", LOCK) or b"").decode().split()
    contents = (git(root, "show", f"{commit}:./{LOCK}") or b"" for commit in commits)
    lock = next((content for content in contents if sha256(content).hexdigest() == stated), None)
    return None if lock is None else pins(lock.decode(errors="replace"), python, names)


def pins(text: str, python: str, names: tuple[str, ...] = DECIDING) -> dict[str, str]:
    """The versions that a lock file pins for a Python, of some libraries: those that decide a record's bits."""
    from packaging.requirements import InvalidRequirement, Requirement

    environment = {"python_full_version": python, "python_version": ".".join(python.split(".")[:2])}
    versions = {}
    for line in text.splitlines():
        if not line.lower().startswith(names):
            continue
        try:
            pin = Requirement(line.split(" --hash")[0].rstrip(" \\"))
        except InvalidRequirement:
            continue
        if pin.name.lower() in names and (pin.marker is None or pin.marker.evaluate(environment)):
            versions[pin.name.lower()] = str(pin.specifier).removeprefix("==")
    return versions


def _meets(used: dict[str, str], pinned: dict[str, str]) -> bool:
    """Whether versions are those pinned; the label of a build (`+cu132`) does not count."""
    return all(version.partition("+")[0] == pinned.get(name) for name, version in used.items())


def _text(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "none of them"
