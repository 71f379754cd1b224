"""Whether the stages that a method has in common with others, as its prefix says, are what it trains itself."""

from typing import Any

from reweigh.checking.options import card_module, checked_by, leaves, require, value_at, with_value
from reweigh.checking.runs import Watched, in_bytes, outcome, run_of, state_after


def check_prefix(watched: Watched, card: Any) -> None:
    """The first stages are what the prefix says, bit for bit, and all that the others need is in what those leave.

    The key of a shared file knows `uses` and `options` alone. So an option that the prefix forgets, a hook that the
    method overrides or a tensor that it keeps beside the state of `uses` would make the order of training decide.
    """
    prefix = watched.prefix
    said = card.prefix(watched.options)
    stated = prefix and (prefix.stages, prefix.uses, prefix.options)
    require(said == stated, f"the card has the prefix {said}, the method {stated}")
    if prefix is None or watched.shared is None:
        return
    its_card = getattr(card_module("methods", prefix.uses), "CARD", None)
    if its_card is not None:  # else a module that several methods are made of, which no config names
        checked_by(its_card, dict(prefix.options), f"prefix of {watched.uses}: options of {prefix.uses}")
    check_what_prefix_leaves_out(card)
    theirs = state_after(run_of(prefix.uses, prefix.options, watched.raw), prefix.stages)
    own = {**watched.shared, "method": {key: watched.shared["method"].get(key) for key in theirs["method"]}}
    for what in (key for key in theirs if key != "seconds"):
        text = f"{prefix.uses} with {prefix.options} does not train the same stages: {what} differs"
        require(in_bytes(own[what]) == in_bytes(theirs[what]), text)
    run = run_of(watched.uses, watched.options, watched.raw)
    run.load_state(theirs)
    run.finish()
    text = f"after stages that {prefix.uses} trained it ends otherwise: it remembers what they do not leave"
    require(outcome(run) == watched.outcome, text)


def check_what_prefix_leaves_out(card: Any) -> None:
    """Of an option that the prefix does not hand on, some example says something else than the prefix does.

    Without one, training both ways is training the same thing, and would not show that the stages depend on it.
    """
    told = [(options, card.prefix(options).options) for options in card.examples if card.prefix(options)]
    for options, _ in told:
        for path in leaves(options):
            mark = object()
            try:
                marked = card.prefix(with_value(options, path, mark)).options
            except (TypeError, AttributeError):  # whether there is a prefix depends on the value, which is no object
                marked = {}
            handed_on = any(value_at(marked, place) is mark for place in leaves(marked))
            differs = any(value_at(first, path) != value_at(said, path) for said, first in told)
            name = ".".join(path)
            text = f"no example has another {name} than its prefix, which does not hand it on"
            require(handed_on or differs, text)
