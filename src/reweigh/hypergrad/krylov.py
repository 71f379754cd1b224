"""What a few products with a symmetric matrix H say of H⁻¹ v, of its spectrum, and of the series that stand for H⁻¹.

J steps of Lanczos from v (J products) give an orthonormal basis Q of v, H v, …, Hᴶ v, in which H is tridiagonal: T. Any
polynomial of degree J is then ‖v‖ Q q(T) e₁, so that one basis serves

- the truncated Neumann series ε Σ_{j≤J} (I − ε H)ʲ v, for any ε, also one that is chosen by the largest eigenvalue;
- J steps of conjugate gradients on (H + δ I) x = v, which are the solution in that basis;
- the largest and smallest eigenvalue, and how v is spread over the spectrum: the J nodes and weights of the Gauss
  quadrature of its spectral measure (Golub and Meurant 1994), exact for polynomials of degree 2J − 1.

An eigenvalue λ of H gets from the series, instead of 1/λ, the gain F(λ) = (1 − (1 − ελ)^(J+1)) / λ (`filter_gain`).
That is positive for 0 < ελ < 2 and, where J + 1 is even, zero at 2 and negative beyond: for J = 5 and ε = 1 it is
−4.2 at 2.5 and −53,144 at 10, while flat directions get 6.

The small matrices are float64, the vectors keep their type. Nothing waits for a value of a tensor.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

Vector = tuple[torch.Tensor, ...]  # one tensor for each tensor of θ
Product = Callable[[Vector], Vector]


class Krylov(NamedTuple):
    """J steps of Lanczos. basis: J + 1 orthonormal vectors; where the space is exhausted, 0 from there on."""

    length: torch.Tensor  # ‖v‖, float64 scalar
    basis: list[Vector]
    tridiagonal: torch.Tensor  # T, float64 (J + 1, J + 1); its last diagonal entry would take one more product: 0

    def spread(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Nodes and weights of v's spectral measure: eigenvalues, ascending, and shares of ‖v‖². -> (J,), (J,).

        A space that is exhausted before J adds nodes at 0 with weight 0, which are none of H.
        """
        values, vectors = eigh(self.tridiagonal[:-1, :-1])
        return values, vectors[0].square()

    def extremes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The largest and smallest eigenvalue that J products from v see, inside the true range. -> scalars."""
        values, _ = self.spread()
        return values[-1], values[0]

    def combined(self, weights: torch.Tensor) -> Vector:
        """Σ_j weights_j q_j, times ‖v‖. weights float64, at most (J + 1,) -> as v."""
        factors = self.length * weights
        return tuple(
            torch.stack([factor.to(one) * one for factor, one in zip(factors, pieces, strict=False)]).sum(0)
            for pieces in zip(*self.basis, strict=True)
        )

    def neumann(self, step: torch.Tensor | float) -> tuple[Vector, torch.Tensor]:
        """ε Σ_{j=0}^{J} c_j with c_j = (I − ε H)ʲ v and ε = `step`; and the norms of the c_j, float64 (J + 1,)."""
        summands = [torch.zeros_like(self.tridiagonal[0])]
        summands[0][0] = 1.0
        for _ in self.basis[1:]:
            summands.append(summands[-1] - step * (self.tridiagonal @ summands[-1]))
        terms = torch.stack(summands)
        return self.combined(step * terms.sum(0)), self.length * terms.norm(dim=1)

    def conjugate_gradients(self, damping: float) -> Vector:
        """J steps of conjugate gradients from 0 on (H + `damping` I) x = v. -> as v."""
        matrix = self.tridiagonal[:-1, :-1]
        return self.combined(solve_tridiagonal(matrix + damping * torch.eye(len(matrix), device=matrix.device)))


def krylov(product: Product, vector: Vector, steps: int) -> Krylov:
    """`steps` steps of Lanczos from `vector`, each one product with H, with full reorthogonalisation."""
    length = norm(vector)
    basis = [scaled(vector, length)]
    tridiagonal = torch.zeros(steps + 1, steps + 1, dtype=length.dtype, device=length.device)
    for j in range(steps):
        moved = product(basis[-1])
        tridiagonal[j, j] = inner(basis[-1], moved)
        for _ in range(2):  # twice is enough (Giraud et al. 2005)
            for known in basis:
                part = inner(known, moved)
                moved = tuple(value - part.to(one) * one for value, one in zip(moved, known, strict=True))
        size = norm(moved)
        # What is left of a space that is exhausted is rounding, and no direction.
        size = torch.where(size > 1e-6 * tridiagonal.abs().max(), size, torch.zeros_like(size))
        tridiagonal[j, j + 1] = tridiagonal[j + 1, j] = size
        basis.append(scaled(moved, size))
    return Krylov(length, basis, tridiagonal)


def filter_gain(eigenvalue: float, step: float = 1.0, terms: int = 5) -> float:
    """F(λ): what the series of `terms` products makes of an eigenvalue, where the inverse makes 1/λ.

    >>> filter_gain(2.0), round(filter_gain(2.5), 2), round(filter_gain(10.0)), filter_gain(0.0)
    (0.0, -4.16, -53144, 6.0)
    """
    return step * sum((1 - step * eigenvalue) ** j for j in range(terms + 1))


def solve_tridiagonal(matrix: torch.Tensor) -> torch.Tensor:
    """x with `matrix` x = e₁, for a symmetric tridiagonal matrix (J, J), by elimination from the end. -> (J,)."""
    size = len(matrix)
    pivots = [matrix[-1, -1]]
    for j in range(size - 2, -1, -1):
        pivots.append(matrix[j, j] - matrix[j, j + 1].square() / _safe(pivots[-1]))
    pivots.reverse()
    solution = [1 / _safe(pivots[0])]
    for j in range(1, size):
        solution.append(-matrix[j, j - 1] * solution[-1] / _safe(pivots[j]))
    return torch.stack(solution)


def eigh(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues, ascending, and eigenvectors, by column, of a small symmetric matrix; NaN of one that is not finite.

    The same while a GPU captures. (J, J) -> (J,), (J, J).
    """
    finite = matrix.isfinite().all()
    known = torch.where(finite, matrix, torch.zeros_like(matrix))
    values, vectors = torch.linalg.eigh(known) if matrix.device.type == "cpu" else jacobi(known)
    return torch.where(finite, values, torch.nan), torch.where(finite, vectors, torch.nan)


def jacobi(matrix: torch.Tensor, sweeps: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by cyclic rotations (Jacobi 1846), which wait for no value. For J up to about ten."""
    size = len(matrix)
    matrix, vectors = matrix.clone(), torch.eye(size, dtype=matrix.dtype, device=matrix.device)
    for _ in range(sweeps):
        for p in range(size - 1):
            for q in range(p + 1, size):
                off, gap = matrix[p, q], (matrix[q, q] - matrix[p, p]) / 2
                # tan of the angle, the smaller root of t² + 2 (gap/off) t − 1 = 0; 0 where there is nothing to rotate
                root = gap.abs() + (gap.square() + off.square()).sqrt()
                tangent = torch.where(gap < 0, -1.0, 1.0) * off / torch.where(root > 0, root, torch.ones_like(root))
                cosine = 1 / (1 + tangent.square()).sqrt()
                sine = cosine * tangent
                _turn(matrix.T, p, q, cosine, sine)
                _turn(matrix, p, q, cosine, sine)
                _turn(vectors.T, p, q, cosine, sine)
    values, order = matrix.diagonal().sort()
    return values, vectors[:, order]


def _turn(rows: torch.Tensor, p: int, q: int, cosine: torch.Tensor, sine: torch.Tensor) -> None:
    """Rotate rows p and q, in place."""
    first, second = rows[p].clone(), rows[q].clone()
    rows[p] = cosine * first - sine * second
    rows[q] = sine * first + cosine * second


def inner(first: Vector, second: Vector) -> torch.Tensor:
    """⟨first, second⟩ over all tensors, summed in float64. -> scalar."""
    return torch.stack([(a.double() * b.double()).sum() for a, b in zip(first, second, strict=True)]).sum()


def norm(vector: Vector) -> torch.Tensor:
    """The Euclidean norm over all tensors, in float64. -> scalar."""
    return inner(vector, vector).sqrt()


def scaled(vector: Vector, length: torch.Tensor) -> Vector:
    """`vector` over its length; 0 where that is 0."""
    factor = torch.where(length > 0, 1 / torch.where(length > 0, length, torch.ones_like(length)), 0.0)
    return tuple(value * factor.to(value) for value in vector)


def _safe(pivot: torch.Tensor) -> torch.Tensor:
    """A pivot that may be divided by: one of 0 has an exhausted space behind it, which has no part in the solution."""
    return torch.where(pivot == 0, torch.full_like(pivot, torch.inf), pivot)
