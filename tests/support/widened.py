"""A throw-away method that uses every widening of the engine at once, and runs of it on real pictures."""

import copy
import sys
import types
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F

from reweigh.config import loading as config
from reweigh.data.batches import Batch
from reweigh.data.split import draw
from reweigh.hypergrad.lookahead import by_group, example_hypergradient
from reweigh.methods import base
from reweigh.optimisers import Adam, MomentumSGD
from reweigh.streams import rng
from reweigh.training.engine import Run, eagerly

CPU = torch.device("cpu")
MEMBERS = 0.5  # of the training set
HEAD = {"batch_size": 16, "learning_rate": 0.02, "momentum": 0.5, "schedule": {"name": "cosine", "warmup_epochs": 0}}
STAGES = [
    base.Stage("search", 2),
    base.Stage("half", 3, part="members"),
    base.Stage("shrink", 0),
    base.Stage("head", 1, train="head", sampling="class-aware", training=HEAD),
    base.Stage("retrain", 2, part="train+validation", fresh=True),
]
OPTIONS = {
    "loss": {"name": "ldam", "max_margin": 0.5, "scale": 3.0},
    "class_balance": {"beta": 0.99, "from_epoch": 1},
    "rate": 0.05,
    "mixup": 0.4,
    "penalty": 0.02,
}


class Method(base.Method):
    """A search on the training set with two outer optimisers, on members, on the head alone, and then afresh.

    From batches of the validation part it learns an offset of each class's logit (by Adam) and the log of each class's
    weight (by momentum SGD, through a look-ahead). The step mixes pictures, and penalises the gradient of each loss
    with respect to what the head sees.
    """

    def __init__(self, options, context):
        super().__init__(options, context)
        self.offset = {"offset": torch.zeros(context.classes)}
        self.log_weight = {"log_weight": torch.zeros(context.classes)}
        self.adam = Adam(self.offset, options["rate"], betas=(0.5, 0.9))
        self.sgd = MomentumSGD(self.log_weight, options["rate"], 0.9, nesterov=True, decay=1e-3, captured=True)
        self.rows = torch.zeros(int(MEMBERS * len(context.train)), dtype=torch.int64)
        self.choose(rng(context.seed, "members", "first"), np.zeros(len(context.train)))
        self.norm, self.share = torch.zeros(()), torch.zeros(())
        self.held_out = context.validation.stream(16, context.seed, "validation-batches", False)
        self.followed = []

    def follow(self, context):
        super().follow(context)
        if hasattr(self, "followed"):  # what a test asks about; nothing that a run depends on
            self.followed.append((len(context.train), context.class_counts.tolist()))

    def stages(self, epochs):
        return STAGES

    # --- stages ---

    def choose(self, generator, scores):
        """Members: one of each class, and the rows of the highest scores plus noise."""
        labels = self.context.train.labels.numpy()
        firsts = np.unique(labels, return_index=True)[1]
        order = np.argsort(-(scores + generator.random(len(labels))), kind="stable")
        rest = order[~np.isin(order, firsts)][: len(self.rows) - len(firsts)]
        self.rows.copy_(torch.from_numpy(np.concatenate([firsts, rest])))

    def members(self, stage):
        return self.rows.numpy().copy()

    def begin(self, stage, model):
        self.stage = stage.name
        if stage.name == "shrink":
            with torch.no_grad():
                model.head.weight.mul_(0.5)
            self.log(head_norm=model.head.weight.norm())

    def end(self, stage, model):
        if stage.name in ("search", "shrink"):
            self.norm.add_(model.head.weight.detach().norm())
            self.log(norm=self.norm)

    # --- on the host ---

    def optimiser(self, parameters, decay):
        return Adam(parameters, 0.01, decay=decay) if self.stage == "head" else None

    def begin_epoch(self, at, model):
        super().begin_epoch(at, model)
        if at.stage.name == "half":
            with torch.no_grad():
                model.eval()
                logits = torch.cat([model(batch.inputs) for batch in self.context.train.in_order(100)])
                model.train()
            losses = F.cross_entropy(logits, self.context.train.labels, reduction="none").numpy()
            self.choose(rng(self.context.seed, "members", at.epoch), 0.5 * losses / losses.max())
        self.log(epochs_begun=torch.tensor(at.epoch))

    def recount(self, at):
        super().recount(at)
        self.log(counts=self.context.class_counts)

    def prepare(self, at):
        self.share.fill_(rng(self.context.seed, "mixup", at.step).beta(self.options["mixup"], self.options["mixup"]))
        if at.stage.name != "search" or at.stage_step % 3 == 2:
            return "plain"
        rate = self.options["rate"] / (1 + at.stage_epoch)
        self.adam.prepare(rate)
        self.sgd.prepare(rate / 50)
        self.held_out.seek(at.stage_step)
        return "outer"

    # --- the step ---

    def learn(self, step):
        if step.program != "outer":
            return
        held_out, parameters = self.held_out.current(), base.parameters_of(step.model)
        logits = self.logits_at(step, held_out, parameters, False, "validation") + self.offset["offset"]
        true_class = held_out.labels[:, None] == torch.arange(logits.shape[1])
        slope = (logits.softmax(1) - true_class.float()).mean(0)
        self.adam.step({"offset": slope.detach()})
        derivatives = example_hypergradient(
            losses=lambda at: self.losses_at(step, step.batch, at, True, "train"),
            outer_loss=lambda at: self.losses_at(step, held_out, at, False, "validation").mean(),
            parameters=parameters,
            weights=self.weights(step.batch),
            step_size=self.context.learning_rate,
        )
        by_class = by_group(derivatives, step.batch.labels, len(slope))
        self.sgd.step({"log_weight": by_class * self.log_weight["log_weight"].exp()})
        self.log(offset=self.offset["offset"], log_weight=self.log_weight["log_weight"], outer_step=step.number)

    def inputs(self, step, batch):
        return self.share * batch.inputs + (1 - self.share) * batch.inputs.roll(1, 0)

    @contextmanager
    def watch(self, model):
        def keep(head, inputs):
            (self.hidden,) = inputs
            if not self.hidden.requires_grad:  # the stage trains the head alone
                self.hidden = self.hidden.detach().requires_grad_()
            return (self.hidden,)

        hook = model.head.register_forward_pre_hook(keep)
        try:
            yield
        finally:
            hook.remove()

    def weights(self, batch):
        return self.log_weight["log_weight"].exp()[batch.labels] / len(batch)

    def example_losses(self, logits, batch):
        return super().example_losses(logits + self.offset["offset"], batch)

    def example_weights(self, step, losses):
        return self.weights(step.batch) * (1 + torch.tanh(self.norm))

    def objective(self, step, logits, losses, weights):
        batch = step.batch
        others = Batch(batch.inputs, batch.labels.roll(1), batch.groups.roll(1), batch.rows.roll(1))
        mixed = self.share * losses + (1 - self.share) * self.example_losses(logits, others)
        (slope,) = torch.autograd.grad(mixed.sum(), self.hidden, create_graph=True)
        return weights @ (mixed + self.options["penalty"] * slope.square().sum(1))

    # --- the state ---

    def state(self):
        own = {"offset": self.offset, "log_weight": self.log_weight, "rows": self.rows, "norm": self.norm}
        return {**super().state(), **own, "adam": self.adam.state(), "sgd": self.sgd.state()}

    def load_state(self, state):
        super().load_state(state)
        for name in ("offset", "log_weight"):
            getattr(self, name)[name].copy_(state[name][name])
        self.rows.copy_(state["rows"])
        self.norm.copy_(state["norm"])
        self.adam.load_state(state["adam"])
        self.sgd.load_state(state["sgd"])


def registered():
    """Make the method known to the engine, as `widened`."""
    module = types.ModuleType("reweigh.methods.widened")
    module.Method = Method
    sys.modules[module.__name__] = module


def spec_of(model, seed=0, **training):
    """The spec of a short run: `resnet` on a long tail of ten classes of the CIFAR-10 slice, `lenet` on MNIST."""
    if model == "resnet":
        spec = copy.deepcopy(config.resolve("quick/tdr/cifar10-4v9-resnet20/rho0.3/none/seed0"))
        kept = {key: spec["data"]["split"][key] for key in ("target_inside", "order", "test")}
        split = {"kind": "long-tail", "largest_class": 40, "imbalance_ratio": 8.0, "validation_size": 40}
        spec["data"].update(split={**kept, **split, "target_size": 0, "test_size": 100})
        spec["data"]["augment"] = {"crop_padding": 2, "padding": "zero", "flip": True, "rotation_degrees": 0.0}
        spec["model"] = {"name": "resnet32", "options": {"width": 0.5, "blocks": 1, "head": "linear"}}
    else:
        spec = copy.deepcopy(config.resolve("smoke/tdr/mnist-4v9/rho0.1/tdr/seed0"))
        spec["data"]["split"].update(total=300, validation_size=60, target_size=0)
        spec["model"] = {"name": "lenet", "options": {}}
    spec.update(method="widened", uses="widened", method_options=copy.deepcopy(OPTIONS), seed=seed)
    spec["training"].update(
        epochs=2, batch_size=32, learning_rate=0.02, momentum=0.9, nesterov=True, drop_last=False, gradient_clip=5.0,
        weight_decay=1e-3, evaluate_every=1, threads=1, layer_weight_decay={"head": 0.01}, **training,
    )  # fmt: skip
    return spec


def run_of(spec, raw, execute=eagerly):
    """A run that has taken no step."""
    registered()
    torch.set_num_threads(1)
    return Run(spec, raw, draw(raw, spec["data"]["split"], spec["seed"]), CPU, execute)
