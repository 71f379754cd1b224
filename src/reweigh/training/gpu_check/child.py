"""The process of one stage: it says on a pipe what it begins and how that ended, and ends where it cannot go on.

Not run by hand: `parent.py` starts it with the pipe, the module of the stage and what the stage knows.
"""

import faulthandler
import importlib
import json
import os
import sys
import time
import traceback
from typing import Any

from reweigh.errors import ReweighError
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
        status, detail, facts = outcome(check)
        faulthandler.cancel_dump_traceback_later()
        took = time.monotonic() - started
        say(kind="end", check=check.name, status=status, detail=detail, facts=facts, took=took)
        if status == FAILED:  # a failed capture or an illegal access spoils the process for what comes after it
            say(kind="renew")
            return 0
    say(kind="over")
    return 0


def outcome(check: Check) -> tuple[str, str, dict[str, Any]]:
    """Take a check: its status, the detail, and facts for later stages."""
    try:
        result = check.action()
    except Skipped as reason:
        return SKIPPED, str(reason), {}
    except (Failed, ReweighError) as reason:
        return FAILED, str(reason), {}
    except BaseException as error:
        traceback.print_exc()
        return FAILED, told(error), {}
    return OK, *(result if isinstance(result, tuple) else (result, {}))


def told(error: BaseException) -> str:
    """An exception in one line: the first cause, which torch hides behind others, and where it was raised."""
    root = error
    while (before := root.__cause__ or root.__context__) is not None:
        root = before
    frames = [frame for frame in traceback.extract_tb(root.__traceback__) if "reweigh" in frame.filename]
    place = f" ({frames[-1].filename.rpartition('reweigh/')[2]}:{frames[-1].lineno})" if frames else ""
    text = (str(root).strip().splitlines() or [""])[0]
    return f"{type(root).__name__}: {text}{place}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
