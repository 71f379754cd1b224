"""The shapes of a paper; the parts that it shares with a spec are in `specs`.

A value of a paper may be written plainly or as `{value: 0.01, source: "paper §4.1"}`. Sources are taken out (`files`),
and `like` and `grid` written out (`inherit`), before the models here see plain values.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter, create_model, field_validator, model_validator

from reweigh.config.claim import Claim
from reweigh.config.mapping import Published
from reweigh.config.specs import (
    Address,
    AllSplit,
    Augment,
    Frozen,
    GroupSplit,
    Inside,
    LongTailSplit,
    Model,
    Name,
    Positive,
    Scaling,
    Status,
    StepSplit,
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


if TYPE_CHECKING:  # they are made of other models when this is imported; any of their keys may be missing

    class SplitPatch(Frozen): ...

    class TrainingPatch(Frozen): ...

    class ModelPatch(Frozen): ...

else:
    SplitPatch = _partial(
        "SplitPatch", "Any keys of a split.", TwoClassSplit, LongTailSplit, StepSplit, AllSplit, GroupSplit
    )
    TrainingPatch = _partial("TrainingPatch", "Any keys of the training block.", Training)
    ModelPatch = _partial("ModelPatch", "Any keys of the model block.", Model)


ALL = "all"  # methods of an experiment that an artifact reads
OURS = " (ours)"  # how the title of a method ends that no paper has


class Stating(Frozen):
    """A block that is a layer of specs, or holds one."""

    @cached_property
    def stated(self) -> dict[str, Any]:
        """What the files say of it, as plain values, without defaults. Every run that has it asks: change nothing."""
        return self.model_dump(exclude_unset=True, exclude={"settings", "scales"})


class Patch(Stating):
    """One layer of a run's spec: what an experiment, a setting or a scale says of it. `options` are every method's."""

    dataset: Name | None = None
    dataset_options: dict[str, Any] = {}
    scale_inputs: Scaling | None = None
    augment: Augment | None = None
    split: SplitPatch | None = None
    model: ModelPatch | None = None
    training: TrainingPatch | None = None
    options: dict[str, Any] = {}


class MethodPatch(Stating):
    """What a single method does otherwise in one experiment, at one setting, or at one scale."""

    options: dict[str, Any] = {}
    model: ModelPatch | None = None
    training: TrainingPatch | None = None


class Setting(Patch):
    """One value of what an experiment varies. `value` is in the paper's own terms and stands on its axes."""

    value: float | int | str
    label: str | None = None
    by_method: dict[Name, MethodPatch] = {}


class CutWords(Frozen):
    """Other words for parts of what a scale leaves out; see `reweigh.config.cut`. Null leaves a part out."""

    settings: str | None = None
    methods: str | None = None
    classes: str | None = None
    images: str | None = None
    layers: str | None = None
    channels: str | None = None
    epochs: str | None = None
    batches: str | None = None
    seeds: str | None = None
    test_images: str | None = None
    points: str | None = None


class ScaleBlock(Patch):
    """What a smaller scale changes, and which part of the grid it keeps; figures say it in the words of its `cut`.

    `from_epoch` is when methods begin with what they put off: it replaces each of their DEFERRALS that is above 0.
    """

    seeds: Positive | None = None
    settings: list[Name] | None = None
    methods: list[Name] | None = None
    by_method: dict[Name, MethodPatch] = {}
    from_epoch: Positive | None = None
    cut: str | CutWords = CutWords()


# Options, at any depth, that name the epoch from which a method weighs, balances or prunes.
DEFERRALS = ("from_epoch", "refresh_from")


class Extension(Frozen):
    """Runs that the paper does not have: methods added to an experiment at scale `paper`."""

    id: str
    why: str
    methods: list[Name]
    settings: list[Name] | None = None


class Experiment(Patch):
    """One protocol of a paper. It exists at scale `paper` and at each scale that `scales` describes.

    `placeholders` are methods of it that would not do what the paper does, each with the reason: they stand in its
    tables and belong to published numbers, and nothing trains them. `absent` says what one that is not run would need
    and is not here: a reader of its data set, a module of its model.
    """

    title: str
    varies: str
    status: Status = "ready"
    reason: str | None = None
    extension: str | None = None
    absent: list[Literal["dataset", "model"]] = []
    settings: dict[Name, Setting]
    methods: list[Name]
    by_method: dict[Name, MethodPatch] = {}
    extensions: list[Extension] = []
    placeholders: dict[Name, str] = {}
    seeds: Positive
    scales: dict[Literal["smoke", "quick"], ScaleBlock] = {}

    @field_validator("scales", mode="before")
    @classmethod
    def _without_null(cls, value: Any) -> Any:
        """The scales without those that are null: the experiment that it is `like` has them, this one does not."""
        return {key: block for key, block in value.items() if block is not None} if isinstance(value, dict) else value

    @property
    def with_extensions(self) -> list[str]:
        """Its methods, then those that only extensions have."""
        extra = [method for one in self.extensions for method in one.methods]
        return list(dict.fromkeys([*self.methods, *extra]))

    @property
    def measures_official_validation(self) -> bool:
        """Whether it measures on its data set's own validation part in place of the test part: it chooses options."""
        return bool(self.dataset_options.get("official_validation"))

    def has(self, setting: str, method: str) -> bool:
        """Whether it has this cell, of the paper's protocol or of an extension of it."""
        return method in self.methods or any(
            method in one.methods and (one.settings is None or setting in one.settings) for one in self.extensions
        )

    def block(self, scale: str) -> ScaleBlock | None:
        """What a smaller scale changes here; `None` at scale `paper`, and where the experiment has no such scale."""
        return next((block for name, block in self.scales.items() if name == scale), None)


class Method(Stating):
    """What trains: a module of reweigh.methods with all of its options.

    `values` says whose they are where paper and code differ: `printed` in the paper, of the authors' `code`, or `ours`.
    `joins` names experiments in which a method is trained that no paper has: see `own`. Neither is part of a spec.
    """

    title: str
    uses: str
    values: Literal["printed", "code", "ours"] | None = None
    about: str | None = None
    joins: list[Name] = []
    options: dict[str, Any]
    model: ModelPatch | None = None
    training: TrainingPatch | None = None

    @model_validator(mode="before")
    @classmethod
    def _marked(cls, content: Any) -> Any:
        """The title of a method that no paper has says so, wherever it is shown."""
        if isinstance(content, dict) and content.get("joins") and isinstance(title := content.get("title"), str):
            return {**content, "title": title.removesuffix(OURS) + OURS}
        return content


class Reads(Frozen):
    """Cells that an artifact draws: `methods` must exist (and are trained), `optional` are drawn if they do.

    `all` methods are those of the experiment, and of its extensions those that have records.
    """

    experiment: Name
    settings: list[Name] | None = None
    methods: list[Name] | Literal["all"]
    optional: list[Name] = []


class Artifact(Frozen):
    """A figure or table of a paper. `options` decide what is drawn where no run does (a toy, an embedding)."""

    title: str
    kind: Literal["figure", "table"]
    notebook: Inside
    caption: Inside
    reads: list[Reads]
    options: dict[str, Any] = {}
    status: Status = "ready"
    reason: str | None = None

    @field_validator("options")
    @classmethod
    def _measured_here(cls, options: dict[str, Any]) -> dict[str, Any]:
        """`measured` names a file of `reweigh bench`, whatever else the options of its kind are."""
        if "measured" in options:
            TypeAdapter(Inside).validate_python(options["measured"])
        return options


class Use(Frozen):
    """Where a tuned value goes: some methods, at some settings of an experiment (all if not given)."""

    experiment: Name
    settings: list[Name] | None = None
    methods: list[Name]


class Tuned(Frozen):
    """How options are chosen: from the setting of `experiment` (all of `over`) at which `method` has the best `metric`.

    The mean over seeds at the last epoch, on held-out training data; of equals the first. An experiment that is tested
    may choose too, by a metric of what it measures beside: `validation_balanced_accuracy`. `takes` names options,
    `loss.alpha` inside others, `training.learning_rate` in the training block. `reweigh tune` prints the choice beside
    what is in use; nothing is changed by it.
    """

    experiment: Name
    method: Name
    metric: Literal[
        "validation_accuracy", "validation_balanced_accuracy", "balanced_accuracy", "balanced_error",
        "group_balanced_error", "worst_class_group_error", "deo_error", "standard_error_train_shares",
    ]  # fmt: skip
    over: list[Name] | None = None
    takes: Annotated[list[str], Field(min_length=1)]
    used_by: list[Use]


class Finding(Frozen):
    """Something in the paper itself that does not fit together, with the evidence."""

    id: Name
    where: str
    text: str
    evidence: str


class Paper(Frozen):
    """A paper: the files of config/papers/{paper} together, and what the paper that it extends trains and draws.

    `baseline` is plain training, from which gains are measured, where no mapping of published numbers names it.
    """

    title: str
    citation: str
    url: Address
    baseline: Name | None = None
    extends: Name | None = None
    methods: dict[Name, Method]
    experiments: dict[Name, Experiment]
    artifacts: dict[Name, Artifact] = {}
    claims: list[Claim] = []
    published: Published | None = None
    tuned: dict[Name, Tuned] = {}
    findings: list[Finding] = []
    only_at: Literal["local"] | None = None  # set where the paper is made for a user's own data

    @property
    def whole(self) -> str:
        """The scale at which nothing is cut: that of the paper, or the one of a user's own data."""
        return self.only_at or "paper"

    @property
    def own(self) -> list[str]:
        """The methods that no paper has: they join experiments by their own entries."""
        return [name for name, method in self.methods.items() if method.joins]

    def plain(self, method: str) -> str:
        """Plain training that a method's gain is measured from: with the printed or the code's values, as it has them.

        Where nothing is published, the paper's `baseline`; empty without one.
        """
        if self.published is None:
            return self.baseline or ""
        baseline, values = self.published.baseline, self.methods[method].values
        known = self.methods.get(baseline)
        if known is None or values in (None, "ours", known.values):
            return baseline
        same = (name for name, one in self.methods.items() if one.values == values and one.uses == known.uses)
        return next(same, baseline)
