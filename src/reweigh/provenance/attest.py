"""After an edit of the code that should change no number: show this on a sample, instead of training everything again.

    code = main([], scale="paper", sample=12, seed=0)      # what `reweigh attest` does

It takes the records that are stale only because of the code and were made by a device and libraries like those here. It
groups them by the code that trained them and the code that would train them today. A sample with at least one run of
each group is trained again in a folder of its own, and every split whose recipe has changed is drawn again. If
everything comes out bit for bit the same, an attestation for exactly these records is written
(`reweigh.records.attestations`). After a single difference, nothing is attested.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.config.names import RunName
from reweigh.data.arrays import RawData
from reweigh.data.obtain import recipe
from reweigh.digest import canonical, digest
from reweigh.errors import ConfigError, ReweighError
from reweigh.planning import plan
from reweigh.provenance import retraining
from reweigh.records import attestations, record
from reweigh.records.staleness import Dependencies

SAMPLE = 12
PATIENCE_SECONDS = 60  # a sample that takes longer begins with its cheapest run, to find a changed number early
ORDER = "by sha256 of the canonical JSON of [seed, then, now, run]: the first of each group, then the first of all"


@dataclass(frozen=True)
class StaleRun:
    """A run whose record is stale only because of the code.

    `moved` has, for "code" and "split" as far as they changed, the digest that was last accepted and today's.
    """

    run: str
    spec: dict[str, Any]
    body: dict[str, Any]
    moved: dict[str, tuple[str, str]]

    @property
    def changed(self) -> set[str]:
        """The source files of the run that have changed since it was trained."""
        then, now = self.body["code"]["files"], record.code_files(self.spec)
        return {name for name in {*then, *now} if then.get(name) != now.get(name)}


@dataclass
class Survey:
    """The records that an attestation may cover.

    How many are current; the stale runs that may be attested; and those that may not, each with the reason.
    """

    current: int = 0
    stale: list[StaleRun] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def by_code(self) -> list[StaleRun]:
        """The stale runs that were trained by other code."""
        return [stale for stale in self.stale if "code" in stale.moved]

    @property
    def by_split(self) -> list[StaleRun]:
        """The stale runs whose split was drawn by other code."""
        return [stale for stale in self.stale if "split" in stale.moved]


def main(
    targets: list[str],
    scale: str,
    sample: int = SAMPLE,
    seed: int = 0,
    dry_run: bool = False,
    root: str | Path = ".",
) -> int:
    """The command `reweigh attest`.

    The exit code: 0; 75 if it was stopped (the same call continues it); 1 if a stale record that was asked for stays
    stale, for whatever reason. Raises what training raises.
    """
    config = load(root)
    config.project.apply()
    scale, runs = _runs(config, targets, scale)
    surveyed = survey(config, runs)
    different = {} if dry_run else redraw_splits(surveyed, config.root)
    chosen = choose(surveyed.by_code, sample, seed)
    costs = _costs(chosen, config.root)
    _show(surveyed, chosen, costs, dry_run)
    if different:
        return _refuse(different, f"the splits of {len(different)} runs, drawn again,")
    if dry_run or not surveyed.stale:
        return int(bool(surveyed.refused) and not dry_run)
    with retraining.workspace(config.root) as workspace:
        if code := _train(chosen, costs, workspace):
            return code
        body = statement(surveyed, chosen, {"asked": sample, "seed": seed})
        path = attestations.write(config.root, scale, body)
        workspace.remove()
    _print(f"{len(surveyed.stale)} records attested in {path.relative_to(config.root)}")
    return int(bool(surveyed.refused))


def _runs(config: Config, targets: list[str], scale: str) -> tuple[str, list[str]]:
    """The scale and the runs in question: those of the targets, or all that have a record at the scale."""
    if not targets:
        return scale, list(record.files_of(scale, config.root))
    runs = list(dict.fromkeys(run for target in targets for run in plan.runs_of_target(config, target)))
    scales = sorted({RunName.parse(run).scale for run in runs})
    if len(scales) > 1:
        raise ConfigError(f"the targets are of the scales {' and '.join(scales)}; attest one scale at a time")
    return (scales or [scale])[0], runs


# --- which records ---------------------------------------------------------------------------------------------------


def survey(config: Config, runs: Iterable[str]) -> Survey:
    """Sort the runs by the state of their records; runs without a record are left out."""
    surveyed, dependencies = Survey(), Dependencies(config.with_options(stale="train"))
    for run in runs:
        try:
            if not dependencies.record(run).is_file():
                continue
            if changed := dependencies.stale(run):
                surveyed.stale.append(_stale_run(config, run, changed, dependencies))
            else:
                surveyed.current += 1
        except (ReweighError, ModuleNotFoundError) as error:
            surveyed.refused[run] = str(error)
    return surveyed


def _stale_run(config: Config, run: str, changed: list[str], dependencies: Dependencies) -> StaleRun:
    """A run of which only `changed` parts of the code have changed. Raises ReweighError if it cannot be attested."""
    path, spec = dependencies.record(run), config.resolve(run)
    body = record.read(path)
    record.trace_path(path, body)
    if "spec" in changed or digest(body["spec"]) != body["spec_digest"]:
        raise ReweighError("its spec differs from the config, which asks for other numbers now")
    if digest(body["code"]["files"]) != body["code"]["digest"]:
        raise ReweighError("its code.digest is not the digest of its code.files")
    here, then = retraining.platform_here(), retraining.platform(body)
    if not retraining.is_same(then, here):
        raise ReweighError(f"made on {retraining.described(then)}; this is {retraining.described(here)}")
    if body["device"]["threads"] != spec["training"]["threads"]:
        raise ReweighError(f"made with {body['device']['threads']} threads, not {spec['training']['threads']}")
    if body["status"] == "diverged" and any(value is not None for value in body["metrics"].values()):
        raise ReweighError("it states metrics of a run that diverged, which today has none; train it again")
    recorded, today = dependencies.recorded(run), dependencies.of(run)
    chains = {part: dependencies.attested.chain(body["digest"], part, recorded[part]) for part in changed}
    moved = {part: (chain[-1].now if chain else recorded[part], today[part]) for part, chain in chains.items()}
    return StaleRun(run, spec, body, moved)


def redraw_splits(surveyed: Survey, root: Path) -> dict[str, str]:
    """Draw again every split whose recipe has changed. Returns the runs whose split comes out differently, and how.

    Runs whose split cannot be drawn from the same raw files are refused. The methods of a setting share a split.
    """
    drawn: dict[bytes, str] = {}
    raw: dict[bytes, RawData] = {}
    different = {}
    for stale in sorted(surveyed.by_split, key=lambda stale: canonical(recipe(stale.spec))):
        source, key = canonical({**stale.spec["data"], "split": None}), canonical(recipe(stale.spec))
        try:
            retraining.check_raw(stale.body["raw"], stale.spec["data"]["dataset"], root)
            if key not in drawn:
                if source not in raw:
                    raw = {source: retraining.read(stale.spec, root)}  # one at a time: they can be large
                drawn[key] = retraining.split_digest(raw[source], stale.spec)
        except (ReweighError, OSError) as error:
            surveyed.refused[stale.run] = f"its split cannot be drawn again: {error}"
            continue
        if drawn[key] != stale.body["split"]["digest"]:
            different[stale.run] = f"split digest {stale.body['split']['digest'][:12]} -> {drawn[key][:12]}"
    surveyed.stale = [stale for stale in surveyed.stale if stale.run not in surveyed.refused]
    return different


# --- the sample ------------------------------------------------------------------------------------------------------


def choose(stale: list[StaleRun], sample: int, seed: int) -> list[StaleRun]:
    """The runs to train again: one of each group, and more up to `sample` runs in all. See ORDER."""
    by_run = {run.run: run for run in stale}
    return [by_run[run] for _, _, run in drawn([(*run.moved["code"], run.run) for run in stale], sample, seed)]


def drawn(stale: Iterable[tuple[str, str, str]], sample: int, seed: int) -> list[tuple[str, str, str]]:
    """The same of (then, now, run): what an audit draws again."""
    ordered = sorted(stale, key=lambda one: digest([seed, *one]))
    first_of: dict[tuple[str, str], tuple[str, str, str]] = {}
    for one in ordered:
        first_of.setdefault(one[:2], one)
    taken = set(first_of.values())
    others = [one for one in ordered if one not in taken]
    return [*first_of.values(), *others[: max(0, sample - len(first_of))]]


def _costs(chosen: list[StaleRun], root: Path) -> dict[str, float]:
    """Predicted seconds of each run on one core or device."""
    costs = plan.Costs(root)
    return {stale.run: plan.steps_of(stale.spec) * costs.per_step(stale.spec)[0] for stale in chosen}


def _train(chosen: list[StaleRun], costs: dict[str, float], workspace: retraining.Workspace) -> int:
    """Train the sample again and compare it; the exit code, 0 if everything is the same."""
    ordered = sorted(chosen, key=lambda stale: costs[stale.run])
    alone = 1 if sum(costs.values()) > PATIENCE_SECONDS else 0
    for batch in filter(None, (ordered[:alone], ordered[alone:])):
        if code := workspace.train([stale.spec for stale in batch]):
            _print("stopped; the same command continues")
            return code
        if different := {stale.run: change for stale in batch if (change := _difference(stale, workspace))}:
            _print(f"the runs that were trained again are in {workspace.folder}")
            return _refuse(different, f"{len(different)} of {len(batch)} runs, trained again,")
    return 0


def _difference(stale: StaleRun, workspace: retraining.Workspace) -> str:
    """How a run came out differently than its record says; empty if it is the same, bit for bit."""
    body = workspace.record(stale.run)
    asked = (body["spec_digest"], body["code"]["digest"]) == (digest(stale.spec), record.code_digest(stale.spec))
    if not asked or not retraining.is_same(retraining.platform(stale.body), retraining.platform(body)):
        raise ReweighError(f"{stale.run}: code or device changed while it was trained again; attest once more")
    changes = retraining.differences(retraining.outcome(stale.body), retraining.outcome(body))
    return "; ".join(changes[:3]) + (f"; and {len(changes) - 3} more" if len(changes) > 3 else "")


# --- what is written and printed -------------------------------------------------------------------------------------


def statement(surveyed: Survey, chosen: list[StaleRun], sample: dict[str, Any]) -> dict[str, Any]:
    """The body of an attestation: which digests stand for which, for which records, and how this was found out.

    `again` has the digest of the compared outcome of each run that was trained again; its record has the same.
    """
    outcomes = {stale.run: digest(retraining.outcome(stale.body)) for stale in chosen}
    by_code, by_split = _grouped(surveyed.by_code, "code"), _grouped(surveyed.by_split, "split")
    for edit, group in by_code:
        edit["changed"] = _changed(group)
        edit["again"] = {stale.run: outcomes[stale.run] for stale in group if stale.run in outcomes}
    for edit, group in by_split:
        edit["again"] = sorted({stale.body["split"]["digest"] for stale in group})
    here = dict(retraining.here())
    return {
        "code": [edit for edit, _ in by_code],
        "split": [edit for edit, _ in by_split],
        "sample": {**sample, "runs": len(chosen), "of": len(surveyed.by_code), "drawn": ORDER, "outcome": "bit-equal"},
        "compared": retraining.COMPARED,
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "git": here.pop("git"),
        "device": {key: here.pop(key) for key in ("kind", "name", *retraining.INSTRUCTIONS)},
        "environment": here,
    }


def _grouped(stale: list[StaleRun], part: str) -> list[tuple[dict[str, Any], list[StaleRun]]]:
    """The runs grouped by the edit of one part: how an attestation describes the edit, and its runs."""
    groups: dict[tuple[str, str], list[StaleRun]] = defaultdict(list)
    for run in stale:
        groups[run.moved[part]].append(run)
    return [
        ({"then": then, "now": now, "covers": {run.run: run.body["digest"] for run in group}}, group)
        for (then, now), group in sorted(groups.items())
    ]


def _changed(stale: list[StaleRun]) -> list[str]:
    """The source files that have changed since the runs were trained."""
    return sorted({name for run in stale for name in run.changed})


def _show(surveyed: Survey, chosen: list[StaleRun], costs: dict[str, float], dry_run: bool) -> None:
    """Print what can be attested, the runs to train again for it with their cost, and what stays stale."""
    _print(f"{len(surveyed.stale)} records are stale only because of the code, {surveyed.current} are current")
    taken = Counter(stale.moved["code"] for stale in chosen)
    for edit, group in _grouped(surveyed.by_code, "code"):
        methods = ", ".join(sorted({stale.spec["method"] for stale in group}))
        count = f"{taken[group[0].moved['code']]} of {len(group)} runs again"
        _print(f"  code {edit['then'][:8]} -> {edit['now'][:8]} ({methods}): {count}")
    if surveyed.by_code:
        _print(f"  changed since they were trained: {', '.join(_changed(surveyed.by_code))}")
    if surveyed.by_split:
        splits = {canonical(recipe(stale.spec)) for stale in surveyed.by_split}
        _print(f"  splits drawn by other code: {len(splits)}, all drawn again")
    if chosen:
        cost = plan.duration(sum(costs.values()))
        _print(f"{len(chosen)} of {len(surveyed.by_code)} runs to train again, about {cost} of one core or device")
    for stale in chosen if dry_run else ():
        _print(f"  {stale.run} ({plan.duration(costs[stale.run])})")
    by_reason: dict[str, list[str]] = defaultdict(list)
    for run, reason in surveyed.refused.items():
        by_reason[reason].append(run)
    for reason, runs in by_reason.items():
        others = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        _print(f"stays stale: {runs[0]}{others}: {reason}")


def _refuse(different: dict[str, str], what: str) -> int:
    _print(f"refused: {what} came out differently; nothing is attested")
    for run, change in different.items():
        _print(f"  {run}: {change}")
    return 1


def _print(line: str) -> None:
    print(line, flush=True)
