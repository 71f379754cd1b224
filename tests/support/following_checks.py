"""A stage that says what earlier ones found."""

import json

from reweigh.training.gpu_check.checks import Check


def checks(context):
    yield Check("told", lambda: json.dumps([context.falls_back, context.facts]))
