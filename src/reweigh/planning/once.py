"""What runs of a plan have in common, and what of it earlier runs have left to take over. Needs no torch.

Training finds what is kept by keys (`training/shared.py`) that it can compute with torch alone. So here a record tells
what is kept: it must be as today's code, split, libraries and a device of this machine would make it. Where no record
tells, as of a run that was stopped after its shared stages, the plan says too much, not too little.
"""

import functools
import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.bench.table import devices
from reweigh.config.cards import card_of
from reweigh.data.obtain import recipe_digest
from reweigh.digest import digest
from reweigh.errors import ReweighError
from reweigh.listing import visible
from reweigh.records import kept, record
from reweigh.records.identity import decisive, with_prefix

NOT_USABLE = (ReweighError, OSError, ValueError, LookupError, TypeError, AttributeError)  # damaged, or of the past
LIBRARIES = ("torch", "numpy", "pillow")  # those that decide numbers


class TrainedOnce:
    """The parts of training that runs of a plan have in common: the first of them trains them for all.

    `parts` are those that are kept already.
    """

    def __init__(self, parts: set[str] | None = None) -> None:
        self.parts = set(parts or ())

    def left(self, spec: dict[str, Any], examples: Sequence[int]) -> float:
        """The share of a run's training that nothing kept and no earlier run does for it; `examples` are by stage."""
        if self._is_done(whole_part(spec)):
            return 0.0
        prefix = prefix_part(spec)
        if prefix is None:
            return 1.0
        part, stages = prefix
        if not self._is_done(part):
            return 1.0
        return sum(examples[stages:]) / (sum(examples) or 1)

    def _is_done(self, part: str) -> bool:
        known = part in self.parts
        self.parts.add(part)
        return known


def whole_part(spec: dict[str, Any]) -> str:
    """What a run is as a whole, under whatever name."""
    return digest([None, decisive(spec)])


def prefix_part(spec: dict[str, Any]) -> tuple[str, int] | None:
    """What the first stages of a run are, and how many; None if its method shares none."""
    prefix = card_of(spec["uses"]).prefix(spec["method_options"])
    if prefix is None:
        return None
    first = decisive(with_prefix(spec, prefix.uses, prefix.options), prefix.stages)
    return digest([prefix.stages, first]), prefix.stages


# --- what is kept ----------------------------------------------------------------------------------------------------


def kept_parts(root: Path) -> set[str]:
    """The parts that a run would take over from `.reweigh/prefixes` instead of training them."""
    return {*_wholes(root), *_prefixes(root)}


def _wholes(root: Path) -> Iterator[str]:
    """Of whole runs: a link names a record, which is still the one that the link was made for."""
    for path in visible(root / kept.FOLDER / "whole", "*.json"):
        try:
            link = canonical_json.read(path)
            theirs = record.record_path(link["run"], root)
            body = record.read(theirs)
            record.trace_path(theirs, body)
            if body["digest"] == link["digest"] and _would_be_made_so(body, root):
                yield whole_part(body["spec"])
        except NOT_USABLE:
            continue


def _prefixes(root: Path) -> Iterator[str]:
    """Of first stages: a record names the key of those that it trained or took over, and the file is there."""
    keys = {path.stem for path in (root / kept.FOLDER).glob("*.pt")}
    for path in visible(root / "results", "*/*/*/*/*/seed*.json") if keys else ():
        if _key_in(path, path.stat().st_mtime_ns) not in keys:
            continue
        try:
            body = record.read(path)
            prefix = prefix_part(body["spec"])
            if prefix and prefix[1] == body["prefix"]["stages"] and _would_be_made_so(body, root):
                yield prefix[0]
        except NOT_USABLE:
            continue


@functools.lru_cache(maxsize=100_000)
def _key_in(path: Path, stamp: int) -> str | None:
    """The key of the stages that a record says were shared; None if it says nothing."""
    try:
        return str(canonical_json.read(path)["prefix"]["key"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _would_be_made_so(body: dict[str, Any], root: Path) -> bool:
    """Whether today's code, split, libraries and a device of this machine would make a record of its spec as it is.

    An attestation does not count: what is kept has the code in its key.
    """
    same = all(str(body["environment"][name]).partition("+")[0] == _version(name) for name in LIBRARIES)
    if not same or body["device"]["name"] not in devices():
        return False
    return not record.stale_because(body, body["spec"], recipe_digest(body["spec"], root / "data"))


@functools.cache
def _version(package: str) -> str | None:
    """The installed version without what torch adds of its build; None if it is not here."""
    try:
        return importlib.metadata.version(package).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None
