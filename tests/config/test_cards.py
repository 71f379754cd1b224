"""Cards: nobody else names a method or a loss, what is taken from them is what it was, and they import no torch."""

import ast
import subprocess
import sys

import pytest
from support.project import ROOT, environment

from reweigh.bench import contenders
from reweigh.bench.groups import benched
from reweigh.config import cards
from reweigh.config.loading import load
from reweigh.plots import style

SOURCE = ROOT / "src/reweigh"
OWN = ("methods/", "losses/", "config/methods/", "config/losses/")
FIGURES_OF_A_PAPER = ("plots/papers/",)
ABOUT_TWO_METHODS = (
    "bench/appendix_a.py",
    "bench/hessian.py",
    "bench/penalised_steps.py",
    "bench/reweighting.py",
    "analysis/total_weight.py",
)  # what a paper says of both or of several; a search or a step over a plain one; what weights sum to
LIBRARY = ("torch/", "sklearn.py")  # the methods and losses that it offers, by their own names
CHECKS_OF_A_GPU = ("training/gpu_check/",)  # plain steps, and steps with a hypergradient, on a machine without cards

# Words that mean something else there, or a default.
OTHER_MEANINGS = {
    "none": {"bench/contenders.py", "config/specs.py", "data/augment.py", "data/files.py", "data/load.py"}  # augment
    | {"config/inputs.py", "checking/runs.py", "checking/weights.py"}  # the same
    | {"config/lookup.py", "config/mapping.py"}  # nothing is known; the config's name of plain training
    | {"plots/bars.py", "plots/features.py", "plots/by_setting.py"},  # matplotlib's word for no line
    "constant": {"bench/contenders.py", "config/specs.py", "checking/weights.py"},  # a schedule
    "meta": {"data/readers/cifar100.py"},  # a file
    "tdr": {"bench/grid.py", "bench/groups.py"},  # the paper, which the grid is made of; a step that is measured twice
    "cross_entropy": {"records/record.py"},  # the loss where none is named
}


def named(text, names):
    """The methods and losses that a source file names: in a string of its own, or by importing their modules."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value} & names
        elif isinstance(node, ast.ImportFrom) and node.module:
            path = node.module.split(".")
            if path[-1] in ("methods", "losses"):
                # `cross_entropy` of reweigh.losses is the function, which anyone may use.
                found |= {alias.name for alias in node.names} & names - {"cross_entropy"}
            elif len(path) > 1 and path[-2] in ("methods", "losses"):
                found |= {path[-1]} & names
    return found


def test_no_other_module_names_a_method_or_a_loss():
    names = {*cards.methods(), *cards.losses()}
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).as_posix()
        if not place.startswith((*OWN, *FIGURES_OF_A_PAPER, *ABOUT_TWO_METHODS, *LIBRARY, *CHECKS_OF_A_GPU)):
            wrong = {name for name in named(path.read_text(), names) if place not in OTHER_MEANINGS.get(name, ())}
            found |= {place: wrong} if wrong else {}
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        'if spec["uses"] == "tdr": pass',
        'SIGNED = ("meta",)',
        'KINDS = {"er": 1}',
        "from reweigh.methods import base, tdr",
        "from reweigh.config.methods.absgd import CARD",
    ],
)
def test_naming_one_is_seen(text):
    assert named(text, {*cards.methods(), *cards.losses()})


def test_cards_import_no_torch():
    code = "import sys; from reweigh.config.cards import methods; methods(); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), cwd=ROOT, check=True
    )
    assert done.stdout == "False\n"


def test_every_entry_of_the_bench_is_made_of_valid_options():
    assert benched()[0][:2] == ("none", "plain step")
    for name, title, cycle in benched():
        options = contenders.spec_of("lenet", name)["method_options"]
        assert cards.check_options(name, options, title) == options
        assert cycle == {"tdr": 10, "autobalance": 20, "bilaw": 5, "lrw": 5, "lrwopt": 5, "mwn": 5}.get(name, 1)


# Colour, marker and hollow or not of every method that has a look of its own; the others have spare ones.
LOOKS = {
    "tdr": {
        "tdr": ("#0072B2", "o", False),
        "none_v": ("#000000", "X", False),
        "tdr_p": ("#0072B2", "o", True),
        "er": ("#D55E00", "s", False),
        "er_mean": ("#D55E00", "s", True),
        "hard": ("#009E73", "^", False),
        "hard_mean": ("#009E73", "^", True),
        "rand": ("#CC79A7", "v", False),
        "rand_class": ("#CC79A7", "v", True),
        "none": ("#555555", "D", False),
        "none_1c": ("#555555", "D", True),
        "constant": ("#56B4E9", "X", False),
    },
    "absgd": {
        "sgd_ce": ("#555555", "o", False),
        "sgd_focal": ("#555555", "s", False),
        "sgd_ldam": ("#555555", "^", False),
        "sgd_sce": ("#555555", "v", False),
        "sgd_tce": ("#555555", "P", False),
        "absgd_ce": ("#D55E00", "o", False),
        "absgd_focal": ("#D55E00", "D", False),
        "absgd_sce": ("#D55E00", "v", False),
        "eg_sce": ("#009E73", "v", False),
    },
}


@pytest.mark.parametrize("paper", LOOKS)
def test_every_method_looks_as_it_did_when_figures_had_a_list_of_their_own(paper):
    methods = load(ROOT).papers[paper].methods
    looks = style.looks(methods)
    spare = [name for name in methods if name not in LOOKS[paper]]
    for name in methods:
        expected = LOOKS[paper].get(name) or style.SPARE[spare.index(name) % len(style.SPARE)]
        assert tuple(looks[name]) == tuple(expected), name
