"""Every text is read and written as UTF-8, whatever the locale of the machine says."""

import ast
from collections.abc import Iterator

import pytest
from support.project import ROOT

FILES = sorted(path for folder in ("src", "tools", "workflow") for path in (ROOT / folder).rglob("*.py"))
MODE_AT = {"open": 1, "NamedTemporaryFile": 0, "TemporaryFile": 0, "fdopen": 1}  # place of the mode among the arguments


def callee(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def mode_of(call: ast.Call) -> str:
    """The mode in which a call opens a file, as far as it is written out."""
    name, method = callee(call), isinstance(call.func, ast.Attribute)
    place = 0 if name == "open" and method and not is_of_a_module(call) else MODE_AT[name]
    given = [one.value for one in call.keywords if one.arg == "mode"] + call.args[place : place + 1]
    if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
        return given[0].value
    return "w+b" if "Temporary" in name else "r"


def is_of_a_module(call: ast.Call) -> bool:
    """Whether it is `module.open(path, mode)` and not `path.open(mode)`."""
    owner = ast.unparse(call.func).partition(".")[0]
    return owner in {"os", "io", "gzip", "lzma", "tarfile", "Image", "zipfile", "archive", "stack"}


def reads_bytes(call: ast.Call) -> bool:
    """Whether a call opens no text: those of images and archives, descriptors, and files in binary mode."""
    owner = ast.unparse(call.func).partition(".")[0]
    return "b" in mode_of(call) or (is_of_a_module(call) and owner not in ("io", "gzip", "lzma") and "fd" not in owner)


def without_encoding(text: str) -> Iterator[ast.Call]:
    """The calls of a source file that leave the encoding of a text to the locale."""
    for call in ast.walk(ast.parse(text)):
        if not isinstance(call, ast.Call) or {"encoding"} & {one.arg for one in call.keywords}:
            continue
        name, given = callee(call), {one.arg: ast.unparse(one.value) for one in call.keywords}
        opens = name in MODE_AT and not reads_bytes(call)
        pipes = {"text", "universal_newlines"} & {word for word, value in given.items() if value == "True"}
        if opens or pipes or name in ("read_text", "write_text"):
            yield call


@pytest.mark.parametrize(
    "text",
    [
        "path.read_text()",
        "path.write_text(text)",
        "open(path)",
        "open(path, 'a+')",
        "path.open(newline='')",
        "subprocess.run(command, text=True)",
        "tempfile.NamedTemporaryFile('w', suffix='.json')",
    ],
)
def test_what_leaves_it_to_the_locale_is_found(text):
    assert list(without_encoding(text))


@pytest.mark.parametrize(
    "text",
    [
        "path.read_text(encoding='utf-8')",
        "open(path, 'rb')",
        "path.open('wb')",
        "tarfile.open(path, 'r|*')",
        "Image.open(path)",
        "subprocess.run(command, text=True, encoding='utf-8')",
        "os.open(path, os.O_RDONLY)",
        "tempfile.NamedTemporaryFile()",
    ],
)
def test_what_says_it_or_has_none_is_not(text):
    assert not list(without_encoding(text))


def test_no_file_of_the_project_leaves_it_to_the_locale():
    found = [f"{path.relative_to(ROOT)}:{call.lineno}" for path in FILES
             for call in without_encoding(path.read_text(encoding="utf-8"))]  # fmt: skip
    assert found == []
