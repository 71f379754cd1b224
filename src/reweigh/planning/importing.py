"""`reweigh import`: the card of a table or of a folder of images, `data/local/NAME.yaml`. No file is overwritten.

    imported(Path("claims.csv"), Asked(label="label", group="gender"))

The card says what `reweigh.data.local_cards` says; what goes into it is found by `import_table` and `import_folder`.
"""

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.config.files import paper_names
from reweigh.config.specs import LEGACY_SEEDS
from reweigh.data import local_cards
from reweigh.data.catalogue import Manifest
from reweigh.errors import ConfigError, DataError
from reweigh.planning import import_folder, import_table
from reweigh.planning.import_parts import Asked, Found, Progress
from reweigh.terminal import printable

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
LONGEST = 60  # of a name, in letters
NEAR = 6  # names of files in a message


@dataclass(frozen=True)
class Imported:
    """What `imported` did: the card, where it is, whether it was there already, and what a user should know."""

    card: dict[str, Any]
    path: Path
    was_there: bool
    notes: list[str]


def imported(place: Path, asked: Asked, progress: Progress = lambda items, total: items) -> Imported:
    """Write the card of the data at `place`, a CSV file or a folder of images, into the project at hand.

    `progress` wraps what takes long, with its length. Raises ConfigError for what was asked and cannot be, DataError
    for data that cannot be trained on, and writes nothing then.
    """
    _check_place(place, asked)
    title = Path(os.path.abspath(place)).name
    name = _name(place, title, asked)
    found = import_folder.found(place, asked, progress) if place.is_dir() else import_table.found(place, asked)
    card = _ordered(found.card, name, title, _shown_path(place), found.listed)
    return _written(canonical_json.seal(card), found)


def _check_place(place: Path, asked: Asked) -> None:
    """Raise ConfigError for a place that is no file or folder, and for options that are not for what it is."""
    try:
        str(place).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{printable(str(place))}: its name is not Unicode; give it another name") from None
    try:
        there = place.exists()
        beside = [] if there or not place.parent.is_dir() else sorted(os.listdir(place.parent))
    except (OSError, ValueError) as error:  # a name that is too long, or that no file can have
        raise ConfigError(
            f"no file or folder {printable(place)[:LONGEST]} ({printable(str(error))[:LONGEST]})"
        ) from None
    if not there:
        near = get_close_matches(place.name, beside, NEAR, 0.5) or [name for name in beside if name[0] != "."][:NEAR]
        hint = f"; beside it: {printable(', '.join(near))}" if near else ""
        raise ConfigError(f"no file or folder {printable(place)}{hint}")
    if not (place.is_file() or place.is_dir()):
        raise ConfigError(f"{printable(place)} is neither a file nor a folder; name a CSV file or a folder of images")
    of_table = {
        "label": asked.label, "group": asked.group, "use-group": asked.use_group, "drop": asked.drop,
        "category": asked.category, "number": asked.number, "missing": asked.missing, "encoding": asked.encoding,
        "separator": asked.separator,
    }  # fmt: skip
    of_folder = {"side": asked.side, "skip-unreadable": asked.skip_unreadable}
    kind, wrong = ("folder", of_table) if place.is_dir() else ("file", of_folder)
    for option, value in wrong.items():
        if value:
            why = "the labels of images are the names of their folders" if kind == "folder" else "it is for images"
            raise ConfigError(f"--{option} does not go with a {kind}, {printable(place)}: {why}; leave it out")
    if kind == "file" and not asked.label:
        raise ConfigError(f"{printable(place)}: which column is the label? say --label COLUMN")
    if asked.test is not None and not 0 < asked.test < 1:
        raise ConfigError(f"--test is {asked.test:g}; it is the share of rows that are tested on, such as 0.2")
    if not 0 <= asked.seed < LEGACY_SEEDS:
        raise ConfigError(f"--seed is {asked.seed}; use a whole number from 0 to {LEGACY_SEEDS - 1}")


def _name(place: Path, title: str, asked: Asked) -> str:
    """The name of the card: as asked, or made of the title. Raises ConfigError if something else has it."""
    name = asked.name if asked.name is not None else slug(title if place.is_dir() else Path(title).stem)
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise ConfigError(
            f"--name {printable(name)!r} cannot be a name; use small letters, digits, _ . and -, at most {LONGEST}, "
            f"the first a letter or digit: {slug(name)}"
        )
    taken = {"a paper": paper_names(Path()), "a data set of data/manifest.yaml": Manifest.load().datasets}
    for what, names in taken.items():
        if name in names:
            raise ConfigError(f"{name} is the name of {what}; give yours another: --name my-{name}")
    return name


def slug(title: str) -> str:
    """A name of small Latin letters, digits and `-` for any title; what no such letters say becomes a short digest.

    >>> slug("Ma vie, 2024"), slug("Café (2)"), slug("данные 7")
    ('ma-vie-2024', 'cafe-2', '7-85928f')
    """
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", title) if not unicodedata.combining(letter))
    words = re.sub("[^a-z0-9]+", "-", plain.lower().replace("ß", "ss")).strip("-")[: LONGEST - 10].strip("-")
    lost = any(letter.isalnum() and not letter.isascii() for letter in plain.replace("ß", ""))
    if words and not lost:
        return words
    digest = hashlib.sha256(unicodedata.normalize("NFC", title).encode(errors="surrogateescape")).hexdigest()[:6]
    return f"{words or 'data'}-{digest}"


def _shown_path(place: Path) -> str:
    """The path that the card states: below the project relative to it, else absolute."""
    whole, project = Path(os.path.abspath(place)), Path.cwd()
    return (whole.relative_to(project) if whole.is_relative_to(project) else whole).as_posix()


def _ordered(card: dict[str, Any], name: str, title: str, path: str, listed: bytes | None) -> dict[str, Any]:
    """The whole card, its keys in their order."""
    files = None if listed is None else f"{name}.files.csv"
    whole = {"card_version": local_cards.CARD_VERSION, "name": name, "title": title, "path": path, "files": files}
    whole |= card
    return {key: whole[key] for key in local_cards.KEYS if key != "digest"}


def _written(card: dict[str, Any], found: Found) -> Imported:
    """The card, written unless the same is there. Raises ConfigError if another is."""
    path = local_cards.card_path(card["name"])
    text = local_cards.text_of(card).encode()
    files = {path: text} if found.listed is None else {local_cards.list_of(card): found.listed, path: text}
    there = [file for file in files if file.exists()]
    if other := [file for file in there if file.read_bytes() != files[file]]:
        raise ConfigError(
            f"{other[-1]} is there already, and says something else; nothing was written: import these data under "
            f"another name, --name {local_cards.next_name(card['name'])}"
        )
    if there == list(files):
        return Imported(card, path, True, found.notes)
    try:
        for file, content in files.items():  # the card last: what it names is there
            canonical_json.write(file, content)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); free disk space or allow writing") from None
    return Imported(card, path, False, found.notes)
