"""What git has of a project's files at some commits: which blob stands at each path, and the bytes of each blob once.

trees = Trees(root, commits, ("config", "data/published"))
trees.at[commit]["config/config.yaml"]      # a blob's name
trees.now["config/config.yaml"]             # that of the file that is there
trees.content[blob]                         # its bytes
"""

from collections.abc import Iterable
from pathlib import Path

from reweigh.listing import visible
from reweigh.records.commit import git, has_repository
from reweigh.records.history import blob_of, contents

Tree = dict[str, str]  # path -> blob


class Trees:
    """Files below some folders (or single files), at some commits and now. Paths count from the project's folder."""

    def __init__(self, root: Path, commits: Iterable[str], below: tuple[str, ...]) -> None:
        self.content: dict[str, bytes] = {}
        self.is_there = has_repository(root)
        listed = {commit: _tree(root, commit, below) for commit in {*commits, "HEAD"}} if self.is_there else {}
        self.committed = listed.pop("HEAD", None) or {}  # what the checked-out commit has
        self.at = {commit: tree for commit, tree in listed.items() if tree is not None}
        like = next(iter(self.committed.values()), "0" * 40)
        self.now = {path: self._kept((root / path).read_bytes(), like) for path in _files(root, below)}
        self._fetch(root)

    def _kept(self, content: bytes, like: str) -> str:
        """The id that git gives to a blob with this content."""
        blob = blob_of(content, like)
        self.content[blob] = content
        return blob

    def _fetch(self, root: Path) -> None:
        """The bytes of all blobs that are not those of today's files, in one go."""
        wanted = sorted({blob for tree in self.at.values() for blob in tree.values()} - self.content.keys())
        self.content |= {blob: content for blob, (_, content) in contents(root, wanted).items()}


def _tree(root: Path, commit: str, below: tuple[str, ...]) -> Tree | None:
    """The blobs of a commit by path; None if git does not have it."""
    if not commit.isalnum() or (listed := git(root, "ls-tree", "-r", "-z", commit, "--", *below)) is None:
        return None
    entries = (entry.partition("\t") for entry in listed.decode(errors="surrogateescape").split("\0") if entry)
    return {path: about.split()[2] for about, _, path in entries if about.split()[1] == "blob"}


def _files(root: Path, below: tuple[str, ...]) -> list[str]:
    paths = [path for top in below for path in (visible(root / top, "**/*") if (root / top).is_dir() else [root / top])]
    return sorted(path.relative_to(root).as_posix() for path in paths if path.is_file())
