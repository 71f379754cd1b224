"""A method and a loss in a distribution of their own: planned, trained, in the code closure; and what is refused."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from support import needs, project

from reweigh import digest, plugins
from reweigh.config import broken, cards, own
from reweigh.errors import ConfigError, ReweighError
from reweigh.provenance.audit import commits
from reweigh.provenance.crate import runs

METHOD = '''"""Weights inverse to the square root of the class size (compare Mahajan et al., ECCV 2018)."""

import torch

from reweigh.methods import base

from .roots import inverse_root


class Method(base.Method):
    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        inverse = inverse_root(self.context.group_counts)
        return (inverse / inverse.mean())[step.batch.groups] / len(losses)
'''
ROOTS = '''"""What its own package shares."""


def inverse_root(counts):
    return counts.rsqrt()
'''
METHOD_CARD = """from reweigh.config.cards import Card
from reweigh.config.methods.base import Loss
from reweigh.config.specs import Frozen


class Options(Frozen):
    loss: Loss


CARD = Card(options=Options, examples=({"loss": None},), follows=lambda options: {"rarity": 1})
"""
LOSS = '''"""Poly-1 (Leng et al., ICLR 2022): −log p_y + ε (1 − p_y)."""

import torch

from reweigh.losses import base, cross_entropy


class Loss(base.Loss):
    def __init__(self, *known, epsilon: float, **shared) -> None:
        super().__init__(*known, **shared)
        self.epsilon = epsilon

    def unweighted(self, logits, batch):
        entropy = cross_entropy(logits, batch.labels)
        return entropy + self.epsilon * (1 - torch.exp(-entropy))
'''
LOSS_CARD = """from reweigh.config.cards import LossCard
from reweigh.config.losses.base import LossOptions


class Options(LossOptions):
    epsilon: float


CARD = LossCard(options=Options, examples=({"epsilon": 1.0},))
"""
ENTRY = """methods:
  sqrtw:
    title: Square-root weighting
    uses: sqrtw
    about: weights inverse to the square root of class size, from a distribution of its own
    options: { loss: { value: { name: poly9, epsilon: 1.0 }, source: ours } }
"""
RUN = "smoke/tdr/mnist-4v9/rho0.1/sqrtw/seed0"
PYPROJECT = """[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "their-dist"
version = "1.2"
[project.entry-points."reweigh.methods"]
sqrtw = "their_package.sqrtw"
[project.entry-points."reweigh.losses"]
poly9 = "their_package.poly9"
[tool.setuptools]
packages = ["their_package"]
"""


def installed(folder, points, name="their-dist", **files):
    """A distribution as pip leaves it: a package, and a dist-info with its entry points."""
    info = folder / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    groups = {"reweigh.methods": {}, "reweigh.losses": {}, **points}
    lines = (f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in known.items()) for group, known in groups.items())
    (info / "entry_points.txt").write_text("".join(lines))
    for module, text in files.items():
        (folder / "their_package").mkdir(exist_ok=True)
        (folder / "their_package" / f"{module}.py").write_text(text)
    return folder


FILES = {"__init__": "", "sqrtw": METHOD, "sqrtw_card": METHOD_CARD, "roots": ROOTS, "poly9": LOSS,
         "poly9_card": LOSS_CARD}  # fmt: skip
POINTS = {"reweigh.methods": {"sqrtw": "their_package.sqrtw"}, "reweigh.losses": {"poly9": "their_package.poly9"}}


@pytest.fixture
def on_the_path(tmp_path, monkeypatch):
    """Install a distribution for this process; what was found before is forgotten, then and afterwards."""
    forgotten = (plugins.named, cards._cards, broken.unreadable, digest._folders)

    def install(points, **files):
        monkeypatch.syspath_prepend(str(installed(tmp_path / "site", points, **files)))
        for one in forgotten:
            one.cache_clear()

    yield install
    for one in forgotten:
        one.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "their_package"]:
        del sys.modules[name]


CONSISTENT = """
import json, sys
from reweigh.provenance.consistency import contradictions
print(contradictions(json.load(open(sys.argv[1]))))
"""


def in_project(folder, site, *arguments, program=("-m", "reweigh.cli")):
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=folder,
        env=project.environment(PYTHONPATH=f"{project.ROOT / 'src'}:{site}"),
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_they_are_planned_and_trained_and_an_edit_of_their_package_makes_their_runs_stale(tmp_path, raw_root):
    folder, site = project.make(tmp_path, raw_root), installed(tmp_path / "site", POINTS, **FILES)
    (folder / "config/papers/tdr/methods").mkdir()
    (folder / "config/papers/tdr/methods/sqrtw.yaml").write_text(ENTRY)
    experiments = folder / "config/papers/tdr/experiments/mnist.yaml"
    listed = "methods: [tdr_p, er_p, none_p, hard_p, tdr, er, none, hard]"
    assert listed in experiments.read_text()
    experiments.write_text(experiments.read_text().replace(listed, f"{listed[:-1]}, sqrtw]"))
    done = in_project(folder, site, "train", RUN)
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / f"results/{RUN}.json").read_text())
    assert record["spec"]["uses"] == "sqrtw" and record["status"] == "finished"
    theirs = {name for name in record["code"]["files"] if ":" in name}
    assert theirs == {f"their_package:{name}.py" for name in ("__init__", "sqrtw", "roots", "poly9")}
    assert {"methods/base.py", "losses/base.py", "training/engine.py"} <= set(record["code"]["files"])
    checked = in_project(folder, site, f"results/{RUN}.json", program=("-c", CONSISTENT))
    assert checked.stdout == "[]\n", checked.stderr

    assert "1 current" in (said := in_project(folder, site, "plan", RUN).stdout), said
    roots = site / "their_package/roots.py"
    roots.write_text(ROOTS.replace("counts.rsqrt()", "counts.clamp(min=1).rsqrt()"))
    assert "1 stale" in (said := in_project(folder, site, "plan", RUN).stdout), said
    roots.write_text(ROOTS.replace("shares", "has in common"))  # a docstring
    assert "1 current" in (said := in_project(folder, site, "plan", RUN).stdout), said
    gone = in_project(folder, tmp_path, "plan", RUN)
    assert gone.returncode == 2 and "unknown method 'sqrtw'" in gone.stderr and gone.stderr.count("\n") == 1


@pytest.mark.slow
def test_pip_installs_such_a_distribution(tmp_path):
    """Its entry points are where `installed` puts them."""
    source, site = tmp_path / "source", tmp_path / "site"
    (source / "their_package").mkdir(parents=True)
    (source / "pyproject.toml").write_text(PYPROJECT)
    for module, text in FILES.items():
        (source / "their_package" / f"{module}.py").write_text(text)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", str(site), str(source)], capture_output=True, text=True)
    if "No module named" in done.stderr or "invalid command 'bdist_wheel'" in done.stderr:
        pytest.skip("wants setuptools and wheel")
    assert done.returncode == 0, done.stderr
    code = "from reweigh.config import cards; print('sqrtw' in cards.methods(), 'poly9' in cards.losses())"
    environment = project.environment(PYTHONPATH=f"{project.ROOT / 'src'}:{site}")
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "True True\n", done.stderr


def test_their_cards_are_among_ours_and_import_no_torch(on_the_path):
    ours = set(cards.methods())
    on_the_path(POINTS, **FILES)
    assert set(cards.methods()) == ours | {"sqrtw"} and list(cards.methods()) == sorted(cards.methods())
    assert cards.check_options("sqrtw", {"loss": {"name": "poly9", "epsilon": 1.0}}, "here")
    with pytest.raises(ConfigError, match=r"here\.loss: unknown key 'epsilom'; did you mean 'epsilon'"):
        cards.check_options("sqrtw", {"loss": {"name": "poly9", "epsilom": 1.0}}, "here")
    assert plugins.module_of("methods", "sqrtw") == "their_package.sqrtw"
    assert plugins.module_of("methods", "tdr") == "reweigh.methods.tdr"
    assert "their_package.sqrtw" not in sys.modules


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ({"tdr": "their_package.tdr"}, "'tdr' of reweigh.methods is a name that Reweigh has itself; rename it"),
        ({"base": "their_package.base"}, "'base' of reweigh.methods is a name that Reweigh has itself"),
        ({"sqrt-w": "their_package.sqrtw"}, "has to be a plain name of a module"),
        ({"sqrtw": "their_package.sqrtw:Method"}, "has to be a plain name of a module"),
    ],
)
def test_a_name_that_cannot_be_is_refused(on_the_path, points, says):
    on_the_path({"reweigh.methods": points}, **FILES)
    with pytest.raises(ConfigError, match=f"^their-dist 1.2: its entry point .*{says}") as caught:
        cards.card_of("tdr")
    assert "\n" not in str(caught.value)


def test_two_distributions_with_one_name_are_refused(on_the_path, tmp_path):
    installed(tmp_path / "site", {"reweigh.methods": {"sqrtw": "other.sqrtw"}}, name="other-dist")
    on_the_path(POINTS, **FILES)
    with pytest.raises(ConfigError, match=r"'sqrtw' of reweigh.methods is also one of (their|other)-dist 1.2; uninst"):
        cards.methods()


@pytest.mark.parametrize(
    ("card", "says"),
    [
        (None, "ModuleNotFoundError: No module named 'their_package.sqrtw_card'"),
        ("CARDS = 1", "AttributeError: module 'their_package.sqrtw_card' has no attribute 'CARD'"),
        ("def (", "SyntaxError: "),
    ],
)
def test_a_broken_card_is_said_where_it_is_asked_for_and_breaks_no_other(on_the_path, card, says):
    files = {name: text for name, text in FILES.items() if name != "sqrtw_card"}
    on_the_path(POINTS, **files, **({} if card is None else {"sqrtw_card": card}))
    assert "sqrtw" not in cards.methods() and cards.card_of("tdr") and "poly9" in cards.losses()
    with pytest.raises(ConfigError, match=f"card of 'sqrtw', CARD in their_package.sqrtw_card, cannot be read: {says}"):
        cards.card_of("sqrtw", "here")


@pytest.mark.parametrize("file", ["sqrtw", "roots"])
@pytest.mark.parametrize(("text", "says"), [("x = 1\ndef (", "2: invalid syntax"), ("x = '\0'", "1: source code")])
def test_a_module_that_is_no_python_is_named_and_breaks_its_own_method_alone(on_the_path, tmp_path, file, text, says):
    on_the_path(POINTS, **{**FILES, file: text})
    path = tmp_path / "site/their_package" / f"{file}.py"
    method, other = (SimpleNamespace(uses=name, options={}) for name in ("sqrtw", "tdr"))
    why = own.why_broken(method)  # a placeholder, which nothing trains
    assert why.startswith(f"{path}:{says}") and "'sqrtw' of another distribution" in why and "\n" not in why
    assert not own.why_broken(other) and "poly9" not in broken.broken("losses")
    with pytest.raises(ReweighError, match=f"{file}.py:{says}.*; mend it"):
        digest.closure(["their_package.sqrtw"])


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("import no_such_library", "cannot be imported: ModuleNotFoundError: No module named 'no_such_library'"),
        ("class Methods: pass", "'sqrtw', their_package.sqrtw, has no Method"),
    ],
)
def test_a_broken_module_is_said_before_the_run_begins(on_the_path, method, says):
    on_the_path(POINTS, **{**FILES, "sqrtw": method})
    with pytest.raises(ConfigError, match=says):
        plugins.place({"uses": "sqrtw", "method_options": {}})


def test_without_any_nothing_is_placed_and_what_is_missing_is_said():
    before = set(sys.modules)
    plugins.place({"uses": "tdr", "method_options": {"loss": {"name": "focal"}}})
    with pytest.raises(ConfigError, match="no method 'sqrtw' here; install the distribution that has it"):
        plugins.place({"uses": "sqrtw", "method_options": {}})
    with pytest.raises(ConfigError, match="no loss 'poly9' here; install the distribution that has it"):
        plugins.place({"uses": "tdr", "method_options": {"loss": {"name": "poly9"}}})
    assert set(sys.modules) == before


# --- the chain -------------------------------------------------------------------------------------------------------

THEIRS = "their_package:sqrtw.py"


@needs.CLONE
def test_an_audit_leaves_their_files_to_their_own_history():
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project.ROOT, capture_output=True, text=True).stdout.strip()
    body = {"git": {"commit": head, "dirty": False}, "code": {"files": {THEIRS: "0" * 64}}}
    assert [link.state for link in commits.check_commits({"a run": body}, project.ROOT)] == ["intact"]


def test_a_crate_says_that_their_files_are_not_packed():
    said = runs._program_description({"files": 30}, [], [THEIRS])
    assert said.endswith(
        f"30 source files, of which those of other packages are not packed: {THEIRS}; the others are unchanged."
    )
    assert runs._program_description({"files": 30}, [], []).endswith("30 source files, all packed and unchanged.")
