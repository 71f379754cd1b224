"""Whether what is written on a figure can be read: inside the page, and over nothing else."""

from matplotlib.figure import Figure


def layout_faults(figure: Figure, table: bool = False) -> list[str]:
    """What is written outside the page, over panels, or over other words; `table`: words in its one panel too."""
    figure.draw_without_rendering()
    page = figure.bbox
    written = [(text.get_window_extent(), text.get_text()) for text in figure.texts]
    written += [(legend.get_window_extent(), "legend") for legend in figure.legends]
    faults = []
    for place, (box, text) in enumerate(written):
        if not (page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1 and page.y0 - 1 <= box.y0):
            faults.append(f"outside the page: {text}")
        if any(box.overlaps(axes.get_window_extent()) for axes in figure.axes):
            faults.append(f"over a panel: {text}")
        faults += [f"over {other}: {text}" for another, other in written[:place] if box.overlaps(another)]
    for axes in figure.axes:
        words = [(text.get_window_extent(), text.get_text()) for text in axes.texts if text.get_text()]
        faults += [f"outside the page: {text}" for box, text in words if box.x1 > page.x1 + 1]
        if table:
            faults += [
                f"over {other}: {text}"
                for place, (box, text) in enumerate(words)
                for another, other in words[:place]
                if box.overlaps(another)
            ]
    return faults
