"""Hard weighting: fixed weights, inverse to the size of the class or group ("of class frequency" in TDR, KDD 2020, §4).

    w_c = (1/n_c) / Σ_k (1/n_k),    w_i = w_{y_i} / B

For two classes each class is weighted by the other one's share. Scale "mean" multiplies by the number of classes, so
that the weights average 1 over classes (`hard_mean`); with "simplex" they sum to 1, as TDR's do (`hard`). Classes are
those that have training examples: 1/n of another one has no meaning, and nothing that it could weigh.
"""

import torch

from reweigh.methods import base
from reweigh.weights import inverse_frequency


class Method(base.Method):
    def __init__(self, options: dict[str, object], context: base.RunContext) -> None:
        super().__init__(options, context)
        self.weights = inverse_frequency(context.group_counts)
        if options["scale"] == "mean":
            self.weights = self.weights * int((context.group_counts > 0).sum())

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        return self.weights[step.batch.groups] / len(losses)
