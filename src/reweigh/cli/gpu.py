"""The commands for a GPU machine: `reweigh pack` and `reweigh gpu-check`. What is heavy is imported late."""

from pathlib import Path
from typing import Annotated

import typer

from reweigh.errors import TrainingError

OWN = Path(".reweigh") / "gpu-check"  # what `reweigh gpu-check` writes for itself where no folder of specs is named
SCALE = "paper"


def pack(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a folder of specs, from: reweigh plan --specs DIR")],
    limit: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="What images may take, e.g. 30M; later runs stay at home."),
    ] = None,
) -> None:
    """Complete a folder of specs for a machine that has neither the data nor a network: images, splits, digests.

    Of a data set that does not come with the project, the images that the runs use travel, packed without loss.
    Everything goes to DIR/packed.

    [dim]reweigh plan paper/absgd/cifar10/lt-rho100 --specs specs[/dim]

    [dim]reweigh pack specs --limit 30M[/dim]
    """
    from reweigh.planning.pack import main

    main(folder, limit)


def gpu_check(
    specs: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Specs to train then; by default those of `reweigh fill --list`."),
    ] = None,
    time: Annotated[str, typer.Option("--for", metavar="T", help="How long in all, e.g. 10m.")] = "10m",
    device: Annotated[str, typer.Option(metavar="D", help="cuda; or cpu: a rehearsal with small sizes.")] = "cuda",
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="By default results/bench/gpu-check-DATE.log.")
    ] = None,
    home: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write archives of the log and the new records to DIR.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="STAGE", help="A stage; may be repeated.")] = None,
) -> None:
    """Check a GPU before its numbers count, then train missing runs with the time that is left.

    The same as python -m reweigh.training.gpu_check, which needs torch, numpy and pyyaml alone. See docs/gpu.md.
    Exit code 1 if a check failed, or a stage checked nothing.

    [dim]reweigh gpu-check --device cpu --for 5m[/dim]

    [dim]reweigh gpu-check --specs specs --for 10m --home out[/dim]
    """
    from reweigh.planning.pack import own_specs, write_cases
    from reweigh.training.gpu_check.__main__ import main

    try:
        if specs is None and device == "cuda" and (not only or "training" in only):
            specs = own_specs(OWN / "specs", SCALE)
        cases = write_cases(OWN / "cases.json", specs)
    except OSError as error:
        raise TrainingError(f"{OWN}: cannot be written ({error.strerror or error}); make room for it first") from None
    arguments = ["--for", time, "--device", device]
    for name, value in (("--specs", specs), ("--log", log), ("--home", home)):
        arguments += [] if value is None else [name, str(value)]
    arguments += ["--only", *only] if only else []
    raise typer.Exit(main(arguments, cases))
