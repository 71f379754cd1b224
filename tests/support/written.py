"""Records as the plan reads them, without a training."""

import importlib.metadata

from reweigh.config.loading import load
from reweigh.data.obtain import recipe_digest
from reweigh.digest import digest
from reweigh.records import record

HERE = "a processor"  # of the machine that the plan is for


def leave_record(project, run, seconds=10.0, **changes):
    """Write a record as a finished run would, as far as the plan reads it."""
    spec = load(project).resolve(run)
    body = {
        **dict.fromkeys(record.KEYS - {"record_version", "digest"}),
        "spec": spec,
        "spec_digest": digest(spec),
        "code": {"digest": record.code_digest(spec)},
        "split": {"recipe_digest": recipe_digest(spec, project / "data")},
        "steps": 1000,
        "seconds": seconds,
        "device": {"name": HERE},
        "environment": {name: importlib.metadata.version(name) for name in ("torch", "numpy", "pillow")},
    }
    return record.write(record.record_path(run, project), body | changes)
