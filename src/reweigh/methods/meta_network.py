"""The meta-network of learned reweighting: what makes weights of examples, and what a validation batch teaches it.

Jain, Suggala, Shenoy (CVPR 2024), §3, §4.2 and supplement D.1; the look-ahead as in its references 18 and 34:

    w_i = a(g_φ(x_i)),   a the sigmoid                                    g: a net like the classifier, with one output
    w̃_i = w_i / Σ_j w_j                                                  in a batch of B: equal weights are 1/B
    θ'(φ) = θ − α Σ_i w̃_i(φ) ∇ℓ_i(θ),   L(φ) = mean loss of a validation batch at θ'(φ)
    φ ← step along dL/dφ = −α Σ_i ⟨∇L(θ'), ∇ℓ_i(θ)⟩ ∂w̃_i/∂φ                once in `every` steps

The look-ahead is the classifier's own step on the same batch, at its learning rate α, without momentum and weight
decay: its gradient is the step's, made once. So a step in which φ moves has the weights of φ before that, and each φ
serves `every` steps. (In the paper's Algorithm 1 φ moves first; on which batch it does not say.) Passes are in training
mode, by batch statistics that leave the running ones alone, with the dropout mask of the step. The paper fixes neither
a nor the normalisation nor how φ is used; here:

| option     |                                                                                                       |
|------------|-------------------------------------------------------------------------------------------------------|
| weights    | "network"; "free": one number an example of the pool in place of a net                                |
| activation | "sigmoid" or "softplus"                                                                               |
| normalise  | "mean": w̃ as above; "none": w_i / B, so that φ moves the size of a step too                           |
| trains     | of the net "all", the "head" alone, or "nothing"                                                      |
| sees       | "x", or "xy": the head sees the label, one-hot, too                                                   |
| inputs     | "augmented", as the classifier sees them; "stored": as they are, of which features are found once     |
| head_sd    | of the head's first weights (its bias is 0): equal weights at first                                   |
| optimiser  | "sgd" with `momentum`, or "adam"                                                                      |
| rate       | its learning rate; null: the classifier's                                                             |

The net is a copy of a trained classifier, with its head replaced, and in evaluation mode throughout: what it says of an
example depends on no other. (The paper calls the backbone pretrained; from scratch there is no other one.)
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from reweigh.data.batches import Batch, InputPart
from reweigh.hypergrad.kept_products import Products
from reweigh.hypergrad.lookahead import OuterLoss, Parameters
from reweigh.hypergrad.own_step import own_step, trained_by
from reweigh.methods import base
from reweigh.models.head_inputs import seen_by_head
from reweigh.models.layers import without_trace
from reweigh.optimisers import Adam, MomentumSGD
from reweigh.streams import stream_seed

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sigmoid": torch.sigmoid,
    "softplus": nn.functional.softplus,
}
HEAD = ("head.weight", "head.bias")


class MetaNetwork:
    """φ: its parameters, its weights of a batch, its optimiser. `size` is that of the pool, `rate` the classifier's."""

    def __init__(self, options: Mapping[str, Any], context: base.RunContext, size: int) -> None:
        self.options, self.context, self.size = options, context, size
        self.rate = torch.zeros((), device=context.class_counts.device)
        self.features: torch.Tensor | None = None
        self.products = Products()  # of the classifier's pass in an outer step
        self.parameters: Parameters = {}

    @property
    def learns(self) -> bool:
        return self.options["trains"] != "nothing"

    def start(self, model: nn.Module, net: Parameters | None, pool: InputPart) -> None:
        """Begin with the classifier `model`, or the parameters and buffers `net` of another one like it."""
        device = self.rate.device
        if self.options["weights"] == "free":
            self.parameters = {"scores": torch.zeros(self.size, device=device)}
        else:
            self.backbone = headless(model, net)
            generator = torch.Generator().manual_seed(stream_seed(self.context.seed, "meta-network"))
            width = features_of(self.backbone, pool).shape[1]
            width += self.context.classes if self.options["sees"] == "xy" else 0
            weight = torch.randn(1, width, generator=generator) * self.options["head_sd"]
            self.parameters = {"head.weight": weight.to(device), "head.bias": torch.zeros(1, device=device)}
            if self.options["trains"] == "all":
                self.parameters |= base.parameters_of(self.backbone)
            self._store(pool)
        rate = self.options["rate"] or self.context.learning_rate
        self.optimiser: MomentumSGD | Adam = (
            MomentumSGD(self.parameters, rate, self.options["momentum"])
            if self.options["optimiser"] == "sgd"
            else Adam(self.parameters, rate)
        )

    def _store(self, pool: InputPart) -> None:
        """Features of the whole pool, where they are always the same: float32 (pool, F)."""
        if self.options["inputs"] == "stored":
            self.features = features_of_all(self.backbone, pool)

    # --- weights --------------------------------------------------------------------------------------------------

    def scores(self, phi: Parameters, batch: Batch) -> torch.Tensor:
        """g_φ of each example. -> (B,)."""
        if "scores" in phi:
            return phi["scores"][batch.rows]
        if self.features is not None:
            features = self.features[batch.rows]
        else:
            inner = {name: value for name, value in phi.items() if name not in HEAD}
            with without_trace(self.backbone, training=False):
                features = functional_call(self.backbone, inner, (batch.inputs,)).float()
        if self.options["sees"] == "xy":
            features = torch.cat([features, labels_in_full(batch.labels, self.context.classes)], 1)
        return (features @ phi["head.weight"].T + phi["head.bias"])[:, 0]

    def weights(self, phi: Parameters, batch: Batch) -> torch.Tensor:
        """What the losses of a batch are multiplied by: w̃, which sums to 1, or w / B. -> (B,)."""
        raw = ACTIVATIONS[self.options["activation"]](self.scores(phi, batch))
        return raw / raw.sum() if self.options["normalise"] == "mean" else raw / len(raw)

    def weights_now(self, batch: Batch) -> torch.Tensor:
        """The same at φ as it is, without a graph."""
        with torch.no_grad():
            return self.weights(self.parameters, batch)

    # --- learning -------------------------------------------------------------------------------------------------

    def prepare(self, rate: float) -> None:
        """Before an outer step, on the host: the classifier's learning rate."""
        self.rate.fill_(rate)
        self.optimiser.prepare(self.options["rate"] or rate)

    def learn(
        self, method: base.Method, step: base.Step, losses: torch.Tensor, weights: torch.Tensor, outer_loss: OuterLoss
    ) -> torch.Tensor:
        """φ ← step along d outer_loss(θ'(φ)) / dφ; what the classifier's step minimises, its gradient being known.

        `losses` (B,) are those of the step's batch, with their graph, `weights` (B,) those of φ as it is. -> scalar.
        """
        derivatives, objective = own_step(
            losses,
            weights,
            trained_by(step.model),
            lambda at: method.losses_at(step, step.batch, at, training=True, name="train"),
            outer_loss,
            self.rate,
            self.products,
        )
        phi = {name: value.detach().requires_grad_() for name, value in self.parameters.items()}
        with torch.enable_grad():
            through = self.weights(phi, step.batch)
        found = torch.autograd.grad(through, list(phi.values()), derivatives, allow_unused=True, materialize_grads=True)
        self.optimiser.step(dict(zip(phi, found, strict=True)))
        method.log(weight_sd=(len(losses) * weights).std())
        return objective

    def state(self) -> dict[str, Any]:
        backbone = self.backbone.state_dict() if hasattr(self, "backbone") else None
        started = {"optimiser": self.optimiser.state(), "backbone": backbone} if self.parameters else {}
        return {"phi": self.parameters, **started}

    def load_state(self, state: Mapping[str, Any], pool: InputPart) -> None:
        """The inverse of `state`, in place, of a network that has started."""
        if not state["phi"]:
            return
        if state["backbone"] is not None:
            self.backbone.load_state_dict(state["backbone"])
            self._store(pool)
        for name, value in self.parameters.items():
            value.copy_(state["phi"][name])
        self.optimiser.load_state(state["optimiser"])


def headless(model: nn.Module, net: Parameters | None = None) -> nn.Module:
    """A copy of a model that ends before its head, in evaluation mode; with the values of `net`, if they are given."""
    twin = copy.deepcopy(model)
    twin.__dict__.pop("forward", None)  # of a run in bf16: a wrapper of the other's
    if net is not None:
        twin.load_state_dict(net)
    twin.head = nn.Identity()
    return twin.eval().requires_grad_(requires_grad=False)


def judged(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, C) and what the head sees (B, F) of a whole model, in evaluation mode, without a graph; float32."""
    with torch.no_grad(), without_trace(model, training=False), seen_by_head(model) as seen:
        logits = model(batch.inputs).float()
    return logits, seen[0]


def features_of(backbone: nn.Module, inputs: Batch | InputPart) -> torch.Tensor:
    """What a headless model says of a batch, or of the first example of a part. -> float32 (B, F)."""
    shown = inputs if isinstance(inputs, Batch) else next(iter(inputs.in_order(1)))
    with torch.no_grad(), without_trace(backbone, training=False):
        return backbone(shown.inputs).float()


def features_of_all(backbone: nn.Module, part: InputPart) -> torch.Tensor:
    """What a headless model says of every example of a part. -> float32 (N, F)."""
    return torch.cat([features_of(backbone, batch) for batch in part.in_order(500)])


def labels_in_full(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Labels (B,) one-hot, float32 (B, classes), waiting for none of them."""
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()
