"""What an audit says: counts and faults, on the terminal and as JSON.

The JSON (`reweigh audit --report FILE`) has `report_version`, `scale`, `verdict`, `counts` (`{kind: {state: n}}`),
`faults` (each with `kind`, `name`, `state`, `detail` and, if there is one, `remedy`), `amended` (what decides verdicts
and was changed after runs, and why: `{name: detail}`), `runs_without_record` (their number) and `not_rendered` (names
of artifacts); after `--rerun` also `rerun`, how the runs were chosen and what came out. The audit writes no dates into
it: the same state of the project gives the same bytes.

Version 2 renamed the keys `mend` and `not_drawn` and the kind `witness`: they are now `remedy`, `not_rendered` and
`snakemake`.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reweigh import canonical_json, terminal
from reweigh.provenance.audit.links import FAILING, KINDS, SOUND, STATES, Link, remedy
from reweigh.terminal import printable

VERSION = 2


@dataclass
class Report:
    """What an audit of one scale found.

    `absent` are runs of the grid without a record; `not_rendered` are artifacts (`PAPER/NAME`) that have records but no
    files. Neither is a fault. `rerun` says how runs were chosen and trained again, if that was asked for.
    """

    scale: str
    links: list[Link] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    not_rendered: list[str] = field(default_factory=list)
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
        faults = (link for link in self.links if link.state not in SOUND)
        return sorted(faults, key=lambda link: (order[link.kind], link))

    @property
    def amended(self) -> dict[str, str]:
        """What decides verdicts and was changed or added after runs, and says so: name -> what and why."""
        return {link.name: link.detail for link in self.links if (link.kind, link.state) == ("declared", "attested")}

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
            "faults": [
                {**link._asdict(), **({"remedy": action} if (action := remedy(link)) else {})} for link in self.faults
            ],
            "amended": self.amended,
            "runs_without_record": len(self.absent),
            "not_rendered": self.not_rendered,
            **({"rerun": self.rerun} if self.rerun else {}),
        }


def write(report: Report, path: str | Path) -> Path:
    """Write a report as JSON, atomically; `results/{scale}/audit.json` is its usual place."""
    return canonical_json.write(path, json.dumps(report.as_dict(), indent=1, ensure_ascii=False) + "\n")


def show(report: Report, most: int = 30) -> None:
    """Print the counts, then the faults, the worst first; faults of the same kind and reason share one line."""
    from rich.table import Table

    console = terminal.console(wide=120, highlight=False)
    table = Table("link", *STATES, title=f"scale {report.scale}", title_justify="left")
    for kind, count in report.counts.items():
        table.add_row(kind, *(str(count.get(state, "")) for state in STATES))
    if report.links:
        console.print(table)
    groups = grouped(report.faults)
    for links in groups[:most]:
        first, others = links[0], f" and {len(links) - 1} more" if len(links) > 1 else ""
        text = f"{first.state}: {first.kind} {first.name}{others}: {first.detail}"
        console.print(printable(text), soft_wrap=True)
        if action := remedy(first):
            console.print(printable(f"    {action}"), style="dim", soft_wrap=True)
    if left := sum(map(len, groups[most:])):
        console.print(f"... and {left} more; all are in the report (--report FILE)", soft_wrap=True)
    if amended := report.amended:
        counts = ", ".join(
            f"{kind} {count}" for kind, count in Counter(Path(name).parts[0] for name in amended).items()
        )
        text = f"changed or added after runs that they are about, and said so: {counts} (config/amendments.yaml)"
        console.print(text, soft_wrap=True)
    if report.absent:
        console.print(f"{len(report.absent)} runs of the grid have no record", soft_wrap=True)
    if report.not_rendered:
        names = ", ".join(report.not_rendered)
        console.print(f"{len(report.not_rendered)} artifacts of the config are not rendered: {names}", soft_wrap=True)
    unbroken = "the chain is unbroken" if report.links else "there is nothing at this scale to audit"
    console.print(unbroken if report.exit_code == 0 else "the chain has faults", soft_wrap=True)


def grouped(faults: list[Link]) -> list[list[Link]]:
    """Faults of the same kind, state and reason together: broken links first, unverifiable ones last."""
    worst = ("broken", "missing", "stale", "unverifiable")
    groups: dict[tuple[str, str, str], list[Link]] = {}
    for link in sorted(faults, key=lambda link: worst.index(link.state)):
        groups.setdefault((link.kind, link.state, link.detail), []).append(link)
    return list(groups.values())
