"""Resolved specs in a folder, with what a machine without config, raw data or git needs to know to train them.

SCALE__PAPER__EXPERIMENT__SETTING__METHOD__seedN.json   a spec, named after its run
order.txt       the names of these files, one a line, in the order in which they are to be trained
expected.json   {file: {"run", "split_digest", "recipe_digest"}}; the split's digest is null if it is not drawn here
commit.json     {"commit", "dirty", "source_digest"}: what is checked out here (see `reweigh.records.commit`)
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.config.names import RunName
from reweigh.data.obtain import recipe_digest, split_path
from reweigh.errors import ConfigError
from reweigh.planning.fill import listed
from reweigh.planning.plan import Planned, make
from reweigh.planning.plan_text import show
from reweigh.records import commit
from reweigh.training.__main__ import NOT_SPECS, ORDER

EXPECTED, COMMIT = NOT_SPECS


def main(
    targets: list[str], scale: str | None, folder: Path | None, pending: bool = False, in_order: bool = False
) -> None:
    """The command `reweigh plan`: print what would run for some targets, and write their specs to a folder.

    With `pending` only of runs without a current record; with `in_order` of those that config/priorities.yaml lists, in
    its order. The targets say of which scale they are; `scale` is that of all runs where no target is named (None: as
    config.yaml says). Raises ConfigError where these do not go together, or the list has none of the targets' runs.
    """
    if folder is None and (pending or in_order):
        raise ConfigError(f"{'--pending' if pending else '--wanted'} says which specs to write; add --specs DIR")
    if folder is not None:
        _check_folder(folder)
    config = load()
    planned = make(targets, scale or config.project.scale)
    scales = list(dict.fromkeys(RunName.parse(run.run).scale for run in planned)) or [scale or config.project.scale]
    if targets and scale and scales != [scale]:
        raise ConfigError(f"--scale {scale}, but the targets are of scale {' and '.join(scales)}; leave out --scale")
    show(planned)
    for line in placeholders(config, planned):
        print(line)
    if folder is None:
        return
    chosen = [run for run in planned if run.pending or not pending]
    if in_order:
        chosen = _of_the_list(config, {run.run for run in planned} if targets else None, scales)
    count = write(chosen, folder)
    print(f"{count} specs in {folder}; train them with: python -m reweigh.training {folder}")


def placeholders(config: Config, planned: Iterable[Planned]) -> list[str]:
    """A line for each method that nothing trains, and why: placeholders of the runs' experiments, and lost entries."""
    experiments = dict.fromkeys(RunName.parse(run.run).of_experiment for run in planned)
    lost = [f"nothing trains {name}: {why}" for paper in dict.fromkeys(at.paper for at in experiments)
            for name, why in config.lost_methods(paper).items()]  # fmt: skip
    return lost + [
        f"{at}: {method} is a placeholder, which nothing trains: {' '.join(reason.split())}"
        for at in experiments
        for method, reason in config.experiment(at.paper, at.experiment).placeholders.items()
    ]


def _of_the_list(config: Config, names: set[str] | None, scales: list[str]) -> list[Planned]:
    """The runs that the list names, are among `names` (None: any) and have no current record, in its order."""
    runs = [run for scale in scales for one in listed(config, scale) for run in one.runs]
    chosen = [run for run in runs if names is None or run.run in names]
    if not chosen:
        where = f"at scale {' or '.join(scales)}"
        raise ConfigError(f"config/priorities.yaml lists none of these runs {where}; leave out --wanted, or list them")
    return [run for run in chosen if run.pending]


def write(planned: Iterable[Planned], folder: Path, root: Path = Path()) -> int:
    """Write the specs of some runs, in their order, and what goes with them, to `folder`; returns their number."""
    specs = {f"{run.run.replace('/', '__')}.json": run for run in planned}
    _make_folder(folder)
    for name, run in specs.items():
        canonical_json.write(folder / name, json.dumps(run.spec, indent=1) + "\n")
    expected = {name: {"run": run.run, **_split(run.spec, root / "data")} for name, run in specs.items()}
    canonical_json.write(folder / EXPECTED, json.dumps(expected, indent=1) + "\n")
    canonical_json.write(folder / COMMIT, json.dumps(commit.described(root)) + "\n")
    canonical_json.write(folder / ORDER, "".join(f"{name}\n" for name in specs))
    return len(specs)


def _check_folder(folder: Path) -> None:
    """Raise ConfigError where a file stands in the way of a folder for specs, before anything is counted."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), Path())
    if not there.is_dir():
        raise ConfigError(f"{folder}: no folder for specs ({there} is a file); name one that is there or can be made")


def _make_folder(folder: Path) -> None:
    """Make a folder for specs. Raises ConfigError where none can be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "it is a file" if folder.is_file() else error.strerror
        raise ConfigError(f"{folder}: no folder for specs ({why}); name one that is there or can be made") from None


def _split(spec: dict[str, Any], data: Path) -> dict[str, str | None]:
    """The digests of a run's split, as it is to be drawn, and of its recipe."""
    recipe, own = recipe_digest(spec, data), None
    try:
        report = canonical_json.read(split_path(spec, data).with_suffix(".json"))
        own = report["digest"] if report["recipe_digest"] == recipe else None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"split_digest": own, "recipe_digest": recipe}
