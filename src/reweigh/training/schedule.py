"""Learning rates as pure functions of the step."""

import math
from typing import Any


def learning_rate(schedule: dict[str, Any], base: float, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of a step (counted from 0 in its stage).

    schedule["name"] is `constant`, `step` (times `factor` at each of `milestones`, in epochs) or `cosine` (to 0 at the
    end, a value a step). With `warmup_epochs` W > 0 the rate rises linearly over the first W epochs, reaching `base` on
    the last step of them; decay counts epochs from the start, cosine from the end of the warm-up. With `warmup_by`
    "epoch" the steps of an epoch, counted from 0, have one rate, (epoch + 1) / W of `base`; cosine and decay stay.

    >>> step = {"name": "step", "milestones": [10, 20], "factor": 0.1, "warmup_epochs": 0}
    >>> [round(learning_rate(step, 0.1, epoch * 100, 100, 30), 6) for epoch in (0, 9, 10, 20)]
    [0.1, 0.1, 0.01, 0.001]
    """
    warmup_steps = schedule.get("warmup_epochs", 0) * steps_per_epoch
    if step < warmup_steps:
        if schedule.get("warmup_by") == "epoch":
            return base * (step // steps_per_epoch + 1) / schedule["warmup_epochs"]
        return base * (step + 1) / warmup_steps
    if schedule["name"] == "step":
        passed = sum(step >= milestone * steps_per_epoch for milestone in schedule["milestones"])
        return base * schedule["factor"] ** passed
    if schedule["name"] == "cosine":
        left = (step - warmup_steps) / max(1, epochs * steps_per_epoch - warmup_steps)
        return base * 0.5 * (1 + math.cos(math.pi * left))
    return base
