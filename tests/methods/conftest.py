import pytest
import torch
from support import small_problem


@pytest.fixture
def problem():
    return small_problem.problem()


@pytest.fixture
def single_as_double(monkeypatch):
    """Methods take losses in single precision; have all of it in float64."""
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)
