"""The scorecard as one HTML page without dependencies: no network and no other file; JavaScript only adds comfort.

The tables are plain HTML. A JSON object in the page holds the chain behind every line. The page's script reads it to
show the runs, splits and raw files behind a number that a reader selects; what runs share is stored once. The page
depends on nothing but lines, config and records, so the same of them give the same bytes.
"""

import base64
import hashlib
import json
import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from reweigh import metrics
from reweigh.analysis.tables import expand_runs
from reweigh.config.grid import Config
from reweigh.config.specs import OF_PAPERS
from reweigh.records import lineage
from reweigh.scorecard.heatmap import Panel, panels
from reweigh.scorecard.rates import false_decisions
from reweigh.scorecard.text import RULE, TEST_NAMES, p_value, remarks

FOLDER = Path(__file__).parent

# Every verdict: a symbol, because not everyone can tell colours apart, and its meaning in half a sentence.
NUMBER_VERDICTS = {
    "replicated": ("=", "our 90 % interval lies within twice the tolerance of the published value"),
    "better": ("↑", "our 95 % interval lies wholly beyond the published value and its tolerance, on the better side"),
    "worse": ("↓", "our 95 % interval lies wholly beyond the published value and its tolerance, on the worse side"),
    "inconclusive": ("?", "we have too few runs, or they scatter too much, to decide"),
    "degenerate": ("∅", "all our runs diverged, predict one class or did not move: they decide nothing"),
    "not run": ("·", "we have no runs to compare; the note says why"),
    "not reported": ("–", "the paper leaves the cell empty"),
    "not comparable": (
        "≠",
        "our runs were cut short, or are on data that stand in for the paper's; the note says it",
    ),
    "not judged": ("×", "a misprint, or a method that is not implemented; the note says which"),
}
CLAIM_VERDICTS = {
    "holds": ("✓", "our runs show it, corrected p below 0.05"),
    "fails": ("✗", "our runs show the opposite, corrected p below 0.05"),
    "inconclusive": ("?", "our runs show neither"),
    "degenerate": ("∅", "all runs of a side diverged, predict one class or did not move: it cannot hold"),
    "not run": ("·", "runs that it needs are missing"),
}
VERDICTS = {**CLAIM_VERDICTS, **NUMBER_VERDICTS}
SILENT = ("not run", "not reported", "not judged")  # verdicts that may do without runs: such lines are folded at first
UNSCALED = (*SILENT, "not comparable")  # verdicts that do not begin with the name of a smaller scale
AXIS = 50  # half the width of a small plot, in its own units
KEPT = (  # the columns of a line that the page's script reads
    "paper", "kind", "id", "key", "where", "text", "title", "value_set", "panel", "value", "metric", "dataset",
    "methods", "verdict", "published", "published_sd", "mean", "sd", "low", "high", "difference", "gain", "gain_low",
    "gain_high", "published_gain", "effect", "effect_low", "effect_high", "n", "p", "p_holm", "note", "records",
)  # fmt: skip

Row = dict[str, Any]


def page(config: Config, scale: str, lines: pd.DataFrame, records: dict[str, dict[str, Any]]) -> str:
    """The page of a scale. `lines` are those of `score`; `records` are those that they were scored from, by run."""
    rows = rows_of(config, lines)
    papers = [
        _paper(
            config,
            name,
            [row for row in rows if row["paper"] == name],
            false_decisions(lines[lines["paper"] == name]).text if scale == "paper" else "",
        )
        for name in _distinct(rows, "paper")
    ]
    style, script = ((FOLDER / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return _template().render(
        scale=scale,
        other_scales=[name for name in reversed(OF_PAPERS) if name != scale],
        papers=papers,
        runs=len({run for row in rows for run, _ in row["values"]}),
        unscaled=UNSCALED,
        kinds={"claim": CLAIM_VERDICTS, "number": NUMBER_VERDICTS},
        rule=_markdown(RULE),
        filters=_filters(rows),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=Markup(_json(data_of(scale, rows, records))),
    )


# --- lines -----------------------------------------------------------------------------------------------------------


def rows_of(config: Config, lines: pd.DataFrame) -> list[Row]:
    """The lines with what the page needs besides.

    place (in the csv, from 0), key (the id, after the paper's name where two papers share it), plain (the verdict
    without its scale), dataset, methods and titles (of everything in the line), values (run and metric of each run;
    the metric's value is filled in from its record).
    """
    shared = {name for name, count in Counter(lines["id"]).items() if count > 1}
    rows = [
        {name: _plain(value) for name, value in zip(lines.columns, values, strict=True)}
        for values in lines.itertuples(index=False)
    ]
    with_runs = [row for row in reversed(rows) if row["kind"] == "number" and row["experiment"]]
    similar = {(row["paper"], text): row for row in with_runs for text in (row["text"], _dataset(row))}
    lines_with_runs_first = sorted(enumerate(rows), key=lambda numbered: not numbered[1]["experiment"])
    for place, row in lines_with_runs_first:
        row["place"], row["n"] = place, int(row["n"] or 0)
        row["key"] = f"{row['paper']}/{row['id']}" if row["id"] in shared else row["id"]
        row["fragment"] = "number=" + quote(row["key"], safe="/,:@§'()*!~")
        row["plain"] = row["verdict"].rpartition(": ")[2]
        row["values"] = [(run, row["metric"]) for run in expand_runs(row["runs"] or "")]
        row["where"] = _spaced(row["source"])
        row["note"] = row["note"] or ""
        _place(config, row, similar)
    return rows


def _place(config: Config, row: Row, similar: dict[tuple[str, str], Row]) -> None:
    """Add data set, methods and the place of a line; a number without runs keeps the names that the paper prints.

    `similar` has lines with an experiment, by paper and what that prints: data set and setting, or the data set alone.
    """
    if row["experiment"]:
        paper, experiment = config.paper(row["paper"]), config.experiment(row["paper"], row["experiment"])
        row["dataset"], row["panel"] = experiment.dataset, experiment.title
        row["methods"] = [*(row["method"] or "").split(), *(row.get("against") or "").split()]
        row["titles"] = [paper.methods[name].title for name in row["methods"]]
        return
    start, end = f"{row['source']}/{row['text'].replace(', ', '/', 1)}/", f"/{row['metric']}"
    printed = row["id"].removeprefix(start).removesuffix(end)
    methods = config.paper(row["paper"]).methods
    by_title = {method.title.replace(" ", ""): (name, method.title) for name, method in methods.items()}
    name, row["title"] = by_title.get(printed.replace(" ", ""), (printed, printed))
    row["methods"], row["titles"] = [name], [row["title"]]
    same = similar.get((row["paper"], row["text"]))
    row["value"] = same["value"] if same else None
    twin = same or similar.get((row["paper"], _dataset(row)))
    row["dataset"], row["panel"] = (twin["dataset"], twin["panel"]) if twin else (_dataset(row),) * 2


def _dataset(row: Row) -> str:
    """The data set of a number as the paper prints it."""
    return row["text"].partition(", ")[0]


def _plain(value: Any) -> Any:
    """A value of a data frame as JSON has it: None for a missing one, six digits as in the csv."""
    if value is None or pd.isna(value):
        return None
    if isinstance(value, str):
        return value
    return float(f"{value:.6g}")


def _distinct(rows: list[Row], name: str) -> list[str]:
    return list(dict.fromkeys(row[name] for row in rows))


def _spaced(source: str) -> str:
    """`Table1` -> `Table 1`; what is not a name and a number stays."""
    return re.sub(r"^([A-Za-z]+)(\d+)$", r"\1 \2", source)


# --- what the template shows -----------------------------------------------------------------------------------------


def _paper(config: Config, name: str, rows: list[Row], chance: str) -> dict[str, Any]:
    paper = config.paper(name)
    numbers, claims = ([row for row in rows if row["kind"] == kind] for kind in ("number", "claim"))
    rules = {claim.id: claim for claim in paper.claims}
    for row in claims:
        row["test"], row["rule"] = TEST_NAMES[rules[row["id"]].test], rules[row["id"]].rule
        row["notes"], row["effects"] = remarks(row["note"], row["rule"])
    cuts = {row["experiment"]: row["scale_note"] for row in rows if row["scale_note"]}
    of_tables = [_table(source, numbers) for source in _distinct(numbers, "source")]
    return {
        "name": name,
        "paper": paper,
        "counts": {"number": _verdict_counts(numbers), "claim": _verdict_counts(claims)},
        "totals": {"number": len(numbers), "claim": len(claims)},
        "chance": chance,
        "cuts": {config.experiment(name, key).title: " ".join(cut.split()) for key, cut in cuts.items()},
        "claims": {
            "found": [row for row in claims if not _silent([row])],
            "idle": [row for row in claims if _silent([row])],
            "folded": _silent(claims),
        },
        "tables": of_tables,
        "folded_maps": sum(table["folded"] for table in of_tables),
    }


def _verdict_counts(rows: list[Row]) -> Counter[str]:
    return Counter(sorted((row["plain"] for row in rows), key=_order))


def _table(source: str, numbers: list[Row]) -> dict[str, Any]:
    """One table or figure of a paper: its heat maps, and its lines in the same groups, each with its common note.

    Lines without a run of ours (`idle`) stand apart from what was found.
    """
    rows = [row for row in numbers if row["source"] == source]
    maps = panels(rows)
    reach = 1.2 * max((abs(length) for row in rows for length in _lengths(row)), default=0.0)
    for row in rows:
        row["plot"] = _plot(row, reach)
    return {
        "title": _spaced(source),
        "panels": maps,
        "reach": reach,
        "counts": Counter(sorted((row["verdict"] for row in rows), key=_order)),
        "found": [group for panel in maps if (group := _group(panel, idle=False))["rows"]],
        "idle": [group for panel in maps if (group := _group(panel, idle=True))["rows"]],
        "without": sum(_silent([row]) for row in rows),
        "folded": _silent(rows),
    }


def _group(panel: Panel, idle: bool) -> dict[str, Any]:
    """The lines of a heat map that have runs, or those that have none, with the note that they share."""
    rows = [row for row in panel.rows if _silent([row]) == idle]
    notes = {row["note"] for row in rows}
    return {"title": panel.title, "rows": rows, "note": notes.pop() if len(notes) == 1 else ""}


def _silent(rows: list[Row]) -> bool:
    """Whether no line has a run of ours. A number that is not judged may have some."""
    return all(row["plain"] in SILENT and not row["values"] for row in rows)


def _lengths(row: Row) -> list[float]:
    """What the axis of a small plot must cover: the difference and the tolerance, but not a wide interval."""
    return [] if row["difference"] is None else [row["difference"], _tau(row)]


def _plot(row: Row, reach: float) -> dict[str, float] | None:
    """The small plot of one line: our mean and interval minus the published value, and ± the tolerance around 0."""
    if row["difference"] is None or not reach:
        return None
    low, high = (row["difference"] if row[end] is None else row[end] - row["published"] for end in ("low", "high"))
    ends = {"tau": _tau(row), "low": low, "high": high, "mean": row["difference"]}
    return {name: round(max(-1.2 * AXIS, min(1.2 * AXIS, AXIS * end / reach)), 1) for name, end in ends.items()}


def _tau(row: Row) -> float:
    return metrics.of(row["metric"]).tolerance_of(row["published"], row["published_sd"])


def _filters(rows: list[Row]) -> dict[str, list[tuple[str, str]]]:
    """The filters' choices: value and text of each paper, kind, data set, method and verdict that some line has."""
    methods = {name: title for row in rows for name, title in zip(row["methods"], row["titles"], strict=True)}
    return {
        "paper": [(name, name.upper()) for name in _distinct(rows, "paper")],
        "kind": [(name, f"{name}s") for name in _distinct(rows, "kind")],
        "dataset": [(name, name) for name in sorted(_distinct(rows, "dataset"))],
        "method": sorted(methods.items(), key=lambda method: method[1].casefold()),
        "verdict": [(name, name) for name in sorted(_distinct(rows, "verdict"), key=_order)],
    }


def _order(verdict: str) -> int:
    return [*NUMBER_VERDICTS, *CLAIM_VERDICTS].index(verdict.rpartition(": ")[2])


# --- chains ----------------------------------------------------------------------------------------------------------


class _Pool:
    """Values that many runs share, each kept once; `add` returns its place."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def add(self, value: Any) -> int:
        key = json.dumps(value, sort_keys=True)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


def data_of(scale: str, rows: list[Row], records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the page's script reads: `lines`, the `runs` behind them, and lists of what runs share.

    A line's `runs` are pairs: the place of a run in `runs`, and its value of the line's metric (None if single runs
    have no such metric). A run that has no record has only its name.
    """
    pools = {name: _Pool() for name in ("made", "splits", "files")}
    runs: dict[str, int] = {}
    bodies: list[Any] = []
    lines = []
    for row in rows:
        pairs = []
        for run, metric in row["values"]:
            if run not in runs:
                runs[run] = len(bodies)
                bodies.append(_run(records[run], pools) if run in records else {"run": run})
            value = lineage.value_of(records[run], metric) if run in records else None
            pairs.append([runs[run], value if isinstance(value, int | float) else None])  # not one for each group
        lines.append({**{name: row[name] for name in KEPT if row.get(name) is not None}, "runs": pairs})
    shared = {name: pool.values for name, pool in pools.items()}
    return {"scale": scale, "csv": f"results/{scale}/scorecard.csv", "lines": lines, "runs": bodies, **shared}


def _run(body: dict[str, Any], pools: dict[str, _Pool]) -> dict[str, Any]:
    """What a record states about its run, in the form that the page's script reads."""
    facts = lineage.facts(body)
    split = facts.pop("split")
    sizes = {part: [sum(counts), len(counts), min(counts), max(counts)] for part, counts in split["sizes"].items()}
    sizes = {part: size for part, size in sizes.items() if size[0]}
    kept = {name: split[name] for name in ("path", "digest", "recipe_digest", "seed")}
    made = {name: facts.pop(name) for name in ("code", "git", "environment", "device")}
    files = [pools["files"].add(file) for file in facts.pop("raw")]
    facts.pop("value", None)
    return {
        **facts,
        "made": pools["made"].add(made),
        "split": pools["splits"].add({**kept, "kind": split["recipe"]["kind"], "sizes": sizes}),
        "files": files,
    }


# --- text ------------------------------------------------------------------------------------------------------------


def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "number": _number,
        "signed": partial(_number, sign="+"),
        "short": partial(_number, digits=3),
        "p": p_value,
        "symbol": lambda verdict: VERDICTS[verdict][0],
        "css": lambda verdict: "v-" + verdict.replace(" ", "-"),
        "metric": lambda name: metrics.of(name).label,
        "ticks": _ticks,
    }
    return environment.from_string((FOLDER / "page.html").read_text(encoding="utf-8"))


def _number(value: Any, digits: int = 4, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.{digits}f}".replace("-", "−")


def _ticks(text: str) -> Markup:
    """A text, such as a note, with `code` between backticks, as HTML."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _markdown(text: str) -> Markup:
    """The subset of Markdown that the rule is written in: `code`, *emphasis* and [links](address)."""
    html = re.sub(r"\*([^*]+)\*", r"<em>\1</em>", str(_ticks(text)))
    return Markup(re.sub(r"\[([^\]]+)\]\(([^)]+)\)", r'<a href="\2">\1</a>', html))


def _json(value: Any) -> str:
    """JSON that is safe inside a script element: it can neither end the element nor open a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    """The source expression by which a Content-Security-Policy allows this text and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
