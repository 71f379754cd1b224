"""`reweigh check method|loss NAME`: one method or loss against what every one must hold to, a line for each check.

The tests of all methods and losses ask the same. Imports torch only when a check begins.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from reweigh.checking.options import check_options_of, require
from reweigh.config.broken import broken
from reweigh.config.cards import TEMPLATE, card_of, loss_card_of, losses, methods, plain
from reweigh.config.validation import lookup
from reweigh.errors import ConfigError, ReweighError
from reweigh.terminal import print_table

KINDS = ("method", "loss")


class Outcome(NamedTuple):
    """What a check found: `why` is empty where nothing is wrong, and `note` says what was measured."""

    check: str
    why: str
    note: str = ""

    def row(self) -> dict[str, str]:
        """As a line of the table."""
        return {"check": self.check, "": "failed" if self.why else "ok", "what": self.why or self.note}


class Asked(NamedTuple):
    """A check and what it says of itself. It fails by raising; what it returns is its note."""

    name: str
    says: str
    ask: Callable[[], str | None]


def main(kind: str, name: str) -> int:
    """Print the table of a method's or a loss's checks; 1 if one of them failed, else 0.

    Raises ConfigError for one that does not exist or cannot be imported.
    """
    lookup("kind", kind, KINDS)
    found = list(outcomes(kind, name))
    print_table([one.row() for one in found])
    failed = [one.check for one in found if one.why]
    count = f"{len(failed)} of {len(found)} checks failed: {', '.join(failed)}" if failed else "all checks passed"
    print(f"{kind} {name}: {count}")
    return int(bool(failed))


def outcomes(kind: str, name: str) -> Iterator[Outcome]:
    """The outcome of each check of a method or a loss, one after the other; stderr says which one is asked."""
    asked = list(_of_method(name) if kind == "method" else _of_loss(name))
    for place, one in enumerate(asked, 1):
        print(f"{place}/{len(asked)} {one.name}: {one.says}", file=sys.stderr, flush=True)
        try:
            yield Outcome(one.name, "", one.ask() or one.says)
        except KeyboardInterrupt:
            raise
        except Exception as error:  # whatever a method raises is what is wrong with it
            yield Outcome(one.name, _one_line(error))


class Examples:
    """A method's runs, one for each example of its card; each is made once, when a check needs it."""

    def __init__(self, name: str, card: Any, raw: Any) -> None:
        self.name, self.card, self.raw = name, card, raw
        self.runs: dict[int, Any] = {}
        self.looks: dict[int, Any] = {}

    def watched(self, number: int) -> Any:
        """The run of an example under watch. Where that failed once, no other check can ask it anything."""
        from reweigh.checking.runs import Watched

        if number not in self.runs:
            self.runs[number] = None
            self.runs[number] = Watched(self.name, self.card.examples[number], self.raw)
        require(self.runs[number] is not None, "not asked: its run failed under watch, see capture")
        return self.runs[number]

    def seen(self, number: int) -> Any:
        """What was seen in the run of an example."""
        from reweigh.checking.runs import look_at

        if number not in self.looks:
            self.looks[number] = look_at(self.name, self.card.examples[number], self.raw)
        return self.looks[number]

    def options(self, number: int) -> Any:
        """The options of an example."""
        return self.card.examples[number]

    def each(self, get: Callable[[int], Any], check: Callable[[Any], Any]) -> Callable[[], None]:
        """A check of what `get` gives for every example; its failure says of which."""
        from reweigh.checking.capture import optimiser_of_a_gpu

        def ask() -> None:
            for number, said in enumerate(self.card.examples):
                with of_example(number, len(self.card.examples), said), optimiser_of_a_gpu():
                    check(get(number))

        return ask


def _of_method(name: str) -> Iterator[Asked]:
    card, code = _found("methods", name)
    from reweigh.checking import prefixes, runs, weights
    from reweigh.data.load import read
    from reweigh.data.manifest import ensure

    ensure(runs.DATASET)
    raw = read(runs.DATASET)
    examples = Examples(name, card, raw)
    each, watched, seen = examples.each, examples.watched, examples.seen

    def way(options: Any) -> None:
        if card.stages(options, 1):
            weights.check_weights(code.Method, options, card.follows(options))

    yield Asked("options", "complete, and refuse NaN", each(examples.options, partial(check_options_of, card)))
    yield Asked("values", "a finite loss and weight for each example", each(seen, runs.check_values))
    yield Asked("learn", "learn() leaves the model as it was", each(seen, runs.check_learn))
    yield Asked("capture", "no step asks a tensor for its value", each(watched, lambda run: None))
    yield Asked("replay", "a captured step is the step", each(watched, runs.check_replay))
    yield Asked("state", "load_state() takes what state() gives", each(watched, runs.check_state))
    yield Asked("resume", "stopped and resumed it ends the same", each(watched, runs.check_resume))
    yield Asked("alone", "beside another run it ends the same", each(watched, runs.check_alone))
    prefix = each(watched, lambda run: prefixes.check_prefix(run, card))
    yield Asked("prefix", "its shared stages are what its card says", prefix)
    yield Asked("weights", "they go the way that its card says", each(examples.options, way))
    yield Asked("cost", "its step against a plain one", lambda: _cost(name, card, raw))


def _of_loss(name: str) -> Iterator[Asked]:
    card, code = _found("losses", name)
    from reweigh.checking import of_a_loss as checks

    def each(check: Callable[[Any, Any], Any]) -> Callable[[], None]:
        def ask() -> None:
            for number, said in enumerate(card.examples):
                with of_example(number, len(card.examples), said):
                    check(code.Loss, said)

        return ask

    yield Asked("options", "complete, and refuse NaN", each(lambda _, one: check_options_of(card, one)))
    yield Asked("gradient", "that of finite differences", each(checks.check_gradient))
    yield Asked("direction", "falls with the logit of the true class", each(checks.check_direction))
    yield Asked("finite", "at extreme logits too", each(checks.check_finite))
    yield Asked("single", "of an example alone", each(checks.check_single))
    yield Asked("sign", "below 0 only if its card says so", lambda: checks.check_sign(code.Loss, card))
    yield Asked("state", "state() keeps what a refresh changes", each(checks.check_state))


def _found(package: str, name: str) -> tuple[Any, Any]:
    """The card and the module of a method or a loss; the template's too. Raises ConfigError where one is not there."""
    methods(), losses()  # cards are imported, and what is wrong with one is noted
    if why := broken(package).get(name):
        raise ConfigError(why)
    if name == TEMPLATE:
        card = importlib.import_module(f"reweigh.config.{package}.{name}").CARD
    else:
        card = card_of(name) if package == "methods" else loss_card_of(name)
    try:
        return card, importlib.import_module(f"reweigh.{package}.{name}")
    except Exception as error:
        raise ConfigError(f"src/reweigh/{package}/{name}.py cannot be imported: {_one_line(error)}") from None


def _cost(name: str, card: Any, raw: Any) -> str:
    """What its step costs against plain training's, for each example of its card."""
    from reweigh.checking import runs

    reference = plain()
    against = (reference, card_of(reference).examples[0])
    ratios = [runs.cost(name, said, against, raw) for said in card.examples]
    return f"{', '.join(f'{ratio:.1f}' for ratio in ratios)} plain steps; its card assumes {card.cost:g}"


@contextmanager
def of_example(number: int, of: int, options: Any) -> Iterator[None]:
    """Say of an error by which example of the card it came, where there are several."""
    try:
        yield
    except Exception as error:
        text = f"example {number + 1} of {of}, {dict(options)}: " if of > 1 else ""
        raise AssertionError(f"{text}{_one_line(error)}") from error


def _one_line(error: BaseException, longest: int = 400) -> str:
    what = "" if isinstance(error, AssertionError | ReweighError) else f"{type(error).__name__}: "
    line = f"{what}{' '.join(str(error).split())}"
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
