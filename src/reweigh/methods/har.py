"""HAR, heteroskedastic adaptive regularization (Cao, Chen, Lu, Arechiga, Gaidon, Ma, ICLR 2021, algorithm 1).

    estimate:    e_c, the error of each class on a held-out half of the training set     `class_errors`
    strengths:   r_c = e_c^a / n_c^b,    r_c ← r_c / max_k r_k                           a = .6, b = .4
    regularise:  from new weights, on all of the training set,
                 θ ← step along ∇ [ L + λ (1/B) Σ_i r_{y_i} J_i ]                        `penalised`

n_c counts the given, noisy labels of the whole training set. Exponents and stages are those of the authors' code
(kaidic/HAR at 188a463), which computes strengths in float64 and keeps them in float32. As there, a class of which no
held-out example is wrong has strength 0; `floor` "1/n" takes e_c for 1/n_c at least. A class without training examples
has strength 0 and no part in the maximum; where no strength is above 0, all are 0.

| option           |                                                                                                 |
|------------------|-------------------------------------------------------------------------------------------------|
| noise_exponent   | a; 0: density alone decides, there is no error and no first stage, and `half` is null           |
| density_exponent | b; 0: errors alone decide                                                                       |
| errors_after     | the epochs of the first stage after which errors are taken, at most all; null: all              |
| strengths        | "mean": every class has mean_i r_{y_i}, uniform strength at an equal mean; "by-class"           |

`loss` and `class_balance` act in the last stage alone, in which epochs of the latter count from its start: HAR-DRW.
"""

from typing import Any

import torch
from torch import nn

from reweigh.methods import base, class_errors, penalised

LAST = "regularise"


class Method(penalised.Method, class_errors.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__({**options, "loss": None, "class_balance": None}, context)  # until the last stage
        self.of_last_stage = options

    def stages(self, epochs: int) -> list[base.Stage]:
        estimates = super().stages(epochs) if self.estimates else []
        return [*estimates, base.Stage(LAST, epochs, fresh=bool(estimates))]

    def prefix(self) -> base.Prefix | None:
        return super().prefix() if self.estimates else None

    def begin(self, stage: base.Stage, model: nn.Module) -> None:
        super().begin(stage, model)
        self.penalises = stage.name == LAST
        if self.penalises:
            self.options, self.balance = self.of_last_stage, self.of_last_stage["class_balance"]
            self.follow(self.context)
            self._decide_strengths()

    def _decide_strengths(self) -> None:
        options, counts = self.options, self.context.class_counts
        errors = torch.ones_like(counts)  # to whatever power, without an estimate
        if self.estimates:
            errors = self.class_errors(options["errors_after"])
            self.log(class_errors=errors)
        found = strengths(errors, counts, options["noise_exponent"], options["density_exponent"], options["floor"])
        if options["strengths"] == "mean":
            found = torch.full_like(found, float(found @ counts / counts.sum()))
        self.strengths.copy_(found)
        self.log(strengths=self.strengths)


def strengths(
    errors: torch.Tensor, counts: torch.Tensor, noise_exponent: float, density_exponent: float, floor: str | None = None
) -> torch.Tensor:
    """r_c of held-out errors e (K,) and training examples n (K,). -> float32 (K,), of which the largest is 1.

    >>> errors, counts = torch.tensor([0.60, 0.25, 0.45, 0.10]), torch.tensor([500, 500, 5000, 5000])
    >>> strengths(errors, counts, 0.6, 0.4)
    tensor([1.0000, 0.5914, 0.3350, 0.1359])
    """
    errors, counts = errors.double(), counts.double()
    if floor is not None:
        errors = torch.maximum(errors, 1 / counts)
    raw = torch.where(counts > 0, errors**noise_exponent / counts**density_exponent, 0.0)
    largest = raw.max()
    return (raw / torch.where(largest > 0, largest, 1.0)).float()
