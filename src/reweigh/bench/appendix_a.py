"""What Appendix A of TDR says of cost: that example reweighting takes at least t_in times as long, and that its weights
cost in proportion to the examples, TDR's to the classes.

Both methods are timed by both routes to a hypergradient: in forward mode (`hypergrad.lookahead`), as runs here do, and
by double backpropagation (`hypergrad.double_backprop`), as the public codes of either method do. What a method pays
for a step depends on the route, and so does the ratio of the two.

| lines                     | what is timed                                                                         |
|---------------------------|---------------------------------------------------------------------------------------|
| `steps`                   | whole training steps: plain, TDR's over a cycle of t_in, example reweighting's        |
| `weights`                 | new weights alone, over 2 to 100 classes c and batches of 50 to 200 examples B; their |
|                           | exponents: time ∝ c^x B^y, by least squares on logarithms, round by round             |
"""

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

import reweigh.bench.contenders as make
from reweigh.bench.entries import entries
from reweigh.bench.measure import Bench, Contender, advance, all_cores
from reweigh.bench.table import Line
from reweigh.data.batches import Batch
from reweigh.hypergrad import double_backprop, lookahead
from reweigh.hypergrad.lookahead import Parameters, by_group
from reweigh.losses import cross_entropy
from reweigh.methods import base, er, tdr
from reweigh.models import build
from reweigh.models.layers import without_trace
from reweigh.training.engine import Run
from reweigh.weights import rectified_share

GROUP = "Appendix A of TDR"
DOUBLE = "double backpropagation"
ROUTES: Mapping[str, Callable[..., torch.Tensor]] = {
    "": lookahead.example_hypergradient,
    f", {DOUBLE}": double_backprop.example_hypergradient,
}
CLASSES, SIZES, TARGET = (2, 10, 100), (50, 100, 200), 10  # c, B, and the target examples of a step (§4.1)
REPEAT = {"": 6, f", {DOUBLE}": 3}  # of new weights in a turn
Times = dict[str, list[float]]


class TdrByDoubleBackprop(tdr.Method):
    """TDR, its hypergradient by double backpropagation."""

    def updated(self, *known: Any, **named: Any) -> torch.Tensor:
        with _instead(tdr, "example_hypergradient", double_backprop.example_hypergradient):
            return super().updated(*known, **named)


class ErByDoubleBackprop(er.Method):
    """Example reweighting as its authors' code has it: a pass for the weights, differentiated twice, then the step."""

    def learn(self, step: base.Step) -> None:
        target = self.context.target.current()  # type: ignore[union-attr]
        self.derivatives = double_backprop.example_hypergradient(
            losses=lambda at: self.losses_at(step, step.batch, at, training=True, name="train"),
            outer_loss=lambda at: self.losses_at(step, target, at, training=True, name="target").mean(),
            parameters=base.parameters_of(step.model),
            weights=torch.zeros(len(step.batch), device=step.batch.labels.device),
            step_size=1.0,
        )

    def watch(self, model: nn.Module) -> Any:
        return nullcontext()

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        return rectified_share(-self.derivatives)


@contextmanager
def _instead(module: Any, name: str, other: Any) -> Iterator[None]:
    """Within it `module.name` is `other`."""
    own = getattr(module, name)
    setattr(module, name, other)
    try:
        yield
    finally:
        setattr(module, name, own)


# --- whole steps -----------------------------------------------------------------------------------------------------


def steps(bench: Bench) -> list[Line]:
    """Steps of both methods by both routes on LeNet and ResNet-32: TDR against a plain step, the other against TDR."""
    lines: list[Line] = []
    titles = {uses: entries()[uses].title for uses in ("none", "tdr", "er")}
    for model, (title, size) in make.MODELS.items():
        torch.set_num_threads(1 if model == "lenet" else all_cores())
        cycle = entries()["tdr"].cycle
        others = cycle if model == "lenet" else 2  # steps of a turn of those whose steps are all alike
        taken = {titles["none"]: _stepping(bench, _run(bench, model, "none"), others)}
        for route, tdr_, er_ in (("", None, None), (f", {DOUBLE}", TdrByDoubleBackprop, ErByDoubleBackprop)):
            taken[titles["tdr"] + route] = _stepping(bench, _run(bench, model, "tdr", tdr_), cycle)
            taken[titles["er"] + route] = _stepping(bench, _run(bench, model, "er", er_), others)
        times = bench.turns(f"{GROUP}, {title}", taken)
        for name, contender in taken.items():
            whole, _, route = name.partition(titles["er"])
            against = titles["none"] if whole else titles["tdr"] + route
            lines.append(
                bench.line(f"{GROUP}, {title}, B = {size}", name, contender, times[name], against, times[against])
            )
    return lines


def _run(bench: Bench, model: str, uses: str, method: type[base.Method] | None = None) -> Run:
    run = make.run_of(make.spec_of(model, uses), bench.device)
    return run if method is None else make.with_method(run, method)


def _stepping(bench: Bench, run: Run, count: int) -> Contender:
    """A run that takes so many steps in a turn, after a first turn that is not timed."""
    advance(run, count)
    return Contender(bench.steps_of(run, count))


# --- new weights -----------------------------------------------------------------------------------------------------


class NewWeights:
    """LeNet at its first step with `classes` outputs and made-up images: what finding new weights takes."""

    def __init__(self, device: torch.device, classes: int, size: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.model = build("lenet", (1, 28, 28), classes, 0).to(device)
        self.parameters = base.parameters_of(self.model)
        self.batch, self.target = (self._images(count, classes, generator, device) for count in (size, TARGET))
        self.classes, self.device = classes, device

    @staticmethod
    def _images(count: int, classes: int, generator: torch.Generator, device: torch.device) -> Batch:
        images = torch.randn((count, 1, 28, 28), generator=generator).to(device)
        labels = (torch.arange(count) % classes).to(device)
        return Batch(images, labels, labels, torch.arange(count, device=device))

    def losses(self, batch: Batch) -> Callable[[Parameters], torch.Tensor]:
        def at(parameters: Parameters) -> torch.Tensor:
            with without_trace(self.model, training=True):
                return cross_entropy(functional_call(self.model, parameters, (batch.inputs,)), batch.labels)

        return at

    def derivatives(self, route: str, weights: torch.Tensor | None) -> torch.Tensor:
        """Of the target loss by the weights of the examples. -> (B,)."""
        return ROUTES[route](
            losses=self.losses(self.batch),
            outer_loss=lambda at: self.losses(self.target)(at).mean(),
            parameters=self.parameters,
            weights=weights,
            step_size=0.01,
        )

    def of_classes(self, route: str) -> torch.Tensor:
        """TDR's outer step: the derivative by the weight of each class, at equal weights. -> (c,)."""
        weights = torch.full((len(self.batch),), 1 / self.classes / len(self.batch), device=self.device)
        return by_group(self.derivatives(route, weights), self.batch.groups, self.classes) / len(self.batch)

    def of_examples(self, route: str) -> torch.Tensor:
        """Example reweighting: the weight of each example, from zero. -> (B,)."""
        zero = None if not route else torch.zeros(len(self.batch), device=self.device)
        return rectified_share(-self.derivatives(route, zero))


WHOSE: Mapping[str, Callable[[NewWeights, str], torch.Tensor]] = {
    "TDR's weights": NewWeights.of_classes,
    "example weights": NewWeights.of_examples,
}


def weights(bench: Bench) -> list[Line]:
    """New weights over the grid of c and B, by both routes: example weights against TDR's, and how each grows."""
    torch.set_num_threads(1)
    group, taken = f"{GROUP}: new weights, LeNet", {}
    for classes in CLASSES:
        for size in SIZES:
            problem = NewWeights(bench.device, classes, size)
            for route in ROUTES:
                for name, find in WHOSE.items():
                    taken[_named(name + route, classes, size)] = _finding(bench, find, problem, route)
    times = bench.turns(group, taken)
    lines = []
    for route in ROUTES:
        theirs, ours = (_named(whose + route, CLASSES[0], SIZES[0]) for whose in WHOSE)
        lines.append(bench.line(group, ours, taken[ours], times[ours], theirs, times[theirs]))
    for route in ROUTES:
        for name in WHOSE:
            lines += growth(bench, group, name + route, times)
    return lines


def _named(name: str, classes: int, size: int) -> str:
    return f"{name}, c = {classes}, B = {size}"


def _finding(bench: Bench, find: Callable[..., torch.Tensor], problem: NewWeights, route: str) -> Contender:
    repeat = REPEAT[route]
    find(problem, route)  # a first time that is not timed
    return Contender(bench.timed(lambda: [find(problem, route) for _ in range(repeat)], repeat))


def growth(bench: Bench, group: str, name: str, times: Times) -> list[Line]:
    """How the time for one kind of weights grows from the least to the most classes, and examples: two lines.

    A round's ratio is the geometric mean over the other of the two. The note has the exponent: median [quartiles].
    """
    milliseconds = np.array([[times[_named(name, classes, size)] for size in SIZES] for classes in CLASSES])
    rounds = milliseconds.shape[2]
    powers = np.array([exponents(milliseconds[:, :, number]) for number in range(rounds)])
    lines = []
    for axis, (letter, steps_) in enumerate((("c", CLASSES), ("B", SIZES))):
        means = np.exp(np.log(milliseconds).mean(1 - axis))  # over the other: (values, rounds)
        own, other = means[-1].tolist(), means[0].tolist()
        note = f"time ∝ {letter}^{_spread(powers[:, axis].tolist())}"
        labels = [f"{name}, {letter} = {value}" for value in (steps_[-1], steps_[0])]
        lines.append(bench.line(group, labels[0], Contender(lambda: 0.0, note=note), own, labels[1], other))
    return lines


def exponents(milliseconds: np.ndarray) -> tuple[float, float]:
    """x and y of time ∝ c^x B^y, by least squares on logarithms. milliseconds (CLASSES, SIZES) > 0."""
    places = [(1.0, np.log(classes), np.log(size)) for classes in CLASSES for size in SIZES]
    (_, of_classes, of_sizes), *_ = np.linalg.lstsq(np.array(places), np.log(milliseconds).ravel(), rcond=None)
    return float(of_classes), float(of_sizes)


def _spread(values: list[float]) -> str:
    """Median and, of several, quartiles."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def appendix_a(bench: Bench) -> list[Line]:
    """All of the above."""
    return steps(bench) + weights(bench)
