"""What the workflow is in a job that a scheduler runs, and what one setting says for a kind of rules."""

from types import SimpleNamespace

import pytest
import yaml
from support.project import ROOT

from reweigh.planning.jobs import flow

PLACE = SimpleNamespace(experiment="quick/tdr/mnist-4v9", setting="rho0.1", method="tdr")


def snakemake(main=True, remote=False, resources=(), groups=()):
    """What of Snakemake's own object is read and written."""
    return SimpleNamespace(
        is_main_process=main,
        remote_exec=remote,
        resource_settings=SimpleNamespace(overwrite_resources=dict(resources)),
        group_settings=SimpleNamespace(overwrite_groups=dict(groups)),
    )


@pytest.mark.parametrize("options", [{}, {"time_budget": "9m"}])
def test_only_the_main_process_starts_a_job_again(options):
    """A submitted job consists of two more Snakemakes, and three times three times three is not three."""
    assert flow(options, ROOT, workflow=snakemake()).retries == (30 if options else 2)
    assert flow(options, ROOT, workflow=snakemake(main=False, remote=True)).retries == 0
    assert flow(options, ROOT, workflow=snakemake(main=False)).retries == 0


@pytest.mark.parametrize(
    ("device", "gpu", "remote", "said"),
    [
        ("auto", 0, False, ""),
        ("auto", 1, False, "--gpu "),
        ("gpu", 1, True, "--gpu --requeue "),
        ("cpu", 1, True, "--requeue "),  # it holds a GPU, and is told to train on the processor
    ],
)
def test_a_job_with_a_gpu_does_not_train_without_and_one_of_slurm_queues_itself(monkeypatch, device, gpu, remote, said):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    workflow = flow({"device": device, "jobs": "cell"}, ROOT, workflow=snakemake(main=not remote, remote=remote))
    batch = next(batch for batch in workflow.training_batches() if batch.seeds == (0, 1))
    arguments = workflow.training_arguments(batch)(PLACE, threads=1, resources=SimpleNamespace(gpu=gpu))
    assert arguments.startswith(f"{said}--at-once ")


def test_the_name_of_a_kind_stands_for_all_rules_of_it():
    """A rule's own settings go first; what Snakemake has parsed is an object with its value in `raw`."""
    made = snakemake(
        resources={
            "train": {"runtime": SimpleNamespace(raw=9), "slurm_partition": "gpu"},
            "train_seed_0": {"runtime": 5},
            "fetch": {"runtime": 3},
        },
        groups={"render": "figures", "render_tdr_fig5": "alone"},
    )
    workflow = flow({}, ROOT, workflow=made)
    resources, groups = made.resource_settings.overwrite_resources, made.group_settings.overwrite_groups
    names = {f"train_{batch.name}" for batch in workflow.training_batches()}
    assert len(names) > 5 and {"train_seed_0", "train_seeds_0_to_4"} <= names
    assert set(resources) == {"train", "fetch", *names}
    assert resources["train_seeds_0_to_4"] == {"runtime": 9, "slurm_partition": "gpu"}
    assert resources["train_seed_0"] == {"runtime": 5, "slurm_partition": "gpu"} and resources["fetch"] == {
        "runtime": 3
    }
    assert groups["render_tdr_fig4"] == "figures" and groups["render_tdr_fig5"] == "alone"


def test_the_slurm_profile_says_what_the_default_one_says_and_nothing_that_config_would_replace():
    default, slurm = (
        yaml.safe_load((ROOT / f"profiles/{name}/profile.yaml").read_text()) for name in ("default", "slurm")
    )
    assert {**default, **slurm} == slurm, "as the workflow's profile it takes the place of the default one"
    assert "config" not in slurm and slurm["slurm-status-command"] == "squeue"
    settings = yaml.safe_load((ROOT / "profiles/slurm" / slurm["configfile"]).read_text())
    assert settings == {"device": "gpu"}


def test_the_plugin_is_locked_and_an_extra():
    locked = (ROOT / "envs/requirements.lock").read_text()
    assert "\nsnakemake-executor-plugin-slurm==" in locked and "\nsnakemake-executor-plugin-slurm-jobstep==" in locked
    assert '"snakemake-executor-plugin-slurm>=' in (ROOT / "pyproject.toml").read_text()
    assert "--extra slurm" in (ROOT / "Makefile").read_text()
