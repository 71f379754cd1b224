"""Verdicts as Markdown, for README.md and docs/found.md: sentences, the counts, and the claims that were decided."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from reweigh import canonical_json, scorecard, verdicts
from reweigh.config.claim import Claim
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.errors import ConfigError, ReweighError
from reweigh.scorecard import prose
from reweigh.scorecard.claim_tests import DIFFERENCES
from reweigh.scorecard.numbers import NOT_COMPARABLE
from reweigh.scorecard.rates import false_decisions
from reweigh.scorecard.text import DEGENERATE, TEST_NAMES, p_value, plain, remarks, table

NUMBER_VERDICTS = ("replicated", "better", "worse", "inconclusive", "degenerate", "not run")
CLAIM_VERDICTS = ("holds", "fails", "inconclusive", "degenerate", "not run")
DECIDED = ("holds", "fails")
TELLING = re.compile(r"\d of \d+ (runs|pairs)|bound only")  # a remark that the README must not leave out


def summary(lines: pd.DataFrame) -> str:
    """Markdown for the README: the verdicts on numbers and on claims, counted by paper."""
    numbers, claims = lines[lines["kind"] == "number"], lines[lines["kind"] == "claim"]
    rest, foreign = "not judged or not reported", (numbers["verdict"] == NOT_COMPARABLE).any()
    known = (*NUMBER_VERDICTS, *([NOT_COMPARABLE] if foreign else []))
    parts = [
        "Verdicts on published numbers, at scale `paper`:",
        table(["paper", *known, rest], _counted(numbers, known, rest)),
        *_noted(numbers),
        "Verdicts on claims:",
        table(["paper", *CLAIM_VERDICTS], _counted(claims, CLAIM_VERDICTS)),
        *_noted_claims(claims),
    ]
    return "\n\n".join(parts)


def decided(config: Config, lines: pd.DataFrame) -> str:
    """Markdown for docs/found.md: each claim that holds or fails, with its evidence; and those that are degenerate."""
    claims = lines[lines["kind"] == "claim"]
    parts = ["No claim is decided yet."]
    if rows := [_claim(config, row) for row in claims[claims["verdict"].isin(DECIDED)].itertuples()]:
        head = ["paper", "claim", "test", "effect at the weakest place", "95 % interval", "n", "p (Holm)", "verdict"]
        parts = [table([*head, "note"], rows)]
    if lost := [_degenerate(config, row) for row in claims[claims["verdict"] == "degenerate"].itertuples()]:
        parts += ["Nothing is decided where all runs of a side decide nothing:"]
        parts += [table(["paper", "claim", "verdict", "note"], lost)]
    return "\n\n".join(parts)


def bodies(config: Config, lines: pd.DataFrame, records: prose.Records | None = None) -> dict[str, dict[str, str]]:
    """What stands between the markers of README.md, docs/found.md and papers' own pages: page -> marker -> Markdown.

    `records`, by run, are read unless they are given. Raises ReweighError if a sentence no longer holds.
    """
    return {
        "README.md": {"findings": prose.of_page(config, lines, "README.md", records), "scorecard": summary(lines)},
        "docs/found.md": {
            "findings": prose.of_page(config, lines, "found.md", records),
            "decided": decided(config, lines),
        },
        **{f"docs/{paper}.md": {"findings": body} for paper, body in prose.own_pages(config, lines, records).items()},
    }


def write(lines: pd.DataFrame, root: str | Path = ".") -> list[Path]:
    """Put all of it between its markers in these pages, and return their paths.

    Raises ConfigError for another scale than paper, ReweighError if a marker is missing or a sentence no longer holds.
    """
    scales = set(lines["scale"])
    if scales != {"paper"}:
        raise ConfigError(f"the README shows scale paper, not {', '.join(sorted(scales))}; use --scale paper")
    root = Path(root)
    parts = bodies(load(root), lines)
    return [put(root / page, name, body) for page, texts in parts.items() for name, body in texts.items()]


def main(scale: str, readme: bool = False) -> None:
    """The command `reweigh scorecard`: write the scorecard of a scale, and print its counts and files.

    `readme`: write the sentences and tables of README.md, docs/found.md and papers' own pages too.
    """
    card = scorecard.write(scale)
    for kind, counts in card.counts.items():
        print(f"{kind}s: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    print(false_decisions(card.lines).text)
    for path in dict.fromkeys((*card, *(write(card.lines) if readme else ()))):
        print(path)


def put(path: Path, name: str, body: str) -> Path:
    """Replace the text between `<!-- name -->` and `<!-- /name -->` in a file. Raises ReweighError without these."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, _, tail = parts_of(path, name)
    return canonical_json.write(path, f"{head}{start}\n{body}\n{end}{tail}")


def parts_of(path: Path, name: str) -> tuple[str, str, str]:
    """What stands before, between and after `<!-- name -->` and `<!-- /name -->`. Raises ReweighError without these."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    head, opened, rest = text.partition(start)
    body, closed, tail = rest.partition(end)
    if not (opened and closed):
        raise ReweighError(f"{path} has no place for a table: put the lines {start} and {end} where it belongs")
    return head, body, tail


def _noted(numbers: pd.DataFrame) -> list[str]:
    """What a reader must know of the numbers that are decided or degenerate, once for all that share it."""
    told = numbers[numbers["verdict"].isin((*verdicts.DECIDED, "degenerate")) & numbers["note"].fillna("").ne("")]
    lines = []
    for (paper, verdict, note), rows in told.groupby(["paper", "verdict", "note"], sort=False):
        where = ", ".join(f"{row.source} {plain(row.title)}" for row in rows.itertuples())
        lines.append(f"* `{paper}`, {len(rows)} {verdict} ({where}): {note}.")
    return ["\n".join(lines)] if lines else []


def _noted_claims(claims: pd.DataFrame) -> list[str]:
    """Why claims are degenerate, once for all that share the reason; then, by paper, which decided ones have a "but".

    What speaks against a decided claim stands beside it in docs/found.md.
    """
    by_reason: dict[tuple[str, str], list[str]] = {}
    for row in claims[claims["verdict"] == "degenerate"].itertuples():
        whys = [part for part in row.note.split("; ") if part.startswith(DEGENERATE)]
        reasons = dict.fromkeys(why.partition(": ")[2] for why in whys)
        by_reason.setdefault((row.paper, ", ".join(reasons)), []).append(f"`{row.id}`")
    lines = [f"* `{paper}`, degenerate ({', '.join(names)}): {why}." for (paper, why), names in by_reason.items()]
    decided = claims[claims["verdict"].isin(DECIDED)]
    doubted = decided[[bool(TELLING.search(note)) for note in decided["note"].fillna("")]]
    for paper, rows in doubted.groupby("paper", sort=False):
        counts = [(verdict, (rows["verdict"] == verdict).sum()) for verdict in DECIDED]
        told = " and ".join(f"{n} {verdict if n == 1 else verdict.removesuffix('s')}" for verdict, n in counts if n)
        lines.append(
            f"* `{paper}`: {told} although some of their runs decide nothing, or the effect is a bound only; "
            f"[docs/found.md](docs/found.md) says which: {', '.join(f'`{name}`' for name in rows['id'])}."
        )
    return ["\n".join(lines)] if lines else []


def _counted(lines: pd.DataFrame, verdicts: tuple[str, ...], rest: str = "") -> list[list[str]]:
    """A row for each paper: how many lines have each of the verdicts, and, under the heading `rest`, any other."""
    rows = []
    for paper, group in lines.groupby("paper", sort=False):
        left = Counter(group["verdict"])
        counts = [left.pop(verdict, 0) for verdict in verdicts]
        others = sum(left.values())
        if others and not rest:
            raise ReweighError(f"the README's table has no column for the verdicts {', '.join(left)}")
        rows.append([f"`{paper}`", *map(str, [*counts, others] if rest else counts)])
    return rows


def _claim(config: Config, row: Any) -> list[str]:
    claim = _named(config, row)
    return [
        f"`{row.paper}`",
        _said(claim),
        TEST_NAMES[claim.test],
        _effect(claim.test, row.effect),
        _effect(claim.test, row.effect_low, row.effect_high),
        str(int(row.n)),
        p_value(row.p_holm),
        f"**{row.verdict}**",
        "; ".join(remarks(row.note, claim.rule)[0]),
    ]


def _degenerate(config: Config, row: Any) -> list[str]:
    claim = _named(config, row)
    return [f"`{row.paper}`", _said(claim), f"**{row.verdict}**", "; ".join(remarks(row.note, claim.rule)[0])]


def _named(config: Config, row: Any) -> Claim:
    return next(claim for claim in config.paper(row.paper).claims if claim.id == row.id)


def _said(claim: Claim) -> str:
    return claim.text + (" *(ours)*" if claim.source.startswith("ours") else "")


def _effect(test: str, *values: float | None) -> str:
    """A value or an interval: differences in points, ratios, correlations and what is logged in their own units."""
    defined = [value for value in values if value is not None and not pd.isna(value)]
    shown = [f"{100 * value:+.1f}" if test in DIFFERENCES else f"{round(value, 6) + 0:.3g}" for value in defined]
    return " to ".join(shown) + (" points" if defined and test in DIFFERENCES else "")
