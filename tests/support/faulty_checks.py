"""Stages of a GPU check that fail in every way in which one can: modules of `Stage`, by their names in `checks`."""

import os
import signal
import time

from reweigh.training.gpu_check.checks import Check, Failed, Skipped


def checks(context):
    yield Check("first", lambda: "all is well")
    yield Check("differs", differs, {"nets": ["lenet"]})
    yield Check("raises", raises, {"capture": ["er"]})
    yield Check("skips", skips)
    yield Check("hangs", lambda: time.sleep(600), {"lanes": ["16"]}, seconds=2)
    yield Check("dies", lambda: os.kill(os.getpid(), signal.SIGSEGV), {"precisions": ["bf16"]})
    yield Check("last", lambda: ("measured", {"rate": 7.0}))


def differs():
    raise Failed("state.model.conv1.weight: 3 of 150 values differ")


def raises():
    print("what it printed")
    try:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")
    except RuntimeError as error:
        raise RuntimeError("the mask") from error


def skips():
    raise Skipped("not here")
