"""The word that was meant: letters that changed places are one mistake, whatever the words have in common."""

import pytest

from reweigh.nearest import nearest


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("hrad", ["har", "hard", "er"], "hard"),
        ("tset", ["set", "test"], "test"),
        ("rho0.5", ["rho0.1", "rho0.05"], "rho0.05"),
        ("TDR", ["er", "tdr"], "tdr"),
        ("mnsit", ["nexrad", "mnist"], "mnist"),
        ("sacle", ["seed", "scale", "place"], "scale"),
        ("outer_evry", ["outer_rate", "outer_every"], "outer_every"),
        ("er", ["tdr", "er_slow"], None),
        ("xyzzy", ["tdr", "er"], None),
        ("", ["tdr"], None),
        ("tdr", [], None),
    ],
)
def test_the_nearest_word(word, known, meant):
    assert nearest(word, known) == meant
