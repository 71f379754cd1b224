"""Among a thousand records explain reads those that feed the number, each once, and lists none of the others."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.project import ROOT

from reweigh.analysis import tables
from reweigh.bench import grid as bench_grid
from reweigh.config.grid import Config
from reweigh.provenance.explain import explain
from reweigh.records import attestations, lineage, record


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A made-up grid of one paper with every record, the csv of a figure and a scorecard."""
    config = bench_grid.write(tmp_path_factory.mktemp("grid"), runs=1, repository=ROOT)
    assert bench_grid.leave_records(config) > 900
    bench_grid.leave_tables(config)
    return config


@pytest.mark.parametrize("name", bench_grid.QUESTIONS)
def test_only_the_records_that_feed_a_number_are_read(grid: Config, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Counter[Path] = Counter()
    read = record.read

    def counted(path: str | Path) -> dict[str, Any]:
        opened[Path(path)] += 1
        return read(path)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("explain looked for records that the line does not name")

    monkeypatch.setattr(record, "read", counted)
    monkeypatch.setattr(tables, "records_of", refuse)
    monkeypatch.setattr(lineage.attestations, "load", lambda root: attestations.Attestations([]))
    monkeypatch.setattr(Path, "glob", refuse_below(grid.root / "results"))
    path, question = asked(name)
    (cell,) = explain(path, **question, root=grid.root)["cells"]
    named = [run["run"] for run in [*cell["runs"], *cell.get("baseline", [])]]
    assert named and opened == Counter({record.record_path(run, grid.root): 1 for run in named})
    assert cell["check"].startswith("computed again") and not cell["fault"]


def asked(name: str) -> tuple[str, dict[str, Any]]:
    """A question of the bench as arguments of `explain`."""
    path, *options = bench_grid.QUESTIONS[name]
    said = dict(zip(options[::2], options[1::2], strict=True))
    where = [said["--where"].split("=")] if "--where" in said else []
    return path, {"row": said["--row"], "column": said["--column"], "where": dict(where)}


def refuse_below(folder: Path) -> Any:
    glob = Path.glob

    def guarded(self: Path, pattern: str, **options: Any) -> Any:
        assert not self.is_relative_to(folder), f"explain listed {self}"
        return glob(self, pattern, **options)

    return guarded


def test_the_bench_times_the_whole_command(grid: Config) -> None:
    path, *options = bench_grid.QUESTIONS["a cell of a figure"]
    seconds, processor = bench_grid.explained(grid.root, path, *options)
    assert processor > 0 and 0 < seconds < 60
