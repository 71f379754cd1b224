"""Snakemake's backup of a record, brought up to date when the run is finished.

The records of a training job are `update` outputs. Before the job, Snakemake copies those that exist to
.snakemake/backups/; if the job fails, it copies them back. A job that finished one run of five and then failed would so
get its old record back, and train that run again. Therefore a finished record also replaces its backup: what Snakemake
restores is then the finished record. A record that was not there before the job has no backup, and stays by itself
(`keep-incomplete` in the profiles).

The place of the backups is not part of Snakemake's documented interface. It is the same in all versions in `KNOWN`;
with any other version nothing is touched, and the log says so.
"""

import functools
import importlib.metadata
import re
import sys
from pathlib import Path

from reweigh import canonical_json

FOLDER = Path(".snakemake") / "backups"
KNOWN = ((9, 19), (10, 0))  # from the first version to before the second; checked in the sources of 9.19.0 and 9.27.1


def replace_backup(record: Path) -> bool:
    """Replace Snakemake's backup of a record by the record; whether there was one. `record` as the rule names it."""
    backup = FOLDER / record
    if not FOLDER.parent.is_dir() or not _is_known_here() or not backup.is_file():
        return False
    canonical_json.write(backup, record.read_bytes())
    return True


def is_known(version: str) -> bool:
    """Whether a version of Snakemake, such as `9.27.1`, keeps its backups where this module looks for them.

    >>> is_known("9.27.1"), is_known("9.4.0"), is_known("10.0.0")
    (True, False, False)
    """
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and KNOWN[0] <= (int(numbers[1]), int(numbers[2])) < KNOWN[1]


@functools.cache
def _is_known_here() -> bool:
    try:
        version = importlib.metadata.version("snakemake")
    except importlib.metadata.PackageNotFoundError:
        return False  # a machine that only trains
    if not is_known(version):
        print(
            f"Snakemake {version} may keep its backups elsewhere: if this job fails, Snakemake may restore old records "
            "over finished ones, whose runs are then trained again",
            file=sys.stderr,
        )
    return is_known(version)
