"""The scorecard as Markdown, for readers."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pandas as pd

from reweigh import metrics
from reweigh.config.grid import Config
from reweigh.scorecard.numbers import NOT_COMPARABLE
from reweigh.scorecard.rates import false_decisions

RULE = """
A published number p with standard deviation s has the tolerance τ = max(one point, s); metrics that are no share of
examples have tolerances of their own. It is compared with Student intervals of our mean over seeds (Wilson's, where
those leave what a share can be). The verdict is
`better` or `worse` if the 95 % interval lies wholly beyond p ± τ, on the side that is better or the other one;
`replicated` if the 90 % interval lies within p ± 2τ, which is two one-sided tests at 5 %; else `inconclusive`. It is
`degenerate` if all our runs diverged, predict one class or did not move. A number is `not judged` if it is a misprint
or belongs to a method that is not implemented; its note says which. Claims are decided by two-sided tests on paired
seeds; what is averaged over places is averaged by seed first. Their p values are corrected by Holm's method over the
paper's claims, and a claim `holds` or `fails` below 0.05. A claim about several places holds if it holds at each of
them. Where all runs of a side are such that they decide nothing it cannot hold: it is `degenerate`, unless it fails at
another place. *Gain* is the
mean difference to our own plain training at equal budget, seed by seed. Our numbers are those of the last epoch, and
nothing is selected on the test set, except in claims whose metric is the best epoch, which say so. Why this rule, and
how often it errs: [docs/verdicts.md](../../docs/verdicts.md).
""".strip()

STAND_INS = """
A number is `not comparable` where our runs are on data that stand in for the paper's own, such as features of another
net. What they decide is a claim's verdict, never a number's.
""".strip()
NOT_RUN = "not run"
DEGENERATE = "degenerate, "  # how the part of a claim's note begins that says why a place decides nothing

# The statistical test behind each `test` that a claim may name in the config.
TEST_NAMES = {
    "greater": "paired t test",
    "greater_on_average": "paired t test of each seed's average over the places",
    "grows": "t test of differences of paired gains",
    "gains_more": "t test of differences of two paired gains",
    "within": "two one-sided paired t tests",
    "explained_by": "paired t tests of the gain and of its share",
    "smaller_spread": "Brown and Forsythe's test",
    "costs_more": "t test of logarithms of paired ratios",
    "costs_at_most": "t test of logarithms of paired ratios",
    "weights_not_inverse_frequency": "one-sample t test of correlations",
    "minority_weighs_more": "one-sample t test of ratios",
    "separates_better": "paired t test",
    "reaches_in_fewer_epochs": "t test of logarithms of paired ratios",
    "reaches_in_less_time": "t test of logarithms of paired ratios",
    "group_ahead": "one-sample t test of differences of two groups",
    "below": "one-sample t test",
    "weights_near_equal": "one-sample t test of distances",
    "weights_grow_more": "one-sample t test of slopes",
    "weights_grow_less": "one-sample t test of slopes",
    "collapses_less": "t test of differences of shares, averaged over places",
    "ordered": "Page's test for an ordered alternative",
    "dominates": "t test of jackknifed differences of dominated areas",
    "varies_less": "t test of logarithms of paired ratios",
    "reaches": "one-sample t test of distances from the level",
    "tracks_test": "one-sample t test of differences of distances from the test set",
    "follows_frequency": "one-sample t tests of correlations, either way",
    "logs_more": "t test of what is logged, of paired differences where rivals are named",
    "stays_above": "one-sample t test of what is logged at the least",
    "cell_above": "one-sample t test of differences of two cells",
    "not_by_runs": "none: no run decides it",
}


def markdown(config: Config, scale: str, lines: pd.DataFrame) -> str:
    """The scorecard's lines as a Markdown page."""
    parts = [f"# Scorecard at scale `{scale}`"]
    if scale == "paper" and (lines["verdict"] == NOT_COMPARABLE).any():
        parts.append(STAND_INS)
    if scale != "paper":
        parts.append(
            f"> **This is no replication.** Scale `{scale}` cuts the papers' experiments short so that everything runs "
            f"in minutes. No published number is judged by them, and the verdict on a claim begins with `{scale}:` and "
            "speaks of such runs only."
        )
    parts.append(RULE)
    for paper in lines["paper"].drop_duplicates():
        parts += _paper(config, scale, paper, lines[lines["paper"] == paper])
    return "\n\n".join(parts) + "\n"


def _paper(config: Config, scale: str, name: str, lines: pd.DataFrame) -> list[str]:
    paper = config.paper(name)
    numbers, claims = lines[lines["kind"] == "number"], lines[lines["kind"] == "claim"]
    parts = [
        f"## {plain(paper.title)}",
        f"{plain(paper.citation)}. <{paper.url}>",
        _counts(numbers, claims),
    ]
    if scale == "paper":
        parts.append(false_decisions(lines).text)
    cuts = _cuts(lines) if scale != "paper" else ""
    if cuts:
        parts.append(f"What scale `{scale}` cuts:\n\n{cuts}")
    if not claims.empty:
        tests = {claim.id: TEST_NAMES[claim.test] for claim in paper.claims}
        found = claims["verdict"] != NOT_RUN
        parts += ["### Claims", *([_claims(claims[found], tests)] if found.any() else [])]
        parts += _folded(f"{_many(sum(~found), 'claim')} without the runs needed", _claims, claims[~found], tests)
    for source, group in numbers.groupby("source", sort=False):
        found = (group["verdict"] != NOT_RUN) & (group["runs"].fillna("") != "") | (group["status"] == "measured")
        parts += [f"### {plain(_spaced(str(source)))}", *([_numbers(group[found])] if found.any() else [])]
        parts += _folded(f"{_many(sum(~found), 'number')} without a run of ours", _numbers, group[~found])
    if paper.findings:
        parts += ["### What does not fit together in the paper itself", _findings(paper.findings)]
    return parts


def _folded(title: str, write: Callable[..., str], lines: pd.DataFrame, *more: Any) -> list[str]:
    """A table that a click opens, for lines that say little; nothing where there is no line. GitHub shows it so too."""
    if lines.empty:
        return []
    return [f"<details>\n<summary>{title}</summary>", write(lines, *more), "</details>"]


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _cuts(lines: pd.DataFrame) -> str:
    cut = lines[lines["scale_note"].fillna("") != ""].drop_duplicates("experiment")
    return "\n".join(f"- {plain(row.experiment)}: {prose(row.scale_note)}" for row in cut.itertuples())


def _counts(numbers: pd.DataFrame, claims: pd.DataFrame) -> str:
    counted = [Counter(group["verdict"]) for group in (numbers, claims)]
    verdicts = dict.fromkeys([*counted[0], *counted[1]])
    return table(
        ["verdict", "numbers", "claims"],
        [[verdict, *(str(count[verdict]) if count[verdict] else "" for count in counted)] for verdict in verdicts],
    )


def _numbers(group: pd.DataFrame) -> str:
    rows = [
        {
            "experiment": plain(_text(row.experiment)),
            "value": plain(_text(row.value)),
            "method": plain(_text(row.title)),
            "value set": prose(_text(row.value_set)),
            "metric": metrics.of(row.metric).label,
            "published": _spread(row.published, row.published_sd),
            "ours": _spread(row.mean, row.sd),
            "95 % interval": _interval(row.low, row.high),
            "n": str(int(row.n)),
            "difference": _signed(row.difference),
            "gain": _signed(row.gain),
            "published gain": _signed(row.published_gain),
            "verdict": f"**{row.verdict}**",
            "note": prose(_text(row.note)),
        }
        for row in group.itertuples()
    ]
    return table(list(rows[0]), [list(row.values()) for row in rows])


def _claims(group: pd.DataFrame, tests: dict[str, str]) -> str:
    rows = [
        {
            "claim": prose(row.text),
            "where": plain(_text(row.source)),
            "value set": prose(_text(row.value_set)),
            "test": tests[row.id],
            "effect (weakest place)": _number(row.effect, 4),
            "95 % interval": _interval(row.effect_low, row.effect_high),
            "n": str(int(row.n)),
            "p": p_value(row.p),
            "p (Holm)": p_value(row.p_holm),
            "verdict": f"**{row.verdict}**",
            "note": prose(_text(row.note)),
        }
        for row in group.itertuples()
    ]
    return table(list(rows[0]), [list(row.values()) for row in rows])


def _findings(findings: list[Any]) -> str:
    return "\n".join(
        f"- **{plain(finding.where)}.** {prose(' '.join(finding.text.split()))} Evidence: {prose(finding.evidence)}."
        for finding in findings
    )


def remarks(note: str, rule: str) -> tuple[list[str], list[str]]:
    """A claim's note without its rule, in two parts: the remarks, and the effects at every place."""
    parts = [part for part in note.removeprefix(f"rule: {rule}").split("; ") if part]
    effects = [part.removeprefix("effects: ") for part in parts if part.startswith("effects: ")]
    return [part for part in parts if not part.startswith("effects: ")], effects


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def plain(text: str) -> str:
    """A title, a name or a value in Markdown, in which it is what it is: no code, no link, no element of HTML.

    >>> print(plain("TDR [new] `a_b` <b>*"))
    TDR \\[new\\] \\`a_b\\` \\<b>\\*
    """
    return re.sub(r"[\\`*\[\]<]|&(?=[#\w]+;)|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)


def prose(text: str) -> str:
    """A sentence that is written in Markdown, such as a claim or a note, without elements of HTML.

    >>> print(prose("`p` < 0.05 <script>"))
    `p` < 0.05 \\<script>
    """
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", text)


def percent(rate: float) -> str:
    """Per cent: whole from 10 on, else one decimal; never 0 or 100, which a rate only comes close to."""
    found = 100 * rate
    if found < 0.05:
        return "< 0.1"
    if found > 99.5:
        return "> 99"
    return f"{found:.1f}" if found < 9.95 else f"{found:.0f}"


def _spaced(source: str) -> str:
    """`Table1` -> `Table 1`."""
    letters = source.rstrip("0123456789")
    return f"{letters} {source[len(letters) :]}".strip()


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)


def _number(value: Any, digits: int) -> str:
    return "" if value is None or pd.isna(value) else f"{value:.{digits}f}"


def _signed(value: Any) -> str:
    return "" if value is None or pd.isna(value) else f"{value:+.4f}"


def p_value(value: Any) -> str:
    """A p value to two digits; below 0.0001 only that bound."""
    if value is None or pd.isna(value):
        return ""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _spread(mean: Any, sd: Any) -> str:
    return " ± ".join(part for part in (_number(mean, 4), _number(sd, 4)) if part)


def _interval(low: Any, high: Any) -> str:
    return "" if low is None or pd.isna(low) else f"{low:.4f} to {high:.4f}"
