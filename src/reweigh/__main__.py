"""The command `reweigh`, also `python -m reweigh`. Without the pipeline's packages it says in one line what to install.

`pip install reweigh` brings the library alone (`reweigh.torch`) and what trains a run (`python -m reweigh.training`).
"""

import sys

# What the extra `pipeline` of pyproject.toml installs, by the names that are imported.
PIPELINE = {
    "IPython", "PIL", "click", "ipykernel", "jinja2", "markupsafe", "matplotlib", "nbformat", "packaging", "pandas",
    "papermill", "pooch", "pydantic", "rich", "rocrate", "scipy", "sklearn", "snakemake", "torchvision", "tqdm",
    "typer",
}  # fmt: skip


def main() -> None:
    """Entry point: `reweigh.cli.main`, or what to install for it; then exit code 1. Ctrl-C ends it with 130."""
    try:
        from reweigh.cli import main as command_line

        command_line()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in PIPELINE:
            raise
        print(f'reweigh: {error.name} is not installed; the pipeline needs: pip install "reweigh[pipeline]"',
              file=sys.stderr)  # fmt: skip
        sys.exit(1)
    except KeyboardInterrupt:  # before the command itself began, which says more
        print("reweigh: stopped by Ctrl-C; nothing had begun", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
