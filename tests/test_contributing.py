"""CONTRIBUTING's "Add a method" and "Add a loss", followed in a copy of the project as they are written there."""

import filecmp
import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from support.absgd_methods import batch_of
from support.project import ROOT, environment
from support.readme import CONTRIBUTING, reweigh

from reweigh.errors import ConfigError
from reweigh.planning.new import write

WALKS = ("tests/methods/test_every_method.py", "tests/losses/test_every_loss.py")
CELLS = {"sqrt": "smoke/tdr/mnist-4v9/rho0.1/sqrt", "poly1": "smoke/tdr/mnist-lt/rho0.1/poly1"}
PLACES = {
    "Add a method": {
        "src/reweigh/methods/sqrt.py",
        "src/reweigh/config/methods/sqrt.py",
        "config/papers/tdr/methods/sqrt.yaml",
    },
    "Add a loss": {
        "src/reweigh/losses/poly1.py",
        "src/reweigh/config/losses/poly1.py",
        "config/papers/tdr/methods/poly1.yaml",
    },
}


def steps(section):
    """What a section says to write: (path, language, text), in order."""
    text = CONTRIBUTING.split(f"\n## {section}\n")[1].split("\n## ")[0]
    found, start = [], 0
    for fence in re.finditer(r"```(python|yaml|diff)\n(.*?)```", text, flags=re.DOTALL):
        before = re.findall(r"`((?:src|config)/[^`* ]+)`", text[start : fence.start()])
        found.append((before[0], fence[1], fence[2]))
        start = fence.end()
    return found


def follow(section, folder):
    """Do in a folder what a section says; the paths that it names."""
    paths = []
    for path, language, text in steps(section):
        file = folder / path
        assert language != "diff" and not file.exists()
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        paths.append(path)
    return paths


def changed(folder, names=("config", "src", "notebooks", "workflow")):
    """The files of the copy that differ from the project's, or are new or gone."""
    paths = set()
    for root in (ROOT, folder):
        for name in names:
            paths |= {path.relative_to(root) for path in (root / name).rglob("*") if path.is_file()}
    own = {path for path in paths if "__pycache__" not in path.parts and ".egg-info" not in str(path)}
    return {
        path.as_posix()
        for path in own
        if not ((ROOT / path).is_file() and (folder / path).is_file())
        or not filecmp.cmp(ROOT / path, folder / path, shallow=False)
    }


def walk(folder, *arguments):
    """Run tests of the project in the copy, on its code."""
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "data/embedded").symlink_to(ROOT / "data/embedded")
    command = [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider", *arguments]
    where = environment(PYTHONPATH=f"{folder / 'src'}:{folder / 'tests'}")
    return subprocess.run(command, cwd=folder, env=where, capture_output=True, text=True)


def trained(folder, *cells):
    """Train cells in one process; their records."""
    done = reweigh(folder, "train", *cells)
    assert done.returncode == 0, done.stderr
    return [sorted((folder / "results" / cell).glob("seed*.json")) for cell in cells]


def test_what_is_written_there_and_what_new_writes_trains_and_passes_the_walks(copy):
    """Exactly the files named; a record for each seed; and the automatic tests, which find all by their being there.

    The two sections are followed and `reweigh new` is called in one copy: each touches its own files alone.
    """
    touched = set()
    for section, places in PLACES.items():
        assert set(follow(section, copy)) == places
        touched |= places
        assert changed(copy) == touched
    written = by_new(copy)
    stubs = {path for path in written if path.startswith("tests/")}
    assert changed(copy) == touched | (written - stubs)
    fresh = (f"smoke/tdr/mnist-4v9/rho0.1/fresh_{kind}" for kind in ("method", "loss"))
    methods, losses, *_ = trained(copy, *CELLS.values(), *fresh)
    assert len(methods) == 2 and len(losses) == 1
    record = json.loads(losses[0].read_text())
    assert record["spec"]["method_options"]["loss"] == {"name": "poly1", "epsilon": 1.0}
    files = {name for name in record["code"]["files"] if name.startswith("losses/")}
    assert files == {"losses/__init__.py", "losses/base.py", "losses/cross_entropy.py", "losses/poly1.py"}
    tested = walk(copy, *stubs, *WALKS, "-k", "sqrt or poly1 or fresh or has_a_card")
    assert tested.returncode == 0, tested.stdout
    for name in ("sqrt", "poly1", "fresh_method", "fresh_loss"):
        assert len(re.findall(rf"\[{name}.*PASSED", tested.stdout)) >= 4, tested.stdout
    for stub in stubs:
        assert re.search(rf"{stub}::.*PASSED", tested.stdout), tested.stdout


def by_new(copy):
    """What `reweigh new` writes for a method and for a loss, which it names."""
    written = set()
    for kind, folder in (("method", "methods"), ("loss", "losses")):
        done = reweigh(copy, "new", kind, f"fresh_{kind}", "--paper", "tdr")
        assert done.returncode == 0, done.stderr
        assert f"smoke/tdr/mnist-4v9/rho0.1/fresh_{kind}" in done.stdout
        paths = set(re.findall(r"^wrote (\S+)$", done.stdout, re.MULTILINE))
        assert paths == {
            f"src/reweigh/{folder}/fresh_{kind}.py",
            f"src/reweigh/config/{folder}/fresh_{kind}.py",
            f"tests/{folder}/test_fresh_{kind}.py",
            f"config/papers/tdr/methods/fresh_{kind}.yaml",
        }
        assert "NAME" not in "".join((copy / path).read_text() for path in paths)
        written |= paths
    return written


def test_a_slip_in_an_entry_and_a_forgotten_card_are_refused(copy):
    for section in PLACES:
        follow(section, copy)
    poly1, sqrt = (f"config/papers/tdr/methods/{name}.yaml" for name in ("poly1", "sqrt"))
    for path, old, new, says in (
        (poly1, "epsilon: 1.0", "epsilom: 1.0", "did you mean 'epsilon'?"),
        (poly1, "epsilon: 1.0", "epsilon: .nan", "(valid: >= -1)"),
        (sqrt, "options: {}", "options: { power: 1 }", "unknown key"),
        ("src/reweigh/config/methods/sqrt.py", None, None, "write src/reweigh/config/methods/sqrt.py"),
        ("src/reweigh/config/losses/poly1.py", None, None, "write src/reweigh/config/losses/poly1.py"),
    ):
        whole = (copy / path).read_text()
        if old:
            (copy / path).write_text(whole.replace(old, new, 1))
        else:
            (copy / path).unlink()
        done = reweigh(copy, "plan", "smoke/tdr")
        assert done.returncode == 2 and says in done.stderr and path in done.stderr and "Traceback" not in done.stderr
        (copy / path).write_text(whole)


def test_the_loss_is_what_it_says():
    """Cross-entropy + ε (1 − p_y), in float64, by the code of the section itself."""
    names = {}
    exec(next(text for _, language, text in steps("Add a loss") if language == "python"), names)
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 5, dtype=torch.float64), torch.arange(8) % 5
    p = torch.softmax(logits, 1).gather(1, labels[:, None])[:, 0]
    found = names["Loss"](torch.ones(5), 8, epsilon=2.0)(logits, batch_of(labels))
    torch.testing.assert_close(found, -p.log() + 2 * (1 - p), rtol=1e-12, atol=0)


# --- reweigh new -----------------------------------------------------------------------------------------------------


def test_new_without_a_paper_says_what_to_add(copy):
    written = write("method", "fresh", copy)
    assert any("\n  fresh:\n    title: fresh\n    uses: fresh\n" in step for step in written.next)
    assert not any(path.startswith("config/") for path in written.files)


def test_a_new_paper_loads_trains_and_draws(copy):
    written = write("paper", "sixth", copy)
    assert changed(copy, ("config", "src", "notebooks", "workflow", "data/published")) == set(written.files)
    (records,) = trained(copy, "smoke/sixth/first/rho0.1/none")
    assert len(records) == 1
    rendered = reweigh(copy, "render", "figures/smoke/sixth/fig1")
    assert rendered.returncode == 0, rendered.stderr
    assert (copy / "figures/smoke/sixth/fig1.pdf").is_file()


def test_new_refuses_bad_names_and_overwrites_nothing(copy):
    for kind, name, paper, says in (
        ("method", "tdr", None, "src/reweigh/methods/tdr.py is there already; nothing was written"),
        ("method", "template", None, "is there already"),
        ("loss", "Focal", None, "'Focal' is no name of a loss; use small letters"),
        ("method", "two-words", None, "no name of a method"),
        ("method", "lambda", None, "no name of a method"),
        ("method", "../up", None, "no name of a method"),
        ("paper", "tdr", None, "config/papers/tdr/paper.yaml is there already"),
        ("methd", "x", None, "unknown kind 'methd'; did you mean 'method'?"),
        ("method", "fresh", "tdrr", "did you mean 'tdr'?"),
        ("dataset", "mnist", None, "src/reweigh/data/readers/mnist.py is there already; nothing was written"),
        ("dataset", "Two", None, "'Two' is no name of a dataset; use small letters"),
        ("dataset", "shapes", "tdr", "a dataset has neither"),
    ):
        with pytest.raises(ConfigError) as refused:
            write(kind, name, copy, paper)
        assert says in str(refused.value)
    assert changed(copy) == set()


def test_new_needs_a_checkout(tmp_path):
    with pytest.raises(ConfigError, match="run this in a checkout"):
        write("method", "fresh", tmp_path)
    assert not list(tmp_path.iterdir())
