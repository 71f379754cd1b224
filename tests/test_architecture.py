"""Imports run one way: no circle among modules, no arrow upwards between floors; and the picture of it is current."""

import doctest

import architecture
import pytest
from support.project import ROOT

from reweigh.digest import closure

FILES = architecture.modules()
IMPORTS = architecture.imports(FILES)
PACKAGES = architecture.packages(IMPORTS)

# Imports that go up and may stay, as `low -> high`, with the reason. There is none.
EXCEPTIONS: dict[str, str] = {}


def test_every_module_has_a_floor():
    placed = {name for floor in architecture.FLOORS for name in floor}
    assert set(PACKAGES) == placed == set(architecture.TEXTS) == set(architecture.PLACES)
    assert len(FILES) > 150


def test_there_is_no_circle_among_modules():
    assert architecture.circle(IMPORTS) == []


def test_there_is_no_circle_among_packages():
    assert architecture.circle(PACKAGES) == []


def test_no_import_goes_up():
    assert set(architecture.upwards(PACKAGES)) == set(EXCEPTIONS)


def test_what_trains_imports_no_config():
    """It gets its specs resolved, so that no edit of the config's code makes a record stale, and it needs no pydantic.

    Names of runs are free: they import the standard library alone, and the engine does not import them. So is what
    looks at a spec before anything runs: it refuses what the config would not have made, by the config's own rules.
    """
    trains = {"data", "losses", "weights", "models", "hypergrad", "methods", "training", "evaluate", "records.record"}
    trains &= set(PACKAGES) | set(architecture.GROUND) | set(IMPORTS)
    assert len(trains) == 9
    wrong = [(low, high) for low, names in IMPORTS.items() for high in names - {"config.names"}
             if trains & {low, low.split(".")[0]} and high.split(".")[0] == "config"
             and low != "training.spec_check"]  # fmt: skip
    assert wrong == [] and IMPORTS["config.names"] <= {"errors", "path_parts"}
    assert not [path for path in closure(["reweigh.training.engine"]) if path.startswith("config/")]


def test_the_picture_shows_the_imports_of_today():
    text = architecture.described()
    assert (ROOT / architecture.DATA).read_text() == text, "make architecture"
    assert architecture.shown_in(ROOT / architecture.PICTURE) == architecture.digest(text), "make architecture"


def test_the_examples_in_the_tool_hold():
    assert doctest.testmod(architecture).failed == 0


@pytest.mark.parametrize(
    ("line", "upward"),
    [
        ("from reweigh.cli import app", "errors -> cli"),
        ("from reweigh import cli", "errors -> cli"),
        ("import reweigh.cli", "errors -> cli"),
        ("def late():\n    from reweigh.training import engine", "errors -> training.engine"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from reweigh import cli", None),
        ("import torch\nfrom reweigh.errors import ReweighError", None),
    ],
)
def test_an_import_is_seen_wherever_it_stands(tmp_path, line, upward):
    package = tmp_path / architecture.SOURCES
    (package / "training").mkdir(parents=True)
    for name in ("cli.py", "training/__init__.py", "training/engine.py"):
        (package / name).write_text("")
    (package / "errors.py").write_text(f"{line}\n")
    found = architecture.imports(architecture.modules(tmp_path))
    assert {f"errors -> {name}" for name in found["errors"]} == ({upward} if upward else set())
    assert bool(architecture.upwards(architecture.packages(found))) == (upward is not None)


def test_a_circle_is_named():
    ring = architecture.circle(
        {"cli": {"planning.plan"}, "planning.plan": {"records.record"}, "records.record": {"cli"}}
    )
    assert ring == ["cli", "planning.plan", "records.record", "cli"]


def test_the_ground_imports_nothing_of_the_house():
    """Of the ground itself the errors stand alone, so that every module may raise one."""
    assert PACKAGES["ground"] == set() and IMPORTS["errors"] == set()
