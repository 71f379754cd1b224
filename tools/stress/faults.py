"""Faults of disks, clocks and power, for processes that begin with `surroundings/sitecustomize.py`."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

SURROUNDINGS = Path(__file__).parent / "surroundings"


class Faults:
    """The faults of the processes whose environment has `environment`; none at first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def environment(self, path: str) -> dict[str, str]:
        """What a process needs to have them; `path` is the PYTHONPATH that it has without."""
        return {"PYTHONPATH": f"{SURROUNDINGS}{os.pathsep}{path}", "STRESS_FAULTS": str(self.folder)}

    @contextlib.contextmanager
    def full(self, folder: Path, call: str) -> Iterator[None]:
        """In this context the disk of a folder is full, which `call` finds out: `open` or `fsync`."""
        self._say("full", f"{folder}\n{call}")
        try:
            yield
        finally:
            (self.folder / "full").unlink()

    def set_clock(self, seconds: float, files: Path) -> None:
        """Let clocks be wrong by so many seconds from now on, and the files of a folder be of that time."""
        self._say("clock", str(seconds))
        for path in (Path(folder, name) for folder, _, names in os.walk(files) for name in names):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                os.utime(path, (time.time() + seconds,) * 2)

    def end_at_rename(self, when: str) -> None:
        """Have the process that next gives a file its name end `before` or `after` that."""
        self._say("rename", when)

    def has_ended_one(self) -> bool:
        """Whether `end_at_rename` has found its process."""
        return not (self.folder / "rename").exists()

    def forget_rename(self) -> None:
        (self.folder / "rename").unlink(missing_ok=True)

    def _say(self, name: str, text: str) -> None:
        """Write a file whole or not at all."""
        new = self.folder / f".{name}"
        new.write_text(text, encoding="utf-8")
        new.replace(self.folder / name)
