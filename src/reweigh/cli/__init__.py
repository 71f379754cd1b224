"""The command line. Each command calls a function elsewhere, and imports what is heavy only when it needs it.

Those that plan are in `planning`, those for a GPU machine in `gpu`; `local` and `compare` have those for data of one's
own, `own` those that take methods of one's own.

Exit codes: 0 if all is well, 2 for a mistake in the config or on the command line, 75 if time ran out, 141 if nobody
reads the output any more, 128 and its number after a signal, else 1.
"""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from reweigh import __version__, os_errors
from reweigh.artifacts import fonts
from reweigh.cli import compare, gpu, local, own, planning
from reweigh.cli.base import Command, Group
from reweigh.cli.planning import ScaleOption, scale_named
from reweigh.config import home
from reweigh.errors import ConfigError, ReweighError
from reweigh.records import own_code
from reweigh.terminal import READER_LEFT, dataset_rows, flushed, harmless, print_all_letters, print_table, say

app = typer.Typer(
    name="reweigh",
    cls=Group,
    help="Replicate papers on imbalanced, noisy and group-biased data; ask any number where it comes from.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"reweigh {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(cls=Command)
def fetch(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="data sets")] = None,
    show: Annotated[
        bool, typer.Option("--list", help="List what is there, what is missing, and how to get it.")
    ] = False,
) -> None:
    """Get the raw files of data sets, and check them: embedded, from $REWEIGH_MIRROR, or from their official sites.

    [dim]reweigh fetch mnist adult[/dim]
    """
    from reweigh.config.loading import load
    from reweigh.data import manifest

    load().project.apply()
    if show or not names:
        print_table(dataset_rows(manifest.status()))
        return
    for name in names:
        source = manifest.ensure(name)
        say(f"{name}: {len(source['files'])} files, {source['edition']} edition, in data/raw/{name}")


app.command("import", cls=Command)(local.import_)


@app.command(cls=Command)
def features(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="waterbirds")],
) -> None:
    """Make the features of a data set from its images, with a network whose weights are fetched like a data set.

    [dim]reweigh features waterbirds[/dim]
    """
    from reweigh.config.loading import load
    from reweigh.data import features as frozen

    load().project.apply()
    source = frozen.make(dataset)
    say(f"{dataset}: {len(source['files'])} files, {source['edition']} edition, in data/raw/{dataset}")


@app.command(cls=Command)
def split(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="as for plan, or a split: SCALE/PAPER/EXPERIMENT/SETTING/seedN"),
    ],
) -> None:
    """Draw the splits of runs: which examples train, guide and test. The method may be left out of a run's name.

    [dim]reweigh split quick/tdr/mnist-4v9/rho0.005/seed0[/dim]
    """
    from reweigh.config.loading import load
    from reweigh.data.obtain import describe, split_path, summary
    from reweigh.planning.plan import runs_with_splits

    config = load()
    config.project.apply()
    for run in runs_with_splits(config, runs):
        spec = config.resolve(run)
        described = describe(spec)
        say(f"{split_path(spec)}: {summary(described)}")


app.command(cls=Command)(own.train)
app.command(cls=Command)(own.render)


@app.command(cls=Command)
def scorecard(
    scale: ScaleOption = None,
    readme: Annotated[
        bool, typer.Option("--readme", help="Also write what README.md and docs/found.md say of it; scale paper.")
    ] = False,
    error_rates: Annotated[
        bool, typer.Option("--error-rates", help="Instead, print how often the rules for verdicts err.")
    ] = False,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the error rates to DIR/verdicts.md, with a figure.")
    ] = None,
) -> None:
    """Compare records with the published numbers and decide the claims: results/SCALE/scorecard.csv, .md and .html.

    [dim]reweigh scorecard --scale quick[/dim]
    """
    if error_rates or to is not None:
        from reweigh.scorecard import error_rates as rates

        say(rates.text() if to is None else "\n".join(map(str, rates.write(to))))
        return
    from reweigh.scorecard.readme import main as run_scorecard

    run_scorecard(scale_named(scale), readme)


@app.command(cls=Command)
def explain(
    target: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="a figure, csv, scorecard, record, split, raw file or published csv"),
    ],
    row: Annotated[str | None, typer.Option(help="Method, experiment, metric or id; several with / between.")] = None,
    column: Annotated[str | None, typer.Option(help="Setting or value, column of the csv, or both: 0.005/sd.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="A column and its exact value; may be repeated.")
    ] = None,
    line: Annotated[int | None, typer.Option(metavar="N", help="A line of the csv, by number.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Trace a number back to its runs, splits and raw files, with digests and URLs.

    Exit code 1 if the records give another number, 2 if nothing in the file matches the question.

    [dim]reweigh explain figures/paper/tdr/fig5.csv --row tdr --column 0.005[/dim]

    [dim]reweigh explain figures/paper/tdr/fig3.png --row tdr --where epoch=50 --where seed=1[/dim]

    [dim]reweigh explain results/paper/scorecard.html --row Table3/TDR --column gain[/dim]
    """
    from reweigh.provenance.explain import main as run_explain

    raise typer.Exit(run_explain(target, row, column, where or [], as_json, line))


@app.command(cls=Command)
def audit(
    scale: Annotated[
        str | None, typer.Option("--scale", help="smoke, quick, paper or local; by default every one that has results.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Also write the verdicts to this JSON file.")] = None,
    rerun: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Also train N randomly chosen runs again, and compare.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="S", help="Seed of the choice of --rerun; a new one by default.")
    ] = None,
    redraw: Annotated[bool, typer.Option("--redraw", help="Also render every artifact again, and compare.")] = False,
    root: Annotated[
        bool, typer.Option("--root", help="Only print one sha256 over all files that git has of the project.")
    ] = False,
) -> None:
    """Recompute every digest from figures to raw bytes; exit code 1 if a link is broken, stale or missing.

    Exit code 2 if there is nothing to audit. With --rerun, exit code 75 means that it was stopped;
    nothing is kept then.

    [dim]reweigh audit --scale paper --rerun 2[/dim]
    """
    from reweigh.provenance.audit import main as run_audit
    from reweigh.provenance.audit import root as of_project

    if root:
        if scale or report or rerun or redraw or seed is not None:
            raise ConfigError("--root is over the whole project, and audits nothing: give it alone")
        print(of_project.text(of_project.root_of()))
        return
    raise typer.Exit(run_audit(None if scale is None else scale_named(scale), report, rerun, seed, redraw))


@app.command(cls=Command)
def attest(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="TARGET...", help="as for plan; by default every record of the scale"),
    ] = None,
    scale: ScaleOption = None,
    sample: Annotated[
        int, typer.Option(metavar="N", min=1, help="Runs to train again; at least one for each edited code.")
    ] = 12,
    seed: Annotated[int, typer.Option(metavar="S", help="Seed of the choice of the sample.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be attested, the sample, and its cost.")
    ] = False,
) -> None:
    """After an edit of the code that changes no number: train a sample of the stale runs again, and keep all records.

    Each run and each split must come out bit for bit the same, on the same kind of device.
    Then a file in results/SCALE/attestations/ (commit it) keeps the records current.
    A single difference, and nothing is attested. Exit code 1 if a record stays stale,
    75 if it was stopped: the same command goes on.

    [dim]reweigh attest --scale paper --dry-run[/dim]

    [dim]reweigh attest paper/tdr/mnist-4v9 --sample 20 --seed 1[/dim]
    """
    from reweigh.provenance.attest import main as run_attest

    raise typer.Exit(run_attest(targets or [], scale_named(scale), sample, seed, dry_run))


@app.command(cls=Command)
def crate(
    scale: ScaleOption = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="PLACE", help="A folder or a .zip; crates/SCALE.zip by default.")
    ] = None,
) -> None:
    """Pack all that has been run as a Workflow Run RO-Crate: records, figures, code, config and sources of the data.

    [dim]reweigh crate --scale paper --to crates/paper.zip[/dim]
    """
    from reweigh.provenance.crate import write as write_crate

    place, what = write_crate(scale_named(scale), to)
    say(f"{place}: {what}")


app.command(cls=Command)(compare.compare)
app.command(cls=Command)(planning.plan)
app.command(cls=Command)(planning.fill)


@app.command(cls=Command)
def tune(
    paper: Annotated[str, typer.Argument(metavar="PAPER", help="a paper whose config has rules of tuning")],
    scale: Annotated[str, typer.Option("--scale", help="smoke, quick or paper")] = "paper",
    blocks: Annotated[bool, typer.Option("--blocks", help="Print the choice as blocks of config.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write them to the paper's experiments/chosen.yaml.")] = False,
) -> None:
    """Print the values that the tuning runs choose, by the rules in the paper's config, and those in use.

    [dim]reweigh tune absgd[/dim]

    [dim]reweigh tune compare --write[/dim]
    """
    if blocks or write:
        from reweigh.analysis.chosen import main as chosen

        say(f"wrote {chosen(paper, scale_named(scale), write)}" if write else chosen(paper, scale_named(scale)))
        return
    from reweigh.analysis.tuning import main as run_tune

    run_tune(paper, scale_named(scale))


@app.command(cls=Command)
def bench(
    groups: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="GROUP...",
            help="packed, throughput, steps, hypergradients, bookkeeping, graphs (GPU), grid; all of these if none is "
            "named; app-a, hessian",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Rounds; in each, the contenders of a group take turns.")] = 7,
) -> None:
    """Time training on this machine (minutes). If all groups run, a csv and a figure are written to results/bench.

    app-a times what Appendix A of TDR says of cost, hessian what AutoBalance's search takes by each route to a
    Hessian-vector product. Each has a csv of its own there.

    [dim]reweigh bench steps --rounds 5[/dim]
    """
    from reweigh.bench import main as run_bench

    run_bench(groups, rounds)


app.command(cls=Command)(planning.new)
app.command(cls=Command)(own.check)


app.command(cls=Command)(gpu.pack)
app.command("gpu-check", cls=Command)(gpu.gpu_check)


@app.command(cls=Command)
def doctor() -> None:
    """Print what this machine has: versions, devices and who holds them, data sets, disk space.

    [dim]reweigh doctor[/dim]
    """
    from reweigh.data import manifest
    from reweigh.planning.doctor import facts

    print_table([{"what": what, "found": value} for what, value in facts()])
    say()
    print_table(dataset_rows(manifest.status()))


@app.command(cls=Command)
def schema(
    records: Annotated[
        bool, typer.Option("--records", help="The schema of records (config/record.schema.json).")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare with the file in config/ instead; fails if they differ.")
    ] = False,
) -> None:
    """Print the JSON schema of config.yaml and of the papers' files (as in config/schema.json), or that of records.

    [dim]reweigh schema > config/schema.json[/dim]
    """
    from reweigh.provenance.schemas import main as run_schema

    run_schema(records, check)


def main() -> None:
    """Entry point. An error that the user can act on is printed in one line, without a traceback."""
    print_all_letters()
    os_errors.warn_of_little_memory()
    code = _exit_code()
    left = flushed()
    if left is not None and code == 0:
        code = _said(left)
    sys.exit(code)


def _exit_code() -> int:
    """Run the command that the arguments name; its exit code. An error of the program itself is raised."""
    try:
        root = home.above(Path()) or Path()
        fonts.keep_list_here(root)
        own_code.check(root)
        app()
    except ReweighError as error:
        print(f"reweigh: {harmless(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except SystemExit as end:  # how Typer ends, always
        if isinstance(end.__context__, BrokenPipeError):  # Typer and rich say 1, as if something were wrong
            return READER_LEFT
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (OSError, MemoryError, ImportError) as error:
        if not isinstance(error, BrokenPipeError) and os_errors.in_words(error) is None:
            raise
        return _said(error)
    return 0


def _said(error: BaseException) -> int:
    """Print an error of the machine in one line, but in silence if nobody reads any more; the exit code."""
    if isinstance(error, BrokenPipeError):
        return READER_LEFT
    with contextlib.suppress(OSError):  # stderr may be on the same full disk
        print(f"reweigh: {harmless(os_errors.in_words(error) or str(error))}", file=sys.stderr)
    return 1
