"""What methods and losses need of a run is on their cards, and a config without it is refused in one line."""

import copy
import re

import pytest
from support.config_files import replace

from reweigh.config import needs
from reweigh.config.cards import Needs, card_of, losses, methods
from reweigh.config.loading import load
from reweigh.config.losses.objectives import BY_CELL
from reweigh.config.methods.thresholded import BY_LOSSES
from reweigh.errors import ConfigError
from reweigh.losses import objectives
from reweigh.models import layers

PLAIN = {"loss": None, "class_balance": None, "sampling": "uniform", "rate_factor": None}
LDAM = {"name": "ldam", "max_margin": 0.5, "scale": 30.0}
DRO = card_of("group_dro").examples[0]
BLEND = card_of("blend").examples[1]
SEARCH = card_of("autobalance").examples[0]
TAU = card_of("tau_norm").examples[0]
CELLS = "needs groups that are cells of class and attribute"
NO_GROUPS = (
    "group_dro needs groups, and those of a split of kind all are its classes; use kind groups or weights_by: group, "
    "or say weights_by: class if classes are meant"
)


def refusal(uses, options, head=None, dataset="adult", **split):
    """What is refused of a small spec, without the place that it begins with; None if nothing is."""
    spec = {
        "uses": uses,
        "method_options": options,
        "training": {"epochs": 2},
        "model": {"name": "mlp", "options": {} if head is None else {"head": head}},
        "data": {"dataset": dataset, "split": {"kind": "all", "target_size": 0, "validation_size": 0, **split}},
    }
    before = copy.deepcopy(spec)
    said = None
    try:
        needs.check(spec, "here")
    except ConfigError as error:
        said = str(error)
    assert spec == before and (said is None or (said.startswith("here: ") and "\n" not in said))
    return said and said.removeprefix("here: ")


@pytest.mark.parametrize(
    ("head", "loss", "says"),
    [
        (None, LDAM, True),
        ("linear", LDAM, True),
        ("cosine", LDAM, False),
        (None, {**LDAM, "normalise_logits": True}, True),
        ("cosine", {**LDAM, "normalise_logits": True}, False),
        (None, {"name": "focal", "gamma": 1.0, "weight_leaks": False}, False),
        (None, None, False),
    ],
)
def test_a_loss_of_cosines_needs_a_cosine_head(head, loss, says):
    line = (
        "loss ldam needs a cosine head (logits from -1 to 1), model mlp has a linear one; set model.options.head: "
        "cosine"
    )
    assert refusal("sgd", {**PLAIN, "loss": loss}, head) == (line if says else None)


def test_a_method_that_rescales_a_linear_head_needs_one():
    line = "tau_norm needs a linear head, model mlp has a cosine one; set model.options.head: linear"
    assert refusal("tau_norm", TAU, "cosine", validation_size=10) == line
    assert refusal("tau_norm", TAU, validation_size=10) is None


def test_a_search_that_solves_a_linear_model_needs_one():
    exact = {**SEARCH, "solver": "exact", "damping": 0.1}
    line = "autobalance needs a linear head, model mlp has a cosine one; set model.options.head: linear"
    assert refusal("autobalance", exact, "cosine", validation_size=10) == line
    assert refusal("autobalance", SEARCH, "cosine", validation_size=10) is None


def test_a_head_that_does_not_exist_is_refused():
    assert refusal("sgd", PLAIN, "cosin") == "model mlp has no head 'cosin'; use linear or cosine"
    assert needs.HEADS == layers.HEADS


@pytest.mark.parametrize(
    ("uses", "options", "split", "says"),
    [
        ("group_dro", DRO, {}, NO_GROUPS),
        ("group_dro", DRO, {"weights_by": "group"}, None),
        ("group_dro", DRO, {"weights_by": "class"}, None),  # classes on purpose
        ("group_dro", DRO, {"kind": "groups"}, None),
        ("group_dro", DRO, {"kind": "groups", "weights_by": "class"}, None),
        ("group_dro", {**DRO, "threshold": BY_LOSSES}, {"kind": "groups"}, None),
        (
            "group_dro",
            {**DRO, "threshold": {**BY_LOSSES, "objective": {"ce_deo": 1.0}}},
            {"kind": "groups"},
            f"group_dro {CELLS}, and adult has 2 groups of 2 classes",
        ),
        ("blend", BLEND, {"validation_size": 10}, None),
        (
            "blend",
            {**BLEND, "objective": {"ce_bal_g": 1.0}},
            {"validation_size": 10},
            f"blend {CELLS}, and here they are the classes; use kind groups or weights_by: group",
        ),
        (
            "autobalance",
            {**SEARCH, "by": "cell"},
            {"kind": "groups", "weights_by": "class", "validation_size": 10},
            f"autobalance {CELLS}, and here they are the classes; use kind groups or weights_by: group",
        ),
    ],
)
def test_groups_that_weights_are_not_by_are_refused(uses, options, split, says):
    assert refusal(uses, options, **split) == says


def test_the_cells_of_waterbirds_are_cells():
    cells = {**BLEND, "objective": {"ce_deo": 1.0}}
    assert refusal("blend", cells, dataset="waterbirds", kind="groups", validation_size=10) is None
    assert refusal("blend", cells, dataset="somebody-s", kind="groups", validation_size=10) is None  # not known here
    assert BY_CELL == objectives.BY_CELL


@pytest.mark.parametrize("name", methods())
def test_what_a_card_says_of_the_target_set_and_of_weights_agrees(name):
    """Whose weights follow the target set needs one, and needs are those of the options, as a spec states them."""
    card = methods()[name]
    for options in card.examples:
        found = card.needs(options)
        assert isinstance(found, Needs)
        assert found.target == (card.follows(options).get("target", 0) != 0)


@pytest.mark.parametrize("name", losses())
def test_a_loss_asks_for_no_more_than_a_head(name):
    for options in losses()[name].examples:
        assert losses()[name].needs(options)._replace(head=None) == Needs()


def test_it_is_refused_as_a_config_is_loaded_with_file_and_line(project):
    path = "config/papers/absgd/methods/imbalance.yaml"
    replace(project, "model: { like: cosine-head }", "model: {}", path)
    with pytest.raises(ConfigError) as error:
        load(project)
    said = str(error.value)
    assert re.match(r"config/papers/absgd/experiments/\w+\.yaml:\d+: experiments\.\S+, \S+, scale paper, method ", said)
    assert "ldam: loss ldam needs a cosine head (logits from -1 to 1), model resnet32 has a linear one" in said
    assert "\n" not in said


KIND = 'kind: { value: groups, source: "paper §4.3" }'


def test_what_weights_are_by_is_a_key_of_the_split(project):
    path = "config/papers/tdr/experiments/adult.yaml"
    plain = load(project).resolve("paper/tdr/adult/sex/tdr/seed0")["data"]["split"]
    replace(project, KIND, f"{KIND}\n      weights_by: {{ value: class, source: ours }}", path)
    split = load(project).resolve("paper/tdr/adult/sex/tdr/seed0")["data"]["split"]
    assert split == {**plain, "weights_by": "class"} and "weights_by" not in plain


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("group", r": weights_by group needs a data set that has groups, mnist has none; use class$"),
        ("sex", r"weights_by"),
    ],
)
def test_weights_by_groups_that_there_are_not_are_refused(project, said, says):
    kind = "kind: { value: two-class"
    path = "config/papers/tdr/experiments/mnist.yaml"
    replace(project, kind, f"weights_by: {{ value: {said}, source: ours }}\n      {kind}", path)
    with pytest.raises(ConfigError, match=says) as error:
        load(project)
    assert str(error.value).startswith("config/papers/tdr/experiments/mnist.yaml:") and "\n" not in str(error.value)
