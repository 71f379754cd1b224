"""What every method must hold to in a whole run: its steps, its state, its neighbours, its values, its cost.

    watched = Watched("sqrt2", options, raw)     # a short run of LeNet on real MNIST, every step of it watched
    check_replay(watched)                        # captured once, as on a GPU, it ends with the same bits

A method is known by its module's name and its card alone, so that a new one is checked by being there. A check that
fails raises AssertionError, with what is wrong, or the method itself raises.
"""

import copy
import io
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils._pytree import tree_map_only

from reweigh.checking import capture
from reweigh.checking.options import Options, require
from reweigh.data.arrays import RawData
from reweigh.data.split import draw
from reweigh.losses import Loss
from reweigh.methods import base
from reweigh.training import sealed
from reweigh.training.engine import Run, eagerly

CPU = torch.device("cpu")
EPOCHS = 3
DATASET = "mnist"
SPEC: dict[str, Any] = {
    "spec_version": 1, "scale": "smoke", "paper": "check", "experiment": "check", "setting": "check", "seed": 0,
    "model": {"name": "lenet", "options": {}},
    "data": {
        "dataset": DATASET, "options": {}, "scale_inputs": "centred", "augment": "none",
        "split": {
            "kind": "two-class", "classes": [4, 9], "total": 300, "imbalance_ratio": 10.0, "order": "random",
            "target_size": 20, "target_inside": False, "validation_size": 20, "test": "balanced", "test_size": 100,
        },
    },
    "training": {
        "epochs": EPOCHS, "batch_size": 50, "target_batch_size": 10, "learning_rate": 0.01, "momentum": 0.9,
        "nesterov": False, "weight_decay": 0.002, "gradient_clip": None, "precision": "fp32", "threads": 1,
        "evaluate_every": 1,
        "drop_last": False,  # a short last batch is a program of its own
        "schedule": {"name": "step", "milestones": [91, 136, 182], "factor": 0.1, "warmup_epochs": 0},
    },
}  # fmt: skip

Tick = Callable[[Run], None]


def spec_of(uses: str, options: Options) -> dict[str, Any]:
    """The spec of a short run of LeNet on real MNIST, 4 against 9, with a target and a validation set."""
    return {**copy.deepcopy(SPEC), "method": "walked", "uses": uses, "method_options": copy.deepcopy(dict(options))}


def run_of(
    uses: str, options: Options, raw: RawData, execute: Callable[..., Any] = capture.observed, seed: int = 0
) -> Run:
    """A run of that spec that has taken no step, every step of which is watched: one that asks for a value fails."""
    spec = {**spec_of(uses, options), "seed": seed}
    torch.set_num_threads(1)
    return Run(spec, raw, draw(raw, spec["data"]["split"], seed), CPU, execute)


def outcome(run: Run) -> tuple[Any, Any, Any]:
    """All that a run computed, without its timings: to be compared bit for bit."""
    results = run.results()
    results.pop("seconds")
    results["curves"] = {name: values for name, values in results["curves"].items() if name != "train_seconds"}
    weights = {name: value.numpy().tobytes() for name, value in run.model.state_dict().items()}
    return results, weights, {name: rows.tobytes() for name, rows in run.trace().items()}


class Watched:
    """A run taken to its end under watch, with its state after some steps, and which of its tensors have moved.

    `shared` is its state at the end of its prefix, None where it has none.
    """

    def __init__(self, uses: str, options: Options, raw: RawData) -> None:
        self.uses, self.options, self.raw = uses, options, raw
        self.run = run_of(uses, options, raw)
        total = self.run.total_steps
        self.states: dict[int, bytes] = {}
        self.moved: set[str] = set()
        before = {name: value.clone() for name, value in tensors_of(self.run.method).items()}
        stops = {total // 2, total - 2} if total else set()

        def tick(run: Run) -> None:
            for name, value in tensors_of(run.method).items():
                if name not in before or not same(value, before[name]):
                    self.moved.add(name)
            if run.step in stops:
                file = io.BytesIO()
                torch.save(run.state(), file)
                self.states[run.step] = file.getvalue()

        self.prefix = self.run.method.prefix()
        self.shared = state_after(self.run, self.prefix.stages, tick) if self.prefix else None
        self.run.finish(tick)
        self.outcome = outcome(self.run)


def check_replay(watched: Watched) -> None:
    """Recorded once a program and then replayed, it ends with the same bits: only tensors carry on to the next step."""
    executor = capture.Replayed()
    run = run_of(watched.uses, watched.options, watched.raw, executor)
    run.finish()
    text = "a replayed step is not the step: something is decided or kept in Python"
    require(outcome(run) == watched.outcome, text)
    require(executor.replays > 0 or not run.step, "no step was replayed: each has a program of its own, see prepare()")


def check_resume(watched: Watched) -> None:
    """Killed after some step and resumed from its state by another object, it ends with the same bits.

    Every tensor of the method that a run moves is spoilt in that object first: what `state` forgets stays spoilt.
    """
    for step, state in watched.states.items():
        run = run_of(watched.uses, watched.options, watched.raw)
        spoilt = [name for name, value in tensors_of(run.method).items() if name in watched.moved and spoil(value)]
        run.load_state(_loaded(state))
        require(run.step == step, f"resumed from its state after step {step}, it is at step {run.step}")
        run.finish()
        text = f"stopped after step {step}, it ends otherwise; see what state() keeps of {', '.join(spoilt)}"
        require(outcome(run) == watched.outcome, text)


def check_state(watched: Watched) -> None:
    """What `load_state` was given, `state` gives back, bit for bit, into the tensors that a captured step reads."""
    for step, state in watched.states.items():
        run = run_of(watched.uses, watched.options, watched.raw)
        places = {name: value.data_ptr() for name, value in tensors_of(run.method).items()}
        run.load_state(_loaded(state))
        given, back = (in_bytes(one["method"]) for one in (_loaded(state), run.state()))
        lost = [name for name in given if given[name] != back.get(name)]
        require(not lost, f"after load_state, state() gives another {', '.join(lost)} than was saved after step {step}")
        if run.stage:  # a method takes other tensors as it enters a stage, before any step of it is captured
            continue
        now = tensors_of(run.method)
        there = [name for name in watched.moved if name in places and name in now]
        moved = [name for name in there if now[name].data_ptr() != places[name]]
        require(not moved, f"load_state makes a new tensor of {', '.join(moved)}; write in place, with copy_")


def check_alone(watched: Watched) -> None:
    """Beside a run with another seed, a step of each in turn, it ends with the same bits as alone."""
    ours, theirs = (run_of(watched.uses, watched.options, watched.raw, seed=seed) for seed in (0, 1))
    while not (ours.over and theirs.over):
        for run in (theirs, ours):
            if not run.over:
                run.advance()
    text = "beside another run it ends otherwise: something is shared between runs, in the class or in the module"
    require(outcome(ours) == watched.outcome, text)


class Seen(NamedTuple):
    """What is wrong with a run's values, and what `learn` changes of its model; a line each, up to the first step."""

    values: list[str]
    changes: list[str]


def check_values(seen: Seen) -> None:
    """Losses and weights have one finite value for each example of a batch."""
    require(not seen.values, seen.values[0] if seen.values else "")


def check_learn(seen: Seen) -> None:
    """`learn` leaves the parameters and statistics of the model as they were."""
    require(not seen.changes, seen.changes[0] if seen.changes else "")


def look_at(uses: str, options: Options, raw: RawData) -> Seen:
    """Take a run to its end, or to the first step in which something is wrong with values or model."""
    return _seen_in(run_of(uses, options, raw, eagerly))


def _seen_in(run: Run) -> Seen:
    values: list[str] = []
    changes: list[str] = []
    method = run.method
    learn, losses, weights = method.learn, method.example_losses, method.example_weights

    def learned(step: base.Step) -> None:
        before = in_bytes(run.model.state_dict())
        learn(step)
        after = in_bytes(run.model.state_dict())
        if changed := [name for name in before if before[name] != after[name]]:
            changes.append(f"step {run.step}: learn() changes {', '.join(changed)} of the model")

    def lossy(logits: torch.Tensor, batch: Any) -> torch.Tensor:
        return _looked_at(values, losses(logits, batch), logits, f"step {run.step}: example_losses")

    def weighed(step: base.Step, given: torch.Tensor) -> torch.Tensor:
        return _looked_at(values, weights(step, given), given, f"step {run.step}: example_weights")

    def step(program: Any, device_side: Callable[[], Any]) -> Any:
        vars(method).update(learn=learned, example_losses=lossy, example_weights=weighed)
        try:
            return device_side()
        finally:
            for name in ("learn", "example_losses", "example_weights"):
                vars(method).pop(name, None)

    run.execute = step
    try:
        while not (run.over or values or changes):
            run.advance()
    except Exception:
        if not (values or changes):  # else it fails by what was found
            raise
    return Seen(values, changes)


def _looked_at(found: list[str], value: torch.Tensor, like: torch.Tensor, what: str) -> torch.Tensor:
    if value.shape != like.shape[:1]:
        found.append(f"{what} has shape {tuple(value.shape)}, not {tuple(like.shape[:1])}: one value for each example")
    elif not value.isfinite().all():
        found.append(f"{what} has a value that is not finite")
    return value


def cost(uses: str, options: Options, plain: tuple[str, Options], raw: RawData) -> float:
    """The time of its mean step over that of plain training's, in this process, step by step in turn on the CPU."""
    runs = [run_of(*one, raw, eagerly) for one in ((uses, options), plain)]
    while not all(run.over for run in runs):
        for run in runs:
            if not run.over:
                run.advance()
    ours, theirs = (run.seconds / max(run.step, 1) for run in runs)
    return ours / theirs if theirs else math.nan


# --- tensors and states ----------------------------------------------------------------------------------------------


def state_after(run: Run, stages: int, tick: Tick | None = None) -> dict[str, Any]:
    """Take a run to the end of so many stages; its state after their last step, as others go on from it."""
    file = io.BytesIO()

    def keep(run: Run) -> None:
        if run.stage + 1 == stages:
            torch.save(run.state(), file)

    run.stage_over = keep
    while run.stage < stages and not run.over:
        run.advance()
        if tick:
            tick(run)
    run.stage_over = None
    state: dict[str, Any] = sealed.load(io.BytesIO(file.getvalue()))
    return state


def tensors_of(value: Any, name: str = "", depth: int = 4) -> dict[str, torch.Tensor]:
    """Every tensor that a method's attributes hold, its loss's too, by its place; not those of its run's context."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    if isinstance(value, base.Method | Loss):
        inside: dict[Any, Any] = {
            key: one for key, one in vars(value).items() if key not in ("context", "logged", "options")
        }
    elif isinstance(value, dict):
        inside = value
    elif isinstance(value, list | tuple):
        inside = dict(enumerate(value))
    else:
        return {}
    found: dict[str, torch.Tensor] = {}
    for key, one in inside.items() if depth else ():
        found |= tensors_of(one, f"{name}.{key}".lstrip("."), depth - 1)
    return found


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have the same shape, type and values; NaN is like NaN."""
    return one.shape == other.shape and one.dtype == other.dtype and bool(((one == other) | (one != one)).all())


def spoil(value: torch.Tensor) -> bool:
    """Overwrite a tensor with what no run can have meant; True."""
    with torch.no_grad():
        if value.dtype == torch.bool:
            value.logical_not_()
        elif value.is_floating_point():
            value.fill_(math.nan)
        else:
            value.add_(1)
    return True


def in_bytes(state: Any) -> Any:
    """A part of a state, to compare: tensors and arrays as their bytes, without times."""
    if isinstance(state, dict):
        state = {key: value for key, value in state.items() if key != "train_seconds"}
    state = tree_map_only(torch.Tensor, lambda value: value.detach().cpu().numpy(), state)
    return tree_map_only(np.ndarray, lambda value: (value.shape, str(value.dtype), value.tobytes()), state)


def _loaded(state: bytes) -> Any:
    return sealed.load(io.BytesIO(state))
