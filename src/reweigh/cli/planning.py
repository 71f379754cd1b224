"""The commands that plan: `reweigh plan`, `fill` and `new`. Each imports what is heavy only when it needs it."""

from pathlib import Path
from typing import Annotated

import typer

from reweigh.errors import ConfigError
from reweigh.terminal import say

ScaleOption = Annotated[
    str | None,
    typer.Option("--scale", help="smoke, quick, paper, or local: data of your own; by default config.yaml's"),
]


def scale_named(name: str | None) -> str:
    """The scale of that name, or that of config.yaml. Raises ConfigError if there is no such scale."""
    from reweigh.config.loading import load
    from reweigh.config.specs import SCALES
    from reweigh.config.validation import lookup

    return load().project.scale if name is None else str(lookup("scale", name, SCALES))


def plan(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET...", help="SCALE/PAPER, with /EXPERIMENT/SETTING/... for fewer runs, or a figure"
        ),
    ] = None,
    scale: ScaleOption = None,
    specs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the resolved specs to DIR, one JSON per run.")
    ] = None,
    pending: Annotated[
        bool, typer.Option("--pending", help="With --specs: only runs whose record is missing or stale.")
    ] = False,
    wanted: Annotated[
        bool, typer.Option("--wanted", help="With --specs: of those, what config/priorities.yaml lists, in its order.")
    ] = False,
    why: Annotated[
        bool, typer.Option("--why", help="Of one run: every value of its spec, where it stands and its source.")
    ] = False,
) -> None:
    """Print what would run and what it would cost, and which records are missing or stale. Runs nothing.

    [dim]reweigh plan paper/tdr/mnist-4v9[/dim]

    [dim]reweigh plan figures/paper/tdr/fig5.pdf --specs specs/[/dim]

    [dim]reweigh plan --scale paper --specs specs/ --wanted[/dim]

    [dim]reweigh plan paper/tdr/mnist-4v9/rho0.005/tdr/seed0 --why[/dim]
    """
    if why:
        if specs is not None or pending or wanted:
            raise ConfigError("--why prints the values of one run and writes no specs; leave out one or the other")
        from reweigh.planning.why import show

        show(targets or [])
        return
    from reweigh.planning.spec_files import main as run_plan

    run_plan(targets or [], None if scale is None else scale_named(scale), specs, pending, wanted)


def fill(
    time: Annotated[str | None, typer.Option("--for", metavar="T", help="How long: 90s, 30m, 2h.")] = None,
    scale: Annotated[str, typer.Option("--scale", help="smoke, quick or paper")] = "paper",
    show: Annotated[bool, typer.Option("--list", help="Print the list with states and costs; train nothing.")] = False,
    at_once: Annotated[
        str, typer.Option(metavar="N", help="Runs side by side on the device; auto: one for each core.")
    ] = "auto",
    nice: Annotated[int, typer.Option(metavar="N", min=0, max=19, help="How much it gives way, up to 19.")] = 19,
) -> None:
    """Train what is missing or stale in the order of config/priorities.yaml, for idle machines and nights.

    It gives way to everything else on the machine. When the time is up, or on Ctrl-C, the runs are saved,
    and the next call goes on with them. Only finished runs leave records.

    [dim]reweigh fill --for 2h[/dim]

    [dim]reweigh fill --list[/dim]
    """
    from reweigh.planning import fill as filling
    from reweigh.planning.low_priority import in_a_session_of_its_own
    from reweigh.training.__main__ import at_once_of, seconds

    scale = scale_named(scale)
    if show:
        filling.show(scale)
        return
    if time is None:
        raise ConfigError("for how long? write for example: reweigh fill --for 2h (or --list to see what is left)")
    budget, side_by_side = seconds(time), at_once_of(at_once)
    raise typer.Exit(in_a_session_of_its_own(lambda: filling.fill(budget, scale, side_by_side, nice)))


def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="method, loss, dataset or paper")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="of its module, or of the paper's folder")],
    paper: Annotated[
        str | None, typer.Option(metavar="PAPER", help="Of a method or loss: the paper whose config gets its entry.")
    ] = None,
    joins: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPERIMENT", help="With --paper: where it is trained; may be repeated."),
    ] = None,
) -> None:
    """Begin a method, a loss, a data set or a paper: its files from templates, with a test. Nothing is overwritten.

    What it prints next leads to a record, a figure and a line of the scorecard.

    [dim]reweigh new method focused --paper tdr[/dim]

    [dim]reweigh new dataset shapes[/dim]
    """
    from reweigh.planning.new import write

    written = write(kind, name, Path(), paper, joins or [])
    say("\n".join([*(f"wrote {path}" for path in written.files), "next:", *written.next]))
