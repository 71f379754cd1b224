"""After an edit of the code that should change no number: show it on a sample, instead of training everything again.

    code = main([], scale="paper", sample=12, seed=0)      # what `reweigh attest` does

Records that the code alone has made stale, made by a device and libraries like those here, are grouped by what trained
them then and would train them today. A stated sample, at least one of each group, is trained again in a folder of its
own. Splits whose recipe has changed are all drawn again. If everything comes out bit for bit the same, an attestation
says so of exactly these records (`reweigh.records.attestations`). One difference, and nothing is attested.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reweigh.config.grid import Config, load
from reweigh.data.arrays import RawData
from reweigh.data.obtain import recipe
from reweigh.digest import canonical, digest
from reweigh.errors import ConfigError, ReweighError
from reweigh.planning import plan
from reweigh.provenance import retraining
from reweigh.records import attestations, record
from reweigh.records.staleness import Dependencies

SAMPLE = 12
PATIENCE_SECONDS = 60  # a longer sample begins with its cheapest run alone: a changed number shows early
ORDER = "by sha256 of the canonical JSON of [seed, then, now, run]: the first of each group, then the first of all"


@dataclass(frozen=True)
class Stale:
    """A run whose record only the code has made stale: "code" or "split" -> (digest accepted last, today's)."""

    run: str
    spec: dict[str, Any]
    body: dict[str, Any]
    moved: dict[str, tuple[str, str]]

    @property
    def changed(self) -> set[str]:
        """The source files of the run that are not what they were when it was trained."""
        then, now = self.body["code"]["files"], record.code_files(self.spec)
        return {name for name in {*then, *now} if then.get(name) != now.get(name)}


@dataclass
class Survey:
    """Of the records asked about: how many are current, which may be attested, which not and why."""

    current: int = 0
    stale: list[Stale] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def by_code(self) -> list[Stale]:
        """Those that another code trained."""
        return [one for one in self.stale if "code" in one.moved]

    @property
    def by_split(self) -> list[Stale]:
        """Those whose split another code drew."""
        return [one for one in self.stale if "split" in one.moved]


def main(
    targets: list[str],
    scale: str,
    sample: int = SAMPLE,
    seed: int = 0,
    dry_run: bool = False,
    root: str | Path = ".",
) -> int:
    """What the command line does. The exit code: 0; 75 if it was stopped, and goes on if it is called again; else 1.

    It is 1 if a stale record that was asked for stays stale, for whatever reason. Raises what training raises.
    """
    config = load(root)
    config.project.apply()
    scale, runs = _runs(config, targets, scale)
    found = survey(config, runs)
    unequal = {} if dry_run else redraw(found, config.root)
    chosen = choose(found.by_code, sample, seed)
    costs = _costs(chosen, config.root)
    _show(found, chosen, costs, dry_run)
    if unequal:
        return _refuse(unequal, f"the splits of {len(unequal)} runs, drawn again,")
    if dry_run or not found.stale:
        return int(bool(found.refused) and not dry_run)
    with retraining.scratch(config.root) as place:
        if code := _train(chosen, costs, place):
            return code
        body = statement(found, chosen, {"asked": sample, "seed": seed})
        path = attestations.write(config.root, scale, body)
        place.remove()
    _say(f"{len(found.stale)} records attested in {path.relative_to(config.root)}")
    return int(bool(found.refused))


def _runs(config: Config, targets: list[str], scale: str) -> tuple[str, list[str]]:
    """The scale and the runs that are asked about: those of the targets, or all that have a record at the scale."""
    if not targets:
        paths = sorted((config.root / "results" / scale).glob("*/*/*/*/seed*.json"))
        return scale, [path.relative_to(config.root / "results").with_suffix("").as_posix() for path in paths]
    runs = list(dict.fromkeys(run for target in targets for run in plan.runs_of_target(config, target)))
    scales = sorted({run.partition("/")[0] for run in runs})
    if len(scales) > 1:
        raise ConfigError(f"targets of the scales {' and '.join(scales)}; attest one scale at a time")
    return (scales or [scale])[0], runs


# --- which records ---------------------------------------------------------------------------------------------------


def survey(config: Config, runs: Iterable[str]) -> Survey:
    """Look at the records of some runs; those that are not there are not spoken of."""
    found, known = Survey(), Dependencies(config.with_options(stale="train"))
    for run in runs:
        try:
            if not known.record(run).is_file():
                continue
            if stale := known.stale(run):
                found.stale.append(_examine(config, run, stale, known))
            else:
                found.current += 1
        except (ReweighError, ModuleNotFoundError) as error:
            found.refused[run] = str(error)
    return found


def _examine(config: Config, run: str, stale: list[str], known: Dependencies) -> Stale:
    """A record that is sound, and stale by its code alone. Raises ReweighError saying why it is not."""
    path, spec = known.record(run), config.resolve(run)
    body = record.read(path)
    record.trace_path(path, body)
    if "spec" in stale or digest(body["spec"]) != body["spec_digest"]:
        raise ReweighError("its spec is not what the config says now: that asks for other numbers")
    if digest(body["code"]["files"]) != body["code"]["digest"]:
        raise ReweighError("its code.digest is not the digest of its code.files")
    here, made = retraining.maker_here(), retraining.maker(body)
    if made != here:
        raise ReweighError(f"made on {retraining.described(made)}; here is {retraining.described(here)}")
    if body["device"]["threads"] != spec["training"]["threads"]:
        raise ReweighError(f"made with {body['device']['threads']} threads, not {spec['training']['threads']}")
    then, now = known.recorded(run), known.of(run)
    chains = {part: known.attested.chain(body["digest"], part, then[part]) for part in stale}
    moved = {part: (chain[-1].now if chain else then[part], now[part]) for part, chain in chains.items()}
    return Stale(run, spec, body, moved)


def redraw(found: Survey, root: Path) -> dict[str, str]:
    """Draw again every split whose recipe has changed; the runs for which it comes out differently, and how.

    Refuses the runs whose split cannot be drawn from the bytes of then. The methods of a setting share a split.
    """
    drawn: dict[bytes, str] = {}
    raw: dict[bytes, RawData] = {}
    unequal = {}
    for one in sorted(found.by_split, key=lambda one: canonical(recipe(one.spec))):
        source, key = canonical({**one.spec["data"], "split": None}), canonical(recipe(one.spec))
        try:
            retraining.check_raw(one.body["raw"], one.spec["data"]["dataset"], root)
            if key not in drawn:
                raw = (
                    raw if source in raw else {source: retraining.read(one.spec, root)}
                )  # one at a time: they can be large
                drawn[key] = retraining.split_digest(raw[source], one.spec)
        except (ReweighError, OSError) as error:
            found.refused[one.run] = f"its split cannot be drawn again: {error}"
            continue
        if drawn[key] != one.body["split"]["digest"]:
            unequal[one.run] = f"split digest {one.body['split']['digest'][:12]} -> {drawn[key][:12]}"
    found.stale = [one for one in found.stale if one.run not in found.refused]
    return unequal


# --- the sample ------------------------------------------------------------------------------------------------------


def choose(stale: list[Stale], sample: int, seed: int) -> list[Stale]:
    """The runs to train again: at least one of each group, `sample` in all where that is more. See ORDER."""
    ordered = sorted(stale, key=lambda one: digest([seed, *one.moved["code"], one.run]))
    first: dict[tuple[str, str], Stale] = {}
    for one in ordered:
        first.setdefault(one.moved["code"], one)
    taken = {one.run for one in first.values()}
    others = [one for one in ordered if one.run not in taken]
    return [*first.values(), *others[: max(0, sample - len(first))]]


def _costs(chosen: list[Stale], root: Path) -> dict[str, float]:
    """Predicted seconds of the runs, of one core or device."""
    known = plan.Costs(root)
    return {one.run: plan.steps_of(one.spec) * known.per_step(one.spec)[0] for one in chosen}


def _train(chosen: list[Stale], costs: dict[str, float], place: retraining.Place) -> int:
    """Train the sample again and compare; the exit code, 0 if it is all the same."""
    ordered = sorted(chosen, key=lambda one: costs[one.run])
    ahead = 1 if sum(costs.values()) > PATIENCE_SECONDS else 0
    for some in filter(None, (ordered[:ahead], ordered[ahead:])):
        if code := place.train([one.spec for one in some]):
            _say("stopped; the same command goes on from here")
            return code
        if unequal := {one.run: why for one in some if (why := _compare(one, place))}:
            _say(f"what was trained again lies in {place.folder}")
            return _refuse(unequal, f"{len(unequal)} of {len(some)} runs, trained again,")
    return 0


def _compare(one: Stale, place: retraining.Place) -> str:
    """How a run came out differently than its record says; empty if it is the same, bit for bit."""
    body = place.record(one.run)
    made = body["spec_digest"], body["code"]["digest"], retraining.maker(body)
    if made != (digest(one.spec), record.code_digest(one.spec), retraining.maker(one.body)):
        raise ReweighError(f"{one.run}: code or device changed while it was trained again; attest once more")
    found = retraining.differences(retraining.outcome(one.body), retraining.outcome(body))
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


# --- what is said ----------------------------------------------------------------------------------------------------


def statement(found: Survey, chosen: list[Stale], sample: dict[str, Any]) -> dict[str, Any]:
    """The body of an attestation: what stands for what, for which records; what was made again, by what, and when.

    `again` has the digest of what was compared of a run, which the record gives as well as the run made again.
    """
    outcomes = {one.run: digest(retraining.outcome(one.body)) for one in chosen}
    by_code, by_split = _grouped(found.by_code, "code"), _grouped(found.by_split, "split")
    for edit, group in by_code:
        edit["changed"] = _changed(group)
        edit["again"] = {one.run: outcomes[one.run] for one in group if one.run in outcomes}
    for edit, group in by_split:
        edit["again"] = sorted({one.body["split"]["digest"] for one in group})
    here = dict(retraining.here())
    return {
        "code": [edit for edit, _ in by_code],
        "split": [edit for edit, _ in by_split],
        "sample": {**sample, "runs": len(chosen), "of": len(found.by_code), "drawn": ORDER, "outcome": "bit-equal"},
        "compared": retraining.COMPARED,
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "git": here.pop("git"),
        "device": {"kind": here.pop("kind"), "name": here.pop("name")},
        "environment": here,
    }


def _grouped(stale: list[Stale], part: str) -> list[tuple[dict[str, Any], list[Stale]]]:
    """The records by the same edit of one part: what an attestation says of it, and the records."""
    groups: dict[tuple[str, str], list[Stale]] = defaultdict(list)
    for one in stale:
        groups[one.moved[part]].append(one)
    return [
        ({"then": then, "now": now, "covers": {one.run: one.body["digest"] for one in group}}, group)
        for (then, now), group in sorted(groups.items())
    ]


def _changed(stale: list[Stale]) -> list[str]:
    """The source files that are not what they were when the runs were trained."""
    return sorted({name for one in stale for name in one.changed})


def _show(found: Survey, chosen: list[Stale], costs: dict[str, float], dry_run: bool) -> None:
    """Print what is attested if all goes well, what is trained again for it and its cost, and what stays stale."""
    _say(f"{len(found.stale)} records are stale by the code alone, {found.current} are current")
    taken = Counter(one.moved["code"] for one in chosen)
    for edit, group in _grouped(found.by_code, "code"):
        methods = ", ".join(sorted({one.spec["method"] for one in group}))
        count = f"{taken[group[0].moved['code']]} of {len(group)} runs again"
        _say(f"  code {edit['then'][:8]} -> {edit['now'][:8]} ({methods}): {count}")
    if found.by_code:
        _say(f"  changed since they were trained: {', '.join(_changed(found.by_code))}")
    if found.by_split:
        splits = {canonical(recipe(one.spec)) for one in found.by_split}
        _say(f"  splits drawn by another code: {len(splits)}, all drawn again")
    if chosen:
        cost = plan.duration(sum(costs.values()))
        _say(f"{len(chosen)} of {len(found.by_code)} runs to train again, about {cost} of one core or device")
    for one in chosen if dry_run else ():
        _say(f"  {one.run} ({plan.duration(costs[one.run])})")
    reasons: dict[str, list[str]] = defaultdict(list)
    for run, why in found.refused.items():
        reasons[why].append(run)
    for why, runs in reasons.items():
        others = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        _say(f"stays stale: {runs[0]}{others}: {why}")


def _refuse(unequal: dict[str, str], what: str) -> int:
    _say(f"refused: {what} came out differently; nothing is attested")
    for run, why in unequal.items():
        _say(f"  {run}: {why}")
    return 1


def _say(line: str) -> None:
    print(line, flush=True)
