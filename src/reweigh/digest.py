"""Digests of what a result depends on: JSON values, files, and the source code that a run imports.

All digests are sha256 in lower-case hex. The digest of a source file leaves out comments, docstrings and blank lines,
so that a better explanation makes no result stale; every other character counts.
"""

import ast
import functools
import hashlib
import importlib.util
import io
import json
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from reweigh.errors import ReweighError

PACKAGE = Path(__file__).parent
OURS = "reweigh"


def canonical(value: Any) -> bytes:
    """The one JSON text of `value`: sorted keys, no spaces, ASCII, no NaN. Two equal values give equal bytes.

    >>> canonical({"seed": 0, "data": {"rho": 0.1}})
    b'{"data":{"rho":0.1},"seed":0}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def file_digest(path: str | Path) -> str:
    """sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_digest(text: str) -> str:
    """sha256 of Python source without its comments, docstrings, blank lines and trailing spaces.

    Works on character positions rather than on a syntax-tree dump, so that every Python version gives the same digest.

    >>> source_digest("x = 1  # one\\n") == source_digest("x = 1\\n") != source_digest("x = 2\\n")
    True
    """
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    waiting: list[ast.AST] = [ast.parse(text)]
    while waiting:
        node = waiting.pop()
        waiting += _blocks(node)
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            docstring = node.body[0]
            first, last = docstring.lineno - 1, docstring.end_lineno or docstring.lineno
            lines[first:last] = [""] * (last - first)
    kept = [line.rstrip() for line in lines if line.strip()]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()


def _blocks(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in the blocks of a statement: statements, and arms with blocks of their own; docstrings are there."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        if isinstance(inside := getattr(node, name, ()), list):
            yield from inside


def module_file(module: str) -> Path | None:
    """The file of a module, `None` for a name that is no module (a function, a library that is not installed).

    Modules of this package are sought in it; those of another package where that is installed, without importing it.
    """
    top, *below = module.split(".")
    for folder in [PACKAGE] if top == OURS else _folders(top):
        place = folder.joinpath(*below)
        for candidate in (place.with_suffix(".py"), place / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


@functools.cache
def _folders(top: str) -> tuple[Path, ...]:
    """The folders of a package that is installed; of a module that is one file, its path without the ending."""
    spec = importlib.util.find_spec(top)
    if spec is None:
        return ()
    if spec.submodule_search_locations is not None:
        return tuple(map(Path, spec.submodule_search_locations))
    return (Path(spec.origin).with_suffix(""),) if spec.origin and spec.origin.endswith(".py") else ()


@functools.cache
def _imports(path: Path, module: str) -> tuple[str, ...]:
    """The modules of this package, and of the module's own, that its file imports anywhere, by absolute name.

    Not the root of this package, see below.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    own = module.partition(".")[0]
    return tuple(sorted(name for name in found if name.startswith((f"{OURS}.", f"{own}.")) and module_file(name)))


def is_foreign(key: str) -> bool:
    """Whether a key of a closure is a file of another package: `their_package:sqrtw.py`."""
    return ":" in key


def _key(module: str, path: Path) -> str:
    """What a closure calls the file of a module."""
    top = module.partition(".")[0]
    if top == OURS:
        return path.relative_to(PACKAGE).as_posix()
    inside = next((folder for folder in _folders(top) if path.is_relative_to(folder)), path.parent)
    return f"{top}:{path.relative_to(inside).as_posix()}"


def closure(modules: Iterable[str], follow: Callable[[str], bool] = lambda key: True) -> dict[str, str]:
    """What the given modules run: every file of this package that they import, directly or not -> its source digest.

    Keys are paths relative to the package, e.g. `methods/tdr.py`. Of a module of another package (`reweigh.plugins`)
    its files of that package count too, as `their_package:sqrtw.py`. Modules chosen by name at run time (a method, a
    model, a reader) are not seen from their caller; name them in `modules`.
    Of what they import only files whose key is to `follow` count, and only through these others.
    """
    waiting, files = list(modules), {}
    while waiting:
        module = waiting.pop()
        path = module_file(module)
        if path is None:
            raise ModuleNotFoundError(f"no module {module!r} in this package")
        key = _key(module, path)
        if key not in files:
            files[key] = _digest_of(path)
            waiting.extend(one for one in (*_imports(path, module), *_packages_of(module)) if follow(_name(one)))
    return dict(sorted(files.items()))


def _name(module: str) -> str:
    """The key of a module that has a file."""
    path = module_file(module)
    assert path is not None, module
    return _key(module, path)


def shown_path(path: Path) -> Path:
    """How a source file is named to its reader: ours below our root, one of another distribution by its whole path."""
    root = PACKAGE.parents[1]
    return path.relative_to(root) if path.is_relative_to(root) else path


def _parsed(path: Path) -> ast.Module:
    """The syntax tree of a source file. Raises ReweighError, with file and line, where it is not Python."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except ValueError as error:  # bytes that are no UTF-8, or 0
        raise ReweighError(f"{shown_path(path)}:1: {error}; mend it") from None
    except SyntaxError as error:
        raise ReweighError(f"{shown_path(path)}:{error.lineno or 1}: {error.msg}; mend it") from None


@functools.cache
def _digest_of(path: Path) -> str:
    _parsed(path)
    return source_digest(path.read_text(encoding="utf-8"))


def _packages_of(module: str) -> list[str]:
    """The packages whose `__init__` runs when `module` is imported, but for our root package, which holds a version."""
    parts = module.split(".")
    names = [".".join(parts[:end]) for end in range(2 if parts[0] == OURS else 1, len(parts))]
    return [name for name in names if parts[0] == OURS or module_file(name)]  # a namespace has no file
