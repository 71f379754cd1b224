"""`reweigh compare` from a csv to the page: what it writes, asks, refuses; killed, it goes on and ends the same."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import compared_data, shared
from support.processes import wait_for
from support.project import checkpoints, environment, outcome
from typer.testing import CliRunner

from reweigh.cli import app
from reweigh.config.loading import load
from reweigh.errors import ConfigError, DataError
from reweigh.planning import compare
from reweigh.planning.plan import of_runs
from reweigh.provenance import crate
from reweigh.provenance.audit import audit
from reweigh.provenance.explain import explain
from reweigh.records import record

METHODS, SEEDS, EPOCHS = "none,ldam,group_dro", 2, 2
STEM = "figures/local/claims/compare"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A project in which a comparison with groups has been made, by the command; to be read only."""

    def fill(folder):
        with pytest.MonkeyPatch.context() as patch:
            compared_data.project(folder / "project", patch)
            compared_data.card(folder / "project", group="sex")
            patch.setenv("CUDA_VISIBLE_DEVICES", "")
            asked = ["--methods", METHODS, "--seeds", str(SEEDS), "--epochs", str(EPOCHS), "--at-once", "1"]
            said = CliRunner().invoke(app, ["compare", "claims", *asked])
            assert said.exit_code == 0, (said.output, said.exception)
            (folder / "said.txt").write_text(said.stdout)

    return shared.folder(tmp_path_factory, "compared", fill)


@pytest.fixture
def project(whole, monkeypatch):
    monkeypatch.chdir(whole / "project")
    return whole / "project"


@pytest.fixture
def own_copy(whole, tmp_path, monkeypatch):
    """A copy that a test may change."""
    shutil.copytree(whole / "project", tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def test_it_says_one_sentence_and_where_the_page_is(whole):
    said = (whole / "said.txt").read_text().splitlines()
    assert said[0].startswith("6 of 6 runs to train: about ")
    assert any(line.startswith(("best: ", "nothing ")) for line in said)
    assert f"{STEM}.pdf" in said and "results/local/claims/compare.html" in said


def test_plain_training_is_one_for_weights_by_class_and_by_group(project):
    """It follows no weights, so it would come out the same bit for bit; both tables of the page show it."""
    plain = sorted(path.as_posix() for path in Path("results/local/claims").glob("*/as-is/none/seed*.json"))
    assert plain == [f"results/local/claims/by-class/as-is/none/seed{seed}.json" for seed in range(SEEDS)]
    page = (project / "results/local/claims/compare.html").read_text(encoding="utf-8")
    assert page.count("<td>Plain training</td>") == 2
    with open(f"{STEM}.csv", newline="") as stream:
        (gain,) = [line for line in csv.DictReader(stream)
                   if line["method"] == "group_dro" and line["metric"] == "balanced_accuracy_difference"]  # fmt: skip
    for name in ("by-class/as-is/none", "by-group/as-is/group_dro"):
        assert f"local/claims/{name}/seed{{0,1}}" in gain["runs"]
    values = {
        (name, seed): record.read(Path(f"results/local/claims/{name}/seed{seed}.json"))["metrics"]["balanced_accuracy"]
        for name in ("by-class/as-is/none", "by-group/as-is/group_dro") for seed in range(SEEDS)
    }  # fmt: skip
    means = [values["by-group/as-is/group_dro", seed] - values["by-class/as-is/none", seed] for seed in range(SEEDS)]
    assert float(gain["mean"]) == pytest.approx(sum(means) / SEEDS, abs=1e-6)


def test_steps_are_those_that_were_planned(project):
    planned = of_runs(load(), load().runs("local", "claims"))
    assert len(planned) == (2 + 1) * SEEDS and {run.state for run in planned} == {"current"}
    for run in planned:
        assert record.read(record.record_path(run.run))["steps"] == run.steps > 0


def test_the_page_needs_nothing_else_and_escapes_what_is_the_users(project):
    page = (project / "results/local/claims/compare.html").read_text(encoding="utf-8")
    assert '<h1 dir="auto">заявки $5 &amp; &lt;b&gt;$.csv</h1>' in page and "<b>" not in page
    assert re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page) == ["compare.csv"]
    assert (
        "lowest accuracy of a group" in page
        and "Weights by group" in page
        and "Nothing was chosen on the test part" in page
    )
    with open(project / "results/local/claims/compare.csv", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["method"] for line in lines] == ["none", "ldam", "group_dro"]
    for line in lines:
        runs = [record.read(Path(f"results/local/claims/{line['experiment']}/as-is/{line['method']}/seed{seed}.json"))
                for seed in range(SEEDS)]  # fmt: skip
        mean = sum(run["metrics"]["balanced_accuracy"] for run in runs) / SEEDS
        worst = sum(min(run["metrics"]["per_group_accuracy"]) for run in runs) / SEEDS
        assert float(line["balanced_accuracy"]) == pytest.approx(mean, abs=1e-6)
        assert float(line["worst_group_accuracy"]) == pytest.approx(worst, abs=1e-6)
        assert line["n"] == line["asked"] == str(SEEDS)


def test_every_number_of_the_figure_can_be_explained(project):
    with open(f"{STEM}.csv", newline="") as stream:
        lines = list(csv.DictReader(stream))
    metrics = {line["metric"] for line in lines}
    assert metrics == {
        "balanced_accuracy", "macro_f1", "rarest_recall", "worst_group_accuracy", "train_seconds",
        "balanced_accuracy_difference", "run_times_plain",
    }  # fmt: skip
    for number in range(2, len(lines) + 2):
        tree = explain(f"{STEM}.csv", line=number)
        assert tree["fault"] == "" and "the same" in tree["cells"][0]["check"]
    tree = explain("results/local/claims/compare.html", row="ldam", where={"metric": "balanced_accuracy"})
    raw = tree["cells"][0]["runs"][0]["raw"]
    assert [file["name"] for file in raw] == [compared_data.TITLE]


def test_the_chain_is_unbroken_until_the_file_changes(own_copy):
    report = audit("local")
    assert report.exit_code == 0, [link for link in report.links if link.state != "intact"]
    assert not report.absent
    with open(own_copy / compared_data.TITLE, "a") as file:
        file.write("1,1,1,1,f,common\n")
    report = audit("local")
    wrong = [link for link in report.links if link.kind == "raw" and link.state == "broken"]
    assert report.exit_code == 1 and len(wrong) == 1 and "has changed since it was imported" in wrong[0].detail
    assert "delete" not in wrong[0].detail
    with pytest.raises(DataError, match="has changed since it was imported"):
        compare.compare("claims")
    (own_copy / compared_data.TITLE).unlink()
    with pytest.raises(DataError, match="is missing"):
        compare.compare("claims")


def test_a_crate_has_card_and_page_and_can_be_audited_without_the_data(own_copy, tmp_path, monkeypatch):
    compared_data.card(own_copy, name="untrained")
    place, _ = crate.write("local", tmp_path / "crate")
    files = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    page = {f"results/local/claims/compare.{ending}" for ending in ("html", "csv")}
    assert {"data/local/claims.yaml", "data/local/compare/claims.yaml", f"{STEM}.csv", *page} <= files
    assert not [name for name in files if compared_data.TITLE in name or "untrained" in name]
    entities = {one["@id"]: one for one in json.loads((place / "ro-crate-metadata.json").read_text())["@graph"]}
    program = next(one for name, one in entities.items() if name.startswith("#program/render/claims/compare"))
    assert program["url"] == {"@id": "notebooks/local/compare.ipynb"}
    monkeypatch.chdir(place)
    report = audit("local")
    assert report.exit_code == 0 and report.counts["record"] == {"intact": 6}
    (raw,) = [link for link in report.links if link.kind == "raw"]
    assert raw.state == "unverifiable"
    assert raw.detail == (
        f"it is not at {compared_data.TITLE}, where data/local/claims.yaml says, so its splits cannot be drawn again; "
        "records, figures and code are checked all the same"
    )


def test_what_is_current_is_not_trained_again_and_more_seeds_are_added(own_copy, capfd):
    before = {path: path.read_bytes() for path in sorted(own_copy.glob("results/local/*/*/*/*/*.json"))}
    assert len(before) == 6
    compare.ask("claims", "ldam", 3, None)
    done = compare.compare("claims", at_once=1)
    assert done.exit_code == 0 and "2 of 6 runs to train" in capfd.readouterr().out
    assert all(path.read_bytes() == content for path, content in before.items())
    assert "n = 3" in done.sentence or done.sentence.startswith("best")


def test_out_of_time_the_page_says_what_is_missing(own_copy):
    for path in own_copy.glob("results/local/claims/*/as-is/ldam/seed1.*"):
        path.unlink()
    done = compare.compare("claims", seconds=0.0, at_once=1)
    assert done.exit_code == 75
    assert "runs that are not trained yet: LDAM-DRW (weights by class) 1 of 2" in done.remarks
    page = (own_copy / "results/local/claims/compare.html").read_text(encoding="utf-8")
    assert "not trained yet: LDAM-DRW" in page and "1 of 2" in page


def test_when_no_run_has_ended_it_says_so_and_what_to_type(own_copy):
    """Neither a verdict nor a page, also where there are records of another length."""
    for others in (["--epochs", "3"], []):
        done = CliRunner().invoke(app, ["compare", "claims", "--for", "0s", "--at-once", "1", *others])
        assert done.exit_code == 75 and "reweigh train" not in done.stdout
        assert ("6 of these have a record, made by other" in done.stdout) == bool(others)
        assert done.stdout.splitlines()[-1] == (
            "nothing can be said, and there is no page: no run has ended yet; go on with: reweigh compare claims"
        )
        shutil.rmtree(own_copy / "results/local", ignore_errors=True)
    assert not (own_copy / "results/local/claims/compare.html").exists()


def test_runs_are_counted_that_the_page_would_show(own_copy):
    def runs():
        (row,) = compare.listed()
        return row["runs"]

    assert runs() == "6 of 6"
    first, second, *_ = sorted(own_copy.glob("results/local/claims/*/as-is/*/seed0.json"))
    first.write_text(first.read_text().replace("finished", "diverged"))
    second.unlink()
    assert runs() == "4 of 6"
    compare.ask("claims", None, None, 3)
    assert runs() == "0 of 6"


def test_the_command_lists_and_refuses_in_one_line(project):
    run = CliRunner()
    assert "claims" in (listed := run.invoke(app, ["compare"])).stdout and "6 of 6" in listed.stdout
    for arguments, said in (
        (["claimz"], "unknown data set 'claimz'; did you mean 'claims'?; a new one: reweigh import"),
        (["claims", "--methods", "ldm"], "--methods: unknown method 'ldm'; did you mean 'ldam'?"),
        (["claims", "--for", "soon"], "'soon' is not a duration"),
        (["claims", "--at-once", "many"], "--at-once many: write auto"),
    ):
        error = run.invoke(app, ["compare", *arguments]).exception
        assert isinstance(error, ConfigError) and said in str(error) and "\n" not in str(error)


KILLED = """
import sys, time
from reweigh.training import run

advance = run.Run.advance

def slowly(self):
    advance(self)
    time.sleep(0.1)

run.Run.advance = slowly
from reweigh.cli import main
sys.argv[0] = "reweigh"
main()
"""


def test_killed_it_goes_on_and_ends_the_same(own_copy):
    kept = {path.relative_to(own_copy): outcome(path) for path in own_copy.glob("results/local/claims/*/*/*/*.json")}
    shutil.rmtree(own_copy / "results/local")
    shutil.rmtree(own_copy / ".reweigh", ignore_errors=True)
    said = environment(REWEIGH_CHECKPOINT_SECONDS="0")
    process = subprocess.Popen([sys.executable, "-c", KILLED, "compare", "claims", "--at-once", "1"], cwd=own_copy,
                               env=said, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    wait_for(lambda: checkpoints(own_copy), "a checkpoint", process)
    process.kill()
    process.communicate()
    assert not list(own_copy.glob("results/local/claims/compare.*"))
    found = subprocess.run([sys.executable, "-m", "reweigh.cli", "compare", "claims", "--at-once", "1"], cwd=own_copy,
                           env=said, capture_output=True, text=True)  # fmt: skip
    assert found.returncode == 0, found.stderr
    now = {path.relative_to(own_copy): outcome(path) for path in own_copy.glob("results/local/claims/*/*/*/*.json")}
    assert now == kept
    resumed = [json.loads((own_copy / path).read_text())["resumed"] for path in now]
    assert sum(resumed) >= 1


def test_snakemake_makes_the_figure(own_copy):
    for path in (own_copy / "figures/local/claims").iterdir():
        path.unlink()
    snakemake = Path(sys.executable).with_name("snakemake")
    said = {**environment(), "PATH": f"{snakemake.parent}{os.pathsep}{os.environ['PATH']}"}
    found = subprocess.run([snakemake, "--cores", "1", "--dry-run", "figures/local/claims/compare.pdf"],
                           cwd=own_copy, env=said, capture_output=True, text=True)  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "render_local_claims_compare" in found.stdout and "rule train_" not in found.stdout
    refused = subprocess.run([snakemake, "--cores", "1", "-n", "figures/quick/claims/compare.pdf"],
                             cwd=own_copy, env=said, capture_output=True, text=True)  # fmt: skip
    assert refused.returncode != 0
