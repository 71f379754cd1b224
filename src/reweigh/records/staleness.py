"""What each run depends on today, what its record was made from, and so which records are stale.

A grid has thousands of runs, and planning asks these questions several times of each. Every answer is worked out once:
the spec of a cell (its runs differ in nothing but the seed), the recipe of a split (the methods of a setting share it).
Where an attestation says that an edit of the code changed no number, a record is as good as today's.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reweigh.config.grid import Config
from reweigh.digest import digest, file_digest
from reweigh.records import attestations, record


@dataclass(frozen=True, eq=False)
class Dependencies:
    """The digests of spec, code and split of the runs of a config, as they are at the first time of asking."""

    config: Config

    @functools.cache  # noqa: B019 - lives as long as the one process that plans
    def of(self, run: str) -> dict[str, str]:
        """Digests of what a run depends on today; with `--config stale=keep`, of what its record was made from.

        So too for the parts of which an attestation says that today's code gives the same: a record keeps its own
        digest of them, and with it what Snakemake remembers.
        """
        if self.config.project.stale == "keep" and "spec" in (then := self.then(run)):
            return then
        cell, _, seed = run.rpartition("/")
        spec, code = self._cell(cell)
        split = self.recipe(f"{cell.rpartition('/')[0]}/{seed}")
        now = {"spec": digest({**spec, "seed": _number(seed)}), "code": code, "split": split}
        return {part: self._standing(run, part, today) for part, today in now.items()}

    @functools.cache  # noqa: B019
    def recipe(self, split: str) -> str:
        """The digest of a split's recipe; a split is named SCALE/PAPER/EXPERIMENT/SETTING/seedN."""
        from reweigh.data.obtain import recipe_digest

        run = self.config.run_with_split(split)
        spec, _ = self._cell(run.rpartition("/")[0])
        return recipe_digest({**spec, "seed": _number(run)}, self.config.root / "data")

    @functools.cache  # noqa: B019
    def then(self, run: str) -> dict[str, str]:
        """The digests of spec, code and split that a run's record was made from; empty if there is no record."""
        return self._found(run)[0]

    def stale(self, run: str) -> list[str]:
        """Which of "spec", "code" and "split" a run's record was not made from today's; none if it has no record."""
        then = self.then(run)
        return [part for part, now in self.of(run).items() if now != then.get(part)] if then else []

    @functools.cache  # noqa: B019
    def content(self, run: str) -> str:
        """The digest of a run's record as a file; empty if there is none."""
        return file_digest(self.record(run)) if self.record(run).is_file() else ""

    def record(self, run: str) -> Path:
        return record.record_path(run, self.config.root)

    @functools.cached_property
    def attested(self) -> attestations.Attestations:
        """The attestations of the project."""
        return attestations.load(self.config.root)

    def _standing(self, run: str, part: str, today: str) -> str:
        """The digest of a run's record for which today's stands by an attestation; else today's."""
        if not self.attested.files:
            return today
        then, stated = self._found(run)
        before = then.get(part, today)
        return before if self.attested.step(stated, part, before, today) else today

    @functools.cache  # noqa: B019
    def _found(self, run: str) -> tuple[dict[str, str], str]:
        """What a run's record says that it was made from, and the digest that it states of itself."""
        try:
            body = json.loads(self.record(run).read_bytes())
            then = {
                "spec": body["spec_digest"],
                "code": body["code"]["digest"],
                "split": body["split"]["recipe_digest"],
            }
            return then, body.get("digest", "")
        except FileNotFoundError:
            return {}, ""
        except (ValueError, KeyError, TypeError):
            return {"unreadable": ""}, ""

    @functools.cache  # noqa: B019
    def _cell(self, cell: str) -> tuple[dict[str, Any], str]:
        """The spec of a cell's first run, and the digest of the code that all of its runs execute."""
        spec = self.config.resolve(f"{cell}/seed0")
        return spec, record.code_digest(spec)


def drawn_by(report: Path) -> str:
    """The digest of the recipe that a split's report says it was drawn by; empty if its files are not there."""
    try:
        recipe = json.loads(report.read_bytes())["recipe_digest"]
    except (OSError, ValueError, KeyError):
        return ""
    return str(recipe) if report.with_suffix(".npz").is_file() else ""


def _number(run: str) -> int:
    return int(run.rpartition("seed")[2])
