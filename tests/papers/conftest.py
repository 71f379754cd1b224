"""What the tests of each paper's config ask for."""

import csv

import pytest
from support.project import ROOT


@pytest.fixture(scope="module")
def extended(config):
    """The config with all runs that the papers do not have."""
    return config.with_options(extensions=True)


@pytest.fixture(scope="module")
def published(config):
    """A function from a paper to its published numbers."""

    def read(paper):
        with (ROOT / config.paper(paper).published.file).open(newline="") as lines:
            return list(csv.DictReader(lines))

    return read
