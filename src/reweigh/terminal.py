"""Where commands print, tables that several of them print, and texts that are safe to print."""

import contextlib
import os
import sys
from typing import Any
from unicodedata import category

OBEYED = ("Cc", "Cf", "Cs")  # Unicode's control and format characters, and surrogates

READER_LEFT = 141  # 128 + SIGPIPE: what a shell says of a program that ended because nobody reads it any more


def console(wide: int, **options: Any) -> Any:
    """rich's console for stdout. Where that is a file or a pipe, which has no width, its lines have `wide` characters.

    Whether it has colours there is another question, which the environment may answer (FORCE_COLOR).
    """
    from rich.console import Console

    class Plain(Console):
        """Shows each text as it is: no [bold], no :smile:, and nothing that a terminal obeys. Styles are options."""

        def render_str(self, text: str, **how: Any) -> Any:
            return super().render_str(harmless(text), **how)

    return Plain(width=None if sys.stdout.isatty() else wide, markup=False, emoji=False, **options)


def harmless(text: str) -> str:
    """A text of one line or several in which characters that a terminal obeys, and halves of characters, are escaped.

    >>> harmless("a\\x1b[31mb\\nc")
    'a\\\\x1b[31mb\\nc'
    """
    if text.isprintable():
        return text
    return "".join(ascii(one)[1:-1] if one != "\n" and category(one) in OBEYED else one for one in text)


def say(text: object = "", err: bool = False) -> None:
    """Print a text in which there may be words of others, from files and their names, without what a terminal obeys."""
    print(harmless(str(text)), file=sys.stderr if err else sys.stdout, flush=True)


def print_all_letters() -> None:
    """From now on print `?` for what the terminal's encoding lacks: ISO-8859-1 has no box, ASCII no é.

    Where a stream was closed (`>&-`), what is printed there is lost, and no file that is opened later takes its place.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                os.fstat(number)
                continue
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            stream = open(number, "w" if number else "r", encoding="utf-8")  # noqa: SIM115 - as long as the process
            setattr(sys, name, stream)
    for shown in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # another's object, or closed
            shown.reconfigure(errors="replace")  # type: ignore[union-attr]


def flushed() -> OSError | None:
    """Print what is still to be printed; the error if that cannot be done. Python then tries no more at its end."""
    failed = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            failed = failed or (error if isinstance(error, OSError) else None)
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
    return failed


def printable(text: str | os.PathLike[str]) -> str:
    """A text or a path in one line that a terminal shows and does not obey: what cannot be printed is escaped.

    >>> printable("été\\n")
    'été\\\\n'
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in os.fspath(text))


def dataset_rows(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The rows of `manifest.status`, shortened for a terminal."""
    return [
        {
            "data set": row["dataset"],
            "edition": row["edition"] or "",
            "where": row["where"],
            "MiB": f"{row['bytes'] / 2**20:,.0f}" if row["bytes"] else "",
            "missing": f"{len(row['missing'])} files" if len(row["missing"]) > 1 else "".join(row["missing"]),
            "to get it": "" if row["where"] == "raw" else row["how"],
        }
        for row in rows
    ]


def print_table(rows: list[dict[str, str]]) -> None:
    """Print rows (dicts with the same keys) as a table, letter by letter: what looks like markup is none.

    Only the last column may wrap.
    """
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    *firm, last = rows[0]
    for key in firm:
        shown.add_column(key, no_wrap=True)
    shown.add_column(last, overflow="fold")
    for row in rows:
        shown.add_row(*row.values())
    console(wide=160).print(shown, highlight=False)
