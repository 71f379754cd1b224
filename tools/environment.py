"""The virtual environment, from the lock: `make setup`. Needs a bare Python 3.11 or later, no package.

    python3 tools/environment.py

Nothing is installed again while `.venv` is whole: made in this folder (a copy or another name of it has scripts that
start the code of the old one), by this Python, from this lock. One that is not is made anew, and one that was
interrupted is completed.
"""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ("envs/requirements.lock", "pyproject.toml")
STAMP = ".lock-sha256"
SCRIPTS = ("reweigh", "snakemake", "pip")
# What a user has set for pip and Python elsewhere, and would send the packages to another place, or nowhere.
ELSEWHERE = ("PIP_DRY_RUN", "PIP_PREFIX", "PIP_ROOT", "PIP_TARGET", "PIP_USER", "PYTHONHOME", "PYTHONPATH")
Call = list[str | Path]


class Failed(Exception):
    """It cannot be set up; the message is one line."""


def wanted(root: Path) -> str:
    """The digest of the lock and of this Python: the contents decide, not the times of a clone or a touch."""
    return hashlib.sha256(b"".join((root / name).read_bytes() for name in FILES) + sys.version.encode()).hexdigest()


def started_by(script: Path) -> Path | None:
    """The Python that a script is started with, by its first two lines; None if it is no script of Python's."""
    try:
        head = "\n".join(script.read_bytes()[:4096].decode(errors="replace").splitlines()[:2])
    except OSError:
        return None
    found = re.search(r"""[!"'](/.*?/bin/python[0-9.]*)(?=["'\s]|$)""", head)
    return Path(found[1]) if found else None


def is_of(venv: Path) -> bool:
    """Whether the scripts of an environment are started with its own Python."""
    made = [python for name in SCRIPTS if (python := started_by(venv / "bin" / name))]
    return all(os.path.realpath(python.parent) == os.path.realpath(venv / "bin") for python in made)


def says(call: Call, environment: Mapping[str, str]) -> str | None:
    """What a command prints; None if it fails or is not there."""
    try:
        return subprocess.run(
            call, capture_output=True, text=True, check=True, env=environment, encoding="utf-8"
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def setup(root: Path = ROOT) -> None:
    """Make or complete the environment if it is not whole. Raises Failed."""
    if os.pathsep in str(root):
        raise Failed(f"{root} has a {os.pathsep} in its name, which PATH cannot hold; rename the folder")
    venv, now = root / ".venv", wanted(root)
    python, stamp = venv / "bin" / "python", venv / STAMP
    environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE} | {"PIP_USER": "0"}
    version = says([python, "-c", "import sys; print(sys.version)"], environment)
    same = version == sys.version.strip() and is_of(venv)
    if (
        same
        and (venv / "bin/reweigh").is_file()
        and stamp.is_file()
        and stamp.read_text(encoding="utf-8").strip() == now
    ):
        return
    stamp.unlink(missing_ok=True)
    if not same or says([python, "-m", "pip", "--version"], environment) is None:
        if venv.exists():
            why = "is not whole" if version is None else "was made elsewhere, or by another Python"
            print(f".venv {why}: made anew", flush=True)
        base = getattr(sys, "_base_executable", sys.executable)  # this may be the Python of the one that is made anew
        called([base, "-m", "venv", "--clear", venv], environment,
               "Python has no working venv; on Debian and Ubuntu: apt install python3-venv")  # fmt: skip
    print("installing the locked packages into .venv (once; torch is large)", flush=True)
    pip: Call = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    packages: tuple[Call, ...] = (["--requirement", root / FILES[0]], ["--no-deps", "--editable", root])
    for some in packages:
        called([*pip, *some], environment, "pip could not install it; the same command goes on from here")
    if not is_of(venv) or started_by(venv / "bin/reweigh") is None:
        raise Failed("pip has installed it somewhere else than into .venv; see: pip config list")
    stamp.write_text(f"{now}\n", encoding="utf-8")


def called(call: Call, environment: Mapping[str, str], otherwise: str) -> None:
    """Run a command, which may print. Raises Failed, with what is `otherwise` the matter."""
    try:
        code = subprocess.run(call, env=environment, cwd=ROOT, check=False).returncode
    except OSError as error:
        raise Failed(f"{error.strerror}: {error.filename}; {otherwise}") from None
    if code:
        raise Failed(otherwise)


if __name__ == "__main__":
    try:
        setup()
    except Failed as error:
        sys.exit(f"make: {error}")
    except OSError as error:
        sys.exit(f"make: {error.filename}: {error.strerror}")
