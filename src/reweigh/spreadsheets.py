"""Tables that are opened in a spreadsheet: a text that one would take for a formula stands behind an apostrophe.

    cell("=1+1")                  # "'=1+1", in every csv that is written
    plain("'=1+1")                # "=1+1", wherever one is read again
    lines(csv.DictReader(file))   # all lines, read so

Titles of methods, names of classes and of a user's own data are texts of others. A number stays one, also with a sign.
"""

import csv
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # planning reads tables, and does without
    import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a formula begins in one program or another
TEXT = "'"


def cell(text: str) -> str:
    """A text as it is written to a table; `plain` gives it back.

    >>> [cell(text) for text in ("=HYPERLINK(1)", "-2.5e-3", "-infinity and beyond", "a=b", "'tis")]
    ["'=HYPERLINK(1)", '-2.5e-3', "'-infinity and beyond", 'a=b', "''tis"]
    """
    return TEXT + text if text.startswith(TEXT) or is_formula(text) else text


def plain(text: str) -> str:
    """The text that a cell stands for.

    >>> plain("'=HYPERLINK(1)"), plain("-2.5"), plain("5'")
    ('=HYPERLINK(1)', '-2.5', "5'")
    """
    return text.removeprefix(TEXT)


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would compute what a text says. A number it takes for one.

    >>> is_formula("@SUM(1)"), is_formula("-1"), is_formula("-1+cmd")
    (True, False, True)
    """
    if not text.startswith(FORMULA):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return not text.isprintable()


def cells(frame: "pd.DataFrame") -> "pd.DataFrame":
    """A data frame with its texts as they are written to a table."""
    texts = [name for name in frame if frame[name].dtype.kind not in "biuf"]
    written = {name: frame[name].map(lambda one: cell(one) if isinstance(one, str) else one) for name in texts}
    return frame.assign(**written)


def lines(reader: "csv.DictReader[str]") -> list[dict[str, Any]]:
    """The lines of a table, with the texts that its cells stand for. Raises ValueError if it is none."""
    try:
        return [{key: plain(one) if isinstance(one, str) else one for key, one in line.items()} for line in reader]
    except csv.Error as error:
        raise ValueError(f"no csv ({error})") from None
