"""`reweigh audit --rerun N`: train N random runs again, from the raw bytes, and compare them with their records.

    code = rerun(report, root, count=2, seed=None)      # what `reweigh audit --rerun 2` does after the audit

The runs are chosen uniformly among the records that the audit found intact or attested. (A stale record would come out
differently today, and a broken one is no evidence.) Without a seed, one is chosen at random, so that nobody can prepare
for it; the report states it. They are trained in an empty folder of a random name that is removed at the end, without a
checkpoint, a shared stage or a split from before: what lies in `.reweigh` proves nothing. Each run is one link:

- On the device, by the instructions (`device.capability`, `device.settings`; an older record counts as made by those of
  the processor) and with the torch and NumPy that its record names, every number must come out bit for bit the same. If
  a single bit differs, the link is `broken` and its detail names the first numbers that differ.
- Elsewhere sums are rounded in another order, and training amplifies such differences. The two runs still share split,
  first weights and batches. So the split, the parameters and the steps must be the same, and the run must end in the
  same way, with accuracies (on the test and the validation set) within max(0.01, 3 sd). The sd is that of the *other*
  seeds of the cell: if it included the run itself, a forged number would widen its own tolerance. Within the tolerance
  the link is `unverifiable`, and its detail has the numbers: a forged record could name a device that nobody has, and
  be off by as much. Beyond it is `broken`. The tolerance is wide: with the processor's vector units switched off, which
  rounds every sum differently, no accuracy of 22 runs of MNIST moved by more than 0.004. With fewer than 3 other seeds
  the spread is unknown, and beyond 0.01 the link is `unverifiable`. So it is beyond the tolerance on the same device by
  other instructions.

Claims of cost rest on seconds, of which no two are alike. Where the platform is the same, seconds a step must agree
within a factor of 3 either way, or the link is `unverifiable`; beyond 6 it is `broken` on a CPU (`_in_time`).
"""

import secrets
import statistics
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from reweigh.config.names import RunName
from reweigh.digest import digest
from reweigh.errors import ReweighError
from reweigh.planning import plan
from reweigh.provenance import retraining
from reweigh.provenance.audit.links import SOUND, Link
from reweigh.provenance.audit.report import Report
from reweigh.records import record
from reweigh.terminal import printable

SMALLEST_TOLERANCE = 0.01  # of an accuracy, a fraction
SPREADS = 3  # the tolerance in standard deviations over the other seeds of the cell
FEWEST_SEEDS = 3  # other seeds from which a standard deviation is taken
MOST_TIMES = 3  # the factor by which seconds a step may differ
NO_LOAD = 6  # the factor that no load of a processor explains
FEWEST_SECONDS = 1.0  # what took less, then and now, is not compared: warming up decides it
ACCURACIES = ("test_accuracy", "validation_accuracy")
TOLERANCE = f"max({SMALLEST_TOLERANCE}, {SPREADS} sd over the other seeds of the cell) of an accuracy"
ORDER = "the first by sha256 of the canonical JSON of [seed, run]"
OF_A_RECORD = ("record", "spec", "code", "recipe", "trace")  # links that must be sound for a run to be chosen

Body = dict[str, Any]


def rerun(report: Report, root: str | Path, count: int, seed: int | None = None) -> int:
    """Train `count` runs of an audit's report again, and add the results to it: links, and how they came about.

    The exit code: 0; 75 if it was stopped, of which nothing is kept. Raises TrainingError if training fails, and
    ReweighError if the code changes meanwhile.
    """
    root = Path(root)
    records = eligible(report.links, root)
    left_out = sum(link.kind == "record" for link in report.links) - len(records)
    used_seed = secrets.randbelow(2**31) if seed is None else seed
    with retraining.fresh_workspace(root, "rerun") as workspace:
        chosen = choose(records, count, used_seed)
        _announce(chosen, records, left_out, used_seed, workspace.folder)
        if code := workspace.train([records[run]["spec"] for run in chosen]) if chosen else 0:
            _print(f"stopped, and nothing is kept; for the same runs: --rerun {count} --seed {used_seed}")
            return code
        retrained = {run: workspace.record(run) for run in chosen}
        for run in chosen:
            _check_unchanged(records[run], retrained[run])
            link = Link("rerun", run, *compare(records[run], retrained[run], _other_seeds(run, records)))
            report.links.append(link)
            _print(f"{link.state}: {run}: {link.detail}")
        sample = {"asked": count, "seed": used_seed, "drawn": ORDER, "of": len(records), "left_out": left_out}
        links = [link for link in report.links if link.kind == "rerun"]
        report.rerun = {**sample, **_statement(links, records, retrained)}
    return 0


# --- the sample ------------------------------------------------------------------------------------------------------


def eligible(links: Iterable[Link], root: Path) -> dict[str, Body]:
    """The records, by run, all of whose links are intact or attested, and whose raw files exist and are intact."""
    links = list(links)
    runs = [link.name for link in links if link.kind == "record"]
    faulty = {link.name for link in links if link.kind in OF_A_RECORD and link.state not in SOUND}
    # The name of such a link is DATASET/FILE.
    unsound = {PurePosixPath(link.name).parts[0] for link in links if link.kind == "raw" and link.state not in SOUND}
    bodies = {run: record.read(record.record_path(run, root)) for run in runs if run not in faulty}
    return {run: body for run, body in bodies.items() if body["spec"]["data"]["dataset"] not in unsound}


def choose(runs: Iterable[str], count: int, seed: int) -> list[str]:
    """`count` of the runs (all if there are fewer), each as likely as any other; see ORDER."""
    return sorted(runs, key=lambda run: digest([seed, run]))[:count]


def _other_seeds(run: str, records: dict[str, Body]) -> list[Body]:
    """The records of the other seeds of a run's cell."""
    cell = RunName.parse(run).cell
    return [body for name, body in records.items() if name != run and RunName.parse(name).cell == cell]


# --- comparing -------------------------------------------------------------------------------------------------------


def compare(then: Body, now: Body, others: Iterable[Body] = ()) -> tuple[str, str]:
    """State and detail of a run that was trained again; `others` are the records of its cell's other seeds."""
    differences = retraining.differences(retraining.outcome(then), retraining.outcome(now))
    made, here = retraining.platform(then), retraining.platform(now)
    if retraining.is_same(made, here):
        more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
        return ("broken", "; ".join(differences[:3]) + more) if differences else _in_time(then, now)
    platforms = f"made on {retraining.described(made)}, trained again on {retraining.described(here)}"
    if not differences:
        return "intact", f"bit for bit, though {platforms}"
    state, detail = _within_tolerance(then, now, list(others), certain=not retraining.is_same_hardware(made, here))
    return state, f"{detail}; {platforms}"


def _in_time(then: Body, now: Body) -> tuple[str, str]:
    """State and detail of a run that came out bit for bit the same, by its seconds a step.

    On a CPU these are processor seconds. With eight other processes on two cores they were 1.1 to 2.4 times those of
    the record, the most for the shortest run, which has small matrices: so beyond 3 the machine may be at fault, and
    beyond 6 the record is. On a GPU they are those of a clock: whoever shares it may slow a run down as much.
    """
    took, takes = then["seconds"], now["seconds"]
    if not then["steps"] or min(took, takes) <= 0 or max(took, takes) < FEWEST_SECONDS:
        return "intact", "bit for bit"
    times = takes / took  # the steps are the same
    unit = "processor seconds" if then["device"]["kind"] == "cpu" else "seconds"
    said = f"bit for bit, in {times:.2g} times the {unit} a step"
    if 1 / MOST_TIMES <= times <= MOST_TIMES:
        return "intact", said
    beyond = not 1 / NO_LOAD <= times <= NO_LOAD
    state = "broken" if beyond and then["device"]["kind"] == "cpu" else "unverifiable"
    return state, f"{said}: it says {took:.4g} s, and took {takes:.4g} s"


def _within_tolerance(then: Body, now: Body, others: list[Body], certain: bool) -> tuple[str, str]:
    """Whether a run may have come out the same, but for what another order of rounding changes. Never "intact".

    Unless `certain`, what is beyond the tolerance is not broken: whoever sets other instructions can unset them.
    """
    before, after = retraining.outcome(then), retraining.outcome(now)
    for part in ("split", "parameters", "status", *(("steps",) if then["status"] == "finished" else ())):
        if before[part] != after[part]:
            return "broken", retraining.differences(before[part], after[part], part)[0]
    texts = []
    for name in ACCURACIES:
        old, new = (body["metrics"].get(name) for body in (then, now))
        if old is None or new is None:
            if old != new:
                return "broken", retraining.differences(old, new, f"metrics.{name}")[0]
            continue
        values = [value for body in others if (value := body["metrics"].get(name)) is not None]
        enough = len(values) >= FEWEST_SEEDS
        tolerance = max(SMALLEST_TOLERANCE, SPREADS * statistics.stdev(values) if enough else 0.0)
        text = f"{name} {old:.4f} -> {new:.4f}, tolerance {tolerance:.4f}"
        if abs(new - old) > tolerance:
            if enough:
                said = f"{text} (3 sd of {len(values)} other seeds)"
                return ("broken", said) if certain else ("unverifiable", f"{said}, by other instructions")
            return "unverifiable", f"{text}; {len(values)} other seeds are too few to know the spread"
        texts.append(text)
    return "unverifiable", f"{'; '.join(texts) or 'no accuracy to compare'}: within it, which is no proof"


def _check_unchanged(then: Body, now: Body) -> None:
    """Raise ReweighError if a run was trained again by other code or on another platform than when it was chosen."""
    trained_by = now["spec_digest"], now["code"]["digest"], retraining.platform(now)
    if trained_by != (then["spec_digest"], record.code_digest(then["spec"]), retraining.platform_here()):
        raise ReweighError(f"{then['run']}: code or device changed while it was trained again; audit once more")


# --- what is printed and reported ------------------------------------------------------------------------------------


def _announce(chosen: list[str], records: dict[str, Body], left_out: int, seed: int, place: Path) -> None:
    """Print what is trained again, where, and what it cost the first time."""
    if left_out:
        _print(f"{left_out} records are left out: they are stale or broken, or their raw files are missing")
    seconds = plan.duration(sum(records[run]["seconds"] for run in chosen))
    _print(
        f"training {len(chosen)} of {len(records)} runs again, chosen with seed {seed}; the first time took {seconds}"
    )
    _print(f"in a new folder, which is removed at the end: {printable(str(place))}")
    for run in chosen:
        _print(f"  {run} ({plan.duration(records[run]['seconds'])})")


def _statement(links: list[Link], records: dict[str, Body], retrained: dict[str, Body]) -> dict[str, Any]:
    """What a report states about the runs trained again: on what, how they were compared, and what came out."""
    here = dict(retraining.here())
    same_platform = {
        run: retraining.is_same(retraining.platform(records[run]), retraining.platform(body))
        for run, body in retrained.items()
    }
    return {
        "runs": [
            {
                "run": link.name,
                "record": records[link.name]["digest"],
                "compared": "bit for bit" if same_platform[link.name] else TOLERANCE,
                "state": link.state,
                "detail": link.detail,
            }
            for link in links
        ],
        "git": here.pop("git"),
        "device": {key: here.pop(key) for key in ("kind", "name", *retraining.INSTRUCTIONS)},
        "environment": here,
    }


def _print(line: str) -> None:
    print(line, flush=True)
