"""`reweigh import`: the user's own data. What is heavy is imported late."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from reweigh.terminal import printable, say

SHOWN = 3  # categories of a column, classes in a line
MOST_GROUPS, MOST_CLASSES = 8, 40  # columns and lines of the table of sizes


def import_(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="a CSV file, or a folder of images", show_default=False)],
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column that is learned.")] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="A sensitive column: weights and fairness are by its values.")
    ] = None,
    use_group: Annotated[bool, typer.Option("--use-group", help="Let the group be an input too.")] = False,
    test: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Rows to test on, of each class and group; 0.2.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="By which they are drawn.")] = 0,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the card; made from the file's by default.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="No input; may be repeated.")] = None,
    category: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="One of categories, though of numbers; may be repeated.")
    ] = None,
    number: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="One of numbers, whatever it looks like; may be repeated."),
    ] = None,
    missing: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="What a cell says that is missing; may be repeated.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(metavar="E", help="Of the file, if not UTF-8: cp1252, utf-16.")
    ] = None,
    separator: Annotated[str | None, typer.Option(metavar="C", help="Between fields, where it is not found.")] = None,
    side: Annotated[int | None, typer.Option(metavar="PIXELS", help="Images are cut to so many a side; 32.")] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read.")
    ] = False,
) -> None:
    """Describe a table or a folder of images of your own, so that methods can be compared on it. Copies nothing.

    Writes a card, data/local/NAME.yaml: columns and their types, classes, groups, a test part, the digest of the file.
    Images lie in CLASS/..., or in train/CLASS/... and val/CLASS/...

    [dim]reweigh import claims.csv --label outcome --group gender[/dim]

    [dim]reweigh import images/ --side 64 --test 0.25[/dim]
    """
    from reweigh.planning.import_parts import Asked
    from reweigh.planning.importing import imported

    several = {"drop": drop, "category": category, "number": number, "missing": missing}
    asked = Asked(
        label=label, group=group, use_group=use_group, test=test, seed=seed, name=name, encoding=encoding,
        separator=None if separator is None else separator.replace("\\t", "\t"), side=side,
        skip_unreadable=skip_unreadable, **{key: tuple(value or ()) for key, value in several.items()},
    )  # fmt: skip
    done = imported(path, asked, _progress)
    _show(done.card)
    for note in done.notes:
        say(f"note: {note}")
    say(f"{done.path} was there already, and says the same" if done.was_there else f"wrote {done.path}")
    say(f"next: reweigh compare {done.card['name']}")


def _progress(items: Iterable[Any], total: int) -> Iterable[Any]:
    """A bar on stderr, where that is a terminal."""
    from tqdm import tqdm

    return tqdm(items, total=total, desc="reading images", unit="image", leave=False, disable=None)


def _show(card: dict[str, Any]) -> None:
    """The columns, what is left out, and the sizes of classes and groups."""
    from reweigh.data import local_cards

    if card["columns"]:
        _table([_column(column) for column in card["columns"]])
    else:
        say(f"images: {card['side']} x {card['side']} pixels, in colour")
    for one in card["dropped"]:
        say(f"left out: {printable(one['name'])}: {printable(one['why'])}")
    say()
    _table(_sizes(card))
    if len(card["label"]["classes"]) > MOST_CLASSES:
        say(f"... and {len(card['label']['classes']) - MOST_CLASSES:,} more classes")
    if card["group"] is not None and len(card["group"]["values"]) > MOST_GROUPS:
        say(f"... and {len(card['group']['values']) - MOST_GROUPS:,} more groups")
    rows = {part: of["rows"] for part, of in card["sizes"].items()}
    inputs = card["inputs"] if isinstance(card["inputs"], int) else " x ".join(map(str, card["inputs"]))
    say(f"\n{rows['train']:,} {local_cards.unit(card)} to train on, {rows['test']:,} to test on; {inputs} inputs")


def _column(column: dict[str, Any]) -> dict[str, str]:
    """A line of the table of columns."""
    filled = ""
    if column["impute"] is not None:
        own = column["impute"] == "category"
        filled = "a category of its own" if own else f"the median, {column['impute']:g}"
    return {
        "column": column["name"],
        "type": f"{column['type']}{', decimal comma' if column.get('decimal') == ',' else ''}",
        "missing": f"{column['missing']:,}" if column["missing"] else "",
        "filled with": filled,
        "categories": _some(column.get("categories", ())),
    }


def _some(names: Iterable[str]) -> str:
    """How many there are, and the first of them."""
    names = list(names)
    return f"{len(names)}: {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}" if names else ""


def _sizes(card: dict[str, Any]) -> list[dict[str, str]]:
    """A line for each class: its rows to train and to test on, and those of each group."""
    train, test, group = card["sizes"]["train"], card["sizes"]["test"], card["group"]
    values = [] if group is None else group["values"][:MOST_GROUPS]
    lines = []
    for label, name in enumerate(card["label"]["classes"][:MOST_CLASSES]):
        line = {"class": name, "train": f"{train['classes'][label]:,}", "test": f"{test['classes'][label]:,}"}
        for place, value in enumerate(values):
            counts = (of["class_by_group"][label][place] for of in (train, test))
            line[f"{group['column']} {value}"] = " + ".join(f"{count:,}" for count in counts)
        lines.append(line)
    return lines


def _table(rows: list[dict[str, str]]) -> None:
    """Rows as a table; names are shown as they are, whatever is in them. A terminal that is narrow folds them."""
    from rich.table import Table
    from rich.text import Text

    from reweigh.terminal import console

    shown = Table(box=None, pad_edge=False)
    for key in rows[0]:
        shown.add_column(Text(printable(key)), overflow="fold")
    for row in rows:
        shown.add_row(*(Text(printable(value)) for value in row.values()))
    console(wide=160).print(shown, highlight=False)
