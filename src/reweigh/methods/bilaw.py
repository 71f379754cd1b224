"""BiLAW (arXiv 2210.11513, 2022) without its adversarial training: weights by a network that sees margins, not a loss.

    m_i = sort_{k ≠ y_i} (p_{i,y_i} − p_{i,k})             ascending, C − 1 numbers in [−1, 1], constants
    w_i = V_φ(m_i)                                         V: a perceptron, (C − 1) – `hidden` – 1, ReLU, sigmoid

p are the softmax probabilities of the step's own pass. φ learns, and the weights are used, as in `methods/mwn.py`.

Confidence in this definition is low: no code was found, and MOLERE (Jain et al., CVPR 2024), in whose tables this is a
column, does not define it. That the input is the multi-class margin is the paper's; that it is sorted, that V has one
hidden layer of 128, and all that is Meta-Weight-Net's here are choices of ours. Read its results as those of
"Meta-Weight-Net on margins".
"""

import torch

from reweigh.data.batches import Batch
from reweigh.methods import mwn


class Method(mwn.Method):
    def width(self) -> int:
        return self.context.classes - 1

    def seen(self, losses: torch.Tensor, batch: Batch) -> torch.Tensor:
        return margins(self.logits.detach(), batch.labels)


def margins(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """p_y − p_k for each k ≠ y, ascending. logits (B, C), labels (B,) -> (B, C − 1).

    >>> margins(torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([1]))
    tensor([[-0.2000,  0.1000]])
    """
    shares = logits.softmax(1)
    own = shares.gather(1, labels[:, None])
    others = shares.scatter(1, labels[:, None], -1.0).sort(1, descending=True).values[:, :-1]  # the label's comes last
    return own - others
