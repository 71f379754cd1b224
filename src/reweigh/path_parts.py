"""Names that become paths. None leads out of the folder below which it stands.

`below` is for names of ours: runs, splits, cells, artifacts. `is_inside` asks of a path that others wrote.
"""

import re
from pathlib import PurePosixPath

from reweigh.errors import ConfigError

# One part: it is no `..`, nothing hidden, not empty, and has no letter that a terminal obeys.
PART = r"(?![.])[^/\s\x00-\x1f\x7f-\x9f]+"
LONGEST_NAME = 255  # bytes, on all usual disks
LONGEST = 200  # letters of a part: a temporary file's name is longer


def below(*parts: str) -> str:
    """The parts, each of one name or several with `/` between them, as one path below some folder.

    Raises ConfigError if it would lead out of that folder, or lie hidden in it.

    >>> below("smoke", "tdr/mnist")
    'smoke/tdr/mnist'
    >>> below("smoke", "../tdr")
    Traceback (most recent call last):
    reweigh.errors.ConfigError: 'smoke/../tdr' is no name below a folder: '..' is not allowed in it
    """
    path = "/".join(map(str, parts))
    for part in path.split("/"):
        if not re.fullmatch(PART, part) or len(part) > LONGEST:
            raise ConfigError(f"{path!r:.100} is no name below a folder: {part!r:.50} is not allowed in it")
    return path


def is_inside(name: str) -> bool:
    """Whether a name, joined to a folder, leads to something in it, links apart. Not the folder itself.

    >>> [is_inside(name) for name in ("a/b.csv", "/etc/passwd", "a/../../b", "", "a\\0b", 300 * "a")]
    [True, False, False, False, False, False]
    """
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or "\0" in name:
        return False
    return all(part != ".." and len(part.encode(errors="surrogatepass")) <= LONGEST_NAME for part in path.parts)
