"""A real browser for tests of the scorecard's page: Debian's chromium and chromium-driver, by selenium.

driver = start()                                           # no window; notes requests and its console
visit(driver, folder, "#paper=tdr")                        # folder/scorecard.html
driver.execute_script(ACCESS), driver.execute_script(CONTRAST)     # what is wrong for readers; both empty if nothing is
"""

from pathlib import Path
from typing import Any

from selenium import webdriver

from support.needs import CHROMEDRIVER, CHROMIUM


def start(*more: str) -> webdriver.Chrome:
    """A browser without a window that notes every request and every line of its console."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        *more,
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    resize(driver, 1280)
    return driver


def resize(driver: webdriver.Chrome, width: int, height: int = 800) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def visit(driver: webdriver.Chrome, folder: Path, fragment: str = "") -> None:
    driver.get("about:blank")  # so that another fragment is another visit
    driver.get(f"{(folder / 'scorecard.html').as_uri()}{fragment}")


def press(driver: webdriver.Chrome, *keys: str) -> Any:
    """Press keys one after the other; the element that has the focus then."""
    for key in keys:
        driver.switch_to.active_element.send_keys(key)
    return driver.switch_to.active_element


# What is wrong with the structure of a page, one line each.
ACCESS = """
const wrong = [];
const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
if (new Set(ids).size < ids.length) wrong.push("an id twice");
if (document.documentElement.lang !== "en") wrong.push("no language");
if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
let last = 1;
for (const e of document.querySelectorAll("body > :not(dialog) :is(h1, h2, h3, h4)")) {
  if (+e.tagName[1] > last + 1) wrong.push("a heading that skips a level: " + e.textContent);
  last = +e.tagName[1];
}
for (const e of document.querySelectorAll("select")) if (!e.labels.length) wrong.push("no label: " + e.name);
for (const e of document.querySelectorAll("a, button, summary"))
  if (!(e.getAttribute("aria-label") ?? e.textContent).trim()) wrong.push("no name: " + e.outerHTML);
for (const e of document.querySelectorAll("[aria-labelledby]"))
  if (!document.getElementById(e.getAttribute("aria-labelledby"))) wrong.push("no label: " + e.id);
for (const e of document.querySelectorAll("th")) if (!e.scope) wrong.push("a th without scope: " + e.textContent);
for (const e of document.querySelectorAll("svg"))
  if (e.getAttribute("aria-hidden") !== "true" && !e.getAttribute("aria-label")) wrong.push("a picture without words");
return wrong;
"""

# Elements whose text has a contrast below 4.5 (WCAG 2.1, success criterion 1.4.3), and that contrast.
CONTRAST = """
const parts = (text) => { const p = text.match(/[\\d.]+/g).map(Number); return [p[0], p[1], p[2], p[3] ?? 1]; };
const light = (c) => c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const ground = (e) => {
  for (; e; e = e.parentElement) {
    const colour = parts(getComputedStyle(e).backgroundColor);
    if (colour[3] === 1) return colour;
  }
  return [255, 255, 255, 1];
};
const found = {};
for (const e of document.querySelectorAll("body *")) {
  const says = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!says || ["SCRIPT", "NOSCRIPT"].includes(e.tagName)) continue;
  const [a, b] = [light(parts(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
  const ratio = (a + .05) / (b + .05);
  if (ratio < 4.5) found[e.tagName + "." + e.className] = ratio;
}
return found;
"""
