"""What the bench gives each method: the title of its line, the options that its step is timed with.

    entries()      # of every method that is timed, by its module

They stand on the methods' cards, which need pydantic. A bare GPU machine has none: there the bench reads
`entries.json`, which says the same (tests/bench/test_bare.py compares them). To write it again:

    python -c 'from reweigh.bench import entries; entries.write()'
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reweigh import canonical_json

PATH = Path(__file__).with_name("entries.json")


class Entry(NamedTuple):
    """A method's title and options; how often it learns with them; whether it is plain training."""

    title: str
    options: Mapping[str, Any]
    cycle: int
    plain: bool


@functools.cache
def entries() -> dict[str, Entry]:
    """By module, plain training first."""
    try:
        return on_cards()
    except ModuleNotFoundError as error:
        if error.name != "pydantic":
            raise
    return {name: Entry(**entry) for name, entry in json.loads(PATH.read_text(encoding="utf-8")).items()}


def on_cards() -> dict[str, Entry]:
    """What the cards say."""
    from reweigh.config.cards import methods

    cards = sorted(methods().items(), key=lambda item: not item[1].plain)
    return {
        name: Entry(card.bench.title, dict(card.bench.options), card.cycle(card.bench.options), card.plain)
        for name, card in cards
        if card.bench
    }


def plain() -> str:
    """The module of plain training."""
    return next(name for name, entry in entries().items() if entry.plain)


def cycle_of(uses: str, options: Mapping[str, Any]) -> int:
    """How often a method with these options learns, by its card: every so many steps. 1 for a method without one."""
    try:
        from reweigh.config.cards import methods
    except ModuleNotFoundError as error:
        if error.name != "pydantic":
            raise
        entry = entries().get(uses)
        return entry.cycle if entry and entry.options == options else 1
    card = methods().get(uses)  # an old record may name a method that is no longer there
    return card.cycle(options) if card else 1


def text() -> str:
    """The content of `entries.json`."""
    return json.dumps({name: entry._asdict() for name, entry in on_cards().items()}, indent=1) + "\n"


def write() -> None:
    """Write `entries.json`."""
    canonical_json.write(PATH, text())
