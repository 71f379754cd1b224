"""The one loop. It owns batches, optimiser, schedule, stages, evaluation and state; a method owns losses and weights.

A run is a pure function of (spec, data, split, device, library versions): nothing here reads a clock to decide anything
but when to ask its keeper whether to save. Its whole state at a step fits in `Run.state()`, and a run that is loaded
from it goes on bit for bit.
"""

import importlib
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from reweigh.data.arrays import RawData, Split
from reweigh.evaluate import confusion, metrics
from reweigh.methods.base import Setting, Stage, Step
from reweigh.models import build, parameter_count
from reweigh.models.layers import seed_dropout
from reweigh.streams import stream_seed
from reweigh.training.batches import BatchStream, DevicePart
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


class Run:
    """One run from its first step to its last. `spec` is a resolved spec; data and split are what it names."""

    def __init__(self, spec: dict[str, Any], data: RawData, split: Split, device: torch.device) -> None:
        self.spec, self.device = spec, device
        training, recipe = spec["training"], spec["data"]
        self.seed, self.epochs = spec["seed"], training["epochs"]
        self.two_class = recipe["split"]["kind"] == "two-class"
        self.group_is_label = recipe["split"]["kind"] != "groups"

        scaled = recipe["scale_inputs"]
        train = DevicePart(data.train_inputs, split.train, scaled, device)
        target = DevicePart(data.train_inputs, split.target, scaled, device)
        self.test = DevicePart(data.test_inputs, split.test, scaled, device)
        augment = recipe["augment"] == "crop-flip"
        target_augment = augment and spec["method_options"].get("target_augment", True)
        size, target_size = training["batch_size"], training["target_batch_size"]
        self.batches = BatchStream(train, size, self.seed, "batches", augment)

        self.classes, self.groups = len(split.class_counts), len(split.group_counts)
        self.model = build(
            spec["model"]["name"], train.inputs.shape[1:], self.classes, self.seed, **spec["model"]["options"]
        ).to(device)
        self.method = importlib.import_module(f"reweigh.methods.{spec['uses']}").Method(
            spec["method_options"],
            Setting(
                seed=self.seed,
                classes=self.classes,
                class_counts=torch.tensor(split.class_counts, dtype=torch.float32, device=device),
                group_counts=torch.tensor(split.group_counts, dtype=torch.float32, device=device),
                batch_size=size,
                learning_rate=training["learning_rate"],
                weight_decay=training["weight_decay"],
                target=BatchStream(target, target_size, self.seed, "target-batches", target_augment)
                if len(target)
                else None,
                fresh=BatchStream(train, size, self.seed, "fresh-batches", augment),
            ),
        )
        self.stages = self.method.stages(self.epochs)
        self.steps_per_epoch = self.batches.per_cycle
        self.stage, self.stage_step, self.step = 0, 0, 0
        # On a CPU, time spent computing, so that neighbours on the machine do not count; on a GPU, time that passed.
        self.clock = time.perf_counter if device.type == "cuda" else time.process_time
        self.seconds, self.diverged_at = 0.0, None
        self.curves: dict[str, list[Any]] = {name: [] for name in CURVES}
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)  # of losses and of weights, in this epoch
        self.first_bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        self.counts: np.ndarray | None = None
        self.optimiser = self._optimiser() if self.stages else None

    @property
    def total_steps(self) -> int:
        """How many steps the whole run takes."""
        return sum(stage.epochs for stage in self.stages) * self.steps_per_epoch

    def finish(self, tick: Tick | None = None) -> None:
        """Take every step that is left. `tick(run)` is called after each step, between steps nothing is half done.

        Stops at the end of the epoch in which a loss was no longer finite; `diverged_at` then holds that step.
        """
        while self.stage < len(self.stages) and self.diverged_at is None:
            stage = self.stages[self.stage]
            while self.stage_step < stage.epochs * self.steps_per_epoch and self.diverged_at is None:
                started = self.clock()
                with self._precision():
                    self._take_step(stage)
                self.step += 1
                self.stage_step += 1
                end_of_epoch = self.stage_step % self.steps_per_epoch == 0
                if end_of_epoch and self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
                self.seconds += self.clock() - started
                if end_of_epoch:
                    self._end_epoch()
                if tick:
                    tick(self)
            self._next_stage()
        if self.counts is None:
            self._evaluate()

    def _take_step(self, stage: Stage) -> None:
        base_rate = self.spec["training"]["learning_rate"]
        rate = learning_rate(
            self.spec["training"]["schedule"], base_rate, self.stage_step, self.steps_per_epoch, stage.epochs
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batch = self.batches.batch(self.step)
        step = Step(self.step, self.model, batch)
        self.method.learn(step)
        seed_dropout(self.model, stream_seed(self.seed, "dropout", self.step))
        losses = self.method.example_losses(self.model(batch.inputs), batch)
        weights = self.method.example_weights(step, losses.detach())
        loss = weights @ losses
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self._watch(losses.detach(), weights, loss.detach())

    def _watch(self, losses: torch.Tensor, weights: torch.Tensor, loss: torch.Tensor) -> None:
        """Add to the epoch's sums and note the first step whose loss is not finite, without waiting for the device."""
        self.sums += torch.stack((losses.mean(), weights.sum()))
        bad = (self.first_bad_step < 0) & ~torch.isfinite(loss)
        self.first_bad_step = torch.where(bad, self.step, self.first_bad_step)

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
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not head_only or name.startswith("head."))
        training = self.spec["training"]
        return torch.optim.SGD(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad],
            lr=training["learning_rate"],
            momentum=training["momentum"],
            weight_decay=training["weight_decay"],
            foreach=True,
        )

    def _precision(self) -> Any:
        precision = self.spec["training"]["precision"]
        if self.device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        return torch.autocast(self.device.type, torch.bfloat16) if precision == "bf16" else nullcontext()

    def results(self) -> dict[str, Any]:
        """What the record says of the run: status, curves, metrics on the test set after the last epoch, cost."""
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
        return {name: torch.stack(rows).numpy() for name, rows in self.method.trace.items()}

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on, and what it has logged so far."""
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
        """Go on from a state of the same run."""
        self.stage, self.stage_step, self.step = state["position"]
        self.model.load_state_dict(state["model"])
        if self.stage < len(self.stages):
            self.optimiser = self._optimiser()
            self.optimiser.load_state_dict(state["optimiser"])
        self.method.load_state(state["method"])
        self.method.trace = {name: list(torch.from_numpy(rows)) for name, rows in state["trace"].items()}
        self.seconds, self.curves, self.sums = state["seconds"], state["curves"], state["sums"]
        self.first_bad_step, self.diverged_at, self.counts = (
            state["first_bad_step"],
            state["diverged_at"],
            state["counts"],
        )
