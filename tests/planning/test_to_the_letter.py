"""What `reweigh new` prints, followed to the letter, leads to a record, a figure and a line of the scorecard."""

import csv
import json
import re
import shlex

import pytest
import yaml
from support import compared_data
from support.project import ROOT
from support.readme import reweigh

METHOD = re.compile(r": (reweigh (?:train|render|scorecard) .*)$", re.MULTILINE)


@pytest.fixture
def followed(copy):
    """A copy in which the commands were given that `reweigh new method sqrt2 --paper tdr` printed."""
    done = reweigh(copy, "new", "method", "sqrt2", "--paper", "tdr")
    assert done.returncode == 0, done.stderr
    commands = [shlex.split(command) for command in METHOD.findall(done.stdout)]
    assert [command[1] for command in commands] == ["train", "render", "scorecard"]
    for command in commands:
        made = reweigh(copy, *command[1:])
        assert made.returncode == 0, made.stderr
    return copy


@pytest.mark.slow
def test_a_new_method_stands_in_a_figure_and_in_the_scorecard(followed):
    figures = followed / "figures/smoke/tdr"
    assert not (figures / "fig5.csv").exists()  # the paper's own
    with open(figures / "fig5+sqrt2.csv", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["method"] == "sqrt2" and line["runs"]]
    # one panel: none of the methods with the printed values is run at scale smoke
    assert {line["panel"] for line in lines} == {"a"} and {line["title"] for line in lines} == {"sqrt2 (ours)"}
    receipt = json.loads((figures / "fig5+sqrt2.json").read_text())
    assert receipt["beside"] == ["sqrt2"]
    assert any("/sqrt2/" in one["run"] for one in receipt["records"])
    with open(followed / "results/smoke/scorecard.csv", newline="") as file:
        scored = [line for line in csv.DictReader(file) if line["method"] == "sqrt2"]
    assert [line["id"] for line in scored] == [
        f"own/mnist-4v9/{at}/sqrt2/test_accuracy" for at in ("rho0.1", "rho0.005")
    ]
    assert {(line["source"], line["verdict"], line["title"]) for line in scored} == {
        ("Ours, not in print", "not reported", "sqrt2 (ours)")
    }
    for page in ("scorecard.md", "scorecard.html"):
        text = (followed / "results/smoke" / page).read_text()
        assert "Ours, not in print" in text and "sqrt2 (ours)" in text
    told = reweigh(followed, "explain", "results/smoke/scorecard.csv", "--row", scored[0]["id"])
    assert told.returncode == 0 and "computed again from these records: the same" in told.stdout
    absent = reweigh(followed, "render", "figures/smoke/tdr/fig6", "--also", "er_slow")
    assert absent.returncode == 2 and "no record of er_slow to draw; " in absent.stderr


@pytest.mark.slow
def test_a_method_of_ones_own_is_compared_on_ones_own_data(copy):
    """As docs/your-data.md says: an entry in `methods` of config/local.yaml, and the name in `by_class`."""
    compared_data.table(copy / "claims.csv")
    done = reweigh(copy, "new", "method", "mine")
    assert done.returncode == 0 and "compare it on data of your own: docs/your-data.md" in done.stdout
    (entry,) = re.findall(r"^  mine:\n(?:    .*\n)+", done.stdout, re.MULTILINE)
    entry, joins = re.subn(r"    joins: .*\n", "", entry)
    path = copy / "config/local.yaml"
    text, places = re.subn(r"(?<=\nmethods:\n)", entry, path.read_text())
    text, names = re.subn(r"by_class: \[none", "by_class: [none, mine", text)
    assert (joins, places, names) == (1, 1, 1)
    path.write_text(text)
    for command in ("import claims.csv --label label", "compare claims --methods none,mine --seeds 2 --epochs 2"):
        done = reweigh(copy, *command.split())
        assert done.returncode == 0, done.stderr
    with open(copy / "results/local/claims/compare.csv", newline="") as file:
        lines = {line["method"]: line for line in csv.DictReader(file)}
    assert list(lines) == ["none", "mine"] and lines["mine"]["n"] == "2" and lines["mine"]["gain"]


@pytest.mark.slow
def test_a_fault_in_one_file_names_it_and_breaks_no_other_command(copy):
    assert reweigh(copy, "new", "method", "broke", "--paper", "tdr").returncode == 0
    code, card = (copy / path for path in ("src/reweigh/methods/broke.py", "src/reweigh/config/methods/broke.py"))
    whole = {path: path.read_text() for path in (code, card)}
    for path, fault, says in (
        (code, "\ndef x(:\n", "invalid syntax; mend it"),
        (card, "\ndef x(:\n", "invalid syntax; mend it"),
        (card, '\nraise RuntimeError("no")\n', "RuntimeError: no; mend it"),
    ):
        path.write_text(whole[path] + fault)
        line = len(whole[path].splitlines()) + 2
        names = f"{path.relative_to(copy)}:{line}: {says}"
        planned = reweigh(copy, "plan", "smoke/tdr/mnist-4v9")
        assert planned.returncode == 0 and "8 of 8 runs to train" in planned.stdout and names in planned.stdout
        refused = reweigh(copy, "train", "smoke/tdr/mnist-4v9/rho0.1/broke")
        assert refused.returncode == 2 and names in refused.stderr and "Traceback" not in refused.stderr
        path.write_text(whole[path])
    code.write_text(whole[code] + "\ndef x(:\n")
    assert reweigh(copy, "train", "smoke/tdr/mnist-4v9/rho0.1/tdr/seed0").returncode == 0
    assert reweigh(copy, "check", "method", "broke").stderr.endswith("broke.py:47: invalid syntax; mend it\n")
    audited = reweigh(copy, "audit", "--scale", "smoke")
    assert "Traceback" not in audited.stderr and "record" in audited.stdout


def test_a_new_data_set_is_fetched_and_read(copy):
    """The entries that are printed, put where they are said to go; the copy's reader and test are the templates'."""
    (copy / "data/embedded/two-shapes").mkdir(parents=True)
    (copy / "data/embedded/two-shapes/two_shapes.npz").write_bytes(b"a few bytes")
    done = reweigh(copy, "new", "dataset", "two-shapes")
    assert done.returncode == 0, done.stderr
    reader, test = "src/reweigh/data/readers/two_shapes.py", "tests/data/test_two_shapes.py"
    assert re.findall(r"^wrote (\S+)$", done.stdout, re.MULTILINE) == [reader, test]
    entry = re.search(r"manifest.yaml:\n((?:  .*\n)+)", done.stdout)[1]
    manifest = copy / "data/manifest.yaml"
    manifest.write_text(f"{manifest.read_text().rstrip()}\n{entry}")
    (file,) = yaml.safe_load(manifest.read_text())["datasets"]["two-shapes"]["editions"]["official"]["files"]
    assert (file["bytes"], file["embedded"]) == (11, "two-shapes/two_shapes.npz")
    (copy / "data/raw").unlink()
    fetched = reweigh(copy, "fetch", "two-shapes")
    assert fetched.returncode == 0 and "two-shapes: 1 files, official edition" in fetched.stdout, fetched.stderr
    assert "known_sizes.py" in done.stdout and '"two-shapes": [0],' in done.stdout
    assert f"python -m pytest {test}" in done.stdout
    for path in (reader, test):
        compile((copy / path).read_text(), path, "exec")
        assert "NAME" not in (copy / path).read_text() and "FOLDER" not in (copy / path).read_text()
    assert not (ROOT / test).exists()
