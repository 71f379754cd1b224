"""A rendered figure: the picture, and the lines of its csv that the picture was drawn from."""

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec

import matplotlib.figure
import pandas as pd

from reweigh.analysis.rows import write_csv
from reweigh.plots.style import RC, alone

Options = ParamSpec("Options")


@dataclass
class Figure:
    """A picture and its lines (`analysis.rows`). Jupyter shows the picture by itself."""

    picture: matplotlib.figure.Figure
    rows: pd.DataFrame = field(repr=False)

    def save(self, stem: str | Path | None) -> "Figure":
        """Write `stem`.pdf, .png and .csv, whose bytes depend on the figure alone; nothing where stem is empty."""
        if stem:
            stem = Path(stem)
            stem.parent.mkdir(parents=True, exist_ok=True)
            with alone():
                metadata = {"CreationDate": None, "Producer": None, "Creator": "reweigh"}
                self.picture.savefig(f"{stem}.pdf", metadata=metadata)
            Path(f"{stem}.png").write_bytes(self.png())
            write_csv(self.rows, f"{stem}.csv")
        return self

    def png(self, dpi: int | None = None) -> bytes:
        """The picture as png, at the house style's resolution (dots per inch) unless another is asked for."""
        stream = io.BytesIO()
        with alone():
            self.picture.savefig(stream, format="png", dpi=dpi or RC["savefig.dpi"], metadata={"Software": "reweigh"})
        return stream.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png(dpi=110)


def styled(draw: Callable[Options, Figure]) -> Callable[Options, Figure]:
    """Draw in the house style, whatever the caller's matplotlib is set to."""

    @functools.wraps(draw)
    def in_style(*args: Options.args, **kwargs: Options.kwargs) -> Figure:
        with alone():
            return draw(*args, **kwargs)

    return in_style
