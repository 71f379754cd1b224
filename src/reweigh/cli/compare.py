"""`reweigh compare`: methods against plain training on data of one's own. What is heavy is imported late."""

from typing import Annotated

import typer

from reweigh.terminal import say


def compare(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="of a card that reweigh import wrote; without it, they are listed"),
    ] = None,
    methods: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Methods of config/local.yaml, or all; plain training is one.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", help="Runs of each method, up to 20; 5.")] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Of each run; 0: as many as the rule of config/local.yaml gives.")
    ] = None,
    time: Annotated[
        str | None, typer.Option("--for", metavar="T", help="Save and stop after T: 90s, 30m, 2h; exit code 75.")
    ] = None,
    at_once: Annotated[
        str, typer.Option(metavar="N", help="Runs side by side on the device; auto: as many as it pays for.")
    ] = "auto",
) -> None:
    """Compare methods with plain training on a data set of your own: a page, a csv, a figure, and one sentence.

    Trains what is missing; a call that was stopped or killed goes on where it was. What is asked for here is
    remembered, so that the next call need only say NAME. Options of methods are their papers' defaults.

    [dim]reweigh compare claims[/dim]

    [dim]reweigh compare claims --methods none,hard,absgd,ldam,tdr --seeds 5 --for 30m[/dim]

    [dim]reweigh compare[/dim]
    """
    from reweigh.planning import compare as comparing
    from reweigh.terminal import print_table
    from reweigh.training.__main__ import at_once_of, seconds

    if name is None:
        if rows := comparing.listed():
            print_table(rows)
        else:
            say(f"no data set has been imported yet; write: {comparing.IMPORT}")
        return
    budget, side_by_side = None if time is None else seconds(time), at_once_of(at_once)
    name = comparing.named(name)
    comparing.ask(name, methods, seeds, epochs)
    done = comparing.compare(name, budget, side_by_side)
    for line in (done.sentence, *done.remarks, *map(str, done.paths)):
        say(line)
    raise typer.Exit(done.exit_code)
