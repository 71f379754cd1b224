"""What the bench leaves: its csv, its tables and its picture, and which files a run of some groups writes."""

import csv

import pytest
import torch

from reweigh import bench
from reweigh.bench import figure, groups, table
from reweigh.errors import ConfigError

CPU = torch.device("cpu")


def line(group="steps", contender="TDR", baseline="plain step", ratio=1.5, **changes):
    said = {"device": "a machine", "torch": "2.0", "group": group, "contender": contender, "baseline": baseline}
    said |= {"milliseconds": 3.25, "ratio": ratio, "q1": 1.25, "q3": 1.75, "peak_mebibytes": None, "rounds": 5}
    return table.Line(**said | {"threads": 1, "precision": "fp32"} | changes)


# --- table, files and command ----------------------------------------------------------------------------------------


def test_a_csv_gives_back_the_lines_that_were_written(tmp_path):
    lines = [
        line(),
        line(q1=None, q3=None, peak_mebibytes=12.5, model="lenet", batch_size=50, method="tdr 10", note="n"),
    ]
    table.write(lines, tmp_path / "bench.csv")
    assert table.read(tmp_path / "bench.csv") == lines
    assert table.read(tmp_path / "none.csv") == []
    (tmp_path / "old.csv").write_text("device,group,ratio\na,b,1\n")
    assert table.read(tmp_path / "old.csv") == []
    (tmp_path / "cell.csv").write_text((tmp_path / "bench.csv").read_text() + "9" * 200_000 + "\n")
    assert table.read(tmp_path / "cell.csv") == []


def test_the_table_names_machine_groups_and_contenders():
    said = table.report([line(ratio=0.5, q1=0.25, q3=0.75, note="why"), line(group="packed", threads=2)])
    for text in (
        "a machine",
        "torch 2.0",
        "steps (1 thread)",
        "packed (2 threads)",
        "TDR",
        "0.500 x",
        "[0.250, 0.750]",
        "why",
    ):
        assert text in said


def test_the_whole_table_has_memory_and_note_in_its_last_column():
    rows = [
        line(contender="plain step"),
        line(group="products, LeNet, B = 128", peak_mebibytes=12.34, note="exact"),
        line(group="app, LeNet", note="why"),
        line(group="app, LeNet", peak_mebibytes=0.5),
        line(group="app, LeNet", peak_mebibytes=1012.6),
    ]
    assert [row.split(" | ", 4)[2:] for row in table.whole_table(rows).splitlines()[2:]] == [
        ["LeNet, B = 128", "1.5 × (1.25 to 1.75)", "12.3 MiB; exact |"],
        ["LeNet", "1.5 × (1.25 to 1.75)", "why |"],
        ["LeNet", "1.5 × (1.25 to 1.75)", "0.5 MiB |"],
        ["LeNet", "1.5 × (1.25 to 1.75)", "1,013 MiB |"],
    ]


def test_the_figure_has_a_dot_for_every_ratio_to_something_else(tmp_path, monkeypatch):
    drawn = []
    panel = figure._panel
    monkeypatch.setattr(
        figure, "_panel", lambda axes, name, rows: (drawn.append((name, rows)), panel(axes, name, rows))
    )
    own, first, second = (
        line(contender="plain step", ratio=1.0),
        line(q1=None, q3=None),
        line(group="packed", ratio=0.02),
    )
    paths = figure.draw([own, first, second], tmp_path / "bench")
    assert drawn == [("steps", [first]), ("packed", [second])]
    assert all(path.stat().st_size > 1000 for path in paths) and {path.suffix for path in paths} == {".pdf", ".png"}


def test_files_are_written_only_of_a_run_of_all_groups(monkeypatch, tmp_path, capsys):
    for number, name in enumerate(bench.GROUPS):
        monkeypatch.setitem(
            groups.MEASUREMENTS, name, lambda bench, number=number, name=name: [line(group=name, ratio=number + 0.5)]
        )
    assert [one.group for one in bench.main(["steps", "packed"], 2, tmp_path)] == ["packed", "steps"]
    assert not list(tmp_path.iterdir()) and "not written" in capsys.readouterr().out
    bench.main([], 2, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"bench.csv", "bench.pdf", "bench.png"}
    with open(tmp_path / "bench.csv") as file:
        assert [row["group"] for row in csv.DictReader(file)] == list(bench.WHOLE)


def test_a_group_apart_has_a_csv_of_its_own(monkeypatch, tmp_path, capsys):
    for name in bench.GROUPS:
        monkeypatch.setitem(groups.MEASUREMENTS, name, lambda bench, name=name: [line(group=name)])
    assert [one.group for one in bench.main(["steps", "app-a"], 2, tmp_path)] == ["steps", "app-a"]
    assert {path.name for path in tmp_path.iterdir()} == {"app-a.csv"}
    assert [one.group for one in table.read(tmp_path / "app-a.csv")] == ["app-a"]
    bench.main(list(bench.GROUPS), 2, tmp_path)
    assert {one.group for one in table.read(tmp_path / "bench.csv")} == set(bench.WHOLE)


def test_every_group_has_a_room_and_another_is_an_error():
    assert list(bench.GROUPS) == list(groups.MEASUREMENTS)
    with pytest.raises(ConfigError, match="steps"):
        bench.main(["stepps"])
