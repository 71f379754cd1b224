"""The pages that a newcomer reads, and the command line in a copy of the project."""

import re
import subprocess
import sys

from support.project import ROOT, environment

PAGES = ("README.md", "CONTRIBUTING.md", *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md")))


def page(name):
    """The text of a page, by its path in the project."""
    return (ROOT / name).read_text()


README, CONTRIBUTING = page("README.md"), page("CONTRIBUTING.md")


def blocks(text, language):
    """The fenced blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def table(text):
    """The rows of the first Markdown table in a text, each a list of cells, without the line of dashes."""
    lines = re.search(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if set("".join(row)) != {"-"}]


def reweigh(folder, *arguments):
    """Run a command of `reweigh` in a folder that holds the project."""
    return subprocess.run(
        [sys.executable, "-c", "import sys; from reweigh.cli import main; sys.exit(main())", *arguments],
        cwd=folder,
        env=environment(PYTHONPATH=str(folder / "src")),
        capture_output=True,
        text=True,
    )
