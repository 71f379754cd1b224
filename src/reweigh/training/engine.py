"""The one loop. It owns batches, optimiser, schedule, stages, evaluation and state; a method owns losses and weights.

A run is a pure function of (spec, data, split, device, library versions): no clock, no neighbour and no interruption
decides anything. Its whole state between two steps fits in `Run.state()`, and a run that is loaded from it goes on bit
for bit.

Each step has a host side, which seeks batches and sets numbers, and a device side, which only reads and writes tensors
at addresses that stay. So whoever makes a run may have the device side captured and replayed (`execute`); that changes
when the work is launched, never what is computed.
"""

import time
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from reweigh.data.arrays import RawData, Split
from reweigh.errors import ConfigError
from reweigh.methods.base import Step
from reweigh.models import parameter_count
from reweigh.models.layers import dropout_layers, hold_dropout
from reweigh.optimisers import MomentumSGD, Optimiser
from reweigh.streams import stream_seed
from reweigh.training.evaluation import Evaluation, exact_head
from reweigh.training.stages import Course, Parts, check, context_of, courses, members_of, method_of, new_model
from reweigh.training.tally import FAULTS, NOT_FINITE, UNPREDICTED, Tally

CURVES = ("epoch", "stage", "train_loss", "effective_weight", "train_seconds")
Tick = Callable[["Run"], None]
Logged = dict[str, torch.Tensor]


def eagerly(program: Hashable, device_side: Callable[[], Logged]) -> Logged:
    """Execute the device side of a step as it comes; what it logged. The plainest of executors."""
    return device_side()


class Run:
    """One run from its first step to its last. `spec` is a resolved spec; data and split are what it names.

    `execute(program, device_side)` executes the device side of a step; steps with equal programs launch the same work.
    `stage_over(run)`, if it is set, is called after the last step of each stage, before what the method makes of it.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        data: RawData,
        split: Split,
        device: torch.device,
        execute: Callable[[Hashable, Callable[[], Logged]], Logged] = eagerly,
    ) -> None:
        self.spec, self.device, self.execute, self.seed = spec, device, execute, spec["seed"]
        self.parts = Parts(spec, data, split, device)
        self.evaluation = Evaluation(self.parts, len(split.class_counts), len(split.group_counts))
        self.model = new_model(self.parts, self.evaluation.classes)
        self.method = method_of(spec, self.parts, self.evaluation.classes)
        self.courses = courses(self.method, self.parts, spec["training"], self.seed)
        check(self.courses, self.model)
        if self.evaluation.measured == "validation" and any("validation" in one.stage.part for one in self.courses):
            raise ConfigError("evaluate_on is validation, but a stage trains on it; evaluate on the test set")
        self.stage_over: Callable[[Run], None] | None = None

        # Where the run is: in which stage, and after how many steps of it and of all.
        self.stage, self.stage_step, self.step = 0, 0, 0
        self.begun = 0  # stages whose `begin` this object has called
        # What it has found so far. On a CPU the clock counts time spent computing, so that neighbours on the machine
        # do not count; on a GPU, time that passed.
        self.clock = time.perf_counter if device.type == "cuda" else time.process_time
        self.seconds = 0.0
        self.diverged_at: int | None = None
        self.diverged_because: str | None = None
        self.curves: dict[str, list[Any]] = {name: [] for name in (*CURVES, *self.evaluation.names())}
        self.rows: dict[str, list[torch.Tensor]] = {}  # the trace
        # What the device side of a step reads and writes.
        self.number = torch.zeros((), dtype=torch.int64, device=device)  # of the step
        self.dropout_seed = self.number.clone() if dropout_layers(self.model) else None
        self.tally = Tally(0, device)
        self.optimiser: Optimiser | None = None
        self._enter()

    # --- what a run is made of ------------------------------------------------------------------------------------

    @property
    def course(self) -> Course:
        """The present stage."""
        return self.courses[self.stage]

    @property
    def total_steps(self) -> int:
        """How many steps the whole run takes."""
        return sum(course.steps for course in self.courses)

    @property
    def over(self) -> bool:
        """Whether no step is left to take."""
        return self.stage >= len(self.courses) or self.diverged_at is not None

    # --- a step ---------------------------------------------------------------------------------------------------

    def finish(self, tick: Tick | None = None) -> None:
        """Take every step that is left. `tick(run)` is called after each step; between steps nothing is half done."""
        while not self.over:
            self.advance()
            if tick:
                tick(self)

    def advance(self) -> None:
        """Take the next step, and do what ends with it: an epoch, a stage.

        A run stops at the end of the epoch in which a loss was no longer finite, or all weights were 0, or after which
        a measured prediction is not finite; `diverged_at` then holds that step.
        """
        started, course = self.clock(), self.course
        self._set_precision()
        if self.stage_step % course.steps_per_epoch == 0:
            self._begin_epoch()
        self._host_side()
        self._keep(self.execute((self.stage, self.program, course.batches.size), self._device_side))
        self.step += 1
        self.stage_step += 1
        end_of_epoch = self.stage_step % course.steps_per_epoch == 0
        if end_of_epoch and self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        self.seconds += self.clock() - started
        if end_of_epoch:
            self._end_epoch()
        if self.stage_step == course.steps and self.diverged_at is None:
            self._end_stage()
            self._enter()

    def _resume(self) -> float:
        """Read the clock where work goes on, perhaps after an evaluation: one that runs share charges nobody for it."""
        seconds: float = getattr(self.clock, "resume", self.clock)()
        return seconds

    def _set_precision(self) -> None:
        """Have the GPU compute as this run's spec says; another run in this process may have said otherwise."""
        if self.device.type == "cuda":
            allowed = self.spec["training"]["precision"] == "tf32"
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed

    def _begin_epoch(self) -> None:
        course, self.method.logged = self.course, {}
        with torch.no_grad():
            self.method.begin_epoch(course.at(self.stage_step), self.model)
        if course.stage.lists:
            course.follow(members_of(self.method, course))
            self.method.recount(course.at(self.stage_step))
        self._keep(self.method.logged)

    def _host_side(self) -> None:
        """Everything that depends on the number of the step: learning rate, batches, seeds, and which program it is."""
        course = self.course
        at = course.at(self.stage_step)
        assert self.optimiser is not None
        self.optimiser.prepare(at.learning_rate)
        course.batches.seek(self.stage_step)
        self.program = self.method.prepare(at)
        self.number.fill_(self.step)
        self.tally.prepare(self.stage_step % course.steps_per_epoch)
        if self.dropout_seed is not None:
            self.dropout_seed.fill_(stream_seed(self.seed, "dropout", self.step))

    def _device_side(self) -> Logged:
        """One step of training from tensors to tensors, waiting for none of their values; what the method logged."""
        method, model = self.method, self.model
        method.logged = {}
        batch = self.course.batches.current()
        step = Step(self.number, self.program, model, batch, self.dropout_seed)
        method.learn(step)
        hold_dropout(model, self.dropout_seed, "train")
        with method.watch(model):
            logits = model(method.inputs(step, batch)).float()
        losses = method.example_losses(logits, batch)
        weights = method.example_weights(step, losses.detach())
        loss = method.objective(step, logits, losses, weights)
        model.zero_grad(set_to_none=True)
        loss.backward()
        if (limit := self.course.training["gradient_clip"]) is not None:
            nn.utils.clip_grad_norm_(model.parameters(), limit)
        assert self.optimiser is not None
        self.optimiser.step({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
        counted, total = method.counted(batch, weights)
        self.tally.add(losses.detach(), counted, total, loss.detach())
        return method.logged

    def _keep(self, logged: Logged) -> None:
        for name, value in logged.items():
            self.rows.setdefault(name, []).append(value.detach().to(self.device, torch.float32, copy=True))

    # --- the end of an epoch --------------------------------------------------------------------------------------

    def _end_epoch(self) -> None:
        course = self.course
        mean_loss, mean_weight, fault = self.tally.epoch(course.steps_per_epoch, self.method.rests)
        if fault is not None:
            self._diverge(self.step - course.steps_per_epoch + fault[0], fault[1], self.tally.before(fault[0]))
        epoch = course.at(self.stage_step - 1).epoch + 1
        last = self.stage_step == course.steps or self.diverged_at is not None
        if last or epoch % self.spec["training"]["evaluate_every"] == 0:
            row = {
                "epoch": epoch,
                "stage": course.number,
                "train_loss": mean_loss if np.isfinite(mean_loss) else None,
                "effective_weight": mean_weight if np.isfinite(mean_weight) else None,
                "train_seconds": self.seconds,
                **self._measure(),
            }
            for name, curve in self.curves.items():
                curve.append(row.get(name))

    def _diverge(self, step: int, kind: int, before: str = "") -> None:
        told = (before if step else "; it was the first step") if kind in NOT_FINITE else ""
        self.diverged_at, self.diverged_because = step, FAULTS[kind] + told

    def _measure(self) -> dict[str, Any]:
        """The values of the curves, {} of a run that diverged, be it only seen by its predictions."""
        row: dict[str, Any] = self._measured(self.evaluation.row) if self.diverged_at is None else {}
        if row and self.evaluation.unpredicted:
            self._diverge(max(0, self.step - 1), UNPREDICTED)
        return row if self.diverged_at is None else {}

    def _measured(self, measure: Callable[[Callable[[torch.Tensor], torch.Tensor]], Any]) -> Any:
        """What `measure` makes of the predictions of the method in evaluation mode."""
        self.model.eval()
        in_fp32 = self.spec["training"]["precision"] == "bf16"
        with exact_head(self.model, self.device) if in_fp32 else nullcontext():
            result = measure(lambda inputs: self.method.predict(self.model, inputs))
        self._set_mode()
        return result

    # --- stages ---------------------------------------------------------------------------------------------------

    def _enter(self) -> None:
        """Begin the stage that the run has come to, after those of no epochs; measure what they did at the end."""
        self._set_precision()
        while self.diverged_at is None:
            self._begin(self.stage)
            if self.over or self.course.stage.epochs:
                break
            self._end_stage()
        if self.stage < len(self.courses):
            self._set_up()
        elif not self.courses or not self.courses[-1].stage.epochs:
            self._measure()

    def _begin(self, last: int) -> None:
        """Call the method's `begin` for every stage up to number `last` that has not begun in this object."""
        for course in self.courses[self.begun : last + 1]:
            started, self.method.logged = self._resume(), {}
            if course.stage.fresh and course.number:
                self.model = new_model(self.parts, self.evaluation.classes)
            if course.stage.lists:
                course.follow(members_of(self.method, course))
            if course.number or course.stage.lists:
                self.method.follow(context_of(course, self.method.context, self.seed))
            with torch.no_grad():
                self.method.begin(course.stage, self.model)
            self._keep(self.method.logged)
            self.seconds += self.clock() - started
        self.begun = max(self.begun, min(last + 1, len(self.courses)))

    def _end_stage(self) -> None:
        """Let the method take what it needs from the model of the stage, and go on to the next."""
        if self.stage_over:
            self.stage_over(self)
        started, self.method.logged = self._resume(), {}
        with torch.no_grad():
            self.method.end(self.course.stage, self.model)
        self._keep(self.method.logged)
        self.seconds += self.clock() - started
        self.stage, self.stage_step = self.stage + 1, 0

    def _set_up(self) -> None:
        """What the steps of the present stage use: the mode of the model, the optimiser of what is trained, a tally."""
        training = self.course.training
        trained, decay = self.course.trained(self.model)
        self._set_mode()
        self.tally = Tally(self.course.steps_per_epoch, self.device)
        self.optimiser = self.method.optimiser(trained, decay) or MomentumSGD(
            trained, training["learning_rate"], training["momentum"], training["nesterov"], decay
        )

    def _set_mode(self) -> None:
        """Training mode; in a stage that trains no more than the head, only for the head."""
        head_only = self.stage < len(self.courses) and self.course.stage.train != "all"
        self.model.train(not head_only)
        if head_only and isinstance(self.model.head, nn.Module):
            self.model.head.train()

    # --- what comes of it -----------------------------------------------------------------------------------------

    def results(self) -> dict[str, Any]:
        """What the record says of the run: status, curves, stages, metrics after the last epoch, cost.

        A run that diverged has no metrics: NaN logits are no prediction.
        """
        finished = self.diverged_at is None
        stages = [course.result(self.curves) for course in self.courses]
        found = self.evaluation.metrics(stages[-1]["best_epoch_test_accuracy"] if stages else None)
        measured: dict[str, Any] = {
            "curves": self.curves,
            "stages": stages,
            "metrics": found if finished else dict.fromkeys(found),
        }
        return {
            "status": "finished" if finished else "diverged",
            "diverged_at_step": self.diverged_at,
            "diverged_because": self.diverged_because,
            "seconds": self.seconds,
            "steps": self.step,
            "parameters": parameter_count(self.model),
            **self.evaluation.named(measured),
            "also_measured": self._measured(self.evaluation.beside) if self.evaluation.also and finished else None,
        }

    def trace(self) -> dict[str, np.ndarray]:
        """The arrays that the method logged, one row an outer step: name -> float32 (outer steps, ...)."""
        return {name: torch.stack(rows).cpu().numpy() for name, rows in self.rows.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that the spec asks for, of the model as it is: margins, features."""
        if self.diverged_at is not None:
            return {}
        kept: dict[str, np.ndarray] = self._measured(lambda predict: self.evaluation.arrays(self.model, predict))
        return kept

    # --- the state between two steps ------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on, and what it has logged so far.

        Random streams need no state of their own: each draw is a function of (seed, name, number of the step).
        """
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state() if self.optimiser else None,
            "method": self.method.state(),
            "trace": self.trace(),
            "position": (self.stage, self.stage_step, self.step),
            "begun": self.begun,
            "members": self.course.members if self.stage < len(self.courses) else None,
            "seconds": self.seconds,
            "curves": self.curves,
            "tally": self.tally.state(),
            "diverged": (self.diverged_at, self.diverged_because),
            "counts": self.evaluation.counts,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of this run, or of one that has trained the same so far.

        What this method remembers and that one's did not stays as it is. Nothing of `state` is kept.
        """
        self.stage, self.stage_step, self.step = state["position"]
        self._begin(state["begun"] - 1)  # for the shape of the model; its values come from the state
        self.model.load_state_dict(state["model"])
        entered = self.stage == state["begun"] - 1  # else it was saved after the last stage
        at_end = entered and self.stage_step == self.course.steps  # as `stage_over` saw it
        if entered and state["members"] is not None:  # those of the epoch: the method may list others by now
            self.course.follow(state["members"])
            self.method.recount(self.course.at(self.stage_step))
        if entered and not at_end:
            self._set_up()
            assert self.optimiser is not None
            self.optimiser.load_state(state["optimiser"])
            self.tally.load_state(state["tally"])
        self.method.load_state({**self.method.state(), **state["method"]})
        self.rows = {name: list(torch.from_numpy(rows).to(self.device)) for name, rows in state["trace"].items()}
        self.seconds, self.evaluation.counts = state["seconds"], state["counts"]
        self.diverged_at, self.diverged_because = state["diverged"]
        self.curves = {name: list(values) for name, values in state["curves"].items()}
        if at_end and not self.over:
            self._end_stage()
        if at_end or not entered:
            self._enter()  # after a last stage of no epochs it measures what that did
