"""Joint training: backbone and head together, by cross-entropy; stage one alone (Kang et al., ICLR 2020, §4).

    w_i = 1/B,    θ ← step along Σ_i w_i ∇ℓ_i(θ)

What NCM, cRT, τ-normalisation and LWS start from and are compared with. See `two_stage`.
"""

from reweigh.methods import two_stage


class Method(two_stage.Method):
    pass
