"""τ-normalised classifier (Kang et al., ICLR 2020, §4.2).

After stage one, nothing is trained:

    W_c ← W_c / ‖W_c‖₂^τ,    b ← 0                   τ = 0: the head without its bias; τ = 1: directions only

τ is the first of 0, `tau_step`, …, `tau_max` with the best mean of class recalls on the split's validation part, which
is plain accuracy where all classes are equally many, as in the authors' validation sets. The test set has no say. The
trace holds the choice (`tau`) and what each τ reached (`validation_recall`).
"""

import torch
import torch.nn.functional as F
from torch import nn

from reweigh.errors import ConfigError
from reweigh.methods import base, two_stage


class Method(two_stage.Method):
    def __init__(self, options: dict[str, object], context: base.RunContext) -> None:
        super().__init__(options, context)
        if context.validation is None:
            raise ConfigError("tau_norm chooses τ on validation examples; set validation_size or validation_share")
        count = round(options["tau_max"] / options["tau_step"])  # type: ignore[operator]
        self.taus = [round(options["tau_step"] * number, 10) for number in range(count + 1)]  # type: ignore[operator]

    def begin_second(self, model: nn.Module) -> None:
        features, labels = two_stage.head_inputs(model, self.context.validation), self.context.validation.labels  # type: ignore[arg-type, union-attr]
        with torch.no_grad():
            weights = [normalised(model.head.weight, tau) for tau in self.taus]  # type: ignore[arg-type, union-attr]
            recalls = torch.stack([mean_recall(F.linear(features, weight), labels) for weight in weights])
            best = int(recalls.argmax())
            model.head.weight.copy_(weights[best])  # type: ignore[operator, union-attr]
            if getattr(model.head, "bias", None) is not None:
                model.head.bias.zero_()  # type: ignore[operator, union-attr]
        self.log(tau=torch.tensor(self.taus[best]), validation_recall=recalls)


def normalised(weight: torch.Tensor, tau: float) -> torch.Tensor:
    """Each row divided by the τ-th power of its length. (C, F) -> (C, F)."""
    return weight / weight.norm(dim=1, keepdim=True).clamp_min(1e-12) ** tau


def mean_recall(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean over classes that occur of the share of their examples that are recognised. (B, C), (B,) -> ()."""
    classes = logits.shape[1]
    right = torch.bincount(labels[logits.argmax(1) == labels], minlength=classes)
    counts = torch.bincount(labels, minlength=classes)
    return (right[counts > 0].double() / counts[counts > 0]).mean()
