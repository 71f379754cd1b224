"""ABSGD: one step on a toy (Figure 1), the moving average's γ and the weights by epoch (Figure 4)."""
