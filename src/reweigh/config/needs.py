"""What methods and losses need of a run, against what it has: a head, a target set, groups, examples held out."""

from typing import Any

from reweigh.config.cards import Needs, card_of, loss_card_of
from reweigh.config.known_sizes import CLASSES, GROUP_SIZES
from reweigh.data.groups import by_attribute
from reweigh.data.imbalance import holds_out
from reweigh.errors import ConfigError

HEADS = ("linear", "cosine")  # of every model; `reweigh.models.layers`, which imports torch, has them too
IS_WHAT = {"cosine": "a cosine head (logits from -1 to 1)", "linear": "a linear head"}


def check(spec: dict[str, Any], where: str) -> None:
    """Raise ConfigError, beginning with `where`, for what a spec's method or loss needs and the run has not."""
    options = spec["method_options"]
    _check_head_exists(spec["model"], where)
    asked: dict[str, Needs] = {spec["uses"]: card_of(spec["uses"]).needs(options)}
    if loss := options.get("loss"):
        asked[f"loss {loss['name']}"] = loss_card_of(loss["name"]).needs(loss)
    for who, needs in asked.items():
        _check_head(spec["model"], who, needs, where)
        _check_groups(spec["data"], who, needs, where)
        if needs.target and not spec["data"]["split"]["target_size"]:
            raise ConfigError(f"{where}: {who} learns from a target set, but target_size is 0; ask for some")
    parts = _parts(spec)
    _check_stages(spec, parts, where)
    for who, needs in asked.items():
        if (needs.validation or "train+validation" in parts) and not holds_out(spec["data"]["split"]):
            raise ConfigError(
                f"{where}: {who} needs examples held out of the training set; set validation_size or validation_share"
            )


def _check_head_exists(model: dict[str, Any], where: str) -> None:
    if (head := model["options"].get("head", HEADS[0])) not in HEADS:
        raise ConfigError(f"{where}: model {model['name']} has no head {head!r}; use {' or '.join(HEADS)}")


def _check_head(model: dict[str, Any], who: str, needs: Needs, where: str) -> None:
    if needs.head not in (None, head := model["options"].get("head", HEADS[0])):
        raise ConfigError(
            f"{where}: {who} needs {IS_WHAT[str(needs.head)]}, model {model['name']} has a {head} one; set "
            f"model.options.head: {needs.head}"
        )


def _check_groups(data: dict[str, Any], who: str, needs: Needs, where: str) -> None:
    """Groups that weights are by. Whether they are cells is known of data sets whose groups are counted here."""
    split, dataset = data["split"], data["dataset"]
    grouped = by_attribute(split)
    if needs.groups == "any" and not grouped and split.get("weights_by") is None:
        raise ConfigError(
            f"{where}: {who} needs groups, and those of a split of kind {split['kind']} are its classes; use kind "
            "groups or weights_by: group, or say weights_by: class if classes are meant"
        )
    if needs.groups != "cells":
        return
    if not grouped:
        raise ConfigError(
            f"{where}: {who} needs groups that are cells of class and attribute, and here they are the classes; use "
            "kind groups or weights_by: group"
        )
    groups, classes = len(GROUP_SIZES.get(dataset, ([], []))[0]), CLASSES.get(dataset, 1)
    if groups and (groups <= classes or groups % classes):
        raise ConfigError(
            f"{where}: {who} needs groups that are cells of class and attribute, and {dataset} has {groups} groups of "
            f"{classes} classes"
        )


def _parts(spec: dict[str, Any]) -> set[str]:
    """The parts that a run's stages train on."""
    return {stage.part for stage in card_of(spec["uses"]).stages(spec["method_options"], spec["training"]["epochs"])}


def _check_stages(spec: dict[str, Any], parts: set[str], where: str) -> None:
    """The parts that stages train on: there must be a target set to add, and what they train on measures nothing."""
    split, training = spec["data"]["split"], spec["training"]
    if "train+target" in parts and (not split["target_size"] or split["target_inside"]):
        trouble = "it is in the training set already (target_inside)" if split["target_size"] else "target_size is 0"
        raise ConfigError(f"{where}: {spec['uses']} adds the target set to the training set, but {trouble}")
    trained_on = "train+validation" in parts
    always = parts == {"train+validation"}  # what is held out of one stage says something there, beside the test set
    for key, says, refused in (
        ("evaluate_on", [training.get("evaluate_on")], trained_on),
        ("also_measure", training.get("also_measure"), always),
    ):
        if refused and "validation" in (says or ()):
            raise ConfigError(
                f"{where}: {key} names validation, but {spec['uses']} trains on it; measure the test set alone"
            )
