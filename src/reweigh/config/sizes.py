"""Sizes that can be had: what a split asks for, against what its data set has, before anything is read."""

import math
from fractions import Fraction
from typing import Any

from reweigh.config import noisy_sizes
from reweigh.config.cards import PlannedStage, card_of
from reweigh.config.known_sizes import called, labelled, sizes_of
from reweigh.config.noisy_sizes import unsettled
from reweigh.data import imbalance
from reweigh.data.groups import by_attribute, even_share, part_of
from reweigh.data.noise_recipe import comes_first
from reweigh.errors import ConfigError


def check(data: dict[str, Any], where: str) -> None:
    """Raise ConfigError if the data set has not what the split asks for, or cannot be given its noise."""
    _check_words(data, where)
    noisy_sizes.check(data, where)
    split = data["split"]
    try:
        imbalance.check_held_out(split)
        wanted = _drawn(data)
        if (width := _width(data)) is not None:
            target, validation, test = (
                even_share(split[name] or 0, width, name) for name in ("target_size", "validation_size", "test_size")
            )
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    _check_share(data, where)
    tail = _validation_tail(split, wanted, where)
    train_pools, test_pools = _pools(data)
    open_sizes = comes_first(split) and split["kind"] == "all"  # those of its noisy labels, whatever they are
    if width is None or not train_pools:
        return
    for label in wanted or range(len(train_pools)):
        if label >= len(train_pools):
            raise ConfigError(f"{where}: class {label} is not among the {len(train_pools)} of {called(data)}")
        what = f"{'group' if split['kind'] == 'groups' else 'class'} {label}"
        held_out = tail.get(label, 0) if tail else validation
        asked = 1 if open_sizes else max(wanted.get(label, 1), 1)
        if trouble := _short(split, asked, target, held_out, train_pools[label]):
            needed, size = trouble
            have = f"{called(data)} has {train_pools[label]}{' under its noise' if comes_first(split) else ''}"
            raise ConfigError(
                f"{where}: {what} needs {needed} images ({size} to train on), {have}; ask for fewer"
                f"{_at_most(split, target, validation, train_pools)}"
            )
        if test > test_pools[label]:
            raise ConfigError(
                f"{where}: test_size asks for {test} images of {what}, {called(data)} has {test_pools[label]}; "
                "ask for fewer"
            )


def _at_most(split: dict[str, Any], target: int, validation: int, pools: list[int]) -> str:
    """What `largest_class` can be, where a long tail or a step asks for more than there is, for the message."""
    if "largest_class" not in split or split.get("validation_largest_class"):
        return ""
    taken = validation + (0 if split["target_inside"] else target)
    most = imbalance.largest_that_fits(split, [max(pool - taken, 0) for pool in pools])
    return f": largest_class can be at most {most}" if most else ""


def _validation_tail(split: dict[str, Any], wanted: dict[int, int], where: str) -> dict[int, int]:
    """Examples of each class in a validation part with a long tail of its own, drawn beside the training part."""
    if split.get("validation_largest_class") is None or not wanted:
        return {}
    sizes = imbalance.validation_tail(split, len(wanted))
    if (empty := imbalance.held_out_all(split, list(wanted.values()), sizes)) is not None:
        raise ConfigError(
            f"{where}: validation_largest_class {split['validation_largest_class']} holds all {wanted[empty]} examples "
            f"of class {empty} out; lower it"
        )
    return {} if split.get("validation_inside") else dict(zip(wanted, sizes, strict=True))


def _short(split: dict[str, Any], size: int, target: int, validation: int, pool: int) -> tuple[int, int] | None:
    """If a class or group of `pool` examples has not what is asked of it: how many that takes, `size` to train on."""
    # Target images may be training images too where the config says so; validation images are neither.
    needed = max(size + (0 if split["target_inside"] else target), target) + validation
    if needed > pool:
        return needed, size
    share = split.get("validation_share")
    if share and split["target_inside"] and split["kind"] == "all" and not split.get("noise"):
        # All are trained on, targets among them, and what is held out is none of those.
        held_out = part_of(pool, share, split.get("validation_rounding"))
        return (target + held_out, pool - held_out) if target + held_out > pool else None
    return None


def check_batches(spec: dict[str, Any], batch_norm: bool, where: str) -> None:
    """Raise ConfigError for a batch that its examples cannot fill, or one of a single example under batch norm.

    Every stage counts that trains the whole model, with its own batch size and sampling. `batch_norm` is whether the
    model has such layers; they normalise by the batch, and a single example is its own mean. A part that is measured
    and holds nothing is refused too.
    """
    training, split = spec["training"], spec["data"]["split"]
    if training.get("evaluate_on") == "validation" and not imbalance.holds_out(split):
        raise ConfigError(f"{where}: evaluate_on is validation, but nothing is held out; set validation_share")
    if 0 < split["target_size"] < training["target_batch_size"]:
        raise ConfigError(
            f"{where}: target_batch_size is {training['target_batch_size']}, but target_size only "
            f"{split['target_size']}; lower it"
        )
    stages = [
        (stage, examples)
        for stage in card_of(spec["uses"]).stages(spec["method_options"], training["epochs"])
        if stage.epochs and (examples := epoch_size(spec["data"], stage)) is not None
    ]
    # All of what one stage trains on, in one batch, is all of a smaller part in another; what no stage fills is a slip.
    filled = max((examples for stage, examples in stages if stage.batch_size is None), default=0)
    for stage, examples in stages:
        size = stage.batch_size or training["batch_size"]
        if size > examples and (stage.batch_size or size > filled):
            raise ConfigError(f"{where}: batch_size is {size}, but an epoch has only {examples} examples; lower it")
        last = size if training["drop_last"] else examples % size or size
        if last == 1 and batch_norm and stage.train == "all":
            raise ConfigError(
                f"{where}: the last batch of an epoch ({examples} examples, batch_size {size}) has one example, which "
                f"batch norm (model {spec['model']['name']}) cannot normalise; change batch_size, or set drop_last"
            )


def epoch_size(data: dict[str, Any], stage: PlannedStage) -> int | None:
    """Examples that an epoch of a stage has on a spec's `data` block; None if that is not known before it is drawn."""
    split, by_class = data["split"], stage.sampling == "class-aware"
    if stage.lists:
        return _members(data, stage)
    if unsettled(split) and (split.get("validation_share") or by_class):
        return None  # both follow the noisy labels
    if len(sizes := stage_sizes(data, stage)) == 1:  # the classes are not known here
        rounded = split.get("validation_share") and stage.part == "train"  # in each class
        return sizes[0] if sizes_of(data).rows is not None and not (by_class or rounded) else None
    return drawn_by(stage.sampling, sizes)


def epoch_at_most(data: dict[str, Any], stage: PlannedStage) -> tuple[int, bool]:
    """Examples of an epoch of a stage, and whether they may be fewer: of members that only the method can count.

    With noise and `validation_share` it may be a few off, as `training_sizes` says.
    """
    if not stage.lists:
        return drawn_by(stage.sampling, stage_sizes(data, stage)), False
    if (known := _members(data, stage)) is not None:
        return known, False
    sizes, share = stage_sizes(data, stage), Fraction(str(stage.share))
    total = sum(sizes)
    if unsettled(data["split"]) or len(sizes) == 1:  # of any sizes, with the share rounded up in each class
        classes = len(sizes) if len(sizes) > 1 else sizes_of(data).classes or 1
        most = min(math.ceil(share * total) + classes - 1, total)
    else:
        classes = sum(size > 0 for size in sizes)
        most = sum(math.ceil(share * size) for size in sizes)
    if stage.sampling == "class-aware":  # they may be of one class but for one of each other
        return min(most, total if len(sizes) == 1 or unsettled(data["split"]) else max(sizes)) * classes, True
    return most, True


def _members(data: dict[str, Any], stage: PlannedStage) -> int | None:
    """Examples of an epoch of a stage of members; None if that is not known before the method has listed them.

    It is known if the card counts them, or if their share of each class is a whole number.
    """
    sizes = stage_sizes(data, stage)
    if stage.listed is not None and stage.sampling != "class-aware" and _total_is_known(data, stage):
        return stage.listed(sum(sizes))
    if unsettled(data["split"]) or len(sizes) == 1:
        return None  # the sizes of the classes are not known here
    if stage.members is not None:
        return drawn_by(stage.sampling, list(stage.members(sizes)))
    shares = [Fraction(str(stage.share)) * size for size in sizes]
    if stage.sampling == "class-aware" or any(share.denominator > 1 for share in shares):
        return None
    return int(sum(shares))


def _total_is_known(data: dict[str, Any], stage: PlannedStage) -> bool:
    """Whether `stage_sizes` sums to what is drawn: noise and groups leave a held-out share a few examples off."""
    split = data["split"]
    blurred = split.get("validation_share") and (unsettled(split) or split["kind"] == "groups")
    return _is_counted(data) and (stage.whole == "train+validation" or not blurred)


def _is_counted(data: dict[str, Any]) -> bool:
    """Whether it is known how many training examples the data set of a `data` block has."""
    known = sizes_of(data)
    return known.labels is not None or known.rows is not None


def drawn_by(sampling: str, sizes: list[int]) -> int:
    """Examples of an epoch on a part of these class sizes; class-aware sampling shows all as often as the largest.

    >>> drawn_by("class-aware", [30, 0, 10]), drawn_by("uniform", [30, 0, 10])
    (60, 40)
    """
    return max(sizes) * sum(size > 0 for size in sizes) if sampling == "class-aware" else sum(sizes)


def training_size(data: dict[str, Any]) -> int:
    """Examples that a spec's `data` block trains on; see `training_sizes`."""
    return sum(training_sizes(data))


def training_sizes(data: dict[str, Any]) -> list[int]:
    """Examples of each class that a spec's `data` block trains on; one entry where the classes are not known here.

    With noise and `validation_share` it may be a few off: the share is taken of each class of noisy labels. It is not
    where noise comes first and a long tail or a step says how many of each noisy label there are.
    """
    split, sizes = data["split"], _undivided(data)
    if split.get("validation_share") is None and not split.get("validation_inside"):
        return sizes
    return [size - held_out for size, held_out in zip(sizes, _validation_sizes(data, len(sizes)), strict=True)]


def stage_sizes(data: dict[str, Any], stage: PlannedStage) -> list[int]:
    """Examples of each class that a stage trains on, as `training_sizes`; of members, what they are chosen from."""
    sizes = training_sizes(data)
    if stage.whole == "train+validation":
        return [size + held_out for size, held_out in zip(sizes, _validation_sizes(data, len(sizes)), strict=True)]
    if stage.whole == "train+target":
        target = int(data["split"]["target_size"])
        added = target if len(sizes) == 1 else even_share(target, len(sizes), "target_size")
        return [size + added for size in sizes]
    return sizes


def _shares(data: dict[str, Any]) -> list[int]:
    """Examples that `validation_share` holds out, of each class or, in one entry, of all groups together."""
    split, sizes, groups = data["split"], _undivided(data), sizes_of(data).groups
    share, rounding = split["validation_share"], split.get("validation_rounding")
    if split["kind"] == "groups" and groups is not None:
        pools, _ = groups
        sizes = [pool - math.ceil(_reserved(split) / len(pools)) for pool in pools]
        return [sum(part_of(size, share, rounding) for size in sizes)]
    return [part_of(size, share, rounding) for size in sizes]


def _validation_sizes(data: dict[str, Any], classes: int) -> list[int]:
    """Examples of each class that are held out to validate; one entry where the classes are not known here."""
    split = data["split"]
    if split.get("validation_share"):
        return _shares(data)
    if split.get("validation_largest_class"):
        return imbalance.validation_tail(split, classes) if classes > 1 else [1]
    size = int(split["validation_size"])
    return [size] if classes == 1 else [even_share(size, classes, "validation_size")] * classes


def _undivided(data: dict[str, Any]) -> list[int]:
    """Examples of each class that are drawn for training, those included that are then held out of them."""
    rows = sizes_of(data).rows or 0
    return list(_drawn(data).values()) or [max(rows - _reserved(data["split"]), 1)]


def _drawn(data: dict[str, Any]) -> dict[int, int]:
    """Training images of each class (official label -> count) that a split draws; empty if they are not known.

    Raises ConfigError for a ratio that leaves a class without an image.
    """
    split, available = data["split"], labelled(data)
    if split["kind"] == "two-class":
        sizes = imbalance.two_class_sizes(split["total"], split["imbalance_ratio"])
        return dict(zip(split["classes"], sizes, strict=True))
    if available is None or split["kind"] == "groups":
        return {}
    if split["kind"] == "all":
        reserved = math.ceil(_reserved(split) / len(available))
        return {label: size - reserved for label, size in enumerate(available)}
    return dict(enumerate(imbalance.class_sizes(split, _largest(split, available), len(available))))


def _largest(split: dict[str, Any], pools: list[int]) -> int:
    """Training images of the largest class of a long tail or a step: as many as asked, or what its other parts leave.

    Only classes of at least `largest_class` images give way so, and none where noise comes first, as
    `reweigh.data.split` draws them.
    """
    largest: int = split["largest_class"]
    if comes_first(split):
        return largest
    reserved = sum(
        even_share(split[name], len(pools), name)
        for name in ("target_size", "validation_size")
        if name != "target_size" or not split["target_inside"]
    )
    smallest = min(pools[k] for k in imbalance.heads(split, len(pools)))
    return min(largest, smallest - reserved) if largest <= smallest and reserved < smallest else largest


def _width(data: dict[str, Any]) -> int | None:
    """How many classes or groups a split shares its parts over; None if that is not known."""
    kind, known = data["split"]["kind"], sizes_of(data)
    if kind == "two-class":
        return 2
    if kind == "groups":
        return None if known.groups is None else len(known.groups[0])
    return known.classes


def _pools(data: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Examples of each class or group in the official training and test parts; empty if they are not known.

    Where noise comes first, those of the training part that a split can count on.
    """
    known = sizes_of(data)
    if data["split"]["kind"] == "groups":
        return known.groups or ([], [])
    return noisy_sizes.left(data, known.labels) if known.labels else [], known.test


def _reserved(split: dict[str, Any]) -> int:
    """Examples kept out of the training part before it is drawn."""
    return int(split["validation_size"] + (0 if split["target_inside"] else split["target_size"]))


def _check_words(data: dict[str, Any], where: str) -> None:
    """Words of a split that do not go with its kind."""
    split, kind = data["split"], data["split"]["kind"]
    if split["order"] == "legacy" and kind in ("two-class", "groups"):
        raise ConfigError(f"{where}: order legacy does not go with kind {kind}; use random")
    if kind == "groups" and split["test"] == "balanced":
        raise ConfigError(f"{where}: test balanced does not go with kind groups; use group-balanced or all")
    if kind != "groups" and split["test"] == "group-balanced":
        raise ConfigError(f"{where}: test group-balanced does not go with kind {kind}; use balanced or all")
    known = sizes_of(data)
    if (kind == "groups" or by_attribute(split)) and known.labels is not None and known.groups is None:
        what, instead = ("kind groups", "all") if kind == "groups" else ("weights_by group", "class")
        raise ConfigError(f"{where}: {what} needs a data set that has groups, {called(data)} has none; use {instead}")


def _check_share(data: dict[str, Any], where: str) -> None:
    """A share that is held out must be an example at least; with noise, of classes as large as the true ones."""
    known = data["split"]["kind"] == "two-class" or _is_counted(data)
    if (share := data["split"].get("validation_share")) is None or not known:
        return
    sizes, rounding = _undivided(data), data["split"].get("validation_rounding")
    if not any(part_of(size, share, rounding) for size in sizes):
        each = "of them" if len(sizes) == 1 else "of each class"
        raise ConfigError(
            f"{where}: validation_share {share:g} holds nothing out of {sum(sizes)} examples (it is taken {each}, "
            "rounded down); raise it"
        )
