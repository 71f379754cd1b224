"""Reading every result of a replication as soon as it changes."""

import json
import threading
import time
from pathlib import Path

import numpy as np

from reweigh.digest import digest
from reweigh.errors import RecordError
from reweigh.records import record
from stress.failures import Failure
from stress.replication import Replication


class Watch(threading.Thread):
    """Reads every result as soon as it changes. `faults` says what was not whole, or was whole and went back."""

    def __init__(self, replication: Replication) -> None:
        super().__init__(daemon=True)
        config = replication.config
        self.backups = replication.folder / ".snakemake/backups"
        self.root = replication.folder
        self.wanted = {path: digest(config.resolve(run)) for run, path in replication.paths.items()}
        splits = {replication.folder / "data/splits" / _split(run) for run in replication.paths}
        self.files = [*self.wanted, *(path.with_suffix(".npz") for path in self.wanted), *splits]
        self.files += [path.with_suffix(".npz") for path in splits]
        self.seen: dict[Path, tuple[int, int, int]] = {}
        self.current: set[Path] = set()
        self.faults: list[str] = []
        self.reads, self.stopping = 0, False

    def run(self) -> None:
        while not self.stopping:
            for path in self.files:
                self._look(path)
            time.sleep(0.003)

    def _look(self, path: Path) -> None:
        # Snakemake copies back the record of a job that failed, in place, and then removes its backup: for a moment the
        # record is not whole. It is read again until it is; at the end it must be.
        backup = self.backups / path.relative_to(self.root)
        copied_back = backup.is_file()
        try:
            found = path.stat()
            if (stamp := (found.st_mtime_ns, found.st_ino, found.st_size)) == self.seen.get(path):
                return
            self._read(path)
            self.seen[path] = stamp
            self.reads += 1
        except FileNotFoundError:
            if path in self.current:
                self.faults.append(f"{path} was current and is gone")
        except Exception as error:
            if not copied_back and not backup.is_file():
                self.faults.append(f"{path}: {error!r}")

    def _read(self, path: Path) -> None:
        """Read a file in full; any error is a fault. A record of today's spec may be followed by no other."""
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                _ = [arrays[name] for name in arrays.files]
        elif path not in self.wanted:
            json.loads(path.read_bytes())
        else:
            body = record.read(path)
            if body["spec_digest"] == self.wanted[path]:
                self.current.add(path)
                record.trace_path(path, body)
            elif path in self.current:
                raise RecordError("was current and is stale again")

    def check(self) -> None:
        """Raise Failure if there was a fault."""
        if self.faults:
            raise Failure("\n".join(self.faults[:5]))

    def stop(self) -> None:
        self.stopping = True
        self.join()


def _split(run: str) -> str:
    """Where the report of a run's split lies, below data/splits."""
    setting, _, seed = run.rsplit("/", 2)
    return f"{setting}/{seed}.json"
