"""`reweigh gpu-check`: what a GPU must show before its numbers count, and training with the time that is left.

    python -m reweigh.training.gpu_check --specs DIR --for 10m        # on a machine with torch, numpy and pyyaml alone

The parent (`parent.py`) never imports torch. Each stage is a process of its own (`child.py`) that says what it begins
and how it ended; one that hangs, crashes or cannot go on is replaced by a fresh one, which begins after the check at
fault. `docs/gpu.md` says what the lines mean.
"""
