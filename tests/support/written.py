"""Records as the plan reads them, without a training."""

import importlib.metadata

from reweigh.config.loading import load
from reweigh.data.obtain import recipe_digest
from reweigh.digest import digest
from reweigh.records import record

HERE = "a processor"  # of the machine that the plan is for


def in_shape(run, spec, root):
    """A record that has all that every record has, current, with nothing in it that a plan does not read."""
    return {
        **dict.fromkeys(record.KEYS - {"record_version", "digest"}),
        "run": run,
        "status": "finished",
        "spec": spec,
        "spec_digest": digest(spec),
        "code": {"digest": record.code_digest(spec), "files": {}},
        "split": {"path": "", "digest": "", "recipe_digest": recipe_digest(spec, root / "data"), "sizes": {}},
        "raw": [],
        "metrics": {},
        "curves": {},
        "git": {"commit": None},
        "started": "",
        "ended": "",
        "steps": 1000,
        "parameters": 0,
        "seconds": 10.0,
        "gpu_seconds": 0.0,
        "device": {"kind": "cpu", "name": HERE},
        "environment": {name: importlib.metadata.version(name) for name in ("torch", "numpy", "pillow")},
    }


def leave_record(project, run, seconds=10.0, **changes):
    """Write a record as a finished run would, as far as the plan reads it; blocks of it are changed key by key."""
    body = in_shape(run, load(project).resolve(run), project) | {"seconds": seconds}
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(body.get(key), dict)
        body[key] = {**body[key], **value} if both else value
    return record.write(record.record_path(run, project), body)
