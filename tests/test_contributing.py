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

SECTIONS = {"Add a method": "sqrt", "Add a loss": "poly1"}
PLACES = {
    "Add a method": {
        "src/reweigh/methods/sqrt.py",
        "src/reweigh/config/methods/sqrt.py",
        "config/papers/tdr/methods/sqrt.yaml",
        "config/papers/tdr/experiments/mnist.yaml",
    },
    "Add a loss": {
        "src/reweigh/losses/poly1.py",
        "src/reweigh/config/losses/poly1.py",
        "config/papers/tdr/methods/poly1.yaml",
        "config/papers/tdr/experiments/mnist.yaml",
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
        if language == "diff":
            kept = text.splitlines(keepends=True)
            old = "".join(line[1:] for line in kept if line[0] in " -")
            new = "".join(line[1:] for line in kept if line[0] in " +")
            content = file.read_text()
            assert content.count(old) == 1, old
            file.write_text(content.replace(old, new))
        else:
            assert not file.exists()
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
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    where = environment(PYTHONPATH=f"{folder / 'src'}:{folder / 'tests'}")
    return subprocess.run(command, cwd=folder, env=where, capture_output=True, text=True)


@pytest.mark.parametrize("section", SECTIONS)
def test_what_is_written_there_touches_what_it_names_trains_and_passes_the_walk(section, copy):
    """Exactly these files; a record for each seed; and the automatic tests, which find it by its being there."""
    name = SECTIONS[section]
    assert set(follow(section, copy)) == PLACES[section] == changed(copy)
    run = f"smoke/tdr/mnist-4v9/rho0.1/{name}"
    done = reweigh(copy, "train", run)
    assert done.returncode == 0, done.stderr
    records = sorted((copy / "results" / run).glob("seed*.json"))
    assert len(records) == 2
    if section == "Add a loss":
        record = json.loads(records[0].read_text())
        assert record["spec"]["method_options"]["loss"] == {"name": "poly1", "epsilon": 1.0}
        losses = {name for name in record["code"]["files"] if name.startswith("losses/")}
        assert losses == {"losses/__init__.py", "losses/base.py", "losses/cross_entropy.py", "losses/poly1.py"}
    file = {"Add a method": "tests/methods/test_every_method.py", "Add a loss": "tests/losses/test_every_loss.py"}[
        section
    ]
    tested = walk(copy, file, "-k", f"{name} or has_a_card")
    assert tested.returncode == 0, tested.stdout
    assert int(re.search(r"(\d+) passed", tested.stdout)[1]) >= 5


@pytest.mark.parametrize(
    ("section", "path", "old", "new", "says"),
    [
        (
            "Add a loss",
            "config/papers/tdr/methods/poly1.yaml",
            "epsilon: 1.0",
            "epsilom: 1.0",
            "did you mean 'epsilon'?",
        ),
        ("Add a loss", "config/papers/tdr/methods/poly1.yaml", "epsilon: 1.0", "epsilon: .nan", "(valid: >= -1)"),
        ("Add a method", "config/papers/tdr/methods/sqrt.yaml", "options: {}", "options: { power: 1 }", "unknown key"),
    ],
)
def test_a_slip_in_an_entry_is_refused(section, path, old, new, says, copy):
    follow(section, copy)
    (copy / path).write_text((copy / path).read_text().replace(old, new, 1))
    done = reweigh(copy, "train", f"smoke/tdr/mnist-4v9/rho0.1/{SECTIONS[section]}")
    assert done.returncode == 2 and says in done.stderr and path in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("section", SECTIONS)
def test_a_card_that_is_forgotten_is_asked_for(section, copy):
    follow(section, copy)
    card = next(path for path in PLACES[section] if path.startswith("src/reweigh/config/"))
    (copy / card).unlink()
    done = reweigh(copy, "train", f"smoke/tdr/mnist-4v9/rho0.1/{SECTIONS[section]}")
    assert done.returncode == 2 and f"write {card}" in done.stderr


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


def tested_files(written):
    return [path for path in written if path.startswith("tests/")]


@pytest.mark.parametrize(("kind", "folder"), [("method", "methods"), ("loss", "losses")])
def test_new_writes_what_trains_and_passes_its_tests(kind, folder, copy):
    done = reweigh(copy, "new", kind, "fresh", "--paper", "tdr")
    assert done.returncode == 0, done.stderr
    written = re.findall(r"^wrote (\S+)$", done.stdout, re.MULTILINE)
    assert set(written) == {
        f"src/reweigh/{folder}/fresh.py",
        f"src/reweigh/config/{folder}/fresh.py",
        f"tests/{folder}/test_fresh.py",
        "config/papers/tdr/methods/fresh.yaml",
    }
    assert changed(copy) == set(written) - set(tested_files(written))
    assert "NAME" not in "".join((copy / path).read_text() for path in written)
    assert "smoke/tdr/EXPERIMENT/SETTING/fresh" in done.stdout
    trained = reweigh(copy, "train", "smoke/tdr/mnist-4v9/rho0.1/fresh")
    assert trained.returncode == 0, trained.stderr
    tested = walk(copy, *tested_files(written), f"tests/{folder}/test_every_{kind}.py", "-k", "fresh or has_a_card")
    assert tested.returncode == 0, tested.stdout


def test_new_without_a_paper_says_what_to_add(copy):
    done = reweigh(copy, "new", "method", "fresh")
    assert done.returncode == 0 and "\n  fresh:\n    title: fresh\n    uses: fresh\n" in done.stdout
    assert not any(path.startswith("config/") for path in changed(copy))


def test_a_new_paper_loads_trains_and_draws(copy):
    done = reweigh(copy, "new", "paper", "sixth")
    assert done.returncode == 0, done.stderr
    written = set(re.findall(r"^wrote (\S+)$", done.stdout, re.MULTILINE))
    assert changed(copy, ("config", "src", "notebooks", "workflow", "data/published")) == written
    planned = reweigh(copy, "plan", "smoke/sixth")
    assert planned.returncode == 0 and "1 of 1 runs to train" in planned.stdout, planned.stderr
    for command in (["train", "smoke/sixth/first/rho0.1/none"], ["render", "figures/smoke/sixth/fig1"]):
        finished = reweigh(copy, *command)
        assert finished.returncode == 0, finished.stderr
    assert (copy / "figures/smoke/sixth/fig1.pdf").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["method", "tdr"], "src/reweigh/methods/tdr.py is there already; nothing was written"),
        (["method", "template"], "is there already"),
        (["loss", "Focal"], "'Focal' is no name of a loss; use small letters"),
        (["method", "two-words"], "no name of a method"),
        (["method", "lambda"], "no name of a method"),
        (["method", "../up"], "no name of a method"),
        (["paper", "tdr"], "config/papers/tdr/paper.yaml is there already"),
        (["methd", "x"], "unknown kind 'methd'; did you mean 'method'?"),
        (["method", "fresh", "--paper", "tdrr"], "did you mean 'tdr'?"),
    ],
)
def test_new_refuses_bad_names_and_overwrites_nothing(arguments, says, copy):
    done = reweigh(copy, "new", *arguments)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
    assert changed(copy) == set()


def test_new_needs_a_checkout(tmp_path):
    with pytest.raises(ConfigError, match="run this in a checkout"):
        write("method", "fresh", tmp_path)
    assert not list(tmp_path.iterdir())
