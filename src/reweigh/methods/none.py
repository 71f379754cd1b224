"""No reweighting: empirical risk minimisation (Vapnik 1991), the baseline that every gain is measured against.

w_i = 1/B           scale "mean", the mean loss (config name `none`)
w_i = 1/(C·B)       scale "1c": what TDR's public code trains with when its weights are never updated (`none_1c`).
                    The learning rate is then C times smaller in effect, as it is for TDR; C counts the classes that
                    have training examples.
"""

from typing import Any

import torch

from reweigh.methods import base


class Method(base.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        self.classes = int((context.group_counts > 0).sum())

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        share = 1 / len(losses)
        if self.options["scale"] == "1c":
            share /= self.classes
        return torch.full_like(losses, share)
