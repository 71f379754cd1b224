"""Fonts: on a machine that has never drawn, or whose home cannot be written to, a notebook hears nothing of it."""

import json
import subprocess
import sys

import pytest
from support.project import environment

CODE = """
import json, subprocess, sys
from reweigh.artifacts import fonts

fonts.keep_list_here()
fonts.list_once()
looks = "import matplotlib, os; print(os.listdir(matplotlib.get_cachedir()))"
done = subprocess.run([sys.executable, "-c", looks], capture_output=True, text=True)
print(json.dumps([done.stdout, done.stderr]))
"""


@pytest.mark.parametrize("home", ["new", "that cannot be written to"])
def test_a_process_that_draws_finds_the_fonts_listed_and_says_nothing(home, tmp_path):
    place = tmp_path / "home"
    place.mkdir() if home == "new" else place.touch()
    changes = {"HOME": str(place), "MPLCONFIGDIR": "", "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""}
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, env=environment(**changes), cwd=tmp_path
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert (tmp_path / ".reweigh/matplotlib").exists() == (home != "new")
    listed, said = json.loads(done.stdout)
    assert "fontlist-v" in listed and said == ""
