"""Random weights: rectified normal draws (Ren et al. 2018, "random"; TDR §4.2 compares with it and does not define it).

per example (`rand`):        r_i ~ N(0, 1) anew each step,   w_i = max(r_i, 0) / Σ_j max(r_j, 0)
per class (`rand_class`):    r_c ~ N(0, 1) every t steps,    w_i = max(r_{y_i}, 0) / (B · Σ_k max(r_k, 0))

Classes are those that have training examples.
"""

import torch

from reweigh.methods import base
from reweigh.streams import stream_seed
from reweigh.weights import rectified_share


class Method(base.Method):
    may_rest = True  # where no draw is positive, there is no step

    def __init__(self, options: dict[str, object], context: base.RunContext) -> None:
        super().__init__(options, context)
        count = context.batch_size if options["per"] == "example" else len(context.group_counts)
        self.drawn = torch.zeros(count, device=context.group_counts.device)
        self.empty = [] if options["per"] == "example" else (context.group_counts == 0).nonzero().flatten().tolist()

    def prepare(self, at: base.Position) -> str:
        drawn = self.draw(len(self.drawn), at.step // self.options["every"])
        # From pinned memory a GPU copies while the host goes on; the memory is used again only when it has.
        self.drawn.copy_(drawn.pin_memory() if self.drawn.is_cuda else drawn, non_blocking=True)
        return "step"

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        if self.options["per"] == "example":
            return self.drawn[: len(losses)].to(losses)
        return self.drawn[step.batch.groups].to(losses) / len(losses)

    def draw(self, count: int, number: int) -> torch.Tensor:
        """The `number`-th draw of `count` weights that sum to 1 (or are all 0)."""
        generator = torch.Generator().manual_seed(stream_seed(self.context.seed, "weights", number))
        scores = torch.randn(count, generator=generator)
        scores[self.empty] = 0
        return rectified_share(scores)
