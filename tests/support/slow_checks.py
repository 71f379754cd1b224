"""A stage that takes longer than it may, without any check that hangs."""

import time

from reweigh.training.gpu_check.checks import Check


def checks(context):
    yield Check("long", lambda: time.sleep(60), {"nets": ["lenet"]}, seconds=90)
    yield Check("never", lambda: "it was taken")
