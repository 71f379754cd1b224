"""What stands behind one line of a csv: for each of its columns how it was made, from what, and whether it still is.

A line's evidence comes in parts: `runs` (its own), `baseline` (the runs that a gain is measured from), `published` and
`published_baseline` (lines of data/published), `claim` and `family` (the rule, and the p values that Holm's correction
counts), `formula` (what no run feeds), `config` (what names and options come from), `measured`, and `reason` (why there
is nothing).
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from reweigh.analysis.tables import fingerprint, unpack
from reweigh.config import files
from reweigh.config.grid import Config, load, written_out
from reweigh.config.sources import place_of
from reweigh.digest import file_digest
from reweigh.errors import ConfigError
from reweigh.provenance import recompute
from reweigh.provenance.explain import formula, rescore
from reweigh.provenance.explain.columns import Source, sources
from reweigh.provenance.explain.published import PublishedNumbers

Line = dict[str, str]
Chain = tuple[dict[str, Any], dict[str, Any] | None]
SHOWN = ("title", "value")  # names that the config gives and the runs do not hold
HIDDEN = ("runs", "records", "text", "scale_note")


@dataclass
class Table:
    """A csv of the project and what its lines depend on; every record is read once, and only when a line needs it."""

    shown: Path  # below the root
    lines: list[tuple[int, Line]]  # each with its number in the file; the header is line 1
    root: Path

    @cached_property
    def config(self) -> Config:
        return load(self.root)

    @property
    def place(self) -> tuple[str, str, str]:
        """Scale, paper and name of an artifact; empty for other files."""
        parts = self.shown.parts
        return (parts[-3], parts[-2], self.shown.stem) if "figures" in parts[:-3] else ("", "", "")

    @property
    def remedy(self) -> str:
        """The command that makes the file anew."""
        scale, paper, name = self.place
        if name:
            return f"reweigh render figures/{scale}/{paper}/{name}"
        if self.shown.parts[0] == "data":
            return f"git checkout -- {self.shown.as_posix()}"
        return f"reweigh scorecard --scale {self.shown.parent.name}"

    @cached_property
    def _memory(self) -> dict[tuple[str, str], Any]:
        return {}

    def chain(self, run: str, line: Line) -> Chain:
        """The chain of a run, with its value of the line's metric, and its record."""
        if ("run", run) not in self._memory:
            self._memory["run", run] = formula.chain_of(run, self.root)
        facts, body = self._memory["run", run]
        if body is None:
            return facts, None
        value = recompute.value_at(body, line.get("metric", ""), recompute.number(line.get("epoch")))
        return {**facts, "value": value if isinstance(value, int | float) else None}, body

    def published(self, paper: str) -> PublishedNumbers | None:
        """The published numbers of a paper of the config."""
        if ("published", paper) not in self._memory:
            known = self.knows(paper) and paper in self.config.papers
            self._memory["published", paper] = PublishedNumbers(self.config, paper) if known else None
        return self._memory["published", paper]

    @property
    def papers(self) -> list[str]:
        """The papers of the config."""
        return list(self.config.papers)

    def knows(self, paper: str) -> bool:
        """Whether the config has a paper."""
        return bool(paper) and paper in files.paper_names(self.root)

    def config_of(self, paper: str, *keys: str) -> dict[str, Any]:
        """File and line where a paper's config says something; read alone, without checking all papers.

        An element of a list may be asked for by its `id`; of what is not there the block around it is given.
        """
        if ("config", paper) not in self._memory:
            content = written_out(self.root.resolve(), paper)
            told = {"paper": content.value["citation"].value, "url": content.value["url"].value}
            self._memory["config", paper] = (files.places(content, by_id=True), told)
        places, told = self._memory["config", paper]
        place = place_of(places, keys)
        file = {"file": place.file, "line": place.line, "sha256": self._digest_of(place.file)}
        return {**file, **told}

    def _digest_of(self, file: str) -> str:
        if ("digest", file) not in self._memory:
            self._memory["digest", file] = file_digest(self.root / file)
        digest: str = self._memory["digest", file]
        return digest


def cell(number: int, line: Line, table: Table, column: str | None = None) -> dict[str, Any]:
    """Everything behind one line, or behind one column of it, as plain nested values (see `explain.explain`)."""
    return _Cell(number, line, table).told(column)


class _Cell:
    """One line: its evidence, what it should say, and whether it does."""

    def __init__(self, number: int, line: Line, table: Table) -> None:
        self.number, self.line, self.table = number, line, table
        self.paper = line.get("paper") or table.place[1] or line.get("runs", "").partition("/")[2].partition("/")[0]
        self.again: dict[str, Any] = {}
        self.parts: dict[str, Any] = {"runs": []}
        self.check, self.fault, self.unlike = "", "", ""
        try:
            self._look()
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # a field that nothing can be made of
            self.check = f"cannot be computed again: {error if isinstance(error, ValueError) else repr(error)}"
            self.fault = self._remedied(self.check)

    def told(self, column: str | None) -> dict[str, Any]:
        line = self.line
        kept = {name: value for name, value in line.items() if value and name not in HIDDEN}
        columns = {name: self._column(name, source) for name, source in sources(line, column).items() if line.get(name)}
        if column is None:
            check, fault, parts = self.check, self.fault, dict(self.parts)
        else:
            needed = columns[column]["from"] if column in columns else ["reason"]
            parts = {"runs": [], **{name: part for name, part in self.parts.items() if name in needed}}
            check, fault = self._of_column(columns.get(column), parts)
            kept = {name: value for name, value in kept.items() if name in columns or not recompute.is_number(value)}
        if any("config" in one["from"] for one in columns.values()) and self.table.knows(self.paper):
            parts["config"] = self.table.config_of(self.paper, *self._named())
        asked = {} if column is None else {"column": column}
        return {"number": self.number, **asked, "line": kept, "check": check, "fault": fault,
                "columns": columns, **parts}  # fmt: skip

    def _named(self) -> tuple[str, ...]:
        """Where the config names what the line is of: its method, or else its setting or experiment."""
        line = self.line
        if line.get("method"):
            return "methods", line["method"]
        return "experiments", line.get("experiment", ""), "settings", line.get("setting", "")

    def _column(self, name: str, source: Source) -> dict[str, Any]:
        """One field: how it was made, from which parts of the evidence, and whether it would come out the same."""
        text = self.line[name]
        known = [part for part in source.parts if part == "config" or self.parts.get(part)]
        found: dict[str, Any] = {"value": text, "how": source.how, "from": known or ["reason"]}
        if not known:
            self.parts.setdefault("reason", self.line.get("note") or "no record feeds this line")
        if name in self.again:
            told = recompute.difference(text, self.again[name])
            same = "as the config has it" if name in SHOWN else "computed again: the same"
            found["check"] = f"NOT {told}" if told else same
        return found

    def _of_column(self, found: dict[str, Any] | None, parts: dict[str, Any]) -> tuple[str, str]:
        if found is None:
            return f"empty: {self.line.get('note') or 'it does not apply to this line'}", ""
        if self.unlike and self.fault:  # whatever the number is, it is not that of what the line names
            return self.check, self.fault
        if "check" not in found and found["from"] == ["config"]:
            return "not checked by itself: a name or a remark, not a number", self.fault
        if "check" not in found or _gone(parts):
            return self.check, self.fault
        return found["check"], self._remedied(found["check"]) if found["check"].startswith("NOT") else ""

    def _remedied(self, what: str) -> str:
        return f"line {self.number}: {what}; restore the file from git or make it again: {self.table.remedy}"

    # --- gathering ---------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Gather the evidence, compute again what can be, and say whether the line is what it gives."""
        line = self.line
        if "contender" in line:
            self.parts["measured"] = "timed once on the machine that the line names; time it again: reweigh bench"
            self.check = "a measurement: no chain leads further, and another day gives other milliseconds"
            return
        if "table_or_figure" in line:
            self._of_paper()
            return
        runs = unpack(line.get("runs", ""))
        chains = [self.table.chain(run, line) for run in runs]
        self.parts["runs"] = [facts for facts, _ in chains]
        bodies = [body for _, body in chains if body is not None]
        whole = len(bodies) == len(runs)
        current = whole and (not runs or fingerprint(body["digest"] for body in bodies) == line.get("records"))
        if current and bodies:
            self.again |= recompute.line(line, bodies, self.table.root) or {}
        if line.get("kind") == "claim":
            self._claim(bodies if current else [])
        elif line.get("kind") == "number" or line.get("published"):
            self._published(bodies if current else [])
        self._formula(runs)
        self._names(bodies if whole else [])
        self._judge(runs, current)

    def _of_paper(self) -> None:
        """A line of data/published itself: the paper's table, and where the project uses the number."""
        known = next((one for name in self.table.papers if (one := self.table.published(name)) and
                      one.file == self.table.shown.as_posix()), None)  # fmt: skip
        row = known.at(self.number) if known else None
        if known is None or row is None:
            self.check = self.parts["reason"] = "no paper of the config names this file"
            return
        self.parts["published"] = known.fact(row)
        place = f"{known.name}/{'/'.join(row['cell'][:3])}, {row['cell'][3]}" if row["cell"] else "no cell of ours"
        used = f"not judged: {row['excluded']}" if row["excluded"] else f"compared with {place}"
        self.check = f"as the paper states it; {used}"

    def _names(self, bodies: list[dict[str, Any]]) -> None:
        """Whether the line is named as its runs are, and as the config calls method and setting.

        A setting's value may be shown by its label.
        """
        line, papers = self.line, self.table.config.papers if self.table.knows(self.paper) else {}
        if self.paper not in papers or line.get("kind") == "claim":
            return
        named = {name: text for name, text in line.items() if name not in SHOWN}
        self.unlike = recompute.unlike_its_runs(named, bodies, self.table.config, self.paper)
        method = papers[self.paper].methods.get(line.get("method", ""))
        experiment = papers[self.paper].experiments.get(line.get("experiment", ""))
        setting = experiment.settings.get(line.get("setting", "")) if experiment else None
        if method and experiment and "title" in line:
            self.again["title"] = method.title
        if setting and "value" in line:
            value = setting.value if isinstance(setting.value, str) else f"{setting.value:g}"
            self.again["value"] = line["value"] if line["value"] in (value, setting.label) else setting.label or value

    def _published(self, bodies: list[dict[str, Any]]) -> None:
        """The paper's number, and in a scorecard what follows from it and ours."""
        known, line = self.table.published(self.paper), self.line
        if known is None:
            return
        row = known.of_line(line)
        self.again |= {"published": row["mean"], "published_sd": row["sd"]} if row else {"published": None}
        if row is None:
            return
        self.parts["published"] = known.fact(row)
        if line.get("kind") != "number":
            return
        plain = known.of_baseline(row) if row["cell"] and not row["excluded"] else None
        if plain:
            self.parts["published_baseline"] = known.fact(plain)
        gained = plain and row["mean"] is not None and plain["mean"] is not None
        self.again["published_gain"] = row["mean"] - plain["mean"] if plain and gained else None
        if bool(bodies) == bool(line["runs"]):
            theirs = self._baseline(known.baseline) if bodies and line["method"] != known.baseline else []
            again = rescore.number_line(line, bodies, theirs, row)
            whole = not _gone(self.parts)
            self.again |= {name: value for name, value in again.items() if whole or not name.startswith("gain")}

    def _baseline(self, method: str) -> list[dict[str, Any]]:
        """The records of plain training with our runs' seeds, as far as they are there."""
        names = [run["run"].split("/") for run in self.parts["runs"]]
        chains = [self.table.chain("/".join((*name[:4], method, name[5])), self.line) for name in names]
        there = [
            (facts, body) for facts, body in chains if body is not None or (self.table.root / facts["record"]).is_file()
        ]
        self.parts["baseline"] = [facts for facts, _ in there]
        return [body for _, body in there if body is not None]

    def _claim(self, bodies: list[dict[str, Any]]) -> None:
        """The rule of a claim, what its records say of it, and the p values it is corrected among."""
        line, papers = self.line, self.table.config.papers
        claims = papers[self.paper].claims if self.paper in papers else []
        claim = next((one for one in claims if one.id == line["id"]), None)
        if claim is None:
            self.again["id"] = ""  # the config has no such claim now
            return
        rule = {"text": claim.text, "where": claim.source, "rule": claim.rule, "test": claim.test}
        self.parts["claim"] = {"id": claim.id, **rule, "margin": claim.margin}
        self.parts["claim"] |= self.table.config_of(self.paper, "claims", claim.id)
        if bodies:
            self.parts["family"] = rescore.family_of(line, self.table.lines)
            again = rescore.claim_line(self.table.config, line, claim, bodies)
            sides = again.pop("sides")
            family = {one["id"]: one["p"] for one in self.parts["family"]}
            self.again |= again | rescore.decided(line, sides, family)

    def _formula(self, runs: list[str]) -> None:
        if runs or self.line.get("status") != "computed" or not self.table.knows(self.table.place[1]):
            return
        config = self.table.config
        try:
            found = formula.of_line(config, *self.table.place, self.line)
        except ConfigError as error:  # the line names what the config does not have
            raise ValueError(str(error)) from None
        if found:
            self.parts["formula"] = {**found.fact(), **self.table.config_of(self.paper, *found.keys)}
            self.again |= found.again
            self.check = found.unchecked

    def _judge(self, runs: list[str], current: bool) -> None:
        """One sentence on the line, and what is at fault with it, if anything is."""
        line, wrong = self.line, recompute.differences(self.line, self.again)
        if gone := _gone(self.parts):
            self.check, self.fault = "cannot be computed again: a record is missing or altered", gone
        elif not current:
            self.check = "made from other records than those that are there now; make it again"
            self.fault = f"line {self.number}: {self.check}: {self.table.remedy}"
        elif self.unlike:
            self.check = f"NOT named as its runs and the config are: {self.unlike}"
            self.fault = self._remedied(self.check)
        elif wrong:
            what = "the records give" if runs else "its sources give"
            self.check = f"NOT what {what}: {'; '.join(wrong)}"
            self.fault = self._remedied(self.check)
        elif runs:
            computed = {"mean", "effect"} & set(self.again)
            own = ", by the scorecard's own test" if "claim" in self.parts else ""
            again = f"computed again from these records{own}: the same"
            self.check = self.check or (again if computed else "made from exactly these records")
        elif "formula" in self.parts:
            self.check = self.check or "computed again from its formula: the same"
        else:
            self.check = f"not run: {line.get('note') or 'no record feeds this line'}"
            self.parts["reason"] = line.get("note") or "no record feeds this line"
            if recompute.is_number(line.get("mean")):
                self.fault = self._remedied("a number that no run feeds")


def _gone(parts: dict[str, Any]) -> str:
    """What is wrong with the first record that is missing or altered; empty if none is."""
    known = [*parts["runs"], *parts.get("baseline", [])]
    return next((run["state"] for run in known if "digest" not in run), "")
