"""Training: the one loop, its schedules, augmentation, checkpoints and devices. `python -m reweigh.training SPEC...`"""
