"""Cards of the user's own data, `data/local/NAME.yaml`: what `reweigh import` found in a table or a folder of images.

A card holds no rows: where the data lie and their sha256, columns and classes, how the test part is drawn, and the
sizes that planning goes by. Two readers read by it, `table` and `folder`, whose options are the name of a card and its
digest, so that other data are another spec. Nothing here needs more than a YAML parser; planning and training ask too.
"""

import functools
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from reweigh.canonical_json import digest_of
from reweigh.digest import file_digest
from reweigh.errors import DataError
from reweigh.terminal import printable

READERS = ("table", "folder")
CARD_VERSION = 1
EDITION = "local"  # of the raw files that a split of such data states
MISSING = "(missing)"  # the category, or the group, of rows that have none
TEST = 0.2  # of the rows are tested on, where nothing else is said
AS_ASKED = "as asked"  # why a column is left out that --drop named
BESIDE = "it lies beside"  # how it begins why a folder is left out that is no part of the data
ENCODINGS = ("utf-8-sig", "utf-16")  # those that are found
LIST = ("path", "sha256", "label", "part")  # columns of the list of a folder's images
KEYS = (
    *("card_version", "name", "title", "kind", "path", "sha256", "bytes", "label", "group", "columns", "dropped"),
    *("read", "side", "files", "split", "inputs", "sizes", "digest"),
)


_known: dict[str, dict[str, Any]] = {}  # the cards that this process has read, by digest


def unit(card: Mapping[str, Any]) -> str:
    """What its examples are called: rows of a table, images of a folder."""
    return "rows" if card["kind"] == "table" else "images"


def is_local(dataset: str) -> bool:
    """Whether a spec's data set is read by a card."""
    return dataset in READERS


def card_path(name: str, data: str | Path = "data") -> Path:
    """Where the card of that name lies; `data` is the project's folder of data."""
    return Path(data, "local", f"{name}.yaml")


def text_of(card: Mapping[str, Any]) -> str:
    """A card as YAML, its keys in their order, short collections on one line."""
    return yaml.safe_dump(dict(card), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def load(name: str, data: str | Path = "data") -> dict[str, Any]:
    """The card of that name. Raises DataError if there is none, or if it is not as it was written."""
    path = card_path(name, data)
    try:
        found = path.stat()
    except OSError:
        raise DataError(
            f"no card {path}; make it: reweigh import FILE --label COLUMN --name {name} (or a folder of images)"
        ) from None
    return _read(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=64)
def _read(path: Path, changed: int, size: int) -> dict[str, Any]:
    again = "put it back as it was, or import the data under another name: reweigh import ... --name NAME"
    try:
        card = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise DataError(f"{path}: not a card ({' '.join(str(error).split())}); {again}") from None
    if not isinstance(card, dict) or type(card.get("card_version")) is not int:
        raise DataError(f"{path}: not a card; {again}")
    if card["card_version"] != CARD_VERSION:
        raise DataError(f"{path}: a card of version {card['card_version']}, this Reweigh reads {CARD_VERSION}; {again}")
    try:
        actual = digest_of(card)
    except (TypeError, ValueError):  # a date, a NaN: nothing that was written
        actual = ""
    if actual != card.get("digest") or set(card) != set(KEYS):
        raise DataError(f"{path}: changed since it was written (its digest says so); {again}")
    if wrong := _unlike_a_card(card, path.stem):
        raise DataError(f"{path}: not a card ({wrong}); {again}")
    _known[actual] = card
    return card


def _unlike_a_card(card: Mapping[str, Any], name: str) -> str:
    """What no import would have written, whoever sealed it; empty if nothing is. Its data may lie anywhere."""
    listed = f"{name}.files.csv" if card["kind"] == "folder" else None
    if card["kind"] not in READERS:
        return f"kind is {card['kind']!r:.40}"
    for key, wanted in (("name", name), ("files", listed)):
        if card[key] != wanted:
            return f"{key} is {card[key]!r:.80}, not {wanted!r}"
    types: dict[str, type] = {"title": str, "path": str, "sha256": str, "bytes": int, "label": dict, "columns": list,
                              "dropped": list, "split": dict, "sizes": dict}  # fmt: skip
    wrong = next((key for key, kind in types.items() if not isinstance(card[key], kind)), "")
    return wrong and f"{wrong} is {card[wrong]!r:.40}"


def of(options: Mapping[str, Any], data: str | Path | None = None) -> dict[str, Any]:
    """The card that a reader's options name, `{card, digest}`. Raises DataError if it is another one by now.

    Without `data`, the project's folder of data, a card that has been read already will do, wherever it lies: its
    digest says what it says. Sizes, which a config asks for by options alone, are then those of its own project.
    """
    for key in ("card", "digest"):
        if not isinstance(options.get(key), str):
            raise DataError(f"local data are read by the options card and digest, and {key} is not given; add it")
    if data is None and options["digest"] in _known:
        return _known[options["digest"]]
    data = "data" if data is None else data
    card = load(options["card"], data)
    if card["digest"] != options["digest"]:
        raise DataError(
            f"{card_path(options['card'], data)}: its digest is {card['digest'][:12]}, the run's is "
            f"{options['digest'][:12]}: the data were imported otherwise by then; give the run the card's digest"
        )
    return card


def options_of(card: Mapping[str, Any]) -> dict[str, str]:
    """The options by which a reader finds a card: `dataset_options` of an experiment."""
    return {"card": card["name"], "digest": card["digest"]}


def place_of(card: Mapping[str, Any], data: str | Path = "data") -> Path:
    """Where the user's file or folder is; a relative path counts from the project."""
    return Path(data).parent / card["path"]


def list_of(card: Mapping[str, Any], data: str | Path = "data") -> Path:
    """The list of the images of a folder, beside its card."""
    return Path(data, "local", card["files"])


def digested_file(card: Mapping[str, Any], data: str | Path = "data") -> Path:
    """The file whose sha256 a card states: the table, or the list of a folder's images."""
    return place_of(card, data) if card["kind"] == "table" else list_of(card, data)


def checked_file(card: Mapping[str, Any], data: str | Path = "data") -> Path:
    """The file whose sha256 a card states, if it is still that. Raises DataError if it is not, or not there."""
    path = digested_file(card, data)
    if not path.is_file():
        raise DataError(
            f"{printable(path)} is missing, and {card_path(card['name'], data)} was made from it; put it back, or "
            f"import it from where it is now: {again(card, data)}"
        )
    length, now = path.stat().st_size, ""
    if length == card["bytes"]:  # else it need not be read
        now = file_digest(path)
    if now != card["sha256"]:
        then = f"sha256 {card['sha256'][:12]}" if now else f"{card['bytes']} bytes"
        raise DataError(
            f"{printable(path)} has changed since it was imported ({then} then, {now[:12] or length} "
            f"now); import it again under another name: {again(card, data)}, or put the old file back"
        )
    return path


def again(card: Mapping[str, Any], data: str | Path = "data") -> str:
    """The command that imports the data of a card as they are now, with the same options, under another name.

    Where nothing is left at the old place, it says PATH, to be filled in.
    """
    path = card["path"] if place_of(card, data).exists() else "PATH"
    options = _of_table(card) if card["kind"] == "table" else _of_folder(card)
    split = card["split"]
    if isinstance(split["test"], float) and split["test"] != TEST:
        options.append(("test", f"{split['test']:g}"))
    if split["seed"]:
        options.append(("seed", str(split["seed"])))
    options.append(("name", next_name(card["name"], data)))
    words = [word for option, value in options for word in _words(option, value)]
    return printable(shlex.join(["reweigh", "import", f"./{path}" if path.startswith("-") else path, *words]))


def _of_table(card: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """The options of a table's import, by its card; None where an option has no value."""
    columns, group, how = card["columns"], card["group"], card["read"]
    options: list[tuple[str, str | None]] = [("label", card["label"]["column"])]
    if group is not None:
        options.append(("group", group["column"]))
        options += [("use-group", None)] if group["column"] in [column["name"] for column in columns] else []
    options += [("drop", one["name"]) for one in card["dropped"] if one["why"] == AS_ASKED]
    options += [(column["type"], column["name"]) for column in columns if column.get("asked")]
    options += [("missing", word) for word in how["missing"]]
    options += [("encoding", how["encoding"])] if how["encoding"] not in ENCODINGS else []
    return options + ([("separator", how["separator"].replace("\t", "\\t"))] if how["separator"] != "," else [])


def _of_folder(card: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """The same of a folder of images. What was left out beside its parts lies beside them again."""
    skipped = any(not one["why"].startswith(BESIDE) for one in card["dropped"])
    return [("side", str(card["side"])), *([("skip-unreadable", None)] if skipped else [])]


def _words(option: str, value: str | None) -> list[str]:
    if value is None:
        return [f"--{option}"]
    return [f"--{option}={value}"] if value.startswith("-") else [f"--{option}", value]


def next_name(name: str, data: str | Path = "data") -> str:
    """The first of `NAME-2`, `NAME-3`, ... that no card has."""
    base, _, number = name.rpartition("-")
    if not (base and number.isdecimal() and len(number) < 4):  # a longer one is a year, or anything
        base, number = name, "1"
    following = int(number) + 1
    while card_path(f"{base}-{following}", data).exists():
        following += 1
    return f"{base}-{following}"


def source_file(dataset: str, options: Mapping[str, Any], data: str | Path = "data") -> dict[str, Any]:
    """What a split of local data was drawn from, as `SOURCE.json` says it of others; its file is checked."""
    card = of(options, data)
    path = checked_file(card, data)
    file = {"name": path.name, "bytes": path.stat().st_size, "sha256": card["sha256"], "source": "present", "url": None}
    return {"dataset": dataset, "edition": EDITION, "files": [file]}
