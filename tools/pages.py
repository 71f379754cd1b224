"""What README and docs show of `reweigh explain`, `audit` and `bench`, as the program prints it in a clone of HEAD.

    make pages

So commit records, figures and attestations first. The speeds are those of the csv files in results/bench. A page may
leave lines out (`...` on a line of its own) and cut lines short (`...` at the end); that stays as it is. Each line that
is no longer printed becomes the printed line that is most like it. `tests/test_readme.py` tests that the pages are
current.
"""

import difflib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from reweigh.bench import table
from reweigh.scorecard import readme

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/audit.md")
SHOWN = re.compile(r"```console\n\$ reweigh (explain [^\n]+|audit --scale paper)\n(.*?)```", re.DOTALL)
CUT = "..."


def updated(shown: str, printed: str) -> str:
    """A block of a page, with the lines that are printed now; what it leaves out and cuts short stays so."""
    lines = [line.rstrip() for line in printed.splitlines()]
    return "".join(f"{_line(line, lines)}\n" for line in shown.splitlines())


def _line(shown: str, printed: list[str]) -> str:
    """The line itself, if it is printed or stands for others, else the most similar one, cut after as many words."""
    if not shown.strip(" │").removesuffix(CUT) or shown in printed:
        return shown
    start = shown.removesuffix(CUT)
    if start != shown and any(line.startswith(start) for line in printed):
        return shown
    if start == shown:
        return difflib.get_close_matches(shown, printed, n=1, cutoff=0)[0]
    words = len(start.split())
    cut = [" ".join(line.split(" ")[: len(line.split(" ")) - len(line.split()) + words]) for line in printed]
    return difflib.get_close_matches(start, cut, n=1, cutoff=0)[0] + (f" {CUT}" if start.endswith(" ") else CUT)


def printed(command: str, clone: Path) -> str:
    """What a command of `reweigh` prints in a clone, on a machine without a mirror of the raw data."""
    environment = {name: value for name, value in os.environ.items() if name != "REWEIGH_MIRROR"}
    environment["PYTHONPATH"] = str(clone / "src")
    called = [sys.executable, "-m", "reweigh.cli", *command.split()]
    return subprocess.run(called, cwd=clone, env=environment, capture_output=True, text=True, check=False).stdout


def speeds() -> None:
    """Write the tables of docs/speed.md again, from the csv files of the bench."""
    path = ROOT / "docs/speed.md"
    path.write_text(table.with_measured(path.read_text(), table.read(ROOT / table.CSV)))
    readme.put(path, "app-a", table.whole_table(table.read(ROOT / table.CSV.with_name("app-a.csv"))))


def main() -> None:
    """Write the pages again."""
    speeds()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
        for name in PAGES:
            path = ROOT / name
            text = path.read_text()
            for command, shown in SHOWN.findall(text):
                text = text.replace(shown, updated(shown, printed(command, Path(folder))))
            path.write_text(text)


if __name__ == "__main__":
    main()
