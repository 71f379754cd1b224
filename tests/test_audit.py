"""The audit: an unbroken chain passes, and each way to break a link is named with the right state."""

import json
import shutil
from pathlib import Path

import pytest
import records

from reweigh import plots, record, results, scorecard
from reweigh.config import load
from reweigh.data.obtain import describe, split_path
from reweigh.provenance import audit
from reweigh.provenance.audit import Link, Report

RUN = "smoke/tdr/mnist-4v9/rho0.005/tdr/seed0"
CSV = "figures/smoke/tdr/fig3.csv"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose chain holds from MNIST's own bytes to a figure: real splits, made-up results."""
    root = records.project(tmp_path_factory.mktemp("sound"))
    config = load(root)
    for cell in config.cells_of("smoke", "tdr", "fig3"):
        for run in config.runs_of(cell):
            records.make(root, run, split=describe(config.resolve(run), root / "data"))
    drawing = plots.learning_curves(results.of_artifact("smoke", "tdr", "fig3", root))
    drawing.save(root / CSV.removesuffix(".csv"))
    (root / CSV).with_suffix(".ipynb").write_text("{}")
    scorecard.write("smoke", root)
    return root


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    """A copy of the sound project, to be broken."""
    return Path(shutil.copytree(sound, tmp_path / "project", symlinks=True))


def only_fault(report: Report, kind: str) -> Link:
    """The faults of one kind must be a single link."""
    (link,) = (link for link in report.faults if link.kind == kind)
    return link


def check(root: Path, redraw: bool = False) -> Report:
    return audit.audit("smoke", root, redraw)


def test_an_unbroken_chain_passes_down_to_the_raw_bytes(sound: Path) -> None:
    report = check(sound, redraw=True)
    assert report.faults == []
    assert report.exit_code == 0
    assert report.counts["record"] == {"intact": 4}
    assert report.counts["trace"] == {"intact": 2}
    assert report.counts["split"] == {"intact": 2}  # methods share their splits
    assert report.counts["raw"] == {"intact": 4}
    assert report.counts["figure"] == {"intact": 1}
    assert report.counts["scorecard"] == {"intact": 1}
    assert len(report.absent) > 10  # runs that were never made are no fault


def test_a_record_changed_by_hand_is_broken(root: Path) -> None:
    path = record.record_path(RUN, root)
    path.write_text(path.read_text().replace('"status": "finished"', '"status": "diverged"'))
    report = check(root)
    assert only_fault(report, "record")[1:3] == (RUN, "broken")
    assert only_fault(report, "figure").state == "missing"
    assert report.exit_code == 1


def test_a_record_in_anothers_place_is_broken(root: Path) -> None:
    other = RUN.replace("seed0", "seed1")
    shutil.copy(record.record_path(RUN, root), record.record_path(other, root))
    assert "moved here" in only_fault(check(root), "record").detail


def test_other_results_make_figures_and_scorecard_stale(root: Path) -> None:
    split = describe(load(root).resolve(RUN), root / "data")
    records.make(root, RUN, split=split, test_accuracy=0.4321)
    report = check(root)
    assert {(link.kind, link.state) for link in report.faults if link.state != "unverifiable"} == {
        ("figure", "stale"),
        ("scorecard", "stale"),
    }
    assert report.exit_code == 1


def test_a_changed_config_makes_specs_stale_and_says_where(root: Path) -> None:
    path = root / "config/papers/tdr.yaml"
    text = path.read_text()
    assert text.count("learning_rate: { value: 0.01,") == 1
    path.write_text(text.replace("learning_rate: { value: 0.01,", "learning_rate: { value: 0.02,"))
    faults = [link for link in check(root).faults if link.kind == "spec"]
    assert len(faults) == 4
    assert faults[0].state == "stale"
    assert "training.learning_rate 0.01 -> 0.02" in faults[0].detail


def test_changed_code_is_stale_and_names_the_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = record.code_files

    def edited(spec: dict) -> dict[str, str]:
        return {**files(spec), **({"methods/tdr.py": "0" * 64} if spec["uses"] == "tdr" else {})}

    monkeypatch.setattr(record, "code_files", edited)
    faults = [link for link in check(root).faults if link.kind == "code"]
    assert {link.name.split("/")[4] for link in faults} == {"tdr"}
    assert faults[0].detail == "changed since: methods/tdr.py"


def test_trace_files_missing_and_altered(root: Path) -> None:
    trace = record.record_path(RUN, root).with_suffix(".npz")
    content = trace.read_bytes()
    trace.write_bytes(content[:-1] + b"x")
    assert only_fault(check(root), "trace").state == "broken"
    trace.unlink()
    assert only_fault(check(root), "trace").state == "missing"


def test_a_split_file_with_another_content_is_broken(root: Path) -> None:
    config = load(root)
    first, second = (split_path(config.resolve(RUN.replace("seed0", f"seed{seed}")), root / "data") for seed in (0, 1))
    shutil.copy(second, first)
    fault = next(link for link in check(root).faults if link.kind == "split" and link.state == "broken")
    assert fault.name == "data/splits/smoke/tdr/mnist-4v9/rho0.005/seed0.npz"


def test_a_split_that_raw_files_do_not_give_is_broken(root: Path) -> None:
    split = describe(load(root).resolve(RUN), root / "data")
    for method in ("tdr", "er"):
        records.make(root, RUN.replace("/tdr/seed", f"/{method}/seed"), split={**split, "digest": "0" * 64})
    shutil.rmtree(root / "data/splits")
    fault = only_fault(check(root, redraw=True), "split")
    assert fault.state == "broken"
    assert "drawn again it has digest" in fault.detail


def test_a_wrong_byte_in_a_raw_file_is_broken(root: Path) -> None:
    path = root / "data/raw/mnist/t10k-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()  # it may share its bytes with the sound project
    path.write_bytes(bytes(content))
    fault = next(link for link in check(root).faults if link.kind == "raw" and link.state == "broken")
    assert fault.name == "mnist/t10k-labels-idx1-ubyte"


def test_raw_files_that_cannot_be_had_are_unverifiable_and_no_fault(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REWEIGH_MIRROR", raising=False)
    (root / "data/embedded").unlink()
    shutil.rmtree(root / "data/raw")
    report = check(root, redraw=True)
    assert report.counts["raw"] == {"unverifiable": 4}
    assert report.counts["split"] == {"unverifiable": 2}
    assert "reweigh fetch mnist" in report.faults[-1].detail
    assert report.exit_code == 0


def test_a_figure_changed_by_hand_is_broken_and_the_line_is_named(root: Path) -> None:
    path = root / CSV
    lines = path.read_text().splitlines()
    head = lines[0].split(",")
    cells = lines[1].split(",")
    cells[head.index("mean")] = "0.999"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    fault = only_fault(check(root), "figure")
    assert (fault.name, fault.state) == (CSV, "broken")
    assert fault.detail.startswith("line 2: mean 0.999, should be ")


def test_half_a_figure_is_missing(root: Path) -> None:
    (root / CSV).with_suffix(".pdf").unlink()
    assert only_fault(check(root), "figure").state == "missing"


def test_a_scorecard_changed_by_hand_is_broken(root: Path) -> None:
    path = root / "results/smoke/scorecard.csv"
    lines = path.read_text().splitlines()
    assert "0.9011" in lines[1]
    path.write_text("\n".join([lines[0], lines[1].replace("0.9011", "0.5011"), *lines[2:]]) + "\n")
    fault = only_fault(check(root), "scorecard")
    assert fault.state == "broken"
    assert "published 0.5011, should be 0.9011" in fault.detail


def test_the_report_is_written_and_shown(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(root)
    record.record_path(RUN, root).with_suffix(".npz").unlink()
    assert audit.main("smoke", "results/smoke/audit.json") == 1
    shown = capsys.readouterr().out
    assert f"missing: trace {RUN}" in shown
    body = json.loads((root / "results/smoke/audit.json").read_text())
    assert body["verdict"] == "broken, stale or missing links"
    assert body["faults"][0]["kind"] == "trace"
    assert body["counts"]["record"] == {"intact": 4}
