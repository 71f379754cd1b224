"""The lines that the notebook of a figure would write into its csv now, without running the notebook.

A notebook names a kind of figure and calls its `rows` with values that stand in the notebook:

    from reweigh.plots import ridges
    rows = ridges.rows(material, setting="rho0.02", method="tdr")

This is read as syntax, and only `rows` of a module of reweigh.plots is called. So a csv can be held against all that it
should say: every column, no line too many and none too few, in this order. That is the code that made the csv; its
numbers are computed a second time, by other code, in `provenance.recompute`.
"""

import ast
import contextlib
import csv
import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reweigh import canonical_json
from reweigh.analysis.rows import Row, write_csv
from reweigh.analysis.tables import material_of
from reweigh.config.grid import Config
from reweigh.config.names import ArtifactName
from reweigh.provenance import recompute

Line = dict[str, str]
KINDS = "reweigh.plots"
NUMERIC = {name for name, kind in Row.__annotations__.items() if kind in (int, float, int | None, float | None)}


class Call(NamedTuple):
    """`module.rows(material, *arguments, **options)`."""

    module: str
    arguments: list[Any]
    options: dict[str, Any]


def unlike_its_notebook(
    lines: list[Line], config: Config, artifact: ArtifactName, records: dict[str, dict[str, Any]]
) -> str:
    """How the csv of an artifact differs from what its notebook gives now; empty if it does not.

    Also empty where that cannot be said: the notebook does not call a kind of figure as above, or the kind gives other
    bits on other machines. `records` are the sound ones, by run.
    """
    scale, paper, name = artifact
    call = call_of(config.root / config.artifact(paper, name).notebook)
    module = None if call is None else importlib.import_module(call.module)
    if call is None or not getattr(module, "SAME_EVERYWHERE", True):
        return ""
    rows = module.rows(material_of(config, scale, paper, name, records), *call.arguments, **call.options)  # type: ignore[union-attr]
    text = io.StringIO()
    write_csv(rows, text)
    expected = list(csv.DictReader(io.StringIO(text.getvalue())))
    elsewhere = _computed_elsewhere(lines, expected)
    return _first_difference(
        [(place, line) for place, line in enumerate(lines, start=2) if line.get("title") not in elsewhere],
        [line for line in expected if line.get("title") not in elsewhere],
    )


def call_of(notebook: Path) -> Call | None:
    """The call that makes a notebook's `rows`; None if it has none whose arguments stand in it."""
    try:
        statements = list(_statements(notebook))
    except (OSError, ValueError, KeyError, TypeError, SyntaxError):
        return None
    kinds, names = dict[str, str](), dict[str, Any]()
    for statement in statements:
        match statement:
            case ast.ImportFrom(module=str(package), names=aliases) if f"{package}.".startswith(f"{KINDS}."):
                kinds |= {alias.asname or alias.name: f"{package}.{alias.name}" for alias in aliases}
            case ast.Assign(
                targets=[ast.Name(id="rows")],
                value=ast.Call(
                    func=ast.Attribute(value=ast.Name(id=kind), attr="rows"),
                    args=[ast.Name(id="material"), *arguments],
                    keywords=keywords,
                ),
            ) if kind in kinds:
                try:
                    options = {str(one.arg): _value(one.value, names) for one in keywords}
                    return Call(kinds[kind], [_value(one, names) for one in arguments], options)
                except ValueError:
                    return None
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                with contextlib.suppress(ValueError):
                    names[name] = _value(value, names)
    return None


def _statements(notebook: Path) -> Iterator[ast.stmt]:
    for cell in canonical_json.read(notebook)["cells"]:
        if cell["cell_type"] == "code":
            yield from ast.parse("".join(cell["source"])).body


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    """A literal, in which names may stand for earlier ones. Raises ValueError for anything else."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.List(elts=parts):
            return [_value(part, names) for part in parts]
        case ast.Tuple(elts=parts):
            return tuple(_value(part, names) for part in parts)
        case ast.Call(func=ast.Name(id="with_beside"), args=[ast.Name(id="material"), panels]):
            return _value(panels, names)  # what is in git shows no method beside its own
    raise ValueError(f"{ast.unparse(node)} is no value")


def _computed_elsewhere(lines: list[Line], expected: list[Line]) -> set[str]:
    """Titles of what is computed from files that are here and were not there then, or the other way round."""
    then, now = (
        {status: {line.get("title", "") for line in side if line.get("status") == status} for status in _STATUS}
        for side in (lines, expected)
    )
    return {title for one, other in (_STATUS, _STATUS[::-1]) for title in then[one] & now[other]}


_STATUS = ("computed", "not run")


def _first_difference(lines: list[tuple[int, Line]], expected: list[Line]) -> str:
    for (place, line), should in zip(lines, expected, strict=False):
        for name in {**should, **line}:
            if told := _difference(name, line.get(name, ""), should.get(name, "")):
                return f"line {place}: {name} {told}"
    return "" if len(lines) == len(expected) else f"{len(lines)} lines, should be {len(expected)}"


def _difference(name: str, stated: str, expected: str) -> str:
    if name in NUMERIC and (value := recompute.number(expected)) is not None:
        return recompute.difference(stated, value)
    return recompute.difference(stated, expected)
