"""What a plan says: a table of runs with their cost, what is stale and why, and the command that trains it again."""

from collections import defaultdict
from collections.abc import Iterable

from reweigh import terminal
from reweigh.config.names import RunName
from reweigh.planning.plan import SOURCES, Planned, duration

SCREEN = 20  # lines about stale runs


def show(planned: Iterable[Planned]) -> None:
    """Print a line for each experiment and method, then the stale records and the command that trains them again."""
    from rich.table import Table

    planned = list(planned)
    table = Table(box=None, pad_edge=False)
    for header in ("experiment", "method"):
        table.add_column(header, overflow="fold")
    for header in ("runs", "of these", "steps each", "to do", "by"):
        table.add_column(header, justify="right")
    groups: dict[tuple[str, str], list[Planned]] = defaultdict(list)
    for run in planned:
        name = RunName.parse(run.run)
        groups[str(name.of_experiment), name.method].append(run)
    shown = ""
    for (experiment, method), runs in groups.items():
        table.add_row("" if experiment == shown else experiment, method, *_cells(runs))
        shown = experiment
    console = terminal.console(wide=120)
    console.print(table)
    console.print(summary(planned), soft_wrap=True, highlight=False)


def _cells(runs: list[Planned]) -> list[str]:
    """The columns of the runs of one method: how many, their states, steps, the cost of what is pending, its source."""
    steps = sorted({run.steps for run in runs})
    span = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    span = f"at most {span}" if any(run.at_most for run in runs) else span
    return [str(len(runs)), counted(run.state for run in runs), span, *cost_of([run for run in runs if run.pending])]


def counted(states: Iterable[str]) -> str:
    """How many runs are in which state: `3 current, 2 missing`."""
    kinds = [state.partition(":")[0] for state in states]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("current", "stale", "missing") if kind in kinds)


def cost_of(pending: list[Planned]) -> tuple[str, str]:
    """The time that some runs would take, and the weakest source of it; empty for none."""
    if not pending:
        return "", ""
    worst = max((run.source for run in pending), key=SOURCES.index)
    return duration(sum(run.seconds for run in pending)), worst


def summary(planned: list[Planned]) -> str:
    """What there is to train and its cost, the stale records with reasons, the command that trains them again."""
    pending = [run for run in planned if run.pending]
    total = duration(sum(run.seconds for run in pending))
    lines = [f"{len(pending)} of {len(planned)} runs to train: about {total} of one core or device, evaluation apart."]
    if stale := [run for run in planned if run.state.startswith("stale")]:
        lines += _reasons(stale)
        cells = in_braces([RunName.parse(run.run) for run in stale])
        lines.append(f"Train the stale ones again with: reweigh train {' '.join(cells)}")
    return "\n".join(lines)


def _reasons(stale: list[Planned]) -> list[str]:
    """What is stale and why: by run, or by experiment where that would be more than a screen."""
    if len(stale) <= SCREEN:
        return [f"{run.run}: {run.state}" for run in stale]
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for run in stale:
        counts[str(RunName.parse(run.run).of_experiment), run.state] += 1
    return [f"{experiment}: {count} {state}" for (experiment, state), count in counts.items()]


def in_braces(runs: Iterable[RunName]) -> list[str]:
    """The cells of some runs as a shell expands them.

    >>> runs = [f"paper/tdr/adult/{setting}/{method}/seed0" for setting in ("sex", "age") for method in ("tdr", "none")]
    >>> in_braces(map(RunName.parse, runs[:1])), in_braces(map(RunName.parse, runs))
    (['paper/tdr/adult/sex/tdr'], ['paper/tdr/adult/{sex,age}/{tdr,none}'])
    """

    def braced(names: Iterable[str]) -> str:
        known = list(names)
        return known[0] if len(known) == 1 else f"{{{','.join(known)}}}"

    methods: dict[tuple[str, str], dict[str, None]] = {}
    for run in runs:
        methods.setdefault((str(run.of_experiment), run.setting), {})[run.method] = None
    settings: dict[tuple[str, str], list[str]] = {}
    for (experiment, setting), names in methods.items():
        settings.setdefault((experiment, braced(names)), []).append(setting)
    return [f"{experiment}/{braced(names)}/{method}" for (experiment, method), names in settings.items()]
