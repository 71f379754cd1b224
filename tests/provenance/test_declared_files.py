"""What a commit has where a config should be may be anything: an audit reads of it what it can, and goes on."""

import json
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from reweigh.config.files import CONFIG, PUBLISHED
from reweigh.provenance.audit.declared import RULES, Reader
from reweigh.provenance.audit.lockfile import LOCK

NAMES = ("claims", "published", "tuned", "experiments", "protocols", "blocks", "like", "seeds", "scales", "paper",
         "papers", "id", "experiment", "grid", "a", "value", "source")  # fmt: skip
PLAIN = st.sampled_from([None, True, 0, -1, 1e308, "", "a", "tdr", "experiments"])
VALUES = st.recursive(
    PLAIN,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inside, max_size=4),
    max_leaves=20,
)
JUNK = st.binary(max_size=30) | st.sampled_from(
    [b"[" * 5000, b"a: &a [*a]", b"<<: 5", b"<<: {a: 1}\na: 2", b"a: !!python/name:os.system", b"\xff\xfe",
     b"? [a]\n: b", b"torch==\n==2\n", b"def", b"A = 1\nB = [x]\n",
     b"paper,metric\n1,2,3\n", b"paper,metric\n" + b"9" * 200_000]
)  # fmt: skip
FILES = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5).map(lambda value: json.dumps(value).encode())
PATHS = ("config/papers/tdr.yaml", "config/papers/tdr/claims.yaml", "config/protocols/a.yaml", CONFIG, LOCK,
         f"{PUBLISHED}/tdr.csv", f"src/reweigh/{RULES[0]}")  # fmt: skip


@given(st.lists(FILES | JUNK, min_size=len(PATHS), max_size=len(PATHS)))
def test_whatever_stands_in_the_files_of_a_commit_is_read(contents):
    blobs = dict(zip(PATHS, map(str, range(len(PATHS))), strict=True))
    reader = Reader(SimpleNamespace(content=dict(zip(blobs.values(), contents, strict=True))), "smoke")
    for paper in ("tdr", None):
        for name, item in reader.items(blobs, paper).items():
            assert isinstance(name, str) and isinstance(item.experiment, str) and item.path in PATHS
