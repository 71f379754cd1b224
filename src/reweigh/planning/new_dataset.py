"""What `reweigh new dataset NAME` writes: a reader and its test; and the entry that the manifest is to get."""

from pathlib import Path

from reweigh.digest import file_digest
from reweigh.listing import visible

READER = '''\
"""NAME: what it is, and in what format its publisher gives it."""

from pathlib import Path

from reweigh.data.arrays import RawData, raw_file
from reweigh.data.readers.damage import arrays
from reweigh.errors import DataError

IMAGE, CLASSES = (1, 28, 28), 10  # of an example: channels, height, width


def read(raw: Path) -> RawData:
    """NAME from `NAME.npz` in `raw`, not compressed; inputs uint8 `(N, C, H, W)`, labels int64 `(N,)` from 0 on.

    Raises DataError if the file is missing, or holds anything else.
    """
    path = raw_file(raw, "NAME.npz")
    pixels, numbers = (IMAGE, "|u1"), ((), "<i8")
    kinds = {"train_inputs": pixels, "train_labels": numbers, "test_inputs": pixels, "test_labels": numbers}
    found = arrays(path, kinds)
    for part in ("train", "test"):
        labels = found[f"{part}_labels"]
        if len(labels) != len(found[f"{part}_inputs"]) or not len(labels):
            raise DataError(f"{path}: has {len(labels)} {part} labels for {len(found[f'{part}_inputs'])} images")
        if labels.min() < 0 or labels.max() >= CLASSES:
            raise DataError(f"{path}: has a {part} label that is none of the {CLASSES} classes")
    return RawData(**found, class_names=tuple(map(str, range(CLASSES))))  # type: ignore[arg-type]
'''

TEST = '''\
"""NAME: what its reader makes of a small file of the format, and what it refuses."""

import numpy as np
import pytest

from reweigh.data import load
from reweigh.errors import DataError


def small():
    """The arrays of a file with 20 training and 10 test images."""
    generator = np.random.default_rng(0)
    return {
        f"{part}_{what}": (generator.integers(0, 256, (size, 1, 28, 28)).astype(np.uint8) if what == "inputs"
                           else np.arange(size) % 10)
        for part, size in (("train", 20), ("test", 10)) for what in ("inputs", "labels")
    }  # fmt: skip


def written(root, **arrays):
    (root / "FOLDER").mkdir()
    np.savez(root / "FOLDER" / "NAME.npz", **arrays)


def test_it_reads_what_was_written(tmp_path):
    written(tmp_path, **small())
    raw = load.read("FOLDER", {}, tmp_path)
    for name, array in small().items():
        assert np.array_equal(getattr(raw, name), array)
    assert (raw.train_inputs.dtype, raw.train_labels.dtype, len(raw.class_names)) == (np.uint8, np.int64, 10)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"train_labels": np.arange(20)}, "none of the 10 classes"),
        ({"test_labels": np.arange(9)}, "9 test labels for 10 images"),
        ({"train_inputs": np.zeros((20, 1, 28, 27), np.uint8)}, "NAME.npz"),
    ],
)
def test_it_refuses_other_content(tmp_path, change, says):
    written(tmp_path, **{**small(), **change})
    with pytest.raises(DataError, match=says):
        load.read("FOLDER", {}, tmp_path)


def test_it_says_how_to_get_a_file_that_is_missing(tmp_path):
    with pytest.raises(DataError, match="reweigh fetch FOLDER"):
        load.read("FOLDER", {}, tmp_path)
'''

NEXT = [
    "write the reader in src/reweigh/data/readers/NAME.py",
    "add to data/manifest.yaml:\n{entry}",
    "add to CLASS_SIZES in src/reweigh/config/known_sizes.py, with the number of training examples of each class:\n"
    '    "FOLDER": [0],\n',
    "test it: python -m pytest tests/data/test_NAME.py",
    "get and check its files: reweigh fetch FOLDER",
    "make it small in tests/support/small_sets.py, so that tests/data/test_damage.py damages it at random",
]


def files(name: str) -> dict[str, str]:
    """The files of a data set: path -> content. Dashes of its name are underscores in those of modules."""
    module = name.replace("-", "_")
    reader, test = f"src/reweigh/data/readers/{module}.py", f"tests/data/test_{module}.py"
    return {reader: _filled(READER, name), test: _filled(TEST, name)}


def steps(name: str, root: Path) -> list[str]:
    """What to do next, a line each, with the manifest's entry for the files in data/embedded/NAME, if there are any."""
    return [_filled(step.replace("{entry}", _entry(name, root)), name) for step in NEXT]


def _entry(name: str, root: Path) -> str:
    """The entry of the manifest, with size and sha256 of each file that lies in data/embedded/NAME."""
    lines = [
        f"  {name}:",
        f"    title: {name}",
        "    papers: []",
        '    licence: "say under which it is given"',
        '    citation: "say whose it is"',
        '    homepage: ""',
        "    click_through: false",
        "    editions:",
        "      official:",
        "        files:",
    ]
    there = [path for path in visible(root / "data/embedded" / name, "*") if path.is_file()]
    for path in there:
        lines += [
            f"          - name: {path.name}",
            f"            bytes: {path.stat().st_size}",
            f'            sha256: "{file_digest(path)}"',
            f"            embedded: {name}/{path.name}",
        ]
    if not there:
        module = name.replace("-", "_")
        lines += [f"          - name: {module}.npz", "            bytes: null", "            sha256: null"]
        lines += [f"            urls: [https://example.org/{module}.npz]"]
    return "\n".join(lines) + "\n"


def _filled(text: str, name: str) -> str:
    return text.replace("FOLDER", name).replace("NAME", name.replace("-", "_"))
