"""The texts that `reweigh new` begins from, beside the templates of methods, losses and cards. NAME is the new one."""

import json
from typing import Any

ENTRIES = {
    "method": """\
  NAME:
    title: NAME
    uses: NAME
    joins: [EXPERIMENT]
    about: what it does, in one line
    options:
      gamma: { value: 0.5, source: "ours: say where each value comes from" }
      loss: { value: null, source: "ours: cross-entropy" }
""",
    "loss": """\
  NAME:
    title: NAME
    uses: sgd
    joins: [EXPERIMENT]
    about: plain training on it
    options:
      value: { loss: { name: NAME, temperature: 1.0 }, class_balance: null, sampling: uniform, rate_factor: null }
      source: "ours: say where each value comes from"
""",
}

TESTS = {
    "method": '''\
"""NAME against its formula, computed in another way; what every method must hold to is tested by being there."""

import torch
from support import every_method

from reweigh.methods import NAME


def test_its_weights_are_those_of_the_formula():
    """Still the template's: the mean loss of the class in the last batch, γ = 1. Put the paper's formula here."""
    weights, labels = every_method.shares(NAME.Method, {"gamma": 1.0, "loss": None})
    losses = every_method.losses_of(every_method.LAST).double()
    means = torch.stack([losses[labels == label].mean() for label in (0, 1)])
    torch.testing.assert_close(weights, means[labels] / means[labels].sum(), rtol=1e-5, atol=0)
''',
    "loss": '''\
"""NAME against its formula, computed in another way; what every loss must hold to is tested by being there."""

import torch
from support.absgd_methods import batch_of

from reweigh.losses import NAME


def test_it_is_its_formula():
    """Still the template's: −log softmax(s/T)_y. Put the paper's formula here."""
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 5, dtype=torch.float64), torch.arange(8) % 5
    found = NAME.Loss(torch.ones(5), 8, temperature=2.0)(logits, batch_of(labels))
    powers = (logits / 2).exp()
    expected = -(powers[range(8), labels] / powers.sum(1)).log()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
''',
}

# What follows a colon and a space is a command, to be given as it stands.
NEXT_OF_METHOD = [
    "write the method in src/reweigh/methods/NAME.py, its options with ranges in src/reweigh/config/methods/NAME.py",
    "check it: reweigh check method NAME",
    "test it: python -m pytest tests/methods/test_NAME.py tests/methods/test_every_method.py -k NAME",
]
NEXT_OF_LOSS = [
    "write the loss in src/reweigh/losses/NAME.py, its options with ranges in src/reweigh/config/losses/NAME.py",
    "check it: reweigh check loss NAME",
    "test it: python -m pytest tests/losses/test_NAME.py tests/losses/test_every_loss.py -k NAME",
]
NEXT_IN_PAPER = [
    "train it, and what its figure shows beside it: reweigh train CELLS",
    "draw it beside the paper's: reweigh render figures/smoke/PAPER/ARTIFACT --also NAME",
    "score it: reweigh scorecard --scale smoke",
    "train it in other experiments of PAPER too: name them in `joins` of config/papers/PAPER/methods/NAME.yaml",
]
NEXT_WITHOUT_PAPER = [
    "add to the `methods` of a paper, in config/papers/PAPER/methods.yaml, with experiments of it in `joins`:\n{entry}",
    "or compare it on data of your own: docs/your-data.md says how",
    "train it: reweigh train smoke/PAPER/EXPERIMENT/SETTING/NAME",
    "draw it beside the paper's: reweigh render figures/smoke/PAPER/ARTIFACT --also NAME",
    "score it: reweigh scorecard --scale smoke",
]
NEXT_OF_PAPER = [
    "write the paper's experiments, methods, artifacts and claims in config/papers/NAME, with a source for each value",
    "type its numbers into data/published/NAME.csv, and say in published.yaml where each row belongs",
    "add NAME to `papers` in config/config.yaml",
    "see what it would run: reweigh plan smoke/NAME",
]


def _notebook(cells: list[tuple[str, str, str]]) -> str:
    """A notebook without outputs, of (kind, id, source)."""
    made: list[dict[str, Any]] = []
    for kind, name, source in cells:
        cell: dict[str, Any] = {"cell_type": kind, "id": name, "metadata": {}}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        if name == "parameters":
            cell["metadata"] = {"tags": ["parameters"]}
        made.append({**cell, "source": source.splitlines(keepends=True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    language = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"}
    metadata = {"kernelspec": kernel, "language_info": language}
    whole = {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


# A paper's files: path -> text. What is here trains plain training on a few digits and draws it.
PAPER = {
    "config/papers/NAME/paper.yaml": """\
# NAME: what the paper proposes, in one line. See config/README.md for the keys.
#
# A value that decides a result is written {value: ..., source: ...}; a source covers everything below it. Say here what
# "paper" and "code" stand for (title and year; repository and commit); "ours" is a choice that neither settles.

title: "NAME: the paper's title"
citation: "Authors (year), venue, pages"
url: https://doi.org/
""",
    "config/papers/NAME/methods.yaml": """\
# The paper's own methods, its variants, and what it compares with (`like` takes those of config/methods).

methods:
  none: { like: none }
""",
    "config/papers/NAME/experiments/first.yaml": """\
# One family of experiments a file.

experiments:
  first:
    like: mnist-lenet
    title: MNIST 4 against 9, LeNet
    varies: imbalance ratio
    split:
      source: "ours: an example, to be replaced"
      value: { kind: two-class, classes: [4, 9], total: 5000, target_size: 50, test: balanced }
    settings:
      rho0.1: { value: 0.1, split: { imbalance_ratio: { value: 10, source: "ours: an example" } } }
    methods: [none]
    seeds: { value: 3, source: "ours: an example" }
    scales:
      smoke:
        seeds: 1
        split: { total: 300, target_size: 20, test_size: 100 }
        training: { epochs: 1 }
""",
    "config/papers/NAME/artifacts.yaml": """\
artifacts:
  fig1:
    title: Test accuracy by imbalance ratio
    kind: figure
    notebook: notebooks/NAME/fig1.ipynb
    caption: workflow/report/NAME/fig1.rst
    reads:
      - { experiment: first, methods: all }
""",
    "config/papers/NAME/claims.yaml": """\
# What the paper states and records can decide, with the rule for it. Write it down before anything is run.
# Tests are explained in config/README.md.

claims: []
""",
    "config/papers/NAME/published.yaml": """\
# Where each row of the published numbers belongs, and which of them cannot be judged, with the reason.

published:
  file: data/published/NAME.csv
  methods: {}
  rows: []
""",
    "config/papers/NAME/findings.yaml": """\
# What does not fit together in the paper itself, with the evidence.

findings: []
""",
    "data/published/NAME.csv": "paper,table_or_figure,dataset,setting,method,metric,mean,std\n",
    "workflow/report/NAME/fig1.rst": (
        "Figure 1 of NAME at scale {{ snakemake.wildcards.scale }}: say what is shown, and on what it was measured.\n"
    ),
    "notebooks/NAME/fig1.ipynb": _notebook(
        [
            ("markdown", "about", "# Fig. 1 of NAME: say what it shows\n\nSay on what it was measured."),
            (
                "code",
                "parameters",
                'scale = "paper"\npaper = "NAME"\nartifact = "fig1"\n'
                "out = None  # where to save, without ending; None only shows",
            ),
            (
                "code",
                "material",
                "from reweigh.analysis.tables import of_artifact\nfrom reweigh.plots import by_setting\n\n"
                "material = of_artifact(scale, paper, artifact)",
            ),
            (
                "code",
                "draw",
                "rows = by_setting.rows(material)\nfigure = by_setting.draw(material, rows)\nfigure.save(out)",
            ),
            ("code", "numbers", "rows.head(12)"),
        ]
    ),
}
