"""The index of what travels has a digest of its own: any change is refused in a line, before anything is used."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.project import ROOT

from reweigh import canonical_json
from reweigh.config import loading
from reweigh.data import packed
from reweigh.data.obtain import recipe_digest
from reweigh.errors import DataError
from reweigh.planning import pack
from reweigh.training.gpu_check import machine
from reweigh.training.gpu_check.checks import Context, Failed
from reweigh.training.run import Job

RUN = "smoke/tdr/cifar10-4v9-convnet/rho0.3/none/seed0"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory, raw_root):
    """A folder of one spec that `reweigh pack` completed."""
    place = tmp_path_factory.mktemp("project")
    (place / "config").symlink_to(ROOT / "config")
    (place / "data").mkdir()
    shutil.copy(ROOT / "data" / "manifest.yaml", place / "data")
    (place / "data" / "raw").symlink_to(raw_root)
    spec = loading.resolve(RUN, root=ROOT)
    (place / "specs").mkdir()
    (place / "specs/a.json").write_text(json.dumps(spec))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        pack.pack(place / "specs")
    return place / "specs", spec


@pytest.fixture
def index(home, tmp_path, monkeypatch):
    """The index on a machine that has nothing else."""
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data" / "manifest.yaml", tmp_path / "data")
    shutil.copytree(home[0], tmp_path / "specs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWEIGH_PACKED", "specs/packed")
    monkeypatch.setenv("REWEIGH_MIRROR", "")
    return tmp_path / "specs/packed/packed.json"


def refused():
    with pytest.raises(DataError) as error:
        packed.read("cifar10-slice", {})
    assert "\n" not in str(error.value) and "packed.json" in str(error.value)
    assert str(error.value).endswith("make it again with: reweigh pack DIR")
    return str(error.value)


def test_what_pack_wrote_is_accepted_and_states_its_digest(index, home):
    body = json.loads(index.read_text())
    assert body["digest"] == canonical_json.digest_of(body) and packed.index(index.parent) == body
    assert Job(home[1], CPU).run.step == 0


def test_a_process_that_trains_elsewhere_next_reads_what_is_there(index, home, monkeypatch):
    """Not what it has kept: the rows that travelled for one run are too few for another."""
    assert isinstance(Job(home[1], CPU).data.train_inputs, packed.Rows)
    monkeypatch.delenv("REWEIGH_PACKED")
    monkeypatch.chdir(home[0].parent)
    assert isinstance(Job(home[1], CPU).data.train_inputs, np.ndarray)


CHANGES = {
    "the digest of a chunk": lambda body: body["datasets"][0]["parts"]["train"]["chunks"][0].update(sha256="0" * 64),
    "the digest of the data set": lambda body: body["datasets"][0].update(content_digest="0" * 64),
    "the name of a class": lambda body: body["datasets"][0]["class_names"].reverse(),
    "the digest of a split": lambda body: body["splits"].update(dict.fromkeys(body["splits"], "0" * 64)),
    "a split that is left out": lambda body: body["splits"].popitem(),
    "a data set that is left out": lambda body: body["datasets"].clear(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_no_run_is_prepared_from_a_changed_index(what, index, home):
    """All of these have the shape of an index; the last two would have the run look elsewhere for its data."""
    body = json.loads(index.read_text())
    CHANGES[what](body)
    index.write_text(canonical_json.text_of(body))
    assert "its content has digest" in refused()
    with pytest.raises(DataError, match=r"packed\.json: its content has digest .* send it again"):
        Job(home[1], CPU)
    assert not Path("data/splits").exists()


def test_the_check_of_a_gpu_says_so_and_goes_on(index, home):
    file, context = Path("specs/a.json"), Context("cpu", specs="specs")
    expected = {file.name: {"recipe_digest": recipe_digest(home[1]), "split_digest": None}}
    Path("specs/expected.json").write_text(json.dumps(expected))
    assert machine.splits(context, {file: home[1]}, 1e12).startswith("0 splits equal home's, 1 were")
    index.write_text(index.read_text().replace("a", "b", 1))
    shutil.rmtree("data/splits")  # what was placed from the sound one
    with pytest.raises(Failed, match=r"packed\.json: .* make it again with"):
        machine.splits(context, {file: home[1]}, 1e12)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"[]", "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b'{"version": NaN, "digest": ""}', "damaged"),
        (b'{"version": 1, "datasets": [], "splits": {}}', "it has no digest of its own, so it is of an older version"),
    ],
)
def test_what_is_no_sealed_index_is_refused(content, says, index):
    index.unlink()
    if content is not None:
        index.write_bytes(content)
    assert says in refused()


@given(data=st.data())
def test_a_byte_that_is_not_as_it_was_is_refused(home, data):
    content = bytearray((home[0] / "packed/packed.json").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(content), bytes(content[:place])):
        body, wrong = packed._understood(damaged)
        assert wrong and "\n" not in wrong and body == {}
