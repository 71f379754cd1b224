"""What the tuning runs of a paper would choose by its rules, beside what the config uses. Nothing is changed.

A rule (`tuned` in a paper's config) names an experiment that is measured on held-out training data and whose settings
are the candidate values. The best mean over seeds at the last epoch wins, of an error the lowest; among equals, the
first in the config. A setting of which a run diverged has no score, whatever its other seeds say, and is never chosen.
A chosen value is then written into the config, with the source "chosen by RULE": by hand, or by `chosen`.
"""

from dataclasses import dataclass
from typing import Any

from reweigh import metrics
from reweigh.analysis import tables
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.config.models import Tuned
from reweigh.config.names import CellName
from reweigh.config.validation import lookup
from reweigh.errors import ConfigError
from reweigh.terminal import print_table


@dataclass(frozen=True)
class Choice:
    """What one rule chooses at one scale: the values of the best setting, or nothing while runs are missing."""

    rule: str
    experiment: str
    metric: str
    scores: dict[str, float | None]  # each setting's mean over seeds; None while one is missing, or if one diverged
    diverged: dict[str, int]  # the settings of which runs diverged, and how many of them did
    setting: str | None
    taken: dict[str, Any]  # option -> value; empty without a choice
    in_use: dict[str, list[Any]]  # option -> the values that its users have now, each once

    @property
    def missing(self) -> list[str]:
        """The settings that are not run."""
        return [name for name, score in self.scores.items() if score is None and name not in self.diverged]

    @property
    def followed(self) -> bool:
        """Whether all users have the chosen values."""
        return bool(self.taken) and all(self.in_use[name] == [value] for name, value in self.taken.items())


def choices(config: Config, paper: str, scale: str = "paper") -> list[Choice]:
    """What each rule of a paper chooses from the records at a scale, in the config's order."""
    return [choose(config, paper, name, scale) for name in config.paper(paper).tuned]


def choose(config: Config, paper: str, rule: str, scale: str = "paper") -> Choice:
    """What one rule chooses from the records at a scale: nothing while a run is missing, or if all diverged."""
    tuned = lookup("rule of tuning", rule, config.paper(paper).tuned, f"config/papers/{paper}")
    settings = config.settings_of(scale, paper, tuned.experiment)
    candidates = [name for name in settings if tuned.over is None or name in tuned.over]
    scores, diverged = dict[str, float | None](), dict[str, int]()
    for name in candidates:
        scores[name], lost = _score(config, paper, tuned, name, scale)
        if lost:
            diverged[name] = lost
    scored = {name: score for name, score in scores.items() if score is not None}
    sign = metrics.of(tuned.metric).direction
    whole = scored and len(scored) + len(diverged) == len(scores)
    best = max(scored, key=lambda name: sign * scored[name]) if whole else None
    taken = {}
    if best:
        options = _options(config, CellName(scale, paper, tuned.experiment, best, tuned.method))
        taken = {name: option_of(options, name) for name in tuned.takes}
    return Choice(rule, tuned.experiment, tuned.metric, scores, diverged, best, taken, _in_use(config, paper, tuned))


def _score(config: Config, paper: str, rule: Tuned, setting: str, scale: str) -> tuple[float | None, int]:
    """The mean over the seeds of a setting, and how many of its runs diverged; no mean if one did, or is missing.

    A run that diverged is a result without a score: as 0 it would be one more value of a mean that can still win, and
    where all settings diverge the first of them would be the best.
    """
    runs = config.runs_of(str(CellName(scale, paper, rule.experiment, setting, rule.method)))
    bodies = tables.records_of(runs, config.root).values()
    values = [metrics.of_record(body)[rule.metric] for body in bodies if body["status"] == "finished"]
    if None in values:
        raise ConfigError(f"{rule.experiment}/{setting}: its records have no {metrics.of(rule.metric).label}")
    diverged = len(bodies) - len(values)
    return (sum(values) / len(values) if values and len(values) == len(runs) else None), diverged


def _in_use(config: Config, paper: str, rule: Tuned) -> dict[str, list[Any]]:
    """The values that the users of a rule have at scale `paper`, by option, each once."""
    values_of: dict[str, list[Any]] = {name: [] for name in rule.takes}
    for use in rule.used_by:
        for setting in use.settings or config.experiment(paper, use.experiment).settings:
            for method in use.methods:
                options = _options(config, CellName("paper", paper, use.experiment, setting, method))
                for name, values in values_of.items():
                    if (value := option_of(options, name)) not in values:
                        values.append(value)
    return values_of


def _options(config: Config, cell: CellName) -> dict[str, Any]:
    """The options of a method, which are those of any seed, and its training block as `training`."""
    spec = config.resolve(str(cell.run(0)))
    return {"training": spec["training"], **spec["method_options"]}


def option_of(options: dict[str, Any], name: str) -> Any:
    """The value of an option; `loss.alpha` is one of the option `loss`, `training.epochs` one of the training block."""
    value: Any = options
    for part in name.split("."):
        value = lookup("option", part, value)
    return value


def lines(config: Config, paper: str, scale: str) -> list[dict[str, str]]:
    """The choices as the rows of a table that `reweigh tune` prints."""
    rows = []
    for choice in choices(config, paper, scale):
        best = f"{choice.scores[choice.setting]:.4f}" if choice.setting else ""
        rows.append(
            {
                "rule": choice.rule,
                "best": best,
                "chosen": _text({name: [value] for name, value in choice.taken.items()}) or _why_not(choice, scale),
                "in use": _text(choice.in_use),
                "": "; ".join(_remarks(choice)),
            }
        )
    return rows


def _why_not(choice: Choice, scale: str) -> str:
    """Why a rule chooses nothing."""
    if not choice.scores:
        return f"not part of scale {scale}"
    return f"{len(choice.missing)} of {len(choice.scores)} not run" if choice.missing else "nothing: all diverged"


def _remarks(choice: Choice) -> list[str]:
    """Whether what is in use was chosen, and which settings have no score because runs of them diverged."""
    remarks = ["as chosen" if choice.followed else "differs"] if choice.taken else []
    if choice.diverged:
        names = f"{len(choice.diverged)} of {len(choice.scores)}: {', '.join(choice.diverged)}"
        remarks.append(f"no score where runs diverged, {names}")
    return remarks


def _text(values_of: dict[str, list[Any]]) -> str:
    return ", ".join(f"{name.rstrip('_')} {' or '.join(map(str, values))}" for name, values in values_of.items())


def main(paper: str, scale: str) -> None:
    """The command `reweigh tune`: print what each rule of a paper chooses. Raises ConfigError if it has no rules."""
    rows = lines(load(), paper, scale)
    if not rows:
        raise ConfigError(f"config/papers/{paper} has no rules of tuning (`tuned`)")
    print_table(rows)
