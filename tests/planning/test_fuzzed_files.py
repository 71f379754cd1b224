"""Records, receipts, reports and configs that anybody may have written: no traceback, and nothing outside the project.

What is fuzzed has the right keys and the wrong values: names that climb, that are absolute, that no file can have;
other types, huge numbers, deep lists. A seal is set again, as whoever forges a file would.
"""

import contextlib
import copy
import json
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import tampering

from reweigh import canonical_json, os_errors
from reweigh.config.loading import load
from reweigh.errors import ConfigError, ReweighError
from reweigh.planning import jobs, plan, plan_text
from reweigh.provenance import explain
from reweigh.records import attestations

WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
watched: list[tuple[Path, list[str]]] = []  # the project, and what was written outside of it


def _watch(event, arguments):
    if not watched or not (event in WRITES or (event == "open" and _is_for_writing(arguments))):
        return
    root, outside = watched[-1]
    for path in arguments[: 2 if event in ("os.rename", "os.link", "os.symlink") else 1]:
        place = os.path.abspath(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else "/dev/null"
        if not Path(place).is_relative_to(root) and not place.startswith("/dev/"):
            outside.append(f"{event} {place}")


def _is_for_writing(arguments):
    _, mode, flags = arguments
    return flags & (os.O_WRONLY | os.O_RDWR) if mode is None else set(mode) & set("wax+")


sys.addaudithook(_watch)


@pytest.fixture(scope="module")
def project(sound_project, tmp_path_factory):
    return tampering.copy(sound_project, tmp_path_factory.mktemp("fuzzed") / "a" / "project")


@pytest.fixture(autouse=True)
def alone(project, monkeypatch):
    """In the project, with a folder for temporary files of its own."""
    monkeypatch.chdir(project)
    (project / "tmp").mkdir(exist_ok=True)
    monkeypatch.setattr(tempfile, "tempdir", str(project / "tmp"))


NASTY = st.one_of(
    st.sampled_from(
        ["", ".", "..", "../../../x", "/etc/passwd", "/tmp/reweigh-fuzz", "a\0b", "\x1b[31m", "=1", "é" * 300]
    ),
    st.sampled_from([None, True, -1, 0, 10**40, -1e308, 0.5, [], {}, [[]], [{}], {"a": None}, ["../x"], "1e999"]),
    st.text(max_size=8).filter(lambda text: text.isprintable() or "\n" in text),
)


@st.composite
def changes(draw):
    """How a JSON value is changed: at up to three places, chosen by numbers; and whether it is sealed again."""
    return draw(st.lists(st.tuples(st.integers(0, 10**6), NASTY), min_size=1, max_size=3)), draw(st.booleans())


def places(value, at=()):
    """All places in a JSON value, the outer ones first."""
    found = [at] if at else []
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        found += places(one, (*at, key))
    return found


def changed(body, change):
    body = json.loads(json.dumps(body))
    for number, value in change[0]:
        known = places(body)
        if not known:
            break
        *above, last = known[number % len(known)]
        inside = body
        for key in above:
            inside = inside[key]
        inside[last] = copy.deepcopy(value)
    if change[1] and "digest" in body:
        body = canonical_json.seal({key: value for key, value in body.items() if key != "digest"})
    return canonical_json.text_of(body)


FILES = {
    "record": "results/smoke/tdr/*/*/*/seed*.json",
    "receipt": "figures/smoke/tdr/fig3.json",
    "report of a split": "data/splits/smoke/tdr/*/*/seed*.json",
    "source file": "data/raw/mnist/SOURCE.json",
    "attestation": "results/smoke/attestations/*.json",
}


def questions(root):
    """Plan, planning of rendering and of training, explain: what is asked of a project before anything runs."""
    config = load(root)
    record, report = (min(root.glob(FILES[what])) for what in ("record", "report of a split"))
    runs = [path.relative_to(root / "results").with_suffix("").as_posix() for path in root.glob(FILES["record"])]
    flow = jobs.Flow(config)
    wildcards = SimpleNamespace(scale="smoke", paper="tdr", dataset="mnist")
    figure = next(one for one in flow.artifacts() if one.stem.endswith("tdr/fig3"))
    yield lambda: plan_text.show(plan.of_runs(config, runs))
    yield lambda: (figure.records(wildcards), figure.notes(wildcards))
    yield lambda: flow.source_notes(wildcards)
    yield lambda: explain.main("figures/smoke/tdr/fig3.csv", None, None, [], True, 2)
    yield lambda: explain.main(record.relative_to(root), None, None, [])
    yield lambda: explain.main(report.relative_to(root), None, None, [])


def ask_everything(root):
    """Each question has an answer, or is refused in a line; nothing is written outside of the project. -> the lines."""
    outside: list[str] = []
    said: list[str] = []
    for ask in questions(root):
        watched.append((root, outside))
        try:
            ask()
        except ReweighError as error:
            said.append(str(error))
        except OSError as error:
            said.append(os_errors.in_words(error) or f"\n{error!r}")
        finally:
            watched.pop()
    assert outside == []
    return said


@pytest.mark.parametrize("what", FILES)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(change=changes())
def test_a_file_of_anybody(what, project, capsys, change):
    path = min(project.glob(FILES[what]))
    before = path.read_bytes()
    try:
        try:
            text = changed(json.loads(before), change)
        except (TypeError, ValueError):
            return
        tampering.write(path, text)
        assert not [line for line in ask_everything(project) if "\n" in line]
        said = capsys.readouterr()
        assert "\x1b" not in said.out + said.err and "Traceback" not in said.err
    finally:
        tampering.write(path, before)
        attestations._load.cache_clear()


CONFIGS = ["config/config.yaml", "config/papers/tdr/artifacts.yaml", "config/papers/tdr/published.yaml"]


@pytest.mark.parametrize("file", CONFIGS)
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(change=changes())
def test_a_config_of_anybody(file, project, capsys, change):
    """Loaded, or refused in a line that names the file; what loads plans its figures."""
    path, outside = project / file, []
    before = path.read_bytes()
    watched.append((project, outside))
    try:
        tampering.write(path, changed(yaml.safe_load(before), change))  # JSON is YAML
        try:
            config = load(project)
        except ConfigError as error:
            assert error.args[0].startswith("config/") and "\n" not in error.args[0]  # noqa: PT017
            return
        for figure in jobs.Flow(config).artifacts():
            with contextlib.suppress(ReweighError):
                figure.notes(SimpleNamespace(scale="smoke"))
    finally:
        watched.pop()
        tampering.write(path, before)
    assert outside == []
