"""The picture of the scorecard's page in the README: PYTHONPATH=src:tests python tools/screenshot.py docs/scorecard.png

Needs results/paper/scorecard.html (`reweigh scorecard --scale paper`) and what the browser tests need.
"""

import sys
from pathlib import Path

from support.browser import resize, start, visit
from support.project import ROOT


def main(picture: str) -> None:
    """Take the picture: the claims of one paper, 1200 pixels wide."""
    driver = start()
    try:
        resize(driver, 1200, 980)
        visit(driver, ROOT / "results/paper", "#paper=tdr")
        driver.execute_script("document.getElementById('tdr-claims').scrollIntoView()")
        Path(picture).write_bytes(driver.get_screenshot_as_png())
    finally:
        driver.quit()


if __name__ == "__main__":
    main(sys.argv[1])
