"""Names of files that others wrote: whether they stay in the folder that they count from."""

from pathlib import PurePosixPath

LONGEST = 255  # bytes of a name, on all usual disks


def is_inside(name: str) -> bool:
    """Whether a name, joined to a folder, leads to something in it, links apart. Not the folder itself.

    >>> [is_inside(name) for name in ("a/b.csv", "/etc/passwd", "a/../../b", "", "a\\0b", 300 * "a")]
    [True, False, False, False, False, False]
    """
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or "\0" in name:
        return False
    return all(part != ".." and len(part.encode(errors="surrogatepass")) <= LONGEST for part in path.parts)
