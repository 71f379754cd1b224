"""Before training: remove what was kept of shared stages for runs that today's config and code do not have any more."""

from collections.abc import Iterable, Mapping
from typing import Any

from reweigh.config.cards import card_of
from reweigh.config.grid import Config
from reweigh.config.specs import SCALES
from reweigh.errors import ReweighError
from reweigh.planning.plan import everything
from reweigh.records import kept


def remove_unwanted(config: Config, specs: Iterable[Mapping[str, Any]] = ()) -> int:
    """Remove what neither a run of the config nor one of `specs` can take over; how many bytes.

    A run of the config is one of any paper and scale, extensions included, its record current or not.
    """
    folder = config.root / kept.FOLDER
    if not any(folder.glob("*.json")) and not any(folder.glob("*.p*t")):
        return 0
    if config.refused or any(config.unread.values()):  # what these want nobody can tell
        return 0
    try:
        keep = wanted(config, specs)
    except ReweighError:  # then nobody can tell
        return 0
    return kept.remove_unwanted(keep, folder)


def wanted(config: Config, specs: Iterable[Mapping[str, Any]] = ()) -> set[str]:
    """What shared stages of runs are made of (`kept.made_of`)."""
    whole = config.with_options(papers=list(config.papers), extensions=True)
    runs = [whole.resolve(run) for scale in SCALES for run in everything(whole, scale)]
    prefixes = [(spec, card_of(spec["uses"]).prefix(spec["method_options"])) for spec in (*runs, *specs)]
    return {
        kept.made_of(spec, prefix.uses, prefix.options, prefix.stages, config.root)
        for spec, prefix in prefixes
        if prefix is not None
    }
