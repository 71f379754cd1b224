"""The shape of a resolved spec, all that a run depends on: frozen pydantic models that refuse what they do not know."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from reweigh.config import spec_rules
from reweigh.config.spec_rules import LEGACY_SEEDS
from reweigh.data.noise_recipe import check_noise
from reweigh.errors import ConfigError
from reweigh.path_parts import is_inside

SPEC_VERSION = 1
OF_PAPERS = ("smoke", "quick", "paper")
SCALES = (*OF_PAPERS, "local")  # the last is the only one of a user's own data, see `config.local`


def _address(address: str) -> str:
    """An address on the web, or a page of the project: pages make a link of it."""
    if not re.fullmatch(r"https?://[^\s<>\"'`\\]+", address) and not re.fullmatch(r"[\w./-]+", _inside(address)):
        raise ValueError("must be an address that begins with https://, or a page of the project")
    return address


def _inside(path: str) -> str:
    """A path that a config may name. What lies there may be a link: that is the project's own business."""
    if not is_inside(path):
        raise ValueError("must be a path below the project's folder, such as data/published/tdr.csv")
    return path


Scale = Literal["smoke", "quick", "paper", "local"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
LARGEST = 10**9  # of whole numbers: more than any size or length; beyond it floats and arrays give out
MOST_THREADS = 1024  # of one run; torch would start as many as it is told to
LARGEST_RATE = 1e6  # of learning rates and weight decays; far beyond it float32 overflows
Inside = Annotated[str, AfterValidator(_inside)]  # a path below the project
Address = Annotated[str, AfterValidator(_address)]
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Seed = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, le=LARGEST_RATE)]
Decay = Annotated[float, Field(ge=0, le=LARGEST_RATE)]
Status = Literal["ready", "not run"]
Layout = Literal["channels-last", "nchw"]


def _number(value: Any) -> Any:
    """A number written as a fraction, "10/3", as the float nearest to it; a text that is no number stays one."""
    if isinstance(value, str):
        try:
            # A fraction has no exponent. Fraction would write out the digits of 1e999999999; float says it is infinite.
            return float(Fraction(value)) if "/" in value else float(value)
        except (ValueError, ArithmeticError):
            return value
    return value


RATIO = {"anyOf": [{"type": "number", "minimum": 1}, {"type": "string", "pattern": r"^[0-9.]+/[0-9.]+$"}]}
Ratio = Annotated[float, BeforeValidator(_number), Field(ge=1, le=LARGEST), WithJsonSchema(RATIO)]


class Frozen(BaseModel):
    """Base of all models: unknown keys, silent conversions, NaN and later changes are refused.

    Keys in `newer` did not exist when the first records were made. Where they are None they are left out of a dump, so
    that the specs, and the digests, of older records stay as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    newer: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_newer(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None or key not in self.newer}


def _hold_to(rule: Callable[..., None], *values: Any) -> None:
    """Raise the ConfigError of a rule as pydantic wants it."""
    try:
        rule(*values)
    except ConfigError as error:
        raise ValueError(str(error)) from None


# --- a resolved spec -------------------------------------------------------------------------------------------------


class Noise(Frozen):
    """Noise on the labels of the training part: its kind (see data/noise.py) and the share of labels it changes.

    Kind "heteroskedastic" takes the classes of each of `groups` for one another. `seed`: all runs have the same noise.
    `first`: it is drawn before the imbalance, so that classes have their sizes by noisy labels.
    """

    kind: Literal[
        "symmetric", "asymmetric", "asymmetric-ported", "asymmetric-pairs", "instance", "heteroskedastic", "agnostic"
    ]
    rate: Annotated[float, Field(ge=0, lt=1)]
    groups: Annotated[list[list[Count]], Field(min_length=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=LEGACY_SEEDS)] | None = None
    first: Literal[True] | None = None

    newer: ClassVar[frozenset[str]] = frozenset({"groups", "seed", "first"})

    @model_validator(mode="after")
    def _keys_go_together(self) -> "Noise":
        _hold_to(check_noise, self.model_dump())
        return self


class SplitBase(Frozen):
    """How a run's data are drawn; the parts that every kind of split shares."""

    target_size: Count
    target_inside: bool = False
    validation_size: Count = 0
    validation_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    validation_rounding: Literal["up"] | None = None  # of the share; None: down
    order: Literal["random", "first", "legacy"] = "random"
    fixed_seed: Annotated[int, Field(ge=0, lt=LEGACY_SEEDS)] | None = None
    noise: Noise | None = None
    test: Literal["balanced", "all", "group-balanced"]
    test_size: Positive | None = None
    test_seed: Annotated[int, Field(ge=0, lt=LEGACY_SEEDS)] | None = None
    weights_by: Literal["class", "group"] | None = None  # None: as examples are drawn, which `kind` says

    newer: ClassVar[frozenset[str]] = frozenset(
        {"validation_share", "validation_rounding", "fixed_seed", "noise", "test_seed", "weights_by"}
    )

    @model_validator(mode="after")
    def _parts_go_together(self) -> "SplitBase":
        _hold_to(spec_rules.check_split, self.model_dump())
        return self


class TwoClassSplit(SplitBase):
    """Two classes, [minority, majority], `total` images in all at `imbalance_ratio` = n_majority / n_minority."""

    kind: Literal["two-class"]
    classes: Annotated[list[Count], Field(min_length=2, max_length=2)]
    total: Positive
    imbalance_ratio: Ratio


class LongTailSplit(SplitBase):
    """All classes, their sizes falling exponentially from `largest_class` to `largest_class` / `imbalance_ratio`.

    With `validation_largest_class` the validation part falls so too, beside the training part, or within it
    (`validation_inside`).
    """

    kind: Literal["long-tail"]
    largest_class: Positive
    imbalance_ratio: Ratio
    rounding: Literal["exact", "ceil", "round"] | None = None
    validation_largest_class: Positive | None = None
    validation_inside: Literal[True] | None = None

    newer: ClassVar[frozenset[str]] = SplitBase.newer | {"rounding", "validation_largest_class", "validation_inside"}


class StepSplit(SplitBase):
    """All classes, the rare ones with `largest_class` / `imbalance_ratio` examples, the others with `largest_class`.

    `rare` names them; without it the second half are rare. `rounding` changes nothing here; a block may thus state it
    once for its long tails and its steps.
    """

    kind: Literal["step"]
    largest_class: Positive
    imbalance_ratio: Ratio
    rounding: Literal["exact"] | None = None
    rare: list[Count] | None = None

    newer: ClassVar[frozenset[str]] = SplitBase.newer | {"rounding", "rare"}


class AllSplit(SplitBase):
    """All classes with all of their examples."""

    kind: Literal["all"]


class GroupSplit(SplitBase):
    """All rows as they are; weights and balance follow a group attribute (weights not with `weights_by` class)."""

    kind: Literal["groups"]


Split = Annotated[TwoClassSplit | LongTailSplit | StepSplit | AllSplit | GroupSplit, Field(discriminator="kind")]


class Moments(Frozen):
    """Mean and standard deviation of each channel, of inputs from 0 to 1."""

    mean: Annotated[list[float], Field(min_length=1)]
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_each_a_channel(self) -> "Moments":
        _hold_to(spec_rules.check_moments, self.model_dump())
        return self


class Augmentation(Frozen):
    """Random crop after padding (pixels), mirror image, rotation (degrees either way); see data/augment.py."""

    crop_padding: Count = 0
    padding: Literal["zero", "reflect"] = "zero"
    flip: bool = False
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0


Scaling = Literal["centred", "standardised", "raw", "none"] | Moments
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
    factor: Rate
    warmup_epochs: Count = 0
    warmup_by: Literal["epoch"] | None = None  # None: a step

    newer: ClassVar[frozenset[str]] = frozenset({"warmup_by"})

    @model_validator(mode="after")
    def _rising(self) -> "StepSchedule":
        _hold_to(spec_rules.check_milestones, self.model_dump())
        return self


class PlainSchedule(Frozen):
    name: Literal["cosine", "constant"]
    warmup_epochs: Count = 0
    warmup_by: Literal["epoch"] | None = None  # None: a step

    newer: ClassVar[frozenset[str]] = frozenset({"warmup_by"})


Schedule = Annotated[StepSchedule | PlainSchedule, Field(discriminator="name")]


def check_warmup(schedule: StepSchedule | PlainSchedule, epochs: int) -> None:
    """Raise ValueError for a warm-up that takes all of `epochs`, or a word about one that there is not."""
    _hold_to(spec_rules.check_warmup, schedule.model_dump(), epochs)


Sampling = Literal["uniform", "effective-number", "class-aware"]  # see data/sampling.py


class Training(Frozen):
    epochs: Positive
    batch_size: Positive
    target_batch_size: Positive
    learning_rate: Rate
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Decay
    nesterov: bool = False
    gradient_clip: Annotated[float, Field(gt=0, le=1e30)] | None = None
    drop_last: bool = True
    schedule: Schedule
    precision: Literal["fp32", "tf32", "bf16"]
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)]
    evaluate_every: Positive
    evaluate_on: Literal["test", "validation"] | None = None
    also_measure: Annotated[list[Literal["train", "validation"]], Field(min_length=1)] | None = None
    keep_margins: Literal[True] | None = None
    keep_features: Positive | None = None
    layer_weight_decay: dict[str, Decay] | None = None
    layout: Layout | None = None  # of images in memory; None: channels-last

    newer: ClassVar[frozenset[str]] = frozenset(
        {"evaluate_on", "also_measure", "keep_margins", "keep_features", "layer_weight_decay", "layout"}
    )

    @model_validator(mode="after")
    def _keys_go_together(self) -> "Training":
        _hold_to(spec_rules.check_training, self.model_dump())
        return self


class Spec(Frozen):
    """Everything that decides a run's result, complete: what `python -m reweigh.training` takes."""

    spec_version: Literal[1]
    scale: Scale
    paper: Name
    experiment: Name
    setting: Name
    method: Name
    seed: Seed
    data: Data
    model: Model
    uses: str
    method_options: dict[str, Any]
    training: Training

    @model_validator(mode="after")
    def _parts_are_there(self) -> "Spec":
        _hold_to(spec_rules.check_parts, self.model_dump())
        return self
