"""The variables by which the environment changes what a process does, checked before anything runs.

One that is misspelt would otherwise change nothing, and say nothing; one with a value that cannot be would be found by
the first job that reads it, hours after it was queued. Needs neither torch nor pydantic.
"""

import os
import re
from collections.abc import Mapping

from reweigh.errors import ConfigError
from reweigh.nearest import nearest
from reweigh.terminal import printable

PREFIX = "REWEIGH_"
NUMBER_FROM_1 = (r"[1-9][0-9]{0,3}", "set it to a whole number from 1, or unset it")
NUMBER_FROM_0 = (r"[0-9]{1,4}", "set it to a number of worker processes, 0 for none, or unset it")
SECONDS = (r"[0-9]+([.][0-9]*)?([eE][+-]?[0-9]{1,2})?", "write seconds, from 0 (after each step) up, or unset it")
ANYTHING = (r".*", "")

# Those for users, each with the pattern of its values, and what to write instead.
KNOWN: Mapping[str, tuple[str, str]] = {
    "REWEIGH_CHECKPOINT_SECONDS": SECONDS,
    "REWEIGH_EAGER": ANYTHING,
    "REWEIGH_LOADER_WORKERS": NUMBER_FROM_0,
    "REWEIGH_MIRROR": ANYTHING,
    "REWEIGH_PACKED": ANYTHING,
    "REWEIGH_SLOTS_PER_DEVICE": NUMBER_FROM_1,
}
# Those that a process gives to the ones that it starts.
INTERNAL = ("REWEIGH_AFRESH", "REWEIGH_ASKED_RUNS", "REWEIGH_CONFIG_CHECKED", "REWEIGH_FILL_UNTIL", "REWEIGH_LEASE")


def check(environment: Mapping[str, str] = os.environ) -> None:
    """Raise ConfigError for a variable that does not exist, with the nearest that does, and for an impossible value.

    >>> check({"REWEIGH_SLOT_PER_DEVICE": "2"})
    Traceback (most recent call last):
    reweigh.errors.ConfigError: REWEIGH_SLOT_PER_DEVICE: no such variable; did you mean 'REWEIGH_SLOTS_PER_DEVICE'?
    """
    for name, value in sorted(environment.items()):
        if not name.startswith(PREFIX) or name in INTERNAL:
            continue
        if name not in KNOWN:
            near = nearest(name.removeprefix(PREFIX), [known.removeprefix(PREFIX) for known in KNOWN])
            hint = f"did you mean {PREFIX + near!r}?" if near else f"there are {', '.join(KNOWN)}; unset it"
            raise ConfigError(f"{printable(name)}: no such variable; {hint}")
        pattern, instead = KNOWN[name]
        if value.strip() and not re.fullmatch(pattern, value.strip(), re.ASCII | re.DOTALL):
            raise ConfigError(f"{name}={printable(value)}: {instead}")
