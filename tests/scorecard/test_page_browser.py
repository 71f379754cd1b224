"""The scorecard's page in a real browser: filters, chains, keyboard, a phone, no JavaScript, no network, contrast.

Needs chromium and chromium-driver (Debian's packages) and selenium; skipped, with the reason, where one is not there.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pandas as pd
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from support import needs, synthetic_records
from support.browser import ACCESS, CONTRAST, press, resize, start, visit
from support.project import ROOT

from reweigh import scorecard
from reweigh.analysis import tables
from reweigh.config.loading import load

pytestmark = needs.BROWSER
TDR = "Table3/adult/sex/tdr_p/test_accuracy"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of the repository's own records at scale paper, and one with made-up records at scale quick."""
    folder = tmp_path_factory.mktemp("page")
    config = load(ROOT)
    known = scorecard.scored_records(config, "paper")
    lines = scorecard.score(config, "paper", records=known)
    for kind, text in scorecard.texts(config, "paper", lines, known).items():
        (folder / f"scorecard.{kind}").write_text(text, encoding="utf-8")
    root = synthetic_records.project(tmp_path_factory.mktemp("project"))
    for artifact in ("table1", "table3", "fig5"):
        synthetic_records.fill(root, "quick", "tdr", artifact)
    return {"paper": folder, "quick": scorecard.write("quick", root).page.parent}


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    driver = start()
    yield driver
    driver.quit()


@pytest.fixture(params=["paper", "quick"])
def scale(request: pytest.FixtureRequest) -> str:
    return request.param


def lines_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "scorecard.csv", dtype=str, keep_default_na=False)


def line_of(folder: Path, name: str = TDR) -> pd.Series:
    """The line of a number in the csv beside a page."""
    return lines_of(folder).set_index("id").loc[name]


def shown(driver: webdriver.Chrome, what: str = "tr") -> list[int]:
    """The places of the lines that are shown: table rows, or (`a`) squares of heat maps."""
    script = f"return [...document.querySelectorAll('{what}[data-line]:not([hidden])')].map(e => +e.dataset.line)"
    return sorted(driver.execute_script(script))


def dialog(driver: webdriver.Chrome) -> Any:
    return driver.find_element(By.TAG_NAME, "dialog")


def test_nothing_is_asked_of_the_network_and_nothing_goes_wrong(
    driver: webdriver.Chrome, pages: dict[str, Path], scale: str
) -> None:
    driver.get_log("browser"), driver.get_log("performance")
    visit(driver, pages[scale], f"#number={TDR}")
    assert dialog(driver).is_displayed()
    assert driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked and all(url.split(":")[0] in ("file", "about", "data") for url in asked)
    files = {unquote(url.split("#")[0]) for url in asked if url.startswith("file")}
    assert files == {f"file://{pages[scale]}/scorecard.html"}


def test_every_number_has_a_square_and_every_line_a_row(
    driver: webdriver.Chrome, pages: dict[str, Path], scale: str
) -> None:
    lines = lines_of(pages[scale])
    visit(driver, pages[scale])
    assert shown(driver, "a") == lines.index[lines["kind"] == "number"].tolist()
    assert shown(driver) == lines.index.tolist()
    counts = {
        f"{verdict}|{kind}|{paper}": len(rows)
        for (verdict, kind, paper), rows in lines.groupby(["verdict", "kind", "paper"])
    }
    linked = {}
    for link in driver.find_elements(By.CSS_SELECTOR, ".counts td a"):
        chosen = dict(pair.split("=") for pair in link.get_attribute("href").partition("#")[2].split("&"))
        verdict = chosen["verdict"].replace("%20", " ").replace("%3A", ":")
        linked[f"{verdict}|{chosen['kind']}|{chosen['paper']}"] = int(link.text)
    assert linked == counts


def expected(folder: Path) -> pd.DataFrame:
    """The csv's lines with what the filters go by, from the config and the published files and not from the page."""
    config, lines = load(ROOT), lines_of(folder)
    stated = pd.concat([tables.published(config, paper) for paper in config.project.papers], ignore_index=True)
    stated.index = lines.index[lines["kind"] == "number"]
    # A gain is of the method that it is over, too.
    both = zip(lines["method"], lines["against"], strict=True)
    lines["methods"] = [set(f"{one} {other}".split()) for one, other in both]
    lines["dataset"] = ""
    known = {}
    for place, line in lines.iterrows():
        if line["experiment"]:
            lines.at[place, "dataset"] = config.experiment(line["paper"], line["experiment"]).dataset
            if place in stated.index:
                known[line["paper"], stated.at[place, "dataset"]] = lines.at[place, "dataset"]
    for place in lines.index[lines["experiment"] == ""]:
        titles = {
            one.title.replace(" ", ""): name for name, one in config.paper(lines.at[place, "paper"]).methods.items()
        }
        lines.at[place, "methods"] = {titles.get(stated.at[place, "method"], stated.at[place, "method"])}
        printed = stated.at[place, "dataset"]  # of a number about several data sets there is nothing else to go by
        lines.at[place, "dataset"] = known.get((lines.at[place, "paper"], printed), printed)
    return lines


EVERY_FILTER = """
const shown = (what) => [...document.querySelectorAll(what + "[data-line]:not([hidden])")].map(e => +e.dataset.line);
const found = [];
for (const select of document.querySelectorAll("select")) {
  for (const value of [...select.options].map(option => option.value).filter(Boolean).concat("")) {
    select.value = value;
    select.dispatchEvent(new Event("change", { bubbles: true }));
    const count = document.querySelector("output").value;
    if (value) found.push([select.name, value, shown("tr").sort((a, b) => a - b), shown("a"), count]);
  }
}
return found;
"""


def test_each_filter_shows_exactly_its_lines(driver: webdriver.Chrome, pages: dict[str, Path], scale: str) -> None:
    lines = expected(pages[scale])
    visit(driver, pages[scale])
    number, offered = lines["kind"] == "number", {}
    for name, value, rows, squares, count in driver.execute_script(EVERY_FILTER):
        offered.setdefault(name, set()).add(value)
        fits = lines["methods"].map(lambda known, v=value: v in known) if name == "method" else lines[name] == value
        assert rows == lines.index[fits].tolist() != [], (name, value)
        assert sorted(squares) == lines.index[fits & number].tolist(), (name, value)
        assert count == ", ".join(
            f"{'' if fits[kind].all() else f'{sum(fits & kind)} of '}{sum(kind)} {word}s"
            for word, kind in (("number", number), ("claim", ~number))
        )
    columns = ("paper", "kind", "dataset", "verdict")
    assert offered == {name: set(lines[name]) for name in columns} | {"method": set().union(*lines["methods"])}


def test_filters_combine_stand_in_the_address_and_are_undone(driver: webdriver.Chrome, pages: dict[str, Path]) -> None:
    lines = expected(pages["paper"])
    visit(driver, pages["paper"])
    Select(driver.find_element(By.NAME, "paper")).select_by_value("tdr")
    Select(driver.find_element(By.NAME, "verdict")).select_by_value("not run")
    Select(driver.find_element(By.NAME, "method")).select_by_value("er")
    fits = (
        (lines["paper"] == "tdr") & (lines["verdict"] == "not run") & lines["methods"].map(lambda known: "er" in known)
    )
    assert shown(driver) == lines.index[fits].tolist() != []
    address = driver.current_url
    assert address.endswith("#paper=tdr&method=er&verdict=not%20run")
    assert all(row.is_displayed() for row in driver.find_elements(By.CSS_SELECTOR, "tr[data-line]:not([hidden])"))
    assert not driver.find_element(By.ID, "absgd").is_displayed()
    visit(driver, pages["paper"], "#" + address.partition("#")[2])
    assert shown(driver) == lines.index[fits].tolist()
    driver.find_element(By.CSS_SELECTOR, "button[type=reset]").click()
    assert shown(driver) == lines.index.tolist()
    assert "#" not in driver.current_url
    driver.find_element(By.CSS_SELECTOR, ".counts td a").click()  # a count leads to what it counts
    assert len(shown(driver)) == int(driver.find_element(By.CSS_SELECTOR, ".counts td a").text)
    visit(driver, pages["paper"], "#verdict=unheard-of")
    assert shown(driver) == lines.index.tolist()


def test_a_click_on_a_number_opens_its_chain_down_to_bytes_and_addresses(
    driver: webdriver.Chrome, pages: dict[str, Path]
) -> None:
    known = scorecard.scored_records(load(ROOT), "paper")
    lines = lines_of(pages["paper"])
    visit(driver, pages["paper"])
    links = driver.find_elements(By.CSS_SELECTOR, 'tr[data-line] a[href^="#number="]')
    assert len(links) == sum(lines["runs"] != "") > 5
    for link in links:
        line = lines.loc[int(link.find_element(By.XPATH, "ancestor::tr").get_attribute("data-line"))]
        driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", link)
        link.click()
        assert driver.current_url.endswith(f"number={quote(line['id'])}")
        text = dialog(driver).get_attribute("textContent")
        addresses = {one.get_attribute("href") for one in dialog(driver).find_elements(By.TAG_NAME, "a")}
        for body in (known[run] for run in tables.expand_runs(line["runs"])):
            wanted = [body["run"], body["digest"], body["spec_digest"], body["code"]["digest"], body["split"]["digest"]]
            wanted += [body["git"]["commit"], body["environment"]["lock_digest"], body["device"]["name"]]
            wanted += [file["sha256"] for file in body["raw"]]
            assert [one for one in wanted if one not in text] == [], (line["id"], text[:300])
            assert {file["url"] for file in body["raw"] if file["url"]} <= addresses  # a stand-in has none
        assert f"reweigh explain results/paper/scorecard.csv --row {line['id']}" in text
        dialog(driver).find_element(By.TAG_NAME, "button").click()
        assert not dialog(driver).is_displayed()
        assert driver.switch_to.active_element == link


def test_the_first_screen_shows_what_was_found(driver: webdriver.Chrome, pages: dict[str, Path], scale: str) -> None:
    visit(driver, pages[scale])
    ends = "return [...document.querySelectorAll('.counts')].map(e => e.getBoundingClientRect().bottom)"
    assert driver.execute_script(ends)[0] <= 800
    lines = lines_of(pages[scale])
    idle = (lines["runs"] == "") & lines["verdict"].isin(["not run", "not reported", "not judged"])
    visible = "return [...document.querySelectorAll('tr[data-line]')].filter(e => e.checkVisibility()).length"
    assert driver.execute_script(visible) == sum(~idle)
    driver.execute_script("window.dispatchEvent(new Event('beforeprint'))")  # paper has no clicks
    assert driver.execute_script(visible) == len(lines)


def test_a_square_that_was_not_run_says_why(driver: webdriver.Chrome, pages: dict[str, Path]) -> None:
    visit(driver, pages["paper"])
    driver.find_element(By.CSS_SELECTOR, ".fold > summary").click()
    driver.find_element(By.CSS_SELECTOR, ".map a.v-not-run").click()
    assert "not trained yet" in dialog(driver).text
    driver.back()  # as a phone's button does
    assert not dialog(driver).is_displayed()


def test_a_link_to_a_number_opens_it(driver: webdriver.Chrome, pages: dict[str, Path]) -> None:
    visit(driver, pages["paper"], f"#paper=tdr&number={TDR}")
    ours = f"{float(line_of(pages['paper'])['mean']):.4f}"
    assert ours[:5] in dialog(driver).text
    assert Select(driver.find_element(By.NAME, "paper")).first_selected_option.text == "TDR"
    driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog(driver).is_displayed()
    assert driver.switch_to.active_element.text == ours
    assert driver.current_url.endswith("#paper=tdr")


def test_the_keyboard_is_enough(driver: webdriver.Chrome, pages: dict[str, Path]) -> None:
    visit(driver, pages["paper"])
    assert press(driver, Keys.TAB).text == "Skip to the papers"
    stops, maps = [], []
    for _ in range(120):
        focus = press(driver, Keys.TAB)
        outline = focus.value_of_css_property("outline-style")
        stops.append((focus.tag_name, outline))
        if focus.get_attribute("data-line") and focus.tag_name == "a":
            maps.append(focus.find_element(By.XPATH, "ancestor::table").text.splitlines()[0])
            if "Adult" in maps[-1]:
                break
    assert {outline for _, outline in stops} == {"solid"}  # wherever it is, one sees it
    assert len(maps) == len(set(maps)) == 1  # one stop a map, none in those that are folded
    below = press(driver, Keys.ARROW_DOWN)
    assert below.get_attribute("aria-label") == f"TDR (printed), sex: {line_of(pages['paper'])['verdict']}"
    assert press(driver, Keys.ARROW_DOWN) == below  # the last one
    press(driver, Keys.ENTER)
    assert dialog(driver).is_displayed()
    assert driver.execute_script("return document.querySelector('dialog').contains(document.activeElement)")
    press(driver, Keys.TAB, Keys.TAB)
    assert press(driver, Keys.ENTER) and dialog(driver).is_displayed()  # a run folds and unfolds
    assert press(driver, Keys.ESCAPE) == below
    assert not dialog(driver).is_displayed()


@pytest.mark.parametrize("fragment", ["", f"#number={TDR}"])
def test_a_phone_shows_it_without_scrolling_sideways(
    driver: webdriver.Chrome, pages: dict[str, Path], scale: str, fragment: str
) -> None:
    resize(driver, 360)
    try:
        visit(driver, pages[scale], fragment)
        folds = "for (const fold of document.querySelectorAll('details')) fold.open = true;"
        width = "return Math.max(document.documentElement.scrollWidth, document.querySelector('dialog').scrollWidth)"
        assert driver.execute_script(folds + width) <= 360
        sizes = "return [...document.querySelectorAll('main *')].map(e => parseFloat(getComputedStyle(e).fontSize))"
        assert min(driver.execute_script(sizes)) >= 10
    finally:
        resize(driver, 1280)


def test_sorting_goes_up_down_and_back(driver: webdriver.Chrome, pages: dict[str, Path]) -> None:
    lines = lines_of(pages["quick"])
    visit(driver, pages["quick"], "#paper=tdr&kind=number")
    table = driver.find_element(By.CSS_SELECTOR, ".numbers")
    head = table.find_element(By.CSS_SELECTOR, "[data-sort=mean] button")
    orders = []
    for _ in range(3):
        head.click()
        rows = table.find_element(By.TAG_NAME, "tbody").find_elements(By.CSS_SELECTOR, "tr[data-line]")
        orders.append([int(row.get_attribute("data-line")) for row in rows])
    means = [[float(lines["mean"][place]) for place in order if lines["mean"][place]] for order in orders]
    assert means[0] == sorted(means[0]) != [] and means[1] == sorted(means[0], reverse=True)
    assert all(lines["mean"][place] == "" for place in orders[0][len(means[0]) :])  # what is missing comes last
    assert orders[2] == sorted(orders[0])


def test_without_javascript_it_is_a_document(pages: dict[str, Path]) -> None:
    driver = start("--blink-settings=scriptEnabled=false")
    try:
        visit(driver, pages["paper"])
        assert driver.find_element(By.CSS_SELECTOR, "noscript p").is_displayed()
        assert not driver.find_element(By.ID, "filters").is_displayed()
        row = driver.find_element(By.ID, f"number={TDR}")
        assert row.is_displayed()
        line = line_of(pages["paper"])
        assert "0.7906" in row.text and f"{float(line['mean']):.4f}" in row.text and line["verdict"] in row.text
        driver.find_element(By.CSS_SELECTOR, f'.map a[href="#number={TDR}"]').click()  # leads to the line
        assert driver.current_url.endswith(TDR)
    finally:
        driver.quit()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_everybody(driver: webdriver.Chrome, pages: dict[str, Path], scale: str, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        visit(driver, pages[scale], f"#number={TDR}")
        assert driver.execute_script(ACCESS) == []
        assert driver.execute_script(CONTRAST) == {}
        ground = driver.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        assert ("255, 255, 255" in ground) == (scheme == "light")
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_hostile_text_and_addresses_do_nothing(driver: webdriver.Chrome, tmp_path: Path) -> None:
    root = synthetic_records.project(tmp_path / "project")
    synthetic_records.fill(root, "paper", "tdr", "table3")
    config = load(root)
    known = scorecard.scored_records(config, "paper", ["tdr"])
    for body in known.values():
        body["device"]["name"] = body["raw"][0]["name"] = "<img src=x onerror=alert(1)></script>"
        body["raw"][0]["url"] = "javascript:alert(3)"
    lines = scorecard.score(config, "paper", ["tdr"], known)
    lines["note"] = "<script>alert(2)</script>"
    (tmp_path / "scorecard.html").write_text(scorecard.page.page(config, "paper", lines, known), encoding="utf-8")
    driver.get_log("browser")
    visit(driver, tmp_path, f"#number={TDR}")
    assert "<img src=x onerror=alert(1)></script>" in dialog(driver).text
    assert "javascript:alert(3)" in dialog(driver).text
    assert dialog(driver).find_elements(By.CSS_SELECTOR, "img, script, a[href^=javascript]") == []
    assert driver.get_log("browser") == []
