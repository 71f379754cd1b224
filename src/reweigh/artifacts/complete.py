"""Whether the records are there that an artifact needs. Without them it is rendered only if that is asked for."""

from pathlib import Path

from reweigh.config.loading import load
from reweigh.config.names import ArtifactName
from reweigh.errors import ReweighError
from reweigh.records.record import record_path


def check(artifact: str, root: str | Path = ".") -> None:
    """Raise ReweighError, with the ways to go on, if a run that an artifact needs at its scale has no record.

    What it draws only where records exist (`optional`, and the methods beside) may be missing.
    """
    config, name = load(root), ArtifactName.parse(artifact)
    runs = [run for cell in config.cells_of(*name) for run in config.runs_of(cell)]
    if missing := [run for run in runs if not (config.root / record_path(run)).is_file()]:
        raise ReweighError(
            f"{name.stem}: {len(missing)} of {len(runs)} records are missing ({missing[0]} is the first); train them: "
            f"snakemake --cores all -- {name.stem}.pdf; or show them as not run: "
            f"reweigh render {name.stem} --missing skip"
        )
