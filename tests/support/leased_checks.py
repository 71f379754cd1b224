"""A stage that says which device its process sees, and which one it would train on."""

import os

from reweigh.training.device import take_lease
from reweigh.training.gpu_check.checks import Check


def checks(context):
    yield Check("sees", lambda: os.environ["CUDA_VISIBLE_DEVICES"])
    yield Check("trains on", lambda: take_lease().device)
