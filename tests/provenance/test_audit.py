"""The audit: an unbroken chain passes, what cannot be checked is no fault, and what it says is true and the same."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import needs, project, tampering
from support.tampering import ER, FIGURE, TDR

from reweigh.artifacts.render import ENDINGS
from reweigh.digest import digest
from reweigh.errors import ConfigError
from reweigh.provenance import audit
from reweigh.provenance.audit import Link, Report, lockfile
from reweigh.provenance.audit.links import KINDS, REMEDIES, STATES, remedy
from reweigh.provenance.audit.report import grouped
from reweigh.records import record


@pytest.fixture
def root(sound_project: Path, tmp_path: Path) -> Path:
    """A copy of the sound project, to be broken."""
    return tampering.copy(sound_project, tmp_path / "project")


def check(root: Path, from_raw: bool = False) -> Report:
    return audit.audit("smoke", root, from_raw)


def of(report: Report, kind: str) -> dict[str, str]:
    """The states of the links of a kind, by name."""
    return {link.name: link.state for link in report.links if link.kind == kind}


def test_an_unbroken_chain_passes_down_to_the_raw_bytes(sound_project: Path) -> None:
    report = check(sound_project, from_raw=True)
    assert {link.kind for link in report.faults} == {"declared"}  # which git alone can tell
    assert report.exit_code == 0
    assert report.counts["record"] == {"intact": 4}
    assert report.counts["lock"] == {"intact": 2}  # of records and of artifacts
    assert report.counts["trace"] == {"intact": 2}
    assert report.counts["split"] == {"intact": 2}  # methods share their splits
    assert report.counts["raw"] == {"intact": 5}  # four files and their receipt
    assert report.counts["embedded"] == {"intact": 16}
    assert report.counts["attestation"] == {"intact": 1}
    assert report.counts["figure"] == {"intact": 1}
    assert report.counts["rendering"] == {"intact": 3}
    assert report.counts["receipt"] == {"intact": 2}
    assert report.counts["scorecard"] == {"intact": 1}
    assert set(report.counts["page"]) == {"intact"}
    assert len(report.absent) > 10  # runs that were never made are no fault


def test_a_clone_has_no_pdf_and_no_notebook_and_that_is_no_fault(root: Path) -> None:
    for ending in ("pdf", "ipynb"):
        (root / f"{FIGURE}.{ending}").unlink()
    report = check(root)
    assert of(report, "rendering") == {
        f"{FIGURE}.pdf": "unverifiable", f"{FIGURE}.png": "intact", f"{FIGURE}.ipynb": "unverifiable",
    }  # fmt: skip
    link = next(link for link in report.faults if link.name == f"{FIGURE}.pdf")
    assert link.detail == "not kept in git" and remedy(link) == f"render it again: reweigh render {FIGURE}"
    assert report.exit_code == 0


@pytest.mark.parametrize("ending", ENDINGS)
def test_any_other_file_of_a_figure_that_is_gone_is_missing(root: Path, ending: str) -> None:
    (root / f"{FIGURE}.{ending}").unlink()
    report = check(root)
    assert {link.name for link in report.faults if link.state == "missing"} == {f"{FIGURE}.{ending}"}
    assert report.exit_code == 1


def test_raw_files_that_cannot_be_had_are_unverifiable_and_no_fault(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REWEIGH_MIRROR", raising=False)
    (root / "data/embedded").unlink()
    shutil.rmtree(root / "data/raw")
    report = check(root)
    assert report.counts["raw"] == {"unverifiable": 5}  # the receipt beside them too
    assert report.counts["split"] == {"unverifiable": 2}
    assert "reweigh fetch mnist" in next(link.detail for link in report.faults if link.kind == "split")
    assert report.exit_code == 0
    with_embedded = check(root, from_raw=True)
    assert with_embedded.counts["embedded"] == {"unverifiable": 16}  # none of them came along
    assert with_embedded.exit_code == 0


def test_a_raw_file_that_is_gone_is_put_back_and_no_fault(root: Path) -> None:
    (root / "data/raw/mnist/t10k-labels-idx1-ubyte").unlink()
    assert check(root).counts["raw"] == {"intact": 5}


def test_splits_that_are_gone_are_drawn_again(root: Path) -> None:
    shutil.rmtree(root / "data/splits")
    assert check(root, from_raw=True).counts["split"] == {"intact": 2}


def test_a_split_that_raw_files_do_not_give_is_broken(root: Path) -> None:
    for method in ("tdr", "er"):
        run = TDR.replace("/tdr/seed", f"/{method}/seed")
        tampering.edit_record(root, run, lambda body: body["split"].update(digest="0" * 64))
    shutil.rmtree(root / "data/splits")
    (fault,) = (link for link in check(root, from_raw=True).faults if link.kind == "split")
    assert fault.state == "broken"
    assert "drawn again it has digest" in fault.detail


def test_runs_that_the_config_no_longer_has_are_stale(root: Path) -> None:
    run = ER.replace("rho0.005", "rho0.006")
    body = json.loads(record.record_path(ER, root).read_text().replace("rho0.005", "rho0.006"))
    record.write(record.record_path(run, root), {**body, "spec_digest": digest(body["spec"])})
    (link,) = (link for link in check(root).faults if link.kind == "spec")
    assert (link.name, link.state) == (run, "stale") and "the config has no such run now" in link.detail


# --- the lock --------------------------------------------------------------------------------------------------------

PINNED = "numpy==2.4.6 ; python_full_version < '3.12'\nnumpy==2.5.5 ; python_full_version >= '3.12'\ntorch==2.15.0\n"


def _body(torch: str, stated: str | None) -> dict:
    return {"environment": {"lock_digest": stated, "python": "3.11.7", "torch": torch, "numpy": "2.4.6"}}


def _locked(root: Path, *bodies: dict) -> list[tuple[str, str]]:
    links = lockfile.check_lock({str(place): body for place, body in enumerate(bodies)}, root)
    return [(link.state, link.detail) for link in links]


def test_pins_are_those_of_the_records_python() -> None:
    text = f"{PINNED}torchvision==0.29.2\n# torch==1.0\n"
    assert lockfile.pins(text, "3.11.7") == {"numpy": "2.4.6", "torch": "2.15.0"}
    assert lockfile.pins(text, "3.12.1") == {"numpy": "2.5.5", "torch": "2.15.0"}


@needs.GIT
def test_versions_against_the_lock_of_then_and_of_now(tmp_path: Path) -> None:
    from hashlib import sha256

    assert _locked(tmp_path, _body("2.15.0", "1" * 64)) == [("missing", "envs/requirements.lock does not exist")]
    path = tmp_path / lockfile.LOCK
    path.parent.mkdir()
    path.write_text(PINNED)
    stated = sha256(PINNED.encode()).hexdigest()
    assert _locked(tmp_path, *[_body("2.15.0+cu132", stated)] * 3) == [("intact", "")]
    ((state, detail),) = _locked(tmp_path, _body("2.14.1", stated))
    assert state == "unverifiable" and "its own lock pinned (numpy 2.4.6, torch 2.15.0)" in detail
    assert _locked(tmp_path, _body("2.15.0", "1" * 64)) == [("intact", "")]  # another lock, the same pins
    stale = ("stale", "the lock pins numpy 2.4.6, torch 2.15.0 now")
    assert _locked(tmp_path, _body("2.14.1", "1" * 64)) == [stale]
    assert _locked(tmp_path, _body("2.15.0", None))[0][0] == "unverifiable"

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("add", ".")
    git("commit", "-m", "then")
    path.write_text(PINNED.replace("2.15.0", "2.16.0"))
    assert _locked(tmp_path, _body("2.15.0", stated)) == [("stale", stale[1].replace("2.15.0", "2.16.0"))]
    ((state, detail),) = _locked(tmp_path, _body("2.14.1", stated))  # neither then nor now
    assert state == "unverifiable" and "torch 2.15.0" in detail


# --- what is said ----------------------------------------------------------------------------------------------------


def test_the_report_is_written_and_shown(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(root)
    record.record_path(TDR, root).with_suffix(".npz").unlink()
    assert audit.main("smoke", "results/smoke/audit.json") == 1
    shown = capsys.readouterr().out
    assert f"missing: trace {TDR}" in shown and "restore it from git, or delete its record" in shown
    body = json.loads((root / "results/smoke/audit.json").read_text())
    assert body["report_version"] == 2 and body["scale"] == "smoke"
    assert body["verdict"] == "broken, stale or missing links"
    assert [fault for fault in body["faults"] if fault["kind"] != "declared"] == [
        {
            "kind": "trace",
            "name": TDR,
            "state": "missing",
            "detail": "seed0.npz does not exist",
            "remedy": "restore it from git, or delete its record and train again",
        }
    ]
    assert body["counts"]["record"] == {"intact": 4}


def test_without_a_scale_every_one_with_results_is_audited(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(root)
    assert audit.scales_with_results(root) == ["smoke"]
    path = record.record_path(TDR, root)
    altered = path.read_text().replace("finished", "finishad", 1)
    path.unlink()  # a link to the file of the project that other tests use
    path.write_text(altered)
    assert audit.main(None) == 1, "config.yaml says quick, of which there is nothing"
    assert f"broken: record {TDR}" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"nothing at scale paper to audit; smoke has results: .* --scale smoke"):
        audit.main("paper")
    (root / "results/paper").mkdir()
    (root / "results/paper/scorecard.csv").touch()
    assert audit.scales_with_results(root) == ["smoke", "paper"]
    for report, rerun, option in (("report.json", None, "--report"), (None, 1, "--rerun")):
        with pytest.raises(ConfigError, match=f"^{option} is about one scale, and smoke and paper have results"):
            audit.main(None, report, rerun)


def test_leftovers_are_no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("results/smoke/.scorecard.csv.swp", "figures/quick/tdr/._fig5.csv", "figures/quick/tdr/.DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert audit.scales_with_results(tmp_path) == []
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="nothing to audit: no scale has results; make some: snakemake"):
        audit.main(None)


def test_two_audits_of_one_state_give_the_same_bytes(sound_project: Path, root: Path) -> None:
    def said(place: Path) -> str:
        return json.dumps(check(place).as_dict())

    assert said(sound_project) == said(sound_project) == said(root)


def test_what_is_not_rendered_is_said_and_no_fault(root: Path, capsys: pytest.CaptureFixture) -> None:
    before = check(root)
    assert "tdr/fig3" not in before.not_rendered and "tdr/fig4" in before.not_rendered  # of the same runs
    assert not any(name.startswith("absgd/") for name in before.not_rendered)  # nothing of it was run
    for file in (root / "figures/smoke/tdr").iterdir():
        file.unlink()
    report = check(root)
    assert sorted(report.not_rendered) == sorted([*before.not_rendered, "tdr/fig3"]) and report.exit_code == 0
    assert report.as_dict()["not_rendered"] == report.not_rendered
    audit.show(report)
    shown = capsys.readouterr().out
    assert f"{len(report.not_rendered)} artifacts of the config are not rendered: tdr/" in shown


def test_without_anything_there_is_no_empty_table(capsys: pytest.CaptureFixture) -> None:
    audit.show(Report("smoke", []))
    assert capsys.readouterr().out == "there is nothing at this scale to audit\n"


def test_what_a_file_says_does_nothing_to_the_terminal(capsys: pytest.CaptureFixture) -> None:
    audit.show(Report("smoke", [Link("figure", "a\x1b[2Jb", "broken", "title \r\nfine [bold]")]))
    shown = capsys.readouterr().out
    assert "a\\x1b[2Jb: title \\r\\nfine [bold]" in shown and "\x1b[2J" not in shown


def test_faults_of_one_reason_are_shown_as_one() -> None:
    links = [Link("spec", name, "stale", "epochs 1 -> 2") for name in "ab"]
    links += [Link("spec", "c", "stale", "epochs 1 -> 3"), Link("raw", "d", "broken", "sha256")]
    assert [[link.name for link in group] for group in grouped(links)] == [["d"], ["a", "b"], ["c"]]


def test_every_advice_is_for_a_fault_that_there_is() -> None:
    for kind, state in REMEDIES:
        assert kind in KINDS and state in STATES
        assert "{" not in remedy(Link(kind, "results/paper/scorecard.md", state))


def test_a_scale_that_does_not_exist_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'paper'"):
        audit.audit("papr", root)


def test_the_command_says_by_its_exit_code_what_it_found(root: Path) -> None:
    def code(*arguments: str) -> int:
        command = [sys.executable, "-m", "reweigh.cli", "audit", *arguments]
        return subprocess.run(command, cwd=root, env=project.environment(), capture_output=True).returncode

    tampering.flip(root / f"{FIGURE}.png")
    assert code("--scale", "smoke") == 1
    assert code("--scale", "smok") == 2


def test_another_title_in_the_config_makes_figures_stale_and_not_broken(root: Path) -> None:
    tampering.replace(
        root / "config/papers/tdr/methods.yaml", "    title: TDR (code)\n", "    title: Targeted regularisation\n"
    )
    faults = {link.kind: link.state for link in check(root).faults if link.kind in ("figure", "receipt", "record")}
    assert faults == {"figure": "stale", "receipt": "stale"}
