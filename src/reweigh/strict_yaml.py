"""YAML that says one thing: no key twice, and no value that is something else than it looks like.

PyYAML reads YAML 1.1, where 010 is 8, 1_000 is 1000, 12:30:00 is 45000, `no` is false and 1e-3 is a text. Here 1e-3 is
a number, as it is from YAML 1.2 on, and each of the others an error that says how to write what is meant.

    read("outer_every: 20")      # plain values
    Loader(text)                 # for those who want the nodes, and `ambiguous` for each scalar
"""

import re
from typing import Any

import yaml

_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
TEXT, MERGE = f"{_TAG}str", f"{_TAG}merge"
_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_SHOWN = 40  # characters of a value that an error repeats


class Loader(_SAFE):
    """PyYAML's safe loader, which refuses a key that stands twice and a value that is not what it looks like."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node. Raises ConstructorError for a scalar that can be read in two ways."""
        if isinstance(node, yaml.ScalarNode) and (why := ambiguous(node)):
            raise yaml.constructor.ConstructorError(None, None, why, node.start_mark)
        return super().construct_object(node, deep)

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> Any:
        """A dictionary. Raises ConstructorError for a key that stands twice."""
        first: dict[str, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key.value, str):
                continue
            line = key.start_mark.line + 1
            if key.value in first:
                why = f"{key.value!r} stands here twice, first in line {first[key.value]}"
                raise yaml.constructor.ConstructorError(None, None, why, key.start_mark)
            first[key.value] = line
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver(f"{_TAG}float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+\Z"), list("-+.0123456789"))


def read(text: str | bytes) -> Any:
    """The values of a text. Raises YAMLError; `problem` has it in one line."""
    return yaml.load(text, Loader=Loader)


def ambiguous(node: yaml.ScalarNode) -> str:
    """Why a value without quotes is not what it looks like, and what to write instead; empty if it is."""
    text, kind = node.value, node.tag.removeprefix(_TAG)
    if node.style:
        return ""
    shown = text[:_SHOWN]
    if node.tag == TEXT:
        is_padded = text[:1] == "0" and text.isdecimal()
        return f"{shown} is a text because of its 0; write {int(text)}, or '{shown}' for a text" if is_padded else ""
    if kind == "bool" and (meant := _WORDS.get(text.lower())):
        return f"{shown} is {meant} by old YAML alone; write {meant}, or '{shown}' if it is a text"
    if kind == "timestamp":
        return f"{shown} is a date, which nothing here takes; write '{shown}', in quotes"
    if kind not in ("int", "float"):
        return ""
    if "_" in text or ":" in text:
        return f"{shown} is a number by old YAML alone; write it in plain digits, or '{shown}' if it is a text"
    if re.fullmatch(r"[-+]?0\d+", text) and kind == "int":
        one, other = int(text), int(text, 8)
        return f"{shown} is octal, {other}, by old YAML alone; write {one} or {other}, or '{shown}' if it is a text"
    return ""


def problem(error: Exception, label: str, text: str = "") -> str:
    """What is wrong with a text, in one line that begins with its label and, where that is known, the line."""
    mark = _mark(error)
    return f"{label}{f':{mark.line + 1}' if mark else ''}: not valid YAML: {cause(error, text)}"


def cause(error: Exception, text: str = "") -> str:
    """What is wrong with a text, in one line, without its place."""
    mark = _mark(error)
    if not isinstance(error, yaml.error.MarkedYAMLError) or mark is None:
        return " ".join(str(error).split())
    lines = text.splitlines()
    if mark.line < len(lines) and "\t" in lines[mark.line][: mark.column + 1]:
        return "a tab; indent with spaces"
    return " ".join(f"{error.context or ''} {error.problem or ''}".split())


def _mark(error: Exception) -> Any:
    return getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
