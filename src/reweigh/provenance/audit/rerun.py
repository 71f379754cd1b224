"""The audit that trains: runs drawn at random, made once more from the raw bytes, and compared with their records.

    code = rerun(report, root, count=2, seed=None)      # what `reweigh audit --rerun 2` does after the audit

Drawn, uniformly, are records that the audit found intact or attested: today's code and config ask for what they say. A
stale one would come out otherwise, a broken one says nothing. Without a seed one is drawn, so that nobody can prepare
for it, and stated. Each run has its split drawn and is trained in a folder of its own, and is one link:

- On the device, with the torch and NumPy that its record names, every number must come out bit for bit. One other bit
  is `broken`; the first numbers that differ are named.
- Elsewhere sums are rounded in another order, and training lets a last bit grow. The two runs still share split, first
  weights and batches. So the split, the parameters and the steps must be the same, and the run must end in the same
  way, with accuracies (of the test and the validation set) within max(0.01, 3 sd), where sd is that of the *other*
  seeds of its cell: with its own, a forged number would widen the bound by which it is judged. Within that it is
  `intact`, and the detail says how it was compared. Beyond it is `broken`: a bound that nothing can fail checks
  nothing, and this one is wide. (Measured on 22 runs of MNIST with the processor's vector units switched off, which
  rounds every sum otherwise: no accuracy moved by more than 0.004, less than half of the narrowest bound.) With fewer
  than 3 other seeds the spread is not known: beyond 0.01 the link is `unverifiable`.
"""

import secrets
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reweigh.digest import digest
from reweigh.errors import ReweighError
from reweigh.planning import plan
from reweigh.provenance import retraining
from reweigh.provenance.audit.links import SOUND, Link
from reweigh.provenance.audit.report import Report
from reweigh.records import record

SMALLEST_TOLERANCE = 0.01  # of an accuracy, a fraction
SPREADS = 3  # the tolerance in standard deviations over the other seeds of the cell
FEWEST_SEEDS = 3  # other seeds from which a standard deviation is taken
ACCURACIES = ("test_accuracy", "validation_accuracy")
TOLERANCE = f"max({SMALLEST_TOLERANCE}, {SPREADS} sd over the other seeds of the cell) of an accuracy"
ORDER = "the first by sha256 of the canonical JSON of [seed, run]"
OF_A_RECORD = ("record", "spec", "code", "recipe", "trace")  # links that a record must hold to be drawn

Body = dict[str, Any]


def rerun(report: Report, root: str | Path, count: int, seed: int | None = None) -> int:
    """Train `count` runs of an audit's report again, and add to it what came out: links, and how they were made.

    The exit code: 0; 75 if it was stopped: called again with the same arguments it goes on. Raises TrainingError if
    training fails, and ReweighError if the code changes meanwhile.
    """
    root = Path(root)
    records = drawable(report.links, root)
    left_out = sum(link.kind == "record" for link in report.links) - len(records)
    with retraining.scratch(root, "rerun", [report.scale, count, seed]) as place:
        drawn_seed = _seed(place, seed)
        chosen = draw(records, count, drawn_seed)
        _announce(chosen, records, left_out, drawn_seed)
        if code := place.train([records[run]["spec"] for run in chosen]) if chosen else 0:
            _say("stopped; the same command goes on from here")
            return code
        made = {run: place.record(run) for run in chosen}
        for run in chosen:
            _check_made(records[run], made[run])
            link = Link("rerun", run, *compare(records[run], made[run], _others(run, records)))
            report.links.append(link)
            _say(f"{link.state}: {run}: {link.detail}")
        sample = {"asked": count, "seed": drawn_seed, "drawn": ORDER, "of": len(records), "left_out": left_out}
        report.rerun = {**sample, **_statement([link for link in report.links if link.kind == "rerun"], records, made)}
        place.remove()
    return 0


# --- the sample ------------------------------------------------------------------------------------------------------


def drawable(links: Iterable[Link], root: Path) -> dict[str, Body]:
    """The records, by run, of which every link is intact or attested, and whose raw files are here and intact."""
    links = list(links)
    runs = [link.name for link in links if link.kind == "record"]
    faulty = {link.name for link in links if link.kind in OF_A_RECORD and link.state not in SOUND}
    without = {link.name.split("/")[0] for link in links if link.kind == "raw" and link.state not in SOUND}
    bodies = {run: record.read(record.record_path(run, root)) for run in runs if run not in faulty}
    return {run: body for run, body in bodies.items() if body["spec"]["data"]["dataset"] not in without}


def draw(runs: Iterable[str], count: int, seed: int) -> list[str]:
    """`count` of the runs (all if there are fewer), each as likely as any other; see ORDER."""
    return sorted(runs, key=lambda run: digest([seed, run]))[:count]


def _seed(place: retraining.Place, seed: int | None) -> int:
    """The seed that was asked for; else that of a place that was left in the middle; else a new one."""
    path = place.folder / "seed"
    if seed is None:
        seed = int(path.read_text()) if path.is_file() else secrets.randbelow(2**31)
    path.write_text(f"{seed}\n")
    return seed


def _others(run: str, records: dict[str, Body]) -> list[Body]:
    """The records of the other seeds of a run's cell."""
    cell = run.rpartition("/")[0]
    return [body for name, body in records.items() if name != run and name.rpartition("/")[0] == cell]


# --- comparing -------------------------------------------------------------------------------------------------------


def compare(then: Body, now: Body, others: Iterable[Body] = ()) -> tuple[str, str]:
    """State and detail of a run that was trained again; `others` are the records of its cell's other seeds."""
    found = retraining.differences(retraining.outcome(then), retraining.outcome(now))
    if retraining.maker(then) == retraining.maker(now):
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        return ("broken", "; ".join(found[:3]) + more) if found else ("intact", "bit for bit")
    made, trained = (retraining.described(retraining.maker(body)) for body in (then, now))
    places = f"made on {made}, trained again on {trained}"
    if not found:
        return "intact", f"bit for bit, though {places}"
    state, detail = _within(then, now, list(others))
    return state, f"{detail}; {places}"


def _within(then: Body, now: Body, others: list[Body]) -> tuple[str, str]:
    """Whether a run came out the same but for what rounding does."""
    said, made = retraining.outcome(then), retraining.outcome(now)
    for part in ("split", "parameters", "status", *(("steps",) if then["status"] == "finished" else ())):
        if said[part] != made[part]:
            return "broken", retraining.differences(said[part], made[part], part)[0]
    texts = []
    for name in ACCURACIES:
        before, after = (body["metrics"].get(name) for body in (then, now))
        if before is None or after is None:
            if before != after:
                return "broken", retraining.differences(before, after, f"metrics.{name}")[0]
            continue
        values = [value for body in others if (value := body["metrics"].get(name)) is not None]
        known = len(values) >= FEWEST_SEEDS
        tolerance = max(SMALLEST_TOLERANCE, SPREADS * statistics.stdev(values) if known else 0.0)
        text = f"{name} {before:.4f} -> {after:.4f}, tolerance {tolerance:.4f}"
        if abs(after - before) > tolerance:
            if known:
                return "broken", f"{text} (3 sd of {len(values)} other seeds)"
            return "unverifiable", f"{text}; with {len(values)} other seeds the spread is not known"
        texts.append(text)
    return "intact", "; ".join(texts)


def _check_made(then: Body, now: Body) -> None:
    made = now["spec_digest"], now["code"]["digest"], retraining.maker(now)
    if made != (then["spec_digest"], record.code_digest(then["spec"]), retraining.maker_here()):
        raise ReweighError(f"{then['run']}: code or device changed while it was trained again; audit once more")


# --- what is said ----------------------------------------------------------------------------------------------------


def _announce(chosen: list[str], records: dict[str, Body], left_out: int, seed: int) -> None:
    """Say what is trained again and what it cost the first time."""
    if left_out:
        _say(f"{left_out} records are left out: stale or broken, or their raw files are not here")
    seconds = plan.duration(sum(records[run]["seconds"] for run in chosen))
    _say(
        f"{len(chosen)} of {len(records)} runs, drawn with seed {seed}, are trained again; their records say {seconds}"
    )
    for run in chosen:
        _say(f"  {run} ({plan.duration(records[run]['seconds'])})")


def _statement(links: list[Link], records: dict[str, Body], made: dict[str, Body]) -> dict[str, Any]:
    """What a report says of the runs trained again: by what, compared how, and what came out."""
    here = dict(retraining.here())
    compared = {run: "bit for bit" if retraining.maker(body) == retraining.maker(made[run]) else TOLERANCE
                for run, body in records.items() if run in made}  # fmt: skip
    return {
        "runs": [
            {"run": one.name, "record": records[one.name]["digest"], "compared": compared[one.name]}
            | {"state": one.state, "detail": one.detail}
            for one in links
        ],
        "git": here.pop("git"),
        "device": {"kind": here.pop("kind"), "name": here.pop("name")},
        "environment": here,
    }


def _say(line: str) -> None:
    print(line, flush=True)
