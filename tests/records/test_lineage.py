"""The chain of one run: what its record alone says, and what is known of it today."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.project import ROOT

from reweigh.digest import digest
from reweigh.records import lineage, record

RUN = "paper/tdr/mnist-4v9/rho0.005/tdr/seed1"


@pytest.fixture
def body() -> dict[str, Any]:
    return json.loads((ROOT / f"results/{RUN}.json").read_text())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with that record and nothing else."""
    target = record.record_path(RUN, tmp_path)
    target.parent.mkdir(parents=True)
    shutil.copy(ROOT / f"results/{RUN}.json", target)
    return tmp_path


def test_facts_are_what_the_record_says(body: dict[str, Any]) -> None:
    found = lineage.facts(body, "test_accuracy")
    assert found["run"] == RUN
    assert found["record"] == f"results/{RUN}.json"
    assert found["digest"] == digest({key: value for key, value in body.items() if key != "digest"})
    assert found["value"] == body["metrics"]["test_accuracy"]
    assert found["spec_digest"] == digest(body["spec"])
    assert found["code"] == {"digest": digest(body["code"]["files"]), "files": len(body["code"]["files"])}
    assert found["split"]["seed"] == 1 and found["split"]["recipe"] == body["spec"]["data"]["split"]
    assert [{key: file[key] for key in body["raw"][0]} for file in found["raw"]] == body["raw"]
    assert {file["what"] for file in found["raw"]} == {"the official files"}
    assert json.loads(json.dumps(found)) == found


def test_facts_do_not_look_at_todays_code_or_files(body: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    before = lineage.facts(body)

    def refuse(*_: Any) -> None:
        raise AssertionError("facts looked at the code of today")

    for name in ("code_files", "code_digest", "read"):
        monkeypatch.setattr(record, name, refuse)
    monkeypatch.setattr(lineage.attestations, "load", refuse)
    assert lineage.facts(body) == before
    body["spec"]["uses"] = "a method that is gone"
    assert lineage.facts(body)["spec_digest"] == before["spec_digest"]


def test_a_value_is_that_of_the_last_epoch_or_of_a_point_of_the_curve(body: dict[str, Any]) -> None:
    assert lineage.value_of(body, "minority_recall") == body["metrics"]["minority_recall"]
    place = body["curves"]["epoch"].index(50)
    assert lineage.value_of(body, "test_accuracy", 50) == body["curves"]["test_accuracy"][place]
    assert lineage.value_of(body, "test_accuracy", 1000) is None
    assert lineage.value_of(body, "no such metric", 50) is None
    assert lineage.facts(body, "test_accuracy", 50.0)["value"] == lineage.value_of(body, "test_accuracy", 50)


def test_energy_is_told_where_the_record_has_it(body: dict[str, Any]) -> None:
    assert "energy_joules" not in lineage.facts({**body, "energy_joules": None})
    assert lineage.facts({**body, "energy_joules": 12.5})["energy_joules"] == 12.5


def test_the_state_of_a_record(copy: Path) -> None:
    found, body = lineage.of_run(RUN, copy, "test_accuracy")
    assert body is not None
    assert found["state"].startswith("intact")
    assert found == {**lineage.facts(body, "test_accuracy"), "state": found["state"], "code": found["code"]}
    now = record.code_files(body["spec"])
    then = body["code"]["files"]
    assert found["code"]["changed_since"] == sorted(n for n in {*now, *then} if now.get(n) != then.get(n)) != []
    assert found["code"]["attested"] == ""  # no attestation was copied
    assert "bit-equal" in lineage.of_run(RUN, ROOT)[0]["code"]["attested"]

    path = record.record_path(RUN, copy)
    path.write_text(path.read_text().replace('"status": "finished"', '"status": "diverged"'))
    altered, body = lineage.of_run(RUN, copy)
    assert body is None and "changed by hand" in altered["state"] and set(altered) == {"run", "record", "state"}
    path.unlink()
    missing, body = lineage.of_run(RUN, copy)
    assert body is None and "train it with" in missing["state"]


def test_a_method_that_is_gone_is_named(body: dict[str, Any]) -> None:
    body["spec"]["uses"] = "gone"
    assert "reweigh.methods.gone" in lineage.changed(body)[0]
    assert lineage.attested(body, ROOT) == ""
