"""What each run depends on today, what its record was made from, and so which records are stale.

A grid has thousands of runs, and planning asks for each of them several times. So every answer is computed once: the
spec of a cell (its runs differ only in the seed), the recipe of a split (the methods of a setting share it). Where an
attestation says that an edit of the code changed no number, a record counts as current.
"""

import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.config.grid import Config
from reweigh.config.names import CellName, RunName
from reweigh.digest import digest, file_digest
from reweigh.records import attestations, record


@dataclass(frozen=True, eq=False)
class Dependencies:
    """The digests of spec, code and split of the runs of a config, as they are when they are first asked for."""

    config: Config

    @functools.cache  # noqa: B019 - lives as long as the one process that plans
    def of(self, run: str) -> dict[str, str]:
        """Digests of spec, code and split that a run depends on today.

        With `--config stale=keep`, those that its record was made from. So too for a part of which an attestation says
        that today's code gives the same: its digest stays that of the record, which is the one that Snakemake stored.
        """
        if self.config.project.stale == "keep" and "spec" in (before := self.recorded(run)):
            return before
        name = RunName.parse(run)
        spec, code = self._cell(name.cell)
        now = {"spec": digest({**spec, "seed": name.seed}), "code": code, "split": self.recipe(str(name.split))}
        return {part: self._accepted(run, part, today) for part, today in now.items()}

    @functools.cache  # noqa: B019
    def recipe(self, split: str) -> str:
        """The digest of a split's recipe; a split is named SCALE/PAPER/EXPERIMENT/SETTING/seedN."""
        from reweigh.data.obtain import recipe_digest

        name = RunName.parse(self.config.run_with_split(split))
        spec, _ = self._cell(name.cell)
        return recipe_digest({**spec, "seed": name.seed}, self.config.root / "data")

    def recorded(self, run: str) -> dict[str, str]:
        """The digests of spec, code and split that a run's record was made from; empty if there is no record."""
        return self._read(run)[0]

    def own_digest(self, run: str) -> str:
        """The digest that a run's record states of itself; empty if there is no record, or none that can be read."""
        return self._read(run)[1]

    def current(self, run: str) -> bool:
        """Whether a run has a record that is not stale."""
        return bool(self.recorded(run)) and not self.stale(run)

    def stale(self, run: str) -> list[str]:
        """The parts ("spec", "code", "split") that changed since a run's record was made; none if it has no record."""
        before = self.recorded(run)
        return [part for part, now in self.of(run).items() if now != before.get(part)] if before else []

    @functools.cache  # noqa: B019
    def content(self, run: str) -> str:
        """The digest of a run's record as a file; empty if there is none."""
        return file_digest(self.record(run)) if self.record(run).is_file() else ""

    def record(self, run: str) -> Path:
        """The path of a run's record."""
        return record.record_path(run, self.config.root)

    @functools.cached_property
    def attested(self) -> attestations.Attestations:
        """The attestations of the project."""
        return attestations.load(self.config.root)

    def _accepted(self, run: str, part: str, today: str) -> str:
        """The digest in a run's record, if an attestation says that today's gives the same; else today's."""
        if not self.attested.files:
            return today
        digests, own_digest = self._read(run)
        before = digests.get(part, today)
        return before if self.attested.step(own_digest, part, before, today) else today

    @functools.cache  # noqa: B019
    def _read(self, run: str) -> tuple[dict[str, str], str]:
        """The digests of what a run's record was made from, and the digest of the record itself.

        One that cannot be read is named, and counts as stale in a part that no record has.
        """
        try:
            body = canonical_json.read(self.record(run))
            digests = {
                "spec": body["spec_digest"],
                "code": body["code"]["digest"],
                "split": body["split"]["recipe_digest"],
            }
            own = body.get("digest", "")
            if not all(isinstance(one, str) for one in (*digests.values(), own)):
                raise TypeError("a digest is no text")
            return digests, own
        except FileNotFoundError:
            return {}, ""
        except (OSError, ValueError, LookupError, TypeError) as error:
            why = str(error) if isinstance(error, ValueError) else f"{self.record(run)}: not a record ({error!r})"
            print(f"reweigh: {why}; its run counts as not trained", file=sys.stderr)
            return {"unreadable": ""}, ""

    @functools.cache  # noqa: B019
    def _cell(self, cell: CellName) -> tuple[dict[str, Any], str]:
        """The spec of a cell's run with seed 0, and the digest of the code that all of its runs execute."""
        spec = self.config.resolve(str(cell.run(0)))
        return spec, record.code_digest(spec)


def drawn_by(report: Path) -> str:
    """The digest of the recipe in the report of a split; empty if one of the split's files is missing."""
    try:
        recipe = canonical_json.read(report)["recipe_digest"]
    except (OSError, ValueError, KeyError):
        return ""
    return str(recipe) if report.with_suffix(".npz").is_file() else ""
