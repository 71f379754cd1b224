"""Where commands print: a terminal has its width, a file or a pipe that of the lines; colours change neither."""

import io
import sys

import pytest

from reweigh import terminal

ROW = {"first": "a" * 60, "second": "b" * 60}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("colours", [{}, {"FORCE_COLOR": "1"}, {"NO_COLOR": "1"}])
@pytest.mark.parametrize(("stdout", "whole"), [(io.StringIO, True), (Terminal, False)])
def test_a_table_is_as_wide_as_a_terminal_or_as_it_needs(stdout, whole, colours, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stdout())
    for name, value in {"COLUMNS": "100", "TERM": "xterm", **colours}.items():
        monkeypatch.setenv(name, value)
    terminal.print_table([ROW])
    assert (ROW["second"] in sys.stdout.getvalue()) == whole
