"""Files that are whole or not there, and JSON that states the digest of itself."""

import json
import os
from pathlib import Path
from typing import Any

from reweigh.digest import canonical, digest


def seal(body: dict[str, Any]) -> dict[str, Any]:
    """The body with its `digest`: that of all its other keys."""
    return {**body, "digest": digest_of(body)}


def digest_of(body: dict[str, Any]) -> str:
    """The digest that a sealed body must state."""
    return digest({key: value for key, value in body.items() if key != "digest"})


def text_of(body: dict[str, Any]) -> str:
    """JSON with one key a line, so that a diff shows what moved; long lists stay on theirs."""
    lines = [f" {json.dumps(key)}: {canonical(body[key]).decode()}" for key in sorted(body)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def write(path: str | Path, content: str | bytes) -> Path:
    """Write a file, and the folders above it; who reads it meanwhile finds the old content or the new. Its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)
    return path
