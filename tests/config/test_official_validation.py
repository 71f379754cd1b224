"""An experiment on a data set's own validation part chooses options, and has no say in claims or published numbers."""

import re

import pytest

from reweigh.config import references
from reweigh.config.claim import Claim
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.config.models import Experiment, Tuned
from reweigh.errors import ConfigError


@pytest.fixture
def paper(tdr_project):
    """TDR, one of whose experiments measures on an official validation part."""
    config: Config = load(tdr_project)
    content = config.papers["tdr"]
    one = content.experiments["adult"]
    chosen = one.model_copy(update={"dataset_options": {"official_validation": True}})
    return content.model_copy(update={"experiments": {**content.experiments, "adult": chosen}})


def test_a_claim_may_not_name_it(paper):
    (claim, *_) = (one for one in paper.claims if one.experiment == "adult")
    assert isinstance(claim, Claim)
    with pytest.raises(ConfigError, match=r"^here: .*measures on the official validation part; name another one$"):
        references._check_claim("here", paper, claim)
    references._check_claim("here", paper, next(one for one in paper.claims if one.experiment != "adult"))


def test_a_rule_of_tuning_may(paper):
    rule = Tuned(experiment="adult", method="tdr", metric="group_balanced_error", takes=["target"], used_by=[])
    references._check_tuned("here", paper, rule)
    other: Experiment = paper.experiments["adult"].model_copy(update={"dataset_options": {}})
    plain = paper.model_copy(update={"experiments": {**paper.experiments, "adult": other}})
    with pytest.raises(ConfigError, match=re.escape("here: adult measures on the test set")):
        references._check_tuned("here", plain, rule)


def test_a_published_number_may_not(paper, tdr_project):
    config = load(tdr_project)
    with pytest.raises(ConfigError, match="measures on the official validation part"):
        references._check_published(config, "tdr", paper)
