"""The README, and the command line in a copy of the project."""

import subprocess
import sys

from support.project import ROOT, environment

README = (ROOT / "README.md").read_text()


def reweigh(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-c", "import sys; from reweigh.cli import main; sys.exit(main())", *arguments],
        cwd=folder,
        env=environment(PYTHONPATH=str(folder / "src")),
        capture_output=True,
        text=True,
    )
