"""A stage of eight experiments, none of which is that of home."""

from functools import partial

from reweigh.training.gpu_check.checks import Check, Failed


def checks(context):
    for number in range(8):
        yield Check(f"splits {number}", partial(differs, number), {"experiments": [str(number)]})


def differs(number):
    raise Failed(f"{number} is another")
