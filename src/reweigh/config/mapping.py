"""Where published numbers belong: how the rows of data/published/PAPER.csv map to cells, and what is known of them."""

from collections.abc import Iterable

from pydantic import model_validator

from reweigh import metrics
from reweigh.config.specs import Frozen, Inside, Name


class Measured(Frozen):
    """A line of a file of `reweigh bench`, which has the ratio of whole runs of two methods, by its names there."""

    file: Inside
    group: str
    contender: str
    baseline: str


class PublishedRows(Frozen):
    """Rows of the published file that belong to one setting of one experiment.

    Those with this table and, where they are given, this dataset, setting and metric (as printed), whose method is
    among `methods`: its own ones, by their published names, or else all of the paper's.

    Numbers that compare two methods (`metrics.Metric.compares`) are those of the method over `against`, there and seed
    by seed; or else the bench has `measured` them.
    """

    table: str
    dataset: str | None = None
    published_setting: str | None = None
    metric: str | None = None
    methods: dict[str, Name] | None = None
    experiment: Name
    setting: Name
    against: Name | None = None
    measured: Measured | None = None

    @model_validator(mode="after")
    def _compared_once(self) -> "PublishedRows":
        if self.against and self.measured:
            raise ValueError(
                "a number is compared with runs (against) or a line of the bench (measured), not with both"
            )
        return self

    def has(self, row: dict[str, str]) -> bool:
        """Whether a row of the file is one of these, whatever its method."""
        wanted = (self.table, self.dataset, self.published_setting, self.metric)
        stated = (row["table_or_figure"], row["dataset"], row["setting"], row["metric"])
        return all(value is None or value == other for value, other in zip(wanted, stated, strict=True))


class Named(Frozen):
    """Published numbers by what the paper prints beside them."""

    table: str
    dataset: str | None = None
    published_setting: str | None = None
    method: str

    def has(self, row: dict[str, str]) -> bool:
        """Whether it speaks of a row of the file."""
        wanted = (self.table, self.dataset, self.published_setting, self.method)
        stated = (row["table_or_figure"], row["dataset"], row["setting"], row["method"])
        return all(value is None or value == other for value, other in zip(wanted, stated, strict=True))


class Excluded(Named):
    """A published number that is not judged, and why: a misprint, or a method that is not here."""

    reason: str


class Remark(Named):
    """What a reader must know of a published number; its line shows it beside any verdict."""

    text: str


class Published(Frozen):
    """How the rows of `file` map to our runs; what is not in `metrics` keeps its name, without the `_pct` of per cent.

    `baseline` is plain training, from which gains are measured. `remarks` stand beside verdicts, whatever these are.
    `stand_ins` names editions of data sets (see data/manifest.yaml) that stand in for the paper's own data, each with
    the reason why a number measured on it says nothing of the paper's.
    """

    file: Inside
    methods: dict[str, Name]
    rows: list[PublishedRows]
    metrics: dict[str, str] = {}
    baseline: Name = "none"
    excluded: list[Excluded] = []
    remarks: list[Remark] = []
    stand_ins: dict[Name, str] = {}

    @property
    def files(self) -> list[str]:
        """What its numbers are judged with, beside records: `file`, and the files of the bench that rows name."""
        return list(dict.fromkeys([self.file, *(one.measured.file for one in self.rows if one.measured)]))

    def target(self, row: dict[str, str]) -> tuple[str, str, str, str] | None:
        """Experiment, setting, method and metric of a row of `file`, by the first that has it; `None` if none has."""
        known = self.rows_of(row)
        if known is None:
            return None
        return known.experiment, known.setting, self._methods(known)[row["method"]], self.metric(row)

    def rows_of(self, row: dict[str, str]) -> PublishedRows | None:
        """The first of `rows` that has a row of `file`; `None` if none has."""
        return next((known for known in self.rows if row["method"] in self._methods(known) and known.has(row)), None)

    def _methods(self, known: PublishedRows) -> dict[str, Name]:
        return self.methods if known.methods is None else known.methods

    def id_of(self, row: dict[str, str]) -> str:
        """What the scorecard's line of a row of `file` is called: table, place and metric, in our names or the paper's.

        With the method that it is compared with, as the same method may be compared with several.
        """
        known, target = self.rows_of(row), self.target(row)
        if known is None or target is None:
            names = (row["dataset"], row["setting"], row["method"], self.metric(row))
        else:
            experiment, setting, method, metric = target
            names = (experiment, setting, f"{method}-over-{known.against}" if known.against else method, metric)
        return "/".join((row["table_or_figure"], *names))

    def metric(self, row: dict[str, str]) -> str:
        """What the metric of a row of `file` is called here."""
        return self.metrics.get(row["metric"]) or metrics.printed(row["metric"])[0].name

    def excluded_because(self, row: dict[str, str]) -> str | None:
        """Why a row of `file` is not judged; `None` if it is."""
        return next((" ".join(one.reason.split()) for one in self.excluded if one.has(row)), None)

    def not_comparable(self, editions: Iterable[str]) -> str | None:
        """Why runs on data of these editions cannot be held against the paper's numbers; `None` if they can."""
        found = (self.stand_ins[edition] for edition in sorted(set(editions) & self.stand_ins.keys()))
        return "; ".join(" ".join(reason.split()) for reason in found) or None

    def remark_on(self, row: dict[str, str]) -> str | None:
        """What a reader must know of a row of `file`; `None` if there is nothing."""
        return "; ".join(" ".join(one.text.split()) for one in self.remarks if one.has(row)) or None
