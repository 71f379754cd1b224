"""What README and docs show of `reweigh explain`, `audit` and `bench`, as the program prints it in a clone of HEAD.

    make pages

So commit records, figures and attestations first. The speeds are those of the csv files in results/bench. A page may
leave lines out (`...` on a line of its own) and cut lines short (`...` at the end); that stays as it is. Each line that
is no longer printed becomes the printed line that is most like it, in the order of printing. `tests/test_readme.py`
tests that the pages are current.
"""

import difflib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from reweigh.bench import APART, table
from reweigh.scorecard import readme

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/audit.md")
SHOWN = re.compile(r"```console\n\$ reweigh (explain [^\n]+|audit --scale paper)\n(.*?)```", re.DOTALL)
CUT = "..."
VARYING = re.compile(r"\b[0-9a-f]*[0-9][0-9a-f.]*\b")


def updated(shown: str, printed: str) -> str:
    """A block of a page, with the lines that are printed now; what it leaves out and cuts short stays so.

    Lines stay in the order in which they are printed: a run's record is not shown below another run.
    """
    rest, now = [line.rstrip() for line in printed.splitlines()], []
    for line in shown.splitlines():
        if line.strip(" │").removesuffix(CUT):
            place, line = _printed(line, rest)
            rest = rest[place + 1 :]
        now.append(f"{line}\n")
    return "".join(now)


def _printed(shown: str, rest: list[str]) -> tuple[int, str]:
    """The place of a line among those still to come, and the line: itself or the most similar, cut after as many words.

    Raises ValueError if none is to come: then the block must be shortened by hand.
    """
    start, is_cut = shown.removesuffix(CUT), shown.endswith(CUT)
    fits = [place for place, line in enumerate(rest) if (line.startswith(start) if is_cut else line == shown)]
    if fits:
        return fits[0], shown
    words = len(start.split()) if is_cut else None
    cut = [
        " ".join(line.split(" ")[: line.count(" ") + 1 - len(line.split()) + words]) if words else line for line in rest
    ]
    if not cut:
        raise ValueError(f"nothing like this is printed any more, after the lines above it: {shown}")
    place = max(range(len(cut)), key=lambda place: _likeness(start, cut[place]))  # of several the first
    return place, cut[place] + (f" {CUT}" if start.endswith(" ") else CUT) * is_cut


def _likeness(one: str, other: str) -> float:
    """How alike two lines are but for their numbers, names of seeds and digests."""
    return difflib.SequenceMatcher(None, VARYING.sub("#", one), VARYING.sub("#", other), autojunk=False).ratio()


def printed(command: str, clone: Path) -> str:
    """What a command of `reweigh` prints in a clone, on a machine without a mirror of the raw data."""
    environment = {name: value for name, value in os.environ.items() if name != "REWEIGH_MIRROR"}
    environment["PYTHONPATH"] = str(clone / "src")
    called = [sys.executable, "-m", "reweigh.cli", *command.split()]
    return subprocess.run(
        called, cwd=clone, env=environment, capture_output=True, text=True, check=False, encoding="utf-8"
    ).stdout


def speeds() -> None:
    """Write the tables of docs/speed.md again, from the csv files of the bench."""
    path = ROOT / "docs/speed.md"
    path.write_text(
        table.with_measured(path.read_text(encoding="utf-8"), table.read(ROOT / table.CSV)), encoding="utf-8"
    )
    for name in APART:
        readme.put(path, name, table.whole_table(table.read(ROOT / table.CSV.with_name(f"{name}.csv"))))


def main() -> None:
    """Write the pages again."""
    speeds()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
        for name in PAGES:
            path = ROOT / name
            text = path.read_text(encoding="utf-8")
            for command, shown in SHOWN.findall(text):
                text = text.replace(shown, updated(shown, printed(command, Path(folder))))
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
