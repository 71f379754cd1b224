"""What some tests want and a machine may lack.

@needs.MIRROR                                              # any test that reads the mirror of raw data
@needs.mirror("lists/Places_LT_train.txt")                 # one that reads this file of it

Each reason begins with "wants": by it the last line of a run counts what was skipped.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from support import slurm

MIRROR_FOLDER = Path(os.environ.get("REWEIGH_MIRROR") or "no-mirror")
WANTS_MIRROR = "wants the mirror (REWEIGH_MIRROR)"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")


def _is_clone() -> bool:
    """Not a copy without git, nor a folder of another user, of which git will say nothing."""
    with contextlib.suppress(OSError):
        return not subprocess.run(["git", "ls-files", "."], cwd=Path(__file__).parent, capture_output=True).returncode
    return False


def mirror(path: str = ".") -> pytest.MarkDecorator:
    """The mark of tests that read a file or folder of the mirror."""
    return pytest.mark.skipif(not (MIRROR_FOLDER / path).exists(), reason=WANTS_MIRROR)


MIRROR = mirror()
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="wants a GPU")
BROWSER = pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="wants a browser (chromium, chromedriver)")
GIT = pytest.mark.skipif(not shutil.which("git"), reason="wants git")
CLONE = pytest.mark.skipif(not _is_clone(), reason="wants a clone of the project that git may read")
SLURM = pytest.mark.skipif(
    not slurm.can_start(),
    reason="wants to start a Slurm (root; slurmctld, slurmd, slurm-client, munge)",
)
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="wants Linux")


def skipped_line(reasons: Iterable[str]) -> str:
    """One line on the tests that were skipped, from the reason of each; the reasons that begin with "wants" first."""
    counted = Counter(reasons).most_common()
    wanted = [(reason.removeprefix("wants "), count) for reason, count in counted if reason.startswith("wants ")]
    parts = [f"{count} {what}" for what, count in wanted]
    if wanted:
        what, count = wanted[0]
        parts[0] = f"{count} {'wants' if count == 1 else 'want'} {what}"
    parts += [f"{count} {reason}" for reason, count in counted if not reason.startswith("wants ")]
    return f"{sum(count for _, count in counted)} skipped: {', '.join(parts)}"
