"""What a scale leaves out, in words: made from what it changes, and in the papers the words that figures have."""

import json
from pathlib import Path

import pytest
from support.config_files import replace

from reweigh.config.loading import load

PINNED = json.loads(Path(__file__).with_name("cuts.json").read_text())


def test_the_words_on_figures_and_in_scorecards_are_as_they_were(config):
    found = {
        f"{scale}/{paper}/{name}": cut
        for paper in ("tdr", "absgd", "autobalance")
        for scale in ("smoke", "quick")
        for name in config.paper(paper).experiments
        if (cut := config.cut(scale, paper, name))
    }
    assert found == PINNED


def test_at_scale_paper_nothing_is_left_out(config):
    assert config.cut("paper", "tdr", "mnist-4v9") == config.cut("quick", "tdr", "cifar10-4v9-convnet-scrambled") == ""


QUICK = """seeds: 3
        methods: [tdr, er, none, hard] # at the printed rate nothing is learned in so few epochs
        settings: [rho0.1, rho0.005]
        training:
          epochs: 20
          schedule: { name: step, milestones: [18], factor: 0.1, warmup_epochs: 0 }
        cut: { settings: "{numbers} ratios", methods: the values of the code only }"""
CHANGES = {  # what scale quick of MNIST 4 against 9 says -> what it leaves out
    "seeds: 2\n        training: { epochs: 9 }": "9 of 100 epochs, 2 of 5 seeds",
    "settings: [rho0.1]\n        methods: [tdr]": "1 of 4 settings, 1 of 8 methods",
    "split: { total: 400, test_size: 100 }": "400 of 5,000 images, 100 of 1,964 test images",
    "training: { batch_size: 25 }": "batches of 25",
    "training: { epochs: 9 }\n        cut: { epochs: '{numbers} epochs or so' }": "9 of 100 epochs or so",
    "seeds: 2\n        training: { epochs: 9 }\n        cut: { seeds: null }": "9 of 100 epochs",
    "seeds: 2\n        cut: { batches: batches as they are }": "batches as they are, 2 of 5 seeds",
    "seeds: 2\n        cut: whatever": "whatever",
    "training: { learning_rate: 0.1 }": "",
}


@pytest.mark.parametrize("says", CHANGES)
def test_a_cut_says_what_the_scale_changes(project, says):
    replace(project, QUICK, says, "config/papers/tdr/experiments/mnist.yaml")
    assert load(project).cut("quick", "tdr", "mnist-4v9") == CHANGES[says]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("blocks: 1, width: 0.5", "8 of 32 layers, half the channels"),
        ("blocks: 2, width: 0.3", "14 of 32 layers, 0.3 times the channels"),
        ("width: 0.0625", "a sixteenth of the channels"),
    ],
)
def test_a_smaller_net(project, said, words):
    replace(project, "options: { blocks: 1, width: 0.5 }", f"options: {{ {said} }}", "config/protocols")
    assert f", {words}, 20 of 200 epochs (16 of 160 before the switch), " in load(project).cut(
        "quick", "absgd", "cifar10"
    )


@pytest.mark.parametrize("scale", ["smoke", "quick"])
def test_no_small_run_prunes_every_example(config, scale):
    """After a few epochs no example has half of the probability: the truncated loss would train on nothing."""
    specs = [config.resolve(run) for run in config.runs(scale, "absgd")]
    losses = [spec["method_options"].get("loss") or {} for spec in specs]
    truncated = [loss for loss in losses if loss.get("truncation")]
    assert truncated and all(loss["refresh_from"] is None for loss in truncated)
