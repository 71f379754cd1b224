"""`reweigh doctor`: who holds the devices."""

import pytest

from reweigh.planning import doctor
from reweigh.training.device import UNNAMED


@pytest.mark.parametrize(
    ("process", "said"),
    [(None, "free"), (17, "held by process 17"), (UNNAMED, "held by a process that has not said which")],
)
def test_a_device_is_free_or_held(monkeypatch, process, said):
    monkeypatch.setattr(doctor, "holders", lambda: [("0", process)])
    assert dict(doctor.facts())["GPU 0"] == said
