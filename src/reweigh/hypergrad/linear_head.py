"""The exact Hessian of a loss over a linear model, and the exact solve with it.

For logits f = W x + b the second derivative of Σ_i ℓ_i(f_i) is, with x̃ = (x, 1) and S_i = ∂²ℓ_i/∂f² (K, K),

    H[(k, ·), (k', ·)] = Σ_i S_i[k, k'] x̃_i x̃_iᵀ,        K (F + 1) rows: 2,562 for two classes of 1,280 features

so that (H + δ I)⁻¹ v is one Cholesky factorisation: what a truncated series stands for. S of a cross-entropy of m f + l
is w m mᵀ ∘ (diag p − p pᵀ), p = softmax(m f + l) (`curvature`). In float64.
"""

import torch


def curvature(
    logits: torch.Tensor, multiplier: torch.Tensor, offset: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """S_i of w_i · cross-entropy of m f + l. logits, multiplier, offset (B, K) or (K,), weights (B,) -> (B, K, K)."""
    multiplier = multiplier.expand_as(logits)
    shares = (multiplier * logits + offset).softmax(1)
    inner = torch.diag_embed(shares) - shares[:, :, None] * shares[:, None, :]
    return weights[:, None, None] * multiplier[:, :, None] * multiplier[:, None, :] * inner


def hessian(inputs: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """H by (W, b), row by row of (W | b). inputs (B, F), second = S (B, K, K) -> float64 (K (F + 1), K (F + 1))."""
    count, classes, _ = second.shape
    extended = torch.cat((inputs.double(), torch.ones(count, 1, dtype=torch.float64, device=inputs.device)), 1)
    size = extended.shape[1]
    result = torch.empty(classes, size, classes, size, dtype=torch.float64, device=inputs.device)
    for k in range(classes):
        for other in range(k, classes):
            block = extended.T @ (second[:, k, other, None].double() * extended)
            result[k, :, other], result[other, :, k] = block, block.T
    return result.view(classes * size, classes * size)


def solve(
    matrix: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, damping: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(H + δ I)⁻¹ of (weight (K, F), bias (K,)). -> the same shapes and types.

    H of a softmax is singular, as a shift of all logits changes nothing, so δ is above 0.
    """
    flat = torch.cat((weight, bias[:, None]), 1).double().flatten()
    damped = matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    factor, _ = torch.linalg.cholesky_ex(damped)
    found = torch.cholesky_solve(flat[:, None], factor)[:, 0].view(len(bias), -1)
    return found[:, :-1].to(weight), found[:, -1].to(bias)
