"""What a paper says of results must speak of what exists: claims, published numbers, rules of tuning."""

import itertools
from typing import Any

from reweigh import metrics
from reweigh.config import published
from reweigh.config.claim import Claim
from reweigh.config.grid import Config
from reweigh.config.known_sizes import GROUP_SIZES
from reweigh.config.mapping import Published
from reweigh.config.models import Experiment, Paper, Tuned
from reweigh.config.validation import lookup
from reweigh.errors import ConfigError

HELD_OUT = "validation_balanced_accuracy"  # by which an experiment that is tested may choose options too


def check(config: Config, paper: str) -> None:
    """Raise ConfigError at the first claim, published row, rule or baseline that names what is not there."""
    content = config.papers[paper]
    for number, claim in enumerate(content.claims):
        where = f"{config.place(paper, 'claims', str(number))}: claim {claim.id}"
        _check_claim(where, content, claim)
        _check_in_print(where, config, content, claim)
    for name, rule in content.tuned.items():
        _check_tuned(f"{config.place(paper, 'tuned', name)}: tuned.{name}", content, rule)
    if content.baseline:
        lookup("method", content.baseline, content.methods, f"{config.place(paper, 'baseline')}: baseline")
    _check_published(config, paper, content)


def _check_claim(where: str, paper: Paper, claim: Claim) -> None:
    experiment = lookup("experiment", claim.experiment, paper.experiments, where)
    _check_is_tested(where, experiment)
    for method in claim.methods:
        lookup("method", method, paper.methods, where)
        if experiment.status == "ready":
            lookup(f"method of {claim.experiment}", method, experiment.with_extensions, where)
    for setting in claim.settings or ():
        lookup("setting", setting, experiment.settings, where)
    lookup("metric", claim.metric, metrics.RECORDED, where)
    if claim.second_metric is not None:
        lookup("metric", claim.second_metric, metrics.RECORDED, where)
    if claim.part is not None:
        lookup("metric of a curve", claim.metric, metrics.OF_CURVES, where)
    elif claim.level is not None:
        lookup("metric of every curve", claim.metric, metrics.ON_EVERY_CURVE, where)
    if claim.groups and not _has_groups(experiment):
        raise ConfigError(f"{where}: test group_ahead compares groups, and {claim.experiment} is not split by groups")
    if claim.test == "grows" and len(claim.settings or experiment.settings) != 2:
        raise ConfigError(f"{where}: test grows compares two settings; name two, the one with the smaller gain first")
    if len(claim.settings or experiment.settings) < claim.fewest_settings:
        raise ConfigError(f"{where}: test {claim.test} needs {claim.fewest_settings} settings at least; name them")


def _has_groups(experiment: Experiment) -> bool:
    """Whether runs are measured by group: they are drawn by groups, or their data set is known to have some."""
    split: Any = experiment.split
    return experiment.dataset in GROUP_SIZES or (split is not None and split.kind == "groups")


def _check_in_print(where: str, config: Config, paper: Paper, claim: Claim) -> None:
    """What a claim asks of the paper's tables, these must print."""
    if claim.in_print is None:
        return
    if paper.published is None:
        raise ConfigError(f"{where}: in_print needs the paper's published numbers")
    rows = published.read(config.root, paper.published.file)
    for table in claim.in_print.tables if rows else ():
        lookup("table in print", table, {row["table_or_figure"] for row in rows}, where)
    printed = {row["method"] for row in rows if row["table_or_figure"] in claim.in_print.tables}
    for method in claim.in_print.methods if rows else ():
        lookup("method in print", method, printed, where)


def check_curves(config: Config, paper: str) -> None:
    """Raise ConfigError at the first claim about a curve that its runs do not have. Their specs must be sound."""
    content = config.papers[paper]
    for number, claim in enumerate(content.claims):
        experiment = content.experiments[claim.experiment]
        if experiment.status != "ready" or claim.better in experiment.placeholders:
            continue
        for setting, part in itertools.product(claim.settings or experiment.settings, claim.parts):
            cell = f"{claim.experiment}/{setting}/{claim.better}"
            training = config.resolve(f"paper/{paper}/{cell}/seed0")["training"]
            if part not in _parts_with(training, claim.metric):
                raise ConfigError(
                    f"{config.place(paper, 'claims', str(number))}: claim {claim.id}: {cell} has no curve of "
                    f"{claim.metric} on {part}; mend its training.also_measure or training.evaluate_on"
                )


def _parts_with(training: dict[str, Any], metric: str) -> list[str]:
    """The parts on which runs with this training block have a curve of a metric (one of `metrics.OF_CURVES`).

    That of the balanced accuracy on what `evaluate_on` names is only kept where other parts are measured too.
    """
    also = training.get("also_measure") or []
    held_out = training.get("evaluate_on") or "test"
    return [*also, held_out] if also or metrics.OF_CURVES[metric][0] == "accuracy" else []


def _check_is_tested(where: str, experiment: Experiment) -> None:
    """What chooses options has no say in a claim or a number."""
    if experiment.measures_official_validation:
        raise ConfigError(f"{where}: {experiment.title!r} measures on the official validation part; name another one")


def _evaluates_on(experiment: Experiment) -> str | None:
    """What an experiment measures on, if it says so itself."""
    training: Any = experiment.training
    return training.evaluate_on if training else None


def _check_tuned(where: str, paper: Paper, rule: Tuned) -> None:
    experiment = lookup("experiment", rule.experiment, paper.experiments, where)
    lookup("method", rule.method, experiment.methods, where)
    beside = rule.metric == HELD_OUT and "validation" in (getattr(experiment.training, "also_measure", None) or ())
    if not (beside or experiment.measures_official_validation or _evaluates_on(experiment) == "validation"):
        raise ConfigError(
            f"{where}: {rule.experiment} measures on the test set; set training.evaluate_on: validation, or "
            f"also_measure: [validation] and metric {HELD_OUT}"
        )
    for setting in rule.over or ():
        lookup("setting", setting, experiment.settings, where)
    for use in rule.used_by:
        user = lookup("experiment", use.experiment, paper.experiments, f"{where}.used_by")
        for setting in use.settings or ():
            lookup("setting", setting, user.settings, f"{where}.used_by")
        for method in use.methods:
            lookup("method", method, paper.methods, f"{where}.used_by")


def _check_published(config: Config, name: str, paper: Paper) -> None:
    if paper.published is None:
        return
    for method in paper.published.methods.values():
        lookup("method", method, paper.methods, f"{config.place(name, 'published', 'methods')}: published.methods")
    for number, row in enumerate(paper.published.rows):
        what = f"published row {row.table} {row.published_setting or row.dataset or ''}".rstrip()
        where = f"{config.place(name, 'published', 'rows', str(number))}: {what}"
        experiment = lookup("experiment", row.experiment, paper.experiments, where)
        _check_is_tested(where, experiment)
        lookup("setting", row.setting, experiment.settings, where)
        for method in (row.methods or {}).values():
            lookup("method", method, paper.methods, where)
        if row.against and experiment.status == "ready":
            lookup(f"method of {row.experiment}", row.against, experiment.with_extensions, f"{where}: against")
        elif row.against:
            lookup("method", row.against, paper.methods, f"{where}: against")
    rows = published.read(config.root, paper.published.file)
    _check_compared(config, name, paper.published, rows)
    for key, ones in (("excluded", paper.published.excluded), ("remarks", paper.published.remarks)):
        for number, one in enumerate(ones):
            if rows and not any(one.has(row) for row in rows):
                place = config.place(name, "published", key, str(number))
                raise ConfigError(f"{place}: published.{key}: {paper.published.file} has no {one.table} {one.method}")
    for printed, ours in paper.published.metrics.items():
        _check_metric(
            f"{config.place(name, 'published', 'metrics', printed)}: published.metrics.{printed}", printed, ours
        )


def _check_compared(config: Config, name: str, mapping: Published, rows: list[published.Row]) -> None:
    """A row that names another method, or a line of the bench, holds no number of a single method."""
    for row in rows:
        known, target = mapping.rows_of(row), mapping.target(row)
        if known is None or target is None or not (known.against or known.measured):
            continue
        where = f"{config.place(name, 'published', 'rows', str(mapping.rows.index(known)))}: {row['metric']}"
        metric = metrics.of(target[3])
        if known.against and not metric.compares:
            raise ConfigError(f"{where} compares no two runs; give this row a metric, or leave against out")
        if known.measured and metric.unit != "ratio":
            raise ConfigError(f"{where} is no ratio, which is all that the bench measures; give this row a metric")
        if known.against == target[2]:
            raise ConfigError(f"{where}: {target[2]} is compared with itself; name the other method in against")


def _check_metric(where: str, printed: str, ours: str) -> None:
    """A printed metric may be compared with one of ours that is judged as it is: an error is no accuracy."""
    known, _ = metrics.printed(printed, where)
    other = metrics.of(ours, where)
    if not known.like(other):
        raise ConfigError(
            f"{where}: {ours} is judged otherwise than {known.name} (direction, unit or tolerance); "
            "leave the line out, or name a metric of the same kind"
        )
