"""The examples in docstrings are true."""

import doctest
import importlib

import pytest

from reweigh.digest import PACKAGE

WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name):
    done = doctest.testmod(importlib.import_module(f"reweigh.{name}"))
    assert done.attempted > 0 and done.failed == 0
