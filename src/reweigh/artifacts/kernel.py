"""The kernel of one rendering: this interpreter, in an environment that has nothing of its user's own settings.

    with own_kernel() as kernel:
        kernel.name      # by which jupyter finds it, in this process, within the block
        kernel.end()     # kill it

A figure must not depend on who renders it. So matplotlib's, IPython's and Jupyter's settings, start-up files, the
language and the time zone are taken out of the environment (`clean`), and `kernel_program` sees to the rest.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reweigh.artifacts.work_folders import work_folder
from reweigh.digest import PACKAGE

NAME = "reweigh-render"
# Settings that would reach the kernel: whatever begins so, and these.
PREFIXES = ("IPYTHON", "JUPYTER_", "LC_", "MPL", "MATPLOTLIB")
SETTINGS = (
    "COLUMNS", "LANG", "LANGUAGE", "LINES", "PYTHONHASHSEED", "PYTHONINSPECT", "PYTHONOPTIMIZE", "PYTHONSTARTUP",
    "PYTHONWARNINGS", "SOURCE_DATE_EPOCH", "TZ",
)  # fmt: skip
KEPT = ("MPLCONFIGDIR",)  # where matplotlib keeps its list of fonts


@dataclass(frozen=True)
class Kernel:
    """A kernel that jupyter can start, by its name. Its process writes its number to `pid_file`."""

    name: str
    pid_file: Path

    def end(self) -> None:
        """Kill the kernel, if one was started. Only for one that nobody else ends: then its number may be another's."""
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(self.pid_file.read_text(encoding="utf-8")), signal.SIGKILL)


def clean(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """An environment without its user's settings, with what the kernel needs; its files go to `folder`."""
    import matplotlib

    kept = {
        name: value
        for name, value in environment.items()
        if name in KEPT or not (name.startswith(PREFIXES) or name in SETTINGS)
    }
    return {
        **kept,
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_NO_CONFIG": "1",
        "JUPYTER_PATH": str(folder / "jupyter"),
        "JUPYTER_PLATFORM_DIRS": "1",
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "LC_ALL": "C.UTF-8",
        "MATPLOTLIBRC": str(Path(matplotlib.get_data_path(), "matplotlibrc")),  # matplotlib's own
        "MPLBACKEND": "agg",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(PACKAGE.parent), environment.get("PYTHONPATH")))),
        "TZ": "UTC",
    }


@contextlib.contextmanager
def own_kernel() -> Iterator[Kernel]:
    """A kernel of this very interpreter, known by name in a folder that only this rendering sees."""
    with work_folder("reweigh-kernel-", Path(tempfile.gettempdir())) as folder:
        spec, kernel = folder / "jupyter" / "kernels" / NAME, Kernel(NAME, folder / "empty" / "pid")
        for place in (spec, kernel.pid_file.parent):
            place.mkdir(parents=True)
        # Neither Python (-P) nor IPython imports from the folder it starts in: a file random.py there is no library.
        command = [sys.executable, "-P", "-m", "reweigh.artifacts.kernel_program", str(kernel.pid_file)]
        options = ["-f", "{connection_file}", "--log-level=40", "--InteractiveShellApp.ignore_cwd=True"]
        described = {"argv": [*command, *options], "display_name": NAME, "language": "python"}
        (spec / "kernel.json").write_text(json.dumps(described), encoding="utf-8")
        before = dict(os.environ)
        _become(clean(before, folder))
        try:
            yield kernel
        finally:
            _become(before)


def _become(environment: Mapping[str, str]) -> None:
    """Make this process's environment this one."""
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)
