"""Second derivatives by every route there is: a Hessian-vector product. HAR's penalty is in `penalised_steps.py`.

| route                     | exact | what it does                                                                    |
|---------------------------|-------|---------------------------------------------------------------------------------|
| ours                      | yes   | a double backward pass by the kernels of `hypergrad.second_order`               |
| PyTorch's double backward | yes   | the same pass as PyTorch makes it, in either layout                             |
| forward over reverse      | yes   | the gradient at dual numbers θ + ε v, PyTorch's formulas for both               |
| difference of gradients   | no    | (∇L(θ + ε v) − ∇L(θ − ε v)) / 2ε; its relative error is in the note of its line |

A product is measured in two ways, each beside its like alone. Where many products of one graph are wanted, as of an
implicit hypergradient, the graph is made once: `KEPT` lines are the product alone, of the routes that keep a graph.
`WHOLE` lines are a graph and one product of it, by every route; those that keep none have no other.

The difference of gradients counts every ReLU that changes sides between its two points, which the Hessian does not:
on a net with ReLUs it does not approach the product as ε falls, until ε is too small for any to change.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad

import reweigh.bench.contenders as make
from reweigh.bench.measure import Bench, Contender, all_cores
from reweigh.bench.pairs import Problem
from reweigh.bench.table import Line
from reweigh.hypergrad import implicit, lookahead
from reweigh.hypergrad.lookahead import OuterLoss, Parameters

Work = Callable[[], Any]
KEPT, WHOLE = "Hessian-vector product", "graph and one Hessian-vector product"  # of the names of lines
PYTORCH = "PyTorch's double backward"
STEP = 0.01  # of the difference of gradients: ε ‖v‖, as in DARTS (Liu et al., ICLR 2019)


class Curvature:
    """The training loss of one batch at a model's parameters θ, and a direction v: the gradient of the target loss."""

    def __init__(self, device: torch.device, size: int, layout: str = "channels-last") -> None:
        self.problem = Problem(make.run_of(make.spec_of("resnet32", layout=layout), device), size)
        self.parameters = self.problem.parameters
        self.direction = tuple(lookahead.gradient(self.problem.target_loss, self.parameters).values())

    def loss(self, at: Parameters, _: Parameters | None = None) -> torch.Tensor:
        return self.problem.losses(at).mean()

    def plain(self) -> Parameters:
        """An ordinary gradient."""
        return lookahead.gradient(self.loss, self.parameters)

    def ours(self, kept: bool = True) -> Work:
        """The product of a graph that is made here and `kept`; else the graph is made with the product."""
        gradient = implicit.TrainingGradient([self.loss], self.parameters, {}, keep_graphs=kept)
        return lambda: gradient.hessian_product(self.direction)

    def double_backward(self, kept: bool = True) -> Work:
        """PyTorch's own; `kept` as above."""
        leaves = {name: value.detach().requires_grad_() for name, value in self.parameters.items()}
        inputs = list(leaves.values())

        def graph() -> tuple[torch.Tensor, ...]:
            return torch.autograd.grad(self.loss(leaves), inputs, create_graph=True)

        made = graph() if kept else None
        return lambda: torch.autograd.grad(made or graph(), inputs, self.direction, retain_graph=kept)

    def forward_over_reverse(self) -> tuple[torch.Tensor, ...]:
        return forward_over_reverse(self.loss, self.parameters, self.direction)

    def difference(self) -> tuple[torch.Tensor, ...]:
        return difference(self.loss, self.parameters, self.direction, STEP)


def forward_over_reverse(
    loss: OuterLoss, parameters: Parameters, direction: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, ...]:
    """H v as the tangent of the gradient: exact. -> as v."""
    with torch.enable_grad(), forward_ad.dual_level():
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        duals = {
            name: forward_ad.make_dual(leaf, along)
            for (name, leaf), along in zip(leaves.items(), direction, strict=True)
        }
        gradients = torch.autograd.grad(loss(duals), list(leaves.values()))
        return tuple(forward_ad.unpack_dual(gradient).tangent for gradient in gradients)


def difference(
    loss: OuterLoss, parameters: Parameters, direction: tuple[torch.Tensor, ...], step: float
) -> tuple[torch.Tensor, ...]:
    """H v by the central difference of two gradients, `step` / ‖v‖ v away on either side: an approximation. -> as v."""
    length = step / implicit.norm(direction)
    above, below = (
        lookahead.gradient(
            loss,
            {
                name: value + sign * length * along
                for (name, value), along in zip(parameters.items(), direction, strict=True)
            },
        )
        for sign in (1, -1)
    )
    return tuple((above[name] - below[name]) / (2 * length) for name in parameters)


def relative_error(found: tuple[torch.Tensor, ...], exact: tuple[torch.Tensor, ...]) -> float:
    """‖found − exact‖ / ‖exact‖ over all tensors."""
    gap = tuple(a - b for a, b in zip(found, exact, strict=True))
    return float(implicit.norm(gap) / implicit.norm(exact))


def hessian_products(device: torch.device, size: int) -> dict[str, tuple[Work, str]]:
    """A plain gradient, then the product alone and with its graph by each route, with the note of its line."""
    problem, plain_order = Curvature(device, size), Curvature(device, size, "nchw")
    error = relative_error(problem.difference(), problem.ours(kept=False)())
    found: dict[str, tuple[Work, str]] = {"a plain gradient": (problem.plain, "")}
    for kind, kept in ((KEPT, True), (WHOLE, False)):
        found |= {
            kind: (problem.ours(kept), ""),
            f"{kind}, NCHW": (plain_order.ours(kept), ""),
            f"{kind}, {PYTORCH}": (problem.double_backward(kept), ""),
            f"{kind}, {PYTORCH}, NCHW": (plain_order.double_backward(kept), ""),
        }
    return found | {
        f"{WHOLE}, forward over reverse": (problem.forward_over_reverse, ""),
        f"{WHOLE}, difference of gradients": (problem.difference, f"relative error {error:.3g}"),
    }


def routes(bench: Bench) -> list[Line]:
    """Each route against a plain gradient of the same batch: time and memory."""
    torch.set_num_threads(all_cores())
    title, size = make.MODELS["resnet32"]
    contenders, count = {}, size // 2
    for name, (work, note) in hessian_products(bench.device, count).items():
        bench.progress(f"second derivatives: {name}")
        peak = bench.peak_of(work)
        contenders[f"{title}, B = {count}: {name}"] = Contender(bench.timed(work), note=note, peak_mebibytes=peak)
    return bench.compare("hypergradients", contenders)
