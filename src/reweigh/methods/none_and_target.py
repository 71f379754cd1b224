"""No reweighting, with the target set among the training examples: what a method that learns from V has to beat.

    L(θ) = (1 / |T ∪ V|) Σ_{i ∈ T ∪ V} ℓ_i(θ),    w_i = 1/B

Empirical risk minimisation (Vapnik 1991) on all that TDR (KDD 2020) sees: its small balanced target set V too, whose 25
images of the minority are, at ρ = 0.005, as many as the training set T has.
"""

from reweigh.methods import base, none


class Method(none.Method):
    def stages(self, epochs: int) -> list[base.Stage]:
        return [base.Stage("train", epochs, part="train+target")]
