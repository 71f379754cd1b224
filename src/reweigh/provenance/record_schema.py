"""What a record says: every key of both versions with its type, unit and meaning, and the JSON schema made from it.

    faults(body)      # why a body is no record, one line each; [] if it is one
    text()            # the JSON schema, as it lies in config/record.schema.json

Version 1 has neither `energy_joules`, `resumed`, `stages` and `group_sizes`, nor the versions of what drives a GPU or
decodes images; it names stage one only where a run shares it, and `started` is when its last part began.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from reweigh.config.specs import Sampling, Spec

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
Time = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """Base of all parts: unknown keys, silent conversions and NaN are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def said(text: str) -> Any:
    """A key that is always there, and what it means."""
    return Field(description=text)


class Code(Part):
    digest: Digest = said("sha256 of the canonical JSON of `files`")
    files: dict[str, Digest] = said("each source file that the run imports, below the package -> digest of its code")


class Git(Part):
    commit: Commit | None = said("the commit that was checked out; null where git could not say")
    dirty: bool | None = said("whether tracked files differed from it; null where git could not say")


class Environment1(Part):
    python: str = said("version of Python")
    torch: str = said("version of torch")
    numpy: str = said("version of numpy")
    platform: str = said("operating system, its kernel and C library")
    lock_digest: Digest | None = said("sha256 of envs/requirements.lock; null where it was not there")


class Environment(Environment1):
    python_implementation: str = said("CPython, PyPy, ...")
    pillow: str | None = said("version of Pillow, which decodes image files; null where it is not installed")
    cuda: str | None = said("version of CUDA that torch was built for; null on a CPU")
    cudnn: Count | None = said("version of cuDNN, as torch counts it; null on a CPU or where there is none")
    driver: str | None = said("version of the NVIDIA driver; null where there is none")


class Sizes(Part):
    train: list[Count] = said("in the training part")
    target: list[Count] = said("in the target part")
    validation: list[Count] = said("in the part held out of the official training part")
    test: list[Count] = said("in the test part")


class SplitOf(Part):
    path: str = said("where its arrays lie, below the project")
    digest: Digest = said("sha256 of its arrays: indices, labels, groups, names")
    recipe_digest: Digest = said("digest of what it was drawn by: recipe, raw content, the code that reads and draws")
    sizes: Sizes = said("examples of each class in each part")


class RawFile(Part):
    dataset: str = said("data set of the manifest that the file belongs to")
    edition: str = said("official, a slice of it, or a reconstruction; as in the manifest")
    name: str = said("file name below data/raw/DATASET")
    bytes: Count = said("its size, bytes")
    sha256: Digest = said("digest of its content")
    source: Literal["embedded", "mirror", "official", "present"] = said(
        "where it was taken from: the repository, a mirror, the official site; present: it lay there"
    )
    url: str | None = said("the official address; null where there is none")


class Graph(Part):
    captured: list[str] = said("programs of a step that ran as one CUDA graph")
    eager: dict[str, str] = said("programs that could not be captured -> why")


class Device(Part):
    kind: Literal["cpu", "cuda"] = said("what it is")
    name: str = said("its name, by the driver or the operating system")
    threads: Positive = said("threads of one operation on a CPU")
    precision: Literal["fp32", "tf32", "bf16"] = said("arithmetic of the model")
    runs_at_once: Positive = said("runs that were meant to share the device, this one included")
    graph: Graph | None = said("CUDA graphs; null on a CPU")


class Trace(Part):
    file: str = said("the .npz beside the record")
    sha256: Digest = said("digest of its content")
    arrays: dict[str, list[Count]] = said("name of each array -> its shape")


class StageOne(Part):
    key: Digest = said("digest of all that stage one depends on")
    reused: bool = said("whether another run had trained it")


class Stage(Part):
    name: str = said("its name")
    epochs: Count = said("its epochs; 0 if it consists of what is done at its start")
    train: str = said("what is trained: all, or a part of the model")
    sampling: Sampling = said("how an epoch draws its examples")
    batch_size: Positive = said("examples of a step")
    steps_per_epoch: Count = said("steps of one epoch")


class Metrics(Part):
    balanced_accuracy: Share | None = said("mean over classes of their accuracies")
    per_class_accuracy: list[Share | None] = said("share of the examples of each label that got it")
    per_group_accuracy: list[Share | None] | None = said("accuracy in each group; null where groups are labels")
    minority_recall: Share | None = said("TP/(TP+FN) of label 0 of a two-class task; else null")
    minority_precision: Share | None = said("TP/(TP+FP) of label 0; null too where it was never predicted")
    confusion: list[list[Count]] = said("examples by label (row) and prediction (column)")


class TestMetrics(Metrics):
    test_accuracy: Share = said("share of test examples with the right label")
    test_size: Positive = said("test examples")
    best_epoch_test_accuracy: Share = said("the highest on the curve; selected on the test set, so no result")


class ValidationMetrics(Metrics):
    validation_accuracy: Share = said("share of validation examples with the right label")
    validation_size: Positive = said("validation examples")
    best_epoch_validation_accuracy: Share = said("the highest on the curve")


class Curves(Part):
    epoch: list[Positive] = said("epochs that are over, over all stages")
    train_loss: list[float | None] = said("mean loss of the epoch's batches; null if not finite")
    effective_weight: list[float | None] = said("mean total weight of the epoch's batches; null if not finite")
    minority_recall: list[Share | None] = said("as in metrics")
    minority_precision: list[Share | None] = said("as in metrics")
    train_seconds: list[Seconds] = said("`seconds` so far")


class TestCurves(Curves):
    test_accuracy: list[Share] = said("as in metrics")


class ValidationCurves(Curves):
    validation_accuracy: list[Share] = said("as in metrics")


class RecordBase(Part):
    digest: Digest = said("sha256 of the canonical JSON of all other keys")
    run: str = said("SCALE/PAPER/EXPERIMENT/SETTING/METHOD/seedN")
    spec: Spec = said("all that the run depends on; its keys are explained in config/README.md")
    spec_digest: Digest = said("sha256 of the canonical JSON of `spec`")
    code: Code = said("the code that it executed")
    git: Git = said("the repository when its last part began")
    split: SplitOf = said("the split of the data")
    raw: list[RawFile] = said("the raw files that the split was drawn from")
    device: Device = said("what it ran on")
    status: Literal["finished", "diverged"] = said("diverged: a loss was not finite")
    diverged_at_step: Count | None = said("the first step whose loss was not finite, counted from 0; null if none")
    ended: Time = said("when its record was written, UTC")
    seconds: Seconds = said("spent on steps, s: processor time on a CPU (of all threads), wall clock on a GPU")
    gpu_seconds: Seconds = said("`seconds` on a GPU; 0 on a CPU")
    peak_bytes: Positive = said("most memory held at once, bytes: allocated on the GPU, or resident in the process")
    steps: Count = said("steps taken, over all stages")
    parameters: Count = said("trainable values of the model")
    curves: TestCurves | ValidationCurves = said("one entry for each evaluated epoch; test or validation")
    metrics: TestMetrics | ValidationMetrics = said("after the last step, shares from 0 to 1")
    trace: Trace | None = said("arrays that the method logged, in a file beside the record; null if none")


class Record1(RecordBase):
    """A record of version 1."""

    record_version: Literal[1] = said("version of this format")
    environment: Environment1 = said("versions of what computed the numbers")
    started: Time = said("when its last part began, UTC")
    stage_one: StageOne | None = Field(default=None, description="stage one, where runs share it; else absent")


class Record2(RecordBase):
    """A record of version 2: what is written today."""

    record_version: Literal[2] = said("version of this format")
    environment: Environment = said("versions of what computed the numbers")
    started: Time = said("when its first part began, UTC")
    resumed: Count = said("how often it was stopped and went on from a checkpoint")
    energy_joules: Annotated[float, Field(ge=0)] | None = said(
        "energy of the whole card while the run was on it, J, stage one included where it was taken over; runs that "
        "share the card (`device.runs_at_once`) each have all of it. null where nothing measures it"
    )
    group_sizes: Sizes | None = said("examples of each group in each part; null where groups are labels")
    stages: list[Stage] = said("the stages of training, in order; empty for a method that trains nothing")
    stage_one: StageOne | None = said("stage one, where runs share it; else null")


Record = Annotated[Record1 | Record2, Field(discriminator="record_version")]
RECORD: TypeAdapter[Record1 | Record2] = TypeAdapter(Record)


def faults(body: Any) -> list[str]:
    """Why `body` (as read from JSON) is no record by the schema, one line each: `environment.cuda: Field required`."""
    try:
        RECORD.validate_json(json.dumps(body))
    except ValidationError as error:
        return [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
    return []


def text() -> str:
    """The schema as it lies in config/record.schema.json: both versions, told apart by `record_version`."""
    body = RECORD.json_schema()
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "reweigh record",
        "description": "What a run leaves in results/SCALE/PAPER/EXPERIMENT/SETTING/METHOD/seedN.json",
        "oneOf": body["oneOf"],
        "discriminator": body["discriminator"],
        "$defs": dict(sorted(body["$defs"].items())),
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
