"""The README's picture shows what the records in git say."""

import one_number
from support.project import ROOT


def test_the_picture_of_one_number_is_current():
    assert one_number.shown_in(ROOT / one_number.PICTURE) == one_number.digest(one_number.material()), "make pictures"


def test_the_picture_shows_every_rare_example_of_the_split():
    told = one_number.material()
    assert len(told["split"]["rare"]) == told["split"]["sizes"]["train"][0]


def test_another_record_makes_the_picture_old():
    told = one_number.material()
    changed = {**told, "record": {**told["record"], "accuracy": 0.5}}
    assert one_number.digest(changed) != one_number.digest(told)
