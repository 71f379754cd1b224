"""Files that are whole or not there, and JSON that states its own digest.

    write(path, text_or_bytes)             # a small file in one go
    with atomic_file(path) as file: ...    # a large one, piece by piece
    put_in_place(made, path)               # one that another program made
    read(path)                             # the object in a JSON file; every JSON that is read goes by this or `parse`

A sealed JSON has one text only, that of `text_of`. The same values in another spelling are a file that was changed.
"""

import codecs
import contextlib
import glob
import hashlib
import json
import math
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from reweigh.digest import canonical, digest
from reweigh.terminal import printable

LEFTOVER_SECONDS = 3600  # a temporary file that nobody wrote to for so long belongs to a process that was killed


def seal(body: dict[str, Any]) -> dict[str, Any]:
    """The body with its `digest`: that of all its other keys.

    >>> body = seal({"steps": 10})
    >>> digest_of(body) == body["digest"]
    True
    """
    return {**body, "digest": digest_of(body)}


def digest_of(body: dict[str, Any]) -> str:
    """The digest that a sealed body must state."""
    return digest({key: value for key, value in body.items() if key != "digest"})


def text_of(body: dict[str, Any]) -> str:
    """JSON with one key per line, so that a diff shows what changed; a long list stays on one line.

    >>> print(text_of({"run": "a/seed0", "curve": [0.5, 0.25]}), end="")
    {
     "curve": [0.5,0.25],
     "run": "a/seed0"
    }
    """
    return _lined(_parts(body))


def parse(content: bytes) -> dict[str, Any]:
    """The object in a JSON text. Raises ValueError, in one line, for what RFC 8259 forbids or leaves open.

    That is, besides a text that is no JSON or no object: NaN and the infinities, numbers beyond a float, the same name
    twice in one object, halves of characters, another encoding than UTF-8 or a mark before it, and nesting that is
    deeper than Python can follow.

    >>> parse(b'{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: it has 'a' twice
    """
    numbers: dict[str, Any] = {"parse_int": _whole, "parse_float": _finite} if _may_be_huge(content) else {}
    try:
        body = json.loads(content.decode(), parse_constant=_refuse, object_pairs_hook=_once, **numbers)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8, from byte {error.start} on") from None
    except json.JSONDecodeError as error:
        mark = content.startswith(codecs.BOM_UTF8)
        raise ValueError("a byte-order mark stands before it" if mark else f"it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(body, dict):
        raise ValueError(f"it is not an object but {str(body)[:20]!r}")
    if _MAY_BE_HALF.search(content):
        _check_characters(body)
    return body


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object in a JSON file, see `parse`. Raises ValueError in one line that names the file, and OSError."""
    try:
        return parse(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{printable(path)}: {error}") from None


def misshapen(value: Any, shape: Any, where: str = "its top") -> str | None:
    """Where a value has not the shape that it should have; None if it has it.

    A shape is a type (an `int` counts from 0), several of which one will do, a list with the shape of all elements, or
    a dictionary with those of some names, `...` standing for any other.

    >>> misshapen({"run": "a", "steps": ["1"]}, {"run": str, "steps": [int]})
    'its top, steps, 0'
    """
    if isinstance(shape, tuple):
        return where if all(misshapen(value, one) is not None for one in shape) else None
    if shape is None or isinstance(shape, type):
        fits = value is None if shape is None else type(value) is shape  # true is no number
        return None if fits and not (isinstance(value, int) and value < 0) else where
    if type(value) is not type(shape):
        return where
    if isinstance(shape, list):
        below = [(one, shape[0], f"{where}, {number}") for number, one in enumerate(value)]
    else:
        if missing := [name for name in shape if name is not ... and name not in value]:
            return f"{where}, {missing[0]}"
        known = {name: one for name, one in value.items() if name in shape or ... in shape}
        below = [(one, shape.get(name, shape.get(...)), f"{where}, {name}") for name, one in known.items()]
    return next((found for found in (misshapen(*one) for one in below) if found is not None), None)


def altered(body: dict[str, Any], content: bytes) -> str:
    """How a file with this content and body differs from what was written; empty if it does not. Never raises."""
    try:
        parts = _parts(body)
    except (ValueError, RecursionError) as error:
        return f"it holds what has no digest ({error})"
    # The canonical text of the other keys, joined here: planning reads thousands of records, and this halves the time.
    rest = ",".join(f"{key}:{value}" for key, value in parts.items() if key != '"digest"')
    actual = hashlib.sha256(f"{{{rest}}}".encode()).hexdigest()
    if actual != body.get("digest"):
        return f"its content has digest {actual[:12]} but it says {str(body.get('digest'))[:12]}"
    return "" if _lined(parts).encode() == content else "its values are as they were, but not its text"


def _parts(body: dict[str, Any]) -> dict[str, str]:
    """The canonical text of each key -> that of its value, in the order of the keys."""
    return {json.dumps(key): canonical(body[key]).decode() for key in sorted(body)}


def _lined(parts: dict[str, str]) -> str:
    return "{\n" + ",\n".join(f" {key}: {value}" for key, value in parts.items()) + "\n}\n"


# Which texts need a closer look: numbers with an exponent of three digits or with hundreds of digits are rare, and so
# are escapes of halves of characters. Planning reads thousands of records: these patterns begin with one letter each.
_EXPONENTS = [re.compile(rb"%c\+?[0-9]{3,}+[\s,\]}]" % letter) for letter in b"eE"]
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_MAY_BE_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def _may_be_huge(content: bytes) -> bool:
    return 300 * b"0" in content.translate(_ZEROS) or any(form.search(content) for form in _EXPONENTS)


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not a number in JSON")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text[:20]} is too large for a number")
    return number


def _whole(text: str) -> int:
    _finite(text)
    return int(text)


def _check_characters(body: dict[str, Any]) -> None:
    """Raise ValueError for a text that has half of a character, which no file and no terminal takes."""
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it has half of a character (a lone surrogate)") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {next(name for name in body if names.count(name) > 1)[:20]!r} twice")
    return body


# --- files that are whole or not there -------------------------------------------------------------------------------


def write(path: str | Path, content: str | bytes) -> Path:
    """Write a whole file (see `atomic_file`); its path."""
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return Path(path)


@contextlib.contextmanager
def atomic_file(path: str | Path, previous: Path | None = None) -> Iterator[BinaryIO]:
    """A binary file to write, that gets its name only when it is whole and on the disk. Makes the folders above it.

    Whoever reads `path` meanwhile finds the old content; after a kill or a power cut it is the old content or the new.
    If the block raises, `path` is left as it was. The temporary file lies beside it as `.NAME.RANDOM.tmp`; one that a
    killed process left is removed when the file is next written, an hour later or more. It is always a new file: a link
    that somebody put in its place is neither followed nor cut short. `previous`: see `put_in_place`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")  # processes of several machines may share it
    try:
        with open(partial, "xb") as file:
            yield file
        put_in_place(partial, path, previous)
    except OSError as error:
        if error.filename in (None, os.fspath(partial)):  # of a full disk the system says no name
            error.filename = os.fspath(path)
        raise
    finally:
        with contextlib.suppress(OSError):  # where nothing can be removed, the error of the block is what counts
            partial.unlink()


def put_in_place(made: str | Path, path: str | Path, previous: Path | None = None) -> None:
    """Give a finished file its name, in one step, with its content and its name on the disk. Both on one file system.

    Without the first sync a power cut could leave the name with no content, without the second the old file. `previous`
    is the name that the old file has from now on; for a moment there is then that one alone, and none at `path`.
    """
    _sync(made)
    if previous is not None:
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, previous)
    os.replace(made, path)
    with contextlib.suppress(OSError):  # some network file systems sync no folders
        _sync(Path(path).parent)


def rename(path: Path, other: Path) -> None:
    """Give a file another name in its folder, in the place of what has it."""
    os.replace(path, other)


def _sync(path: str | Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of `path` that a killed process left; younger ones may still be written."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                leftover.unlink()
