"""What runs a notebook: IPython's kernel without anything that its user has set for notebooks of one's own.

    python -P -m reweigh.artifacts.kernel_program PID_FILE -f CONNECTION_FILE

matplotlib takes its settings from the folder it is imported in before any other place, so that is an empty one here.
IPython's start-up files and configs of the machine are left out; those of the user are, by IPYTHONDIR.
"""

import os
import sys
from pathlib import Path


def main() -> None:
    """Write the number of this process to PID_FILE, and be the kernel."""
    pid_file = Path(sys.argv.pop(1))
    pid_file.write_text(f"{os.getpid()}\n", encoding="utf-8")
    here = os.getcwd()
    os.chdir(pid_file.parent)
    import matplotlib

    os.chdir(here)
    from ipykernel import kernelapp
    from IPython.core import application

    assert matplotlib.rcParams
    for folders in (application.ENV_CONFIG_DIRS, application.SYSTEM_CONFIG_DIRS):
        folders.clear()
    kernelapp.launch_new_instance()


if __name__ == "__main__":
    main()
