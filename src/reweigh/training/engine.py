"""The one loop. It owns batches, optimiser, schedule, stages, evaluation and state; a method owns losses and weights.

A run is a pure function of (spec, data, split, device, library versions): no clock, no neighbour and no interruption
decides anything. Its whole state between two steps fits in `Run.state()`, and a run that is loaded from it goes on bit
for bit.

Each step has a host side, which seeks batches and sets numbers, and a device side, which only reads and writes tensors
at addresses that stay. So whoever makes a run may have the device side captured and replayed (`execute`); that changes
when the work is launched, never what is computed.
"""

import functools
import importlib
import time
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch

from reweigh.data.arrays import RawData, Split
from reweigh.data.batches import InputPart, Stream, make_part
from reweigh.errors import ConfigError
from reweigh.evaluate import confusion, metrics
from reweigh.methods.base import RunContext, Step
from reweigh.models import build, parameter_count
from reweigh.models.layers import dropout_layers, hold_dropout
from reweigh.streams import rng, stream_seed
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

        layout = training.get("layout") or "channels-last"
        part_of = functools.partial(make_part, data, data=recipe, device=device, layout=layout)
        self.train = part_of(split.train)
        self.validation = part_of(split.validation) if len(split.validation) else None
        self.test = part_of(split.test, train=False)
        # What is measured: hyper-parameters are chosen by runs that never see the test set.
        self.measured = training.get("evaluate_on", "test")
        self.held_out = self.test if self.measured == "test" else self.validation
        if self.held_out is None:
            raise ConfigError("evaluate_on is validation, but the split holds nothing out; give it a validation_share")

        self.classes, self.groups = len(split.class_counts), len(split.group_counts)
        self.model = build(
            spec["model"]["name"], self.train.input_shape, self.classes, self.seed, layout, **spec["model"]["options"]
        ).to(device)
        if training["precision"] == "bf16":  # the model alone, wherever it is called; losses and weights stay fp32
            self.model.forward = torch.autocast(device.type, torch.bfloat16)(self.model.forward)
        target = part_of(split.target) if len(split.target) else None
        context = self._context(target, split.class_counts, split.group_counts)
        self.method = importlib.import_module(f"reweigh.methods.{spec['uses']}").Method(spec["method_options"], context)
        self.stages = self.method.stages(self.epochs)
        self.streams = [self._stream(number) for number in range(len(self.stages))]
        self.begun = 0  # stages whose `begin` this object has called
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
        self.optimiser: torch.optim.Optimizer | None = None
        self.enter()

    def _context(self, target: InputPart | None, class_counts: np.ndarray, group_counts: np.ndarray) -> RunContext:
        """What the method may know."""
        training, train = self.spec["training"], self.train
        size, target_size = training["batch_size"], training["target_batch_size"]
        augmented = self.spec["method_options"].get("target_augment", True)
        return RunContext(
            seed=self.seed,
            classes=self.classes,
            class_counts=torch.tensor(class_counts, dtype=torch.float32, device=self.device),
            group_counts=torch.tensor(group_counts, dtype=torch.float32, device=self.device),
            batch_size=size,
            epochs=self.epochs,
            steps_per_epoch=train.stream(size, self.seed, "batches", True, training["drop_last"]).per_cycle,
            learning_rate=training["learning_rate"],
            weight_decay=training["weight_decay"],
            target=target.stream(target_size, self.seed, "target-batches", augmented) if target else None,
            fresh=train.stream(size, self.seed, "fresh-batches", True),
            train=train,
            validation=self.validation,
        )

    @property
    def total_steps(self) -> int:
        """How many steps the whole run takes."""
        return sum(stage.epochs * stream.per_cycle for stage, stream in zip(self.stages, self.streams, strict=True))

    @property
    def epoch(self) -> int:
        """How many epochs are over, in all stages."""
        done = sum(stage.epochs for stage in self.stages[: self.stage])
        return done + (self.stage_step // self.steps_per_epoch if self.stage < len(self.stages) else 0)

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
        self._set_precision()
        if self.stage_step % self.steps_per_epoch == 0:
            self.method.begin_epoch(self.epoch, self.model)
        self._host_side()
        self._keep(self.execute((self.stage, self.program, self.batches.size), self._device_side))
        self.step += 1
        self.stage_step += 1
        end_of_epoch = self.stage_step % self.steps_per_epoch == 0
        if end_of_epoch and self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        self.seconds += self.clock() - started
        if end_of_epoch:
            self._end_epoch()
        if self.stage_step == self.stages[self.stage].epochs * self.steps_per_epoch:
            self.stage, self.stage_step = self.stage + 1, 0
            self.enter()

    def _set_precision(self) -> None:
        """Have the GPU compute as this run's spec says; another run in this process may have said otherwise."""
        if self.device.type == "cuda":
            allowed = self.spec["training"]["precision"] == "tf32"
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed

    def _keep(self, logged: Logged) -> None:
        for name, value in logged.items():
            self.rows.setdefault(name, []).append(value.detach().to(self.device, torch.float32, copy=True))

    def _host_side(self) -> None:
        """Everything that depends on the number of the step: learning rate, batches, seeds, and which program it is."""
        rate = learning_rate(
            self.training["schedule"],
            self.training["learning_rate"],
            self.stage_step,
            self.steps_per_epoch,
            self.stages[self.stage].epochs,
        )
        for group in self.optimiser.param_groups:  # type: ignore[union-attr]
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self.batches.seek(self.stage_step)
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
        self.optimiser.zero_grad(set_to_none=True)  # type: ignore[union-attr]
        loss.backward()
        if (limit := self.training["gradient_clip"]) is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self.optimiser.step()  # type: ignore[union-attr]
        self._watch(losses.detach(), self.method.total_weight(batch, weights), loss.detach())
        return self.method.logged

    def _watch(self, losses: torch.Tensor, total_weight: torch.Tensor, loss: torch.Tensor) -> None:
        """Add to the epoch's sums and note the first step whose loss is not finite, without waiting for the device."""
        self.sums += torch.stack((losses.mean(), total_weight))
        bad = (self.first_bad_step < 0) & ~torch.isfinite(loss)
        self.first_bad_step.copy_(torch.where(bad, self.number, self.first_bad_step))

    def _end_epoch(self) -> None:
        epoch = self.epoch
        mean_loss, mean_weight = (self.sums / self.steps_per_epoch).tolist()
        self.sums.zero_()
        first_bad = int(self.first_bad_step)
        self.diverged_at = first_bad if first_bad >= 0 else None  # type: ignore[assignment]
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
            lambda inputs: self.method.predict(self.model, inputs), self.held_out, self.classes, self.groups  # type: ignore[arg-type]
        )  # fmt: skip
        self._set_mode()
        return metrics(self.counts, self.two_class, self.group_is_label)

    def _stream(self, number: int) -> Stream:
        """The batches of a stage: a stream of its own, as long as its sampling makes an epoch."""
        stage, training = self.stages[number], self.spec["training"]
        size = stage.training.get("batch_size", training["batch_size"])
        name = f"batches-{number}" if number else "batches"
        return self.train.stream(size, self.seed, name, True, training["drop_last"], stage.sampling)

    def enter(self) -> None:
        """Begin the stage that the run has come to, after those of no epochs; measure what they did at the end."""
        self._set_precision()
        while self.diverged_at is None:
            self._begin(self.stage)
            if self.stage >= len(self.stages) or self.stages[self.stage].epochs:
                break
            self.stage += 1
        if self.stage < len(self.stages):
            self._set_up()
        elif self.stages and not self.stages[-1].epochs:
            self._evaluate()

    def _begin(self, last: int) -> None:
        """Call the method's `begin` for every stage up to number `last` that has not begun in this object."""
        for stage in self.stages[self.begun : last + 1]:
            started, self.method.logged = self.clock(), {}
            self.method.begin(stage, self.model)
            self._keep(self.method.logged)
            self.seconds += self.clock() - started
        self.begun = max(self.begun, min(last + 1, len(self.stages)))

    def _set_up(self) -> None:
        """What the steps of the present stage use: its training block, its batches, its optimiser."""
        stage = self.stages[self.stage]
        self.training = {**self.spec["training"], **stage.training}
        self.batches = self.streams[self.stage]
        self.steps_per_epoch = self.batches.per_cycle
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(stage.train == "all" or f"{name}.".startswith(f"{stage.train}."))
        self._set_mode()
        groups = self._parameter_groups()
        self.optimiser = self.method.optimiser(groups) or self._momentum_sgd(groups)

    def _set_mode(self) -> None:
        """Training mode; in a stage that trains no more than the head, only for the head."""
        head_only = self.stage < len(self.stages) and self.stages[self.stage].train != "all"
        self.model.train(not head_only)
        if head_only:
            self.model.head.train()  # type: ignore[union-attr]

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """What is trained, by weight decay: that of the stage, biases too, but for layers that the spec names."""
        by_layer = self.training.get("layer_weight_decay") or {}
        groups: dict[float, list[torch.nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                decay = next((value for prefix, value in by_layer.items() if name.startswith(prefix)), None)
                groups.setdefault(self.training["weight_decay"] if decay is None else decay, []).append(parameter)
        return [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items()]

    def _momentum_sgd(self, groups: list[dict[str, Any]]) -> torch.optim.SGD:
        on_gpu, rate = self.device.type == "cuda", self.training["learning_rate"]
        return torch.optim.SGD(
            groups,
            lr=torch.tensor(rate, device=self.device) if on_gpu else rate,  # a captured step reads today's rate
            momentum=self.training["momentum"],
            nesterov=self.training["nesterov"],
            fused=on_gpu,
            foreach=not on_gpu,
        )

    def results(self) -> dict[str, Any]:
        """What the record says of the run: status, curves, metrics on the test set after the last epoch, cost."""
        if self.counts is None:  # a method that trains nothing
            self._evaluate()
        found = metrics(self.counts, self.two_class, self.group_is_label)  # type: ignore[arg-type]
        curve = self.curves["test_accuracy"]
        found["best_epoch_test_accuracy"] = max(curve) if curve else found["test_accuracy"]
        found, curves = (
            {name.replace("test", self.measured): value for name, value in each.items()}
            for each in (found, self.curves)
        )
        return {
            "status": "finished" if self.diverged_at is None else "diverged",
            "diverged_at_step": self.diverged_at,
            "seconds": self.seconds,
            "steps": self.step,
            "parameters": parameter_count(self.model),
            "curves": curves,
            "metrics": found,
        }

    def trace(self) -> dict[str, np.ndarray]:
        """The arrays that the method logged, one row an outer step: name -> float32 (outer steps, ...)."""
        return {name: torch.stack(rows).cpu().numpy() for name, rows in self.rows.items()}

    def kept_features(self) -> dict[str, np.ndarray]:
        """What the head sees of `keep_features` training and test examples: float16 (n, F), with labels; {} if 0."""
        wanted = self.spec["training"].get("keep_features") or 0
        found: dict[str, np.ndarray] = {}
        if not wanted:
            return found
        self.model.eval()
        for name, part in (("train", self.train), ("test", self.test)):
            rows = np.sort(rng(self.seed, "features", name).permutation(len(part))[:wanted])
            with torch.no_grad():
                features = [self.model.features(batch.inputs).to(torch.float16) for batch in part.in_order(500)]  # type: ignore[operator]
            found[f"{name}_features"] = torch.cat(features).cpu().numpy()[rows]
            found[f"{name}_labels"] = part.labels.cpu().numpy()[rows]
        self._set_mode()
        return found

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
        self._begin(self.stage)  # for the shape of the model; its values come from the state
        self.model.load_state_dict(state["model"])
        if self.stage < len(self.stages):
            self._set_up()
            self.optimiser.load_state_dict(state["optimiser"])  # type: ignore[union-attr]
        self.method.load_state(state["method"])
        self.rows = {name: list(torch.from_numpy(rows).to(self.device)) for name, rows in state["trace"].items()}
        self.seconds, self.diverged_at, self.counts = state["seconds"], state["diverged_at"], state["counts"]
        self.curves = {name: list(values) for name, values in state["curves"].items()}
        self.sums.copy_(state["sums"])
        self.first_bad_step.copy_(state["first_bad_step"])
