"""The ledger of amendments: what decides a verdict and was changed after runs that it is about, and why.

As the protocol of a registered trial is amended, `config/amendments.yaml` names what was changed, by the digest of
what it says now, when, and why:

    amendments:
      - date: "2026-11-29"
        why: words only; test, margin and sides are the same
        of: {claims/har: {har-beats-uniform-mnist: 0f3c2a91b7d4}}

A digest is the first twelve digits of the sha256 of the canonical JSON; what was deleted has `deleted` in its place.
An audit prints what to write.
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from reweigh import strict_yaml
from reweigh.errors import ConfigError

LEDGER = "config/amendments.yaml"
DELETED = "deleted"
DIGITS = 12
KEYS = {"date", "why", "of"}

Amendments = dict[tuple[str, str], str]  # (what, digest) -> date and reason


def load(root: Path) -> Amendments:
    """All amendments; none where there is no ledger. Raises ConfigError for one that cannot be read."""
    path = root / LEDGER
    if not path.is_file():
        return {}
    try:
        content = strict_yaml.read(path.read_text(encoding="utf-8"))
    except Exception as error:
        raise ConfigError(strict_yaml.problem(error, LEDGER)) from None
    entries = content.get("amendments") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ConfigError(f"{LEDGER}: must hold a list of amendments")
    return {pair: reason for number, entry in enumerate(entries, start=1) for pair, reason in _pairs(number, entry)}


def _pairs(number: int, entry: Any) -> list[tuple[tuple[str, str], str]]:
    where = f"{LEDGER}: amendment {number}"
    if not isinstance(entry, dict) or entry.keys() != KEYS or not isinstance(entry["of"], dict):
        raise ConfigError(f"{where} must have date, why, and of: a digest for each thing that was changed")
    if not isinstance(entry["why"], str) or not entry["why"].strip():
        raise ConfigError(f"{where} says no reason")
    try:
        date.fromisoformat(entry["date"])
    except (TypeError, ValueError):
        raise ConfigError(f'{where}: date must be a day in quotes, such as "2026-11-29"') from None
    named = list(_flat("", entry["of"]))
    if wrong := [what for what, stated in named if not isinstance(stated, str)]:
        raise ConfigError(f"{where}: write the digest of {wrong[0]} in quotes")
    reason = f"{entry['date']}: {' '.join(entry['why'].split())}"
    return [(pair, reason) for pair in named]


def _flat(above: str, block: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """`{"claims/har": {"a": ..., "b": ...}}` as `claims/har/a` and `claims/har/b`."""
    for key, value in block.items():
        name = f"{above}/{key}" if above else str(key)
        if isinstance(value, dict):
            yield from _flat(name, value)
        else:
            yield name, value
