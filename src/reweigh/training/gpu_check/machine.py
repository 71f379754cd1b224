"""Stage 0: the machine, and whether code and splits are those of home."""

import functools
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reweigh.training.__main__ import NOT_SPECS, spec_paths
from reweigh.training.gpu_check import cases
from reweigh.training.gpu_check.checks import Check, Context, Failed, Skipped

EXPECTED = NOT_SPECS[0]  # {file of a spec: {"run", "split_digest", "recipe_digest"}}, beside the specs
RESERVE_SECONDS = 5.0


def checks(context: Context) -> Iterator[Check]:
    """Versions, the device, the code, and the splits of each experiment of the specs."""
    yield Check("versions", versions)
    yield Check("device", functools.partial(device, context), {"device": [context.device]})
    yield Check("code", functools.partial(code, context))
    for experiment, specs in experiments(context).items():
        action = functools.partial(splits, context, specs, time.monotonic() + context.seconds - RESERVE_SECONDS)
        yield Check(f"splits {experiment}", action, {"experiments": [experiment]}, context.seconds)


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


def device(context: Context) -> str | tuple[str, dict[str, Any]]:
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
        done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"not available ({type(error).__name__})"
    return done.stdout.strip()


def code(context: Context) -> str:
    """The digest of the code of each kind of run, against home's: whether the tree that travelled is the one there."""
    from reweigh.records import commit, record

    commit.look_in([] if context.folder is None else [context.folder])
    expected = cases.load(context.cases)["code"]
    for entry in expected:
        if (digest := record.code_digest(entry["spec"])) != entry["digest"]:
            which = f"{entry['spec']['uses']}, {entry['spec']['model']['name']}, {entry['spec']['data']['dataset']}"
            raise Failed(f"{which}: code {digest[:12]} here, {entry['digest'][:12]} at home")
    return f"{len(expected)} kinds of runs, code as at home; commit {commit.git_state()['commit'] or 'unknown'}"


def experiments(context: Context) -> dict[str, list[dict[str, Any]]]:
    """The specs of the folder by experiment, one for each split, with the `expected` digests of home."""
    if context.folder is None:
        return {}
    expected = read_json(context.folder / EXPECTED)
    found: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = defaultdict(dict)
    for path in spec_paths([str(context.folder)]):
        spec = json.loads(path.read_bytes())
        key = spec["setting"], spec["seed"]
        found[experiment_of(spec)].setdefault(key, {"spec": spec, "expected": expected.get(path.name, {})})
    return {name: list(specs.values()) for name, specs in found.items()}


def experiment_of(spec: dict[str, Any]) -> str:
    """The experiment of a spec, with scale and paper."""
    return f"{spec['scale']}/{spec['paper']}/{spec['experiment']}"


def splits(context: Context, specs: list[dict[str, Any]], end: float) -> str:
    """Obtain the splits of an experiment and compare them with home's. Those that no time is left for are said."""
    from reweigh.data import packed, packed_seal
    from reweigh.data.obtain import describe, recipe_digest, split_path
    from reweigh.errors import DataError

    equal, unknown = 0, 0
    for number, entry in enumerate(specs):
        if time.monotonic() > end:
            raise Skipped(f"no time for {len(specs) - number} of {len(specs)} splits; {equal} are equal")
        spec, expected = entry["spec"], entry["expected"]
        path = split_path(spec)
        if expected.get("recipe_digest") not in (None, recipe_digest(spec)):
            raise Failed(f"{path}: its recipe, the manifest or the code that draws it is not that of home")
        try:
            packed_seal.check()
            packed.place_split(path)
            digest = describe(spec)["digest"]
        except DataError as error:
            raise Failed(f"{path}: {error}") from None
        if expected.get("split_digest") is None:
            unknown += 1
        elif digest != expected["split_digest"]:
            raise Failed(f"{path}: digest {digest[:12]} here, {expected['split_digest'][:12]} at home")
        else:
            equal += 1
    more = f", {unknown} were not drawn at home" if unknown else ""
    return f"{equal} splits equal home's{more}"


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty if there is none."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        print(f"{path}: not JSON ({error})", file=sys.stderr)
        return {}
