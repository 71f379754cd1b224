"""Records: written whole, read only if untouched, stale when what they depend on has moved; what they may say."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from support.project import ROOT
from typer.testing import CliRunner

from reweigh import canonical_json, cli
from reweigh.artifacts import receipt
from reweigh.config import loading as config
from reweigh.config.names import RunName
from reweigh.data.arrays import npz_bytes
from reweigh.data.obtain import recipe_digest
from reweigh.digest import digest, file_digest
from reweigh.errors import RecordError
from reweigh.provenance import record_schema
from reweigh.records import attestations, record

RUN = "smoke/tdr/mnist-4v9/rho0.1/tdr/seed0"
RESULTS = {"run": RUN, "metrics": {"test_accuracy": 0.25}, "steps": 10}
COMMITTED = sorted((ROOT / "results" / "paper").glob("*/*/*/*/seed*.json"))


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "seed0.json"
    record.write(path, dict.fromkeys(record.KEYS - {"digest", "record_version"}) | RESULTS)
    return path


def test_what_is_written_is_read(written):
    assert record.read(written)["metrics"] == {"test_accuracy": 0.25}
    assert list(written.parent.iterdir()) == [written]  # no partial file stays


FORM = """{
 "code": null,
 "curves": null,
 "device": null,
 "digest": "DIGEST",
 "diverged_at_step": null,
 "ended": null,
 "environment": null,
 "git": null,
 "gpu_seconds": null,
 "metrics": {"test_accuracy":0.25},
 "parameters": null,
 "peak_bytes": null,
 "raw": null,
 "record_version": VERSION,
 "run": "smoke/tdr/mnist-4v9/rho0.1/tdr/seed0",
 "seconds": null,
 "spec": null,
 "spec_digest": null,
 "split": null,
 "started": null,
 "status": null,
 "steps": 10,
 "trace": null
}
"""
DIGESTS = {
    1: "df7c3d7a547cc0e5b95fa0b683a32d25d18be1041ecd1ba2601743ad4a874881",
    2: "8a401c39c27d5d1cf8deba9b73e548a96d5db87bb8b5f706a3aa023150d12dd5",
    3: "2fb9ea53de8a7486cf9a0f5b746ac7cd8b50e27212e58179ced4b6f32df8460e",
}
GOLDEN = {n: FORM.replace("DIGEST", stated).replace("VERSION", str(n)) for n, stated in DIGESTS.items()}


def test_golden_bytes(written):
    assert written.read_text() == GOLDEN[3]


@pytest.mark.parametrize("version", GOLDEN)
def test_golden_records_are_read_and_written_again_as_they_were(tmp_path, version):
    path = tmp_path / "seed0.json"
    path.write_text(GOLDEN[version])
    body = record.read(path)
    assert body["record_version"] == version
    record.write(path, body)
    assert path.read_text() == GOLDEN[version]


def test_golden_digest_of_a_committed_record():
    path = ROOT / "results/paper/tdr/mnist-4v9/rho0.005/tdr/seed0.json"
    body = record.read(path)
    assert body["digest"] == "2ca0c028347195280e896f8f9c7593cfc2ba7be01fbc7be5342b5453d4c866b0"
    assert body["record_version"] == 1


@pytest.mark.parametrize("change", [('"test_accuracy":0.25', '"test_accuracy":0.26'), ("tdr/seed0", "tdr/seed1")])
def test_a_changed_value_is_found(written, change):
    written.write_text(written.read_text().replace(*change))
    with pytest.raises(RecordError, match="changed by hand"):
        record.read(written)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}"] + [f'{{"record_version": {v}}}' for v in (0, "true")])
def test_no_record_is_no_result(written, content):
    written.write_text(content)
    with pytest.raises(RecordError, match="delete it and train again"):
        record.read(written)


def test_a_record_of_tomorrow_asks_for_another_reweigh_and_not_for_another_training(written):
    written.write_text('{"record_version": 4}')
    with pytest.raises(RecordError, match="version 4, newer than this Reweigh reads; update Reweigh"):
        record.read(written)


def test_a_missing_record_names_the_command(tmp_path):
    with pytest.raises(RecordError, match="train it with: snakemake"):
        record.read(tmp_path / "seed9.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace(": null", ":null", 1), "its values are as they were, but not its text"),
        (lambda text: text + "\n", "not its text"),
        (lambda text: text.replace(' "steps": 10', ' "steps": 11,\n "steps": 10'), "it has 'steps' twice"),
        (lambda text: text.replace(":0.25", ":NaN"), "NaN is not a number in JSON"),
        (lambda text: text.replace(":0.25", ":-Infinity"), "-Infinity is not a number in JSON"),
        (lambda text: text.replace(":0.25", ":1e999"), "is too large for a number"),
        (lambda text: text.replace(":0.25", ":" + "[" * 10**5 + "]" * 10**5), "nested too deeply"),
        (lambda text: text.replace(":0.25", ":" + "1" * 5000), "not a readable record"),
        (lambda text: text.replace(DIGESTS[3], ""), "but it says "),
        (lambda text: text.replace(f'"{DIGESTS[3]}"', '[{"a": 1}]'), "but it says [{'a': 1}]"),
        (lambda text: text.encode("utf-16"), "it is not UTF-8"),
        (lambda text: b"\xff\xfe\x00", "not a readable record"),
    ],
)
def test_one_spelling_only_is_a_record(written, change, said):
    content = change(written.read_text())
    written.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(RecordError, match="train again") as caught:
        record.read(written)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("place", "reader"),
    [("figures/paper/tdr/fig3.json", receipt.read), ("results/paper/attestations/*.json", attestations.read)],
)
def test_receipts_and_attestations_have_one_spelling_too(tmp_path, place, reader):
    (source, *_) = sorted(ROOT.glob(place))
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())
    assert reader(path) == json.loads(source.read_text())
    for content, said in (
        (source.read_bytes() + b"\n", "not its text"),
        (b"[" * 10**5, "not a readable"),
        (b'{"a": 1, "a": 1}', "twice"),
        (b'{"receipt_version": [], "attestation_version": {}}', "of version"),
    ):
        path.write_bytes(content)
        with pytest.raises(RecordError, match=said):
            reader(path)


def test_a_record_that_lacks_a_key_is_none(written):
    body = record.read(written)
    record.write(written, {key: value for key, value in body.items() if key not in ("steps", "curves")})
    with pytest.raises(RecordError, match="it lacks curves, steps; restore it or train again"):
        record.read(written)
    required = {name for name, field in record_schema.Record1.model_fields.items() if field.is_required()}
    assert required == record.KEYS  # of version 1; version 2 has more


def test_what_every_sealed_file_is_read_by_gives_what_json_gives():
    for path in COMMITTED[::12]:
        body = json.loads(path.read_text())
        assert canonical_json.parse(path.read_bytes()) == body and canonical_json.altered(body, path.read_bytes()) == ""
        assert canonical_json.digest_of(body) == body["digest"] and canonical_json.text_of(body) == path.read_text()


def test_a_record_cannot_hold_nan(tmp_path):
    with pytest.raises(ValueError):
        record.write(tmp_path / "seed0.json", {"metrics": {"test_accuracy": float("nan")}})
    assert not list(tmp_path.iterdir())


def test_trace_files_are_checked(tmp_path):
    trace, path = tmp_path / "seed0.npz", tmp_path / "seed0.json"
    trace.write_bytes(npz_bytes({"a": np.zeros(2)}))
    about = {"file": "seed0.npz", "sha256": file_digest(trace), "arrays": {"a": [2]}}
    found = record.write(path, {"trace": about})
    assert record.trace_path(path, found) == trace
    trace.write_bytes(npz_bytes({"a": np.ones(2)}))
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
    assert str(RunName.of_spec(spec)) == RUN
    assert record.record_path(RUN, tmp_path) == tmp_path / "results" / f"{RUN}.json"
    assert json.loads(json.dumps(spec)) == spec


# --- what records may say --------------------------------------------------------------------------------------------


def test_committed_records_are_of_the_schema():
    assert len(COMMITTED) >= 120
    schema = jsonschema.Draft202012Validator(json.loads(record_schema.text()))
    for number, path in enumerate(COMMITTED):
        assert record_schema.faults(json.loads(path.read_text())) == []
        if number % 24 == 0:  # slow
            schema.validate(json.loads(path.read_text()))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mood": "good"}, "mood: Extra inputs are not permitted"),
        ({"steps": 1.5}, "steps: "),
        ({"steps": "10"}, "steps: "),
        ({"steps": None}, "steps: "),
        ({"record_version": 4}, "does not match any of the expected tags"),
        ({"energy_joules": 5.0}, "energy_joules: Extra"),
        ({"device": {"kind": "abacus"}}, "device.kind: "),
        ({"spec": {}}, "spec.seed: "),
    ],
)
def test_whatever_else_a_record_says_is_refused(change, says):
    body = next(one for one in map(json.loads, map(Path.read_text, COMMITTED)) if one["record_version"] == 1)
    assert any(says in one for one in record_schema.faults({**body, **change}))


def test_every_key_has_a_meaning_and_the_versions_differ_as_stated():
    parts = json.loads(record_schema.text())["$defs"]
    ours = [part for name, part in parts.items() if name in vars(record_schema) and name != "Spec"]
    assert len(ours) > 15
    for part in ours:
        for key, one in part["properties"].items():
            assert one.get("description"), (part["title"], key)
    first, second, third = (set(parts[name]["required"]) for name in ("Record1", "Record2", "Record3"))
    assert second - first == {"energy_joules", "group_sizes", "resumed", "stage_one", "stages"} and first <= second
    assert third - second == {"also_measured", "diverged_because", "prefix"} and second - third == {"stage_one"}


def test_the_schema_in_git_is_current():
    stored = Path(ROOT / "config/record.schema.json").read_text()
    assert stored == record_schema.text()
    assert CliRunner().invoke(cli.app, ["schema", "--records"]).output == stored
