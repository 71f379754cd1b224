"""Names that become paths: of runs, splits, cells, artifacts. None leads out of the folder below which it stands."""

import re

from reweigh.errors import ConfigError

# One part: it is no `..`, nothing hidden, not empty, and has no letter that a terminal obeys.
PART = r"(?![.])[^/\s\x00-\x1f\x7f-\x9f]+"
LONGEST = 200  # letters of a part: disks take names of 255 bytes, and a temporary file's is longer


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
