"""The fonts that matplotlib finds on a machine, listed before a notebook needs them."""


def list_once() -> None:
    """Have matplotlib list the machine's fonts if that was never done; somewhere else where it may not write home.

    Else the first notebook would, and matplotlib's word of it would stand in the notebook, which is to have the same
    bytes on every machine. Processes that are started from here inherit the place (MPLCONFIGDIR).
    """
    from matplotlib import font_manager

    assert font_manager.fontManager.ttflist
