"""The gradient-norm penalty of HAR with one strength for all: its "uniform" control (Cao et al., ICLR 2021).

    θ ← step along ∇ [ L + λ (1/B) Σ_i J_i ],    J_i = Σ_l ‖∂L/∂h_{l,i}‖₂

L, J and the options are those of `penalised`. Without class differences: r_i = 1.
"""

from reweigh.methods import penalised


class Method(penalised.Method):
    pass
