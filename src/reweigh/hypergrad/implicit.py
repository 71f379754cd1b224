"""The hypergradient of a training loss's own parameters by implicit differentiation (AutoBalance, NeurIPS 2021, §2.1).

Let θ minimise a training loss with parameters α, so that its gradient g_T(θ, α) is zero, and let v = ∇_θ L_V be the
gradient of a validation loss. Then dL_V/dα = ∂L_V/∂α − (∂g_T/∂α)ᵀ H⁻¹ v with H = ∂g_T/∂θ, and the inverse gives way to
a truncated Neumann series,

    H⁻¹ v ≈ p = ε Σ_{j=0}^{J} c_j,    c_0 = v,    c_{j+1} = c_j − ε H c_j:    J + 1 summands, J Hessian-vector products.

The series converges to H⁻¹ v where every eigenvalue of H lies in (0, 2/ε). Beyond that only the truncation keeps it
finite; the norms of the c_j and the dominant eigenvalue say which it was.

g_T is the gradient of the plain loss: weight decay and momentum, with which θ is trained, are no part of it, as in the
authors' code. It is taken once, with its graph, and each product is one vector-Jacobian product of it. The graphs of
all training batches are held at once; with `keep_graphs=False` there is one at a time, made anew for each product,
which costs half as much again on a ResNet-32 and gives the same. Nothing here waits for a value of a tensor. As in
`lookahead`, the functions that are passed in choose the mode of batch norm and the masks of dropout.

`hypergradient` is this series as it stands; `TrainingGradient` and `mean_gradient` are its parts for those who solve in
another way (`krylov.py`, `linear_head.py`). A product with H has three routes: "reverse", a second backward pass
through the graph of the first; "forward", the forward derivative of a backward pass, as exact, but without the fast
kernels of `SecondOrder`; "difference", (g_T(θ + h u) − g_T(θ)) / h along the unit vector u, h = 0.01, an approximation
whose error grows with h and with the third derivative.
"""

import functools
from collections.abc import Callable, Sequence

import torch

from reweigh.hypergrad.lookahead import JointLoss, Parameters, partial_gradients
from reweigh.hypergrad.second_order import SecondOrder

Vector = tuple[torch.Tensor, ...]  # one tensor for each tensor of θ
Product = Callable[[Vector], Vector]
DIFFERENCE_STEP = 0.01  # ‖θ' − θ‖ of a difference of gradients, as DARTS has it


def hypergradient(
    training_losses: Sequence[JointLoss],
    validation_losses: Sequence[JointLoss],
    parameters: Parameters,
    design: Parameters,
    *,
    step: float = 1.0,
    terms: int = 5,
    sign: int = -1,
    power_iterations: int = 0,
    keep_graphs: bool = True,
) -> tuple[Parameters, dict[str, torch.Tensor]]:
    """dL_V/dα at θ = `parameters` and α = `design`, and what to log. -> (tensors as in α, name -> tensor).

    Each loss (θ, α) -> scalar is the mean over one batch; L_T and L_V are the means over their batches. A validation
    loss that names α adds its direct term; AutoBalance's does not. `step` is ε, `terms` is J, the number of
    Hessian-vector products. `sign` is that of the indirect term: −1 by the implicit function theorem and in the
    authors' code; the paper prints +1.

    The log has `direction_norms` (J + 1,), the norms of the c_j, and, with `power_iterations` > 0 (each one more
    product), `dominant_eigenvalue`, a scalar. Raises ValueError on a `sign` or a number of terms or batches that means
    nothing, RuntimeError if g_T does not depend on some tensor of α.
    """
    if sign not in (-1, 1) or terms < 0 or not training_losses or not validation_losses:
        raise ValueError("expected sign -1 or 1, terms >= 0, and at least one training and one validation loss")
    training = TrainingGradient(training_losses, parameters, design, keep_graphs)
    direction, direct = mean_gradient(validation_losses, parameters, design)
    start = tuple(direction.values())
    solution, norms = neumann(training.hessian_product, start, step, terms)
    indirect = training.design_product(solution)
    log = {"direction_norms": norms}
    if power_iterations:
        log["dominant_eigenvalue"] = dominant_eigenvalue(training.hessian_product, start, power_iterations)
    return {name: direct[name] + sign * value for name, value in indirect.items()}, log


def mean_gradient(
    losses: Sequence[JointLoss], parameters: Parameters, design: Parameters
) -> tuple[Parameters, Parameters]:
    """The gradients of the mean of some losses, by θ and by α, one batch after the other. -> (as θ, as α)."""
    by_batch = (partial_gradients(loss, parameters, design) for loss in losses)
    first, second = functools.reduce(lambda total, more: (_sum(total[0], more[0]), _sum(total[1], more[1])), by_batch)
    return _over(first, len(losses)), _over(second, len(losses))


def _sum(first: Parameters, second: Parameters) -> Parameters:
    return {name: value + second[name] for name, value in first.items()}


def _over(total: Parameters, count: int) -> Parameters:
    return {name: value / count for name, value in total.items()}


class TrainingGradient:
    """g_T(θ, α), the gradient of the mean training loss by θ: the products of its derivatives with vectors.

    Its graph is made once and kept, of all batches at a time; without `keep_graphs` each product makes that of one
    batch after the other again, and sums up. H is a mean over batches, so that both give the same. `route` is that of
    the products with H: those with ∂g_T/∂α are always "reverse".
    """

    def __init__(
        self,
        losses: Sequence[JointLoss],
        parameters: Parameters,
        design: Parameters,
        keep_graphs: bool = True,
        route: str = "reverse",
    ) -> None:
        self.losses, self.route = losses, route
        self.at = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        self.design = {name: value.detach().requires_grad_() for name, value in design.items()}
        self.kept = self._gradient(losses) if keep_graphs else None
        self.here = self._plain_gradient(parameters) if route == "difference" else None

    def hessian_product(self, vector: Vector) -> Vector:
        """H `vector`, H being symmetric. Zero where L_T is linear in θ."""
        if self.route == "forward":
            return self._forward(vector)
        if self.route == "difference":
            return self._difference(vector)
        return self._product(vector, self.at, linear=True)

    def _forward(self, vector: Vector) -> Vector:
        at, along = ({name: one.detach() for name, one in zip(self.at, side, strict=True)}
                     for side in (self.at.values(), vector))  # fmt: skip
        design = {name: value.detach() for name, value in self.design.items()}
        products = (
            torch.func.jvp(torch.func.grad(functools.partial(_of, loss, design)), (at,), (along,))[1]
            for loss in self.losses
        )
        return tuple(_over(functools.reduce(_sum, products), len(self.losses)).values())

    def _difference(self, vector: Vector) -> Vector:
        step = DIFFERENCE_STEP / norm(vector)
        step = torch.where(step.isfinite(), step, torch.ones_like(step))  # along a vector of 0 the product is 0
        ahead = {name: value.detach() + step * one for (name, value), one in zip(self.at.items(), vector, strict=True)}
        there = self._plain_gradient(ahead)
        assert self.here is not None
        return tuple((value - here) / step for value, here in zip(there, self.here, strict=True))

    def _plain_gradient(self, at: Parameters) -> Vector:
        return tuple(mean_gradient(self.losses, at, self.design)[0].values())

    def design_product(self, vector: Vector) -> Parameters:
        """(∂g_T/∂α)ᵀ `vector`. -> tensors as in α."""
        return dict(zip(self.design, self._product(vector, self.design, linear=False), strict=True))

    def _gradient(self, losses: Sequence[JointLoss]) -> Vector:
        """What some batches add to g_T, with its graph."""
        with torch.enable_grad(), SecondOrder():
            total = torch.stack([loss(self.at, self.design) for loss in losses]).sum() / len(self.losses)
            return torch.autograd.grad(total, list(self.at.values()), create_graph=True)

    def _product(self, vector: Vector, inputs: Parameters, linear: bool) -> Vector:
        if self.kept is not None:
            return _through(self.kept, vector, inputs, linear, retain_graph=True)
        # Nothing here holds on to a graph while the next one is made.
        products = (
            _through(self._gradient([loss]), vector, inputs, linear, retain_graph=False) for loss in self.losses
        )
        return functools.reduce(lambda total, more: tuple(a + b for a, b in zip(total, more, strict=True)), products)


def _of(loss: JointLoss, design: Parameters, at: Parameters) -> torch.Tensor:
    return loss(at, design)


def _through(value: Vector, vector: Vector, inputs: Parameters, linear: bool, retain_graph: bool) -> Vector:
    """The vector-Jacobian product of `value` by `inputs`; zero where that does not depend on them if it is `linear`."""
    # A part of g_T that is a constant has no graph and adds nothing.
    pairs = [(gradient, part) for gradient, part in zip(value, vector, strict=True) if gradient.requires_grad]
    return torch.autograd.grad(
        [gradient for gradient, _ in pairs],
        list(inputs.values()),
        [part for _, part in pairs],
        retain_graph=retain_graph,
        materialize_grads=linear,
    )


def neumann(product: Product, vector: Vector, step: float, terms: int) -> tuple[Vector, torch.Tensor]:
    """ε Σ_{j=0}^{terms} (I − ε H)^j `vector` by `terms` products with H, and the norms of the c_j.

    -> (as `vector`, (terms + 1,)). `step` is ε; c_j = (I − ε H)^j `vector`.
    """
    summand = total = vector
    norms = [norm(summand)]
    for _ in range(terms):
        summand = tuple(value - step * moved for value, moved in zip(summand, product(summand), strict=True))
        total = tuple(value + more for value, more in zip(total, summand, strict=True))
        norms.append(norm(summand))
    return tuple(step * value for value in total), torch.stack(norms)


def dominant_eigenvalue(product: Product, start: Vector, iterations: int) -> torch.Tensor:
    """The eigenvalue of largest magnitude, with its sign, of a symmetric H by power iteration. -> scalar.

    It is the Rayleigh quotient after `iterations` products (at least one), which errs towards 0 and by the square of
    the angle that is left. It is the largest eigenvalue wherever that one exceeds all others in magnitude; if it comes
    out negative, or beyond 2/ε, the Neumann series diverges. An eigenvector to which `start` is orthogonal is not
    found; a `start` of zero gives zero.
    """
    vector = start
    quotient = torch.zeros_like(norm(start))
    for _ in range(iterations):
        length = norm(vector)
        unit = tuple(value / torch.where(length > 0, length, torch.ones_like(length)) for value in vector)
        vector = product(unit)
        quotient = inner(unit, vector)
    return quotient


def inner(first: Vector, second: Vector) -> torch.Tensor:
    """⟨first, second⟩ over all tensors. -> scalar."""
    return torch.stack([(a * b).sum() for a, b in zip(first, second, strict=True)]).sum()


def norm(vector: Vector) -> torch.Tensor:
    """The Euclidean norm over all tensors. -> scalar."""
    return inner(vector, vector).sqrt()
