"""What decides a verdict, against what it was at the commits that records name: pre-registration that git can prove.

Whoever knows the results can still choose what they are compared with: a published number, a claim's margin or source,
which numbers are not judged, how many seeds count, the level of the tests. Each record names the commit that it was
trained at. So each of these is held against the same at the commit of every record that it is about, and is

- intact, if it has not changed since (of the lock file, if no pin has; packages may be pinned besides);
- attested, if it has and the ledger of amendments (`audit.amendments`) names what it says now and why; or if a claim
  was added and its own source says that this was after the first runs;
- stale, if it has changed and nothing says so; unverifiable, if git lacks the commits, or the file.

What no record is about can still be edited freely, and is not looked at.
"""

import ast
import contextlib
import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from reweigh.config import files, inherit
from reweigh.config.files import CONFIG, Node, Place
from reweigh.config.names import RunName
from reweigh.config.published import NUMBER_OF
from reweigh.digest import digest, source_digest
from reweigh.errors import ConfigError, ReweighError
from reweigh.provenance.audit import amendments
from reweigh.provenance.audit.links import Link
from reweigh.provenance.audit.lockfile import LOCK
from reweigh.provenance.audit.records import changes
from reweigh.provenance.audit.trees import Tree, Trees

PACKAGE = "src/reweigh"
RULES = (  # the code by which numbers are compared and claims decided
    "metrics.py", "stats.py", "verdicts.py", "analysis/degenerate.py", "scorecard/claim_tests.py",
    "scorecard/claims.py", "scorecard/curve_tests.py", "scorecard/feature_tests.py", "scorecard/numbers.py",
    "scorecard/order_tests.py", "scorecard/trace_tests.py", "scorecard/trade_off_tests.py",
)  # fmt: skip
BELOW = (CONFIG, "config/papers", "config/protocols", files.PUBLISHED, LOCK, *(f"{PACKAGE}/{name}" for name in RULES))
LATER = "after the first runs"  # what the source of a claim says that was added when results were known
SHOWN, WIDEST = 3, 60  # changes that a detail names, and characters of each value

Commits = Counter[str]  # commit -> records that name it


class Item(NamedTuple):
    """One thing that decides: what it says, where it stands, and the experiment that it is about (empty: the paper)."""

    content: Any
    path: str
    experiment: str = ""


def check_declared(records: dict[str, dict[str, Any]], scale: str, root: Path) -> Iterator[Link]:
    """One link for each claim, file or part of published numbers, number of seeds, choice by tuning, rule and pin."""
    about: dict[tuple[str, str], Commits] = defaultdict(Counter)
    for run, body in records.items():
        name = RunName.parse(run)
        if body["git"]["commit"]:
            for experiment in (name.cell.experiment, ""):
                about[name.cell.paper, experiment][body["git"]["commit"]] += 1
    if not about:
        return
    every = Counter[str]()
    for (_, experiment), commits in about.items():
        every += Counter() if experiment else commits
    trees = Trees(root, every, BELOW)
    if not trees.is_there:
        yield Link("declared", "config", "unverifiable", "without git nothing says what was declared before the runs")
        return
    try:
        ledger = amendments.load(root)
    except ConfigError as error:
        yield Link("declared", amendments.LEDGER, "broken", str(error))
        ledger = {}
    look = Look(trees, ledger, Reader(trees, scale))
    for paper in sorted({paper for paper, _ in about}):
        yield from look.links(
            paper, {experiment: commits for (one, experiment), commits in about.items() if one == paper}
        )
    yield from look.links(None, {"": every})


class Look:
    """Holds what is declared now against what was declared at some commits."""

    def __init__(self, trees: Trees, ledger: amendments.Amendments, reader: "Reader") -> None:
        self.trees, self.ledger, self.reader = trees, ledger, reader

    def links(self, paper: str | None, about: dict[str, Commits]) -> Iterator[Link]:
        """The links of a paper, or of the rules (None); `about` are the commits of its records by experiment."""
        now = self.reader.items(self.trees.now, paper)
        then = {commit: self.reader.items(self.trees.at[commit], paper) for commit in about[""]
                if commit in self.trees.at}  # fmt: skip
        gone = {name: item for items in then.values() for name, item in items.items() if name not in now}
        for name, item in sorted({**gone, **now}.items()):
            if commits := about.get(item.experiment):
                yield Link("declared", name, *self._verdict(name, now.get(name), then, commits))

    def _verdict(
        self, name: str, item: Item | None, then: dict[str, dict[str, Item]], commits: Commits
    ) -> tuple[str, str]:
        old = {commit: then[commit].get(name) for commit in commits if commit in then}
        moved = {commit: one for commit, one in old.items() if (one and one.content) != (item and item.content)}
        if name.startswith("pins/"):  # a package that is pinned besides changes nothing
            moved = {commit: one for commit, one in moved.items() if one}
        if not moved:
            lacking = [commit for commit in commits if commit not in then]
            why = f"this clone's git does not have {lacking[0][:12]}; a full clone has" if lacking else ""
            return ("unverifiable", why) if lacking else ("intact", "")
        if item and item.path not in self.trees.committed:
            return "unverifiable", f"{item.path} is not committed"
        text = _change(item, moved, commits)
        stated = digest(item.content)[: amendments.DIGITS] if item else amendments.DELETED
        if reason := self.ledger.get((name, stated)):
            return "attested", f"{text} ({reason})"
        if item and not any(moved.values()) and LATER in str(_of(item.content, "source")):
            return "attested", f"{text}, as its source says"
        return "stale", f"{text}; {amendments.LEDGER} does not say why: `{name}: {stated}`"


def _change(item: Item | None, moved: dict[str, Item | None], commits: Commits) -> str:
    """What has changed since the runs, and since how many of them."""
    count = sum(commits[commit] for commit in moved)
    most = max(moved, key=lambda commit: commits[commit])
    since = f"since the runs ({count} record{'s' * (count > 1)}, the most at {most[:12]})"
    if item is None:
        return f"deleted {since}"
    old = next((one for one in moved.values() if one), None)
    if old is None:
        return f"added {since}"
    found = [one[: 3 * WIDEST] for one in changes(_short(old.content), _short(item.content))] or ["its text"]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"changed {since}: {'; '.join(found[:SHOWN])}{more}"


def _short(value: Any) -> Any:
    """A value whose texts fit in a line; lists by their items, so that what differs between them is named."""
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    if isinstance(value, list):
        items: dict[str, Any] = {}
        for number, one in enumerate(value):
            label = f"[{_label(one)[:WIDEST] or number}]"
            items[f"{label} {number}" if label in items else label] = _short(one)
        return items
    return f"{value[:WIDEST]}..." if isinstance(value, str) and len(value) > WIDEST else value


def _label(item: Any) -> str:
    """By what an item of a list is told from the others, wherever it stands."""
    if isinstance(item, dict):
        return " ".join(str(one) for key, one in item.items() if key != "text" and not isinstance(one, dict | list))
    return item if isinstance(item, str) else ""


def _of(content: Any, key: str) -> Any:
    """What stands under a key; None if that is no block. A commit may have had anything there."""
    return content.get(key) if isinstance(content, dict) else None


def _list(content: Any, key: str) -> list[Any]:
    value = _of(content, key)
    return value if isinstance(value, list) else []


def _block(content: Any, key: str) -> dict[str, Any]:
    value = _of(content, key)
    return value if isinstance(value, dict) else {}


# --- what is declared ------------------------------------------------------------------------------------------------


class Reader:
    """What the files of a tree declare. Each blob is read once, whatever trees have it."""

    def __init__(self, trees: Trees, scale: str) -> None:
        self.content, self.scale = trees.content, scale
        self._read: dict[str, Any] = {}

    def items(self, tree: Tree, paper: str | None) -> dict[str, Item]:
        """By name: those of a paper, or the rules."""
        if paper is None:
            pins = self._once(tree[LOCK], _pins) if LOCK in tree else {}
            return {
                **{f"rules/{path}": Item(self._once(blob, _code), path)
                   for path, blob in tree.items() if path.startswith(PACKAGE)},
                **{f"pins/{name}": Item(versions, LOCK) for name, versions in pins.items()},
            }  # fmt: skip
        own = {path: blob for path, blob in tree.items()
               if path == f"config/papers/{paper}.yaml" or path.startswith(f"config/papers/{paper}/")}  # fmt: skip
        found = {f"published/{paper}.csv": Item(self._once(blob, _numbers), path)
                 for path, blob in tree.items() if path == f"{files.PUBLISHED}/{paper}.csv"}  # fmt: skip
        shared = [self._once(blob, _yaml) for path, blob in tree.items() if path.startswith("config/protocols/")]
        project = self._once(tree[CONFIG], _yaml) if CONFIG in tree else {}
        found[f"papers/{paper}"] = Item(paper in _list(project, "papers"), CONFIG)  # whether it is scored
        blocks = [*shared, *(self._once(blob, _yaml) for blob in own.values())]
        for path, blob in own.items():
            content = self._once(blob, _yaml)
            for claim in filter(None, _list(content, "claims")):
                found[f"claims/{paper}/{_of(claim, 'id')}"] = Item(claim, path, str(_of(claim, "experiment") or ""))
            for key, value in _block(content, "published").items():
                found[f"published/{paper}/{key}"] = Item(value, path)
            for key, value in _block(content, "tuned").items():
                found[f"tuned/{paper}/{key}"] = Item(value, path, str(_of(value, "experiment") or ""))
            for key, value in _block(content, "experiments").items():
                cut = _of(_of(value, "scales"), self.scale)
                content_now = {"seeds": _seeds(value, blocks), **({self.scale: cut} if cut else {})}
                found[f"seeds/{paper}/{key}"] = Item(content_now, path, key)
        return found

    def _once(self, blob: str, read: Any) -> Any:
        if blob not in self._read:
            self._read[blob] = read(self.content.get(blob, b""))
        return self._read[blob]


def _seeds(experiment: Any, files_of: list[Any], depth: int = 8) -> Any:
    """How many seeds an experiment has, its own or those of the block that it is like."""
    if not isinstance(experiment, dict) or "seeds" in experiment or not depth:
        return _of(experiment, "seeds")
    parent = experiment.get("like")
    for content in files_of:
        for kind in ("experiments", "protocols", "blocks"):
            if (block := _of(_of(content, kind), str(parent))) is not None:
                return _seeds(block, files_of, depth - 1)
    return None


def _yaml(content: bytes) -> dict[str, Any]:
    """The plain values of a file of the config, grids written out; none of one that is no YAML."""
    text = content.decode("utf-8-sig", errors="replace")
    try:
        return files.plain(inherit.without_grids(files.from_text(text, "")))
    except (ReweighError, RecursionError):
        pass
    try:  # one of an older layout, with merge keys
        value = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return files.plain(inherit.without_grids(_node(value))) if isinstance(value, dict) else {}
    except (yaml.YAMLError, ReweighError, RecursionError, ValueError):
        return {}


def _node(value: Any) -> Node:
    """Plain values as nodes, without places; `{value: ..., source: ...}` is taken apart."""
    if isinstance(value, dict) and value.keys() == {"value", "source"}:
        value = value["value"]
    if isinstance(value, dict):
        return Node({str(key): _node(one) for key, one in value.items()}, Place("", 0))
    return Node([_node(one) for one in value] if isinstance(value, list) else value, Place("", 0))


def _numbers(content: bytes) -> dict[str, dict[str, str]]:
    """The lines of a file of published numbers, by what each is the number of."""
    lines = csv.DictReader(io.StringIO(content.decode("utf-8", errors="replace"), newline=""))
    try:
        return {
            " ".join(str(line.get(name)) for name in NUMBER_OF): {str(key): str(value) for key, value in line.items()}
            for line in lines
        }
    except csv.Error as error:
        return {"": {"": f"no csv: {error}"}}


def _pins(content: bytes) -> dict[str, list[str]]:
    """Each package that a lock pins, with its versions and where they count."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in content.decode("utf-8", errors="replace").splitlines():
        name, pinned, version = line.partition("==")
        if pinned and not name.startswith((" ", "#")):
            found[name.lower()].append(version.strip())
    return dict(found)


def _code(content: bytes) -> dict[str, Any]:
    """The plain constants of a module by name, and the digest of all its code."""
    try:
        text = content.decode()
        return {**dict(_constants(ast.parse(text))), "code": source_digest(text)[: amendments.DIGITS]}
    except (SyntaxError, ValueError) as error:
        return {"code": f"no code: {error}"}


def _constants(module: ast.Module) -> Iterator[tuple[str, Any]]:
    for line in module.body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name) and line.targets[0].id.isupper():
            with contextlib.suppress(ValueError):
                yield line.targets[0].id, repr(ast.literal_eval(line.value))
