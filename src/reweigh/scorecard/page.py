"""The scorecard as one HTML page that needs nothing else: no network, no other file, and JavaScript for comfort only.

The tables are in the HTML itself. Beside them stands a JSON object with the chain behind every line, from which the
page's script shows the runs, splits and raw files of a number that a reader asks for; what runs share is in it once.
The page says only what lines, config and records say, so the same of them give the same bytes.
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

from reweigh import stats
from reweigh.analysis.tables import unpack
from reweigh.config.grid import Config
from reweigh.config.specs import SCALES
from reweigh.records import lineage
from reweigh.scorecard.heatmap import panels
from reweigh.scorecard.text import RULE, TEST_NAMES

FOLDER = Path(__file__).parent

# Every verdict: a symbol, as colours alone do not tell, and what it means in half a sentence.
NUMBER_VERDICTS = {
    "replicated": ("=", "the published value is within reach of our interval, and that is narrow"),
    "better": ("↑", "our interval lies wholly above the published value and its tolerance"),
    "worse": ("↓", "our interval lies wholly below it"),
    "inconclusive": ("?", "our runs are too few, or scatter too much, to say"),
    "not run": ("·", "nothing of ours to compare; the note says why"),
    "not reported": ("–", "the paper leaves the cell empty"),
    "not judged": ("×", "a misprint, or a method that is not here; the note says which"),
}
CLAIM_VERDICTS = {
    "holds": ("✓", "our runs show it, corrected p below 0.05"),
    "fails": ("✗", "our runs show the opposite, corrected p below 0.05"),
    "inconclusive": ("?", "our runs show neither"),
    "not run": ("·", "runs that it speaks of are missing"),
}
VERDICTS = {**CLAIM_VERDICTS, **NUMBER_VERDICTS}
SILENT = ("not run", "not reported", "not judged")  # verdicts that need no run: tables of nothing else start folded
AXIS = 50  # half the width of a small plot, in its own units

Row = dict[str, Any]


def page(config: Config, scale: str, lines: pd.DataFrame, records: dict[str, dict[str, Any]]) -> str:
    """The page of a scale. `lines` are those of `score`, `records` those that they were scored from, by run."""
    rows = rows_of(config, lines)
    papers = [_paper(config, name, [row for row in rows if row["paper"] == name]) for name in _distinct(rows, "paper")]
    style, script = ((FOLDER / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return _template().render(
        scale=scale,
        other_scales=[name for name in reversed(SCALES) if name != scale],
        papers=papers,
        runs=len({run for row in rows for run, _ in row["values"]}),
        silent=SILENT,
        kinds={"number": NUMBER_VERDICTS, "claim": CLAIM_VERDICTS},
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
    """The lines with what the page needs to know besides.

    place (in the csv, from 0), key (the id, after the paper's name where two papers share it), plain (the verdict
    without its scale), dataset, methods and titles (all that the line speaks of), values (run and metric of each run;
    the metric is filled in from its record).
    """
    shared = {name for name, count in Counter(lines["id"]).items() if count > 1}
    rows = [
        {name: _plain(value) for name, value in zip(lines.columns, values, strict=True)}
        for values in lines.itertuples(index=False)
    ]
    mine = [row for row in reversed(rows) if row["kind"] == "number" and row["experiment"]]
    known = {(row["paper"], said): row for row in mine for said in (row["text"], _dataset(row))}
    for place, row in sorted(enumerate(rows), key=lambda one: not one[1]["experiment"]):  # those that `known` has first
        row["place"], row["n"] = place, int(row["n"] or 0)
        row["key"] = f"{row['paper']}/{row['id']}" if row["id"] in shared else row["id"]
        row["fragment"] = "number=" + quote(row["key"], safe="/,:@§'()*!~")
        row["plain"] = row["verdict"].rpartition(": ")[2]
        row["values"] = [(run, row["metric"]) for run in unpack(row["runs"] or "")]
        row["where"] = _spaced(row["source"])
        row["note"] = row["note"] or ""
        _place(config, row, known)
    return rows


def _place(config: Config, row: Row, known: dict[Any, Row]) -> None:
    """Add data set, methods and the place of a line; a number that no run belongs to keeps the paper's own names.

    `known` has a line with an experiment by its paper and what that prints: data set and setting, or data set alone.
    """
    if row["experiment"]:
        paper, experiment = config.paper(row["paper"]), config.experiment(row["paper"], row["experiment"])
        row["dataset"], row["panel"] = experiment.dataset, experiment.title
        row["methods"] = row["method"].split() if row["method"] else []
        row["titles"] = [paper.methods[name].title for name in row["methods"]]
        return
    start, end = f"{row['source']}/{row['text'].replace(', ', '/', 1)}/", f"/{row['metric']}"
    printed = row["id"].removeprefix(start).removesuffix(end)
    ours = {one.title.replace(" ", ""): (name, one.title) for name, one in config.paper(row["paper"]).methods.items()}
    name, row["title"] = ours.get(printed.replace(" ", ""), (printed, printed))
    row["methods"], row["titles"] = [name], [row["title"]]
    same = known.get((row["paper"], row["text"]))
    row["value"] = same["value"] if same else None
    twin = same or known.get((row["paper"], _dataset(row)))
    row["dataset"], row["panel"] = (twin["dataset"], twin["panel"]) if twin else (_dataset(row),) * 2


def _dataset(row: Row) -> str:
    """The data set of a number as the paper prints it."""
    return row["text"].partition(", ")[0]


def _plain(value: Any) -> Any:
    """A value of a data frame as JSON knows it: None for what is missing, six digits as in the csv."""
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


def _paper(config: Config, name: str, rows: list[Row]) -> dict[str, Any]:
    paper = config.paper(name)
    numbers, claims = ([row for row in rows if row["kind"] == kind] for kind in ("number", "claim"))
    rules = {claim.id: claim for claim in paper.claims}
    for row in claims:
        row["test"], row["rule"] = TEST_NAMES[rules[row["id"]].test], rules[row["id"]].rule
        row["notes"], row["effects"] = _notes(row["note"], row["rule"])
    cuts = {row["experiment"]: row["scale_note"] for row in rows if row["scale_note"]}
    return {
        "name": name,
        "paper": paper,
        "counts": {kind: Counter(row["plain"] for row in some) for kind, some in _kinds(numbers, claims)},
        "totals": {kind: len(some) for kind, some in _kinds(numbers, claims)},
        "cuts": {config.experiment(name, one).title: " ".join(cut.split()) for one, cut in cuts.items()},
        "claims": claims,
        "claims_folded": _silent(claims),
        "tables": [_table(source, numbers) for source in _distinct(numbers, "source")],
    }


def _kinds(numbers: list[Row], claims: list[Row]) -> tuple[tuple[str, list[Row]], ...]:
    return ("number", numbers), ("claim", claims)


def _table(source: str, numbers: list[Row]) -> dict[str, Any]:
    """One table or figure of a paper: its heat maps, and its lines in the same groups, with a note that all share."""
    rows = [row for row in numbers if row["source"] == source]
    shown = panels(rows)
    reach = 1.2 * max((abs(end) for row in rows for end in _wanted(row)), default=0.0)
    for row in rows:
        row["plot"] = _plot(row, reach)
    for panel in shown:
        notes = {row["note"] for row in panel.rows}
        panel.note = notes.pop() if len(notes) == 1 else ""
    return {
        "title": _spaced(source),
        "panels": shown,
        "reach": reach,
        "counts": Counter(row["verdict"] for row in rows),
        "folded": _silent(rows),
    }


def _silent(rows: list[Row]) -> bool:
    return all(row["plain"] in SILENT for row in rows)


def _notes(note: str, rule: str) -> tuple[list[str], list[str]]:
    """A claim's note without its rule: the remarks, and the effects at every place."""
    parts = [part for part in note.removeprefix(f"rule: {rule}").split("; ") if part]
    effects = [part.removeprefix("effects: ") for part in parts if part.startswith("effects: ")]
    return [part for part in parts if not part.startswith("effects: ")], effects


def _wanted(row: Row) -> list[float]:
    """What the small plots of a table must reach: each difference and tolerance, but not the ends of wide intervals."""
    return [] if row["difference"] is None else [row["difference"], stats.tolerance(row["published_sd"])]


def _plot(row: Row, reach: float) -> dict[str, float] | None:
    """The small plot of one line: our mean and interval less the published value, and ± the tolerance around 0."""
    if row["difference"] is None or not reach:
        return None
    low, high = (row["difference"] if row[end] is None else row[end] - row["published"] for end in ("low", "high"))
    ends = {"tau": stats.tolerance(row["published_sd"]), "low": low, "high": high, "mean": row["difference"]}
    return {name: round(max(-1.2 * AXIS, min(1.2 * AXIS, AXIS * end / reach)), 1) for name, end in ends.items()}


def _filters(rows: list[Row]) -> dict[str, list[tuple[str, str]]]:
    """What can be chosen: value and text of each paper, data set, method and verdict that some line has."""
    methods = {name: title for row in rows for name, title in zip(row["methods"], row["titles"], strict=True)}
    return {
        "paper": [(name, name.upper()) for name in _distinct(rows, "paper")],
        "kind": [(name, f"{name}s") for name in _distinct(rows, "kind")],
        "dataset": [(name, name) for name in sorted(_distinct(rows, "dataset"))],
        "method": sorted(methods.items(), key=lambda one: one[1].casefold()),
        "verdict": [(name, name) for name in sorted(_distinct(rows, "verdict"), key=_order)],
    }


def _order(verdict: str) -> int:
    return [*NUMBER_VERDICTS, *CLAIM_VERDICTS].index(verdict.rpartition(": ")[2])


# --- chains ----------------------------------------------------------------------------------------------------------


class _Pool:
    """Values that many runs share, each kept once; `add` says at which place."""

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
    """What the page's script reads: `lines`, and the `runs` behind them; what runs share, by its place in a list.

    A line's `runs` are pairs: the place of a run, and what the line's metric is in it (None if it is no metric of one
    run). A run that has no record has only its name.
    """
    pools = {name: _Pool() for name in ("made", "splits", "files")}
    runs: dict[str, int] = {}
    bodies: list[Any] = []
    lines = []
    for row in rows:
        found = []
        for run, metric in row["values"]:
            if run not in runs:
                runs[run] = len(bodies)
                bodies.append(_run(records[run], pools) if run in records else {"run": run})
            value = lineage.value_of(records[run], metric) if run in records else None
            found.append([runs[run], value])
        lines.append({**{name: row[name] for name in KEPT if row.get(name) is not None}, "runs": found})
    shared = {name: pool.values for name, pool in pools.items()}
    return {"scale": scale, "csv": f"results/{scale}/scorecard.csv", "lines": lines, "runs": bodies, **shared}


KEPT = (
    "paper", "kind", "id", "key", "where", "text", "title", "panel", "value", "metric", "dataset", "methods", "verdict",
    "published", "published_sd", "mean", "sd", "low", "high", "difference", "gain", "gain_low", "gain_high",
    "published_gain", "effect", "effect_low", "effect_high", "n", "p", "p_holm", "note", "records",
)  # fmt: skip


def _run(body: dict[str, Any], pools: dict[str, _Pool]) -> dict[str, Any]:
    """What a record says of its run, as the page keeps it."""
    said = lineage.facts(body)
    split = said.pop("split")
    sizes = {part: [sum(counts), len(counts), min(counts), max(counts)] for part, counts in split["sizes"].items()}
    sizes = {part: size for part, size in sizes.items() if size[0]}
    kept = {name: split[name] for name in ("path", "digest", "recipe_digest", "seed")}
    made = {name: said.pop(name) for name in ("code", "git", "environment", "device")}
    files = [pools["files"].add(file) for file in said.pop("raw")]
    said.pop("value", None)
    return {
        **said,
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
        "p": _p,
        "symbol": lambda verdict: VERDICTS[verdict][0],
        "css": lambda verdict: "v-" + verdict.replace(" ", "-"),
        "words": lambda name: name.replace("_", " "),
        "ticks": _ticks,
    }
    return environment.from_string((FOLDER / "page.html").read_text(encoding="utf-8"))


def _number(value: Any, digits: int = 4, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.{digits}f}".replace("-", "−")


def _p(value: Any) -> str:
    return "" if value is None else "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _ticks(text: str) -> Markup:
    """Text in which `code` stands between ticks, as in notes and findings."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _markdown(text: str) -> Markup:
    """The little Markdown that the rule is written in: `code`, *emphasis* and [links](address)."""
    html = re.sub(r"\*([^*]+)\*", r"<em>\1</em>", str(_ticks(text)))
    return Markup(re.sub(r"\[([^\]]+)\]\(([^)]+)\)", r'<a href="\2">\1</a>', html))


def _json(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends the element or opens a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    """The source expression by which a Content-Security-Policy allows this text and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
