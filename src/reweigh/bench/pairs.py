"""Each hypergradient against its twin by double backpropagation: time and memory.

The twins compute the same numbers (tested in tests/bench/test_bench.py). What `implicit` and `penalty` are made of is
measured by itself, by every route and against a plain gradient (`bench/second_order.py`).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.func import functional_call

import reweigh.bench.contenders as make
from reweigh.bench.measure import Bench, Contender, all_cores
from reweigh.bench.table import Line
from reweigh.data.batches import Batch
from reweigh.hypergrad import double_backprop, implicit, lookahead
from reweigh.hypergrad.lookahead import Parameters
from reweigh.losses import cross_entropy
from reweigh.methods import base
from reweigh.models.layers import without_trace
from reweigh.training.engine import Run

Pair = tuple[Callable[[], Any], Callable[[], Any]]  # the way of `lookahead` or `implicit`, and its twin
TERMS, SMALL = 3, 32  # Hessian-vector products and batch size of the implicit hypergradient


class Problem:
    """A model at its first step, with a batch of training examples and one of target examples."""

    def __init__(self, run: Run, size: int) -> None:
        self.model, self.parameters = run.model, base.parameters_of(run.model)
        self.batch = _first(run.course.batches.batch(0), size)
        assert run.method.context.target is not None
        self.target = _first(run.method.context.target.batch(0), size)
        self.classes, self.device = run.evaluation.classes, run.device

    def logits(self, batch: Batch, at: Parameters) -> torch.Tensor:
        """Logits of a batch at other parameters, in training mode, without a change of the model."""
        with without_trace(self.model, training=True):
            return functional_call(self.model, at, (batch.inputs,))

    def losses(self, at: Parameters) -> torch.Tensor:
        return cross_entropy(self.logits(self.batch, at), self.batch.labels)

    def target_loss(self, at: Parameters, _: Parameters | None = None) -> torch.Tensor:
        return cross_entropy(self.logits(self.target, at), self.target.labels).mean()

    def by_example(self) -> Pair:
        """The derivatives by the weights of the examples, from zero: example reweighting."""
        given: dict[str, Any] = {"losses": self.losses, "outer_loss": self.target_loss, "parameters": self.parameters}
        zero = torch.zeros(len(self.batch), device=self.device)
        return (
            lambda: lookahead.example_hypergradient(weights=None, step_size=1.0, **given),
            lambda: double_backprop.example_hypergradient(weights=zero, step_size=1.0, **given),
        )

    def by_network(self) -> Pair:
        """The derivatives by the parameters of a weight network: Meta-Weight-Net."""
        shapes = {"hidden": (100, 1), "hidden_bias": (100,), "out": (1, 100), "out_bias": (1,)}
        generator = torch.Generator().manual_seed(0)
        network = {name: torch.randn(shape, generator=generator).to(self.device) for name, shape in shapes.items()}
        with torch.no_grad():
            losses = self.losses(self.parameters)
        given: dict[str, Any] = {
            "losses": self.losses,
            "outer_loss": self.target_loss,
            "parameters": self.parameters,
            "weights_of": lambda at: make.weights_by(at, losses),
            "weight_parameters": network,
            "step_size": 0.01,
        }
        return (
            lambda: lookahead.weight_hypergradient(**given),
            lambda: double_backprop.weight_hypergradient(**given),
        )

    def by_design(self) -> Pair:
        """The implicit derivatives by the parameters of the training loss: AutoBalance."""
        design = {"scale": torch.ones(self.classes), "shift": torch.zeros(self.classes)}
        design = {name: value.to(self.device) for name, value in design.items()}

        def training(at: Parameters, of: Parameters) -> torch.Tensor:
            return make.parametric_losses(self.logits(self.batch, at), self.batch.labels, of).mean()

        given = ([training], [self.target_loss], self.parameters, design)
        return (
            lambda: implicit.hypergradient(*given, step=0.01, terms=TERMS)[0],
            lambda: double_backprop.implicit_hypergradient(*given, step=0.01, terms=TERMS),
        )


def _first(batch: Batch, size: int) -> Batch:
    return Batch(batch.inputs[:size], batch.labels[:size], batch.groups[:size], batch.rows[:size])


def hypergradients(bench: Bench) -> list[Line]:
    """Every pair on ResNet-32, those of plain losses on LeNet too."""
    lines: list[Line] = []
    torch.set_num_threads(all_cores())
    run = make.run_of(make.spec_of("resnet32"), bench.device)
    title, size = make.MODELS["resnet32"]
    whole, small = Problem(run, size), Problem(run, SMALL)
    lines += _pair(bench, f"{title}, B = {size}: by example", whole.by_example())
    lines += _pair(bench, f"{title}, B = {size}: by weight network", whole.by_network())
    lines += _pair(bench, f"{title}, B = {SMALL}: implicit, J = {TERMS}", small.by_design())
    torch.set_num_threads(1)
    small = Problem(make.run_of(make.spec_of("lenet", target_batch_size=50), bench.device), 50)
    lines += _pair(bench, "LeNet, B = 50: by example", small.by_example(), repeat=10)
    lines += _pair(bench, "LeNet, B = 50: by weight network", small.by_network(), repeat=10)
    return lines


def _pair(bench: Bench, name: str, pair: Pair, twin: str = "double backpropagation", repeat: int = 1) -> list[Line]:
    """Two lines: the twin, then what is measured against it. Memory is measured first, which also warms both up."""

    def contender(work: Callable[[], Any]) -> Contender:
        bench.progress(f"hypergradients: {name}")
        peak = bench.peak_of(work)
        return Contender(bench.timed(lambda: [work() for _ in range(repeat)], repeat), peak_mebibytes=peak)

    ours, theirs = (contender(work) for work in pair)
    other, own = bench.compare("hypergradients", {f"{name}, {twin}": theirs, name: ours})
    if other.peak_mebibytes and own.peak_mebibytes is not None:
        own = replace(own, note=f"{own.peak_mebibytes / other.peak_mebibytes:.2f} of the memory")
    return [other, own]
