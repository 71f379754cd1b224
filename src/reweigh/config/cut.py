"""What a smaller scale leaves out, in words for its figures and the scorecard, made from what it changes.

    3 of 4 ratios, 8 of 100 epochs, 3 of 5 seeds

`cut` of a scale may give other words for one of the parts (`{numbers}` in them is "3 of 4"), leave one out (null), or
be all of the text.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from reweigh.config.grid import Config
from reweigh.config.known_sizes import CLASS_SIZES, labelled, sizes_of
from reweigh.config.models import DEFERRALS, Experiment, ScaleBlock
from reweigh.data.local_cards import is_local

WIDTHS = {0.5: "half", 0.25: "a quarter of", 0.125: "an eighth of", 0.0625: "a sixteenth of"}


class Part(NamedTuple):
    """One thing that is cut: the numbers ("3 of 4"), and the words that are said of it unless the config has others."""

    numbers: str
    words: str


def text(config: Config, scale: str, paper: str, experiment: str) -> str:
    """The cut of an experiment at a scale; empty at scale `paper`, and where the experiment does not have the scale."""
    one = config.experiment(paper, experiment)
    block = one.block(scale)
    if block is None:
        return ""
    if isinstance(block.cut, str):
        return block.cut
    words = block.cut.model_dump(exclude_unset=True)
    phrases = []
    for name, part in _parts(config, scale, paper, experiment, one, block).items():
        numbers = part.numbers if part else ""
        if name in words:
            phrases.append((words[name] or "").replace("{numbers}", numbers))
        elif part:
            phrases.append(part.words)
    return ", ".join(phrase for phrase in phrases if phrase)


def _parts(
    config: Config, scale: str, paper: str, experiment: str, one: Experiment, block: ScaleBlock
) -> dict[str, Part | None]:
    """Everything that can be cut, in the order in which it is said; `None` where nothing is."""
    settings, methods = config.settings_of(scale, paper, experiment), config.methods_of(scale, paper, experiment)
    if not methods:  # all of them are placeholders
        return {}
    cell = f"{paper}/{experiment}/{settings[0]}/{methods[0]}/seed0"
    here, full = config.resolve(f"{scale}/{cell}"), config.resolve(f"paper/{cell}")
    classes = _of(_classes(here), _classes(full), "classes")
    kept = [name for name in methods if name in one.methods]
    return {
        "settings": _of(len(settings), len(one.settings), "settings"),
        "methods": _of(len(kept), len(one.methods), "methods"),
        "classes": classes,
        "images": _images(here["data"], full["data"], classes is not None),
        "layers": _layers(here["model"], full["model"]),
        "channels": _channels(here["model"], full["model"]),
        "epochs": _epochs(here, full, block, _first_deferral(config, paper, experiment)),
        "batches": _batches(here["training"], full["training"]),
        "seeds": _of(block.seeds or one.seeds, one.seeds, "seeds"),
        "test_images": _of(_tested(here), _tested(full), "test images"),
        "points": _of(here["training"].get("keep_features"), full["training"].get("keep_features"), "points"),
    }


def _of(some: int | None, all_of_them: int | None, what: str) -> Part | None:
    """`some` of so many; `None` if that is all of them, or not known."""
    if some is None or all_of_them is None or some == all_of_them:
        return None
    numbers = f"{some:,} of {all_of_them:,}"
    return Part(numbers, f"{numbers} {what}")


def _sizes(data: dict[str, Any]) -> list[int] | None:
    """Training images of each class where classes are drawn by their size; not where people gave the labels."""
    return labelled(data) if is_local(data["dataset"]) else CLASS_SIZES.get(data["dataset"])


def _classes(spec: dict[str, Any]) -> int | None:
    sizes = _sizes(spec["data"])
    return len(sizes) if sizes else None


def _images(here: dict[str, Any], full: dict[str, Any], fewer_classes: bool) -> Part | None:
    """Training images: all of them, or those of the largest class where classes differ in size."""
    if here["split"]["kind"] == "two-class":
        return _of(here["split"]["total"], full["split"]["total"], "images")
    even = here["split"].get("imbalance_ratio") == 1
    if even:
        what = "images of each" if fewer_classes else "images a class"
    else:
        what = "images in the largest" if fewer_classes else "images in the largest class"
    return _of(_largest(here), _largest(full), what)


def _largest(data: dict[str, Any]) -> int | None:
    known: int | None = data["split"].get("largest_class")
    return known or max(_sizes(data) or [0]) or None


def _layers(here: dict[str, Any], full: dict[str, Any]) -> Part | None:
    """Layers of a CIFAR ResNet with fewer blocks in each of its three stages: two a block, and two more."""
    name = re.fullmatch(r"resnet(\d+)", full["name"])
    blocks = here["options"].get("blocks")
    return _of(6 * blocks + 2, int(name[1]), "layers") if name and blocks else None


def _channels(here: dict[str, Any], full: dict[str, Any]) -> Part | None:
    share = here["options"].get("width", 1.0) / full["options"].get("width", 1.0)
    if share == 1:
        return None
    return Part(f"{share:g}", f"{WIDTHS.get(share, f'{share:g} times')} the channels")


def _epochs(here: dict[str, Any], full: dict[str, Any], block: ScaleBlock, deferral: int | None) -> Part | None:
    part = _of(here["training"]["epochs"], full["training"]["epochs"], "epochs")
    if part and block.from_epoch and deferral:
        return part._replace(words=f"{part.words} ({block.from_epoch} of {deferral} before the switch)")
    return part


def _batches(here: dict[str, Any], full: dict[str, Any]) -> Part | None:
    size = here["batch_size"]
    return Part(f"{size}", f"batches of {size}") if size != full["batch_size"] else None


def _first_deferral(config: Config, paper: str, experiment: str) -> int | None:
    """The first epoch at which a method of an experiment begins with what it puts off; `None` if none does."""
    methods = config.paper(paper).methods
    return min((epoch for name in config.experiment(paper, experiment).methods
                for epoch in _deferrals(methods[name].options)), default=None)  # fmt: skip


def _deferrals(options: dict[str, Any]) -> Iterable[int]:
    for key, value in options.items():
        if isinstance(value, dict):
            yield from _deferrals(value)
        elif key in DEFERRALS and value:
            yield value


def _tested(spec: dict[str, Any]) -> int | None:
    """Images that a run is tested on; `None` where it is measured on training data, or they are not counted."""
    split, sizes = spec["data"]["split"], sizes_of(spec["data"]).test
    if spec["training"].get("evaluate_on") == "validation":
        return None
    if split["test_size"] or not sizes:
        known: int | None = split["test_size"]
        return known
    chosen = [sizes[label] for label in split["classes"]] if split["kind"] == "two-class" else sizes
    return min(chosen) * len(chosen) if split["test"] == "balanced" else sum(chosen)
