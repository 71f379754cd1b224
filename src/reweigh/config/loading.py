"""Loading config/: files are read, `like` and `grid` written out, everything is checked; again if a file changes."""

import contextlib
import functools
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reweigh.config import checks, cut, files, home, local, own
from reweigh.config.files import CONFIG, Keys, Node, Place
from reweigh.config.grid import Config
from reweigh.config.inherit import Scope, without_grids
from reweigh.config.models import Paper
from reweigh.config.project import ProjectConfig
from reweigh.config.validation import lookup, validated
from reweigh.digest import digest
from reweigh.errors import ConfigError, ReweighError

CHECKED = "REWEIGH_CONFIG_CHECKED"  # for processes that Snakemake starts: which files it has checked already


def load(root: str | Path = ".") -> Config:
    """Load and check config/ below `root`; the same object as long as no file has changed."""
    root = Path(root)
    if not (root / CONFIG).is_file():
        above = home.above(root)
        where = f": cd {shlex.quote(str(above))}" if above else ""
        raise ConfigError(f"no {CONFIG} in {root.resolve()}; run this in the project's own folder{where}")
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
    config = Config(project, {}, {}, {}, root, cut_text=cut.text)
    names = files.paper_names(root)
    for name in names:
        config.unread[name] = {path.stem: why for path, why in files.unread(root, name).items()}
    for name in names:
        try:
            with _blamed(config, name):
                _add(config, name, _written_out(root, name, stamp))
        except files.UnreadError as error:  # a paper of one's own is in nobody's way
            if name in project.papers:
                raise
            config.refused[name] = str(error)
    for name in project.papers:
        lookup("paper", name, config.papers, CONFIG)
    checked = os.environ.get(CHECKED) == digest([str(root), stamp])
    if not checked:
        for name in config.papers:
            with _blamed(config, name):
                checks.check(config, name)
    for name in files.local_names(root):  # one that cannot be is in nobody's way but its own
        try:
            _add(config, name, _written_out(root, name, stamp))
            if not checked:
                checks.check(config, name)
        except ReweighError as error:
            config.refused[name] = str(error)
            config.papers.pop(name, None)
    return config


@contextlib.contextmanager
def _blamed(config: Config, name: str) -> Iterator[None]:
    """Where a paper cannot be without a file of methods that is no YAML: say that file, and what is wrong with it.

    A paper of one's own may extend any other, so that it may lack what one of theirs has.
    """
    try:
        yield
    except files.UnreadError:
        raise
    except ReweighError:
        papers = [name] if name in config.project.papers else [name, *config.unread]
        if lost := [why for paper in papers for why in config.unread[paper].values()]:
            raise files.UnreadError(lost[0]) from None
        raise


def _add(config: Config, name: str, content: Node) -> None:
    """Add a paper to a config that is being loaded."""
    config.sources[name], config.places[name] = files.sources(content), files.places(content)
    shape = validated(Paper, files.plain(content), functools.partial(_where, config.places[name]))
    config.papers[name] = own.joined(shape, str(content.place))


def _where(places: dict[Keys, Place], loc: Sequence[str]) -> str:
    """File and line of what is wrong; steps of pydantic's path that are not keys (the tag of a union) are left out."""
    keys: Keys = ()
    for step in loc:
        keys = (*keys, step) if (*keys, step) in places else keys
    return str(places[keys])


@functools.lru_cache(maxsize=32)
def _written_out(root: Path, paper: str, stamp: tuple[tuple[str, int, int], ...]) -> Node:
    if paper in files.local_names(root):
        return local.paper(root, paper, *_template(root, stamp))
    content = without_grids(files.paper(root, paper))
    extends = content.value.get("extends")
    if extends is None:
        return _without_likes(root, stamp, content)
    parent, shared = _parent(root, paper, extends, stamp), _shared(root, stamp)
    known = {kind: {**shared.get(kind, {}), **_entries(parent, kind)} for kind in (*own.INHERITED, "blocks")}
    blocks = content.value.pop("blocks", None)
    return own.extended(Scope(known, blocks.value if blocks else {}).written_out(content), parent, extends.value)


@functools.lru_cache(maxsize=4)
def _template(root: Path, stamp: tuple[tuple[str, int, int], ...]) -> tuple[Node, local.Template]:
    """What papers for a user's own data are made of, with its `like` written out."""
    content, said = local.template_of(root)
    return _without_likes(root, stamp, without_grids(content)), said


def _without_likes(root: Path, stamp: tuple[tuple[str, int, int], ...], content: Node) -> Node:
    """A block without grids, with its `like` written out."""
    blocks = content.value.pop("blocks", None)
    return Scope(_shared(root, stamp), blocks.value if blocks else {}).written_out(content)


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
