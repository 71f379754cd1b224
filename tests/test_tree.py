"""The tree of tests mirrors src: a package's tests stand in the directory of its name, and share by way of support."""

import ast
from collections import Counter
from pathlib import Path

from support import needs
from support.project import ROOT

TESTS = ROOT / "tests"
FILES = sorted(TESTS.rglob("*.py"))
PACKAGES = {path.parent.name for path in (ROOT / "src/reweigh").glob("*/__init__.py")}
BESIDES = {"support", "workflow", "papers"}  # Snakemake's rules, and the config of each paper


def imports_of(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add("." * node.level + (node.module or ""))
    return modules


def functions_of(path: Path) -> list[tuple[str, str]]:
    """The name of each function at the top of a file, with its code."""
    body = ast.parse(path.read_text()).body
    return [(node.name, ast.unparse(node)) for node in body if isinstance(node, ast.FunctionDef)]


def test_each_directory_is_that_of_a_package():
    directories = {path.parent.relative_to(TESTS).as_posix() for path in FILES} - {"."}
    assert directories - PACKAGES == BESIDES
    assert directories >= PACKAGES


def test_no_test_imports_another():
    tests = {path.stem for path in FILES if path.stem.startswith("test_")} | {"conftest", "tests"}
    for path in FILES:
        wrong = {module for module in imports_of(path) if tests & set(module.split(".")) or module.startswith(".")}
        assert not wrong, path


def test_no_helper_stands_in_two_files():
    """A function that several files need is in support, once; short ones may be alike by chance."""
    counted = Counter(
        function
        for path in FILES
        for function in functions_of(path)
        if not function[0].startswith("test_") and function[1].count("\n") >= 3
    )
    assert [name for (name, _), count in counted.items() if count > 1] == []


def test_the_root_of_the_project_is_said_once():
    said = {path.relative_to(TESTS).as_posix() for path in FILES if "parents[" in path.read_text()}
    assert said == {"support/__init__.py", "test_tree.py"}


# --- what is skipped -------------------------------------------------------------------------------------------------


def test_every_reason_to_skip_begins_with_wants():
    """So that the last line of a run groups them; the marks of what is often wanted are in support/needs.py."""
    reasons = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("pytest.skip", "pytest.mark.skip"):
                reasons += [ast.unparse(one) for one in node.args]
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.skipif":
                reasons += [ast.unparse(one.value) for one in node.keywords if one.arg == "reason"]
    assert len(reasons) > 4
    assert [reason for reason in reasons if not reason.strip("'").startswith(("wants ", "WANTS_"))] == []


def test_the_line_on_what_was_skipped():
    reasons = ["wants a GPU"] * 30 + [needs.WANTS_MIRROR] * 60 + ["wants a browser"] * 8
    assert needs.skipped_line(reasons) == ("98 skipped: 60 want the mirror (REWEIGH_MIRROR), 30 a GPU, 8 a browser")
    assert needs.skipped_line(["wants a GPU"]) == "1 skipped: 1 wants a GPU"
    assert needs.skipped_line(["not today", "wants a GPU"]) == "2 skipped: 1 wants a GPU, 1 not today"
