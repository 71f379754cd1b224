"""ABSGD as a second stage: the head alone, after a shared stage one (ABSGD, TMLR 2022, §4.2, "FC" in Tables 3 to 5).

    stage one:  θ ← SGD on the mean cross-entropy                              as joint training
    after it:   W, b ← SGD along Σ_i w_i ∇ℓ_i, with the weights w_i of ABSGD   from the head of stage one, s_0 = 0

The options `lambda_`, `gamma`, `alpha` and `uniform` are those of `absgd`, and so is `class_balance`, whose epochs
count from the beginning of the second stage: stage one has no class weights. `second_stage` says epochs, sampling, rate
and schedule. Text and tables do not agree on where the last block is tuned too ("FC + LB"); it is not here.
"""

import torch
from torch import nn

from reweigh.data.batches import Batch
from reweigh.methods import absgd, base, two_stage


class Method(two_stage.Method, absgd.Method):
    def __init__(self, options: dict[str, object], context: base.RunContext) -> None:
        super().__init__({**options, "log_weights": False}, context)

    def follow(self, context: base.RunContext) -> None:
        super().follow(context)
        self.class_weights = None  # `begin_second` makes them

    def begin_second(self, model: nn.Module) -> None:
        self.class_weights = torch.ones_like(self.context.class_counts) if self.balance else None

    def second_stage(self) -> base.Stage:
        return two_stage.head_stage("absgd", self.options["second_stage"])

    def prepare(self, at: base.Position) -> str:
        after = at.stage.name != two_stage.STAGE_ONE
        self.lambda_ = self.options["lambda_"] if after else None
        return "absgd" if after else "plain"

    def balance_of(self, batch: Batch) -> torch.Tensor | None:
        return None if self.class_weights is None else absgd.Method.balance_of(self, batch)

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        return absgd.Method.example_weights(self, step, losses)
