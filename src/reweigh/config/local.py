"""A user's own data set as a paper: config/local.yaml, with the card that `reweigh import` wrote laid in.

    paper(root, "claims", *template)    # one of them as a block, like the files of config/papers/NAME taken together

Such a paper exists at scale `local` alone, and its name is the card's. How long its runs are follows from the rows of
the card (`length`). Which methods and how many seeds it has, `reweigh compare` was asked for, and keeps in
data/local/compare/NAME.yaml.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from reweigh.config import files
from reweigh.config.cards import plain
from reweigh.config.files import CARDS, CHOICES, TEMPLATE, Node, Place
from reweigh.config.models import DEFERRALS
from reweigh.config.specs import Frozen, Name, Positive
from reweigh.config.validation import lookup, validated
from reweigh.data import local_cards
from reweigh.errors import ConfigError, DataError

SCALE = "local"
BY_CLASS, BY_GROUP = "by-class", "by-group"
BY = {BY_CLASS: "class", BY_GROUP: "group"}  # what weights follow in each
OWN = ("lengths", "seeds", "by_class", "by_group")  # keys of the template that no other paper has


class Rule(Frozen):
    """How long a run is, and how many examples guide a method; see config/local.yaml."""

    steps: Positive
    batch_size: Positive
    batches: Positive
    fewest_epochs: Positive
    most_epochs: Positive
    deferred: Annotated[float, Field(gt=0, lt=1)]
    target_per_class: Positive


class Seeds(Frozen):
    """How many seeds are usual, and the most that can be asked for."""

    usual: Positive
    most: Positive


class Template(Frozen):
    """The keys of config/local.yaml that are no keys of a paper."""

    lengths: dict[str, Rule]
    seeds: Seeds
    by_class: Annotated[list[Name], Field(min_length=1)]
    by_group: list[Name]


class Choice(Frozen):
    """What `reweigh compare` was asked for. None: all methods of the template, the usual seeds, epochs by the rule."""

    methods: Annotated[list[Name], Field(min_length=1)] | None = None
    seeds: Positive | None = None
    epochs: Positive | None = None


@dataclass(frozen=True)
class Length:
    """How long a run is: epochs, examples of a batch, the epoch from which methods begin with what they put off."""

    epochs: int
    batch_size: int
    deferred: int


def length(rows: int, rule: Rule, epochs: int | None = None) -> Length:
    """The length of a run on so many rows; `epochs` instead of those of the rule.

    >>> rule = Rule(steps=3000, batch_size=128, batches=8, fewest_epochs=5, most_epochs=200, deferred=0.8,
    ...             target_per_class=10)
    >>> length(16_000, rule), length(480, rule)
    (Length(epochs=24, batch_size=128, deferred=20), Length(epochs=200, batch_size=32, deferred=160))
    """
    size = rule.batch_size
    while size > 1 and rows // size < rule.batches:
        size //= 2
    steps = max(rows // size, 1)
    chosen = epochs or min(max(math.ceil(rule.steps / steps), rule.fewest_epochs), rule.most_epochs)
    return Length(chosen, size, min(math.ceil(rule.deferred * chosen), chosen - 1) if chosen > 1 else 0)


def template_of(root: Path) -> tuple[Node, Template]:
    """The template as a block without its own keys, and these. Raises ConfigError where they are not right."""
    node = files.read(root / TEMPLATE, TEMPLATE)
    own = {key: files.plain(child) for key, child in node.value.items() if key in OWN}
    places = files.places(node)
    where: Callable[..., str] = lambda loc: files.nearest(places, loc)  # noqa: E731
    kept = {key: child for key, child in node.value.items() if key not in OWN}
    return node.with_value(kept), validated(Template, own, where)


def choice_of(root: Path, name: str) -> Choice:
    """What `reweigh compare` was last asked for of a data set; nothing if it never was."""
    path, label = root / CHOICES / f"{name}.yaml", f"{CHOICES}/{name}.yaml"
    if not path.is_file():
        return Choice()
    node = files.read(path, label)
    return validated(Choice, files.plain(node), label)


def paper(root: Path, name: str, written: Node, template: Template) -> Node:
    """The paper of a data set: the template, in which `like` is `written` out, with its card laid in.

    Raises ConfigError for a card or a choice that is none.
    """
    made = _Made(name, written, template, card_content(root, name), choice_of(root, name))
    methods, experiments, artifacts = (written.value[key] for key in ("methods", "experiments", "artifacts"))
    parts = made.experiments()
    added = {
        "title": made.here(str(made.card["title"])),
        "methods": _deferred(methods, made.begins),
        "experiments": experiments.with_value(parts),
        "artifacts": artifacts.with_value({key: made.artifact(one, parts) for key, one in artifacts.value.items()}),
        "only_at": made.here(SCALE),
    }
    return Node({**written.value, **added}, made.place)


def card_content(root: Path, name: str) -> dict[str, Any]:
    """The card of a data set. Raises ConfigError, in one line, if there is none, or if it was edited."""
    try:
        return local_cards.load(name, root / "data")
    except DataError as error:
        raise ConfigError(str(error)) from None


def offered(template: Template, card: Mapping[str, Any]) -> list[str]:
    """The methods that can be asked for on the data of a card: those by group only where it has groups."""
    return list(dict.fromkeys([*template.by_class, *(template.by_group if card["group"] else [])]))


def baseline(methods: Node) -> str:
    """Plain training among the methods of the template, from which gains are measured."""
    return next(name for name, one in methods.value.items() if one.value["uses"].value == plain())


@dataclass(frozen=True)
class _Made:
    """What the paper of a data set is made of."""

    name: str
    written: Node
    template: Template
    card: Mapping[str, Any]
    choice: Choice

    @property
    def place(self) -> Place:
        """Where the values stand that the card decides."""
        return Place(f"{CARDS}/{self.name}.yaml", 1)

    def here(self, value: Any, source: str | None = None) -> Node:
        return Node(value, self.place, source)

    @property
    def rule(self) -> Rule:
        rule: Rule = lookup("kind", self.card["kind"], self.template.lengths, self.place.file)
        return rule

    @property
    def length(self) -> Length:
        return length(self.card["sizes"]["train"]["rows"], self.rule, self.choice.epochs)

    @property
    def begins(self) -> Node:
        """The epoch from which methods begin with what they put off."""
        share = f"ours: the share {self.rule.deferred:g} of the epochs, as in the methods' papers"
        return self.here(self.length.deferred, share)

    def experiments(self) -> dict[str, Node]:
        """The experiment whose weights follow classes, and, where the card has groups, one whose weights follow these.

        Methods that were not asked for are extensions: their runs have names, and nothing trains or shows them.
        """
        known = offered(self.template, self.card)
        asked = self.choice.methods or known
        for method in asked:
            lookup("method", method, known, f"{CHOICES}/{self.name}.yaml")
        against = baseline(self.written.value["methods"])
        parts = {BY_CLASS: self.template.by_class}
        if self.card["group"]:
            parts[BY_GROUP] = self.template.by_group
        found = {}
        for key, of_template in parts.items():
            others = [one for one in of_template if one != against]
            chosen = [one for one in others if one in asked]
            methods = [against, *chosen] if key == BY_CLASS else chosen  # weights are nothing to plain training
            found[key] = self._experiment(key, methods, [one for one in (against, *others) if one not in methods])
        return found

    def _experiment(self, key: str, methods: list[str], others: list[str]) -> Node:
        block, names = self.written.value["experiments"].value[self.card["kind"]], [self.here(one) for one in methods]
        options = {name: self.here(value) for name, value in local_cards.options_of(self.card).items()}
        extra = {
            "id": self.here("others"),
            "why": self.here("reweigh compare did not ask for them"),
            "methods": self.here([*map(self.here, others)]),
        }
        added = {
            "title": self.here(str(self.card["title"])),
            "varies": self.here(f"weights by {BY[key]}"),
            "dataset": self.here(self.card["kind"]),
            "dataset_options": self.here(options, "ours: the card of the data set"),
            "methods": self.here(names),
            "extensions": self.here([self.here(extra)] if others else []),
        }
        node = Node({**block.value, **added}, block.place)
        for path, (value, source) in self._values(key).items():
            node = _with(node, path, self.here(value, source))
        return node

    def _values(self, key: str) -> dict[tuple[str, ...], tuple[Any, str]]:
        """What card and rule decide of an experiment, by its path, with sources."""
        sizes, rule, whole = self.card["sizes"]["train"]["classes"], self.rule, self.length
        target = len(sizes) * min(rule.target_per_class, *sizes)
        epochs = f"ours: {rule.steps:,} steps on {sum(sizes):,} rows, {rule.fewest_epochs} to {rule.most_epochs} epochs"
        if self.choice.epochs:
            epochs = "ours: as reweigh compare --epochs was asked for"
        return {
            ("split", "weights_by"): (BY[key], f"ours: weights follow each {BY[key]}"),
            ("split", "target_size"): (target, f"ours: {rule.target_per_class} of each class, or all of the rarest"),
            ("training", "epochs"): (whole.epochs, epochs),
            ("training", "batch_size"): (
                whole.batch_size,
                f"ours: {rule.batch_size}, halved until an epoch has {rule.batches} steps",
            ),
            ("training", "target_batch_size"): (
                max(min(target, whole.batch_size), 1),
                "ours: as many as a batch, if there are so many",
            ),
            ("training", "evaluate_every"): (max(whole.epochs // 5, 1), "ours: some five points of a curve"),
            ("seeds",): (
                self.choice.seeds or self.template.seeds.usual,
                "ours: as many as reweigh compare was asked for",
            ),
        }

    def artifact(self, node: Node, experiments: Mapping[str, Node]) -> Node:
        """An artifact that reads what was asked for of each experiment."""
        reads = [
            self.here({"experiment": self.here(name), "methods": one.value["methods"]})
            for name, one in experiments.items()
            if one.value["methods"].value
        ]
        return node.with_value({**node.value, "reads": self.here(reads)})


def _with(node: Node, keys: tuple[str, ...], leaf: Node) -> Node:
    inside = node.value.get(keys[0], Node({}, leaf.place))
    child = leaf if len(keys) == 1 else _with(inside, keys[1:], leaf)
    return node.with_value({**node.value, keys[0]: child})


def _deferred(node: Node, epoch: Node) -> Node:
    """The methods, with what begins later than at once beginning at `epoch`."""
    if not isinstance(node.value, dict):
        return node
    changed = {
        key: epoch if key in DEFERRALS and one.value else _deferred(one, epoch) for key, one in node.value.items()
    }
    return node.with_value(changed)
