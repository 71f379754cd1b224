"""What HAR's step is measured against: its penalty in plain PyTorch, the way public code takes it.

Any model in memory as PyTorch makes it (NCHW), hooks that keep what batch norms give, one gradient with
`create_graph=True`, one more backward pass. Nothing of this package is imported, so that nothing of it can help.
"""

import torch
import torch.nn.functional as F
from torch import nn


class PenalisedLoop:
    """Steps along the mean loss plus (1/B) Σ_i r_i Σ_l ‖∂L/∂h_{l,i}‖, h being what each batch norm normalises.

    `within` begins the names of the norms that count: "" for all.
    """

    def __init__(self, model: nn.Module, within: str = "") -> None:
        self.model = model
        named = model.named_modules()
        self.norms = [layer for name, layer in named if name.startswith(within) and isinstance(layer, nn.BatchNorm2d)]
        self.optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
        self.outputs: list[torch.Tensor] = []
        for norm in self.norms:
            norm.register_forward_hook(self._keep)

    def _keep(self, layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        self.outputs.append(output)
        return output.clone()  # the model may go on in place

    def gradients(self, images: torch.Tensor, labels: torch.Tensor, strengths: torch.Tensor) -> list[torch.Tensor]:
        """The gradient of each parameter. images (B, C, H, W), labels (B,), strengths r (B,)."""
        self.outputs.clear()
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.model(images), labels)
        slopes = torch.autograd.grad(loss, self.outputs, create_graph=True)
        norms = [
            (slope * norm.weight[:, None, None]).flatten(1).norm(dim=1)
            for slope, norm in zip(slopes, self.norms, strict=True)
        ]
        total = loss + (strengths * torch.stack(norms).sum(0)).mean()
        total.backward()
        self.outputs.clear()
        return [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]

    def step(self, images: torch.Tensor, labels: torch.Tensor, strengths: torch.Tensor) -> None:
        """One step of momentum SGD."""
        self.gradients(images, labels, strengths)
        self.optimiser.step()
