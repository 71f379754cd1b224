"""Changing a copy of config/ whose papers lie in several files."""

from pathlib import Path


def replace(root: Path, old: str, new: str, below: str = "config/papers/tdr") -> str:
    """Replace a text once, in the first file that has it below a folder (or in one file); its name below `root`."""
    paths = [root / below] if (root / below).is_file() else sorted((root / below).rglob("*.yaml"))
    path = next((path for path in paths if old in path.read_text()), None)
    assert path is not None, f"{old!r} stands nowhere below {below}"
    path.write_text(path.read_text().replace(old, new, 1))
    return str(path.relative_to(root))


def line_of(root: Path, file: str, text: str) -> int:
    """The line of a file, from 1 on, in which a text first stands."""
    return next(number for number, line in enumerate((root / file).read_text().splitlines(), 1) if text in line)
