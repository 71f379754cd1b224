"""What an audit cannot look at: a full or failing disk, a file of somebody else, a limit of the shell.

None of these says anything of what a file holds. So what rests on it is unverifiable, with the system's reason, and
never broken, which would send its reader to git for nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import ParamSpec, TypeVar

from reweigh.os_errors import UnseenError, hides, place, unseen
from reweigh.provenance.audit.links import Link

Given = ParamSpec("Given")
Verdict = TypeVar("Verdict", bound=tuple[str, str] | None)


def looked(check: Callable[Given, Verdict], *given: Given.args, **named: Given.kwargs) -> Verdict | tuple[str, str]:
    """What a check says, a state and a detail; unverifiable where the system lets it look at nothing.

    >>> looked(lambda: ("intact", ""))
    ('intact', '')
    """
    try:
        return check(*given, **named)
    except UnseenError as error:
        return "unverifiable", str(error)
    except OSError as error:
        if not hides(error):
            raise
        return "unverifiable", str(unseen(error))


def seen(
    kind: str, links: Callable[Given, Iterable[Link]], *given: Given.args, **named: Given.kwargs
) -> Iterator[Link]:
    """The links of a check, with one of its kind that is unverifiable in place of those that it could not look at."""
    try:
        yield from links(*given, **named)
    except UnseenError as error:
        yield Link(kind, kind, "unverifiable", str(error))
    except OSError as error:
        if not hides(error):
            raise
        yield Link(kind, place(error) or kind, "unverifiable", str(unseen(error)))
