"""The nearest of some known words, to end an error with. Imports little, and that late: it is for mistakes only."""

from collections.abc import Iterable

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
    near = [name for name in names if steps[name] <= max(1, len(word) // OF_LETTERS)]
    if near:
        return min(near, key=lambda name: (steps[name], abs(len(name) - len(word)), -alike[name]))
    best = max(names, key=lambda name: alike[name], default=None)
    return best if best is not None and alike[best] >= ALIKE else None


def typing_mistakes(one: str, other: str) -> int:
    """How many letters were left out, added, mistaken for another, or put before their neighbour (Damerau 1964).

    >>> typing_mistakes("hrad", "hard"), typing_mistakes("tdrr", "tdr"), typing_mistakes("er", "tdr")
    (1, 1, 2)
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        above, before, row = before, row, [i]
        for j, theirs in enumerate(other, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != theirs)))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == theirs:
                row[j] = min(row[j], above[j - 2] + 1)
    return row[-1]
