"""Plain training with any loss: momentum SGD on the mean loss, and what published comparisons add to it.

Class weights as in LDAM-DRW (Cao et al., NeurIPS 2019):

w_i = 1/B                       and with `class_balance`, whose weights v_c multiply the losses,
w_i = 1/Σ_j v_{y_j}             for losses that PyTorch averages by their class weights: CB-CE and CB-LDAM (LDAM-DRW)
w_i = 1/B                       for the others: CB-Focal, as in the public code

| option        |                                                                                                    |
|---------------|----------------------------------------------------------------------------------------------------|
| loss          | one of `reweigh.losses` with its options; null: cross-entropy                                      |
| class_balance | effective-number weights with `beta`, from epoch `from_epoch` on; null: none                       |
| sampling      | "effective-number": real resampling, n draws with replacement an epoch (the "Resample" rows of     |
|               | LDAM and ABSGD, whose public code builds the sampler and never uses it); "uniform": none           |
| rate_factor   | all weights times `factor` from epoch `from_epoch` on; null: 1. What ABSGD does to the learning    |
|               | rate by Σ_i p_i ≈ 1/α, done to SGD: the control of equal effective learning rate                   |
"""

import torch

from reweigh.methods import base


class Method(base.Method):
    def stages(self, epochs: int) -> list[base.Stage]:
        return [base.Stage("train", epochs, sampling=self.options["sampling"])]

    def prepare(self, at: base.Position) -> str:
        more, epoch = self.options["rate_factor"], at.stage_epoch
        self.factor = more["factor"] if more and epoch >= more["from_epoch"] else 1.0
        return f"step, times {self.factor}" if more else "step"

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        if self.class_weights is None or self.loss.average == "mean":
            return torch.full_like(losses, self.factor / len(losses))
        return torch.ones_like(losses) * (self.factor / self.class_weights[step.batch.labels].sum())
