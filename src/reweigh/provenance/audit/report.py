"""What an audit says: counts and faults, on the terminal and as JSON.

The JSON (`reweigh audit --report FILE`) has `report_version`, `scale`, `verdict`, `counts` (`{kind: {state: n}}`),
`faults` (each with `kind`, `name`, `state`, `detail`, and `mend`, what to do about it, where there is such a thing),
`runs_without_record` and `not_drawn`; after `--rerun` also `rerun`, how the runs were drawn. The audit writes no dates
into it: the same state of the project gives the same bytes.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.provenance.audit.links import FAILING, KINDS, SOUND, STATES, Link, mend

VERSION = 1


@dataclass
class Report:
    """What an audit of one scale found.

    `absent` are runs of the grid that nobody has made, `not_drawn` artifacts (`PAPER/NAME`) whose records are there and
    whose files are not: no links, so no faults. `rerun` says how runs were drawn and trained again, where that was
    asked for.
    """

    scale: str
    links: list[Link] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    not_drawn: list[str] = field(default_factory=list)
    rerun: dict[str, Any] | None = None

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """`{"record": {"intact": 80}, ...}`, in the order of the chain, of the kinds that there are."""
        counted: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
        for link in self.links:
            counted[link.kind][link.state] += 1
        return {
            kind: {state: count[state] for state in STATES if count[state]} for kind, count in counted.items() if count
        }

    @property
    def faults(self) -> list[Link]:
        """Every link that is neither intact nor attested, in the order of the chain."""
        order = {kind: place for place, kind in enumerate(KINDS)}
        return sorted((link for link in self.links if link.state not in SOUND), key=lambda one: (order[one.kind], one))

    @property
    def exit_code(self) -> int:
        """0, or 1 where a link is stale, broken or missing."""
        return int(any(link.state in FAILING for link in self.links))

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, the same bytes for the same state of the project."""
        return {
            "report_version": VERSION,
            "scale": self.scale,
            "verdict": "unbroken" if self.exit_code == 0 else "broken, stale or missing links",
            "counts": self.counts,
            "faults": [{**link._asdict(), **({"mend": how} if (how := mend(link)) else {})} for link in self.faults],
            "runs_without_record": len(self.absent),
            "not_drawn": self.not_drawn,
            **({"rerun": self.rerun} if self.rerun else {}),
        }


def write(report: Report, path: str | Path) -> Path:
    """Write a report as JSON, atomically; `results/{scale}/audit.json` is its usual place."""
    return canonical_json.write(path, json.dumps(report.as_dict(), indent=1, ensure_ascii=False) + "\n")


def show(report: Report, most: int = 30) -> None:
    """Print the counts, and the faults: the worst first, those of the same kind for the same reason as one."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("link", *STATES, title=f"scale {report.scale}", title_justify="left")
    for kind, count in report.counts.items():
        table.add_row(kind, *(str(count.get(state, "")) for state in STATES))
    if report.links:
        console.print(table)
    groups = grouped(report.faults)
    for links in groups[:most]:
        first, others = links[0], f" and {len(links) - 1} more" if len(links) > 1 else ""
        text = f"{first.state}: {first.kind} {first.name}{others}: {first.detail}"
        console.print(escape(printable(text)), soft_wrap=True)
        if how := mend(first):
            console.print(escape(printable(f"    {how}")), style="dim", soft_wrap=True)
    if left := sum(map(len, groups[most:])):
        console.print(f"... and {left} more; all are in the report (--report FILE)", soft_wrap=True)
    if report.absent:
        console.print(
            f"{len(report.absent)} runs of the grid have no record; nothing is claimed of them", soft_wrap=True
        )
    if report.not_drawn:
        names = ", ".join(report.not_drawn)
        console.print(f"{len(report.not_drawn)} artifacts of the config are not drawn: {names}", soft_wrap=True)
    holds = "the chain is unbroken" if report.links else "there is nothing at this scale to audit"
    console.print(holds if report.exit_code == 0 else "the chain does not hold everywhere", soft_wrap=True)


def printable(text: str) -> str:
    """A text whose control characters, which came out of somebody's file, do nothing to a terminal."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def grouped(faults: list[Link]) -> list[list[Link]]:
    """Faults of the same kind, state and reason together; what is altered first, what cannot be checked last."""
    worst = ("broken", "missing", "stale", "unverifiable")
    groups: dict[tuple[str, str, str], list[Link]] = {}
    for link in sorted(faults, key=lambda one: worst.index(one.state)):
        groups.setdefault((link.kind, link.state, link.detail), []).append(link)
    return list(groups.values())
