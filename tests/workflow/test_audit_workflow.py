"""The audit as a rule: it runs whenever it is asked for, fails if the chain does not hold, and leaves its report."""

import json

import pytest
from support.workflow import copy, planned, snakemake

from reweigh.planning.jobs import flow

CALL = ("--config", "scale=smoke", "--allowed-rules", "audit", "--", "audit")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A project in which everything that an audit looks at is there, and nothing is what it should be."""
    folder = copy(tmp_path_factory.mktemp("drawn"))
    for name in flow({"scale": "smoke"}, folder).everything():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_failed_audit_fails_the_rule_and_leaves_its_report(drawn):
    snakemake(drawn, "--cores", "1", *CALL, fails=True)
    report = json.loads((drawn / "results/smoke/audit.json").read_text())
    assert report["verdict"] != "unbroken" and report["counts"]["receipt"]["broken"] > 1
    assert "the chain has faults" in (drawn / "logs/audit/smoke.log").read_text()
    assert planned(drawn, *CALL)["audit"] == 1  # each call looks anew
