"""Cards: what the rest of the program must know of a method or a loss, in one place each, found by being there.

    card_of("tdr").options          # the pydantic model of its options, with their ranges
    check_options("tdr", {...}, "config/papers/tdr/methods.yaml:4: methods.tdr.options")
    methods(), losses()             # every card, by the name of its module

The card of `reweigh/methods/NAME.py` is `CARD` in `reweigh/config/methods/NAME.py`; losses alike. No other module names
a method or a loss. Cards import no torch: planning reads them. A module here without a `CARD` holds what several share.
Those of other distributions are found by their entry points (`reweigh.plugins`).
"""

import contextlib
import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from reweigh import plugins
from reweigh.config.broken import check_card, note_card
from reweigh.config.specs import Frozen, Layout
from reweigh.config.validation import lookup, validated
from reweigh.digest import PACKAGE
from reweigh.errors import ConfigError
from reweigh.listing import visible

Options = Mapping[str, Any]  # the options of a method or a loss, as a spec states them
Sign = int | None  # -1, 0, 1; None: either way
TEMPLATE = "template"  # shows how a method or a loss is written; tested like any, but no config may name it


class PlannedStage(NamedTuple):
    """A stage of training as far as its cost goes (compare `reweigh.methods.base.Stage`)."""

    epochs: int
    sampling: str = "uniform"  # one of reweigh.data.sampling
    batch_size: int | None = None  # None: that of the spec's training block
    train: str = "all"  # what is trained, as in Stage: all, or a part of the head
    part: str = "train"  # what it trains on, as in Stage
    share: float = 1.0  # of members: what share of their part they are, however the method rounds it
    members: Callable[[Sequence[int]], Sequence[int]] | None = None  # how many of each class of so many; None: unknown
    listed: Callable[[int], int] | None = None  # of members: how many of so many, whatever their classes; None: unknown

    @property
    def lists(self) -> bool:
        """Whether the method lists the examples that it trains on."""
        return self.part.startswith("members")

    @property
    def whole(self) -> str:
        """The part that it trains on, or from which the method lists examples."""
        return {"members": "train"}.get(self.part, self.part.removeprefix("members of "))


class PlannedPrefix(NamedTuple):
    """The first `stages` stages, which runs of several methods may share (compare `reweigh.methods.base.Prefix`)."""

    stages: int
    uses: str
    options: Options


class Look(NamedTuple):
    """How a method looks in every figure: colour, matplotlib's marker, and whether that is hollow."""

    colour: str
    marker: str
    hollow: bool = False


class BenchEntry(NamedTuple):
    """What `reweigh bench` gives a method: the title of its line, and the options that its step is timed with."""

    title: str
    options: Options


class Needs(NamedTuple):
    """What a method or a loss needs of a run beside its options; a config without it is refused (`config/needs.py`).

    `groups` "any": weights are by a group attribute, or the split says on purpose that they are by class
    (`weights_by`); "cells": the groups are cells of class and attribute.
    """

    head: Literal["cosine", "linear"] | None = None  # of the model; None: either
    target: bool = False  # a target set
    groups: Literal["any", "cells"] | None = None
    validation: bool = False  # examples held out of the training set


def one_stage(options: Options, epochs: int) -> list[PlannedStage]:
    """The stages of a method that trains the whole model once."""
    return [PlannedStage(epochs)]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the rest must know of a method. Functions take the method's options as a spec states them.

    `follows` says which way the weight of an example goes, as a share of its batch's: 1 up, -1 down, 0 (or left out)
    not at all, None either way, as it learns; tests/methods/test_every_method.py measures it.

    "loss"      as its own loss grows
    "rarity"    as its class (or group) gets rarer in the training set; class weights in the loss count
    "target"    as its class takes the place of another in the target set
    """

    options: type[Frozen]
    examples: tuple[Options, ...]  # complete options to test it with: one for each thing that its step can do
    follows: Callable[[Options], Mapping[str, Sign]] = lambda options: {}
    stages: Callable[[Options, int], list[PlannedStage]] = one_stage  # of a run of so many `training.epochs`
    prefix: Callable[[Options], PlannedPrefix | None] = lambda options: None  # stages that other runs may have too
    # What trains the same, bit for bit, on classes of these sizes; and what is wrong with the arrays of a run on them.
    same_as: Callable[[Options, Sequence[int]], tuple[str, Options] | None] = lambda options, sizes: None
    contradicts: Callable[[Options, Sequence[int], Mapping[str, Any]], str] = lambda options, sizes, logged: ""
    traces: Callable[[Options, int], set[str]] = lambda options, steps: set()  # arrays that a finished run has logged
    needs: Callable[[Options], Needs] = lambda options: Needs()
    signed_weights: bool = False  # whether the weights of a batch may sum to less than 0
    plain: bool = False  # whether it is plain training, which costs are measured against; of one method alone
    layout: Callable[[Options], Layout] = lambda options: "channels-last"  # of images in memory, which its step wants
    precisions: tuple[str, ...] = ("fp32", "tf32", "bf16")  # of the training block, in which its step is right
    cycle: Callable[[Options], int] = lambda options: 1  # it learns every so many steps, which decides their mean cost
    cost: float = 1.0  # assumed time of its step, in plain steps, where nothing was measured
    bench: BenchEntry | None = None
    look: Callable[[Options], Look | None] = lambda options: None  # None: a spare colour, chosen by its paper's list


@dataclass(frozen=True, kw_only=True)
class LossCard:
    """What the rest must know of a loss: its options, examples of them to test it with, whether it may be below 0."""

    options: type[Frozen]
    examples: tuple[Options, ...]
    needs: Callable[[Options], Needs] = lambda options: Needs()
    signed: bool = False


# --- finding ---------------------------------------------------------------------------------------------------------


def methods() -> dict[str, Card]:
    """The cards of all methods, by module, in alphabetical order; without the template's."""
    return {name: card for name, card in _cards("methods").items() if name != TEMPLATE}


def losses() -> dict[str, LossCard]:
    """The cards of all losses, by module, in alphabetical order; without the template's."""
    return {name: card for name, card in _cards("losses").items() if name != TEMPLATE}


def card_of(method: str, where: str = "") -> Card:
    """The card of a method. Raises ConfigError, beginning with `where`, if there is no such method or no card of it."""
    found: Card = _card("method", method, methods(), where)
    return found


def loss_card_of(loss: str, where: str = "") -> LossCard:
    """The card of a loss. Raises ConfigError, beginning with `where`, if there is no such loss, or no card of it."""
    found: LossCard = _card("loss", loss, losses(), where)
    return found


@functools.cache
def plain() -> str:
    """The method that is plain training."""
    return next(name for name, card in methods().items() if card.plain)


def _card(what: str, name: str, cards: Mapping[str, Any], where: str) -> Any:
    if name in cards:
        return cards[name]
    package = {"method": "methods", "loss": "losses"}[what]
    if name in plugins.named(package):
        plugins.card(package, name)  # says what is wrong with it
    check_card(package, name, where)
    code, card = PACKAGE / package / f"{name}.py", PACKAGE / "config" / package / f"{name}.py"
    if name.isidentifier() and code.is_file() and not card.is_file():
        raise ConfigError(
            f"{where}{': ' if where else ''}{what} {name!r} has no card: write src/reweigh/config/{package}/{name}.py, "
            f"its options with their ranges in `CARD`, as {TEMPLATE}.py beside it shows"
        )
    return lookup(what, name, cards, where)


@functools.cache
def _cards(package: str) -> dict[str, Any]:
    """Every `CARD` of a package of cards, of which the code is there too."""
    cards = {}
    for path in visible(PACKAGE / "config" / package, "[a-z]*.py"):
        try:
            module = importlib.import_module(f"reweigh.config.{package}.{path.stem}")
        except Exception as error:  # of one card: said by whoever needs it, and no fault of the others
            note_card(package, path, error)
            continue
        if hasattr(module, "CARD") and (PACKAGE / package / path.name).is_file():
            cards[path.stem] = module.CARD
    for name in plugins.named(package):
        with contextlib.suppress(ConfigError):  # it is said where its name is asked for, and breaks no other
            cards[name] = plugins.card(package, name)
    return dict(sorted(cards.items()))


# --- checking --------------------------------------------------------------------------------------------------------


def check_options(method: str, options: Options, where: str) -> dict[str, Any]:
    """All options of a method, as a spec states them. Raises ConfigError, beginning with `where`, at what cannot be."""
    checked = validated(card_of(method, where).options, dict(options), where).model_dump()
    check_loss(checked.get("loss"), f"{where}.loss")
    return checked


def check_loss(loss: Options | None, where: str) -> None:
    """A loss in a method's options, {"name": ..., its options}, must exist and state what its card asks for.

    A spec holds exactly what the config says of a loss: no default is filled in, no number converted.
    """
    if loss is None:
        return
    if "name" not in loss:
        raise ConfigError(f"{where}: has no name; known: {', '.join(losses())}")
    options = {key: value for key, value in loss.items() if key != "name"}
    validated(loss_card_of(str(loss["name"]), where).options, options, where)
