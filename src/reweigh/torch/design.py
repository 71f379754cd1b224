"""AutoBalance's loss as a module: the parametric cross-entropy whose offsets and multipliers validation data choose."""

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from reweigh.hypergrad.implicit import TrainingGradient, mean_gradient
from reweigh.hypergrad.krylov import krylov
from reweigh.hypergrad.lookahead import JointLoss, Parameters
from reweigh.losses.design import Design
from reweigh.methods.base import parameters_of
from reweigh.models.layers import without_trace
from reweigh.torch.alone import ArgumentError, Counts, Examples, batch_of
from reweigh.torch.losses import REDUCTIONS, Reduction

Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits (B, C), labels (B,) -> scalar
SEARCHED = ("tau", "l", "delta")


class AutoBalanceLoss(nn.Module):
    """Cross-entropy of s(Δ_k) f_k + l_k (AutoBalance, Li et al., NeurIPS 2021, eqs. 2.2 and 4.2).

    `alpha` has what is searched, as parameters: "l", "delta", or "tau" alone, l = τ log π. To the loss they are
    constants, so that no step of the model moves them. `search` puts dL_V/dα in their `.grad`, for an optimiser:

        outer = torch.optim.SGD(loss.parameters(), lr=0.1)
        loss.search(model, [(inputs, labels)], [(held_out_inputs, held_out_labels)])
        outer.step()

    `class_counts` are training examples of each class (C,), or of each class and group (C, G); then `cluster_size` is 1
    and `forward` needs the group of each example. By class, `cluster_size` neighbours in frequency share one value.
    `start` "la" is logit adjustment, "zeros" is l = 0. `multiplier` "sigmoid" is s(Δ), "plain" is Δ itself. Predictions
    are the argmax of the raw logits f.
    """

    cells: torch.Tensor
    log_shares: torch.Tensor
    table: torch.Tensor | None

    def __init__(
        self,
        class_counts: Counts,
        reduction: Reduction = "none",
        *,
        searched: Sequence[str] = ("l", "delta"),
        start: str = "la",
        multiplier: str = "sigmoid",
        cluster_size: int = 1,
    ) -> None:
        super().__init__()
        cells = torch.as_tensor(class_counts).detach().to(torch.float32).clone()
        for name, value, known in (("reduction", reduction, REDUCTIONS), ("start", start, ("la", "zeros")),
                                   ("multiplier", multiplier, ("sigmoid", "plain"))):  # fmt: skip
            if value not in known:
                raise ArgumentError(f"{name}: {' or '.join(known)}, not {value!r}")
        if not searched or not set(searched) <= set(SEARCHED) or {"tau", "l"} <= set(searched):
            raise ArgumentError(f"searched: some of l and delta, or tau in the place of l, not {list(searched)}")
        if cells.ndim not in (1, 2) or not bool((cells >= 0).all() & (cells.sum(0) > 0).all()):
            raise ArgumentError("class_counts: examples of each class (C,), or of each class and group (C, G)")
        if cluster_size < 1 or (cells.ndim == 2 and cluster_size > 1):
            raise ArgumentError(f"cluster_size: from 1 on, and 1 by class and group, not {cluster_size}")
        self.reduction = reduction
        self._design = Design(cells, searched, start, multiplier, cluster_size)
        self.alpha = nn.ParameterDict({name: nn.Parameter(value) for name, value in self._design.values.items()})
        for name in ("cells", "log_shares", "table"):
            self.register_buffer(name, getattr(self._design, name))

    def tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The multiplier m and the offset l of each class, (C,), or of each class and group, (C, G); no graph."""
        return self._here().tables({name: value.detach() for name, value in self.alpha.items()})

    def forward(self, logits: torch.Tensor, target: torch.Tensor, groups: torch.Tensor | None = None) -> torch.Tensor:
        """The loss of each example, or their sum or mean. logits (B, C), target and groups int64 (B,) -> (B,)."""
        losses = self._losses(logits, target, groups, *self.tables())
        return losses if self.reduction == "none" else losses.sum() if self.reduction == "sum" else losses.mean()

    def search(
        self,
        model: nn.Module,
        batches: Iterable[Examples],
        validation: Iterable[Examples],
        objective: Objective = F.cross_entropy,
        *,
        terms: int = 5,
        step: float | None = None,
    ) -> None:
        """Put dL_V/dα at the model as it is in the `.grad` of `alpha`; the model stays as it is.

        L_T is the mean of this loss over `batches`, L_V that of `objective` over those held out; each batch is (inputs,
        labels), by group (inputs, labels, groups). H⁻¹ v is a Neumann series of `terms` products with the Hessian (see
        `reweigh.hypergrad.implicit`). `step` is its ε, 1 in the paper; None: one over the largest eigenvalue that the
        products see, so that no direction of positive curvature changes its sign.
        """
        parameters = parameters_of(model)
        alpha: Parameters = {name: value.detach() for name, value in self.alpha.items()}
        plain = [self._training(model, one) for one in batches]
        fair = [_validation(model, one, objective) for one in validation]
        if not plain or not fair:
            raise ArgumentError("search: at least one batch to train on, and one held out")
        training = TrainingGradient(plain, parameters, alpha)
        towards = tuple(mean_gradient(fair, parameters, alpha)[0].values())
        space = krylov(training.hessian_product, towards, terms)
        most = torch.stack(space.extremes()).abs().amax()
        solution, _ = space.neumann(1 / torch.where(most > 0, most, torch.ones_like(most)) if step is None else step)
        for name, value in training.design_product(solution).items():
            self.alpha[name].grad = -value

    def _training(self, model: nn.Module, batch: Examples) -> JointLoss:
        def loss(parameters: Parameters, alpha: Parameters) -> torch.Tensor:
            logits = _logits(model, parameters, batch[0])
            return self._losses(logits, *_known(batch), *self._here().tables(alpha)).mean()

        return loss

    def _losses(
        self,
        logits: torch.Tensor,
        target: torch.Tensor,
        groups: torch.Tensor | None,
        multiplier: torch.Tensor,
        offset: torch.Tensor,
    ) -> torch.Tensor:
        if self._design.groups and groups is None:
            raise ArgumentError("groups: this loss is by class and group, and needs the group of each example")
        if logits.shape[1:] != self.cells.shape[:1]:
            raise ArgumentError(f"class_counts has {len(self.cells)} classes, but the logits are {tuple(logits.shape)}")
        return self._design.losses(logits, batch_of(logits, target, groups), multiplier, offset)

    def _here(self) -> Design:
        """The design, with its tables where a move to a device has put them."""
        self._design.cells, self._design.log_shares, self._design.table = self.cells, self.log_shares, self.table
        return self._design

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


def _known(batch: Examples) -> tuple[torch.Tensor, torch.Tensor | None]:
    return batch[1], batch[2] if len(batch) == 3 else None


def _logits(model: nn.Module, parameters: Parameters, inputs: torch.Tensor) -> torch.Tensor:
    """By a pass in training mode that changes no buffer of the model. -> (B, C)."""
    with without_trace(model, training=True):
        logits: torch.Tensor = functional_call(model, parameters, (inputs,))
    return logits.float()


def _validation(model: nn.Module, batch: Examples, objective: Objective) -> JointLoss:
    return lambda parameters, alpha: objective(_logits(model, parameters, batch[0]), batch[1])
