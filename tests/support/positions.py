"""Positions in a run of one stage, as the engine gives them to a method."""

from reweigh.methods.base import Position, Stage

STEPS_PER_EPOCH = 5
STAGE = Stage("train", 10**6)


def at(step, steps_per_epoch=STEPS_PER_EPOCH, learning_rate=0.05):
    """The position of a step of a run that trains the whole model in one stage."""
    return Position(step, step // steps_per_epoch, STAGE, step, steps_per_epoch, learning_rate)
