"""Files that are whole or not there, and JSON that states the digest of itself.

Such a JSON has one text only, that of `text_of`: any other spelling of the same values is a file that was changed.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from reweigh.digest import canonical, digest


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
    """JSON with one key a line, so that a diff shows what moved; long lists stay on theirs.

    >>> print(text_of({"run": "a/seed0", "curve": [0.5, 0.25]}), end="")
    {
     "curve": [0.5,0.25],
     "run": "a/seed0"
    }
    """
    return _lined(_parts(body))


def parse(content: bytes) -> dict[str, Any]:
    """The object that a JSON text holds. Raises ValueError for anything that RFC 8259 leaves open or forbids.

    That is: NaN and the infinities, a name twice in one object, nesting deeper than Python follows, another value than
    an object.

    >>> parse(b'{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: it says 'a' twice
    """
    try:
        body = json.loads(content, parse_constant=_refuse, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(body, dict):
        raise ValueError(f"it is no object but {str(body)[:20]!r}")
    return body


def altered(body: dict[str, Any], content: bytes) -> str:
    """How a file with this content and body differs from what `write` left; empty if it does not. Never raises."""
    try:
        parts = _parts(body)
    except (ValueError, RecursionError) as error:
        return f"it holds what has no digest ({error})"
    # The canonical text of the rest, put together here: thousands of records are read, and this takes half the time.
    rest = ",".join(f"{key}:{value}" for key, value in parts.items() if key != '"digest"')
    found = hashlib.sha256(f"{{{rest}}}".encode()).hexdigest()
    if found != body.get("digest"):
        return f"its content has digest {found[:12]} but it says {str(body.get('digest'))[:12]}"
    return "" if _lined(parts).encode() == content else "its values are as they were, but not its text"


def _parts(body: dict[str, Any]) -> dict[str, str]:
    """The canonical text of each key -> that of its value, in the order of the keys."""
    return {json.dumps(key): canonical(body[key]).decode() for key in sorted(body)}


def _lined(parts: dict[str, str]) -> str:
    return "{\n" + ",\n".join(f" {key}: {value}" for key, value in parts.items()) + "\n}\n"


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it says {next(name for name in body if names.count(name) > 1)[:20]!r} twice")
    return body


def write(path: str | Path, content: str | bytes) -> Path:
    """Write a file, and the folders above it; who reads it meanwhile finds the old content or the new. Its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)
    return path
