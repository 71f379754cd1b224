"""Whether the code that runs is that of the project in which it runs.

A copied or renamed folder with its `.venv` runs the code of the folder in which that was made: edits would do nothing,
and records would be called current that are not.
"""

from pathlib import Path

from reweigh.digest import PACKAGE
from reweigh.errors import ConfigError
from reweigh.records.commit import SOURCE, source_digest_of
from reweigh.terminal import printable


def check(root: str | Path = ".", package: Path = PACKAGE) -> None:
    """Raise ConfigError if the project in `root` has code of its own, and what runs (`package`) is other code.

    A copy of the same code does as well. So does an installed one for a project that has none of its own.
    """
    own = Path(root, SOURCE)
    if not (own / "__init__.py").is_file() or own.samefile(package):
        return
    if source_digest_of(own) == source_digest_of(package):
        return
    here = Path(root).resolve()
    there = package.parents[1] if package.parts[-2:] == ("src", "reweigh") else package
    raise ConfigError(
        f"this is the code of {printable(there)}, the project here is {printable(here)}, whose code differs: "
        "run make setup here, and activate its .venv"
    )
