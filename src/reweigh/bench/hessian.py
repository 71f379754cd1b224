"""What AutoBalance's search takes: a Hessian-vector product by route and layout, and the whole search over a training.

A product is H u of one batch, with the parametric loss, in units of a plain step of the same net in the same layout:

| route      | what a product makes                                               | exact              |
|------------|--------------------------------------------------------------------|--------------------|
| reverse    | the gradient's graph, and a backward pass through it               | yes                |
| kept       | that backward pass alone; the graphs of all batches are held       | yes                |
| forward    | the gradient at dual numbers (forward over reverse)                | yes                |
| difference | a gradient at θ + h u, for (g(θ + h u) − g(θ)) / h                 | no, by declaration |

How exact is in the note of each line (`errors`). Memory is that of all that one product needs; of a step of the search
that of its 10 + 10 batches, or of as many as were timed.

A search is timed as p, q and o: a plain step; a step of the search without a hypergradient; and what one adds, by the
authors' code: 10 batches of S_T and 10 of S_V, J = 5 products and one more with ∂g/∂α. A hypergradient is a sum over
its batches, so on ResNet-32 `TIMED` of each are, and o is that times 10 / `TIMED`. By the schedule for CIFAR-10-LT at
ρ = 100 α rests for 120 epochs and is active in 181, every 20 steps from the first of each epoch on. An epoch of S_T has
78 steps, so 4 hypergradients; the retraining, and the one training that the paper compares with, are 300 epochs of 97
steps, those of S_T ∪ S_V. So

    (search + retraining) / training  =  ((120 + 181) · 78 q  +  181 · 4 o) / (300 · 97 p)  +  1.

Both nets have one thread, and times are those that the processor spent (on a GPU: that passed), as in the paper's runs
and their records, so that other work on the machine does not count. Evaluation is left out, and the passes that the
code makes and throws away. The paper prints 4 to 5, and at least 2 (§2.1).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

import reweigh.bench.contenders as make
from reweigh.bench.entries import entries
from reweigh.bench.measure import Bench, Contender, advance
from reweigh.bench.pairs import Problem
from reweigh.bench.table import Line
from reweigh.data.batches import Batch
from reweigh.hypergrad import lookahead
from reweigh.hypergrad.implicit import TrainingGradient, Vector
from reweigh.hypergrad.lookahead import Parameters
from reweigh.training.engine import Run

SIZE = 128  # of a batch of every net, as in the paper
PRODUCT, PLAIN, RESTING, SEARCHING = (
    "Hessian-vector product",
    "plain step",
    "search step",
    "search step and hypergradient",
)
WHOLE, TRAINING = "search and retraining", "one training"
ROUTES = ("reverse", "kept", "forward", "difference")
LAYOUTS = {"channels-last": "", "nchw": ", NCHW"}  # with what it adds to a name
SMALL = {"resnet32": {"width": 0.25, "blocks": 1}, "lenet": {}}  # nets on which errors are found
FEW = 8  # their batch
# The searches that are timed, the default, the fastest exact one and the approximation; and of how many batches a part.
SEARCHES = (("channels-last", "reverse"), ("nchw", "kept"), ("nchw", "difference"))
# Of ResNet-32 as few as differ by route: the only batch of a hypergradient has its graph kept by `reverse` too.
BATCHES, TIMED = 10, {"lenet": 10, "resnet32": 2}
WARM_EPOCHS, ACTIVE_EPOCHS, TRAINING_EPOCHS = 120, 181, 300
SEARCH_STEPS, CADENCE, TRAINING_STEPS = 78, 20, 97  # 97 full batches: the last of an epoch has two images
PRINTED = "the paper prints 4 to 5, at least 2"
NEVER = 10**9
REPEAT = {"lenet": 4, "resnet32": 1}  # plain steps, or products, of a turn


class Products:
    """The parametric loss of one batch at a net's first weights, and a direction: the gradient of the target loss."""

    def __init__(self, device: torch.device, spec: dict[str, Any], double: bool = False) -> None:
        size = spec["training"]["batch_size"]
        run = make.run_of(spec, device)
        if double:
            run.model.double()
        self.problem = Problem(run, size)
        if double:
            self.problem.batch, self.problem.target = _double(self.problem.batch), _double(self.problem.target)
        like = next(iter(self.problem.parameters.values()))
        one = torch.ones(self.problem.classes, device=device, dtype=like.dtype)
        self.design = {"scale": one, "shift": torch.zeros_like(one)}
        self.direction = tuple(lookahead.gradient(self.problem.target_loss, self.problem.parameters).values())

    def loss(self, at: Parameters, design: Parameters) -> torch.Tensor:
        batch = self.problem.batch
        return make.parametric_losses(self.problem.logits(batch, at), batch.labels, design).mean()

    def by(self, route: str) -> Callable[[], Vector]:
        """A product by a route; what is made once and kept is made here."""
        kept = route == "kept"
        gradient = TrainingGradient(
            [self.loss], self.problem.parameters, self.design, kept, "reverse" if kept else route
        )
        return lambda: gradient.hessian_product(self.direction)

    def by_pytorch(self) -> Vector:
        """A product by PyTorch's own double backward, which `SecondOrder` has no part in."""
        at = {name: value.detach().requires_grad_() for name, value in self.problem.parameters.items()}
        with torch.enable_grad():
            gradient = torch.autograd.grad(self.loss(at, self.design), list(at.values()), create_graph=True)
            return torch.autograd.grad(gradient, list(at.values()), self.direction)


def _double(batch: Batch) -> Batch:
    return Batch(batch.inputs.double(), batch.labels, batch.groups, batch.rows)


def spec_of(model: str, layout: str, uses: str = "", size: int = 0) -> dict[str, Any]:
    """The spec of a net in a layout with batches of `size`, by default `SIZE`."""
    size = size or SIZE
    return make.spec_of(model, uses, layout=layout, batch_size=size, target_batch_size=size)


def errors(device: torch.device, model: str, layout: str) -> dict[str, float]:
    """max |found − exact| / max |exact| of each route, over all of H u, in float64 on a small net.

    Exact is what PyTorch's double backward gives for "reverse", and what "reverse" gives for the others.
    """
    spec = spec_of(model, layout, size=FEW)
    spec["model"]["options"] = SMALL[model]
    products = Products(device, spec, double=True)
    exact = _flat(products.by("reverse")())
    pytorch = _flat(products.by_pytorch())
    found = {route: _error(_flat(products.by(route)()), exact) for route in ROUTES[1:]}
    return {ROUTES[0]: _error(exact, pytorch), **found}


def _flat(vector: Vector) -> torch.Tensor:
    return torch.cat([value.flatten() for value in vector])


def _error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found - exact).abs().max() / exact.abs().max())


def said(route: str, error: float) -> str:
    """The note of a product's line."""
    against = "PyTorch's double backward" if route == ROUTES[0] else ROUTES[0]
    kind = "approximation, error" if route == "difference" else "exact, error"
    return f"{kind} {error:.1g} of {against}"


# --- contenders ------------------------------------------------------------------------------------------------------


def products(bench: Bench, model: str, layout: str) -> dict[str, Contender]:
    """A product by each route."""
    problem, repeat = Products(bench.device, spec_of(model, layout)), REPEAT[model]
    known = errors(bench.device, model, layout)
    found = {}
    for route in ROUTES:
        name = f"{PRODUCT}, {route}{LAYOUTS[layout]}"
        bench.progress(f"hessian: {name}")
        peak = bench.peak_of(lambda route=route: problem.by(route)())  # type: ignore[misc]
        found[name] = Contender(
            bench.timed(_repeated(problem.by(route), repeat), repeat),
            note=said(route, known[route]),
            peak_mebibytes=peak,
        )
    return found


def _repeated(work: Callable[[], Any], times: int) -> Callable[[], Any]:
    return lambda: [work() for _ in range(times)]


def stepping(bench: Bench, model: str, layout: str, uses: str = "", **options: Any) -> Run:
    """A run of which no turn sees the end of an epoch.

    One that rests has a hypergradient in its first step all the same, so that is taken here.
    """
    spec = spec_of(model, layout, uses)
    spec["method_options"] |= options
    run = make.run_of(spec, bench.device, steps=(bench.rounds + 1) * REPEAT[model] + 4)
    if options.get("outer_every") != 1:
        advance(run, 1)
    return run


def searching(bench: Bench, model: str, layout: str, route: str) -> Contender:
    """A step of the search with its hypergradient."""
    run = stepping(bench, model, layout, "autobalance", outer_every=1, products=route, batches=TIMED[model])
    bench.progress(f"hessian: {SEARCHING}, {route}{LAYOUTS[layout]}")
    peak = bench.peak_of(lambda: advance(run, 1))
    return Contender(bench.steps_of(run, 1), note=f"{TIMED[model]} + {TIMED[model]} batches", peak_mebibytes=peak)


def contenders(bench: Bench, model: str) -> dict[str, Contender]:
    """All that take turns on a net."""
    repeat, taken = REPEAT[model], {}
    for layout, added in LAYOUTS.items():
        taken[PLAIN + added] = Contender(bench.steps_of(stepping(bench, model, layout), repeat))
        resting = stepping(bench, model, layout, "autobalance", outer_every=NEVER, batches=1)
        taken[RESTING + added] = Contender(bench.steps_of(resting, repeat), note="no hypergradient")
        taken |= products(bench, model, layout)
    for layout, route in SEARCHES:
        taken[f"{SEARCHING}, {route}{LAYOUTS[layout]}"] = searching(bench, model, layout, route)
    return taken


# --- lines -----------------------------------------------------------------------------------------------------------


def whole_search(plain: float, resting: float, added: float) -> tuple[float, float]:
    """Search and retraining, and one training, of p, q and o: see above. The two in the unit that those are in."""
    hypergradients = -(-SEARCH_STEPS // CADENCE)
    search = (WARM_EPOCHS + ACTIVE_EPOCHS) * SEARCH_STEPS * resting + ACTIVE_EPOCHS * hypergradients * added
    training = TRAINING_EPOCHS * TRAINING_STEPS * plain
    return search + training, training


def hessian(bench: Bench) -> list[Line]:
    """Products, then whole searches, on LeNet and ResNet-32."""
    assert entries()["autobalance"].options["terms"] == 5
    lines: list[Line] = []
    torch.set_num_threads(1)
    bench = replace(bench, of_processor=True)
    for model in REPEAT:
        title, taken = f"{make.MODELS[model][0]}, B = {SIZE}", contenders(bench, model)
        lines += of_model(bench, model, title, taken, bench.turns(f"hessian, {title}", taken))
    return lines


def of_model(
    bench: Bench, model: str, title: str, taken: dict[str, Contender], times: dict[str, list[float]]
) -> list[Line]:
    """The lines of a net: everything against the plain step of its layout, then whole searches against a training."""
    lines = []
    for name, contender in taken.items():
        against = PLAIN if name.startswith(PLAIN) else PLAIN + name[len(name.removesuffix(LAYOUTS["nchw"])) :]
        group = f"{PRODUCT}s, {title}" if name.startswith((PLAIN, PRODUCT)) else f"search, {title}"
        lines.append(bench.line(group, name, contender, times[name], against, times[against]))
    for layout, route in SEARCHES:
        added = LAYOUTS[layout]
        plain, resting = times[PLAIN + added], times[RESTING + added]
        active = times[f"{SEARCHING}, {route}{added}"]
        own = [BATCHES / TIMED[model] * (a - q) for a, q in zip(active, resting, strict=True)]
        pairs = [whole_search(*one) for one in zip(plain, resting, own, strict=True)]
        share = bench.line("", "", Contender(lambda: 0.0), own, "", plain).ratio
        party = Contender(lambda: 0.0, note=f"{PRINTED}; a hypergradient takes {share:.0f} plain steps")
        whole, training = ([pair[place] for pair in pairs] for place in (0, 1))
        lines.append(bench.line(f"search, {title}", f"{WHOLE}, {route}{added}", party, whole, TRAINING, training))
    return lines
