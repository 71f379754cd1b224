"""The workflow: real Snakemake, in a copy of the project; what it plans, what it makes, what makes it run again."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from support import needs
from support.workflow import PAIR, ROOT, copy, leave_records, planned, snakemake

from reweigh.config.loading import load
from reweigh.config.names import CellName, RunName
from reweigh.config.specs import SCALES
from reweigh.digest import digest
from reweigh.planning.jobs import flow
from reweigh.records import record

FIG5 = "figures/paper/tdr/fig5.pdf"
EDITED = {
    "notebook": "notebooks/tdr/table3.ipynb",
    "method": "src/reweigh/methods/tdr.py",
    "another_method": "src/reweigh/methods/er.py",
    "reader": "src/reweigh/data/readers/adult.py",
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A fresh copy with the records that fig5 needs, and no memory of how they were made."""
    folder = copy(tmp_path_factory.mktemp("clone"))
    for cell in load(folder).cells_of("paper", "tdr", "fig5"):
        leave_records(folder, cell)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, table3_project):
    """A copy in which table3 was really made at scale smoke: fetch, split, train, render."""
    return Path(shutil.copytree(table3_project, tmp_path_factory.mktemp("made") / "project", symlinks=True))


# --- a fresh clone ---


def test_a_bare_call_plans_everything(clone):
    jobs = planned(clone)
    config = load(clone)
    drawn = [(paper, name) for paper in config.project.papers for name in config.paper(paper).artifacts]
    needed = {cell for paper in config.project.papers for cell in config.cells("quick", paper)}
    needed |= {cell for paper, name in drawn for cell in config.cells_of("quick", paper, name)}
    settings = {CellName.parse(cell)[:4] for cell in needed}
    assert jobs["render"] == len(drawn)
    assert jobs["train"] == len(settings) < len(needed) / 4
    assert planned(clone, "--config", "jobs=cell")["train"] == len(needed)
    # MNIST, Adult, the slices of CIFAR-10 (two), CIFAR-100 and CIFAR-10N, features of Waterbirds
    assert jobs["fetch"] == 7
    assert jobs["score"] == 1


def test_editing_a_method_makes_its_runs_stale_and_no_others(clone):
    method = clone / "src/reweigh/methods/tdr.py"
    before = method.read_text()
    (clone / "src/reweigh/config/grid.py").touch()
    method.write_text(before.replace('"""', '"""Better explained. ', 1) + "\n# a comment\n")
    assert "train" not in planned(clone, FIG5)
    method.write_text(before + "\nCHANGED = True\n")
    try:
        said = snakemake(clone, "--dry-run", FIG5)
    finally:
        method.write_text(before)
    trained = re.findall(r"wildcards: experiment=(\S+), setting=(\S+), method=(\S+)", said)
    settings = ("rho0.005", "rho0.02", "rho0.05", "rho0.1")
    cells = {("paper/tdr/mnist-4v9", setting, method) for setting in settings for method in ("tdr_p", "tdr")}
    assert set(trained) == cells
    assert ".reweigh/stale/code/paper/tdr/mnist-4v9/rho0.1/tdr/seed0" in said


def test_a_figure_whose_records_are_there_trains_nothing_even_if_raw_data_and_splits_are_newer(clone):
    source = clone / "data/raw/mnist/SOURCE.json"
    source.parent.mkdir(parents=True)
    source.write_text("{}")
    split = clone / "data/splits/paper/tdr/mnist-4v9/rho0.1/seed0.npz"
    split.parent.mkdir(parents=True)
    split.write_bytes(b"")
    try:
        assert planned(clone, FIG5) == {"render": 1, "total": 1}
    finally:
        shutil.rmtree(clone / "data/raw")
        shutil.rmtree(clone / "data/splits")


def test_a_missing_record_trains_its_cell_and_stale_ones_can_be_kept(clone):
    missing, stale = (
        record.record_path(f"paper/tdr/mnist-4v9/{setting}/er/seed4", clone) for setting in ("rho0.1", "rho0.05")
    )
    before = [path.read_text() for path in (missing, stale)]
    missing.unlink()
    stale.write_text(before[1].replace('"spec_digest": "', '"spec_digest": "0'))
    try:
        assert planned(clone, FIG5)["train"] == 2
        assert planned(clone, "--config", "missing=skip", "--", FIG5)["train"] == 1
        assert "train" not in planned(clone, "--config", "missing=skip", "stale=keep", "--", FIG5)
    finally:
        for path, text in zip((missing, stale), before, strict=True):
            path.write_text(text)


@needs.CLONE
def test_the_records_in_git_redraw_the_figures(tmp_path):
    """A clone draws these figures without training: the records in git are all there and current."""
    drawn = [f"figures/paper/tdr/{name}.pdf" for name in ("fig3", "fig4", "fig5", "fig6", "table3")]
    listed = subprocess.run(
        ["git", "ls-files", "results/paper"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    copy(tmp_path)
    for path in listed:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, tmp_path / path)
    assert planned(tmp_path, *drawn) == {"render": 5, "total": 5}


# --- mistakes ---


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "hard_p, tdr, er, none, hard]",
            "hard_p, tdrr, er, none, hard]",
            "unknown method 'tdrr'; did you mean 'tdr'?",
        ),
        ("imbalance_ratio: 200 }", "imbalance_ratio: 0 }", "greater than or equal to 1, is 0"),
    ],
)
def test_a_mistake_in_the_config_stops_before_any_job(clone, old, new, said):
    file = clone / "config/papers/tdr/experiments/mnist.yaml"
    before = file.read_text()
    file.write_text(before.replace(old, new, 1))
    try:
        printed = snakemake(clone, "--cores", "1", fails=True)
    finally:
        file.write_text(before)
    assert said in printed
    assert "config/papers/tdr/experiments/mnist.yaml:" in printed
    assert not (clone / "data/raw").exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [("runs_at_once=0", "auto or a whole number from 1 on, is 0"), ("time_budget=soon", "such as 90s, 9m or 1.5h")],
)
def test_a_setting_that_cannot_be(clone, setting, said):
    key, value = setting.split("=")
    with pytest.raises(SystemExit, match=said):
        flow({key: yaml.safe_load(value)}, clone)  # as Snakemake reads it


def test_an_unknown_key_on_the_command_line(clone):
    assert "did you mean 'scale'?" in snakemake(clone, "--cores", "1", "--config", "scal=paper", fails=True)


# --- a real run ---


def test_a_run_leaves_artifact_records_and_splits(made):
    for ending in ("pdf", "png", "csv", "ipynb", "json"):
        assert (made / f"figures/smoke/tdr/table3.{ending}").stat().st_size > 0
    for method in ("tdr", "none", "constant"):
        body = record.read(made / f"results/smoke/tdr/adult/sex/{method}/seed0.json")
        assert body["status"] == "finished"
    assert json.loads((made / "data/raw/adult/SOURCE.json").read_text())["edition"] == "official"


def test_nothing_is_done_twice_and_touching_makes_nothing_run(made):
    """Nor does how runs are trained: how many at once, and for how long."""
    for path in (*made.glob("src/reweigh/**/*.py"), *made.glob("data/raw/adult/*"), *made.glob("notebooks/tdr/*")):
        path.touch()
    for path in (*made.glob("data/splits/**/*.npz"), *made.glob("results/**/*.json")):
        path.touch()
    changed = ("--config", "scale=smoke", "runs_at_once=2", "time_budget=9m", "--", "tdr_table3")
    assert planned(made, *changed).get("total", 0) <= 1  # the shorthand itself


def test_each_edit_runs_what_depends_on_it(made):
    target = ("--config", "scale=smoke", "--", "tdr_table3")

    def after(**texts):
        paths = [made / EDITED[name] for name in texts]
        before = [path.read_text() for path in paths]
        for path, old, text in zip(paths, before, texts.values(), strict=True):
            path.write_text(old + text)
        try:
            jobs = planned(made, *target)
        finally:
            for path, old in zip(paths, before, strict=True):
                path.write_text(old)
        return {kind: jobs[kind] for kind in ("fetch", "split", "train", "render") if kind in jobs}

    changed = "\nCHANGED = True\n"
    assert after(notebook="\n", another_method=changed) == {"render": 1}
    assert after(method=changed) == {"train": 1, "render": 1}
    assert after(reader=changed) == {"split": 1, "train": 1, "render": 1}


@pytest.mark.slow
def test_a_job_of_a_setting_trains_only_the_runs_that_an_edit_made_stale(table3_project, tmp_path):
    made = Path(shutil.copytree(table3_project, tmp_path / "project", symlinks=True))
    target = ("--config", "scale=smoke", "--", "tdr_table3")
    (made / EDITED["method"]).write_text((made / EDITED["method"]).read_text() + "\nCHANGED = True\n")
    records = sorted((made / "results/smoke/tdr/adult").rglob("seed*.json"))
    before = [path.read_bytes() for path in records]
    snakemake(made, "--cores", "1", *target)
    changed = [path.parts[-2] for path, text in zip(records, before, strict=True) if path.read_bytes() != text]
    assert changed == ["tdr", "tdr_p"]
    assert [path.parts[-2] for path in records] == ["constant", "none", "none_p", "tdr", "tdr_p"]
    (log,) = (made / "logs/train/smoke/tdr/adult/sex").glob("*.log")
    assert "3 of 5 records are current: not trained again" in log.read_text()
    assert planned(made, *target).get("total", 0) <= 1


def test_the_text_of_a_rule_and_the_names_of_its_wildcards_make_nothing_run_again(made):
    """Else an update of this project would train again what its users have."""
    target = ("--config", "scale=smoke", "--", "tdr_table3")
    files = [made / "workflow/rules" / name for name in ("data.smk", "train.smk")]
    files += [made / "src/reweigh/planning" / name for name in ("jobs.py", "batches.py")]
    before = [file.read_text() for file in files]
    for file, text in zip(files, before, strict=True):
        renamed = text.replace("{experiment}", "{place}").replace("experiment=", "place=")
        file.write_text(
            renamed.replace("wildcards.experiment", "wildcards.place").replace('"reweigh train', '"exec reweigh train')
        )
    try:
        assert planned(made, *target).get("total", 0) <= 1  # the shorthand itself
        assert planned(made, "--rerun-triggers", "code", *target)["train"] == 1  # the text is another one
    finally:
        for file, text in zip(files, before, strict=True):
            file.write_text(text)


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, pytest.param(False, marks=pytest.mark.minutes)])
def test_a_failed_job_keeps_the_records_that_it_finished(table3_project, tmp_path, known):
    """Snakemake restores what was there before an updating job if it fails; a stale record must not come back.

    It does come back where the version of Snakemake is not known; then the job's log says so. (What the job does then
    is shown without Snakemake in tests/training/test_snakemake_backups.py.)
    """
    made = Path(shutil.copytree(table3_project, tmp_path / "project", symlinks=True))
    module = made / "src/reweigh/training/snakemake_backups.py"
    source = module.read_text()
    cell = PAIR
    first, second = (record.record_path(run, made) for run in load(made).runs_of(cell))
    for path in (first, second):
        record.write(path, record.read(path) | {"spec_digest": "of an older config", "trace": None})
    paths = [str(path.relative_to(made)) for path in (first, second)]
    target = ("--cores", "1", "--config", "scale=smoke", "--", *paths)
    split = RunName.parse(f"{cell}/seed1").split
    (made / f"data/splits/{split}.npz").write_bytes(b"altered")
    if not known:
        module.write_text(source.replace("KNOWN = (", "KNOWN = ((1, 0), (2, 0))  # "))
    try:
        printed = snakemake(made, *target, fails=True)
    finally:
        module.write_text(source)
    assert "delete both and they are drawn again" in printed
    assert ("may keep its backups elsewhere" in printed) != known
    finished = digest(load(made).resolve(f"{cell}/seed0"))
    assert record.read(first)["spec_digest"] == (finished if known else "of an older config")
    assert not list((made / ".snakemake/backups").rglob("*.json"))
    assert record.read(second)["spec_digest"] == "of an older config"
    assert planned(made, *target)["train"] == 1  # Snakemake remembers the failed job like a finished one


def test_report(made):
    snakemake(made, "--config", "scale=smoke", "--report", "report.html", "--", "tdr_table3")
    assert (made / "report.html").stat().st_size > 100_000


# --- without Snakemake ---


def test_jobs_take_batches_of_seeds(clone):
    pairs = flow({"seeds_per_job": 2}, clone).split_batches()
    assert {batch.seeds for batch in pairs} == {(0,), (0, 1), (2,), (2, 3), (4,), (4, 5), (6, 7), (8, 9)}
    whole = flow({}, clone).split_batches()
    assert {batch.seeds for batch in whole} == {(0,), (0, 1), (0, 1, 2), (0, 1, 2, 3, 4), (5, 6, 7, 8, 9)}
    assert all(re.fullmatch(batch.pattern, str(name)) for batch in whole for name in batch.experiments)


@pytest.mark.parametrize(
    ("jobs", "seeds_per_job", "together"),
    [("auto", 5, ("smoke", "quick")), ("auto", 2, ("smoke", "quick")), ("cell", 5, ()), ("setting", 5, SCALES)],
)
def test_each_record_is_made_by_one_rule(clone, jobs, seeds_per_job, together):
    """By that of all methods of its setting where the scale has such jobs, by that of its cell otherwise."""
    workflow = flow({"jobs": jobs, "seeds_per_job": seeds_per_job}, clone)
    batches = workflow.training_batches()
    assert len({batch.name for batch in batches}) == len(batches)
    # Compiled here: there are more of them than the cache of `re` holds, which then compiles each anew for each run.
    makes = [(batch, re.compile(as_regex(batch, pattern))) for batch in batches for pattern in batch.records]
    config = workflow.config
    for scale in SCALES:
        for paper in config.project.papers:
            for run in config.runs(scale, paper):
                (batch,) = {batch for batch, regex in makes if regex.fullmatch(f"results/{run}.json")}
                several = scale in together and len(config.methods_of(*RunName.parse(run)[:3])) > 1
                assert bool(batch.methods) == several and len(batch.seeds) <= seeds_per_job
    extension = "results/quick/tdr/mnist-4v9/rho0.1/er_ren/seed0.json"
    (batch,) = {batch for batch, regex in makes if regex.fullmatch(extension)}
    assert not batch.methods


def as_regex(batch, pattern):
    """The files that a rule's output may be, as Snakemake reads its pattern."""
    values = {"experiment": f"(?:{batch.pattern})", "setting": "[^/]+", "method": "[^/]+"}
    parts = re.split(r"{(\w+)}", pattern)
    return "".join(values[part] if number % 2 else re.escape(part) for number, part in enumerate(parts))


def test_a_setting_names_all_its_runs_once(clone):
    place = SimpleNamespace(experiment="quick/tdr/mnist-4v9", setting="rho0.1")
    (batch,) = [
        one for one in flow({}, clone).training_batches() if one.methods and re.fullmatch(one.pattern, place.experiment)
    ]
    runs = [
        f"quick/tdr/mnist-4v9/rho0.1/{method}/seed{seed}"
        for method in ("tdr", "er", "none", "hard")
        for seed in range(3)
    ]
    assert batch.runs(place) == runs
    assert batch.records == [f"results/{{experiment}}/{{setting}}/{run.split('/', 4)[4]}.json" for run in runs]
    assert "{method}" not in batch.log


@pytest.mark.parametrize(
    ("settings", "gpu", "threads", "said"),
    [
        ({}, 0, 1, "--at-once 1"),
        ({}, 1, 1, "--at-once auto"),
        ({"runs_at_once": 3}, 0, 2, "--at-once 2"),
        ({"runs_at_once": 3}, 1, 1, "--at-once 3"),
        ({"runs_at_once": 9, "time_budget": "1.5h"}, 0, 2, "--at-once 2 --time-budget 1.5h"),
    ],
)
def test_what_a_training_job_is_asked(clone, monkeypatch, settings, gpu, threads, said):
    """Jobs fill the cores of a CPU; a GPU takes all runs of a job. Snakemake may grant fewer threads than asked."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    workflow = flow({"device": "gpu" if gpu else "cpu", "jobs": "cell", **settings}, clone)
    batch = next(batch for batch in workflow.training_batches() if batch.seeds == (0, 1))
    place = SimpleNamespace(experiment="quick/tdr/mnist-4v9", setting="rho0.1", method="tdr")
    assert batch.cores(place) == threads
    runs = "quick/tdr/mnist-4v9/rho0.1/tdr/seed0 quick/tdr/mnist-4v9/rho0.1/tdr/seed1"
    assert batch.training_arguments(place, threads, SimpleNamespace(gpu=gpu)) == f"{said} {runs}"
    assert batch.training_arguments(place, 1, SimpleNamespace(gpu=0)).startswith("--at-once 1")


def test_a_job_under_a_time_budget_is_started_again_more_often(clone):
    assert flow({}, clone).retries < flow({"time_budget": "9m"}, clone).retries


def test_a_gpu_is_asked_for_where_there_is_one(clone, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    batches = [flow({"device": device}, clone).training_batches()[0] for device in ("auto", "cpu", "gpu")]
    assert [batch.gpus(None) for batch in batches] == [0, 0, 1]
