"""The shapes of config.yaml and of a paper's file; the parts that they share with a spec are in `spec_models`.

A value in a paper's file may be written plainly or as `{value: 0.01, source: "paper §4.1"}`; the loader takes the
sources out first (`reweigh.config`), so that the models here see plain values.
"""

import os
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, create_model

from reweigh.spec_models import (
    Augment,
    Frozen,
    GroupSplit,
    LongTailSplit,
    Model,
    Name,
    Positive,
    Scale,
    Scaling,
    Status,
    Training,
    TwoClassSplit,
)


def _partial(name: str, doc: str, *models: type[Frozen]) -> Any:
    """A model with the fields of `models`, none of them required: what one layer of config says about them."""
    fields: dict[str, Any] = {}
    for model in models:
        for key, field in model.model_fields.items():
            known = fields[key][0] if key in fields else None
            annotation = field.rebuild_annotation()
            if field.discriminator:
                annotation = Annotated[annotation, Field(discriminator=field.discriminator)]
            fields[key] = (annotation if known is None or known == annotation else known | annotation, None)
    return create_model(name, __base__=Frozen, __doc__=doc, **fields)


SplitPatch = _partial("SplitPatch", "Any keys of a split.", TwoClassSplit, LongTailSplit, GroupSplit)
TrainingPatch = _partial("TrainingPatch", "Any keys of the training block.", Training)
ModelPatch = _partial("ModelPatch", "Any keys of the model block.", Model)


class Patch(Frozen):
    """One layer of a run's spec: what an experiment, a setting or a scale says about it."""

    dataset: Name | None = None
    dataset_options: dict[str, Any] = {}
    scale_inputs: Scaling | None = None
    augment: Augment | None = None
    split: SplitPatch | None = None
    model: ModelPatch | None = None
    training: TrainingPatch | None = None
    method_options: dict[str, Any] = {}


class Setting(Patch):
    """One value of what an experiment varies. `value` is in the paper's own terms and stands on its axes."""

    value: float | int | str
    label: str | None = None


class ScaleBlock(Patch):
    """What a smaller scale changes, and which part of the grid it keeps. `cut` says it in words, on every figure."""

    seeds: Positive | None = None
    settings: list[Name] | None = None
    methods: list[Name] | None = None
    cut: str


class Extension(Frozen):
    """Runs that the paper does not have: methods added to an experiment at scale `paper`."""

    id: str
    why: str
    methods: list[Name]
    settings: list[Name] | None = None


class Experiment(Patch):
    """One protocol of a paper. It exists at scale `paper` and at each scale that `scales` describes."""

    title: str
    varies: str
    status: Status = "ready"
    reason: str | None = None
    extension: str | None = None
    settings: dict[Name, Setting]
    methods: list[Name]
    extensions: list[Extension] = []
    seeds: Positive
    scales: dict[Literal["smoke", "quick"], ScaleBlock] = {}

    def block(self, scale: str) -> ScaleBlock | None:
        """What a smaller scale changes here; `None` at scale `paper`, and where the experiment has no such scale."""
        return next((block for name, block in self.scales.items() if name == scale), None)


class Method(Frozen):
    """What trains: a module of reweigh.methods with all of its knobs."""

    title: str
    uses: str
    about: str | None = None
    options: dict[str, Any]
    training: TrainingPatch | None = None


class Reads(Frozen):
    """Cells that an artifact draws: `methods` must exist (and are trained), `optional` are drawn if they do."""

    experiment: Name
    settings: list[Name] | None = None
    methods: list[Name]
    optional: list[Name] = []


class Artifact(Frozen):
    """A figure or table of a paper."""

    title: str
    kind: Literal["figure", "table"]
    notebook: str
    caption: str
    reads: list[Reads]
    status: Status = "ready"
    reason: str | None = None


class Claim(Frozen):
    """A statement of a paper that records can decide, and the rule for it; config/README.md explains the tests."""

    id: Name
    text: str
    source: str
    test: Literal["greater", "smaller_spread", "weights_not_inverse_frequency", "costs_more"]
    experiment: Name
    settings: list[Name] | None = None
    metric: str = "test_accuracy"
    better: Name
    worse: list[Name] = []
    margin: float = 0.0
    rule: str


class PublishedRows(Frozen):
    """The rows of the published file with this table and setting belong to one setting of one experiment."""

    table: str
    published_setting: str
    experiment: Name
    setting: Name


class Published(Frozen):
    """How the rows of `file` map to our runs: `methods` by name, `rows` by table and setting; metrics keep theirs."""

    file: str
    methods: dict[str, Name]
    rows: list[PublishedRows]

    def target(self, row: dict[str, str]) -> tuple[str, str, str, str] | None:
        """Experiment, setting, method and metric of a row of `file`; `None` if the row is not mapped."""
        method = self.methods.get(row["method"])
        for known in self.rows:
            if method and (known.table, known.published_setting) == (row["table_or_figure"], row["setting"]):
                return known.experiment, known.setting, method, row["metric"]
        return None


class Finding(Frozen):
    """Something in the paper itself that does not fit together, with the evidence."""

    id: Name
    where: str
    text: str
    evidence: str


class Paper(Frozen):
    """A paper's file, config/papers/{paper}.yaml."""

    title: str
    citation: str
    url: str
    methods: dict[Name, Method]
    experiments: dict[Name, Experiment]
    artifacts: dict[Name, Artifact] = {}
    claims: list[Claim] = []
    published: Published | None = None
    findings: list[Finding] = []


def _at_once(value: Any) -> Any:
    """How many runs share a device: "auto", or a whole number from 1 on."""
    if value == "auto" or (type(value) is int and value >= 1):
        return value
    raise ValueError("must be auto or a whole number from 1 on")


AtOnce = Annotated[
    Literal["auto"] | int,
    BeforeValidator(_at_once),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
]


def _duration(value: Any) -> Any:
    """A duration such as 90s, 9m or 1.5h, as it stands."""
    if isinstance(value, str) and re.fullmatch(_DURATION, value):
        return value
    raise ValueError("must be a duration such as 90s, 9m or 1.5h")


_DURATION = r"^[0-9]+([.][0-9]+)?[smh]$"
Duration = Annotated[str, BeforeValidator(_duration), WithJsonSchema({"type": "string", "pattern": _DURATION})]


class Settings(Frozen):
    """config/config.yaml: what a call of Snakemake without further words does."""

    scale: Scale = "quick"
    papers: Annotated[list[Name], Field(min_length=1)]
    seeds_per_job: Positive = 5
    runs_at_once: AtOnce = "auto"
    time_budget: Duration | None = None
    extensions: bool = False
    missing: Literal["train", "skip"] = "train"
    stale: Literal["train", "keep"] = "train"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    mirror: str | None = None

    def apply(self) -> None:
        """Hand on to the processes that are started what they take from their environment: the mirror, no GPU."""
        if self.mirror:
            os.environ.setdefault("REWEIGH_MIRROR", self.mirror)
        if self.device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
