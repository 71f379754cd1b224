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


ODD = "[bold]x[/bold] [/] :smile: \x1b[31mred\x07 \u202egnol"
HARMLESS = r"[bold]x[/bold] [/] :smile: \x1b[31mred\x07 \u202egnol"


@pytest.mark.parametrize("stdout", [io.StringIO, Terminal])
def test_what_is_printed_is_no_markup_and_nothing_that_a_terminal_obeys(stdout, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stdout())
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.print_table([{ODD: ODD, "last": ODD}])
    terminal.console(wide=200).print(ODD, soft_wrap=True, highlight=False)
    said = sys.stdout.getvalue()
    assert said.count(HARMLESS) == 4 and "\x1b[31m" not in said and "\x07" not in said


def test_a_text_of_several_lines_stays_one():
    assert terminal.harmless("one\ntwo\r\n\ttab é 漢\udc80") == "one\ntwo\\r\n\\ttab é 漢\\udc80"
