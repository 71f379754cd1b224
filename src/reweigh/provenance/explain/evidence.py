"""What is behind one line of a csv: how each of its fields was made, from what, and whether it comes out the same now.

A line's evidence comes in parts: `runs` (its own), `baseline` (the runs that a gain is measured from), `published` and
`published_baseline` (lines of data/published), `claim` and `family` (the rule, and the p values that Holm's correction
counts), `formula` (for numbers that no run feeds), `config` (for names and options), `measured`, and `reason` (why
there is no evidence).
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from reweigh import metrics
from reweigh.analysis.tables import expand_runs, fingerprint
from reweigh.config import files
from reweigh.config.grid import Config
from reweigh.config.loading import load, written_out
from reweigh.config.names import ArtifactName, NotAName, RunName
from reweigh.config.sources import place_of
from reweigh.digest import file_digest
from reweigh.errors import ConfigError
from reweigh.provenance import recompute, recompute_settings
from reweigh.provenance.explain import formula, rescore
from reweigh.provenance.explain.columns import Source, sources
from reweigh.provenance.explain.published import PublishedNumbers

Line = dict[str, str]
Chain = tuple[dict[str, Any], dict[str, Any] | None]
SHOWN = ("title", "value", "value_set")  # names that come from the config and not from the runs
HIDDEN = ("runs", "records", "text", "scale_note")


@dataclass
class Table:
    """A csv of the project and what its lines depend on. A record is read when a line needs it, and only once."""

    shown: Path  # its path below the root
    lines: list[tuple[int, Line]]  # each with its number in the file; the header is line 1
    root: Path

    @cached_property
    def config(self) -> Config:
        return load(self.root)

    @property
    def artifact(self) -> ArtifactName | None:
        """The artifact that it belongs to; None for other files."""
        try:
            return ArtifactName.parse(self.shown.as_posix()) if self.shown.parts[0] == "figures" else None
        except NotAName:
            return None

    @property
    def remedy(self) -> str:
        """The command that makes the file again."""
        if self.artifact:
            return f"reweigh render {self.artifact.stem}"
        if self.shown.parts[0] == "data":
            return f"git checkout -- {self.shown.as_posix()}"
        return f"reweigh scorecard --scale {self.shown.parent.name}"

    @cached_property
    def _cache(self) -> dict[tuple[str, str], Any]:
        return {}

    def chain(self, run: str, line: Line) -> Chain:
        """The chain of a run, with its value of the line's metric, and its record."""
        if ("run", run) not in self._cache:
            self._cache["run", run] = formula.chain_of(run, self.root)
        facts, body = self._cache["run", run]
        if body is None:
            return facts, None
        value = recompute.value_at(body, line.get("metric", ""), recompute.number(line.get("epoch")))
        return {**facts, "value": value if isinstance(value, int | float) else None}, body

    def published(self, paper: str) -> PublishedNumbers | None:
        """The published numbers of a paper of the config."""
        if ("published", paper) not in self._cache:
            exists = self.has_paper(paper) and paper in self.config.papers
            self._cache["published", paper] = PublishedNumbers(self.config, paper) if exists else None
        return self._cache["published", paper]

    @property
    def papers(self) -> list[str]:
        """The papers of the config."""
        return list(self.config.papers)

    def has_paper(self, paper: str) -> bool:
        """Whether the config has a paper."""
        return bool(paper) and paper in (*files.paper_names(self.root), *files.local_names(self.root))

    def config_of(self, paper: str, *keys: str) -> dict[str, Any]:
        """File and line where a paper's config says something; read alone, without checking all papers.

        An element of a list may be asked for by its `id`; of what is not there the block around it is given.
        """
        if ("config", paper) not in self._cache:
            content = written_out(self.root.resolve(), paper)
            source = {"paper": content.value["citation"].value, "url": content.value["url"].value}
            self._cache["config", paper] = (files.places(content, by_id=True), source)
        places, source = self._cache["config", paper]
        place = place_of(places, keys)
        return {"file": place.file, "line": place.line, "sha256": self._digest_of(place.file), **source}

    def _digest_of(self, file: str) -> str:
        if ("digest", file) not in self._cache:
            self._cache["digest", file] = file_digest(self.root / file)
        digest: str = self._cache["digest", file]
        return digest


def cell(number: int, line: Line, table: Table, column: str | None = None) -> dict[str, Any]:
    """Everything behind one line, or behind one column of it, as plain nested values (see `explain.explain`)."""
    return _Evidence(number, line, table).as_dict(column)


class _Evidence:
    """The evidence of one line, what its fields should be by it, and whether they are.

    `recomputed` has the fields that could be computed again; `parts` the evidence; `check` a sentence on the line;
    `fault` what is wrong and what to do, or ""; `misnamed` how the line's names differ from its runs', or "".
    """

    def __init__(self, number: int, line: Line, table: Table) -> None:
        self.number, self.line, self.table = number, line, table
        self.paper = line.get("paper") or (table.artifact.paper if table.artifact else "")
        self.recomputed: dict[str, Any] = {}
        self.parts: dict[str, Any] = {"runs": []}
        self.check, self.fault, self.misnamed = "", "", ""
        try:
            self._gather()
        except (ArithmeticError, LookupError, TypeError, ValueError, NotAName) as error:  # of a field without a meaning
            text = str(error) if isinstance(error, ValueError | NotAName) else repr(error)
            self.check = f"cannot be computed again: {text}"
            self.fault = self._with_remedy(self.check)

    def as_dict(self, column: str | None) -> dict[str, Any]:
        """The line, or one of its columns, with its evidence."""
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
        if any("config" in field["from"] for field in columns.values()) and self.table.has_paper(self.paper):
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
        available = [part for part in source.parts if part == "config" or self.parts.get(part)]
        field: dict[str, Any] = {"value": text, "how": source.how, "from": available or ["reason"]}
        if not available:
            self.parts.setdefault("reason", self.line.get("note") or "no record feeds this line")
        if name in self.recomputed:
            difference = recompute.difference(text, self.recomputed[name])
            same = "as the config has it" if name in SHOWN else "computed again: the same"
            field["check"] = f"NOT {difference}" if difference else same
        return field

    def _of_column(self, field: dict[str, Any] | None, parts: dict[str, Any]) -> tuple[str, str]:
        """The check and the fault of one field."""
        if field is None:
            return f"empty: {self.line.get('note') or 'it does not apply to this line'}", ""
        if self.misnamed and self.fault:  # even if the number is right, it belongs to other runs than the line names
            return self.check, self.fault
        if "check" not in field and field["from"] == ["config"]:
            return "a name or a remark, not a number: not checked by itself", self.fault
        if "check" not in field or _bad_record(parts):
            return self.check, self.fault
        return field["check"], self._with_remedy(field["check"]) if field["check"].startswith("NOT") else ""

    def _with_remedy(self, fault: str) -> str:
        return f"line {self.number}: {fault}; restore the file from git or make it again: {self.table.remedy}"

    # --- gathering ---------------------------------------------------------------------------------------------------

    def _gather(self) -> None:
        """Gather the evidence, compute the fields again as far as possible, and compare them with the line."""
        line = self.line
        if "contender" in line:
            self.parts["measured"] = "timed once on the machine that the line names; time it again: reweigh bench"
            self.check = "a measurement: it has no further sources, and another day gives other milliseconds"
            return
        if "table_or_figure" in line:
            self._of_paper()
            return
        runs = expand_runs(line.get("runs", ""))
        if runs and not self.paper:
            self.paper = RunName.parse(runs[0]).paper
        chains = [self.table.chain(run, line) for run in runs]
        self.parts["runs"] = [facts for facts, _ in chains]
        bodies = [body for _, body in chains if body is not None]
        complete = len(bodies) == len(runs)
        current = complete and (not runs or fingerprint(body["digest"] for body in bodies) == line.get("records"))
        if current and bodies:
            self.recomputed |= recompute.line(line, bodies, self.table.root) or {}
            self.recomputed |= self._among_others()
        if line.get("kind") == "claim":
            self._claim(bodies if current else [])
        elif line.get("kind") == "number" or line.get("published"):
            self._published(bodies if current else [])
        self._formula(runs)
        self._names(bodies if complete else [])
        self._judge(runs, current)

    def _among_others(self) -> dict[str, Any]:
        """The fields that need the other lines of the file too: ranks among methods, and corrected p values."""
        line, others = self.line, [fields for _, fields in self.table.lines]
        if recompute_settings.ending(line["metric"]) in recompute_settings.RANKS:
            alike = [fields for fields in others if fields["metric"] == line["metric"]]
            chains = [self.table.chain(run, of) for of in alike for run in expand_runs(of.get("runs", ""))]
            if all(body is not None for _, body in chains):
                return recompute_settings.rank(line, [body for _, body in chains if body is not None])
        return recompute_settings.holm_fields(line, others) if line.get("p") else {}

    def _of_paper(self) -> None:
        """A line of data/published itself: the paper's table, and where the project uses the number."""
        of_papers = filter(None, map(self.table.published, self.table.papers))
        numbers = next((numbers for numbers in of_papers if numbers.file == self.table.shown.as_posix()), None)
        row = numbers.at(self.number) if numbers else None
        if numbers is None or row is None:
            self.check = self.parts["reason"] = "no paper of the config names this file"
            return
        self.parts["published"] = numbers.fact(row)
        place = f"{numbers.name}/{'/'.join(row['cell'][:3])}, {row['cell'][3]}" if row["cell"] else "no cell of ours"
        used = f"not judged: {row['excluded']}" if row["excluded"] else f"compared with {place}"
        self.check = f"as the paper states it; {used}"

    def _names(self, bodies: list[dict[str, Any]]) -> None:
        """Whether the line names what its runs are of, with the config's titles and values.

        A setting's value may be shown by its label.
        """
        line, papers = self.line, self.table.config.papers if self.table.has_paper(self.paper) else {}
        if self.paper not in papers or line.get("kind") == "claim":
            return
        named = {name: text for name, text in line.items() if name not in SHOWN}
        self.misnamed = recompute.unlike_its_runs(named, bodies, self.table.config, self.paper)
        method = papers[self.paper].methods.get(line.get("method", ""))
        experiment = papers[self.paper].experiments.get(line.get("experiment", ""))
        setting = experiment.settings.get(line.get("setting", "")) if experiment else None
        if method and experiment and "title" in line:
            self.recomputed["title"] = recompute.title_of(line, papers[self.paper])
        if method and line.get("kind") == "number" and "value_set" in line:
            self.recomputed["value_set"] = method.values or ""
        if setting and "value" in line:
            value = setting.value if isinstance(setting.value, str) else f"{setting.value:g}"
            label = setting.label or value
            self.recomputed["value"] = line["value"] if line["value"] in (value, setting.label) else label

    def _published(self, bodies: list[dict[str, Any]]) -> None:
        """The paper's number; in a scorecard also the fields that follow from it and our runs."""
        numbers, line = self.table.published(self.paper), self.line
        if numbers is None:
            return
        row = numbers.of_line(line)
        self.recomputed |= {"published": row["mean"], "published_sd": row["sd"]} if row else {"published": None}
        if row is None:
            return
        self.parts["published"] = numbers.fact(row)
        if line.get("kind") != "number":
            return
        single = row["cell"] and not metrics.of(line["metric"]).compares
        plain = numbers.of_baseline(row) if single and not row["excluded"] else None
        if plain:
            self.parts["published_baseline"] = numbers.fact(plain)
        both = plain and row["mean"] is not None and plain["mean"] is not None
        self.recomputed["published_gain"] = row["mean"] - plain["mean"] if plain and both else None
        if measured := numbers.measured(row):
            self.recomputed |= rescore.measured_line(self.table.root, line, row, measured)
            self.parts |= {"measured": f"{measured.contender} against {measured.baseline} in {measured.file}"}
        elif bool(bodies) == bool(line["runs"]):
            plain_method = numbers.baseline_of(line["method"]) if line["method"] else ""
            gains = bodies and not line.get("against") and line["method"] != plain_method
            baseline = self._baseline(plain_method) if gains else []
            fields = rescore.number_line(
                line, bodies, baseline, row, rescore.foreign(self.table.config, self.paper, bodies)
            )
            if _bad_record(self.parts):  # then there is no telling what the gain was measured from
                fields = {name: value for name, value in fields.items() if not name.startswith("gain")}
            self.recomputed |= fields

    def _baseline(self, method: str) -> list[dict[str, Any]]:
        """The records of plain training with our runs' seeds, as far as they exist."""
        names = [RunName.parse(run["run"])._replace(method=method) for run in self.parts["runs"]]
        chains = [self.table.chain(str(name), self.line) for name in names]
        existing = [
            (facts, body) for facts, body in chains if body is not None or (self.table.root / facts["record"]).is_file()
        ]
        self.parts["baseline"] = [facts for facts, _ in existing]
        return [body for _, body in existing if body is not None]

    def _claim(self, bodies: list[dict[str, Any]]) -> None:
        """The rule of a claim, its test on the records, and the p values that it is corrected with."""
        line, papers = self.line, self.table.config.papers
        claims = papers[self.paper].claims if self.paper in papers else []
        claim = next((claim for claim in claims if claim.id == line["id"]), None)
        if claim is None:
            self.recomputed["id"] = ""  # the config has no such claim now
            return
        rule = {"text": claim.text, "where": claim.source, "rule": claim.rule, "test": claim.test}
        self.parts["claim"] = {"id": claim.id, **rule, "margin": claim.margin}
        self.parts["claim"] |= self.table.config_of(self.paper, "claims", claim.id)
        if bodies:
            self.parts["family"] = rescore.family_of(line, self.table.lines)
            fields = rescore.claim_line(self.table.config, line, claim, bodies)
            sides = fields.pop("sides")
            family = {member["id"]: member["p"] for member in self.parts["family"]}
            self.recomputed |= fields | rescore.decided(line, sides, family)

    def _formula(self, runs: list[str]) -> None:
        """The formula of a number that no run feeds."""
        artifact = self.table.artifact
        if runs or self.line.get("status") != "computed" or not artifact or not self.table.has_paper(artifact.paper):
            return
        config = self.table.config
        try:
            result = formula.of_line(config, *artifact, self.line)
        except ConfigError as error:  # the line names something that the config does not have
            raise ValueError(str(error)) from None
        if result:
            self.parts["formula"] = {**result.fact(), **self.table.config_of(self.paper, *result.keys)}
            self.recomputed |= result.again
            self.check = result.unchecked

    def _judge(self, runs: list[str], current: bool) -> None:
        """Set the sentence on the line, and its fault if it has one."""
        line, differences = self.line, recompute.differences(self.line, self.recomputed)
        if bad := _bad_record(self.parts):
            self.check, self.fault = "cannot be computed again: a record is missing or altered", bad
        elif not current:
            self.check = "made from other records than those that exist now; make it again"
            self.fault = f"line {self.number}: {self.check}: {self.table.remedy}"
        elif self.misnamed:
            self.check = f"NOT named as its runs and the config are: {self.misnamed}"
            self.fault = self._with_remedy(self.check)
        elif differences:
            what = "the records give" if runs else "its sources give"
            self.check = f"NOT what {what}: {'; '.join(differences)}"
            self.fault = self._with_remedy(self.check)
        elif runs:
            computed = {"mean", "effect"} & set(self.recomputed)
            own = ", by the scorecard's own test" if "claim" in self.parts else ""
            same = f"computed again from these records{own}: the same"
            self.check = self.check or (same if computed else "made from exactly these records")
        elif "measured" in self.parts and recompute.is_number(line.get("mean")):
            self.check = f"as the bench measured it: {self.parts['measured']}"
        elif "formula" in self.parts:
            self.check = self.check or "computed again from its formula: the same"
        else:
            self.check = f"not run: {line.get('note') or 'no record feeds this line'}"
            self.parts["reason"] = line.get("note") or "no record feeds this line"
            if recompute.is_number(line.get("mean")):
                self.fault = self._with_remedy("a number that no run feeds")


def _bad_record(parts: dict[str, Any]) -> str:
    """What is wrong with the first record that is missing or altered; empty if there is none."""
    runs = [*parts["runs"], *parts.get("baseline", [])]
    return next((run["state"] for run in runs if "digest" not in run), "")
