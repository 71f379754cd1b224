"""What tests of the chain share: a config that many copies of a project have in common is loaded once."""

import pytest
from support import tampering


@pytest.fixture(scope="module", autouse=True)
def _config_loaded_once():
    with pytest.MonkeyPatch.context() as patch:
        tampering.load_once(patch)
        yield
