"""The scorecard's page: all lines in it, every chain as the records have it, nothing that reaches out or breaks out.

What a browser makes of it is in test_page_browser.py.
"""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest
from support import synthetic_records
from support.project import ROOT

from reweigh import metrics, scorecard
from reweigh.analysis import tables
from reweigh.config.loading import load
from reweigh.scorecard.claim_tests import TESTS
from reweigh.scorecard.heatmap import panels
from reweigh.scorecard.page import VERDICTS, page, rows_of
from reweigh.scorecard.text import TEST_NAMES, markdown

HOSTILE = """</script><script>alert("1")</script><img src=x onerror='alert(2)'> & "quoted" <!-- \u2028"""


class Reader(HTMLParser):
    """Start tags with their attributes, and the text of every element with an id, of styles and of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style") and data.strip():
            self.raw.append((self.tags[-1][1] | {"tag": self.tags[-1][0]}, data))
        else:
            self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]

    @property
    def data(self) -> dict[str, Any]:
        return next(json.loads(text) for attributes, text in self.raw if attributes.get("id") == "data")


@pytest.fixture(scope="module")
def paper() -> tuple[pd.DataFrame, dict[str, Any], str]:
    """Lines, records and page of scale paper, from the records that are in the repository."""
    config = load(ROOT)
    known = scorecard.scored_records(config, "paper")
    lines = scorecard.score(config, "paper", records=known)
    return lines, known, page(config, "paper", lines, known)


@pytest.fixture(scope="module")
def read(paper: tuple[pd.DataFrame, dict[str, Any], str]) -> Reader:
    return Reader(paper[2])


def test_every_line_is_in_the_text_and_every_number_in_a_heat_map(paper: Any, read: Reader) -> None:
    lines = paper[0]
    rows = [tag for tag in read.all("tr") if "data-line" in tag]
    assert sorted(int(tag["data-line"]) for tag in rows) == list(range(len(lines)))
    squares = [tag for tag in read.all("a") if "data-line" in tag]
    assert sorted(int(tag["data-line"]) for tag in squares) == lines.index[lines["kind"] == "number"].tolist()
    for tag in squares:
        line = lines.loc[int(tag["data-line"])]
        assert unquote(tag["href"]) == f"#number={line['id']}"
        assert tag["aria-label"].endswith(f": {line['verdict']}")
        assert tag["class"] == "v-" + line["verdict"].replace(" ", "-")
    for number in lines["published"].dropna():
        assert f"{number:.4f}".replace("-", "−") in read.text
    for claim in lines[lines["kind"] == "claim"]["text"]:
        assert claim in read.text
    config = load(ROOT)
    for finding in (one for name in config.project.papers for one in config.paper(name).findings):
        assert finding.text.replace("`", "") in read.text and finding.evidence in read.text


def test_the_chains_are_what_the_records_say(paper: Any, read: Reader) -> None:
    lines, known, _ = paper
    data = read.data
    assert [line["id"] for line in data["lines"]] == lines["id"].tolist()
    fed = 0
    for said, line in zip(data["lines"], lines.to_dict("records"), strict=True):
        names = tables.expand_runs(line["runs"]) if isinstance(line["runs"], str) else []
        assert [data["runs"][place]["run"] for place, _ in said["runs"]] == names
        values = []
        for place, value in said["runs"]:
            run, body = data["runs"][place], known[data["runs"][place]["run"]]
            made, split = data["made"][run["made"]], data["splits"][run["split"]]
            assert (run["digest"], run["spec_digest"], run["status"]) == (
                body["digest"], body["spec_digest"], body["status"],
            )  # fmt: skip
            assert made["code"]["digest"] == body["code"]["digest"]
            assert (made["git"], made["environment"], made["device"]) == (
                body["git"], body["environment"], body["device"],
            )  # fmt: skip
            assert (split["path"], split["digest"]) == (body["split"]["path"], body["split"]["digest"])
            assert split["sizes"]["train"][0] == sum(body["split"]["sizes"]["train"])
            files = [data["files"][place] for place in run["files"]]
            assert [(file["sha256"], file["url"]) for file in files] == [
                (file["sha256"], file["url"]) for file in body["raw"]
            ]
            stated = metrics.of_record(body).get(line["metric"])
            assert value == (None if isinstance(stated, list) else stated), "one for each group is not one number"
            values.append(value)
        fed += bool(names)
        if line["kind"] == "number" and names:
            assert sum(values) / len(values) == pytest.approx(line["mean"], abs=1e-6)
    assert fed > 5


def test_what_runs_share_is_there_once(paper: Any, read: Reader) -> None:
    data = read.data
    for shared in ("made", "splits", "files"):
        texts = [json.dumps(one, sort_keys=True) for one in data[shared]]
        assert len(set(texts)) == len(texts)
    used = {place for line in data["lines"] for place, _ in line["runs"]}
    assert used == set(range(len(data["runs"])))
    assert len(data["files"]) < 10 < len(data["runs"])
    told = len(data["lines"]) + len(data["runs"])  # numbers and claims, and the runs behind them
    assert len(paper[2].encode()) < 1_200 * told


def test_nothing_is_loaded_and_only_this_script_and_style_run(paper: Any, read: Reader) -> None:
    (policy,) = (
        tag["content"] for tag in read.all("meta") if "Content-Security-Policy" in (tag.get("http-equiv") or "")
    )
    assert policy.startswith("default-src 'none';")
    code = [(tag["tag"], text) for tag, text in read.raw if tag.get("id") != "data"]
    assert [tag for tag, _ in code] == ["style", "script"]
    for tag, text in code:
        allowed = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{allowed}'" in policy
        assert not re.search(
            r"@import|url\(|https?://(?!www\.w3)|fetch\(|XMLHttp|innerHTML|eval\(", text.replace("https?:", "")
        )
    for name, attributes in read.tags:
        assert "src" not in attributes and "style" not in attributes
        assert not any(attribute.startswith("on") for attribute in attributes)
        assert name != "link" or attributes["href"] == "data:,"


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    root = synthetic_records.project(tmp_path / "project")
    synthetic_records.fill(root, "paper", "tdr", "table3")
    config = load(root)
    known = scorecard.scored_records(config, "paper", ["tdr"])
    for body in known.values():
        body["device"]["name"] = body["raw"][0]["name"] = HOSTILE
        body["raw"][0]["url"] = "javascript:alert(3)"
    lines = scorecard.score(config, "paper", ["tdr"], known)
    for column in ("note", "text", "source", "title", "value"):
        lines[column] = lines[column].where(lines["kind"] == "claim", HOSTILE)
    config.paper("tdr").findings[0].__dict__["text"] = HOSTILE
    read = Reader(page(config, "paper", lines, known))
    assert [tag.get("type") for tag in read.all("script")] == ["application/json", None]
    assert read.all("img") == []
    assert read.text.count(HOSTILE) > 60
    assert HOSTILE in [line["note"] for line in read.data["lines"]]
    assert read.data["made"][0]["device"]["name"] == HOSTILE


def test_the_same_input_gives_the_same_bytes_and_other_records_others(paper: Any, tmp_path: Path) -> None:
    lines, known, html = paper
    config = load(ROOT)
    assert page(config, "paper", lines.copy(), dict(reversed(known.items()))) == html
    card = scorecard.write("paper", synthetic_records.project(tmp_path / "project"), ["tdr"])
    assert card.page.read_text() != html
    assert card.page == tmp_path / "project/results/paper/scorecard.html"


def test_a_run_without_a_record_is_named_and_nothing_is_made_up(paper: Any) -> None:
    lines, known, _ = paper
    gone = next(iter(tables.expand_runs(lines[lines["n"] > 0]["runs"].iloc[0])))
    rest = {run: body for run, body in known.items() if run != gone}
    data = Reader(page(load(ROOT), "paper", lines, rest)).data
    assert [run for run in data["runs"] if "digest" not in run] == [{"run": gone}]


def test_other_scales_say_that_they_replicate_nothing(tmp_path: Path, read: Reader) -> None:
    root = synthetic_records.project(tmp_path / "project")
    synthetic_records.fill(root, "quick", "tdr", "table3")
    html = scorecard.write("quick", root, ["tdr"]).page.read_text()
    quick = Reader(html)
    assert "This is no replication." in quick.text and "This is no replication." not in read.text
    assert quick.all("html")[0]["class"] == "scale-cut" and read.all("html")[0]["class"] == "scale-paper"
    shown = {tag["class"] for tag in quick.all("a") if "data-line" in tag}
    assert "v-not-comparable" in shown and not shown & {"v-replicated", "v-better", "v-worse", "v-inconclusive"}
    assert "our runs are cut short at scale quick, which replicates nothing" in quick.text
    links = [tag["href"] for tag in quick.all("a") if "verdict=not%20comparable" in (tag.get("href") or "")]
    assert links and "published numbers with an interval of ours" not in quick.text
    assert {"../paper/scorecard.html", "../smoke/scorecard.html"} <= {tag.get("href") for tag in quick.all("a")}


def test_what_has_no_run_is_folded_and_counted(paper: Any) -> None:
    """By paper and table, without any script: details that are closed, with a count; what was found stays open."""
    lines, _, html = paper
    opened = [False]
    folded, idle = (
        set(),
        lines["verdict"].isin(["not run", "not reported", "not judged"]) & (lines["runs"].fillna("") == ""),
    )

    class Folds(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            known = dict(attributes)
            if tag == "details":
                opened.append("open" not in known or opened[-1])
            if tag == "tr" and "data-line" in known and opened[-1]:
                folded.add(int(known["data-line"] or 0))

        def handle_endtag(self, tag: str) -> None:
            if tag == "details":
                opened.pop()

    Folds().feed(html)
    assert folded == set(lines.index[idle]) and 0 < len(folded) < len(lines)
    for name, group in lines[idle & (lines["kind"] == "claim")].groupby("paper"):
        if set(lines[(lines["paper"] == name) & (lines["kind"] == "claim")].index) != set(group.index):
            assert f"<summary>{len(group)} claim{'s' if len(group) > 1 else ''} without the runs that" in html
    text = markdown(load(ROOT), "paper", lines)
    assert text.count("<details>") == text.count("</details>") > 5
    outside = "".join(part.partition("<details>")[0] for part in text.split("</details>"))
    assert "**not run**" not in outside and "**holds**" in outside and "**not run**" in text


def test_ids_that_two_papers_share_are_told_apart(paper: Any) -> None:
    lines = paper[0].copy()
    first, last = lines.index[0], lines.index[-1]
    lines.loc[last, "id"] = lines.loc[first, "id"] = "the-same"
    keys = [row["key"] for row in rows_of(load(ROOT), lines)]
    assert (keys[first], keys[last]) == ("tdr/the-same", f"{lines.loc[last, 'paper']}/the-same")
    assert lines.loc[last, "paper"] != "tdr"
    assert len(set(keys)) == len(keys)


def test_every_verdict_has_a_symbol_of_its_own_and_every_test_a_name(paper: Any) -> None:
    assert set(paper[0]["verdict"]) <= set(VERDICTS)
    symbols = [symbol for symbol, _ in VERDICTS.values()]
    assert len(set(symbols)) == len(symbols)
    assert set(TESTS) <= set(TEST_NAMES)


def test_experiments_of_one_table_share_a_map_where_their_numbers_do_not_collide() -> None:
    def row(place: int, experiment: str | None, title: str, value: str | None, dataset: str = "c10") -> dict[str, Any]:
        return {
            "place": place, "experiment": experiment, "title": title, "value": value, "dataset": dataset,
            "panel": experiment or dataset, "metric": "test_accuracy",
        }  # fmt: skip

    rows = [
        row(0, None, "Quoted", None),  # a number that no run belongs to
        row(1, "plain", "SGD", "LT 100"),
        row(2, "plain", "SGD", "LT 10"),
        row(3, "meta", "META", "LT 100"),  # another protocol, other places of the same map
        row(4, "other-net", "SGD", "LT 100"),  # the same place again: a map of its own
        row(5, "places", "SGD", "ResNet-152", "places"),
        row(6, None, "OLTR", None, "places"),  # takes the only column there is
    ]
    made = panels(rows)
    assert [(panel.title, [one["place"] for one in panel.rows]) for panel in made] == [
        ("plain", [0, 1, 2, 3]), ("other-net", [4]), ("places", [5, 6]),
    ]  # fmt: skip
    assert (made[0].across, made[0].down) == (["LT 100", "LT 10", "other"], ["SGD", "META", "Quoted"])
    assert made[2].across == ["ResNet-152"]


def test_the_rule_is_marked_up_and_not_shown_as_code(paper: Any, read: Reader) -> None:
    assert "<em>Gain</em>" in paper[2] and not re.search(r"</?(em|code|a)\b", read.text)
