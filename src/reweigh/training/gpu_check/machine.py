"""Stage 0: the machine, and whether code and splits are those of home."""

import functools
import json
import os
import platform
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from reweigh.errors import ConfigError
from reweigh.training.gpu_check import cases, folder
from reweigh.training.gpu_check.checks import Check, Context, Facts, Failed, Skipped

RESERVE_SECONDS = 5.0


def checks(context: Context) -> Iterator[Check]:
    """Versions, the device, the folder of specs, the code, and the splits of each experiment of the specs."""
    found = experiments(context)
    yield Check("versions", versions)
    yield Check("device", functools.partial(device, context), {"device": [context.device]})
    if context.folder is not None:
        yield Check("specs", functools.partial(specs, context))
    yield Check("code", functools.partial(code, context), {"experiments": [*found]})
    for experiment, listed in found.items():
        action = functools.partial(splits, context, listed, time.monotonic() + context.seconds - RESERVE_SECONDS)
        if context.without("experiments", experiment):
            action = functools.partial(_excluded, experiment)
        yield Check(f"splits {experiment}", action, {"experiments": [experiment]}, context.seconds)


def _excluded(experiment: str) -> str:
    raise Skipped(f"{experiment} is not trained here, for what an earlier check found")


def versions() -> str:
    """The software of this machine."""
    import numpy
    import torch

    parts = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "numpy": numpy.__version__,
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }
    return ", ".join(f"{name} {value}" for name, value in parts.items())


def device(context: Context) -> str | tuple[str, Facts]:
    """The GPU, its driver and its free memory."""
    import torch

    if context.device == "cpu":
        free = shutil.disk_usage(".").free
        return f"{platform.processor() or platform.machine()}, {free / 2**30:.1f} GiB of disk free"
    where = cases.device_of(context)
    free, total = torch.cuda.mem_get_info(where)
    facts = torch.cuda.get_device_properties(where)
    asked = "name,driver_version,clocks.max.sm,power.limit,ecc.mode.current,compute_mode"
    told = _nvidia_smi(f"--query-gpu={asked}", "--format=csv,noheader")
    text = (
        f"{facts.name}, {facts.multi_processor_count} multiprocessors, {free / 2**30:.1f} of {total / 2**30:.1f} GiB "
        f"free; nvidia-smi: {told}"
    )
    return text, {"gpu": facts.name}


def _nvidia_smi(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, timeout=20, check=True, encoding="utf-8"
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"not available ({type(error).__name__})"
    return done.stdout.strip()


def specs(context: Context) -> str:
    """Whether the folder arrived whole. Where it is not known what home expects, no run of it is trained."""
    assert context.folder is not None
    whole, damaged = folder.specs_of(context.folder)
    faults, falls_back = [], {}
    if damaged:
        first = next(iter(damaged.values()))
        faults.append(f"{len(damaged)} of {len(whole) + len(damaged)} specs cannot be trained: {first}")
    try:
        named = folder.expected(context.folder)
    except ConfigError as error:
        faults.append(str(error))
        falls_back = {"experiments": [*experiments(context)]}
    if faults:
        raise Failed("; ".join(faults), falls_back)
    names = {path.name for path in whole}
    beyond = sum(name not in names for name in named)
    return f"{len(whole)} specs" + (f"; {beyond} more are expected and not in the order" if beyond else "")


def code(context: Context) -> str:
    """The digest of the code of each kind of run, against home's: whether the tree that travelled is the one there.

    An experiment is not trained if the code of one of its runs is another, or if home did not state it.
    """
    from reweigh.records import commit, record

    commit.look_in([] if context.folder is None else [context.folder])
    stated = {_key(entry["spec"]): entry for entry in folder.cases(context.cases)["code"]}
    faults: dict[str, str] = {}
    for key, entry in stated.items():
        if (digest := record.code_digest(entry["spec"])) != entry["digest"]:
            faults[key] = f"{_named(entry['spec'])}: code {digest[:12]} here, {entry['digest'][:12]} at home"
    excluded = set()
    for experiment, listed in experiments(context).items():
        for spec in listed.values():
            key = _key(folder.kind_of(spec))
            if key not in stated:
                faults[key] = f"{_named(spec)}: home stated no code of such runs; {folder.SEND_AGAIN}"
            if key in faults:
                excluded.add(experiment)
    if faults:
        first, *others = faults.values()
        more = f", and {len(others)} other kinds of runs" if others else ""
        raise Failed(first + more, {"experiments": sorted(excluded)})
    return f"{len(stated)} kinds of runs, code as at home; commit {commit.git_state()['commit'] or 'unknown'}"


def _key(kind: dict[str, Any]) -> str:
    return json.dumps(kind, sort_keys=True)


def _named(spec: dict[str, Any]) -> str:
    return f"{spec['uses']}, {spec['model']['name']}, {spec['data']['dataset']}"


def experiments(context: Context) -> dict[str, folder.Specs]:
    """The specs of the folder that can be read, by experiment."""
    found: dict[str, folder.Specs] = defaultdict(dict)
    for path, spec in folder.specs_of(context.folder)[0].items():
        found[folder.experiment_of(spec)][path] = spec
    return dict(found)


def splits(context: Context, listed: folder.Specs, end: float) -> str:
    """Obtain the splits of an experiment and compare them with home's. Those that no time is left for are said."""
    from reweigh.data import packed
    from reweigh.data.obtain import describe, recipe_digest, split_path
    from reweigh.errors import DataError

    assert context.folder is not None
    named = folder.expected(context.folder)
    alike: dict[tuple[Any, ...], dict[str, Any]] = {}  # the methods of a setting share a split
    for file, spec in listed.items():
        alike.setdefault((split_path(spec), *_digests(named.get(file.name), file.name)), spec)
    equal, unknown = 0, 0
    for number, ((path, recipe, drawn), spec) in enumerate(alike.items()):
        if time.monotonic() > end:
            raise Skipped(f"no time for {len(alike) - number} of {len(alike)} splits; {equal} are equal")
        if recipe != recipe_digest(spec):
            raise Failed(f"{path}: its recipe, the manifest or the code that draws it is not that of home")
        try:
            packed.place_split(path)
            digest = describe(spec)["digest"]
        except DataError as error:
            raise Failed(f"{path}: {error}") from None
        if drawn is None:
            unknown += 1
        elif digest != drawn:
            raise Failed(f"{path}: digest {digest[:12]} here, {drawn[:12]} at home")
        else:
            equal += 1
    more = f", {unknown} were not drawn at home" if unknown else ""
    return f"{equal} splits equal home's{more}"


def _digests(said: Any, file: str) -> tuple[str, str | None]:
    """The digests of recipe and split that home expects; None for a split that was not drawn there."""
    try:
        recipe, drawn = said["recipe_digest"], said["split_digest"]
    except (LookupError, TypeError):
        raise Failed(f"{folder.EXPECTED} says nothing of {file}; {folder.SEND_AGAIN}") from None
    if not isinstance(recipe, str) or not isinstance(drawn, str | None):
        raise Failed(f"{folder.EXPECTED} is damaged at {file}; {folder.SEND_AGAIN}")
    return recipe, drawn
