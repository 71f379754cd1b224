"""The commands that take methods of one's own: `reweigh train`, `render` and `check`. What is heavy comes late."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reweigh.errors import ConfigError
from reweigh.terminal import say

if TYPE_CHECKING:
    from reweigh.training.__main__ import Outcome

Runs = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="as for plan: a run, or fewer parts of its name for more runs; or a figure"),
]


def train(
    runs: Runs,
    time_budget: Annotated[
        str | None, typer.Option(metavar="T", help="Save and stop after T, e.g. 9m; exit code 75.")
    ] = None,
    at_once: Annotated[
        str, typer.Option(metavar="N", help="Runs side by side on the device; auto: as many as it pays for.")
    ] = "auto",
    again: Annotated[bool, typer.Option("--again", help="Also train runs whose record is current.")] = False,
    gpu: Annotated[bool, typer.Option("--gpu", help="Fail where there is no GPU, instead of using the CPU.")] = False,
    log: Annotated[Path | None, typer.Option(hidden=True, help="Of a job: its log, kept if it fails.")] = None,
    requeue: Annotated[
        bool, typer.Option("--requeue", hidden=True, help="Out of time, queue the Slurm job again.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="METHOD:seedN", help="Of these runs only that one; may be repeated.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="With --as: a key of the method with another value."),
    ] = None,
    as_: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="With --set: the name of the method with these values.")
    ] = None,
) -> None:
    """Train runs, or all runs of a cell, an experiment, a paper or a figure, unless their record is current.

    A killed run resumes from its checkpoint.

    With --set and --as: of a method with other values, under a name of its own. The config gets its entry, as a file;
    all records that there are stay as they are.

    [dim]reweigh train quick/tdr/mnist-4v9/rho0.005/tdr[/dim]

    [dim]reweigh train paper/tdr/adult/sex/er/seed0 --time-budget 9m[/dim]

    [dim]reweigh train quick/tdr/mnist-4v9/rho0.1/tdr --set options.outer_every=20 --as tdr20[/dim]
    """
    from reweigh.planning import attempts
    from reweigh.training import slurm
    from reweigh.training.__main__ import TRY_AGAIN, at_once_of, seconds

    kept = None if log is None else attempts.begin(log)
    try:
        budget, side_by_side = None if time_budget is None else seconds(time_budget), at_once_of(at_once)
        outcome = _train(
            _variant(runs, set_ or [], as_) if set_ or as_ else runs, only, budget, again, side_by_side, gpu
        )
    except Exception:
        if log is not None:
            attempts.end(log, kept, 1)
        raise
    if requeue and outcome.exit_code == TRY_AGAIN and outcome.steps and not outcome.told:
        slurm.requeue()
    if log is not None:
        attempts.end(log, kept, outcome.exit_code, outcome.out_of_time)
    raise typer.Exit(outcome.exit_code)


def _train(
    runs: list[str], only: list[str] | None, budget: float | None, again: bool, side_by_side: int | None, gpu: bool
) -> "Outcome":
    """Train what is named, or of that only some runs (METHOD:seedN). Raises ConfigError for what there is not."""
    from reweigh.config.loading import load
    from reweigh.config.names import RunName
    from reweigh.planning.plan import is_wide, runs_of_target, to_train
    from reweigh.planning.tidy import remove_unwanted
    from reweigh.training.__main__ import train as train_specs

    config = load()
    config.project.apply()
    named = dict.fromkeys(run for name in runs for run in runs_of_target(config, name))
    if only:
        named = {run: None for run in named if RunName.parse(run).short in only}
        if len(named) != len(set(only)):
            raise ConfigError(f"--only {' '.join(only)}: write METHOD:seedN of one of the runs that are named")
    if any(is_wide(name) for name in runs) and not again:
        say(to_train(config, named), err=True)
    specs = [config.resolve(run) for run in named]
    remove_unwanted(config, specs)
    return train_specs(specs, budget, again, side_by_side, gpu)


def _variant(runs: list[str], changes: list[str], name: str | None) -> list[str]:
    """Write the entry of a method with other values; the runs of it that correspond to those named."""
    from reweigh.planning.variant import write

    if not changes or name is None:
        raise ConfigError("--set and --as go together: --set options.KEY=VALUE --as NAME")
    made = write(runs, changes, name, Path())
    say(f"wrote {made.file}" if made.written else f"{made.file} says so already")
    return made.runs


def render(
    artifacts: Annotated[list[str], typer.Argument(metavar="ARTIFACT...", help="figures/SCALE/PAPER/ARTIFACT")],
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="METHOD", help="Draw this method beside; the files are then ARTIFACT+METHOD.*"),
    ] = None,
    missing: Annotated[
        Literal["train", "skip"],
        typer.Option(help="skip: show runs without records as not run. Else they are to be trained first."),
    ] = "train",
) -> None:
    """Render figures and tables from their records: pdf, png, csv of every number shown, and the executed notebook.

    Nothing is rendered while records are missing, unless --missing skip says so. With --also, which may be repeated,
    the artifact's own files stay as they are, and the new ones take the records that exist.

    [dim]reweigh render figures/quick/tdr/fig5[/dim]

    [dim]reweigh render figures/quick/tdr/fig5 --also er_slow[/dim]
    """
    from reweigh.artifacts import beside, complete, fonts
    from reweigh.artifacts.render import render as render_artifact
    from reweigh.config.names import ArtifactName, with_also

    fonts.list_once()
    for artifact in artifacts:
        name = beside.checked(artifact, also or [])
        if missing == "train" and not with_also(ArtifactName.parse(name).name)[1]:
            complete.check(name)
        render_artifact(name)
        say(f"{name}.pdf")
        for method in beside.absent(name, also or []):
            say(f"{method} is not in it: its notebook names the methods that it draws", err=True)


def check(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="method or loss")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="of its module")],
) -> None:
    """Check one method or loss against what every one must hold to; exit code 1 if a check fails. Takes half a minute.

    [dim]reweigh check method tdr[/dim]

    [dim]reweigh check loss focal[/dim]
    """
    from reweigh.checking.ask import main as run_checks

    raise typer.Exit(run_checks(kind, name))
