"""Classifier re-training, cRT (Kang et al., ICLR 2020, §4.1).

After stage one:

    W, b ← drawn anew, uniform in ±1/√F              from the run's stream "head"; a cosine head as at first
    W, b ← SGD on the mean cross-entropy of batches that show every class equally often ("class-aware")

Everything but the head stays as it is, running batch-norm statistics included. `second_stage` says epochs, sampling,
rate, schedule and the rest; authors' code: 10 epochs, 0.2 falling to 0 along a cosine, weight decay 5e-4, batch 512.
"""

import copy

import torch
from torch import nn

from reweigh.methods import base, two_stage
from reweigh.models.layers import CosineHead, default_, unit_rows_
from reweigh.streams import stream_seed


class Method(two_stage.Method):
    def second_stage(self) -> base.Stage:
        return two_stage.head_stage("crt", self.options["second_stage"])

    def begin_second(self, model: nn.Module) -> None:
        fresh = copy.deepcopy(model.head).cpu()  # drawn on the CPU: on every device the same
        generator = torch.Generator().manual_seed(stream_seed(self.context.seed, "init", "head"))
        (unit_rows_ if isinstance(fresh, CosineHead) else default_)(fresh, generator)  # type: ignore[arg-type]
        model.head.load_state_dict(fresh.state_dict())  # type: ignore[union-attr]
