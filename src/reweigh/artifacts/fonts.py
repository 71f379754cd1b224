"""The fonts that matplotlib finds on a machine, listed before a notebook needs them."""

import os
from pathlib import Path

HERE = Path(".reweigh") / "matplotlib"


def keep_list_here(root: Path = Path()) -> None:
    """Have matplotlib keep its list in the project at `root` where it may not write home. Before it is imported.

    It would warn about it in each process, and list the fonts anew. Processes that are started from here inherit the
    place (MPLCONFIGDIR).
    """
    there = os.environ.get("MPLCONFIGDIR") or all(_is_writable(Path(place, "matplotlib")) for place in _places())
    if not there and _is_writable((root / HERE).absolute()):
        os.environ["MPLCONFIGDIR"] = str((root / HERE).absolute())


def list_once() -> None:
    """Have matplotlib list the machine's fonts if that was never done.

    Else the first notebook would, and matplotlib's word of it would stand in the notebook, which is to have the same
    bytes on every machine.
    """
    from matplotlib import font_manager

    assert font_manager.fontManager.ttflist


def _places() -> list[str]:
    """Where matplotlib would keep its settings and its list."""
    home = os.path.expanduser("~")
    return [
        os.environ.get(name) or f"{home}/{folder}"
        for name, folder in (("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache"))
    ]


def _is_writable(folder: Path) -> bool:
    """Whether files can be written to a folder, which need not be there yet."""
    if not folder.is_absolute():  # as where there is no home at all
        return False
    there = next((one for one in (folder, *folder.parents) if one.exists()), None)
    return there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK)
