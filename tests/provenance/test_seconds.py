"""Seconds a step among seeds, and among cells: whoever made them cheaper is doubted."""

import pytest

from reweigh.provenance.audit import seconds

CPU = {"kind": "cpu", "name": "one", "threads": 1, "precision": "fp32", "runs_at_once": 1, "graph": None}
OTHER = CPU | {"kind": "cuda", "name": "two", "runs_at_once": 4, "graph": {"captured": ["step"]}}


def spec(method="er", batch_size=50, dataset="mnist"):
    return {
        "uses": method, "method_options": {}, "model": {"name": "lenet", "options": {}},
        "training": {"batch_size": batch_size, "target_batch_size": 10, "evaluate_every": 5},
        "data": {"dataset": dataset, "augment": "none"},
    }  # fmt: skip


def cell(*took, setting="rho0.1", device=CPU, steps=1000, status="finished", **work):
    body = {"status": status, "steps": steps, "device": device, "spec": spec(**work)}
    name = f"smoke/tdr/mnist-4v9/{setting}/{work.get('method', 'er')}"
    return {f"{name}/seed{seed}": {**body, "seconds": value} for seed, value in enumerate(took)}


def test_a_seed_that_cost_a_tenth_is_doubted():
    records = cell(20, 25, 2, 30) | cell(2, 2, 2, method="tdr")  # a method may be cheaper
    assert seconds.out_of_time(records) == {
        "smoke/tdr/mnist-4v9/rho0.1/er/seed2": "0.002 seconds a step, where the other seeds of its cell took 0.025"
    }
    assert list(seconds.out_of_time(cell(20, 25, 200))) == ["smoke/tdr/mnist-4v9/rho0.1/er/seed2"]


@pytest.mark.parametrize(
    "records",
    [cell(20, 25, 50), cell(20, 2), cell(0.05, 0.06, 0.5), cell(20, 25, 2, status="diverged"), cell(0, 0, 0), {}],
    ids=["a busy machine", "two that disagree", "hardly any", "stopped early", "none", "no records"],
)
def test_no_seed_is_doubted_without_reason(records):
    assert seconds.out_of_time(records) == {}


def test_seeds_of_other_machines_are_not_compared():
    records = cell(20, 25, 22)
    records |= {run.replace("seed", "seed1"): body for run, body in cell(2, 2, 2, device=OTHER).items()}
    assert seconds.out_of_time(records) == {}


def test_a_cell_whose_seeds_all_cost_a_tenth_is_doubted():
    """By the other cells that do the same work, however long they do it; each of its runs is named."""
    records = cell(20, 25, 30) | cell(60, steps=3000, setting="rho0.2") | cell(2, 2.4, 3, setting="rho0.3")
    assert seconds.out_of_time(records) == dict.fromkeys(
        [f"smoke/tdr/mnist-4v9/rho0.3/er/seed{seed}" for seed in range(3)],
        "0.0024 seconds a step in its cell, where cells that do the same work took 0.0225",
    )


@pytest.mark.parametrize(
    "other",
    [
        *({"batch_size": 5}, {"dataset": "adult"}, {"method": "tdr"}, {"device": OTHER}),
        *({"device": CPU | {"threads": 8}}, {"device": CPU | {"precision": "bf16"}}),
    ],
    ids=str,
)
def test_cells_that_do_other_work_are_not_compared(other):
    alike = cell(20, 25) | cell(21, setting="rho0.2")
    assert seconds.out_of_time(alike | cell(2, 2, 2, setting="rho0.3", **other)) == {}


def test_of_two_cells_that_disagree_none_is_the_odd_one():
    assert seconds.out_of_time(cell(20, 25) | cell(2, 2, setting="rho0.2")) == {}


def test_an_odd_seed_of_an_odd_cell_is_named_by_its_own_seconds():
    records = cell(20, 25, 30) | cell(22, 25, setting="rho0.2") | cell(2, 2, 20, setting="rho0.3")
    found = seconds.out_of_time(records)
    assert len(found) == 3 and found.pop("smoke/tdr/mnist-4v9/rho0.3/er/seed2") == (
        "0.02 seconds a step, where the other seeds of its cell took 0.002"
    )
    assert all("in its cell" in said for said in found.values())
