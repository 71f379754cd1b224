"""The files of a folder, without what editors and operating systems leave there: `.a.yaml.swp`, `.#a.yaml`, `a.yaml~`.

Python's own patterns do not leave these out: to `Path.glob`, `*` is `.DS_Store` too, and a folder `.ipynb_checkpoints`.
"""

from pathlib import Path, PurePath


def is_leftover(path: PurePath) -> bool:
    """Whether a path, or a folder in it, is hidden or an editor's copy of another. Give it relative to a known folder.

    >>> [is_leftover(PurePath(name)) for name in ("a.yaml", ".#a.yaml", "#a.yaml#", "a.yaml~", ".git/a.yaml")]
    [False, True, True, True, True]
    """
    return any(part[0] == "." or part[-1] == "~" or part[0] == part[-1] == "#" for part in path.parts)


def visible(folder: Path, pattern: str) -> list[Path]:
    """The paths below a folder that fit a pattern of `Path.glob` (`*.yaml`, `**/*.yaml`), sorted; none if it is absent.

    What is hidden, and editors' copies, are left out. The folder itself may be hidden.
    """
    return sorted(path for path in folder.glob(pattern) if not is_leftover(path.relative_to(folder)))
