import pytest
from support import small_problem


@pytest.fixture
def problem():
    return small_problem.problem()
