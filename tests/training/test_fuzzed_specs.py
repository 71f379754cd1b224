"""A spec or a run's name that somebody has made up writes and removes nothing outside of the project, in a line."""

import copy
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from support.project import ROOT

from reweigh.config import loading as config
from reweigh.config.names import RunName
from reweigh.data.obtain import split_path
from reweigh.errors import ReweighError
from reweigh.records.record import record_path
from reweigh.training.__main__ import main
from reweigh.training.checkpoint import Keeper

SPEC = config.resolve("smoke/tdr/mnist-4v9/rho0.1/tdr/seed0", root=ROOT)
NAMES = ("scale", "paper", "experiment", "setting", "method", "seed")
FUZZ = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))

climbing = st.sampled_from(
    ["..", "../..", "../../..", "/", "/tmp/x", "~", ".", "", "a/../../../b", "\0", "\n", "sentinel"]
)
names = climbing | st.text(max_size=12) | st.lists(climbing, max_size=4).map("/".join)
plain = st.none() | st.booleans() | st.integers() | st.floats() | names
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*SPEC, "name"]), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def sentinel(tmp_path, monkeypatch):
    """A project within other folders, and a function that says whether anything but the project has changed."""
    project = tmp_path / "above" / "beside" / "project"
    (project / ".reweigh" / "checkpoints").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "above", project.parent):
        (folder / "sentinel").mkdir()
        (folder / "sentinel" / "seed0.json").write_text("mine")
        (folder / "sentinel" / "seed0.npz").write_text("mine")
    monkeypatch.chdir(project)

    def outside():
        kept = {path: (path.is_dir(), path.is_file() and path.read_bytes()) for path in tmp_path.rglob("*")}
        return {path: what for path, what in kept.items() if not path.is_relative_to(project)}

    before = outside()
    return lambda: outside() == before


def mutated(data):
    """The spec with some of its values replaced, or taken out; the names above all."""
    spec = copy.deepcopy(SPEC)
    for _ in range(data.draw(st.integers(1, 3))):
        block = data.draw(st.sampled_from([spec, spec, *(one for one in spec.values() if isinstance(one, dict))]))
        key = data.draw(st.sampled_from([*NAMES, *block]) if block is spec else st.sampled_from([*block, "x"]))
        block[key] = data.draw(names if key in NAMES else values)
        if data.draw(st.integers(0, 9)) == 0:
            del block[key]
    return spec


@seed(1)
@settings(FUZZ, max_examples=400)
@given(data=st.data())
def test_the_command_on_a_fuzzed_spec_ends_in_lines(data, sentinel, capsys):
    """The project has no data: what passes every check ends at the first file that it needs."""
    Path("spec.json").write_bytes(json.dumps(mutated(data)).encode("utf-8", "surrogatepass"))
    assert main(["spec.json"]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("reweigh: ") and line.isprintable() and len(line) < 1000
    assert sentinel() and sorted(os.listdir()) == [".reweigh", "spec.json"]


@seed(2)
@settings(FUZZ, max_examples=300)
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_so_it_does_on_any_bytes(content, sentinel, capsys):
    Path("spec.json").write_bytes(content)
    assert main(["spec.json"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("reweigh: spec.json: ") and line.isprintable()
    assert sentinel()


@seed(3)
@settings(FUZZ, max_examples=600)
@given(parts=st.lists(names, min_size=1, max_size=6))
def test_a_fuzzed_name_leads_to_no_path_outside_and_removes_nothing_there(parts, sentinel):
    text, root = "/".join(parts), Path.cwd()
    for path_of in (record_path, lambda name: record_path(str(RunName.parse(name))), in_checkpoints, of_split):
        try:
            path = path_of(text)
        except ReweighError:
            continue
        assert Path(os.path.abspath(path)).is_relative_to(root) and path.parts[0] in ("results", ".reweigh", "data")
    assert sentinel()


def in_checkpoints(name):
    keeper = Keeper(name, "key")
    keeper.folder.mkdir(parents=True, exist_ok=True)
    keeper.done()
    assert not keeper.folder.exists()
    return keeper.path


def of_split(name):
    return split_path({**SPEC, "setting": name, "seed": name})


@pytest.mark.parametrize("link", ["smoke", "smoke/a/b/c/d/seed0"])
def test_checkpoints_behind_a_link_are_not_removed(link, sentinel, tmp_path):
    """`.reweigh` itself may be one, to a larger disk; what somebody puts below it may not."""
    (tmp_path / "disk").mkdir()
    shutil.rmtree(".reweigh")
    Path(".reweigh").symlink_to(tmp_path / "disk")
    for leads in (False, True):
        keeper = Keeper("smoke/a/b/c/d/seed0", "key")
        if leads:
            theirs = tmp_path / "theirs" / "a/b/c/d/seed0" if link == "smoke" else tmp_path / "theirs"
            theirs.mkdir(parents=True)
            (theirs / "key.pt").write_text("mine")
            place = keeper.root / link
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(tmp_path / "theirs")
        else:
            keeper.folder.mkdir(parents=True)
        keeper.done()
        assert keeper.folder.exists() == leads
    assert (theirs / "key.pt").read_text() == "mine"
