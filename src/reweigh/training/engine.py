"""The one loop. It owns batches, optimiser, schedule, stages, evaluation and state; a method owns losses and weights.

A run is a pure function of (spec, data, split, device, library versions): no clock, no neighbour and no interruption
decides anything. Its whole state between two steps fits in `Run.state()`, and a run that is loaded from it goes on bit
for bit.

Each step has a host side, which seeks batches and sets numbers, and a device side, which only reads and writes tensors
at addresses that stay. So whoever makes a run may have the device side captured and replayed (`execute`); that changes
when the work is launched, never what is computed.
"""

import importlib
import time
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch

from reweigh.data.arrays import RawData, Split
from reweigh.data.batches import make_part
from reweigh.evaluate import confusion, metrics
from reweigh.methods.base import Setting, Step
from reweigh.models import build, parameter_count
from reweigh.models.layers import dropout_layers, hold_dropout
from reweigh.streams import stream_seed
from reweigh.training.schedule import learning_rate

CURVES = (
    "epoch",
    "train_loss",
    "effective_weight",
    "test_accuracy",
    "minority_recall",
    "minority_precision",
    "train_seconds",
)
Tick = Callable[["Run"], None]
Logged = dict[str, torch.Tensor]


def eagerly(program: Hashable, device_side: Callable[[], Logged]) -> Logged:
    """Execute the device side of a step as it comes; what it logged. The plainest of executors."""
    return device_side()


class Run:
    """One run from its first step to its last. `spec` is a resolved spec; data and split are what it names.

    `execute(program, device_side)` executes the device side of a step; steps with equal programs launch the same work.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        data: RawData,
        split: Split,
        device: torch.device,
        execute: Callable[[Hashable, Callable[[], Logged]], Logged] = eagerly,
    ) -> None:
        self.spec, self.device, self.execute = spec, device, execute
        training, recipe = spec["training"], spec["data"]
        self.seed, self.epochs = spec["seed"], training["epochs"]
        self.two_class = recipe["split"]["kind"] == "two-class"
        self.group_is_label = recipe["split"]["kind"] != "groups"

        train = make_part(data, split.train, recipe, device)
        target = make_part(data, split.target, recipe, device) if len(split.target) else None
        self.test = make_part(data, split.test, recipe, device, train=False)
        target_augmented = spec["method_options"].get("target_augment", True)
        size, target_size = training["batch_size"], training["target_batch_size"]
        self.batches = train.stream(size, self.seed, "batches", True, training["drop_last"])

        self.classes, self.groups = len(split.class_counts), len(split.group_counts)
        self.model = build(
            spec["model"]["name"], train.input_shape, self.classes, self.seed, **spec["model"]["options"]
        ).to(device)
        if training["precision"] == "bf16":  # the model alone, wherever it is called; losses and weights stay fp32
            self.model.forward = torch.autocast(device.type, torch.bfloat16)(self.model.forward)
        self.method = importlib.import_module(f"reweigh.methods.{spec['uses']}").Method(
            spec["method_options"],
            Setting(
                seed=self.seed,
                classes=self.classes,
                class_counts=torch.tensor(split.class_counts, dtype=torch.float32, device=device),
                group_counts=torch.tensor(split.group_counts, dtype=torch.float32, device=device),
                batch_size=size,
                steps_per_epoch=self.batches.per_cycle,
                learning_rate=training["learning_rate"],
                weight_decay=training["weight_decay"],
                target=target.stream(target_size, self.seed, "target-batches", target_augmented) if target else None,
                fresh=train.stream(size, self.seed, "fresh-batches", True),
            ),
        )
        self.stages = [stage for stage in self.method.stages(self.epochs) if stage.epochs]
        self.steps_per_epoch = self.batches.per_cycle
        self.stage, self.stage_step, self.step = 0, 0, 0
        # On a CPU, time spent computing, so that neighbours on the machine do not count; on a GPU, time that passed.
        self.clock = time.perf_counter if device.type == "cuda" else time.process_time
        self.seconds, self.diverged_at = 0.0, None
        self.curves: dict[str, list[Any]] = {name: [] for name in CURVES}
        self.number = torch.zeros((), dtype=torch.int64, device=device)  # of the step, for its device side
        self.dropout_seed = self.number.clone() if dropout_layers(self.model) else None
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)  # of losses and of weights, in this epoch
        self.first_bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        self.rows: dict[str, list[torch.Tensor]] = {}  # the trace
        self.counts: np.ndarray | None = None
        self.optimiser = self._optimiser() if self.stages else None

    @property
    def total_steps(self) -> int:
        """How many steps the whole run takes."""
        return sum(stage.epochs for stage in self.stages) * self.steps_per_epoch

    @property
    def over(self) -> bool:
        """Whether no step is left to take."""
        return self.stage >= len(self.stages) or self.diverged_at is not None

    def finish(self, tick: Tick | None = None) -> None:
        """Take every step that is left. `tick(run)` is called after each step; between steps nothing is half done."""
        while not self.over:
            self.advance()
            if tick:
                tick(self)

    def advance(self) -> None:
        """Take the next step, and do what ends with it: an epoch, a stage.

        A run stops at the end of the epoch in which a loss was no longer finite; `diverged_at` then holds that step.
        """
        started = self.clock()
        if self.device.type == "cuda":
            allowed = self.spec["training"]["precision"] == "tf32"
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
        self._host_side()
        for name, value in self.execute((self.stage, self.program, self.batches.size), self._device_side).items():
            self.rows.setdefault(name, []).append(value.detach().to(torch.float32, copy=True))
        self.step += 1
        self.stage_step += 1
        end_of_epoch = self.stage_step % self.steps_per_epoch == 0
        if end_of_epoch and self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        self.seconds += self.clock() - started
        if end_of_epoch:
            self._end_epoch()
        if self.stage_step == self.stages[self.stage].epochs * self.steps_per_epoch:
            self._next_stage()

    def _host_side(self) -> None:
        """Everything that depends on the number of the step: learning rate, batches, seeds, and which program it is."""
        training = self.spec["training"]
        rate = learning_rate(
            training["schedule"],
            training["learning_rate"],
            self.stage_step,
            self.steps_per_epoch,
            self.stages[self.stage].epochs,
        )
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self.batches.seek(self.step)
        self.program = self.method.prepare(self.step)
        self.number.fill_(self.step)
        if self.dropout_seed is not None:
            self.dropout_seed.fill_(stream_seed(self.seed, "dropout", self.step))

    def _device_side(self) -> Logged:
        """One step of training from tensors to tensors, waiting for none of their values; what the method logged."""
        self.method.logged = {}
        batch = self.batches.current()
        step = Step(self.number, self.program, self.model, batch, self.dropout_seed)
        self.method.learn(step)
        hold_dropout(self.model, self.dropout_seed, "train")
        losses = self.method.example_losses(self.model(batch.inputs).float(), batch)
        weights = self.method.example_weights(step, losses.detach())
        loss = weights @ losses
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if (limit := self.spec["training"]["gradient_clip"]) is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self.optimiser.step()
        self._watch(losses.detach(), weights, loss.detach())
        return self.method.logged

    def _watch(self, losses: torch.Tensor, weights: torch.Tensor, loss: torch.Tensor) -> None:
        """Add to the epoch's sums and note the first step whose loss is not finite, without waiting for the device."""
        self.sums += torch.stack((losses.mean(), weights.sum()))
        bad = (self.first_bad_step < 0) & ~torch.isfinite(loss)
        self.first_bad_step.copy_(torch.where(bad, self.number, self.first_bad_step))

    def _end_epoch(self) -> None:
        epoch = self.step // self.steps_per_epoch
        mean_loss, mean_weight = (self.sums / self.steps_per_epoch).tolist()
        self.sums.zero_()
        first_bad = int(self.first_bad_step)
        self.diverged_at = first_bad if first_bad >= 0 else None
        last = self.step == self.total_steps or self.diverged_at is not None
        if last or epoch % self.spec["training"]["evaluate_every"] == 0:
            found = self._evaluate()
            row = {
                "epoch": epoch,
                "train_loss": mean_loss if np.isfinite(mean_loss) else None,
                "effective_weight": mean_weight if np.isfinite(mean_weight) else None,
                "train_seconds": self.seconds,
                **{name: found[name] for name in ("test_accuracy", "minority_recall", "minority_precision")},
            }
            for name in CURVES:
                self.curves[name].append(row[name])

    def _evaluate(self) -> dict[str, Any]:
        self.model.eval()
        self.counts = confusion(
            lambda inputs: self.method.predict(self.model, inputs), self.test, self.classes, self.groups
        )
        self.model.train()
        return metrics(self.counts, self.two_class, self.group_is_label)

    def _next_stage(self) -> None:
        self.stage, self.stage_step = self.stage + 1, 0
        if self.stage < len(self.stages):
            self.optimiser = self._optimiser()

    def _optimiser(self) -> torch.optim.SGD:
        """Momentum SGD over what this stage trains; weight decay on every parameter, biases and norms included."""
        head_only = self.stages[self.stage].train == "head"
        training, on_gpu = self.spec["training"], self.device.type == "cuda"
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not head_only or name.startswith("head."))
        rate = training["learning_rate"]
        return torch.optim.SGD(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad],
            lr=torch.tensor(rate, device=self.device) if on_gpu else rate,  # a captured step reads today's rate
            momentum=training["momentum"],
            weight_decay=training["weight_decay"],
            nesterov=training["nesterov"],
            fused=on_gpu,
            foreach=not on_gpu,
        )

    def results(self) -> dict[str, Any]:
        """What the record says of the run: status, curves, metrics on the test set after the last epoch, cost."""
        if self.counts is None:  # a method that trains nothing
            self._evaluate()
        found = metrics(self.counts, self.two_class, self.group_is_label)
        curve = self.curves["test_accuracy"]
        found["best_epoch_test_accuracy"] = max(curve) if curve else found["test_accuracy"]
        return {
            "status": "finished" if self.diverged_at is None else "diverged",
            "diverged_at_step": self.diverged_at,
            "seconds": self.seconds,
            "steps": self.step,
            "parameters": parameter_count(self.model),
            "curves": self.curves,
            "metrics": found,
        }

    def trace(self) -> dict[str, np.ndarray]:
        """The arrays that the method logged, one row an outer step: name -> float32 (outer steps, ...)."""
        return {name: torch.stack(rows).cpu().numpy() for name, rows in self.rows.items()}

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on, and what it has logged so far.

        Random streams need no state of their own: each draw is a function of (seed, name, number of the step).
        """
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict() if self.optimiser else None,
            "method": self.method.state(),
            "trace": self.trace(),
            "position": (self.stage, self.stage_step, self.step),
            "seconds": self.seconds,
            "curves": self.curves,
            "sums": self.sums,
            "first_bad_step": self.first_bad_step,
            "diverged_at": self.diverged_at,
            "counts": self.counts,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same run. Nothing of `state` is kept, nothing that a captured step reads moves."""
        self.stage, self.stage_step, self.step = state["position"]
        self.model.load_state_dict(state["model"])
        if self.stage < len(self.stages):
            self.optimiser = self._optimiser()
            self.optimiser.load_state_dict(state["optimiser"])
        self.method.load_state(state["method"])
        self.rows = {name: list(torch.from_numpy(rows).to(self.device)) for name, rows in state["trace"].items()}
        self.seconds, self.diverged_at, self.counts = state["seconds"], state["diverged_at"], state["counts"]
        self.curves = {name: list(values) for name, values in state["curves"].items()}
        self.sums.copy_(state["sums"])
        self.first_bad_step.copy_(state["first_bad_step"])
