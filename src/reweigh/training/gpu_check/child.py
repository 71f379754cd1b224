"""The process of one stage: it says on a pipe what it begins and how that ended, and ends where it cannot go on.

Not run by hand: `parent.py` starts it with the pipe, the module of the stage and what the stage knows.
"""

import contextlib
import faulthandler
import importlib
import json
import os
import sys
import time
import traceback
from typing import Any

from reweigh.errors import ReweighError
from reweigh.training.causes import root_of
from reweigh.training.gpu_check.checks import Check, Context, Failed, Skipped
from reweigh.training.gpu_check.report import FAILED, NOTE, OK, SKIPPED


def main(arguments: list[str]) -> int:
    """Take the checks of a stage that are not done yet; the exit code is 0 if the process could say how it ended."""
    channel, order = os.fdopen(int(arguments[0]), "w"), json.loads(arguments[1])

    def say(**message: Any) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    context = Context(**order["context"])
    context.note = lambda check, status, detail: say(kind=NOTE, check=check, status=status, detail=detail)
    for check in importlib.import_module(order["module"]).checks(context):
        if check.name in order["done"]:
            continue
        say(kind="begin", check=check.name, falls_back=check.falls_back, seconds=check.seconds)
        faulthandler.dump_traceback_later(max(check.seconds - 1.0, 0.5), exit=False)
        started = time.monotonic()
        result = outcome(check)
        faulthandler.cancel_dump_traceback_later()
        context.facts.update(result["facts"])
        say(kind="end", check=check.name, took=time.monotonic() - started, **result)
        if result["status"] == FAILED:  # a failed capture or an illegal access spoils the process for the next
            say(kind="renew")
            return 0
    say(kind="over")
    return 0


def outcome(check: Check) -> dict[str, Any]:
    """Take a check: `{"status", "detail", "facts", "falls_back"}`; facts for what follows, None as in `Failed`."""
    ended: dict[str, Any] = {"status": FAILED, "facts": {}, "falls_back": None}
    try:
        result = check.action()
    except Skipped as reason:
        return {**ended, "status": SKIPPED, "detail": str(reason)}
    except Failed as reason:
        return {**ended, "detail": str(reason), "falls_back": reason.falls_back}
    except ReweighError as reason:
        return {**ended, "detail": str(reason)}
    except BaseException as error:
        with contextlib.suppress(OSError):  # the disk is full
            traceback.print_exc()
        return {**ended, "detail": told(error)}
    detail, facts = result if isinstance(result, tuple) else (result, {})
    return {**ended, "status": OK, "detail": detail, "facts": facts}


def told(error: BaseException) -> str:
    """An exception in one line: the first cause, which torch hides behind others, and where it was raised."""
    root = root_of(error)
    frames = [frame for frame in traceback.extract_tb(root.__traceback__) if "reweigh" in frame.filename]
    place = f" ({frames[-1].filename.rpartition('reweigh/')[2]}:{frames[-1].lineno})" if frames else ""
    text = (str(root).strip().splitlines() or [""])[0]
    return f"{type(root).__name__}: {text}{place}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
