"""Digests: golden values (a change of these makes every record stale), what counts in source code, closures."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reweigh import digest
from reweigh.records.record import code_files

PACKAGE = Path(digest.__file__).parent
SPEC = {"uses": "tdr", "method_options": {}, "model": {"name": "lenet"}, "data": {"dataset": "mnist"}}


def test_golden_digests():
    assert digest.canonical({"b": [1, 2.5, None], "a": "é"}) == b'{"a":"\\u00e9","b":[1,2.5,null]}'
    assert digest.digest({"b": 1, "a": 2}) == "d3626ac30a87e6f7a6428233b3c68299976865fa5508e4267c5415c76af7a772"
    assert digest.source_digest("x = 1\n") == "8ff436def1451285599a1b1ad70800493b8dcafde2912e1a38345633054e4c26"


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.floats(allow_nan=False, allow_infinity=False)))
def test_key_order_does_not_count(value):
    assert digest.digest(value) == digest.digest(dict(reversed(value.items())))


def test_nan_has_no_digest():
    with pytest.raises(ValueError):
        digest.digest({"x": float("nan")})


SOURCE = '''"""What this is."""

import math  # for pi


def area(r):
    """Of a circle.

    Two lines.
    """
    return math.pi * r**2  # a comment


TEXT = """not a # docstring"""
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("What this is.", "What this is, said better."),
        ("  # a comment", "  # another comment, much longer"),
        ("  # a comment", ""),
        ("\n\n\ndef", "\n\n\n\n# a comment line\n\ndef"),
        ("    Two lines.\n", "    Two lines.\n    Three.\n"),
    ],
)
def test_comments_docstrings_and_blank_lines_do_not_count(old, new):
    assert old in SOURCE
    assert digest.source_digest(SOURCE.replace(old, new)) == digest.source_digest(SOURCE)


@pytest.mark.parametrize(("old", "new"), [("r**2", "r**3"), ("not a #", "not  a #"), ("def area(r)", "def area(s)")])
def test_everything_else_counts(old, new):
    assert digest.source_digest(SOURCE.replace(old, new)) != digest.source_digest(SOURCE)


def test_a_closure_holds_what_a_run_executes_and_no_other_method():
    files = set(code_files(SPEC))
    assert {
        "methods/tdr.py",
        "hypergrad/lookahead.py",
        "training/engine.py",
        "models/lenet.py",
        "data/readers/mnist.py",
    } <= files
    others = {
        "methods/er.py",
        "models/resnet20.py",
        "data/readers/adult.py",
        "config/grid.py",
        "records/record.py",
        "cli/__init__.py",
    }
    assert not files & {*others, "__init__.py"}  # the package's own holds the version, which decides no number
    assert not any(name.startswith("losses/focal") for name in files)
    focal = code_files({**SPEC, "method_options": {"loss": {"name": "focal"}}})
    assert set(focal) - files == {"losses/focal.py"}
    plain = set(code_files({**SPEC, "uses": "none"}))
    assert "methods/tdr.py" not in plain and plain - files == {"methods/none.py"}


def test_an_unknown_module_is_refused():
    with pytest.raises(ModuleNotFoundError, match=r"reweigh\.methods\.tdrr"):
        digest.closure(["reweigh.methods.tdrr"])


def test_what_builds_the_dag_does_not_import_torch():
    modules = "reweigh.config, reweigh.records.record, reweigh.data.obtain, reweigh.planning.jobs"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
