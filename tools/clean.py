"""`make clean` and `make distclean`: remove caches, or also what was made at small scales, and the environment.

    python3 tools/clean.py [--all]

With `--all` it says first what it will remove; at a terminal it waits for Enter. What git tracks stays, and so does all
of scale paper: its results, and what its unfinished runs have saved.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHES = (".pytest_cache", ".ruff_cache", ".mypy_cache", ".hypothesis")
SOURCES = ("src", "tests", "tools", "notebooks")
SMALL = ("smoke", "quick")
MADE = (
    ".venv", ".snakemake", "logs", "crates", "data/splits", "src/reweigh.egg-info",
    *(f"{folder}/{scale}" for scale in SMALL for folder in ("results", "figures")),
)  # fmt: skip
KEPT, UNFINISHED = ".reweigh", ".reweigh/checkpoints/paper"


def caches(root: Path) -> list[Path]:
    """Folders that tools and Python make for themselves."""
    found = [root / name for name in CACHES]
    for name in SOURCES:
        found += [path for cache in ("__pycache__", ".ipynb_checkpoints") for path in (root / name).rglob(cache)]
    return sorted(path for path in found if path.exists())


def made(root: Path) -> list[Path]:
    """What can be made again in minutes, and is there."""
    saved = [root / KEPT] if not (root / UNFINISHED).exists() else []
    return [path for path in (*(root / name for name in MADE), *saved) if path.exists() or path.is_symlink()]


def tracked(root: Path, path: Path) -> bool:
    """Whether git tracks anything in a folder."""
    try:
        done = subprocess.run(["git", "ls-files", "--", path], cwd=root, capture_output=True)
    except OSError:
        return False
    return bool(done.stdout.strip())


def remove(path: Path) -> None:
    """Remove a folder; of a link to one, the link."""
    path.unlink() if path.is_symlink() else shutil.rmtree(path)


def main(root: Path, everything: bool) -> None:
    """Remove caches; `everything`: also what was made, after saying so."""
    if everything:
        found = [path for path in made(root) if not tracked(root, path)]
        for path in found:
            print(f"removing {path.relative_to(root)}")
        if (root / UNFINISHED).exists():
            print(f"{KEPT} stays: it has unfinished runs of scale paper")
        if found and sys.stdin.isatty():
            input("Enter to go on, Ctrl-C to keep it all: ")
        for path in found:
            remove(path)
    for path in caches(root):
        remove(path)


if __name__ == "__main__":
    try:
        main(ROOT, "--all" in sys.argv)
    except (KeyboardInterrupt, EOFError):
        sys.exit("\nmake: nothing was removed")
    except OSError as error:
        sys.exit(f"make: {error.filename}: {error.strerror}")
