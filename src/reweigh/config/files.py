"""The YAML files below config/: each value with the file and line where it stands, and with its source.

    read(root / "config/config.yaml", "config/config.yaml")     # a Node
    paper(root, "tdr")                                          # the files of a folder as one Node

`reweigh.config.inherit` then writes out what `like` and `grid` stand for.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from reweigh.config.home import CONFIG
from reweigh.errors import ConfigError
from reweigh.listing import visible
from reweigh.strict_yaml import MERGE, TEXT, Loader, ambiguous, problem

METHODS, PROTOCOLS, PAPERS = "config/methods", "config/protocols", "config/papers"
TEMPLATE, CARDS = "config/local.yaml", "data/local"  # of papers for a user's own data
CHOICES = f"{CARDS}/compare"
PUBLISHED = "data/published"  # the numbers of the papers: no YAML, but checked with it
SHARED = ("methods", "protocols", "blocks")
MOST = 200_000  # values of one file; the largest has a hundredth, and aliases of aliases can stand for billions

Keys = tuple[str, ...]


class UnreadError(ConfigError):
    """A file that is no YAML: nothing is known of what it says."""


class Place(NamedTuple):
    """Where something stands: a file below the project's folder, and a line of it, from 1 on."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(slots=True)  # not frozen, which would make reading half as fast; nothing changes one all the same
class Node:
    """A value of a file: a plain scalar, a list of nodes or a dictionary of nodes; where it stands; its source.

    `apart` is set where a block has a parent of its own (`like`): it is not laid over another block.
    """

    value: Any
    place: Place
    source: str | None = None
    apart: bool = False

    @property
    def is_block(self) -> bool:
        """Whether it holds keys and values."""
        return isinstance(self.value, dict)

    def with_value(self, value: Any) -> "Node":
        """The same place and source with another value."""
        return Node(value, self.place, self.source, self.apart)


def stamp(root: Path) -> tuple[tuple[str, int, int], ...]:
    """Every file that the config is checked with, and the time and size by which a change is seen: a cheap key."""
    paths = [root / CONFIG, *local_files(root)]
    for folder in (METHODS, PROTOCOLS, PAPERS):
        paths += visible(root / folder, "**/*.yaml")
    paths += visible(root / PUBLISHED, "*.csv")
    return tuple((str(path.relative_to(root)), *_stamp(path)) for path in paths)


def local_files(root: Path) -> list[Path]:
    """The files of which papers for a user's own data are made (`reweigh.config.local`)."""
    if not (root / TEMPLATE).is_file():
        return []
    return [root / TEMPLATE, *(path for folder in (CARDS, CHOICES) for path in visible(root / folder, "*.yaml"))]


def local_names(root: Path) -> list[str]:
    """The data sets of a user's own: the cards that `reweigh import` wrote."""
    return [path.stem for path in local_files(root) if path.parent == root / CARDS]


def paper_names(root: Path) -> list[str]:
    """The papers: the folders of config/papers. Raises ConfigError for a file there, or a folder without paper.yaml."""
    names = []
    for path in visible(root / PAPERS, "*"):
        if path.suffix == ".yaml":
            raise ConfigError(
                f"{PAPERS}/{path.name}: a paper is a folder; move this to {PAPERS}/{path.stem}/paper.yaml"
            )
        if visible(path, "**/*.yaml"):
            names.append(path.name)
            if not (path / "paper.yaml").is_file():
                raise ConfigError(f"{PAPERS}/{path.name} has no paper.yaml, which states title, citation and url")
    return names


def paper(root: Path, name: str) -> Node:
    """All files of a paper's folder as one block: first those of the folder itself, then those of its subfolders.

    Entries of methods that cannot be read are left out, see `unread`.
    """
    folder, lost = root / PAPERS / name, unread(root, name)
    nested = [path for path in visible(folder, "**/*.yaml") if path not in lost]
    return _together(
        root, sorted(nested, key=lambda path: len(path.relative_to(folder).parts)), f"{PAPERS}/{name}/paper.yaml"
    )


def unread(root: Path, name: str) -> dict[Path, str]:
    """The files in a paper's folder `methods` that are no YAML, and what is wrong with each.

    One of them has a method's entry, as a rule, by which the file is named. So it is in the way of what needs this
    method, and of nothing else.
    """
    found = {}
    for path in visible(root / PAPERS / name / "methods", "*.yaml"):
        try:
            read(path, str(path.relative_to(root)))
        except UnreadError as error:
            found[path] = str(error)
    return found


def shared(root: Path) -> Node:
    """All files of config/methods and config/protocols as one block; empty if there is none."""
    paths = [path for folder in (METHODS, PROTOCOLS) for path in visible(root / folder, "*.yaml")]
    return _together(root, paths, "config")


def read(path: Path, label: str) -> Node:
    """The content of a file, as a block. Raises ConfigError with file and line where it is not one."""
    return _read(path, label, _stamp(path))


def plain(node: Node) -> Any:
    """The values alone, without places and sources."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def with_sources(node: Node) -> Any:
    """The values as a file would have them: with their sources, `{value: ..., source: ...}`."""
    value = node.value
    if isinstance(value, dict):
        value = {key: with_sources(child) for key, child in value.items()}
    elif isinstance(value, list):
        value = [with_sources(child) for child in value]
    return value if node.source is None else {"value": value, "source": node.source}


def places(node: Node, by_id: bool = False) -> dict[Keys, Place]:
    """Where each key stands, by its path; an element of a list has its number as key, or its `id` if it has one."""
    return {keys: one.place for keys, one in _walk(node, by_id)}


def nearest(places: dict[Keys, Place], keys: Sequence[str]) -> str:
    """Where the key at this path stands; if it stands nowhere, the innermost block above it that does."""
    return str(next(places[tuple(keys[:end])] for end in range(len(keys), -1, -1) if tuple(keys[:end]) in places))


def sources(node: Node) -> dict[Keys, str]:
    """The sources by path; one covers everything below it that has none of its own."""
    return {keys: one.source for keys, one in _walk(node) if one.source is not None}


def _walk(node: Node, by_id: bool = False) -> list[tuple[Keys, Node]]:
    """Every node with its path, the outer ones first."""
    found: list[tuple[Keys, Node]] = [((), node)]
    for keys, one in found:  # grows while it is walked
        if isinstance(one.value, dict):
            found += [((*keys, key), child) for key, child in one.value.items()]
        elif isinstance(one.value, list):
            for number, child in enumerate(one.value):
                named = by_id and child.is_block and "id" in child.value
                found.append(((*keys, child.value["id"].value if named else str(number)), child))
    return found


def _is_list(node: Node) -> bool:
    return isinstance(node.value, list)


# --- one file ---


def _stamp(path: Path) -> tuple[int, int]:
    """Time and size of a file; of one that is not there, as behind a link to nothing, what no file has."""
    try:
        about = path.stat()
    except OSError:
        return 0, -1
    return about.st_mtime_ns, about.st_size


@functools.lru_cache(maxsize=512)
def _read(path: Path, label: str, stamp: tuple[int, int]) -> Node:
    return from_text(_text(path, label), label)


def from_text(text: str, label: str) -> Node:
    """What a text says, as a block. Raises ConfigError with file and line where it is not one."""
    try:
        loader = Loader(text)  # refuses control characters at once
    except yaml.YAMLError as error:
        raise UnreadError(problem(error, label)) from None
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            what = {None: "nothing", yaml.SequenceNode: "a list"}.get(root and type(root), "a single value")
            raise UnreadError(f"{label}: must hold keys and values, holds {what}")
        return _Reader(loader, label).node(root)
    except yaml.YAMLError as error:
        raise UnreadError(problem(error, label, text)) from None
    except RecursionError:
        raise UnreadError(f"{label}: an alias stands inside what it names, or blocks are nested too deep") from None
    finally:
        loader.dispose()


def _text(path: Path, label: str) -> str:
    """What a file says, without the mark that some editors put before it."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadError(f"{label}: not UTF-8, from byte {error.start} on; save it as UTF-8") from None
    except OSError as error:
        why = "a link to a file that is not there" if path.is_symlink() and not path.exists() else error.strerror
        raise UnreadError(f"{label}: cannot be read ({why}); mend or remove it") from None


class _Reader:
    """Makes nodes of those of PyYAML, and counts them."""

    def __init__(self, loader: Any, label: str) -> None:
        self.loader, self.label, self.left = loader, label, MOST

    def node(self, raw: yaml.Node) -> Node:
        self.left -= 1
        if self.left < 0:
            raise UnreadError(f"{self.label}: its aliases stand for more than {MOST:,} values; write `like: NAME`")
        place = Place(self.label, raw.start_mark.line + 1)
        if isinstance(raw, yaml.MappingNode):
            return self._block(raw, place)
        if isinstance(raw, yaml.SequenceNode):
            return self._list(raw, place)
        return Node(self._scalar(raw, place), place)

    def _list(self, raw: yaml.SequenceNode, place: Place) -> Node:
        """A list. A word that stands twice in it is a mistake: no list here means more by that."""
        found, first = [self.node(item) for item in raw.value], dict[str, Place]()
        for one in found:
            if isinstance(one.value, str) and one.value in first:
                where = f"first in line {first[one.value].line}"
                raise ConfigError(f"{one.place}: {one.value!r} stands twice in this list, {where}; keep one of them")
            if isinstance(one.value, str):
                first[one.value] = one.place
        return Node(found, place)

    def _scalar(self, raw: yaml.Node, place: Place) -> Any:
        """A number, true, false, null or a text. PyYAML answers with anything to what only looks like a number."""
        if why := ambiguous(raw):
            raise ConfigError(f"{place}: {why}")
        try:
            return raw.value if raw.tag == TEXT else self.loader.construct_object(raw)
        except yaml.YAMLError:
            raise
        except Exception as error:
            what = " ".join(str(error).split())
            raise ConfigError(f"{place}: {raw.value[:40]!r} cannot be read as {raw.tag}: {what}") from None

    def _block(self, raw: yaml.MappingNode, place: Place) -> Node:
        """A mapping; `{value: ..., source: ...}` is taken apart."""
        children: dict[str, Node] = {}
        for key_node, value_node in raw.value:
            where = Place(place.file, key_node.start_mark.line + 1)
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{where}: a key is a word, not a list or a block")
            key = str(key_node.value)
            if key_node.tag == MERGE:
                raise ConfigError(f"{where}: `<<` is not read here; write `like: NAME`")
            if key in children:
                raise ConfigError(f"{where}: {key!r} stands here twice, first in line {children[key].place.line}")
            child = self.node(value_node)
            child.place = where
            children[key] = child
        if children.keys() == {"value", "source"}:
            return Node(children["value"].value, place, str(children["source"].value))
        return Node(children, place)


# --- several files ---


def _together(root: Path, paths: list[Path], label: str) -> Node:
    """Files as one block. Each may hold any of its keys; entries and list items of one key come from several files."""
    merged = Node({}, Place(label, 1))
    for path in paths:
        merged = _joined(merged, read(path, str(path.relative_to(root))), "")
    return merged


def _joined(first: Node, second: Node, key: str) -> Node:
    joined = dict(first.value)
    for name, child in second.value.items():
        here = f"{key}.{name}" if key else name
        if name not in joined:
            joined[name] = child
        elif not key and joined[name].is_block and child.is_block:
            joined[name] = _joined(joined[name], child, here)
        elif not key and _is_list(joined[name]) and _is_list(child):
            joined[name] = joined[name].with_value([*joined[name].value, *child.value])
        else:
            raise ConfigError(f"{child.place}: {here!r} stands in {joined[name].place} too; keep one of them")
    return first.with_value(joined)
