"""The shapes of the config files and of a resolved spec: frozen pydantic models that refuse what they do not know.

A value in a paper's file may be written plainly or as `{value: 0.01, source: "paper §4.1"}`; the loader takes the
sources out first (`reweigh.config`), so that the models here see plain values.
"""

import os
import re
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model, model_validator

SPEC_VERSION = 1
SCALES = ("smoke", "quick", "paper")

Scale = Literal["smoke", "quick", "paper"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Status = Literal["ready", "not run"]


def _number(value: Any) -> Any:
    """A number written as a fraction, "10/3", as the float nearest to it."""
    if isinstance(value, str):
        try:
            return float(Fraction(value))
        except (ValueError, ZeroDivisionError):
            return value
    return value


_RATIO = {"anyOf": [{"type": "number", "minimum": 1}, {"type": "string", "pattern": r"^[0-9.]+/[0-9.]+$"}]}
Ratio = Annotated[float, BeforeValidator(_number), Field(ge=1), WithJsonSchema(_RATIO)]


class Frozen(BaseModel):
    """Base of all models: unknown keys, silent conversions, NaN and later changes are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# --- a resolved spec -------------------------------------------------------------------------------------------------


class SplitBase(Frozen):
    """How a run's data are drawn; the parts that every kind of split shares."""

    target_size: Count
    target_inside: bool = False
    validation_size: Count = 0
    order: Literal["random", "first"] = "random"
    test: Literal["balanced", "all", "group-balanced"]
    test_size: Positive | None = None


class TwoClassSplit(SplitBase):
    """Two classes, [minority, majority], `total` images in all at `imbalance_ratio` = n_majority / n_minority."""

    kind: Literal["two-class"]
    classes: Annotated[list[Count], Field(min_length=2, max_length=2)]
    total: Positive
    imbalance_ratio: Ratio


class LongTailSplit(SplitBase):
    """All classes, their sizes falling exponentially from `largest_class` to `largest_class` / `imbalance_ratio`."""

    kind: Literal["long-tail"]
    largest_class: Positive
    imbalance_ratio: Ratio


class GroupSplit(SplitBase):
    """All rows as they are; weights and balance follow a group attribute."""

    kind: Literal["groups"]


Split = Annotated[TwoClassSplit | LongTailSplit | GroupSplit, Field(discriminator="kind")]


class Moments(Frozen):
    """Mean and standard deviation of each channel, of inputs from 0 to 1."""

    mean: Annotated[list[float], Field(min_length=1)]
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]


class Augmentation(Frozen):
    """Random crop after padding (pixels), mirror image, rotation (degrees either way); see data/augment.py."""

    crop_padding: Count = 0
    padding: Literal["zero", "reflect"] = "zero"
    flip: bool = False
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0


Scaling = Literal["centred", "raw", "none"] | Moments
Augment = Literal["none", "crop-flip"] | Augmentation


class Data(Frozen):
    dataset: Name
    options: dict[str, Any] = {}
    split: Split
    scale_inputs: Scaling
    augment: Augment


class Model(Frozen):
    name: Name
    options: dict[str, Any] = {}


class StepSchedule(Frozen):
    """The learning rate times `factor` at the start of each of `milestones` (epochs)."""

    name: Literal["step"]
    milestones: list[Positive]
    factor: Annotated[float, Field(gt=0)]
    warmup_epochs: Count = 0

    @model_validator(mode="after")
    def _rising(self) -> "StepSchedule":
        if sorted(set(self.milestones)) != self.milestones:
            raise ValueError(f"milestones must rise, are {self.milestones}")
        return self


class PlainSchedule(Frozen):
    name: Literal["cosine", "constant"]
    warmup_epochs: Count = 0


Schedule = Annotated[StepSchedule | PlainSchedule, Field(discriminator="name")]


class Training(Frozen):
    epochs: Positive
    batch_size: Positive
    target_batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    nesterov: bool = False
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    drop_last: bool = True
    schedule: Schedule
    precision: Literal["fp32", "tf32", "bf16"]
    threads: Positive
    evaluate_every: Positive

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "Training":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Spec(Frozen):
    """Everything that decides a run's result, complete: what `python -m reweigh.training` takes."""

    spec_version: Literal[1]
    scale: Scale
    paper: Name
    experiment: Name
    setting: Name
    method: Name
    seed: Count
    data: Data
    model: Model
    uses: str
    method_options: dict[str, Any]
    training: Training

    @model_validator(mode="after")
    def _batches_exist(self) -> "Spec":
        split = self.data.split
        if isinstance(split, TwoClassSplit):
            if split.classes[0] == split.classes[1]:
                raise ValueError(f"data.split.classes must be two classes, are {split.classes}")
            if split.total < self.training.batch_size:
                raise ValueError(
                    f"data.split.total is {split.total}, less than one batch of {self.training.batch_size}"
                )
        return self


# --- the knobs of the methods: what `options` of a method must state, all of it. A method that is not listed here may
# --- state what it likes; its own module then has to refuse what it does not know.


class NoneOptions(Frozen):
    scale: Literal["mean", "1c"]


class HardOptions(Frozen):
    scale: Literal["simplex", "mean"]


class RandomOptions(Frozen):
    per: Literal["example", "class"]
    every: Positive


class ErOptions(Frozen):
    scale: Literal["sum", "mean"]


class TdrOptions(Frozen):
    outer_every: Positive
    outer_learning_rate: Annotated[float, Field(gt=0)]
    clip_max: Annotated[float, Field(gt=0)] | None
    normalisation: Literal["class", "batch"]
    hypergradient_batch: Literal["fresh", "last"]
    look_ahead_decay: bool
    target_mode: Literal["eval", "train"]
    target_augment: bool


class ConstantOptions(Frozen):
    pass


KNOBS: dict[str, type[Frozen]] = {
    "none": NoneOptions,
    "hard": HardOptions,
    "random_weights": RandomOptions,
    "er": ErOptions,
    "tdr": TdrOptions,
    "constant": ConstantOptions,
}


# --- a paper's file --------------------------------------------------------------------------------------------------


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
