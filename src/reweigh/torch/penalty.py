"""HAR's penalty for a loop of one's own: gradient norms of hidden layers, by the strength of each class."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from reweigh.hypergrad import penalty
from reweigh.methods import har
from reweigh.methods.penalised import layers_named
from reweigh.torch.alone import ArgumentError, Counts


class HARPenalty(nn.Module):
    """λ (1/B) Σ_i r_{y_i} J_i, J_i = Σ_l ‖∂L/∂h_{l,i}‖₂ (HAR, Cao et al., ICLR 2021). See `reweigh.methods.penalised`.

        har = HARPenalty(har_strengths(errors, counts), layers=["blocks.*.norm1"], lam=0.1)
        with har.watch(model):
            logits = model(inputs)
        loss = cross_entropy(logits, labels)              # L: the mean over the batch
        (loss + har(loss, labels)).backward()

    `strengths` r (C,), one a class: `har_strengths` makes them from held-out errors and counts. `layers` are names of
    modules of the model, or patterns as in the shell; of a batch norm, the output before its affine part is meant.
    `aggregate` over the layers: "sum" (the authors' code), or "rss", the root of the sum of squares.
    """

    strengths: torch.Tensor

    def __init__(self, strengths: Counts, layers: Sequence[str], lam: float = 1.0, aggregate: str = "sum") -> None:
        super().__init__()
        if aggregate not in ("sum", "rss"):
            raise ArgumentError(f"aggregate: sum or rss, not {aggregate!r}")
        if isinstance(layers, str) or not layers:
            raise ArgumentError(f"layers: a list of names of layers, not {layers!r}")
        self.layers, self.lam, self.aggregate = list(layers), lam, aggregate
        self.register_buffer("strengths", torch.as_tensor(strengths, dtype=torch.float32).clone())
        self._seen: list[penalty.Hidden] = []

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """A context for the pass whose hidden outputs are penalised. Raises ConfigError where no layer matches."""
        with penalty.hidden_outputs(model, layers_named(self.layers, model)) as self._seen:
            yield

    def forward(self, loss: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The penalty of the pass that was watched, for `backward`. loss scalar, target int64 (B,) -> scalar."""
        seen, self._seen = self._seen, []  # whoever keeps it keeps the graph of the pass
        if not seen:
            raise ArgumentError("no pass was watched: call the model inside `with har.watch(model):`, once a penalty")
        return self.lam * penalty.gradient_norm_penalty(loss, seen, self.strengths[target], self.aggregate)

    def extra_repr(self) -> str:
        return f"layers={self.layers}, lam={self.lam}, aggregate={self.aggregate!r}"


def har_strengths(
    errors: Counts, counts: Counts, noise_exponent: float = 0.6, density_exponent: float = 0.4, *, floor: bool = False
) -> torch.Tensor:
    """r_c = e_c^a / n_c^b, by the largest (HAR, algorithm 1); a and b as in the authors' code. -> float32 (C,).

    `errors` e (C,) of each class on held-out data, `counts` n (C,) of its training examples. `floor` takes e_c for
    1/n_c at least, so that a class of which no held-out example is wrong is penalised too.
    """
    known, examples = (torch.as_tensor(values, dtype=torch.float32) for values in (errors, counts))
    return har.strengths(known, examples, noise_exponent, density_exponent, "1/n" if floor else None)
