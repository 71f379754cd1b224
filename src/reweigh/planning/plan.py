"""What would run, what it would cost, and which records are missing or stale, before anything runs.

The cost of a run is its number of steps times the time of one. The best source for that is used (`SOURCES`): records
of the same method, model and batch size made on this machine, at any scale; figures of `reweigh bench` from this
machine; records made elsewhere; else what config/costs.yaml and the method's card assume. The table says which it was.
"""

import contextlib
import functools
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.bench.table import CSV, devices, method_key, processor, read
from reweigh.config.cards import card_of, plain
from reweigh.config.costs import assumed
from reweigh.config.grid import Config
from reweigh.config.known_sizes import called
from reweigh.config.loading import load
from reweigh.config.names import ArtifactName, NotAName, RunName, with_also
from reweigh.config.sizes import epoch_at_most
from reweigh.config.specs import SCALES
from reweigh.config.validation import lookup
from reweigh.data import local_cards
from reweigh.data.local_cards import is_local
from reweigh.data.obtain import recipe_digest
from reweigh.errors import ConfigError, RecordError
from reweigh.listing import visible
from reweigh.planning.once import TrainedOnce, kept_parts
from reweigh.records import attestations, record

SOURCES = ("records", "bench", "records made elsewhere", "assumed")  # of the time of a step; the best first
SIDE = 32  # pixels of the images that config/costs.yaml speaks of
BLOCK = re.compile(r"(?P<scale>[^/]+)/(?P<paper>[^/]+)(/(?P<experiment>[^/]+)(/(?P<setting>[^/]+))?)?")  # of the grid


@dataclass(frozen=True)
class Planned:
    """A run, the state of its record ("current", "missing" or "stale: ..."), its steps, their cost and its source.

    `at_most` says that the steps may be fewer: how many examples an epoch has, only its method knows.

    What pending runs have in common is trained once, and in the cost of the first of them; what is kept from earlier
    runs costs nothing.
    """

    run: str
    spec: dict[str, Any]
    state: str
    steps: int
    seconds: float
    source: str  # one of SOURCES
    at_most: bool = False

    @property
    def pending(self) -> bool:
        """Whether it would be trained."""
        return self.state != "current"


def make(targets: list[str], scale: str, root: str | Path = ".") -> list[Planned]:
    """The runs behind some targets (without any: the configured papers at `scale`), with their state and cost."""
    config = load(root)
    runs = (
        [run for target in targets for run in runs_of_target(config, target)] if targets else everything(config, scale)
    )
    return of_runs(config, runs)


def of_runs(config: Config, runs: Iterable[str]) -> list[Planned]:
    """Some runs of a config, each once, with state and cost."""
    costs, planned = Costs(config.root), []
    for run in dict.fromkeys(runs):
        spec = config.resolve(run)
        per_step, source = costs.per_step(spec)
        steps, at_most = steps_of(spec), steps_may_be_fewer(spec)
        state = state_of(run, spec, config.root)
        planned.append(Planned(run, spec, state, steps, steps * per_step, source, at_most))
    if not any(run.pending for run in planned):
        return planned
    once = TrainedOnce(kept_parts(config.root))
    return [replace(run, seconds=run.seconds * _left(run.spec, once)) if run.pending else run for run in planned]


def _left(spec: dict[str, Any], once: TrainedOnce) -> float:
    return once.left(spec, [steps * size for steps, size in _stages(spec)])


def everything(config: Config, scale: str) -> list[str]:
    """All runs of the configured papers at a scale."""
    return [run for paper in config.papers_at(scale) for run in _of_paper(config, scale, paper)]


def _of_paper(config: Config, scale: str, paper: str) -> list[str]:
    """The runs of a paper's grid, and those of extensions that its artifacts need beyond the grid."""
    needed = [cell for name in config.paper(paper).artifacts for cell in config.cells_of(scale, paper, name)]
    return list(dict.fromkeys([*config.runs(scale, paper), *(run for cell in needed for run in config.runs_of(cell))]))


def runs_of_target(config: Config, target: str) -> list[str]:
    """The runs behind a run, a record, a cell, an experiment, a paper, or a figure with or without its ending."""
    name = target.strip("/").removeprefix("results/").removesuffix(".json")
    with contextlib.suppress(NotAName):
        return config.runs_named(name)
    if artifact := artifact_of(config, name):
        return [run for cell in config.cells_of(*artifact) for run in config.runs_of(cell)]
    block = BLOCK.fullmatch(name)
    if block is None:
        raise ConfigError(
            f"{target!r} is not a target; write SCALE/PAPER[/EXPERIMENT[/SETTING[/METHOD[/seedN]]]] or a figure"
        )
    scale, paper, experiment, setting = block["scale"], block["paper"], block["experiment"], block["setting"]
    lookup("scale", scale, SCALES)
    if experiment is None:
        return _of_paper(config, scale, paper)
    runs = config.runs(scale, paper, experiment)
    if setting is not None:
        lookup("setting", setting, config.experiment(paper, experiment).settings)
        runs = [run for run in runs if RunName.parse(run).setting == setting]
    return runs


def runs_with_splits(config: Config, targets: Iterable[str]) -> list[str]:
    """A run for each of the splits behind some targets; a split may be named itself, or by its file."""
    runs: dict[str, str] = {}
    for target in targets:
        name = target.strip("/").removeprefix("data/splits/").removesuffix(".npz").removesuffix(".json")
        try:
            found = [config.run_with_split(name)]
            config.check_seed(config.run_name(found[0]))
        except NotAName:
            found = runs_of_target(config, target)
        for run in found:
            runs.setdefault(str(RunName.parse(run).split), run)
    return list(runs.values())


def is_wide(target: str) -> bool:
    """Whether a target stands for more than a cell."""
    return target.strip("/").removeprefix("results/").count("/") < 4


def to_train(config: Config, runs: Iterable[str]) -> str:
    """What training some runs would take, in one line."""
    planned = of_runs(config, runs)
    pending = [run for run in planned if run.pending]
    total = duration(sum(run.seconds for run in pending))
    return (
        f"{len(pending)} of {len(planned)} runs to train: about {total} of one core or device; "
        "Ctrl-C saves and stops, and the same command goes on"
    )


def artifact_of(config: Config, target: str) -> ArtifactName | None:
    """The artifact that a target names; None if it names none. Raises ConfigError for one that does not exist."""
    try:
        artifact = ArtifactName.parse(target)
    except NotAName:
        return None
    lookup("scale", artifact.scale, SCALES)
    experiments, artifacts = config.paper(artifact.paper).experiments, config.paper(artifact.paper).artifacts
    if artifact.name in experiments:
        return None
    names = artifacts if target.startswith("figures/") else [*experiments, *artifacts]
    lookup("target", with_also(artifact.name)[0], names, f"config/papers/{artifact.paper}")
    return artifact


# --- one run ---------------------------------------------------------------------------------------------------------


def steps_of(spec: dict[str, Any]) -> int:
    """Steps of a run: of each stage of its method, epochs times batches of what it trains on; see `Planned.at_most`."""
    return sum(steps for steps, _ in _stages(spec))


def steps_may_be_fewer(spec: dict[str, Any]) -> bool:
    """Whether `steps_of` is an upper estimate."""
    stages = card_of(spec["uses"]).stages(spec["method_options"], spec["training"]["epochs"])
    return any(epoch_at_most(spec["data"], stage)[1] for stage in stages if stage.epochs)


def _stages(spec: dict[str, Any]) -> list[tuple[int, int]]:
    """The steps of each stage of a run, and its batch size."""
    training, stages = spec["training"], []
    for stage in card_of(spec["uses"]).stages(spec["method_options"], training["epochs"]):
        examples, _ = epoch_at_most(spec["data"], stage)
        batch_size = stage.batch_size or training["batch_size"]
        size = max(min(batch_size, examples), 1)
        batches = examples // size if training["drop_last"] else math.ceil(examples / size)
        stages.append((stage.epochs * batches, batch_size))
    return stages


def _load(spec: dict[str, Any]) -> float:
    """The mean size of the batches of a run, in batches of its training block; 1 unless a stage has its own.

    A step of a stage that trains the head alone counts as one that trains the whole model: an upper bound.
    """
    examples, steps = sum(steps * size for steps, size in _stages(spec)), steps_of(spec)
    return examples / (steps * spec["training"]["batch_size"]) if steps else 1.0


def state_of(run: str, spec: dict[str, Any], root: Path) -> str:
    """The state of a run's record: "current", "missing", or "stale: ..." with what changed."""
    path = record.record_path(run, root)
    if not path.is_file():
        return "missing"
    try:
        recipe, attested = recipe_digest(spec, root / "data"), attestations.load(root)
        reasons = record.stale_because(record.read(path), spec, recipe, attested)
    except RecordError as error:
        return f"stale: {error}"
    return f"stale: {' and '.join(reasons)} changed" if reasons else "current"


class Costs:
    """Seconds of one training step on this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.here, self.elsewhere = self._records()
        self.bench = [line for line in read(root / CSV) if line.device in devices()]
        self.assumed = assumed(root)

    def per_step(self, spec: dict[str, Any]) -> tuple[float, str]:
        """Mean seconds of a step of `spec` over all stages, and their source, one of SOURCES."""
        if not card_of(spec["uses"]).stages(spec["method_options"], spec["training"]["epochs"]):
            return 0.0, "records"
        key = _kind(spec)
        if key in self.here:
            return self.here[key], "records"
        if (seconds := self._benched(spec)) is not None:
            return seconds * _load(spec), "bench"
        if key in self.elsewhere:
            return self.elsewhere[key], "records made elsewhere"
        width = float(spec["model"]["options"].get("width", 1.0))
        base = self.assumed.of(spec["model"]["name"])
        share = spec["training"]["batch_size"] / 50 * width
        return base * self._factor(spec) * share * _size(spec) * _load(spec) / 1000, "assumed"

    def _benched(self, spec: dict[str, Any]) -> float | None:
        """Seconds of a step by the bench: as measured, or a plain step of the model times the method's factor.

        None for a model, batch size or precision that was not measured. On a processor, the time of a step is taken to
        be inversely proportional to the number of threads.
        """
        model, training = spec["model"], spec["training"]
        key = (model["name"], training["batch_size"], training["precision"])
        lines = [line for line in self.bench if (line.model, line.batch_size, line.precision) == key]
        if not lines or float(model["options"].get("width", 1.0)) != 1 or _size(spec) != 1:
            return None
        timed = {line.method: line for line in lines}
        method = method_key(spec["uses"], spec["method_options"])
        baseline = method_key(plain(), {})
        if method not in timed and baseline not in timed:
            return None
        line = timed.get(method) or timed[baseline]
        factor = 1.0 if method in timed else self._factor(spec)
        threads = line.threads / training["threads"] if line.device == processor() else 1.0
        return line.milliseconds * factor * threads / 1000

    def _factor(self, spec: dict[str, Any]) -> float:
        """The cost of a method's step in plain steps: as measured here with another model, else as assumed."""
        method = method_key(spec["uses"], spec["method_options"])
        ratios = [line.ratio for line in self.bench if line.method == method and line.ratio is not None]
        return max(ratios) if ratios else card_of(spec["uses"]).cost

    def _records(self) -> tuple[dict[str, float], dict[str, float]]:
        """Mean seconds of a step by kind of run, from the records of this machine's devices, and from all others."""
        times_here: dict[str, list[float]] = defaultdict(list)
        times_elsewhere: dict[str, list[float]] = defaultdict(list)
        for path in visible(self.root / "results", "*/*/*/*/*/seed*.json"):
            for kind, device, seconds in _seconds_per_step(path, path.stat().st_mtime_ns):
                (times_here if device in devices() else times_elsewhere)[kind].append(seconds)
        return _means(times_here), _means(times_elsewhere)


def _means(times: dict[str, list[float]]) -> dict[str, float]:
    return {kind: math.fsum(values) / len(values) for kind, values in times.items()}


@functools.lru_cache(maxsize=100_000)
def _seconds_per_step(path: Path, stamp: int) -> tuple[tuple[str, str, float], ...]:
    """(kind of run, device, seconds of a step) from a record; empty if it cannot be read or took no step."""
    try:
        body = canonical_json.read(path)
        return ((_kind(body["spec"]), str(body["device"]["name"]), body["seconds"] / body["steps"]),)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
        return ()


def _size(spec: dict[str, Any]) -> float:
    """How much larger a step is than of the whole net on 32 pixels a side: by layers, and by pixels of a user's own."""
    model, data = spec["model"], spec["data"]
    layers, blocks = re.fullmatch(r"resnet(\d+)", model["name"]), model["options"].get("blocks")
    share = (6 * blocks + 2) / int(layers[1]) if layers and blocks else 1.0
    inputs = local_cards.of(data["options"])["inputs"] if is_local(data["dataset"]) else None
    return share * (inputs[-1] / SIDE) ** 2 if isinstance(inputs, list) else share


def _kind(spec: dict[str, Any]) -> str:
    """A key that is the same for runs whose steps cost the same: cifar10, cifar100 and their slices count as one."""
    model, training = spec["model"], spec["training"]
    method = method_key(spec["uses"], spec["method_options"])
    dataset = spec["data"]["dataset"]
    # Local data have inputs of their own, as wide or as large as they are.
    family = called(spec["data"]) if is_local(dataset) else re.split(r"[^a-z]", dataset, maxsplit=1)[0]
    return f"{method} {model['name']} {model['options']} {family} {training['batch_size']}"


# --- time -------------------------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Seconds in a unit to plan with: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
