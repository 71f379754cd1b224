"""Records: written whole, read only if untouched, stale when what they depend on has moved."""

import json

import pytest

from reweigh import config, record
from reweigh.data.obtain import recipe_digest
from reweigh.digest import digest, file_digest
from reweigh.errors import RecordError

RUN = "smoke/tdr/mnist-4v9/rho0.1/tdr/seed0"


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "seed0.json"
    record.write(path, {"run": RUN, "metrics": {"test_accuracy": 0.25}, "trace": None})
    return path


def test_what_is_written_is_read(written):
    assert record.read(written)["metrics"] == {"test_accuracy": 0.25}
    assert list(written.parent.iterdir()) == [written]  # no partial file stays


@pytest.mark.parametrize("change", [('"test_accuracy":0.25', '"test_accuracy":0.26'), ("tdr/seed0", "tdr/seed1")])
def test_a_changed_value_is_found(written, change):
    written.write_text(written.read_text().replace(*change))
    with pytest.raises(RecordError, match="changed by hand"):
        record.read(written)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"record_version": 99}', "null"])
def test_no_record_is_no_result(written, content):
    written.write_text(content)
    with pytest.raises(RecordError, match="delete it and train again"):
        record.read(written)


def test_a_missing_record_names_the_command(tmp_path):
    with pytest.raises(RecordError, match="train it with: snakemake"):
        record.read(tmp_path / "seed9.json")


def test_a_record_cannot_hold_nan(tmp_path):
    with pytest.raises(ValueError):
        record.write(tmp_path / "seed0.json", {"metrics": {"test_accuracy": float("nan")}})
    assert not list(tmp_path.iterdir())


def test_trace_files_are_checked(tmp_path):
    trace, path = tmp_path / "seed0.npz", tmp_path / "seed0.json"
    trace.write_bytes(b"arrays")
    found = record.write(path, {"trace": {"file": "seed0.npz", "sha256": file_digest(trace)}})
    assert record.trace_path(path, found) == trace
    trace.write_bytes(b"arrayz")
    with pytest.raises(RecordError, match="expected"):
        record.trace_path(path, found)
    trace.unlink()
    with pytest.raises(RecordError, match="missing"):
        record.trace_path(path, found)


def test_stale_says_why():
    spec = config.resolve(RUN)
    split = recipe_digest(spec)
    body = {
        "spec_digest": digest(spec),
        "code": {"digest": record.code_digest(spec)},
        "split": {"recipe_digest": split},
    }
    assert record.stale_because(body, spec, split) == []
    longer = {**spec, "training": {**spec["training"], "epochs": 99}}
    assert record.stale_because(body, longer, split) == ["spec"]
    assert record.stale_because({**body, "code": {"digest": "0"}}, spec, "other") == ["code", "split"]


def test_names_and_paths_agree(tmp_path):
    spec = config.resolve(RUN)
    assert record.run_name(spec) == RUN
    assert record.record_path(RUN, tmp_path) == tmp_path / "results" / f"{RUN}.json"
    assert json.loads(json.dumps(spec)) == spec
