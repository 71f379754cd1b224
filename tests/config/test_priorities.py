"""config/priorities.yaml: what it names, in which order, and what it may not say."""

import shutil

import pytest
from support.project import ROOT

from reweigh.config.loading import load
from reweigh.config.priorities import PRIORITIES, entries
from reweigh.errors import ConfigError

ENTRY = "  - {{ paper: {paper}, cells: [{cells}], why: {why} }}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("priorities")
    shutil.copytree(ROOT / "config", folder / "config")
    return folder


def listed(folder, *cells, paper="tdr", why="a test", scale="paper"):
    """The cells of a list with one entry."""
    text = "# a list\npriorities:\n" + ENTRY.format(paper=paper, cells=", ".join(map(repr, cells)), why=why)
    (folder / PRIORITIES).write_text(text)
    config = load(folder)
    (entry,) = entries(config)
    return entry.cells(config, scale)


def test_names_and_patterns_name_cells_in_their_order(folder):
    cells = listed(folder, "mnist-lt/rho0.05/er", "mnist-lt/rho0.0*", "mnist-lt/*/er")
    settings = {"rho0.05": 0, "rho0.02": 1, "rho0.005": 2, "rho0.1": 3}
    assert cells[0] == "paper/tdr/mnist-lt/rho0.05/er" and cells[-1] == "paper/tdr/mnist-lt/rho0.1/er"
    assert len(cells) == len(set(cells)) == 3 * 8 + 1
    assert {cell.split("/")[3] for cell in cells} == set(settings)


def test_an_extension_is_named_and_never_meant_by_a_pattern(folder):
    grid = load(folder).cells("paper", "tdr", "mnist-4v9")
    assert listed(folder, "mnist-4v9") == listed(folder, "mnist-4v9/*/*") == grid
    assert listed(folder, "mnist-4v9/rho0.1/er_ren") == ["paper/tdr/mnist-4v9/rho0.1/er_ren"]
    for pattern in ("er*", "**", "?*", "[et]*"):
        assert set(listed(folder, f"mnist-4v9/rho0.1/{pattern}")) <= set(grid), pattern
    assert not any("scrambled" in cell for cell in listed(folder, "cifar10-4v9-*"))
    assert all("scrambled" in cell for cell in listed(folder, "cifar10-4v9-convnet-scrambled"))


def test_a_smaller_scale_has_those_of_the_cells_that_it_keeps(folder):
    assert listed(folder, "mnist-4v9", scale="smoke") == load(folder).cells("smoke", "tdr", "mnist-4v9")
    assert listed(folder, "mnist-4v9/rho0.1/er_ren", scale="quick") == []


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"paper": "tdrr"}, "unknown paper 'tdrr'; did you mean 'tdr'?"),
        ({"cells": ["mnist-4v8"]}, "unknown experiment 'mnist-4v8'; did you mean 'mnist-4v9'?"),
        ({"cells": ["mnist-4v9/rho0.15"]}, "unknown setting 'rho0.15'; did you mean 'rho0.1'?"),
        ({"cells": ["mnist-4v9/*/err"]}, "unknown method 'err'; did you mean 'er'?"),
        ({"cells": ["mnist-4v9/*/er_re[n]"]}, "no method fits 'er_re[n]'"),  # of an extension
        ({"cells": ["fashion-*"]}, "no experiment fits 'fashion-*'"),
        ({"cells": ["mnist-4v9/rho0.1/er/seed0"]}, "cells.0"),
        ({"why": "' '"}, "why"),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_the_nearest_word(folder, entry, says):
    entry = {"cells": ["mnist-4v9"], **entry}
    with pytest.raises(ConfigError, match=r"^config/priorities.yaml:3: ") as error:
        listed(folder, *entry.pop("cells"), **entry)
    assert says in str(error.value)


def test_what_cannot_be_run_is_refused_with_the_reason(folder):
    config = load(folder)
    not_run = next(name for name, one in config.paper("absgd").experiments.items() if one.status == "not run")
    with pytest.raises(ConfigError, match=f"{not_run} cannot be run: "):
        listed(folder, not_run, paper="absgd")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("priority: []\n", "unknown key 'priority'; did you mean 'priorities'?"),
        ("priorities:\n  - { paper: tdr, cells: [adult] }\n", "'priorities.0.why' is missing"),
        ("priorities:\n  - { paper: tdr, cell: [adult], why: a test }\n", "did you mean 'cells'?"),
        ("priorities: []\n", "at least 1"),
    ],
)
def test_the_keys_are_checked(folder, text, says):
    (folder / PRIORITIES).write_text(text)
    with pytest.raises(ConfigError, match=r"config/priorities.yaml") as error:
        entries(load(folder))
    assert says in str(error.value)


def test_the_list_of_this_project_names_every_cell_that_can_be_run(config):
    """Of extensions too: a claim on a cell that is on no list is never decided. And nothing that no paper has."""
    named = {cell for entry in entries(config) for cell in entry.cells(config, "paper")}
    every = config.with_options(extensions=True)
    can_be_run = {cell for paper in config.project.papers for cell in every.cells("paper", paper)}
    assert named == can_be_run, sorted(named ^ can_be_run)


def test_a_pattern_of_settings_means_those_that_an_extension_has(folder):
    """T-X2 has two of the four ratios."""
    wanted = [f"paper/tdr/cifar10-4v9-convnet/{setting}/er_mean" for setting in ("rho0.3", "rho0.05")]
    assert listed(folder, "cifar10-4v9-convnet/*/er_mean") == wanted
    assert len(listed(folder, "cifar10-4v9-convnet/*/*")) == 4 * 5
    named = "cifar10-4v9-convnet/rho0.2/er_mean"  # asked for in full
    assert listed(folder, named) == [f"paper/tdr/{named}"]


IN_ORDER = (  # cells that stand for what they belong to, in the order of a machine with a GPU
    "autobalance/waterbirds/linear/autobalance",
    "autobalance/waterbirds/linear/ce_threshold",
    "autobalance/waterbirds-trade-off/lambda0.9/autobalance",
    "autobalance/mnist-lt/rho100/ce",
    "autobalance/mnist-lt/rho100/delta_l",
    "autobalance/mnist-lt/rho100/delta_l_la",
    "autobalance/waterbirds/linear-raw/autobalance",
    "autobalance/waterbirds/mlp/autobalance",
    "autobalance/cifar10-lt/rho100/delta_l",
    "autobalance/cifar10-lt/rho100/ce",
    "autobalance/cifar10-lt/rho100/delta_l_la",
    "autobalance/cifar100-lt/rho100/delta_l",
    "autobalance/cifar10-lt-validation/val100/delta_l",
    "autobalance/cifar10-lt/rho100/pda",
    "tdr/mnist-4v9/rho0.1/tdr_p",
    "tdr/mnist-4v9/rho0.1/er_ren",
    "tdr/mnist-lt/rho0.02/tdr_p",
    "tdr/mnist-lt/rho0.02/none_1c",
    "tdr/mnist-4v9-ablation/t_in1/tdr",
    "tdr/mnist-lt/rho0.1/er_ren",
    "absgd/cifar10/lt-rho100/absgd_cbldam",
    "absgd/gamma-cifar10/lt-rho100/absgd_gamma0.5",
    "absgd/hidden-rate/lt-rho100/absgd_ce",
    "absgd/normalised-logits/sym0.4/absgd_sce_norm",
    "tdr/cifar10-4v9-convnet/rho0.3/tdr",
    "tdr/cifar10-lt-convnet/rho0.1/tdr",
    "absgd/cifar10/st-rho10/absgd_ce",
)


def test_the_list_of_this_project_has_its_order(config):
    cells = dict.fromkeys(cell for entry in entries(config) for cell in entry.cells(config, "paper"))
    places = [list(cells).index(f"paper/{cell}") for cell in IN_ORDER]
    assert places == sorted(places)


def test_what_is_left_to_a_gpu_is_what_takes_days(config):
    """Without a GPU these entries are passed over: what decides claims on small data must not be among them."""
    left = {cell for entry in entries(config) if entry.priority.gpu for cell in entry.cells(config, "paper")}
    here = {cell for entry in entries(config) if not entry.priority.gpu for cell in entry.cells(config, "paper")}
    experiments = {cell.split("/")[2] for cell in left - here}
    assert not {name for name in experiments if name.startswith(("mnist", "adult"))}
    assert not experiments & {"cifar10-4v9-convnet", "gamma-cifar10", "hidden-rate", "features", "weights", "two-stage"}
