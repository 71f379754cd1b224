"""The nearest of some known words, to end an error with. Imports little, and that late: it is for mistakes only."""

from collections.abc import Iterable

# What a mistake counts: all about one, and of two words with as many, the one with the likelier mistake is nearer.
SWAPPED, LEFT_OUT, MISTAKEN = 0.9, 1.0, 1.1
OF_LETTERS = 3  # a word is near if at most a third of its letters are wrong, and one may always be
ALIKE = 0.5  # else, the share that it has in common with another, by difflib


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant; None if none is near.

    >>> nearest("hrad", ["har", "hard"]), nearest("tset", ["set", "test"]), nearest("xyz", ["har", "hard"])
    ('hard', 'test', None)
    """
    import difflib

    names, low = list(dict.fromkeys(map(str, known))), word.lower()
    alike = {name: difflib.SequenceMatcher(None, name.lower(), low).ratio() for name in names}
    steps = {name: typing_mistakes(low, name.lower()) for name in names}
    most = MISTAKEN * max(1, len(word) // OF_LETTERS)
    if near := [name for name in names if steps[name] <= most]:
        return min(near, key=lambda name: (steps[name], -alike[name]))
    best = max(names, key=lambda name: alike[name], default=None)
    return best if best is not None and alike[best] >= ALIKE else None


def typing_mistakes(one: str, other: str) -> float:
    """How many letters are swapped with a neighbour, left out or added, or mistaken for another (Damerau 1964).

    >>> typing_mistakes("hrad", "hard"), typing_mistakes("tdrr", "tdr"), typing_mistakes("tdx", "tdr")
    (0.9, 1.0, 1.1)
    """
    before: list[float] = []
    row = [LEFT_OUT * place for place in range(len(other) + 1)]
    for i, letter in enumerate(one, 1):
        above, before, row = before, row, [LEFT_OUT * i]
        for j, theirs in enumerate(other, 1):
            mistaken = before[j - 1] + (MISTAKEN if letter != theirs else 0)
            row.append(min(before[j] + LEFT_OUT, row[j - 1] + LEFT_OUT, mistaken))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == theirs:
                row[j] = min(row[j], above[j - 2] + SWAPPED)
    return row[-1]
