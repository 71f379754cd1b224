"""Loading config/: files are read, `like` and `grid` written out, everything is checked; again if a file changes."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reweigh.config import checks, cut, files, own
from reweigh.config.files import CONFIG, Keys, Node, Place
from reweigh.config.grid import Config
from reweigh.config.inherit import Scope, without_grids
from reweigh.config.models import Paper
from reweigh.config.project import ProjectConfig
from reweigh.config.validation import lookup, validated
from reweigh.digest import digest
from reweigh.errors import ConfigError

CHECKED = "REWEIGH_CONFIG_CHECKED"  # for processes that Snakemake starts: which files it has checked already


def load(root: str | Path = ".") -> Config:
    """Load and check config/ below `root`; the same object as long as no file has changed."""
    root = Path(root)
    if not (root / CONFIG).is_file():
        raise ConfigError(f"no {CONFIG} in {root.resolve()}; run this in the project's own folder")
    root = root.resolve()
    return _load(root, files.stamp(root))


def declare_checked(root: str | Path = ".") -> None:
    """Spare the processes that this one starts the checks of a config that it has loaded, half of the time of `load`.

    They are not spared if a file has changed by then.
    """
    root = Path(root).resolve()
    os.environ[CHECKED] = digest([str(root), files.stamp(root)])


def resolve(run: str, root: str | Path = ".") -> dict[str, Any]:
    """The complete, validated spec of a run (see `Config.resolve`)."""
    return load(root).resolve(run)


def written_out(root: Path, paper: str) -> Node:
    """The files of a paper as one block, with what `like` and `grid` stand for; not checked further."""
    return _written_out(root, paper, files.stamp(root))


@functools.lru_cache(maxsize=4)
def _load(root: Path, stamp: tuple[tuple[str, int, int], ...]) -> Config:
    of_project = files.read(root / CONFIG, CONFIG)
    where = functools.partial(_where, files.places(of_project))
    project = validated(ProjectConfig, files.plain(of_project), where)
    papers, sources, places = {}, {}, {}
    for name in files.paper_names(root):
        content = _written_out(root, name, stamp)
        sources[name], places[name] = files.sources(content), files.places(content)
        shape = validated(Paper, files.plain(content), functools.partial(_where, places[name]))
        papers[name] = own.joined(shape, str(content.place))
    for name in project.papers:
        lookup("paper", name, papers, CONFIG)
    config = Config(project, papers, sources, places, root, cut.text)
    if os.environ.get(CHECKED) != digest([str(root), stamp]):
        for name in papers:
            checks.check(config, name)
    return config


def _where(places: dict[Keys, Place], loc: Sequence[str]) -> str:
    """File and line of what is wrong; steps of pydantic's path that are not keys (the tag of a union) are left out."""
    keys: Keys = ()
    for step in loc:
        keys = (*keys, step) if (*keys, step) in places else keys
    return str(places[keys])


@functools.lru_cache(maxsize=32)
def _written_out(root: Path, paper: str, stamp: tuple[tuple[str, int, int], ...]) -> Node:
    content = without_grids(files.paper(root, paper))
    blocks, shared = content.value.pop("blocks", None), _shared(root, stamp)
    extends = content.value.get("extends")
    if extends is None:
        return Scope(shared, blocks.value if blocks else {}).written_out(content)
    parent = _parent(root, paper, extends, stamp)
    known = {kind: {**shared.get(kind, {}), **_entries(parent, kind)} for kind in (*own.INHERITED, "blocks")}
    return own.extended(Scope(known, blocks.value if blocks else {}).written_out(content), parent, extends.value)


def _parent(root: Path, paper: str, extends: Node, stamp: tuple[tuple[str, int, int], ...]) -> Node:
    """The paper that another one extends. Raises ConfigError if there is none, or if it extends one itself."""
    others = [name for name in files.paper_names(root) if name != paper]
    name = lookup("paper", extends.value, others, f"{extends.place}: extends")
    if "extends" in files.paper(root, name).value:
        raise ConfigError(f"{extends.place}: {name} itself extends another paper; name that one, and write what is new")
    return _written_out(root, name, stamp)


def _entries(paper: Node, kind: str) -> dict[str, Node]:
    return paper.value[kind].value if kind in paper.value else {}


@functools.lru_cache(maxsize=4)
def _shared(root: Path, stamp: tuple[tuple[str, int, int], ...]) -> dict[str, dict[str, Node]]:
    """What several papers share, by the kind of block that may be like it."""
    content = without_grids(files.shared(root))
    for key, child in content.value.items():
        lookup("key of what papers share", key, files.SHARED, str(child.place))
    blocks = content.value.pop("blocks", None)
    scope = Scope(blocks=blocks.value if blocks else {})
    written = scope.written_out(content).value
    return {
        "methods": written["methods"].value if "methods" in written else {},
        "experiments": written["protocols"].value if "protocols" in written else {},
        "blocks": scope.written_out(blocks, "blocks").value if blocks else {},
    }
