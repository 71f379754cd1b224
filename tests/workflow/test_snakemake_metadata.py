"""Snakemake's metadata: no fault where all is well, and what contradicts them is named."""

import base64
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import needs, workflow

from reweigh.config.loading import load
from reweigh.digest import digest, file_digest
from reweigh.planning.jobs import ArtifactJob, Flow
from reweigh.provenance.audit.links import remedy
from reweigh.provenance.audit.snakemake_metadata import UNFINISHED, check_snakemake_metadata
from reweigh.records import record

CELL = "smoke/tdr/adult/sex/tdr"
RUNS = [f"{CELL}/seed0", f"{CELL}/seed1"]
FIGURE = "figures/smoke/tdr/table3.csv"
CARD = "results/smoke/scorecard.csv"
START = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()  # of the training job; it took a minute
CONFIG = load(workflow.ROOT)


# --- made-up jobs, in Snakemake's format ---


def date(seconds):
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def name_of(path):
    return base64.urlsafe_b64encode(path.encode()).decode()


def write(root, path, text, ended):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    os.utime(root / path, (ended, ended))


def remember(root, path, started, ended, **changes):
    """What Snakemake would keep of the job that made a file."""
    said = {
        "rule": "some",
        "input": [],
        "log": [],
        "shellcmd": "",
        "params": [],
        "code": "",
        "record_format_version": 6,
        "conda_env": None,
        "container_img_url": None,
        "software_stack_hash": "",
        "job_hash": 1,
        "starttime": started,
        "endtime": ended,
        "incomplete": False,
        "external_jobid": None,
        "input_checksums": {},
    } | changes
    file = root / ".snakemake/metadata" / name_of(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(said))


class Project:
    """Two records of one training job, and a figure and a scorecard drawn from them a minute later."""

    def __init__(self, root):
        self.root = root
        self.records = {run: self.body(run, START + 10 + 20 * seed) for seed, run in enumerate(RUNS)}
        params = [repr(digest([f"{part} {run}" for run in RUNS])) for part in ("spec", "code", "split")]
        command = f"reweigh train --at-once 1 {' '.join(RUNS)} > logs/some.log 2>&1"
        for run in RUNS:
            self.save(run, START + 60)
            remember(root, self.path(run), START, START + 60, params=params, shellcmd=command)
        seen = {self.path(run): f"sha256:{file_digest(root / self.path(run))}" for run in RUNS}
        rendering = ArtifactJob(Flow(CONFIG), "tdr", "table3").rendering_digest(SimpleNamespace(scale="smoke"))
        for path in (FIGURE, CARD):
            write(root, path, "numbers", START + 180)
            remember(root, path, START + 120, START + 180, params=[repr(rendering)], input_checksums=seen)

    @staticmethod
    def path(run):
        return f"results/{run}.json"

    @staticmethod
    def body(run, ended):
        return {
            "spec_digest": f"spec {run}",
            "code": {"digest": f"code {run}"},
            "split": {"recipe_digest": f"split {run}"},
            "ended": date(ended),
        }

    def save(self, run, written):
        write(self.root, self.path(run), json.dumps(self.records[run]), written)

    def change(self, run, written, **changes):
        """Other content of a record's file, written then."""
        self.records[run] |= changes
        self.save(run, written)

    def states(self):
        found = list(check_snakemake_metadata(CONFIG, self.records, self.root))
        assert all(link.kind == "snakemake" for link in found)
        return {link.name: (link.state, link.detail) for link in found}

    def faults(self):
        return {name: said for name, said in self.states().items() if said[0] != "intact"}


@pytest.fixture
def made(tmp_path):
    return Project(tmp_path)


def test_agreement(made):
    assert made.states() == dict.fromkeys([*RUNS, FIGURE, CARD], ("intact", ""))


def test_a_clone_has_no_metadata(made):
    shutil.rmtree(made.root / ".snakemake")
    assert made.states() == {}
    made.records = {}
    assert made.states() == {}


def test_only_scales_that_are_asked_about(made):
    remember(made.root, "figures/paper/tdr/fig5.csv", START, START, input_checksums={CARD: "sha256:0"})
    write(made.root, "figures/paper/tdr/fig5.csv", "", START)
    assert made.faults() == {}


# A record's own times decide whether Snakemake's job can have made it.


def test_a_record_that_the_job_found_and_kept(made):
    """As does one that a failed update left, or a job that was started again: no link, and none of the others lies."""
    made.records[RUNS[0]]["ended"] = date(START - 3600)
    shutil.rmtree(made.root / ".snakemake/metadata" / name_of(FIGURE), ignore_errors=True)
    for path in (FIGURE, CARD):
        (made.root / ".snakemake/metadata" / name_of(path)).unlink()
    assert made.states() == {RUNS[1]: ("intact", "")}
    made.records[RUNS[0]]["code"] = {"digest": "older"}  # it was stale, and what was asked for instead is not known
    assert made.states() == {}


def test_a_record_written_since_by_something_else(made):
    made.change(RUNS[0], START + 500, ended=date(START + 499))
    faults = made.faults()
    assert faults.pop(RUNS[0])[0] == "unverifiable"
    stale = f"changed since it was made: results/{RUNS[0]}.json"
    assert faults == {FIGURE: ("stale", stale), CARD: ("stale", stale)}


def test_a_record_that_ended_after_it_was_written(made):
    made.change(RUNS[0], START + 60, ended=date(START + 100))
    assert RUNS[0] not in made.faults()  # clocks of two machines
    made.change(RUNS[0], START + 60, ended=date(START + 7200))
    state, detail = made.faults()[RUNS[0]]
    said = "it says that it ended at 2026-11-21T14:00:00Z; Snakemake saw it finished at 2026-11-21T12:01:00Z"
    assert state == "unverifiable" and detail.startswith(said)  # a wrong clock explains it as well as a forgery
    assert detail.endswith("the clock of the machine that trained it was wrong, or it was altered")


def test_an_altered_record_that_says_it_is_older_than_the_figure(made):
    """With its own digest computed again: the figure's job saw other bytes."""
    made.change(RUNS[1], START + 900, metrics={"test_accuracy": 1.0})
    faults = made.faults()
    assert set(faults) == {FIGURE, CARD} and {state for state, _ in faults.values()} == {"broken"}
    detail = faults[FIGURE][1]
    assert f"made from results/{RUNS[1]}.json, which had sha256 " in detail and "it was altered" in detail


@pytest.mark.parametrize(
    ("part", "changed"),
    [("spec", {"spec_digest": "x"}), ("code", {"code": {"digest": "x"}}), ("split", {"split": {"recipe_digest": "x"}})],
)
def test_a_record_of_something_else_than_was_asked_for(made, part, changed):
    made.change(RUNS[0], START + 60, **changed)
    faults = made.faults()
    assert {faults[run][0] for run in RUNS} == {"broken"}
    assert f"has another {part} than the job that made it" in faults[RUNS[0]][1]
    del made.records[RUNS[1]]  # broken, say: then the sum of both digests is not known, and nobody is accused
    assert RUNS[0] not in made.faults()


def test_swapped_records(made):
    first, second = (made.records[run] for run in RUNS)
    made.change(RUNS[0], START + 60, **second)
    made.change(RUNS[1], START + 60, **{**first, "ended": date(START + 10)})
    assert made.faults()[RUNS[0]][0] == "broken"


def test_the_metadata_of_another_job(made):
    command = "reweigh train --at-once 1 smoke/tdr/adult/sex/none/seed0 > logs/some.log 2>&1"
    remember(made.root, made.path(RUNS[0]), START, START + 60, shellcmd=command)
    assert made.faults()[RUNS[0]] == (
        "broken",
        "the job that made it, which ended at 2026-11-21T12:01:00Z, trained other runs",
    )


@needs.GIT
def test_an_older_record_that_git_put_back(made):
    made.change(RUNS[1], START + 900, metrics={"test_accuracy": 1.0})
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "results"), (*author, "commit", "-qm", "records")):
        subprocess.run(["git", *command], cwd=made.root, check=True)
    assert {name: state for name, (state, _) in made.faults().items()} == {FIGURE: "stale", CARD: "stale"}


# Figures and scorecard.


def test_inputs_that_are_others_now_or_gone(made):
    seen = {"notebooks/some.ipynb": "sha256:0", "published.csv": "1"}
    remember(made.root, CARD, START + 120, START + 180, input_checksums=seen)
    write(made.root, "notebooks/some.ipynb", "new", START)
    assert made.faults() == {CARD: ("missing", "made from published.csv, which does not exist")}
    write(made.root, "published.csv", "new", START)
    assert made.faults() == {CARD: ("stale", "changed since it was made: notebooks/some.ipynb and 1 more")}


def test_another_rendering(made):
    remember(made.root, FIGURE, START + 120, START + 180, params=[repr("another")])
    assert made.faults() == {
        FIGURE: ("stale", "Snakemake had it rendered by other code, config or records than today's")
    }
    shutil.move(made.root / FIGURE, made.root / "figures/smoke/tdr/gone.csv")
    assert made.faults() == {}


def test_a_figure_drawn_since_by_something_else(made):
    remember(made.root, FIGURE, START + 120, START + 180, params=[repr("another")])
    os.utime(made.root / FIGURE, (START + 999, START + 999))
    assert FIGURE not in made.states()


# Jobs that did not end, and metadata that cannot be read.


def test_an_incomplete_flag(made):
    remember(made.root, made.path(RUNS[0]), START, START + 60, incomplete=True)
    assert made.faults() == {RUNS[0]: UNFINISHED}


@pytest.mark.parametrize("path", [f"results/{RUNS[0]}.json", FIGURE, CARD])
def test_a_job_that_did_not_end(made, path):
    marker = made.root / ".snakemake/incomplete" / name_of(path)
    marker.parent.mkdir()
    marker.write_text("{}")
    name = path.removeprefix("results/").removesuffix(".json") if path.endswith(".json") else path
    assert made.faults() == {name: UNFINISHED}


def test_formats_that_are_not_known(made):
    remember(made.root, made.path(RUNS[0]), START, START, record_format_version=7)
    remember(made.root, made.path(RUNS[1]), START, START, params=None)
    (made.root / ".snakemake/metadata" / name_of(CARD)).write_text('{"rule": ')
    found = list(check_snakemake_metadata(CONFIG, made.records, made.root))
    said = sorted(link.detail for link in found if link.name == ".snakemake/metadata")
    assert [link.name for link in found if link.state == "intact"] == [FIGURE]
    assert said == [
        "1 of 4 files cannot be used: they have Snakemake's record format 7; the audit reads format 6",
        "2 of 4 files cannot be used: they are damaged",
    ]
    assert all(remedy(link) == "" for link in found if link.name.startswith(".snakemake/"))  # no target makes them


def test_a_database(made):
    shutil.rmtree(made.root / ".snakemake/metadata")
    (made.root / ".snakemake/metadata.db").touch()
    assert list(made.faults()) == [".snakemake/metadata.db"]


def test_names_and_format_are_those_of_snakemake(made, tmp_path):
    """Long names are cut into folders; written by Snakemake itself."""
    from snakemake.persistence import RECORD_FORMAT_VERSION, MetadataRecord
    from snakemake.persistence.file import FilePersistence

    run = f"smoke/tdr/adult/sex/{'long' * 60}/seed0"
    made.records[run] = Project.body(run, START + 10)
    params = [repr(digest([f"{part} {run}"])) for part in ("spec", "code", "split")]
    store = FilePersistence(path=made.root / ".snakemake")
    said = {"shellcmd": f"x; reweigh train {run} > log", "params": params, "starttime": START, "endtime": START + 60}
    memory = MetadataRecord(**said, incomplete=False, record_format_version=RECORD_FORMAT_VERSION)
    store._write_record(f"results/{run}.json", memory)
    assert made.states()[run] == ("intact", "")
    store._mark_incomplete(f"results/{run}.json", None)
    assert made.states()[run][0] == "unverifiable"


# --- real jobs ---


@pytest.fixture
def root(table3_project, tmp_path):
    return Path(shutil.copytree(table3_project, tmp_path / "project", symlinks=True))


def recorded(root):
    """States and details by name, as an audit finds them; the copy's code is the project's own."""
    paths = sorted((root / "results/smoke").glob("*/*/*/*/seed*.json"))
    bodies = {path.relative_to(root / "results").with_suffix("").as_posix(): record.read(path) for path in paths}
    return {link.name: tuple(link[2:]) for link in check_snakemake_metadata(load(root), bodies, root)}


def at_fault(root):
    return {name: state for name, (state, _) in recorded(root).items() if state != "intact"}


@pytest.mark.slow
def test_what_snakemake_made_is_recorded(root):
    found = recorded(root)
    config = load(root)
    runs = [run for cell in config.cells_of("smoke", "tdr", "table3") for run in config.runs_of(cell)]
    runs += [
        run
        for run in config.runs("smoke", "tdr", "mnist-4v9")
        if run.startswith(f"{workflow.PAIR.rpartition('/')[0]}/")
    ]
    splits = {f"data/splits/{run.rsplit('/', 2)[0]}/{run.rpartition('/')[2]}.npz" for run in runs}
    assert found == dict.fromkeys([*runs, *splits, FIGURE], ("intact", ""))


@pytest.mark.slow
def test_what_was_altered_is_contradicted(root):
    """Each with the record's digest computed again, so that the record alone says nothing."""
    path = root / f"results/{RUNS[0]}.json"
    before, stat = path.read_bytes(), path.stat()

    def altered(keep_time=False, **changes):
        record.write(path, record.read(path) | changes)
        if keep_time:
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        found = at_fault(root)
        path.write_bytes(before)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        return found

    body, job = record.read(path), load(root).runs("smoke", "tdr", "adult")
    assert altered(metrics=body["metrics"] | {"test_accuracy": 1.0}) == {FIGURE: "broken"}
    assert altered(spec_digest="0" * 64) == dict.fromkeys([*job, FIGURE], "broken")
    assert altered(ended="2099-01-01T00:00:00Z") == {RUNS[0]: "unverifiable", FIGURE: "stale"}
    assert altered(ended="2099-01-01T00:00:00Z", keep_time=True) == {RUNS[0]: "unverifiable", FIGURE: "stale"}
    assert altered(ended="2001-01-01T00:00:00Z") == {FIGURE: "broken"}  # it claims to have been kept
    assert at_fault(root) == {}


@pytest.mark.slow
def test_snakemakes_own_memory_altered(root):
    file = root / ".snakemake/metadata" / name_of(f"results/{RUNS[0]}.json")
    said = json.loads(file.read_text())
    file.write_text(json.dumps(said | {"params": [repr("0" * 64)]}))
    assert at_fault(root) == {RUNS[0]: "broken"}
    file.write_text(json.dumps(said | {"incomplete": True}))
    assert at_fault(root) == {RUNS[0]: "unverifiable"}
    file.unlink()
    assert at_fault(root) == {} and RUNS[0] not in recorded(root)  # as after --cleanup-metadata
    split = root / "data/splits/smoke/tdr/adult/sex/seed0.npz"
    file = root / ".snakemake/metadata" / name_of(str(split.relative_to(root)))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"params": []}))
    assert at_fault(root) == {str(split.relative_to(root)): "broken"}


@pytest.mark.slow
def test_touching_and_what_snakemake_does_later_is_no_fault(root):
    target = ("--cores", "1", "--config", "scale=smoke", "--", "tdr_table3")
    workflow.snakemake(root, "--touch", *target)
    assert at_fault(root) == {}
    (root / f"results/{RUNS[0]}.json").unlink()
    assert at_fault(root) == {FIGURE: "missing"}
    workflow.snakemake(root, *target, f"results/{RUNS[0]}.json")
    found = recorded(root)
    assert found[RUNS[0]] == ("intact", "") and set(found.values()) == {("intact", "")}, found
