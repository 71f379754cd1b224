"""Where the values of a paper's file come from: `{value: 0.01, source: "paper §4.1"}` taken apart."""

from collections.abc import Iterable, Mapping
from typing import Any

Path_ = tuple[str, ...]


def without_sources(tree: Any, path: Path_ = ()) -> tuple[Any, dict[Path_, str]]:
    """Take `{value: v, source: s}` apart: the tree with `v` in its place, and `s` by path; it covers all below."""
    sources: dict[Path_, str] = {}
    if isinstance(tree, dict) and set(tree) == {"value", "source"}:
        sources[path] = str(tree["source"])
        tree = tree["value"]
    if isinstance(tree, dict):
        plain = {}
        for key, value in tree.items():
            plain[key], below = without_sources(value, (*path, str(key)))
            sources |= below
        return plain, sources
    return tree, sources


def source_of(sources: Mapping[Path_, str], path: Path_) -> str:
    """The source of the value at `path`: its own, or that of the nearest block around it; empty if there is none."""
    return next((sources[path[:end]] for end in range(len(path), 0, -1) if path[:end] in sources), "")


def leaves(tree: Mapping[str, Any], path: Path_ = ()) -> Iterable[Path_]:
    """The paths of all values of a tree; a schedule is one value."""
    for key, value in tree.items():
        if isinstance(value, dict) and value and key != "schedule":
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)
