"""Claims on made-up records that hold no more than their tests look at."""

from types import SimpleNamespace

import pandas as pd

from reweigh import stats
from reweigh.config.claim import Claim
from reweigh.scorecard.claim_tests import TESTS
from reweigh.scorecard.evidence import Evidence
from support.project import ROOT


def body(**changes):
    """As much of a record as these tests look at: two classes, four evaluated epochs of two seconds each."""
    given = {
        "curves": {"epoch": [1, 2, 3, 4], "train_seconds": [2.0, 4.0, 6.0, 8.0], "test_accuracy": [0.5, 0.6, 0.9, 0.8]},
        "spec": {"training": {"epochs": 4}},
        "status": "finished",
        "metrics": {"test_size": 100, "per_group_accuracy": None, "confusion": [[40, 10], [10, 40]]},
        "split": {"sizes": {"train": [100, 1000]}},
    }
    return given | changes


def evidence(claim, bodies, root=ROOT, **columns):
    """Evidence of a claim from bodies (setting, method, seed) -> body; `columns` of their table by the same keys."""
    settings = list(dict.fromkeys(setting for setting, _, _ in bodies))
    rows = [
        {
            "setting": setting, "method": method, "seed": seed, "run": f"{setting}/{method}/{seed}", "lost": "",
            "device": "cpu", "packed": False, "runs_at_once": 1, "seconds": 8.0, "steps": 4, "status": "finished",
            **{name: values.get((setting, method, seed)) for name, values in columns.items()},
        }
        for setting, method, seed in bodies
    ]  # fmt: skip
    config = SimpleNamespace(settings_of=lambda *_: settings, root=root)
    records = {f"{setting}/{method}/{seed}": one for (setting, method, seed), one in bodies.items()}
    known = {"id": "a", "text": "a", "source": "ours", "experiment": "e", "rule": "r"} | claim
    return Evidence(config, Claim(**known), "paper", "tdr", pd.DataFrame(rows), records)


def decided(part):
    """The verdict on a claim that stands alone, and its places."""
    places = TESTS[part.claim.test](part)
    sides = stats.claim_p(places)
    return stats.claim_verdict(*sides, stats.two_sided(*sides), stats.any_degenerate(places)), places
