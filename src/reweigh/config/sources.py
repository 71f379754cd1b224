"""Where a value of a paper comes from: its source, and the file and line where it stands."""

from collections.abc import Iterable, Mapping
from typing import Any

from reweigh.config.files import Keys, Place


def source_of(sources: Mapping[Keys, str], path: Keys) -> str:
    """The source of the value at `path`: its own, or that of the nearest block around it; empty if there is none."""
    return next((sources[path[:end]] for end in range(len(path), 0, -1) if path[:end] in sources), "")


def place_of(places: Mapping[Keys, Place], path: Keys) -> Place:
    """Where the value at `path` stands, or the nearest block around it that stands anywhere."""
    return next(places[path[:end]] for end in range(len(path), -1, -1) if path[:end] in places)


def leaves(tree: Mapping[str, Any], path: Keys = ()) -> Iterable[Keys]:
    """The paths of all values of a tree; a schedule is one value."""
    for key, value in tree.items():
        if isinstance(value, dict) and value and key != "schedule":
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)
