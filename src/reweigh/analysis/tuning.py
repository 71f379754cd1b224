"""What the tuning runs of a paper would choose, by the rules in its file, beside what is in use. Nothing is changed.

A rule (`tuned` of config/papers/PAPER) names an experiment that is measured on held-out training data, and whose
settings are the values in question. The best mean over seeds at the last epoch wins; of equals the first in the config.
A value that was chosen is then written into the config by hand, with the source "chosen by RULE".
"""

from dataclasses import dataclass
from typing import Any

from reweigh.analysis import tables
from reweigh.config.grid import Config
from reweigh.config.models import Tuned
from reweigh.config.validation import lookup


@dataclass(frozen=True)
class Choice:
    """What one rule says at one scale: the values it takes from the best setting, or why it says nothing yet."""

    rule: str
    experiment: str
    metric: str
    scores: dict[str, float | None]  # each setting's mean over seeds, None while a seed is missing
    setting: str | None
    taken: dict[str, Any]  # option -> value; empty without a choice
    in_use: dict[str, list[Any]]  # option -> the values that its users have now, each once

    @property
    def missing(self) -> list[str]:
        """The settings that are not run."""
        return [name for name, score in self.scores.items() if score is None]

    @property
    def followed(self) -> bool:
        """Whether all users have the chosen values."""
        return bool(self.taken) and all(self.in_use[name] == [value] for name, value in self.taken.items())


def choices(config: Config, paper: str, scale: str = "paper") -> list[Choice]:
    """What each rule of a paper says of the records at a scale, in the config's order."""
    return [choose(config, paper, name, scale) for name in config.paper(paper).tuned]


def choose(config: Config, paper: str, rule: str, scale: str = "paper") -> Choice:
    """What one rule says of the records at a scale. Of part of the runs it says nothing; a diverged run counts as 0."""
    one = lookup("rule of tuning", rule, config.paper(paper).tuned, f"config/papers/{paper}")
    there = config.settings_of(scale, paper, one.experiment)
    scores = {name: _score(config, paper, one, name, scale) for name in there if one.over is None or name in one.over}
    known = {name: score for name, score in scores.items() if score is not None}
    best = max(known, key=lambda name: known[name]) if known and len(known) == len(scores) else None
    taken = {}
    if best:
        options = config.resolve(f"{scale}/{paper}/{one.experiment}/{best}/{one.method}/seed0")["method_options"]
        taken = {name: _option(options, name) for name in one.takes}
    return Choice(rule, one.experiment, one.metric, scores, best, taken, _in_use(config, paper, one))


def _score(config: Config, paper: str, rule: Tuned, setting: str, scale: str) -> float | None:
    runs = config.runs_of(f"{scale}/{paper}/{rule.experiment}/{setting}/{rule.method}")
    records = tables.records_of(runs, config.root)
    if len(records) < len(runs):
        return None
    values = [body["metrics"][rule.metric] if body["status"] == "finished" else 0.0 for body in records.values()]
    return sum(values) / len(values)


def _in_use(config: Config, paper: str, rule: Tuned) -> dict[str, list[Any]]:
    """The values that the users of a rule have at scale `paper`."""
    found: dict[str, list[Any]] = {name: [] for name in rule.takes}
    for use in rule.used_by:
        for setting in use.settings or config.experiment(paper, use.experiment).settings:
            for method in use.methods:
                options = config.resolve(f"paper/{paper}/{use.experiment}/{setting}/{method}/seed0")["method_options"]
                for name, values in found.items():
                    if (value := _option(options, name)) not in values:
                        values.append(value)
    return found


def _option(options: dict[str, Any], name: str) -> Any:
    """An option by its name, `loss.alpha` inside others."""
    found: Any = options
    for part in name.split("."):
        found = lookup("option", part, found)
    return found


def lines(config: Config, paper: str, scale: str) -> list[dict[str, str]]:
    """The choices as rows of a table, in words."""
    rows = []
    for one in choices(config, paper, scale):
        best = f"{one.scores[one.setting]:.4f}" if one.setting else ""
        gap = f"{len(one.missing)} of {len(one.scores)} not run" if one.scores else f"not part of scale {scale}"
        rows.append(
            {
                "rule": one.rule,
                "best": best,
                "chosen": _said({name: [value] for name, value in one.taken.items()}) or gap,
                "in use": _said(one.in_use),
                "": "" if not one.taken else "as chosen" if one.followed else "differs",
            }
        )
    return rows


def _said(values: dict[str, list[Any]]) -> str:
    return ", ".join(f"{name.rstrip('_')} {' or '.join(map(str, found))}" for name, found in values.items())
