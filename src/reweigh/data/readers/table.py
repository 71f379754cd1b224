"""A table of the user's own (CSV), by its card `data/local/NAME.yaml`, which `reweigh import` wrote."""

from pathlib import Path

import numpy as np

from reweigh.data import local_cards, local_split, tables
from reweigh.data.arrays import RawData
from reweigh.errors import DataError
from reweigh.terminal import printable


def read(raw: Path, card: str, digest: str) -> RawData:
    """The table that a card describes; inputs float32 `(N, F)`, labels and groups int64 `(N,)`.

    The project's data lie in `raw/../..`. Rows keep the order of the file, within the training and the test part.
    Raises DataError if the card is another than `digest` says, or the file not the one that was imported.
    """
    data = Path(raw).parent.parent
    described = local_cards.of({"card": card, "digest": digest}, data)
    if described["kind"] != "table":
        raise DataError(f"{local_cards.card_path(card, data)} describes a folder; its data set is folder, not table")
    path = local_cards.checked_file(described, data)
    how, label, group = described["read"], described["label"], described["group"]
    table = tables.read(path, how["encoding"], how["separator"])
    words = how["missing"]
    labels = tables.places(table.columns[label["column"]], label["classes"], words)
    groups = None if group is None else tables.places(table.columns[group["column"]], group["values"], words)
    inputs = tables.features(table, described["columns"], words)
    tested = local_split.drawn_for_test(labels, groups, described["split"]["test"], described["split"]["seed"])
    if not np.isfinite(inputs).all():
        raise DataError(
            f"{printable(path)}: inputs are not finite; import it again: {local_cards.again(described, data)}"
        )
    return RawData(
        train_inputs=inputs[~tested],
        train_labels=labels[~tested],
        train_groups=None if groups is None else groups[~tested],
        test_inputs=inputs[tested],
        test_labels=labels[tested],
        test_groups=None if groups is None else groups[tested],
        class_names=tuple(label["classes"]),
        group_names=() if group is None else tuple(group["values"]),
        edition=local_cards.EDITION,
    )
