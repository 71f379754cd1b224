"""What would run, what it would cost, and which records are missing or stale: asked before anything runs.

The cost of a run is its number of steps times the time of one. The best source for that is taken (`SOURCES`): records
of the same method, model and batch size made on this machine, at any scale; figures of `reweigh bench` from this
machine; records made elsewhere; else what config/costs.yaml and the method's card assume. The table says which it was.
"""

import functools
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reweigh.bench.table import CSV, devices, method_key, processor, read
from reweigh.config.cards import PlannedStage, card_of, plain
from reweigh.config.grid import Config, load
from reweigh.config.sizes import training_sizes
from reweigh.config.specs import SCALES
from reweigh.config.validation import lookup
from reweigh.data.obtain import recipe_digest
from reweigh.errors import ConfigError, RecordError
from reweigh.records import attestations, record

COSTS = "config/costs.yaml"
SOURCES = ("records", "bench", "records made elsewhere", "assumed")  # of the time of a step, the best first
FIGURE = re.compile(
    r"(?:figures/)?(?P<scale>smoke|quick|paper)/(?P<paper>[^/]+)/(?P<artifact>[^/]+?)(\.(pdf|png|csv|ipynb|json))?"
)


@dataclass(frozen=True)
class Planned:
    """A run, the state of its record ("current", "missing" or "stale: ..."), its steps, their cost, how it is known."""

    run: str
    spec: dict[str, Any]
    state: str
    steps: int
    seconds: float
    source: str  # one of SOURCES

    @property
    def pending(self) -> bool:
        return self.state != "current"


def make(targets: list[str], scale: str, root: str | Path = ".") -> list[Planned]:
    """The runs behind some targets (without any: the configured papers at `scale`), with their state and cost."""
    config = load(root)
    runs = (
        [run for target in targets for run in runs_of_target(config, target)] if targets else everything(config, scale)
    )
    specs = {run: config.resolve(run) for run in dict.fromkeys(runs)}
    costs = Costs(Path(root))
    planned = []
    for run, spec in specs.items():
        steps = steps_of(spec)
        per_step, source = costs.per_step(spec)
        planned.append(Planned(run, spec, state_of(run, spec, Path(root)), steps, steps * per_step, source))
    return planned


def everything(config: Config, scale: str) -> list[str]:
    """All runs of the configured papers at a scale."""
    return [run for paper in config.project.papers for run in _of_paper(config, scale, paper)]


def _of_paper(config: Config, scale: str, paper: str) -> list[str]:
    """The runs of a paper's grid, and those that its artifacts need beyond it: of extensions, which no paper has."""
    needed = [cell for name in config.paper(paper).artifacts for cell in config.cells_of(scale, paper, name)]
    return list(dict.fromkeys([*config.runs(scale, paper), *(run for cell in needed for run in config.runs_of(cell))]))


def runs_of_target(config: Config, target: str) -> list[str]:
    """The runs behind a run, a record, a cell, an experiment, a paper, or a figure with or without its ending."""
    name = target.strip("/").removeprefix("results/").removesuffix(".json")
    parts = name.split("/")
    if len(parts) == 6:
        return [str(config.run_name(name))]
    if len(parts) == 5:
        return config.runs_named(name)
    figure = FIGURE.fullmatch(name)
    if figure and figure["artifact"] not in (experiments := config.paper(figure["paper"]).experiments):
        artifacts = config.paper(figure["paper"]).artifacts
        known = artifacts if name.startswith("figures/") else [*experiments, *artifacts]
        lookup("target", figure["artifact"], known, f"config/papers/{figure['paper']}")
        cells = config.cells_of(figure["scale"], figure["paper"], figure["artifact"])
        return [run for cell in cells for run in config.runs_of(cell)]
    if len(parts) not in (2, 3, 4):
        raise ConfigError(f"{target!r} is no target; write SCALE/PAPER[/EXPERIMENT[/SETTING[/METHOD]]] or a figure")
    scale, paper = lookup("scale", parts[0], SCALES), parts[1]
    if len(parts) == 2:
        return _of_paper(config, scale, paper)
    runs = config.runs(scale, paper, parts[2])
    if len(parts) == 4:
        lookup("setting", parts[3], config.experiment(paper, parts[2]).settings)
        runs = [run for run in runs if run.split("/")[3] == parts[3]]
    return runs


# --- one run ---------------------------------------------------------------------------------------------------------


def steps_of(spec: dict[str, Any]) -> int:
    """Steps of a run: of each stage of its method, epochs times batches of its training set.

    A step of a stage that trains the head alone is thus priced as one that trains the whole model: an upper bound.
    """
    training, sizes = spec["training"], training_sizes(spec["data"])
    stages = card_of(spec["uses"]).stages(spec["method_options"], training["epochs"])
    return sum(stage.epochs * _batches(stage, training, sizes) for stage in stages)


def _batches(stage: PlannedStage, training: dict[str, Any], sizes: list[int]) -> int:
    """Batches of an epoch; of class-aware sampling, one that shows every class as often as the largest."""
    examples = max(sizes) * len(sizes) if stage.sampling == "class-aware" else sum(sizes)
    size = min(stage.batch_size or training["batch_size"], examples)
    return examples // size if training["drop_last"] else math.ceil(examples / size)


def state_of(run: str, spec: dict[str, Any], root: Path) -> str:
    """The state of a run's record: "current", "missing", or "stale: ..." with the parts that changed."""
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
    """Seconds of one training step on this machine, or of a processor with as many threads as a run asks for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.here, self.elsewhere = self._records()
        self.bench = [line for line in read(root / CSV) if line.device in devices()]
        self.assumed = yaml.safe_load((root / COSTS).read_text())

    def per_step(self, spec: dict[str, Any]) -> tuple[float, str]:
        """Seconds of a step of `spec`, and which of SOURCES says so."""
        if not card_of(spec["uses"]).stages(spec["method_options"], spec["training"]["epochs"]):
            return 0.0, "records"
        key = _kind(spec)
        if key in self.here:
            return self.here[key], "records"
        if (seconds := self._benched(spec)) is not None:
            return seconds, "bench"
        if key in self.elsewhere:
            return self.elsewhere[key], "records made elsewhere"
        width = float(spec["model"]["options"].get("width", 1.0))
        base = self.assumed["milliseconds"].get(spec["model"]["name"], self.assumed["milliseconds"]["default"])
        share = spec["training"]["batch_size"] / 50 * width
        return base * self._factor(spec) * share / 1000, "assumed"

    def _benched(self, spec: dict[str, Any]) -> float | None:
        """Seconds of a step from the bench: measured as it is, or a plain step of its model times the method's ratio.

        Only for the model and batch size that were measured. On a processor, time goes with the threads.
        """
        model, training = spec["model"], spec["training"]
        asked = (model["name"], training["batch_size"], training["precision"])
        lines = [line for line in self.bench if (line.model, line.batch_size, line.precision) == asked]
        if not lines or float(model["options"].get("width", 1.0)) != 1:
            return None
        known = {line.method: line for line in lines}
        method = method_key(spec["uses"], spec["method_options"])
        baseline = method_key(plain(), {})
        if method not in known and baseline not in known:
            return None
        line = known.get(method) or known[baseline]
        factor = 1.0 if method in known else self._factor(spec)
        threads = line.threads / training["threads"] if line.device == processor() else 1.0
        return line.milliseconds * factor * threads / 1000

    def _factor(self, spec: dict[str, Any]) -> float:
        """A method's step in plain steps: as measured with another model here, else assumed."""
        method = method_key(spec["uses"], spec["method_options"])
        ratios = [line.ratio for line in self.bench if line.method == method and line.ratio is not None]
        return max(ratios) if ratios else card_of(spec["uses"]).cost

    def _records(self) -> tuple[dict[str, float], dict[str, float]]:
        """Seconds of a step by kind of run, the mean over records: of this machine's devices, and of others."""
        found: tuple[dict[str, list[float]], dict[str, list[float]]] = (defaultdict(list), defaultdict(list))
        for path in (self.root / "results").glob("*/*/*/*/*/seed*.json"):
            for kind, device, seconds in _seconds_per_step(path, path.stat().st_mtime_ns):
                found[device not in devices()][kind].append(seconds)
        here, elsewhere = ({kind: math.fsum(times) / len(times) for kind, times in side.items()} for side in found)
        return here, elsewhere


@functools.lru_cache(maxsize=100_000)
def _seconds_per_step(path: Path, stamp: int) -> tuple[tuple[str, str, float], ...]:
    """What a record says of a step: (kind of run, device, seconds); nothing if it cannot be read or took no step."""
    try:
        body = json.loads(path.read_bytes())
        return ((_kind(body["spec"]), body["device"]["name"], body["seconds"] / body["steps"]),)
    except (OSError, ValueError, KeyError, ZeroDivisionError):
        return ()


def _kind(spec: dict[str, Any]) -> str:
    """Runs of the same kind have steps of the same cost."""
    model, training = spec["model"], spec["training"]
    method = method_key(spec["uses"], spec["method_options"])
    return f"{method} {model['name']} {model['options']} {spec['data']['dataset'][:5]} {training['batch_size']}"


# --- telling ---------------------------------------------------------------------------------------------------------


def show(planned: Iterable[Planned]) -> None:
    """Print a table: a line for each experiment and method, then what is stale and how to train what is pending."""
    from rich.console import Console
    from rich.table import Table

    planned = list(planned)
    console = Console()
    if not console.is_terminal:
        console.width = 120
    table = Table(box=None, pad_edge=False)
    for name in ("experiment", "method"):
        table.add_column(name, overflow="fold")
    for name in ("runs", "of these", "steps each", "to do", "by"):
        table.add_column(name, justify="right")
    groups: dict[tuple[str, str], list[Planned]] = defaultdict(list)
    for one in planned:
        groups[one.run.rsplit("/", 3)[0], one.spec["method"]].append(one)
    shown = ""
    for (experiment, method), runs in groups.items():
        table.add_row("" if experiment == shown else experiment, method, *_cells(runs))
        shown = experiment
    console.print(table)
    console.print(summary(planned), soft_wrap=True, highlight=False)


def _cells(runs: list[Planned]) -> list[str]:
    """The columns about the runs of one method: how many, their states, steps, and the cost of what is pending."""
    states = [one.state.split(":")[0] for one in runs]
    counts = [f"{states.count(state)} {state}" for state in ("current", "stale", "missing") if state in states]
    steps = sorted({one.steps for one in runs})
    pending = [one for one in runs if one.pending]
    worst = max((one.source for one in pending), key=SOURCES.index, default=SOURCES[0])
    cost = duration(sum(one.seconds for one in pending)) if pending else ""
    span = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    return [str(len(runs)), ", ".join(counts), span, cost, worst if pending else ""]


def summary(planned: list[Planned]) -> str:
    """How much there is to do, what is stale and why, and the command that does it."""
    pending = [one for one in planned if one.pending]
    total = duration(sum(one.seconds for one in pending))
    lines = [f"{len(pending)} of {len(planned)} runs to train: about {total} of one core or device, evaluation apart."]
    for one in planned:
        if one.state.startswith("stale"):
            lines.append(f"{one.run}: {one.state}")
    if any(one.state.startswith("stale") for one in planned):
        cells = dict.fromkeys(one.run.rpartition("/")[0] for one in planned if one.state.startswith("stale"))
        lines.append(f"Train the stale ones again with: reweigh train {' '.join(cells)}")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds in words that a person plans with: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def write_specs(planned: Iterable[Planned], folder: Path, pending_only: bool = False) -> int:
    """Write the resolved specs to `folder`, named after their runs with `__` for slashes; how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [one for one in planned if one.pending or not pending_only]
    for one in chosen:
        path = folder / f"{one.run.replace('/', '__')}.json"
        path.write_text(json.dumps(one.spec, indent=1) + "\n")
    return len(chosen)
