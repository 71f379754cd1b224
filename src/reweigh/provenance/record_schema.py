"""The form of a record: every key of all versions with its type, unit and meaning, and the JSON schema made from them.

    faults(body)      # where a body does not have the form of a record, one line each; [] if it has
    text()            # the JSON schema, which config/record.schema.json holds

Version 1 lacks `energy_joules`, `resumed`, `stages`, `group_sizes`, and the versions of the GPU's software and of the
library that decodes images. It names stage one only if runs share it, and `started` is when its last part started.
Version 2 lacks `prefix` (it has `stage_one`), `diverged_because`, `also_measured`, what stages trained on, and their
best epochs; its diverged runs have metrics.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from reweigh.config.specs import Sampling, Spec
from reweigh.provenance.record_keys import (
    Commit,
    Count,
    Digest,
    Part,
    Positive,
    Seconds,
    Share,
    Time,
    key,
    on_request,
    since,
)


class Code(Part):
    digest: Digest = key("sha256 of the canonical JSON of `files`")
    files: dict[str, Digest] = key(
        "each source file that the run imports, below the package (of another package NAME:FILE) -> digest of its code"
    )


class Git(Part):
    commit: Commit | None = key("the commit that was checked out; null where git could not say")
    dirty: bool | None = key("whether tracked files but results and figures differed from it; null: git could not say")


class Environment1(Part):
    python: str = key("version of Python")
    torch: str = key("version of torch")
    numpy: str = key("version of numpy")
    platform: str = key("operating system, its kernel and C library")
    lock_digest: Digest | None = key("sha256 of envs/requirements.lock; null without it, or where others are installed")


class Environment(Environment1):
    python_implementation: str = key("CPython, PyPy, ...")
    pillow: str | None = key("version of Pillow, which decodes image files; null where it is not installed")
    cuda: str | None = key("version of CUDA that torch was built for; null on a CPU")
    cudnn: Count | None = key("version of cuDNN, as torch counts it; null on a CPU or where there is none")
    driver: str | None = key("version of the NVIDIA driver; null where there is none")
    host: str | None = since("the machine on which it ended")
    slurm_job: str | None = since("id of the job of Slurm in which it ended; null outside of Slurm")
    slurm_attempt: Positive | None = since("which start of that job it was, counted from 1; null outside of Slurm")


class Sizes(Part):
    train: list[Count] = key("in the training part")
    target: list[Count] = key("in the target part")
    validation: list[Count] = key("in the part held out of the official training part")
    test: list[Count] = key("in the test part")


class SplitOf(Part):
    path: str = key("where its arrays lie, below the project")
    digest: Digest = key("sha256 of its arrays: indices, labels, groups, names")
    recipe_digest: Digest = key("digest of what it was drawn by: recipe, raw content, the code that reads and draws")
    sizes: Sizes = key("examples of each class in each part")


class RawFile(Part):
    dataset: str = key("data set of the manifest that the file belongs to")
    edition: str = key("official, a slice of it, a reconstruction, or a stand-in; as in the manifest")
    name: str = key("file name below data/raw/DATASET")
    bytes: Count = key("its size, bytes")
    sha256: Digest = key("digest of its content")
    source: Literal["embedded", "mirror", "official", "present", "packed"] = key(
        "where it was taken from: the repository, a mirror, the official site; present: it lay there; "
        "packed: the rows that the run uses travelled, see reweigh pack"
    )
    url: str | None = key("the official address; null where there is none")


class Graph(Part):
    captured: list[str] = key("programs of a step that ran as one CUDA graph")
    eager: dict[str, str] = key("programs that could not be captured -> why")


class Device(Part):
    kind: Literal["cpu", "cuda"] = key("what it is")
    name: str = key("its name, by the driver or the operating system")
    capability: str | None = since(
        "the instructions that torch took of a CPU: DEFAULT, AVX2, AVX512, ...; null on a GPU"
    )
    settings: dict[str, str] | None = since(
        "environment variables by which libraries round otherwise, such as ATEN_CPU_CAPABILITY -> its value"
    )
    threads: Positive = key("threads of one operation on a CPU")
    precision: Literal["fp32", "tf32", "bf16"] = key("arithmetic of the model")
    runs_at_once: Positive = key(
        "runs that were meant to share the device, this one included: the most in any part of its training; on a GPU "
        "those of all processes that may share it"
    )
    graph: Graph | None = key("CUDA graphs; null on a CPU")


class Trace(Part):
    file: str = key("the .npz beside the record")
    sha256: Digest = key("digest of its content")
    arrays: dict[str, list[Count]] = key("name of each array -> its shape")


class StageOne(Part):
    key: Digest = Field(description="digest of all that stage one depends on")
    reused: bool = Field(description="whether another run had trained it")


class Begun(Part):
    run: str = key("another run, which was stopped or killed, SCALE/PAPER/EXPERIMENT/SETTING/METHOD/seedN")
    steps: Count = key("steps that it took; they are among those of the run, or of its prefix")
    seconds: Seconds = key("spent by it, s; likewise")


class Prefix(Part):
    key: Digest = Field(description="digest of all that these stages depend on")
    stages: Positive = Field(description="how many stages they are, from the first")
    of: Positive = Field(description="of how many; of all, if the run is another run under a second name")
    reused: bool = Field(description="whether they were trained before, by another run or an earlier try of this one")
    run: str = Field(description="the run that trained them, SCALE/PAPER/EXPERIMENT/SETTING/METHOD/seedN")
    digest: Digest = Field(
        description="sha256 of the state that it kept at their end; of all stages, the digest of its record"
    )
    seconds: Seconds = Field(description="spent on them, s; `seconds` of the run includes them")
    steps: Count = Field(description="steps of them; `steps` of the run includes them")
    peak_bytes: Positive = Field(description="most memory held in them, bytes; `peak_bytes` of the run is no less")
    energy_joules: Annotated[float, Field(ge=0)] | None = Field(
        description="their energy, J, included in that of the run, or null"
    )
    begun_by: list[Begun] = Field(
        default=[],
        description="what other runs trained of them before `run` went on from there; absent in the oldest records",
    )


class Stage(Part):
    name: str = key("its name")
    epochs: Count = key("its epochs; 0 if it consists of what is done at its start")
    train: str = key("what is trained: all, or a part of the model")
    sampling: Sampling = key("how an epoch draws its examples")
    batch_size: Positive = key("examples of a step")
    steps_per_epoch: Count = key("steps of one epoch")


class Stage3(Stage):
    part: Literal["train", "train+validation", "train+target", "members", "members of train+validation"] = key(
        "what it trains on: the training set, that and the validation or target part, or rows that the method lists"
    )
    fresh: bool = key("whether it started from new weights, those that the run started from")
    best_epoch: Positive | None = key("its epoch with the highest accuracy, over all stages; null if none was measured")


class TestStage(Stage3):
    best_epoch_test_accuracy: Share | None = key("the highest of its epochs; selected on the test set, so no result")


class ValidationStage(Stage3):
    best_epoch_validation_accuracy: Share | None = key("the highest of its epochs")


class Metrics(Part):
    balanced_accuracy: Share | None = key("mean over classes of their accuracies")
    per_class_accuracy: list[Share | None] = key("share of the examples of each label that got it")
    per_group_accuracy: list[Share | None] | None = key("accuracy in each group; null where the data have no groups")
    minority_recall: Share | None = key("TP/(TP+FN) of label 0 of a two-class task; else null")
    minority_precision: Share | None = key("TP/(TP+FP) of label 0; null too where it was never predicted")
    confusion: list[list[Count]] = key("examples by label (row) and prediction (column)")


class TestMetrics(Metrics):
    test_accuracy: Share = key("share of test examples with the right label")
    test_size: Positive = key("test examples")
    best_epoch_test_accuracy: Share = key("the highest on the curve; selected on the test set, so no result")


class ValidationMetrics(Metrics):
    validation_accuracy: Share = key("share of validation examples with the right label")
    validation_size: Positive = key("validation examples")
    best_epoch_validation_accuracy: Share = key("the highest on the curve")


class Metrics3(Part):
    """Of a run that diverged all are null: NaN logits are no prediction."""

    balanced_accuracy: Share | None = key("mean over classes of their accuracies")
    per_class_accuracy: list[Share | None] | None = key("share of the examples of each label that got it")
    per_group_accuracy: list[Share | None] | None = key("accuracy in each group; null where the data have no groups")
    minority_recall: Share | None = key("TP/(TP+FN) of label 0 of a two-class task; else null")
    minority_precision: Share | None = key("TP/(TP+FP) of label 0; null too where it was never predicted")
    confusion: list[list[Count]] | None = key("examples by label (row) and prediction (column)")
    group_confusion: list[list[list[Count]]] | None = on_request(
        "the same for each group; absent without groups, with very many counts, and in the oldest records"
    )


class TestMetrics3(Metrics3):
    test_accuracy: Share | None = key("share of test examples with the right label")
    test_size: Positive | None = key("test examples")
    best_epoch_test_accuracy: Share | None = key(
        "the highest in the last stage, or what its method ends with; selected on the test set, so no result"
    )


class ValidationMetrics3(Metrics3):
    validation_accuracy: Share | None = key("share of validation examples with the right label")
    validation_size: Positive | None = key("validation examples")
    best_epoch_validation_accuracy: Share | None = key("the highest in the last stage, or what its method ends with")


class AlsoMeasured(Part):
    accuracy: Share = key("share of its examples with the right label")
    balanced_accuracy: Share | None = key("mean over classes of their accuracies")
    per_class_accuracy: list[Share | None] = key("share of the examples of each label that got it")
    confusion: list[list[Count]] = key("examples by label (row) and prediction (column)")
    size: Positive = key("its examples")


Also = Literal["train", "train_clean", "validation", "validation_clean"]  # clean: against the true labels


class Curves(Part):
    epoch: list[Positive] = key("epochs that are over, over all stages")
    train_loss: list[float | None] = key("mean loss of the epoch's batches; null if not finite")
    effective_weight: list[float | None] = key("mean total weight of the epoch's batches; null if not finite")
    minority_recall: list[Share | None] = key("as in metrics")
    minority_precision: list[Share | None] = key("as in metrics")
    train_seconds: list[Seconds] = key("`seconds` so far")


class TestCurves(Curves):
    test_accuracy: list[Share] = key("as in metrics")


class ValidationCurves(Curves):
    validation_accuracy: list[Share] = key("as in metrics")


class Curves3(Curves):
    stage: list[Count] = key("the stage of each epoch, counted from 0")
    minority_recall: list[Share | None] = key("as in metrics; null after an epoch in which the run diverged")
    minority_precision: list[Share | None] = key("as in metrics; null after an epoch in which the run diverged")
    train_accuracy: list[Share | None] = on_request("as in also_measured.train")
    train_balanced_accuracy: list[Share | None] = on_request("as in also_measured.train")
    train_clean_accuracy: list[Share | None] = on_request("as in also_measured.train_clean")
    train_clean_balanced_accuracy: list[Share | None] = on_request("as in also_measured.train_clean")
    validation_balanced_accuracy: list[Share | None] = on_request("as in metrics, or in also_measured.validation")
    validation_clean_accuracy: list[Share | None] = on_request("as in also_measured.validation_clean")
    validation_clean_balanced_accuracy: list[Share | None] = on_request("as in also_measured.validation_clean")


class TestCurves3(Curves3):
    test_accuracy: list[Share | None] = key("as in metrics; null after an epoch in which the run diverged")
    test_balanced_accuracy: list[Share | None] = on_request("as in metrics")
    validation_accuracy: list[Share | None] = on_request("as in also_measured.validation")


class ValidationCurves3(Curves3):
    validation_accuracy: list[Share | None] = key("as in metrics; null after an epoch in which the run diverged")


class RecordBase(Part):
    digest: Digest = key("sha256 of the canonical JSON of all other keys")
    run: str = key("SCALE/PAPER/EXPERIMENT/SETTING/METHOD/seedN")
    spec: Spec = key("all that the run depends on; its keys are explained in config/README.md")
    spec_digest: Digest = key("sha256 of the canonical JSON of `spec`")
    code: Code = key("the code that it executed")
    git: Git = key("the repository when its last part began")
    split: SplitOf = key("the split of the data")
    raw: list[RawFile] = key("the raw files that the split was drawn from")
    device: Device = key("what it ran on")
    status: Literal["finished", "diverged"] = key("diverged: a loss was not finite, or all weights were 0")
    diverged_at_step: Count | None = key("the first step at which it diverged, counted from 0; null if none")
    ended: Time = key("when its record was written, UTC")
    seconds: Seconds = key(
        "spent on steps, s: processor time on a CPU (of all threads); wall clock on a GPU, each moment of it shared "
        "by the runs that were there (`device.runs_at_once`)"
    )
    gpu_seconds: Seconds = key("`seconds` on a GPU; 0 on a CPU")
    peak_bytes: Positive = key(
        "most memory held at once, bytes: allocated on the GPU, or resident in the process; of runs that shared a GPU "
        "(`device.runs_at_once`), that of all of them"
    )
    steps: Count = key("steps taken, over all stages")
    parameters: Count = key("trainable values of the model")
    trace: Trace | None = key("arrays that the method logged, in a file beside the record; null if none")


class Measured(RecordBase):
    curves: TestCurves | ValidationCurves = key("one entry for each evaluated epoch; test or validation")
    metrics: TestMetrics | ValidationMetrics = key("after the last step, shares from 0 to 1")


class Newer(RecordBase):
    environment: Environment = key("versions of what computed the numbers")
    started: Time = key("when its first part began, UTC")
    resumed: Count = key("how often it was stopped and went on from a checkpoint")
    group_sizes: Sizes | None = key("examples of each group in each part; null where the data have no groups")


class Record1(Measured):
    """A record of version 1."""

    record_version: Literal[1] = key("version of this format")
    environment: Environment1 = key("versions of what computed the numbers")
    started: Time = key("when its last part began, UTC")
    stage_one: StageOne | None = Field(default=None, description="stage one, where runs share it; else absent")


class Record2(Measured, Newer):
    """A record of version 2."""

    record_version: Literal[2] = key("version of this format")
    energy_joules: Annotated[float, Field(ge=0)] | None = key(
        "energy of the whole card while the run was on it, J, stage one included where it was taken over; runs that "
        "share the card (`device.runs_at_once`) each have all of it. null where nothing measures it"
    )
    stages: list[Stage] = key("the stages of training, in order; empty for a method that trains nothing")
    stage_one: StageOne | None = key("stage one, where runs share it; else null")


class Record3(Newer):
    """A record of version 3: what is written today."""

    record_version: Literal[3] = key("version of this format")
    energy_joules: Annotated[float, Field(ge=0)] | None = key(
        "energy of the card while the run was on it, J, its prefix included where it was taken over; runs of a process "
        "that share the card (`device.runs_at_once`) have equal shares. null where nothing measures it"
    )
    stages: list[TestStage | ValidationStage] = key(
        "the stages of training, in order; empty for a method that trains nothing"
    )
    prefix: Prefix | None = key(
        "the stages that runs share, whoever trained them; null if there are none, or the run diverged before their end"
    )
    begun_by: list[Begun] = Field(
        default=[],
        description="what other runs trained of it before it went on from there, apart from a prefix that was taken "
        "over at its end; absent in the oldest records",
    )
    diverged_because: str | None = key("what happened at `diverged_at_step`; null if it did not diverge")
    curves: TestCurves3 | ValidationCurves3 = key("one entry for each evaluated epoch; test or validation")
    metrics: TestMetrics3 | ValidationMetrics3 = key("after the last step, shares from 0 to 1; null if it diverged")
    also_measured: dict[Also, AlsoMeasured] | None = key(
        "the parts that `training.also_measure` names, after the last step; null if none, or if the run diverged"
    )


Record = Annotated[Record1 | Record2 | Record3, Field(discriminator="record_version")]
RECORD: TypeAdapter[Record1 | Record2 | Record3] = TypeAdapter(Record)


def faults(body: Any) -> list[str]:
    """Where `body` (as read from JSON) breaks the schema, one line each: `environment.cuda: Field required`."""
    try:
        RECORD.validate_json(json.dumps(body))
    except ValidationError as error:
        return [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
    return []


def text() -> str:
    """The content of config/record.schema.json: all versions, distinguished by `record_version`."""
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
