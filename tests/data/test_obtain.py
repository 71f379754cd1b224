"""Splits on disk: written once, read back, drawn again when their recipe changes, refused when altered."""

import json
import subprocess
import sys

import pytest
from support.project import ROOT

from reweigh.data import manifest, obtain
from reweigh.data.split import draw
from reweigh.errors import DataError

TWO_CLASS = {
    "kind": "two-class",
    "classes": [4, 9],
    "total": 5000,
    "imbalance_ratio": 200.0,
    "target_size": 50,
    "target_inside": False,
    "validation_size": 0,
    "order": "random",
    "test": "balanced",
    "test_size": None,
}


def spec(dataset="mnist", seed=0, **split):
    data = {"dataset": dataset, "options": {}, "split": TWO_CLASS | split}
    names = {"scale": "smoke", "paper": "tdr", "experiment": "mnist-4v9", "setting": "rho0.005", "method": "tdr"}
    return names | {"seed": seed, "data": data}


def test_a_split_is_written_once_and_says_how_it_was_drawn(project, mnist):
    split = obtain.obtain(spec(), project)
    path = project / "splits" / "smoke" / "tdr" / "mnist-4v9" / "rho0.005" / "seed0.npz"
    assert path == obtain.split_path(spec(), project)
    assert split.digest() == draw(mnist, TWO_CLASS, 0).digest()
    said = json.loads(path.with_suffix(".json").read_text())
    assert said == json.loads(json.dumps(obtain.describe(spec(), project)))
    assert said["digest"] == split.digest()
    assert said["recipe_digest"] == obtain.recipe_digest(spec(), project)
    assert said["sizes"]["train"] == [24, 4975]
    assert said["recipe"] == {"dataset": "mnist", "options": {}, "split": TWO_CLASS, "seed": 0}
    assert said["raw"][0]["name"] == "train-images-idx3-ubyte"
    assert {(file["dataset"], file["edition"], file["source"]) for file in said["raw"]} == {
        ("mnist", "official", "embedded")
    }
    assert all(file["url"].startswith("https://") for file in said["raw"])
    assert path.stat().st_size < 60_000
    before = path.read_bytes(), path.with_suffix(".json").read_bytes(), path.stat().st_mtime_ns
    assert obtain.obtain(spec(), project).digest() == split.digest()
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes(), path.stat().st_mtime_ns) == before
    assert sorted(file.name for file in path.parent.iterdir()) == ["seed0.json", "seed0.npz"]


def test_a_split_needs_its_raw_data_only_once(project, monkeypatch):
    drawn = obtain.obtain(spec(), project).digest()
    (project / "raw").unlink()
    assert obtain.obtain(spec(), project).digest() == drawn
    monkeypatch.setenv("REWEIGH_MIRROR", "")
    monkeypatch.setattr(manifest, "SOURCES", ("embedded",))
    with pytest.raises(DataError, match="data set mnist is not available"):
        obtain.obtain(spec(seed=1), project)


def test_a_split_of_another_recipe_is_drawn_again(project):
    first = obtain.obtain(spec(), project)
    second = obtain.obtain(spec(imbalance_ratio=10.0), project)
    assert second.class_counts.tolist() == [454, 4545]
    assert obtain.obtain(spec(), project).digest() == first.digest()


def test_an_altered_split_is_refused(project, mnist):
    obtain.obtain(spec(), project)
    path = obtain.split_path(spec(), project)
    other = draw(mnist, TWO_CLASS, seed=9).to_bytes()
    for content in (other, other[:1000], b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"not what its \.json says; delete both"):
            obtain.obtain(spec(), project)
    path.unlink()
    assert obtain.obtain(spec(), project).class_counts.tolist() == [24, 4975]
    path.with_suffix(".json").write_text("{")
    assert obtain.obtain(spec(), project).class_counts.tolist() == [24, 4975]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"https://ossci", b"httpS://ossci"),
        (b'"edition":"official"', b'"edition":"offici`l"'),
        (b'"sizes"', b'"sizer"'),
        (b'"bytes":47', b'"bytes":NaN,"b":47'),
        (b'"raw"', b'"rav"'),
    ],
)
def test_a_report_that_is_not_as_it_was_written_is_made_again(old, new, project):
    """Records take from it what they say of their raw data."""
    described = obtain.describe(spec(), project)
    report = obtain.split_path(spec(), project).with_suffix(".json")
    content = report.read_bytes()
    assert old in content
    report.write_bytes(content.replace(old, new, 1))
    assert obtain.describe(spec(), project) == described and report.read_bytes() == content


def test_a_report_of_an_older_version_states_no_digest_and_is_good(project):
    described = obtain.describe(spec(), project)
    report = obtain.split_path(spec(), project).with_suffix(".json")
    del described[obtain.OF_ITSELF]
    report.write_text(json.dumps(described))
    (project / "raw").unlink()  # it cannot be drawn again
    assert obtain.describe(spec(), project) == json.loads(json.dumps(described))


def test_recipe_digest_follows_what_a_split_depends_on(project, monkeypatch):
    here = obtain.recipe_digest(spec(), project)
    assert obtain.recipe_digest(spec() | {"method": "er", "setting": "other"}, project) == here
    others = [spec(seed=1), spec(target_size=20), spec(dataset="cifar10-slice")]
    assert len({here, *(obtain.recipe_digest(other, project) for other in others)}) == 4
    monkeypatch.setattr(obtain, "_code", lambda dataset: {"data/split.py": "changed"})
    assert obtain.recipe_digest(spec(), project) != here


def test_the_code_of_a_split_is_small_and_without_fetching():
    assert set(obtain._code("mnist")) == {
        "data/__init__.py",
        "data/arrays.py",
        "data/groups.py",
        "data/heteroskedastic_noise.py",
        "data/imbalance.py",
        "data/instance_noise.py",
        "data/readers/__init__.py",
        "data/readers/mnist.py",
        "data/noise.py",
        "data/noise_recipe.py",
        "data/split.py",
        "errors.py",
        "streams.py",
    }
    code = "import sys, reweigh.data.obtain; print({'torch', 'pooch', 'PIL', 'scipy'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT / "src", capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
