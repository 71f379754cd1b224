"""Tables that several commands print."""

from typing import Any


def dataset_rows(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The rows of `manifest.status`, shortened for a terminal."""
    return [
        {
            "data set": row["dataset"],
            "edition": row["edition"] or "",
            "where": row["where"],
            "MiB": f"{row['bytes'] / 2**20:,.0f}" if row["bytes"] else "",
            "missing": f"{len(row['missing'])} files" if len(row["missing"]) > 1 else "".join(row["missing"]),
            "to get it": "" if row["where"] == "raw" else row["how"],
        }
        for row in rows
    ]


def print_table(rows: list[dict[str, str]]) -> None:
    """Print rows (dicts with the same keys) as a table. Only the last column may wrap."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = 160
    shown = Table(box=None, pad_edge=False)
    *firm, last = rows[0]
    for key in firm:
        shown.add_column(key, no_wrap=True)
    shown.add_column(last, overflow="fold")
    for row in rows:
        shown.add_row(*row.values())
    console.print(shown, highlight=False)
