"""The exact Hessian of a weighted cross-entropy over a linear model, and the exact solve with it.

For logits f = W x + b, z = m f + l, p = softmax(z) and x̃ = (x, 1) the second derivative of Σ_i w_i ℓ_i is

    H[k, k'] = Σ_i w_i m_k m_k' (δ_kk' p_k − p_k p_k') x̃_i x̃_iᵀ,     K (F + 1) rows: 2,562 for 2 classes, 1,280 features

so that (H + δ I)⁻¹ v is one Cholesky factorisation: what a truncated series stands for. As the rows of diag p − p pᵀ
sum to 0, the sums over pairs of classes give those of single ones; with a multiplier for each group they are taken
group by group, before it comes in. In float64. This alone of all hypergradients waits for values of tensors, so that
its steps are not captured on a GPU (REWEIGH_EAGER=autobalance).
"""

import torch


def hessian(
    inputs: torch.Tensor, shares: torch.Tensor, weights: torch.Tensor, multiplier: torch.Tensor, groups: torch.Tensor
) -> torch.Tensor:
    """H by (W, b), row by row of (W | b). -> float64 (K (F + 1), K (F + 1)).

    inputs (B, F); shares, p, (B, K); weights (B,); multiplier (K, G), that of an example being the column of its group,
    int64 (B,).
    """
    extended = torch.cat((inputs.double(), torch.ones_like(inputs[:, :1], dtype=torch.float64)), 1)
    classes, size = shares.shape[1], extended.shape[1]
    result = torch.zeros(classes, size, classes, size, dtype=torch.float64, device=inputs.device)
    for group, column in enumerate(multiplier.double().T):
        own = weights.double() * (groups == group)
        rows = own.nonzero()[:, 0]
        taken = extended[rows]
        for k in range(classes):
            for other in range(k + 1, classes):
                pair = own[rows] * shares[rows, k].double() * shares[rows, other].double()
                block = taken.T @ (pair[:, None] * taken)
                result[k, :, other] -= column[k] * column[other] * block
                result[other, :, k] -= column[k] * column[other] * block
                result[k, :, k] += column[k].square() * block
                result[other, :, other] += column[other].square() * block
    return result.view(classes * size, classes * size)


def solve(
    matrix: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, damping: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(H + δ I)⁻¹ of (weight (K, F), bias (K,)). -> the same shapes and types.

    H of a softmax is singular, as a shift of all logits m f + l changes nothing, so δ is above 0.
    """
    flat = torch.cat((weight, bias[:, None]), 1).double().flatten()
    damped = matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    factor, _ = torch.linalg.cholesky_ex(damped)
    found = torch.cholesky_solve(flat[:, None], factor)[:, 0].view(len(bias), -1)
    return found[:, :-1].to(weight), found[:, -1].to(bias)
