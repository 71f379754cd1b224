"""CONTRIBUTING's section "Add a loss": its file and its entry, put into a copy of the project as written there."""

import json
import re

import pytest
import torch
from support import config_files
from support.absgd_methods import batch_of
from support.readme import CONTRIBUTING, reweigh

RUN = "smoke/tdr/mnist-4v9/rho0.1/poly1"


def said(language):
    """The block of that language in the section."""
    section = CONTRIBUTING.split("\n## Add a loss\n")[1].split("\n## ")[0]
    return re.search(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)[1]


@pytest.fixture
def with_loss(copy):
    """A copy of the project with the file and the entry of the section, which an experiment then has."""
    (copy / "src/reweigh/losses/poly1.py").write_text(said("python"))
    config_files.add_to_methods(copy, said("yaml"))
    config_files.give_method(copy, "poly1")
    return copy


def test_the_new_loss_trains_as_it_is_written_there(with_loss):
    done = reweigh(with_loss, "train", RUN)
    assert done.returncode == 0, done.stderr
    records = sorted((with_loss / "results" / RUN).glob("seed*.json"))
    assert len(records) == 2
    record = json.loads(records[0].read_text())
    assert record["spec"]["method_options"]["loss"] == {"name": "poly1", "epsilon": 1.0}
    losses = {name for name in record["code"]["files"] if name.startswith("losses/")}
    assert losses == {"losses/__init__.py", "losses/base.py", "losses/cross_entropy.py", "losses/poly1.py"}


def test_a_slip_in_its_entry_is_refused_with_the_nearest_word(with_loss):
    config_files.replace(with_loss, "epsilon: 1.0", "epsilom: 1.0")
    done = reweigh(with_loss, "train", RUN)
    assert done.returncode != 0 and "did you mean 'epsilon'?" in done.stderr and "Traceback" not in done.stderr


def test_it_is_what_it_says():
    """Cross-entropy + ε (1 − p_y), in float64, by the code of the section itself."""
    room = {}
    exec(said("python"), room)
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 5, dtype=torch.float64), torch.arange(8) % 5
    p = torch.softmax(logits, 1).gather(1, labels[:, None])[:, 0]
    found = room["Loss"](torch.ones(5), 8, epsilon=2.0)(logits, batch_of(labels))
    torch.testing.assert_close(found, -p.log() + 2 * (1 - p), rtol=1e-12, atol=0)
