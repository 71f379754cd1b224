"""Disks of one megabyte, which a test fills or makes read-only. Only root may have one."""

import contextlib
import shutil
import subprocess


def mount(folder, *options):
    """Mount a disk at `folder`, or change its options; whether that was allowed."""
    command = ["mount", "-t", "tmpfs", "-o", ",".join(("size=1m", *options)), "tmpfs", str(folder)]
    return shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0


def unmount(folder):
    subprocess.run(["umount", str(folder)], capture_output=True)


def fill(folder):
    """Leave no byte free on the disk of a folder."""
    with contextlib.suppress(OSError), open(folder / "filler", "wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass


def names(folder):
    """All that lies in a folder, by its path there, but for what fills it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != "filler")
