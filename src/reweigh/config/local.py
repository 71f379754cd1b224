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
EXPERIMENT, BY_GROUP = "compare", "by-group"
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
    label = f"{CARDS}/{name}.yaml"
    card = card_content(root, name)
    kind, place = card["kind"], Place(label, 1)
    rule: Rule = lookup("kind", kind, template.lengths, label)
    choice = choice_of(root, name)
    whole = length(card["sizes"]["train"]["rows"], rule, choice.epochs)
    experiments = _experiments(written, kind, card, place, template, choice, whole, rule)
    artifacts = {key: _artifact(one, experiments, place) for key, one in written.value["artifacts"].value.items()}
    begins = Node(whole.deferred, place, f"ours: the share {rule.deferred:g} of the epochs, as in the methods' papers")
    methods = _deferred(written.value["methods"], begins)
    added = {
        "title": Node(str(card["title"]), place),
        "methods": methods,
        "experiments": Node(experiments, written.value["experiments"].place),
        "artifacts": Node(artifacts, written.value["artifacts"].place),
        "only_at": Node(SCALE, place),
    }
    return Node({**written.value, **added}, Place(label, 1))


def card_content(root: Path, name: str) -> dict[str, Any]:
    """The card of a data set. Raises ConfigError, in one line, if there is none, or if it was edited."""
    try:
        return local_cards.load(name, root / "data")
    except DataError as error:
        raise ConfigError(str(error)) from None


def _experiments(
    written: Node, kind: str, card: Mapping[str, Any], place: Place, template: Template, choice: Choice, whole: Length,
    rule: Rule,
) -> dict[str, Node]:  # fmt: skip
    """The experiment whose weights follow classes, and, where the card has groups, one whose weights follow these."""
    block = written.value["experiments"].value[kind]
    known = offered(template, card)
    asked = choice.methods or known
    for method in asked:
        lookup("method", method, known, f"{CHOICES}/{place.file.rpartition('/')[2]}")
    against = baseline(written.value["methods"])
    parts = {
        EXPERIMENT: _experiment(
            block, [against, *(one for one in template.by_class if one in asked and one != against)], card, place
        ),
    }
    if card.get("group") and (by_group := [one for one in template.by_group if one in asked and one != against]):
        parts[BY_GROUP] = _experiment(block, [against, *by_group], card, place)
    return {key: _laid(one, place, _values(key, card, choice, template, whole, rule)) for key, one in parts.items()}


def _values(
    key: str, card: Mapping[str, Any], choice: Choice, template: Template, whole: Length, rule: Rule
) -> dict[tuple[str, ...], tuple[Any, str]]:
    """What the card and the rule decide of an experiment, by its path, with sources."""
    sizes = card["sizes"]["train"]["classes"]
    target = len(sizes) * min(rule.target_per_class, *sizes)
    batch = max(min(target, whole.batch_size), 1)
    by = "group" if key == BY_GROUP else "class"
    halved = f"ours: {rule.batch_size}, halved until an epoch has {rule.batches} steps"
    return {
        ("varies",): (f"weights by {by}", "ours"),
        ("split", "weights_by"): (by, f"ours: weights follow each {by}"),
        ("split", "target_size"): (target, f"ours: {rule.target_per_class} of each class, or all of the rarest"),
        ("training", "epochs"): (whole.epochs, _why(choice, rule, sum(sizes))),
        ("training", "batch_size"): (whole.batch_size, halved),
        ("training", "target_batch_size"): (batch, "ours: as many as a batch, if there are so many"),
        ("training", "evaluate_every"): (max(whole.epochs // 5, 1), "ours: some five points of a curve"),
        ("seeds",): (choice.seeds or template.seeds.usual, "ours: as many as reweigh compare was asked for"),
    }


def offered(template: Template, card: Mapping[str, Any]) -> list[str]:
    """The methods that can be asked for on the data of a card: those by group only where it has groups."""
    return list(dict.fromkeys([*template.by_class, *(template.by_group if card.get("group") else [])]))


def _why(choice: Choice, rule: Rule, rows: int) -> str:
    if choice.epochs:
        return "ours: as reweigh compare --epochs was asked for"
    return f"ours: {rule.steps:,} steps on {rows:,} rows, {rule.fewest_epochs} to {rule.most_epochs} epochs"


def baseline(methods: Node) -> str:
    """Plain training among the methods of the template, from which gains are measured."""
    return next(name for name, one in methods.value.items() if one.value["uses"].value == plain())


def _experiment(block: Node, methods: list[str], card: Mapping[str, Any], place: Place) -> Node:
    options = {
        "card": Node(place.file.rpartition("/")[2].removesuffix(".yaml"), place),
        "digest": Node(card["digest"], place),
    }
    return Node(
        {
            **block.value,
            "title": Node(str(card["title"]), place),
            "dataset": Node(card["kind"], place),
            "dataset_options": Node(options, place, "ours: the card of the data set"),
            "methods": Node([Node(one, place) for one in methods], place),
        },
        block.place,
    )


def _laid(node: Node, place: Place, values: Mapping[tuple[str, ...], tuple[Any, str]]) -> Node:
    """The block with values at some paths, each with its source."""
    for keys, (value, source) in values.items():
        node = _with(node, keys, Node(value, place, source))
    return node


def _with(node: Node, keys: tuple[str, ...], leaf: Node) -> Node:
    inside = node.value.get(keys[0], Node({}, leaf.place))
    child = leaf if len(keys) == 1 else _with(inside, keys[1:], leaf)
    return node.with_value({**node.value, keys[0]: child})


def _artifact(node: Node, experiments: Mapping[str, Node], place: Place) -> Node:
    reads = [
        Node({"experiment": Node(name, place), "methods": one.value["methods"]}, place)
        for name, one in experiments.items()
    ]
    return node.with_value({**node.value, "reads": Node(reads, place)})


def _deferred(node: Node, epoch: Node) -> Node:
    """The methods, with what begins later than at once beginning at `epoch`."""
    if not isinstance(node.value, dict):
        return node
    changed = {
        key: epoch if key in DEFERRALS and one.value else _deferred(one, epoch) for key, one in node.value.items()
    }
    return node.with_value(changed)
