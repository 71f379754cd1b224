"""What the pages say of a paper's results, in sentences whose numbers are looked up: no number is copied by hand.

`docs/prose/PAPER/README.md` and `found.md` are Jinja templates. `reweigh scorecard --scale paper --readme` fills them
from the claims, the figures' csv files, the records and the bench, and puts them into README.md and docs/found.md. What
`docs/prose/PAPER/page.md` makes goes into docs/PAPER.md:

    At ρ = 0.005 they differ by {{ points("accuracy-at-0.005") }}: {{ verdict("accuracy-at-0.005", "inconclusive") }}.

A sentence that rests on a verdict names it; if the records decide otherwise by now, the page is not written, and the
error says which sentence must be rewritten. The same holds for `check`, which states what else a sentence assumes.
"""

import csv
import itertools
import re
import statistics
import textwrap
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from reweigh import metrics, spreadsheets
from reweigh.analysis import searches
from reweigh.analysis.degenerate import DIVERGED, ONE_CLASS, lost
from reweigh.analysis.gains import TIMES
from reweigh.analysis.rows import DIFFERENCE
from reweigh.config.grid import Config
from reweigh.errors import ReweighError
from reweigh.records import record
from reweigh.scorecard import text
from reweigh.stats import ALPHA

FOLDER = Path("docs/prose")
OWN = "page.md"  # the template of a page that a paper has to itself
SCALE = "paper"
WIDTH = 120  # of a line
UNBROKEN = ("|", "!", "#")  # how lines begin that are not wrapped: tables, pictures, headings


Records = Mapping[str, dict[str, Any]]


def of_page(config: Config, lines: pd.DataFrame, page: str, records: Records | None = None) -> str:
    """The sentences of all papers for a page, `README.md` or `found.md`, in the order of the config; Markdown.

    `lines`: the scorecard's, of scale `paper`; `records`, by run, are read unless they are given. Raises ReweighError,
    naming the template, if a number is not there or a verdict is not the one that a sentence rests on.
    """
    parts = []
    for paper in config.project.papers:
        if (config.root / FOLDER / paper / page).is_file():
            parts.append(filled(config, paper, lines[lines["paper"] == paper], page, records))
    return "\n\n".join(parts)


def own_pages(config: Config, lines: pd.DataFrame, records: Records | None = None) -> dict[str, str]:
    """The sentences of each paper that has a page of its own, docs/PAPER.md, by paper. Raises as `of_page` does."""
    return {
        paper: filled(config, paper, lines[lines["paper"] == paper], OWN, records)
        for paper in config.project.papers
        if (config.root / FOLDER / paper / OWN).is_file()
    }


def filled(config: Config, paper: str, lines: pd.DataFrame, page: str, records: Records | None = None) -> str:
    """One paper's template, filled. Raises ReweighError as `of_page` does."""
    loader = FileSystemLoader(config.root / FOLDER / paper)
    environment = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, autoescape=False, extensions=["jinja2.ext.do"]
    )
    facts = Facts(config, paper, lines, records)
    environment.globals |= {name: getattr(facts, name) for name in dir(Facts) if not name.startswith("_")}
    try:
        return wrapped(environment.get_template(page).render())
    except (TemplateError, ReweighError) as error:
        raise ReweighError(f"{FOLDER}/{paper}/{page}: {error}") from error


def wrapped(markdown: str) -> str:
    """Paragraphs and items wrapped anew: a number may be longer than what looked it up."""
    blocks: list[list[str]] = [[]]
    for line in map(str.strip, markdown.splitlines()):
        alone = not line or line.startswith(UNBROKEN)
        if alone or line.startswith("* "):
            blocks.append([])
        blocks[-1].append(line)
        if alone:
            blocks.append([])
    return "\n".join(_block(" ".join(block)) for block in blocks if block).strip()


def _block(line: str) -> str:
    if line.startswith(UNBROKEN):
        return line
    indent = "  " if line.startswith("* ") else ""
    glued = line.replace(" = ", "\0=\0")  # `n = 5` stays in one line
    wrapper = textwrap.TextWrapper(WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return wrapper.fill(glued).replace("\0", " ")


class Facts:
    """What a template may look up of one paper; each method is a function of the templates."""

    def __init__(self, config: Config, paper: str, lines: pd.DataFrame, records: Records | None = None) -> None:
        self._root, self._config, self._paper = config.root, config, paper
        self._claims = {row["id"]: row for row in lines[lines["kind"] == "claim"].to_dict("records")}
        self._lines, self._known = lines, records

    # --- claims ------------------------------------------------------------------------------------------------------

    def verdict(self, claim: str, expected: str) -> str:
        """The verdict on a claim, which must be the expected one."""
        found = self._claim(claim)["verdict"]
        self.check(found == expected, f"it says that {claim} is {expected!r}; it is {found!r}")
        return expected

    def now(self, claim: str) -> str:
        """The verdict on a claim as it is, for a sentence that is right whatever it says."""
        return f"`{self._claim(claim)['verdict']}`"

    def told(self, claim: str, sign: int = 1) -> str:
        """The same, with the effect in points where there is one."""
        known = not pd.isna(self._claim(claim)["effect"])
        return f"{self.now(claim)}, {self.points(claim, sign)}" if known else self.now(claim)

    def logged(self, claim: str) -> str:
        """The verdict on what runs logged, with its mean where there is one."""
        known = not pd.isna(self._claim(claim)["effect"])
        return f"{self.now(claim)}, {self.value(claim)}" if known else self.now(claim)

    def check(self, holds: bool, what: str) -> str:
        """Nothing, if what a sentence assumes is so."""
        if not holds:
            raise ReweighError(f"{what}; rewrite the sentence")
        return ""

    def points(self, claim: str, sign: int = 1, signed: bool = True) -> str:
        """A difference of shares in points, with its interval and n; `sign=-1` turns it round."""
        return self._effect(claim, 100 * sign, "+.1f" if signed else ".1f", " points")

    def ratio(self, claim: str) -> str:
        """A ratio with its interval and n; the bound alone where the interval is open."""
        return self._effect(claim, 1, ".3g", " ×")

    def value(self, claim: str, digits: int = 3) -> str:
        """An effect in its own unit, with its interval and n."""
        return self._effect(claim, 1, f".{digits}f", "")

    def effects(self, claim: str) -> list[float]:
        """A claim's effects at its places."""
        told = re.search(r"; effects: ([^;]*)", self._claim(claim)["note"])
        found = [float(one) for one in re.findall(r"([+-]?[\d.]+) at ", told[1])] if told else []
        self.check(bool(found), f"{claim} has no effects at several places")
        return found

    def places(self, claim: str, form: str = ".3g") -> str:
        """The least and the largest of a claim's effects at its places."""
        found = self.effects(claim)
        return f"{_number(min(found), form)} to {_number(max(found), form)}"

    def in_print(self, claim: str) -> str:
        """What the paper's own tables say of a claim about them."""
        told = re.search(r"; in print \([^)]*\): (.*)", self._claim(claim)["note"])
        self.check(told is not None, f"{claim} counts nothing in print")
        return told[1] if told else ""

    def count(self, kind: str, verdict: str | None = None) -> int:
        """How many `number`s or `claim`s the scorecard has, of one verdict if one is named."""
        chosen = self._lines[self._lines["kind"] == kind]
        return len(chosen if verdict is None else chosen[chosen["verdict"] == verdict])

    def slips(self) -> int:
        """How many slips of the paper its config notes."""
        return len(self._config.paper(self._paper).findings)

    def _claim(self, name: str) -> dict[str, Any]:
        if name not in self._claims:
            raise ReweighError(f"the scorecard has no claim {name!r} of {self._paper}")
        return self._claims[name]

    def _effect(self, claim: str, factor: int, form: str, unit: str) -> str:
        row = self._claim(claim)
        effect, *ends = (row[key] * factor for key in ("effect", "effect_low", "effect_high"))
        self.check(not pd.isna(effect), f"{claim} has no effect yet")
        inside = [] if any(map(pd.isna, ends)) else [f"{_number(min(ends), form)} to {_number(max(ends), form)}"]
        beside = ", ".join([*inside, f"n = {row['n']:.0f}"])
        return f"{_number(effect, form)}{unit} ({beside})"

    # --- figures -----------------------------------------------------------------------------------------------------

    def mean(self, figure: str, value: str, method: str, digits: int = 3, **where: str) -> str:
        """A mean over seeds in a figure's csv; `where`: `metric` if it is not test accuracy, `experiment`."""
        means = self._means(figure, **where)
        self.check((value, method) in means, f"{figure} shows no mean of {method} at {value}")
        return f"{means[value, method]:.{digits}f}"

    def span(self, figure: str, method: str, digits: int = 3, **where: str) -> str:
        """The first and the last of a method's means in a figure, in its order."""
        found = [mean for (_, name), mean in self._means(figure, **where).items() if name == method]
        self.check(len(found) > 1, f"{figure} shows no means of {method}")
        return f"{found[0]:.{digits}f} to {found[-1]:.{digits}f}"

    def table(self, figure: str, head: str, methods: list[str], digits: int = 3, **where: str) -> str:
        """A figure's means as a Markdown table, a line for each value, a column for each method."""
        means, rows = self._means(figure, **where), self._figure(figure)
        titles = {row["method"]: row["title"] for row in rows}
        for method in methods:
            self.check(method in titles, f"{figure} does not show {method}")
        values = list(dict.fromkeys(value for value, _ in means))
        cells = [
            [value, *(f"{means[value, one]:.{digits}f}" if (value, one) in means else "not run" for one in methods)]
            for value in values
        ]
        return text.table([head, *(titles[one] for one in methods)], cells)

    def gain(self, figure: str, *cell: str, metric: str = "mean_group_accuracy", short: bool = False) -> str:
        """A gain over the figure's baseline in points, with its interval and n, unless `short`.

        `cell`: experiment, setting, method; `metric`: of what.
        """
        row = self._line(figure, *cell, f"{metric}{DIFFERENCE}")
        mean, low, high = (_number(100 * float(row[key]), "+.1f") for key in ("mean", "low", "high"))
        return mean if short else f"{mean} points ({low} to {high}, n = {row['n']})"

    def tells(self, figure: str, *cell: str, metric: str = "mean_group_accuracy") -> int:
        """1 where a gain is above 0 by its p, with Holm's correction at the setting; -1 below 0; 0 where it is open."""
        row = self._line(figure, *cell, f"{metric}{DIFFERENCE}")
        told = bool(row["p_holm"]) and float(row["p_holm"]) < ALPHA
        return (1 if float(row["mean"]) > 0 else -1) if told else 0

    def times(self, figure: str, *cell: str) -> float:
        """How long a method takes over the figure's baseline of the same seeds, mean."""
        return float(self._line(figure, *cell, TIMES)["mean"])

    def _line(self, figure: str, *cell: str) -> dict[str, str]:
        for row in self._figure(figure):
            if tuple(row[key] for key in ("experiment", "setting", "method", "metric")) == cell and row["mean"]:
                return row
        raise ReweighError(f"{figure} has no {cell[3]} of {cell[2]} at {cell[0]}/{cell[1]}")

    def _means(self, figure: str, metric: str = "test_accuracy", experiment: str = "") -> dict[tuple[str, str], float]:
        return {
            (row.get("value") or row["setting"], row["method"]): float(row["mean"])
            for row in self._figure(figure)
            if row["metric"] == metric and row["mean"] and experiment in ("", row["experiment"])
            and not row.get("seed") and not row.get("epoch")
        }  # fmt: skip

    def _figure(self, name: str) -> list[dict[str, str]]:
        path = self._root / f"figures/{SCALE}/{self._paper}/{name}.csv"
        if not path.is_file():
            raise ReweighError(f"{path.relative_to(self._root)} is not there; draw it: reweigh render {path.stem}")
        with open(path, newline="", encoding="utf-8") as file:
            return spreadsheets.lines(csv.DictReader(file))

    # --- records and measurements ------------------------------------------------------------------------------------

    def ended(self, experiment: str, setting: str, method: str) -> dict[str, int]:
        """How many `runs` there are, how many are `lost`, and of these how many `diverged` or predict `one_class`.

        Setting `*`: at all settings.
        """
        whys = Counter(map(lost, self._records(experiment, setting, method)))
        runs = whys.total()
        return {"runs": runs, "lost": runs - whys[""], "diverged": whys[DIVERGED], "one_class": whys[ONE_CLASS]}

    def metric(self, experiment: str, setting: str, method: str, name: str, group: int | None = None) -> float:
        """The mean of a metric over the finished runs of a cell; of one of the metric's groups, if it is named."""
        values = [metrics.of_record(body)[name] for body in self._finished(experiment, setting, method)]
        return statistics.fmean(value if group is None else value[group] for value in values)

    def learning_rate(self, experiment: str, setting: str, method: str) -> float:
        """The learning rate that the runs of a cell begin with."""
        rates = {body["spec"]["training"]["learning_rate"] for body in self._records(experiment, setting, method)}
        self.check(len(rates) == 1, f"the runs of {method} have several rates")
        return float(rates.pop())

    def curve(self, experiment: str, setting: str, method: str, name: str, last: int = 1) -> float:
        """The mean of a curve's last epochs over the finished runs of a cell."""
        curves = [body["curves"][name][-last:] for body in self._finished(experiment, setting, method)]
        return statistics.fmean(itertools.chain.from_iterable(curves))

    def epochs_to(self, experiment: str, setting: str, method: str, accuracy: float) -> list[int | None]:
        """The epoch after which each run of a cell first has a test accuracy, by seed; None: never."""
        reached = []
        for body in self._records(experiment, setting, method):
            curves = zip(body["curves"]["epoch"], body["curves"]["test_accuracy"], strict=True)
            reached.append(next((epoch for epoch, value in curves if value is not None and value >= accuracy), None))
        return reached

    def largest_steps(self, experiment: str, setting: str, method: str, beyond: bool | None = None) -> list[float]:
        """The largest change of one value of α in an outer step of each search of a cell, from small to large.

        `beyond`: only of searches whose λ_max ever exceeded 2, or never did.
        """
        found = [searches.largest_step(body, str(self._root)) for body in self._records(experiment, setting, method)]
        kept = [step for step, most in filter(None, found) if beyond is None or (most > searches.LIMIT) == beyond]
        return sorted(kept)

    def measured(self, file: str, group: str, contender: str) -> str:
        """A ratio that `reweigh bench` measured: the first line of results/bench/FILE.csv whose group begins so."""
        with open(self._root / f"results/bench/{file}.csv", newline="", encoding="utf-8") as lines:
            found = [row for row in csv.DictReader(lines) if group in row["group"] and row["contender"] == contender]
        self.check(bool(found), f"results/bench/{file}.csv has no {contender!r} of {group!r}")
        return f"{float(found[0]['ratio']):.3g}"

    def run(self, experiment: str, setting: str, method: str) -> int:
        """How many finished runs a cell has; 0 where it was not run."""
        place = self._root / f"results/{SCALE}/{self._paper}/{experiment}/{setting}/{method}"
        return sum(self._read(path)["status"] == "finished" for path in sorted(place.glob("seed*.json")))

    def _records(self, experiment: str, setting: str, method: str) -> list[dict[str, Any]]:
        folder = f"results/{SCALE}/{self._paper}/{experiment}"
        names = list(self._config.experiment(self._paper, experiment).settings) if setting == "*" else [setting]
        paths = [self._root / folder / name / method for name in names]
        found = [self._read(path) for place in paths for path in sorted(place.glob("seed*.json"))]
        self.check(bool(found), f"there are no records of {experiment}/{setting}/{method}")
        return found

    def _read(self, path: Path) -> dict[str, Any]:
        run = path.relative_to(self._root / "results").with_suffix("").as_posix()
        return self._known[run] if self._known and run in self._known else record.read(path)

    def _finished(self, *cell: str) -> list[dict[str, Any]]:
        return [body for body in self._records(*cell) if body["status"] == "finished"]


def _number(value: float, form: str) -> str:
    shown = f"{value:{form}}"
    return (f"{0:{form}}" if float(shown) == 0 else shown).replace("-", "−")  # no minus of nothing
