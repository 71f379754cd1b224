"""Tables and folders of images of a user's own, small, and a project to import them into."""

import shutil

import numpy as np
from PIL import Image

from reweigh.data import load, local_cards
from reweigh.planning.import_parts import Asked
from reweigh.planning.importing import imported
from support import ROOT

HEADER = "age,label,amount,gender"
ROWS = [f"{18 + 7 * k % 60},{'ab'[k % 2]},{k * 0.5},{'mf'[k % 3 == 0]}" for k in range(60)]


def project(folder, monkeypatch):
    """A folder that is a project for as long as a test takes: names of papers, the manifest, and nothing else."""
    (folder / "data").mkdir(parents=True)
    shutil.copy(ROOT / "data" / "manifest.yaml", folder / "data")
    (folder / "config" / "papers" / "tdr").mkdir(parents=True)
    (folder / "config" / "papers" / "tdr" / "paper.yaml").touch()
    (folder / "config" / "config.yaml").touch()  # by which commands know it
    monkeypatch.chdir(folder)
    return folder


def table(path, rows=ROWS, header=HEADER, encoding="utf-8"):
    """A CSV file of these lines; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in (header, *rows)).encode(encoding))
    return path


def images(folder, classes, count=12, size=(12, 9), seed=0):
    """A folder of PNGs for each class, of random pixels."""
    generator = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
    return folder


def card_of(path, **asked):
    """The card of what lies at a path."""
    return imported(path, Asked(**({"label": "label"} if path.is_file() else {}) | asked)).card


def read(card):
    """What the reader of a card gives, as training reads it."""
    return load.read(card["kind"], local_cards.options_of(card))


def claims(path):
    """The table of docs/your-data.md: 20,000 rows, four classes, of which the rarest has one row in a hundred."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(20_000):
        outcome = int(generator.choice(4, p=[0.6, 0.29, 0.1, 0.01]))
        age = generator.integers(18, 90) if generator.random() > 0.01 else ""
        amount = generator.lognormal(5 + outcome / 4)
        region = generator.choice(["north", "south", "east", ""], p=[0.4, 0.3, 0.29, 0.01])
        day = f"2024-{generator.integers(1, 13):02d}-{generator.integers(1, 29):02d}"
        rows.append(
            f"{100_000 + number},{age},{amount:.2f},{region},{day},EUR,{generator.choice(['f', 'm'])},{outcome}"
        )
    return table(path, rows, "id,age,amount,region,day,currency,gender,outcome")
