"""The files of a folder, without what editors and operating systems leave there: `.a.yaml.swp`, `.#a.yaml`, `a.yaml~`.

Python's own patterns do not leave these out: to `Path.glob`, `*` is `.DS_Store` too, and a folder `.ipynb_checkpoints`.
"""

from pathlib import Path, PurePath


def is_leftover(path: PurePath) -> bool:
    """Whether a path, or a folder in it, is hidden or an editor's copy of another. Give it relative to a known folder.

    >>> [is_leftover(PurePath(name)) for name in ("a.yaml", ".#a.yaml", "#a.yaml#", "a.yaml~", ".git/a.yaml")]
    [False, True, True, True, True]
    """
    return any(map(is_leftover_name, path.parts))


def is_leftover_name(name: str) -> bool:
    """The same of a single name, quickly: for folders of a million files."""
    return name[0] == "." or name[-1] == "~" or name[0] == name[-1] == "#"


def visible(folder: Path, pattern: str) -> list[Path]:
    """The paths below a folder that fit a pattern of `Path.glob` (`*.yaml`, `**/*.yaml`), sorted; none if it is absent.

    What is hidden, and editors' copies, are left out. The folder itself may be hidden.
    """
    return sorted(path for path in folder.glob(pattern) if not is_leftover(path.relative_to(folder)))
