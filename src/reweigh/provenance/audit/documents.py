"""What README and docs say of the results, against what would be written there now; and the bench, against itself.

The sentences and tables between markers are those of `reweigh scorecard --readme`, from the scorecard's csv, the
figures' csv, the records and the bench; those of docs/speed.md are from the bench's csv. Tables of simulations
(docs/verdicts.md, docs/har-strengths.md) and what commands print take long: tests compare them.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reweigh.bench import APART, table
from reweigh.config.grid import Config
from reweigh.errors import ReweighError
from reweigh.listing import visible
from reweigh.provenance.audit.links import Link
from reweigh.records.commit import git, has_repository

Verdict = tuple[str, str]  # state, detail
SCALE = "paper"  # of which README and docs speak
SPEED = "docs/speed.md"
DRIFT = 1.5  # how far the ratio of two medians may be from the median of the ratios within rounds
GOOD: Verdict = ("intact", "")


def check_documents(config: Config, scale: str, root: Path, records: dict[str, dict[str, Any]]) -> Iterator[Link]:
    """One link `page` for each block of README and docs that the scorecard or the bench writes."""
    csv = root / "results" / scale / "scorecard.csv"
    if scale == SCALE and csv.is_file() and (root / "README.md").is_file():
        yield from _scored(config, csv, root, records)
    if (root / SPEED).is_file():
        yield Link("page", SPEED, *_speeds(root))


def _scored(config: Config, csv: Path, root: Path, records: dict[str, dict[str, Any]]) -> Iterator[Link]:
    import pandas as pd

    from reweigh.scorecard import readme

    try:
        bodies = readme.bodies(config, pd.read_csv(csv), records)
    except ReweighError as error:  # a sentence rests on what is no longer so
        yield Link("page", "README.md", "stale", str(error))
        return
    except Exception as error:  # the csv may hold anything
        yield Link("page", "README.md", "unverifiable", f"it cannot be written from the scorecard now ({error!r})")
        return
    for page, parts in bodies.items():
        for name, body in parts.items():
            if (root / page).is_file():
                yield Link("page", f"{page} ({name})", *_block(root / page, name, body))


def _block(path: Path, name: str, body: str) -> Verdict:
    """Whether the block of a page is what would be written there now."""
    from reweigh.scorecard import readme

    try:
        _, found, _ = readme.parts_of(path, name)
    except ReweighError:
        return "broken", f"it has no block {name} any more"
    return _compared(found.strip("\n").splitlines(), body.splitlines())


def _compared(found: list[str], expected: list[str]) -> Verdict:
    for number, (one, other) in enumerate(zip(found, expected, strict=False), start=1):
        if one != other:
            at = next((k for k, pair in enumerate(zip(one, other, strict=False)) if len({*pair}) > 1), 0)
            return (
                "broken",
                f"line {number}: {one[max(0, at - 20) :][:60]!r}, should be {other[max(0, at - 20) :][:60]!r}",
            )
    return GOOD if len(found) == len(expected) else ("broken", f"{len(found)} lines, should be {len(expected)}")


def _speeds(root: Path) -> Verdict:
    """Whether docs/speed.md has the numbers of the bench."""
    text = (root / SPEED).read_text(encoding="utf-8", errors="replace")
    try:
        now = table.with_measured(text, table.read(root / table.CSV))
    except ValueError as error:
        return "broken", str(error)
    verdicts = [_compared(text.splitlines(), now.splitlines())]
    for name in APART:
        if (file := root / table.CSV.with_name(f"{name}.csv")).is_file():
            verdicts.append(_block(root / SPEED, name, table.whole_table(table.read(file))))
    return next((verdict for verdict in verdicts if verdict != GOOD), GOOD)


# --- the bench -------------------------------------------------------------------------------------------------------


def check_bench(root: Path) -> Iterator[Link]:
    """One link for each csv of the bench: whether it agrees with itself, and is the one that is committed.

    What was measured elsewhere cannot be measured again here: a time alone proves nothing.
    """
    in_git = has_repository(root)
    for path in visible(root / table.CSV.parent, "*.csv"):
        name = path.relative_to(root).as_posix()
        if fault := _contradiction(table.read(path)):
            yield Link("bench", name, "broken", fault)
        elif in_git and git(root, "show", f"HEAD:./{name}") not in (path.read_bytes(), None):
            changed = "not the one that is committed: measured anew, or changed by hand"
            yield Link("bench", name, "unverifiable", changed)
        else:
            yield Link("bench", name, "intact")


def _contradiction(lines: list[table.Line]) -> str:
    """What in a csv of the bench cannot be; empty if nothing is."""
    if not lines:
        return "it has no lines of the bench"
    measured = {(line.device, line.torch, line.group, line.contender): line for line in lines}
    if twice := [key for key, count in Counter(_key(line) for line in lines).items() if count > 1]:
        return f"{twice[0][3]} of {twice[0][2]} stands twice"
    for line in lines:
        baseline = measured.get((line.device, line.torch, line.group, line.baseline))
        if fault := _impossible(line, baseline):
            return f"{line.contender} of {line.group}: {fault}"
    return ""


def _key(line: table.Line) -> tuple[str, str, str, str]:
    return line.device, line.torch, line.group, line.contender


def _impossible(line: table.Line, baseline: table.Line | None) -> str:
    """What of one line cannot be."""
    if line.rounds < 1 or line.threads < 1 or not line.milliseconds >= 0:
        return f"{line.milliseconds:g} ms, {line.rounds} rounds, {line.threads} threads"
    if line.ratio is None:
        return "" if line.q1 is None and line.q3 is None else "quartiles without a median"
    if line.contender == line.baseline and line.ratio != 1:
        return f"a ratio of {line.ratio:g} to itself"
    if line.q1 is not None and line.q3 is not None and not line.q1 <= line.ratio <= line.q3:
        return f"a median of {line.ratio:g} between quartiles of {line.q1:g} and {line.q3:g}"
    if baseline is None or not (line.milliseconds and baseline.milliseconds):
        return ""
    times = line.milliseconds / baseline.milliseconds
    if not 1 / DRIFT <= times / line.ratio <= DRIFT:
        return f"{line.milliseconds:g} of {baseline.milliseconds:g} ms, and a ratio of {line.ratio:g}"
    return ""
