"""What is read as JSON says one thing, or is refused in one line: by `canonical_json.parse`, and nowhere else."""

import re

import pytest
from support.project import ROOT

from reweigh import canonical_json

DEEP = 100_000
REFUSED = {
    "nothing": (b"", "it is not JSON"),
    "half a file": (b'{"a": 1', "it is not JSON"),
    "two objects": (b"{} {}", "it is not JSON: Extra data"),
    "a list": (b"[1, 2]", "it is not an object but '[1, 2]'"),
    "null": (b"null", "it is not an object but 'None'"),
    "a name twice": (b'{"a": {"b": 1, "b": 1}}', "it has 'b' twice"),
    "NaN": (b'{"a": NaN}', "NaN is not a number in JSON"),
    "infinity": (b'{"a": -Infinity}', "-Infinity is not a number"),
    "beyond a float": (b'{"a": 1e999}', "1e999 is too large"),
    "beyond a float, in capitals": (b'{"a": [-1.5E+309]}', "is too large"),
    "hundreds of digits": (b'{"a": ' + b"9" * 400 + b"}", "99999999999999999999 is too large"),
    "thousands of digits": (b'{"a": 1' + b"0" * 5000 + b"}", "is too large"),
    "nested without end": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "it is nested too deeply"),
    "a mark before it": (b'\xef\xbb\xbf{"a": 1}', "a byte-order mark stands before it"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "it is not UTF-8, from byte 0 on"),
    "Latin-1": ('{"a": "é"}'.encode("latin-1"), "it is not UTF-8, from byte 7 on"),
    "half a character, escaped": (rb'{"a": "\ud800"}', "half of a character"),
    "half a character, as bytes": (b'{"a": "\xed\xa0\x80"}', "it is not UTF-8"),
    "a name that is half a character": (rb'{"\uDFFF": 1}', "half of a character"),
    "a line break in a text": (b'{"a": "\n"}', "it is not JSON: Invalid control character"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused_in_one_line(what, tmp_path):
    content, why = REFUSED[what]
    with pytest.raises(ValueError, match=rf"^{re.escape(why)}|{re.escape(why)}[^\n]*$") as error:
        canonical_json.parse(content)
    path = tmp_path / "a\x1b[31m.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(why)) as named:
        canonical_json.read(path)
    line = str(named.value)
    assert line.endswith(f"a\\x1b[31m.json: {error.value}") and "\n" not in line and len(str(error.value)) < 150


def test_what_is_near_is_read():
    text = rb'{"a": [1e300, -2.5E-400, 1e5, 12345678901234567890], "b": "\ud83d\ude00 1e999 \u00e9", "c": {"e999": 0}}'
    assert canonical_json.parse(text) == {
        "a": [1e300, -0.0, 1e5, 12345678901234567890], "b": "\U0001f600 1e999 é", "c": {"e999": 0},
    }  # fmt: skip


# Options of a figure, and what processes of one program tell each other, never lie in a file; a file of the package
# and a list of images by their maker are read as any file of their kind.
ELSEWHERE = {
    "bench/entries.py",
    "canonical_json.py",
    "data/readers/lists.py",
    "plots/papers/absgd/toy_draws.py",
    "plots/papers/har/toy_draws.py",
    "provenance/explain/formula.py",
    "provenance/retraining.py",
    "training/gpu_check/child.py",
    "training/gpu_check/parent.py",
    "training/spec_check.py",
    "training/run.py",
}


def test_no_other_module_reads_json_by_itself():
    source = ROOT / "src/reweigh"
    by_itself = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if re.search(r"json\.loads?\(", path.read_text(encoding="utf-8"))
    }
    assert by_itself <= ELSEWHERE
