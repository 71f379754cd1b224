"""What a call of Snakemake says of a kind of rules: `--set-resources train:runtime=60`, `--groups render=figures`.

Snakemake asks for the names of single rules, and here each seed batch and each artifact has a rule of its own.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def spread(workflow: Any, kinds: Mapping[str, list[str]]) -> None:
    """Have Snakemake's `workflow` take what is said of a kind (train, split, render) for each of its rules, by name.

    What is said of a single rule wins.
    """
    resources, groups = workflow.resource_settings, workflow.group_settings
    own = {  # Snakemake gives what it has parsed as objects of its own
        rule: {name: getattr(value, "raw", value) for name, value in values.items()}
        for rule, values in resources.overwrite_resources.items()
    }
    resources.overwrite_resources = {
        rule: {**values, **own.get(rule, {})} for rule, values in by_rule(own, kinds).items()
    }
    groups.overwrite_groups = {**by_rule(groups.overwrite_groups, kinds), **groups.overwrite_groups}


def by_rule(said: Mapping[str, T], kinds: Mapping[str, list[str]]) -> dict[str, T]:
    """What is said, by rule: the name of a kind stands for all of its rules.

    >>> by_rule({"train": 60, "score": 5}, {"train": ["train_seed_0", "train_seed_1"]})
    {'train': 60, 'score': 5, 'train_seed_0': 60, 'train_seed_1': 60}
    """
    return {**said, **{name: said[kind] for kind, names in kinds.items() if kind in said for name in names}}
