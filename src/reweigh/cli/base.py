"""What all commands have in common: they find the project, suggest the nearest word, and say that they were stopped.

A command may be given anywhere in a project, as git's may: it runs in the project's folder, and what it is told of
files counts from where it was given. What names something of the project (`figures/paper/tdr/fig5`) may be written
from the project's folder too, which is the usual way.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

from reweigh.config import home
from reweigh.config.names import ARTIFACT_ENDINGS
from reweigh.errors import ConfigError
from reweigh.nearest import nearest

# Commands that have something to say outside of a project, or that ask for more of its folder themselves.
ANYWHERE = ("bench", "check", "doctor", "gpu-check", "new", "schema")
NAMES = ("artifacts", "runs", "target", "targets")  # parameters that name something of the project
PATHS = ("folder", "home", "log", "path", "report", "specs", "to")  # parameters that name files of the user's
GO_ON = ("attest", "compare", "features", "fetch", "fill", "render", "split", "train")
TO_END = (signal.SIGTERM, signal.SIGHUP)  # a scheduler's, and that of a terminal that was closed


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, whose number is its argument, for code that puts things back on Ctrl-C."""


class Command(TyperCommand):
    """A command of `reweigh`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if hasattr(error, "possibilities"):  # an option that there is not
                name, known = getattr(error, "option_name", ""), [one for option in self.params for one in option.opts]
                error.possibilities = [near] if (near := nearest(name, known)) else []
            raise

    def invoke(self, ctx: Any) -> Any:
        with stopped_in_words(str(self.name)):
            _enter(self, ctx.params)
            return super().invoke(ctx)


class Group(TyperGroup):
    """All commands."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and args[0][:1].isalpha():
            near = nearest(args[0], self.commands)
            ctx.fail(f"No such command {args[0]!r}{f'; did you mean {near!r}?' if near else ''}")
        return super().resolve_command(ctx, args)


# --- where the project is ---


def _enter(command: TyperCommand, params: dict[str, Any]) -> None:
    """Go to the project's folder, with what the command is told of files as it is named from there.

    Raises ConfigError outside of a project.
    """
    here = Path(os.path.abspath("."))
    root = home.above(here)
    if root is None:
        if command.name not in ANYWHERE:
            raise ConfigError(home.not_here(here))
        return
    for name in (*NAMES, *PATHS):
        told = params.get(name)
        if isinstance(told, list | tuple):
            params[name] = [_from(root, here, one, name) for one in told]
        elif told is not None:
            params[name] = _from(root, here, told, name)
    if root != here:
        os.chdir(root)


def _from(root: Path, here: Path, told: Any, parameter: str) -> Any:
    """A path as it is named from the project's folder. A name stays one, unless it is that of a file that is there."""
    text = str(told)
    full = Path(os.path.abspath(here / text))
    if os.path.isabs(text) and not full.is_relative_to(root) and Path(os.path.realpath(full)).is_relative_to(root):
        full = Path(os.path.realpath(full))  # the project lies behind a link
    below = type(told)(os.path.relpath(full, root))
    if parameter in PATHS:
        return told if root == here or os.path.isabs(text) else below
    if not full.is_relative_to(root) or "\0" in text:
        return told
    if root == here or os.path.isabs(text):
        return below if os.path.isabs(text) or text.startswith("./") else told
    stem = full.with_suffix("") if full.suffix.removeprefix(".") in ARTIFACT_ENDINGS else full
    there = full.exists() or any(os.path.exists(f"{stem}.{ending}") for ending in ARTIFACT_ENDINGS)
    return below if there else told


# --- being stopped ---


@contextlib.contextmanager
def stopped_in_words(command: str) -> Iterator[None]:
    """In this context Ctrl-C, SIGTERM and SIGHUP end the process with a line that says what now.

    The exit code is 128 and the signal's number. Code that saves its state on these signals has handlers of its own,
    and other exit codes. What was ignored stays so: nohup.
    """
    owner = os.getpid()

    def terminate(number: int, frame: Any) -> None:
        if os.getpid() != owner:  # a process that this one forked
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise Terminated(number)

    main_thread = threading.current_thread() is threading.main_thread()  # elsewhere Python takes no handler
    mine = [number for number in TO_END if main_thread and signal.getsignal(number) == signal.SIG_DFL]
    try:
        for number in mine:
            signal.signal(number, terminate)
        yield
    except KeyboardInterrupt as stop:
        by = signal.Signals(stop.args[0]) if isinstance(stop, Terminated) else signal.SIGINT
        how = "Ctrl-C" if by == signal.SIGINT else by.name
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"reweigh: stopped by {how}; {what_now(command)}", file=sys.stderr, flush=True)
        raise SystemExit(128 + by) from None
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def what_now(command: str) -> str:
    """What a command leaves that is stopped, and how to go on."""
    if command in GO_ON:
        return "what is finished stays, and the same command goes on with the rest"
    return "every file is whole, or as it was; to go on, give the same command again"
