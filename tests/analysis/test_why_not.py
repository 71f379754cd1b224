"""Why a cell has no record, in words that are true of it."""

import pytest

from reweigh.analysis.tables import why_not

UNTRAINED = "not trained yet"
FOREIGN = "not part of the paper's protocol"


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("paper/tdr/mnist-4v9/rho0.1/tdr", UNTRAINED),
        ("paper/tdr/mnist-4v9/rho0.1/er_ren", UNTRAINED),  # of an extension, which claims of ours are about
        ("paper/tdr/mnist-4v9-ablation/t_in1/tdr", UNTRAINED),
        ("paper/absgd/gamma-cifar100/lt-rho100/absgd_beta0", UNTRAINED),
        ("paper/absgd/cifar100/st-rho100/sgd_cbce_rw", UNTRAINED),
        ("quick/absgd/cifar100/lt-rho100/sgd_cbce_rw", UNTRAINED),  # an extension's that scale quick names
        ("paper/tdr/cifar10-4v9-convnet/rho0.05/er_mean", UNTRAINED),
        ("paper/tdr/cifar10-4v9-convnet/rho0.2/er_mean", FOREIGN),  # the extension has two of the ratios
        ("paper/tdr/cifar10-lt-convnet/rho0.1/er_mean", FOREIGN),
        ("quick/tdr/mnist-4v9/rho0.1/er_ren", "not part of scale quick"),
        ("quick/tdr/mnist-4v9/rho0.05/tdr", "not part of scale quick"),
        ("smoke/tdr/mnist-4v9/rho0.1/none", "not part of scale smoke"),
    ],
)
def test_what_is_merely_untrained_says_so(config, cell, says):
    assert why_not(config, *cell.split("/")) == says


def test_so_it_is_of_all_that_extensions_have(config):
    every = config.with_options(extensions=True)
    cells = [cell for paper in config.project.papers for cell in every.cells("paper", paper)]
    assert {why_not(config, *cell.split("/")) for cell in cells} == {UNTRAINED}
