"""What `grid` and `like` in the config stand for, written out.

`grid: {lambda_: [10.0, 5.0], gamma: [0.5, 0.9]}` in an entry makes one of every combination: `{lambda_}` in its name,
keys and texts is the number in short, and a text that is nothing but `{lambda_}` the value itself.

`like: NAME` gives a block ONE parent, over which it is laid key by key. NAME is an entry beside it, one of the same
kind in config/methods or config/protocols, or one of `blocks`.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reweigh.config.files import Node, plain
from reweigh.config.validation import lookup
from reweigh.errors import ConfigError

WHOLE = ("schedule",)  # blocks that are replaced whole: their keys depend on their name
FIELD = re.compile(r"\{(\w+)(?:\[(\w+)\])?\}")


# --- grid ---


def without_grids(node: Node) -> Node:
    """The block with every entry and list item that has a `grid` written out, in the order of its values."""
    if isinstance(node.value, list):
        return node.with_value([without_grids(one) for item in node.value for _, one in _combined("", item)])
    if not isinstance(node.value, dict):
        return node
    children: dict[str, Node] = {}
    for key, child in node.value.items():
        for name, one in _combined(key, child):
            if name in children:
                raise ConfigError(f"{child.place}: {name!r} comes twice, here and in {children[name].place}")
            children[name] = without_grids(one)
    return node.with_value(children)


def _combined(key: str, node: Node) -> list[tuple[str, Node]]:
    """One entry for each combination of its grid; the entry itself if it has none."""
    if not node.is_block or "grid" not in node.value or isinstance(node.value["grid"].value, list):
        return [(key, node)]  # a list of that name is an option of a method
    body, axes = dict(node.value), node.value["grid"]
    del body["grid"]
    if not axes.is_block or not axes.value or any(not isinstance(one.value, list) for one in axes.value.values()):
        raise ConfigError(f"{axes.place}: grid must hold a list of values for each name, as in {{gamma: [0.5, 0.9]}}")
    rest, found = node.with_value(body), []
    for values in itertools.product(*(one.value for one in axes.value.values())):
        fields = dict(zip(axes.value, (_bare(value) for value in values), strict=True))
        found.append((str(_filled_text(key, fields, node)), _filled(rest, fields)))
    return found


def _bare(node: Node) -> Any:
    if node.is_block:
        return {key: child.value for key, child in node.value.items()}
    return node.value


def _filled(node: Node, fields: Mapping[str, Any]) -> Node:
    """A copy of a block with the fields of a grid in all of its texts; those of a grid inside it stay as they are."""
    value = node.value
    if isinstance(value, dict):
        value = {}
        for key, child in node.value.items():
            inner = child.value["grid"].value if child.is_block and "grid" in child.value else {}
            known = {**fields, **{name: f"{{{name}}}" for name in inner if isinstance(inner, dict)}}
            value[str(_filled_text(key, known, node))] = _filled(child, known)
    elif isinstance(value, list):
        value = [_filled(child, fields) for child in value]
    elif isinstance(value, str):
        value = _filled_text(value, fields, node)
    source = None if node.source is None else str(_filled_text(node.source, fields, node))
    return Node(value, node.place, source)


def _filled_text(text: str, fields: Mapping[str, Any], node: Node) -> Any:
    """A text with the fields of a grid in it; a text that is one field and nothing else is its value."""

    def value_of(match: re.Match[str]) -> Any:
        name, part = match.groups()
        value = lookup("name of the grid", name, fields, str(node.place))
        if value == f"{{{name}}}":
            return match[0]
        return lookup(f"part of {name}", part, value, str(node.place)) if part else value

    if whole := FIELD.fullmatch(text):
        return value_of(whole)
    return FIELD.sub(lambda match: in_short(value_of(match)), text)


def in_short(value: Any) -> str:
    """A value as it stands in a name.

    >>> in_short(10.0), in_short(-0.5), in_short(100), in_short("LT")
    ('10', '-0.5', '100', 'LT')
    """
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- like ---


@dataclass
class Scope:
    """What a `like` can name beside its neighbours: `shared` entries by kind, and the paper's own `blocks`."""

    shared: Mapping[str, Mapping[str, Node]] = field(default_factory=dict)
    blocks: Mapping[str, Node] = field(default_factory=dict)
    _written_blocks: dict[str, Node] = field(default_factory=dict)
    _open: list[tuple[int, str]] = field(default_factory=list)

    def written_out(self, node: Node, kind: str = "") -> Node:
        """The block with the parent of every block in it written out. `kind` is the key that it stands under."""
        if isinstance(node.value, list):
            return node.with_value([self._entry("", {"": item}, {}, "") for item in node.value])
        if not isinstance(node.value, dict):
            return node
        done: dict[str, Node] = {}
        for key in node.value:
            self._entry(key, node.value, done, kind)
        return node.with_value({key: done[key] for key in node.value})

    def _entry(self, key: str, beside: Mapping[str, Node], done: dict[str, Node], kind: str) -> Node:
        """One entry of a block, which is in `done` from then on."""
        if key in done:
            return done[key]
        node = beside[key]
        if not node.is_block or "like" not in node.value:
            done[key] = self.written_out(node, key)
            return done[key]
        body, like = dict(node.value), node.value["like"]
        del body["like"]
        if not isinstance(like.value, str):
            raise ConfigError(f"{like.place}: like must be one name, is {plain(like)!r}")
        if (id(beside), key) in self._open:
            chain = [*(one for _, one in self._open), key]
            raise ConfigError(f"{like.place}: {key} is like itself: {' → '.join(chain[chain.index(key) :])}")
        self._open.append((id(beside), key))
        parent = self._parent(key, like, beside, done, kind)
        own = self.written_out(node.with_value(body), key)
        self._open.pop()
        merged = laid_over(parent, own) if body else parent
        done[key] = Node(merged.value, node.place if body else parent.place, merged.source, apart=True)
        return done[key]

    def _parent(self, key: str, like: Node, beside: Mapping[str, Node], done: dict[str, Node], kind: str) -> Node:
        """The parent that an entry names: one beside it, a shared one of its kind, or a block."""
        name, of_kind = like.value, self.shared.get(kind, {})
        if name in beside and name != key:
            return self._entry(name, beside, done, kind)
        if name in of_kind:
            return of_kind[name]
        if name in self.blocks and beside is not self.blocks:
            return self._entry(name, self.blocks, self._written_blocks, "blocks")
        blocks = self.shared.get("blocks", {})
        known = dict.fromkeys(one for one in (*beside, *of_kind, *self.blocks, *blocks) if one != key or one in blocks)
        lookup(f"parent of {key}" if key else "parent", name, known, str(like.place))
        return blocks[name]


def laid_over(parent: Node, child: Node, key: str = "") -> Node:
    """A child over its parent. Blocks are merged key by key, where neither is to be taken whole:

    a child with a source of its own, or a parent of its own, or without a key; a schedule; a loss of another name.
    """
    if (
        child.source is not None
        or child.apart
        or key in WHOLE
        or not (parent.is_block and child.is_block and child.value)
        or _other_name(parent, child)
    ):
        return child
    merged = {name: _covered(one, parent.source) for name, one in parent.value.items()}
    for name, one in child.value.items():
        merged[name] = laid_over(merged[name], one, name) if name in merged else one
    return Node(merged, child.place)


def _covered(node: Node, source: str | None) -> Node:
    """A value with the source of the block around it, where it has none itself."""
    return node if source is None or node.source is not None else Node(node.value, node.place, source)


def _other_name(parent: Node, child: Node) -> bool:
    """Whether both have a name, and not the same."""
    names = [one.value["name"].value for one in (parent, child) if "name" in one.value]
    return len(names) == 2 and names[0] != names[1]
